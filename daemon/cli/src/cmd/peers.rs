//! `cryprq peers …`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Subcommand};
use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::{PeerStatus, Reply, Request};
use cryprq_ipc_proto::secret::SecretText;

use super::Context;
use crate::client::Answer;
use crate::error::{Result, foreign, local};
use crate::exit::Exit;
use crate::render;

/// Show the peers in a table, or one of them in full; add, change and remove peers.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_precedence_over_arg = true)]
pub(crate) struct Peers {
    /// The peer to show in full: its name, its PeerId, or the beginning of its PeerId.
    peer: Option<String>,
    #[command(subcommand)]
    command: Option<PeersCommand>,
}

#[derive(Subcommand)]
enum PeersCommand {
    Add(Add),
    Set(Set),
    /// Remove a peer of the state folder; its keys are erased when this ends.
    Remove {
        /// The peer: its name, its PeerId, or the beginning of its PeerId.
        peer: String,
    },
    /// Accept one start without a chain from a peer with --require-chain, within ten minutes.
    AcceptChainReset {
        /// The peer: its name, its PeerId, or the beginning of its PeerId.
        peer: String,
    },
}

/// Add a peer; it is kept in the state folder, not in the configuration file.
#[derive(clap::Args)]
struct Add {
    /// Its PeerId, in full.
    #[arg(value_name = "ID")]
    peer: String,
    /// Its name for people; the PeerId unless given.
    #[arg(long)]
    name: Option<String>,
    /// A multiaddr to dial it at, such as /dns4/gw.example.org/udp/41820/quic-v1; may be repeated.
    #[arg(long = "address", value_name = "MULTIADDR")]
    addresses: Vec<String>,
    /// A prefix that belongs to it, such as 10.86.0.7/32; may be repeated. Its IPv6 address unless given.
    #[arg(long = "allowed-ip", value_name = "PREFIX")]
    allowed_ips: Vec<String>,
    /// A file with the PSK of the two, 32 bytes in hex or base64; - reads standard input.
    #[arg(long, value_name = "FILE")]
    psk_file: Option<PathBuf>,
    /// Refuse it when it starts without a chain, until accept-chain-reset.
    #[arg(long)]
    require_chain: bool,
    /// Do not connect it, now or at a start, before 'cryprq up'.
    #[arg(long)]
    down: bool,
    /// Let it send to other networks through this host: 'cryprq up --exit' on its side.
    #[arg(long)]
    forward: bool,
}

/// Change a peer of the state folder; what is not given stays.
#[derive(clap::Args)]
#[command(
    group = ArgGroup::new("change").required(true).multiple(true),
    override_usage = "cryprq peers set <PEER> <OPTIONS>"
)]
struct Set {
    /// The peer: its name, its PeerId, or the beginning of its PeerId.
    peer: String,
    /// Its new name for people.
    #[arg(long, group = "change")]
    name: Option<String>,
    /// A multiaddr to dial it at, instead of those it has; may be repeated.
    #[arg(long = "address", value_name = "MULTIADDR", group = "change")]
    addresses: Option<Vec<String>>,
    /// Forget the multiaddrs: it has to dial this host.
    #[arg(long, conflicts_with = "addresses", group = "change")]
    no_addresses: bool,
    /// A prefix that belongs to it, instead of those it has; may be repeated.
    #[arg(long = "allowed-ip", value_name = "PREFIX", group = "change")]
    allowed_ips: Option<Vec<String>>,
    /// A file with the new PSK of the two, 32 bytes in hex or base64; - reads standard input.
    #[arg(long, value_name = "FILE", group = "change")]
    psk_file: Option<PathBuf>,
    /// Forget the PSK.
    #[arg(long, conflicts_with = "psk_file", group = "change")]
    no_psk: bool,
    /// Refuse it when it starts without a chain, until accept-chain-reset.
    #[arg(long, group = "change")]
    require_chain: bool,
    /// Let it start without a chain.
    #[arg(long, conflicts_with = "require_chain", group = "change")]
    no_require_chain: bool,
    /// Connect it at a start.
    #[arg(long, group = "change")]
    up: bool,
    /// Do not connect it at a start.
    #[arg(long, conflicts_with = "up", group = "change")]
    down: bool,
    /// Let it send to other networks through this host: 'cryprq up --exit' on its side.
    #[arg(long, group = "change")]
    forward: bool,
    /// Let it reach this host only.
    #[arg(long, conflicts_with = "forward", group = "change")]
    no_forward: bool,
}

