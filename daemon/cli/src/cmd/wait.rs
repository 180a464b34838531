//! `cryprq wait`.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::{PeerStatus, Status};

use super::{Context, follow};
use crate::error::Result;
use crate::exit::Exit;

/// Wait until a peer is connected, or is not any more.
#[derive(clap::Args)]
#[command(after_help = "Ends with 6 when the time is over.")]
pub(crate) struct Wait {
    /// What to wait for.
    #[arg(long = "for", value_enum, value_name = "STATE", default_value_t = Goal::Connected)]
    goal: Goal,
    /// The peer: its name, its PeerId, or the beginning of its PeerId; any is connected, or none is, unless given.
    peer: Option<String>,
    /// How long to wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Goal {
    Connected,
    Disconnected,
}

impl Wait {
    pub(crate) fn run(self, context: &Context<'_>) -> Result<Exit> {
        let end = Instant::now().checked_add(Duration::from_secs(self.timeout));
        // A name may change hands while we wait, a PeerId does not.
        let mut whom = None;
        let reached = follow::status(context, end, |_, status| {
            if whom.is_none() {
                whom = self.peer.as_deref().map(|name| named(status, name)).transpose()?;
            }
            Ok(if self.goal.is_reached(status, whom.as_deref()) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        })?;
        if reached.is_none() {
            return Err(self.overdue());
        }
        context.done()
    }

    fn overdue(&self) -> ErrorBody {
        let peer = self.peer.as_deref().unwrap_or(if self.goal == Goal::Connected { "no peer" } else { "a peer" });
        let what = match (self.goal, &self.peer) {
            (Goal::Connected, Some(_)) => "is not connected",
            (Goal::Connected, None) => "is connected",
            (Goal::Disconnected, _) => "is still connected",
        };
        ErrorBody::new(ErrorCode::TimedOut, format!("after {} s {peer} {what}", self.timeout))
            .hint("cryprq status says what is missing")
    }
}

impl Goal {
    /// Whether the peer with this PeerId is where it should be; without one, whether any peer is, or none.
    fn is_reached(self, status: &Status, id: Option<&str>) -> bool {
        let connected = status.peers.iter().any(|peer| id.is_none_or(|id| id == peer.id) && peer.state == "connected");
        match self {
            Self::Connected => connected,
            Self::Disconnected => !connected,
        }
    }
}

/// The PeerId of the peer with this name, this PeerId or this beginning of a PeerId.
fn named(status: &Status, name: &str) -> Result<String> {
    let by_name = |peer: &&PeerStatus| peer.name == name;
    let by_id = |peer: &&PeerStatus| !name.is_empty() && peer.id.starts_with(name);
    let mut found: Vec<_> = status.peers.iter().filter(by_name).collect();
    if found.is_empty() {
        found = status.peers.iter().filter(by_id).collect();
    }
    if let [peer] = found[..] {
        return Ok(peer.id.clone());
    }
    let what = if found.is_empty() { "no peer is" } else { "more than one peer is" };
    Err(ErrorBody::new(ErrorCode::UnknownPeer, format!("{what} called '{name}'")).hint("cryprq peers shows them"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::example;

    #[test]
    fn a_peer_is_found_by_name_by_its_peer_id_and_by_the_beginning_of_one_peer_id_only() {
        let status = example::status();
        let found = |name| named(&status, name).map_err(|error| error.code);
        assert_eq!(found("gateway").as_deref(), Ok("12D3KooWGateway"));
        assert_eq!(found("12D3KooWPhone").as_deref(), Ok("12D3KooWPhone"));
        assert_eq!(found("12D3KooWG").as_deref(), Ok("12D3KooWGateway"));
        assert_eq!((found("12D3"), found("nobody"), found("")), {
            let unknown = || Err(ErrorCode::UnknownPeer);
            (unknown(), unknown(), unknown())
        });
    }

    #[test]
    fn without_a_peer_connected_means_any_and_disconnected_means_all() {
        let mut status = example::status();
        let reached = |status: &Status, id| Goal::Connected.is_reached(status, id);
        assert!(reached(&status, None) && reached(&status, Some("12D3KooWGateway")));
        assert!(!reached(&status, Some("12D3KooWPhone")));
        assert!(!Goal::Disconnected.is_reached(&status, None));
        status.peers[0].state = "stalled".into();
        assert!(!reached(&status, None) && Goal::Disconnected.is_reached(&status, None));
    }
}
