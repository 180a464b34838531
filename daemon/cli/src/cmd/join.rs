//! `cryprq join`.

use std::io::{self, BufRead, IsTerminal};

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::{Reply, Request};
use cryprq_ipc_proto::secret::SecretText;

use super::Context;
use crate::error::{Result, foreign, local};
use crate::exit::Exit;

/// Become a peer of the host that made a ticket.
#[derive(clap::Args)]
pub(crate) struct Join {
    /// The ticket; - reads it from standard input, so that no list of processes shows it.
    #[arg(value_parser = |text: &str| Ok::<_, std::convert::Infallible>(SecretText::new(text.to_owned())))]
    ticket: SecretText,
}

impl Join {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        let out = context.out;
        let ticket = if self.ticket.expose() == "-" {
            if io::stdin().is_terminal() {
                out.remark("Paste the ticket, then press Enter:");
            }
            read_ticket(io::stdin().lock(), io::stdin().is_terminal())
                .map_err(|error| local("read the ticket from standard input", &error))?
        } else {
            self.ticket
        };
        if ticket.expose().is_empty() {
            let error = ErrorBody::new(ErrorCode::TicketMalformed, "there is no ticket on standard input");
            return Err(error.hint("cryprq invite, on the other host, makes one"));
        }
        context.ask(&Request::Join { ticket }, |answer| {
            let Reply::Joined { peer, name, addresses } = answer.reply else { return Err(foreign()) };
            let ipv4 = addresses.ipv4.map(|ip| format!("{ip} and ")).unwrap_or_default();
            out.print(|page| {
                writeln!(page, "{name} is a peer now: {peer}")?;
                writeln!(page, "this host is {ipv4}{}", addresses.ipv6)
            })
        })
    }
}

/// Everything that comes, or one line when a person types it, without blanks and line breaks.
fn read_ticket(input: impl BufRead, by_hand: bool) -> io::Result<SecretText> {
    /// A ticket has at most 512 characters, and blanks between them.
    const LIMIT: u64 = 4096;
    let mut ticket = String::with_capacity(LIMIT as usize);
    for line in input.take(LIMIT).lines() {
        let line = SecretText::new(line?);
        ticket.extend(line.expose().split_whitespace());
        if by_hand {
            break;
        }
    }
    Ok(SecretText::new(ticket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_over_line_breaks_and_from_a_terminal_up_to_enter() {
        let read = |by_hand| read_ticket(&b" cryprq:AES UHO\nJP6E\n\n"[..], by_hand).unwrap();
        assert_eq!(read(false).expose(), "cryprq:AESUHOJP6E");
        assert_eq!(read(true).expose(), "cryprq:AESUHO");
        assert_eq!(read_ticket(&b""[..], false).unwrap().expose(), "");
        assert!(read_ticket(&vec![b'A'; 10_000][..], false).unwrap().expose().len() <= 4096);
    }
}