impl Peers {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        match self.command {
            None => show(context, self.peer),
            Some(PeersCommand::Add(add)) => {
                let peer = add.name.clone().unwrap_or_else(|| add.peer.clone());
                context.change(&add.request()?, || format!("{peer} is a peer"))
            }
            Some(PeersCommand::Set(set)) => {
                let peer = set.peer.clone();
                context.change(&set.request()?, || format!("{peer} is changed"))
            }
            Some(PeersCommand::Remove { peer }) => {
                context.change(&Request::PeerRemove { peer: peer.clone() }, || format!("{peer} is removed"))
            }
            Some(PeersCommand::AcceptChainReset { peer }) => context
                .change(&Request::PeerAcceptChainReset { peer: peer.clone() }, || {
                    format!("{peer} may start without its chain once, within ten minutes")
                }),
        }
    }
}

fn show(context: &Context<'_>, peer: Option<String>) -> Result<Exit> {
    let (out, in_full) = (context.out, peer.is_some());
    context.ask(&Request::Peers { peer }, |answer| {
        let peers = answered(answer)?;
        if !in_full {
            return out.print(|page| render::peers(page, out.size(), &peers));
        }
        // Its relay may be another peer, and is called by its name then.
        let relayed = peers.iter().any(|peer| peer.path.as_ref().is_some_and(|path| path.relay.is_some()));
        let known =
            if relayed { answered(context.connect()?.ask(&Request::Peers { peer: None })?)? } else { Vec::new() };
        out.print(|page| peers.iter().try_for_each(|peer| render::peer(page, out.size(), peer, &known)))
    })
}

fn answered(answer: Answer) -> Result<Vec<PeerStatus>> {
    let Reply::Peers { peers } = answer.reply else { return Err(foreign()) };
    Ok(peers)
}

impl Add {
    fn request(self) -> Result<Request> {
        Ok(Request::PeerAdd {
            peer: self.peer,
            name: self.name,
            addresses: self.addresses,
            allowed_ips: self.allowed_ips,
            psk: self.psk_file.as_deref().map(read_psk).transpose()?,
            require_chain: self.require_chain,
            up: !self.down,
            forward: self.forward,
        })
    }
}

impl Set {
    fn request(self) -> Result<Request> {
        let psk = match self.psk_file.as_deref() {
            Some(file) => Some(read_psk(file)?),
            None => self.no_psk.then(|| SecretText::new("none".into())),
        };
        Ok(Request::PeerSet {
            peer: self.peer,
            name: self.name,
            addresses: self.addresses.or(self.no_addresses.then(Vec::new)),
            allowed_ips: self.allowed_ips,
            psk,
            require_chain: either(self.require_chain, self.no_require_chain),
            up: either(self.up, self.down),
            forward: either(self.forward, self.no_forward),
        })
    }
}

/// What two flags that exclude each other say, if one of them was given.
const fn either(yes: bool, no: bool) -> Option<bool> {
    match (yes, no) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

/// The PSK in a file that the caller may read: the daemon opens no file for a caller.
fn read_psk(file: &Path) -> Result<SecretText> {
    /// Hex has 64 digits; nothing good is longer than this.
    const LIMIT: u64 = 1024;
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().take(LIMIT).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(LIMIT).read_to_string(&mut text))
    };
    let text = SecretText::new(text);
    read.map_err(|error| local(format_args!("read the PSK from {}", file.display()), &error))?;
    let psk = SecretText::new(text.expose().trim().to_owned());
    if psk.expose().is_empty() {
        let error = ErrorBody::new(ErrorCode::BadRequest, format!("there is no PSK in {}", file.display()));
        return Err(error.hint("openssl rand -base64 32 makes one; both sides need the same"));
    }
    Ok(psk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_psk_file_is_read_without_its_line_break_and_an_empty_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("psk");
        std::fs::write(&file, "AAEC\n").unwrap();
        assert_eq!(read_psk(&file).unwrap().expose(), "AAEC");
        std::fs::write(&file, "\n").unwrap();
        assert_eq!(read_psk(&file).unwrap_err().code, ErrorCode::BadRequest);
        assert!(read_psk(&dir.path().join("absent")).unwrap_err().message.contains("absent"));
    }
}
