//! What keeps a peer from being connected, or its frames from the direct way: for `status`, and once for the log.

use std::net::SocketAddr;

use cryprq_ipc_proto::message::Obstacle;
use net::address::{is_quic, relay_of};
use net::swarm::{DialFailure, DialFault};
use node::path::{LEAST_MTU, Path};
use node::peer_key::PeerKey;
use node::state::PeerState;
use node::tunnel::Want;

use super::Supervisor;
use super::peer::Peer;
use crate::config::CarrierRule;

impl Supervisor {
    /// A dial of a peer reached nobody. It is said once until somebody is reached.
    pub(super) fn not_reached(&mut self, peer: PeerKey, failure: DialFailure) {
        tracing::debug!(%peer, error = failure.text, "not reached; trying again");
        let Some(&slot) = self.slots.get(&peer) else { return };
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        let news = peer.not_reached.as_ref().is_none_or(|known| known.fault != failure.fault);
        if news && peer.connections.is_empty() {
            let reason = match failure.fault {
                DialFault::Unreachable => "nobody answers at its addresses",
                DialFault::AnotherHost => "another host answers at its address",
            };
            tracing::warn!(peer = slot.0, reason, "a peer is not reached, and tried again; 'cryprq status' says more");
        }
        peer.not_reached = Some(failure);
    }
}

/// What keeps a peer from being connected.
pub(super) fn to_connecting(peer: &Peer, state: PeerState) -> Option<Obstacle> {
    let missing = match state {
        PeerState::Connecting | PeerState::Stalled => true,
        PeerState::Idle | PeerState::Connected | PeerState::Refused(_) => false,
    };
    if !missing || peer.want == Want::Down || !peer.connections.is_empty() {
        return None;
    }
    let told =
        |code: &str, text: String, hint: &str| Some(Obstacle { code: code.into(), text, hint: Some(hint.into()) });
    match &peer.not_reached {
        None if peer.config.addresses.is_empty() => told(
            "no_address",
            "no address of it is known here, so it has to connect by itself".into(),
            "if neither host is reachable from outside, use a relay; 'cryprq netcheck' says what this network allows",
        ),
        None => None,
        Some(DialFailure { fault: DialFault::Unreachable, text }) => told(
            "unreachable",
            format!("not reached: {text}"),
            "is the host on, and does its firewall let the port in, UDP and TCP? 'cryprq netcheck' there says more",
        ),
        Some(DialFailure { fault: DialFault::AnotherHost, text }) => told(
            "another_host",
            format!("not reached: {text}"),
            "compare the peer's id with what 'cryprq status' says there, and its address",
        ),
    }
}

/// What mends a narrow path.
pub(super) const HOW_TO_WIDEN: &str =
    "find the link on the way whose MTU is below 1340 (1360 with IPv6), or set network.mtu to what passes";

/// That datagrams to an address must be too short.
pub(super) fn too_narrow(remote: SocketAddr) -> String {
    format!("datagrams to {remote} may not have {LEAST_MTU} bytes inside")
}

/// Why the frames of a connected peer do not go by datagrams directly to it.
pub(super) fn to_directness(peer: &Peer, carrier: CarrierRule) -> Option<Obstacle> {
    if let Path::Datagrams(_) = peer.paths.current() {
        return None;
    }
    let told = |code: &str, text: String, hint: Option<&str>| {
        Some(Obstacle { code: code.into(), text, hint: hint.map(str::to_owned) })
    };
    if carrier == CarrierRule::Stream {
        return told("carrier", "the configuration says carrier = \"stream\"".into(), None);
    }
    if let Some(remote) = peer.paths.narrow() {
        return told("narrow_path", too_narrow(remote), Some(HOW_TO_WIDEN));
    }
    let mut direct = peer.connections.values().filter(|address| relay_of(address).is_none()).peekable();
    if direct.peek().is_none() {
        let text = match (&peer.not_punched, &peer.not_reached) {
            (Some(error), _) => format!("only a relay connects both hosts; no hole could be punched: {error}"),
            (None, Some(failure)) => format!("only a relay connects both hosts; {}", failure.text),
            (None, None) => "only a relay connects both hosts so far; a direct way is being tried".into(),
        };
        return told("relayed", text, Some("forward the UDP port at one of the hosts; 'cryprq netcheck' says more"));
    }
    if direct.any(is_quic) {
        let text = "the peer does not answer datagrams with frames, though QUIC passes".into();
        return told("no_answer", text, Some("does the peer have carrier = \"stream\"? else a firewall drops them"));
    }
    let text = peer.not_reached.as_ref().map_or_else(
        || "only TCP passes so far; UDP is being tried".into(),
        |failure| format!("only TCP passes; {}", failure.text),
    );
    told("no_udp", text, Some("let the UDP port through, at both ends"))
}
