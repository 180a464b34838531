//! Relays, as the swarm's task uses them and is one.

use libp2p::core::transport::ListenerId;
use libp2p::swarm::dial_opts::PeerCondition;
use libp2p::{Multiaddr, PeerId, dcutr, relay};

use super::dialer::is_outer;
use super::task::{Task, told};
use super::upgrades::Step;
use super::{NetEvent, Serve};
use crate::address::{ip_of, is_reachable, relay_of};

impl Task {
    /// Asks relays for reservations. One that is a wanted peer is left to the dialler until it is connected.
    pub(super) fn keep_reserved(&mut self) {
        let now = (self.clock)();
        let Self { relays, swarm, inner, dialer, connections, .. } = self;
        let ready = |id: &PeerId| connections.any(id) || dialer.addresses(id).is_none();
        relays.reserve(now, ready, |address| {
            if !is_outer(&address, inner) {
                return Err("the relay's address is inside the tunnel".to_owned());
            }
            swarm.listen_on(address).map_err(|error| told(&error))
        });
    }

    /// Asks for a circuit where no connection is direct and by QUIC, so that DCUtR tries for one, and gives circuits back
    /// that are not needed. A relayed connection that is made for a try replaces the older.
    pub(super) fn upgrade_due(&mut self) {
        for (peer, step) in self.upgrades.due((self.clock)()) {
            match step {
                Step::Try => {
                    let mut addresses = self.dialer.addresses(&peer).unwrap_or_default();
                    addresses.retain(|address| relay_of(address).is_some());
                    if !addresses.is_empty() {
                        self.dial(peer, addresses, PeerCondition::Always);
                    }
                }
                Step::Release => {
                    for circuit in self.connections.circuits(&peer) {
                        let _ = self.swarm.close_connection(circuit);
                    }
                }
            }
        }
    }

    pub(super) fn punched(&mut self, event: &dcutr::Event) {
        let peer = event.remote_peer_id;
        match &event.result {
            Ok(_) => tracing::debug!(%peer, "a hole was punched"),
            Err(error) => {
                tracing::debug!(%peer, error = told(error), "no hole could be punched");
                // It is only the side that listened which hears of tries that failed.
                self.upgrades.not_begun(&peer, (self.clock)());
                if let Some(key) = self.peers.get(&peer).map(|peer| peer.key) {
                    self.outbox.push_back(NetEvent::NotPunched { peer: key, error: told(error) });
                }
            }
        }
    }

    pub(super) fn on_relay(&mut self, event: &relay::client::Event) {
        match event {
            relay::client::Event::ReservationReqAccepted { relay_peer_id, .. } => {
                if let Some(relay) = self.relays.granted(relay_peer_id, (self.clock)()).cloned() {
                    self.outbox.push_back(NetEvent::Reserved { relay });
                }
            }
            // The connection that comes of it is told like any other.
            relay::client::Event::OutboundCircuitEstablished { .. }
            | relay::client::Event::InboundCircuitEstablished { .. } => {}
        }
    }

    pub(super) fn unreserved(&mut self, listener: ListenerId, error: Option<String>) {
        let Some((relay, known)) = self.relays.closed(listener, (self.clock)()) else { return };
        let error = error.or(known).unwrap_or_else(|| "the connection to it ended".to_owned());
        self.outbox.push_back(NetEvent::Unreserved { relay, error });
    }

    /// We listen at an address, and as a relay say so to whom we keep a place for.
    pub(super) fn listens(&mut self, address: Multiaddr) {
        if self.is_served(&address) {
            self.swarm.add_external_address(address.clone());
        }
        self.outbox.push_back(NetEvent::Listening(address));
    }

    pub(super) fn listens_no_more(&mut self, address: Multiaddr) {
        if self.is_served(&address) {
            self.swarm.remove_external_address(&address);
        }
        self.outbox.push_back(NetEvent::ListeningEnded(address));
    }

    fn is_served(&self, address: &Multiaddr) -> bool {
        let reachable = ip_of(address).is_some_and(is_reachable) && is_outer(address, &self.inner);
        self.serve == Serve::Peers && reachable && relay_of(address).is_none()
    }
}
