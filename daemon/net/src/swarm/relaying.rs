//! Relays, as the swarm's task uses them and is one.

use libp2p::core::transport::ListenerId;
use libp2p::{Multiaddr, PeerId, relay};

use super::dialer::is_outer;
use super::task::{Task, told};
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

    pub(super) fn on_relay(&mut self, event: &relay::client::Event) {
        match event {
            relay::client::Event::ReservationReqAccepted { relay_peer_id, .. } => {
                if let Some(relay) = self.relays.granted(relay_peer_id).cloned() {
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
