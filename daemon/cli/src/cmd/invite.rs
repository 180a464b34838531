//! `cryprq invite`.

use cryprq_ipc_proto::message::{Reply, Request};

use super::Context;
use crate::error::{Result, foreign};
use crate::exit::Exit;
use crate::output::Output;
use crate::{qr, render};

const USE: &str = "\
Whoever has the ticket may join, once. On a terminal it is also shown as a QR code; elsewhere nothing but the ticket goes \
to standard output:
  cryprq invite | ssh HOST sudo cryprq join -";

/// Make a one-time ticket: the host that joins with it and this host become peers.
#[derive(clap::Args)]
#[command(after_help = USE)]
pub(crate) struct Invite {
    /// How long it is good: a number and s, m, h or d, at most 7d; 10m unless given.
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    expires: Option<u64>,
    /// Let the other host find this one at a relay of relay.use: its name or PeerId. The other host must be its peer too.
    #[arg(long, value_name = "PEER", conflicts_with_all = ["list", "cancel"])]
    relay: Option<String>,
    /// Show the tickets, without their secrets.
    #[arg(long, conflicts_with_all = ["expires", "cancel"])]
    list: bool,
    /// Make the ticket with this id worthless.
    #[arg(long, value_name = "ID", conflicts_with = "expires")]
    cancel: Option<String>,
}

impl Invite {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        let out = context.out;
        if self.list {
            return context.ask(&Request::InviteList {}, |answer| {
                let Reply::Invites { invites } = answer.reply else { return Err(foreign()) };
                out.print(|page| render::invites(page, &invites))
            });
        }
        if let Some(invite) = self.cancel {
            let id = invite.clone();
            return context.change(&Request::InviteCancel { invite }, || format!("{id} is cancelled"));
        }
        let by_relay = self.relay.is_some();
        context.ask(&Request::Invite { expires_ms: self.expires, relay: self.relay }, |answer| {
            let Reply::Invite { invite, ticket, expires_at, addresses, reachable } = answer.reply else {
                return Err(foreign());
            };
            if out.is_terminal() {
                draw_code(out, ticket.expose())?;
            }
            out.document(&format!("{}\n", ticket.expose()))?;
            let until = render::moment(&expires_at);
            let line = |text: &str| out.remark(text);
            line(&format!("\nIt is good {until} and for one host; 'cryprq invite --cancel {invite}' ends it."));
            line("On the other host 'sudo cryprq join -' asks for it.");
            if addresses.is_empty() {
                line("It holds no address: the other host will not find this one. Set listen.advertise.");
            } else {
                line(&format!("It leads to {}.", addresses.join(", ")));
            }
            if reachable == "no" && !by_relay {
                line("But this host was not reached from outside: forward its port, or see 'cryprq invite --relay'.");
            }
            Ok(())
        })
    }
}

fn draw_code(out: &Output, ticket: &str) -> Result<()> {
    let columns = out.size().columns;
    match qr::Code::of(ticket) {
        Some(code) if code.columns() <= columns => out.print(|page| code.draw(page)),
        Some(code) => {
            out.remark(&format!("A QR code needs {} columns, this terminal has {columns}.", code.columns()));
            Ok(())
        }
        None => Ok(()),
    }
}

fn milliseconds(text: &str) -> std::result::Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a number and s, m, h or d, such as 10m".into()),
    };
    let count: u64 = digits.parse().map_err(|_| "a number and s, m, h or d, such as 10m".to_owned())?;
    count.checked_mul(seconds * 1000).filter(|&ms| ms > 0).ok_or_else(|| "at least 1s and at most 7d".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_s_time_needs_its_unit() {
        let times = ["90s", "10m", "2h", "7d"].map(milliseconds);
        assert_eq!(times, [Ok(90_000), Ok(600_000), Ok(7_200_000), Ok(604_800_000)]);
        for bad in ["10", "m", "", "10 m", "1w", "-1m", "0s", "99999999999999999d"] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
    }
}
