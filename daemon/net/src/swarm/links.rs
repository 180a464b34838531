//! What the swarm's task does with connections as they come and go.

use libp2p::core::ConnectedPoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::ConnectionId as SwarmConnection;
use libp2p::swarm::dial_opts::PeerCondition;
use libp2p::{Multiaddr, PeerId, Stream, autonat, identify, ping};
use node::path::Endpoint;
use node::tunnel::{ConnectionId, Dialled};
use tokio::sync::oneshot;

use super::NetEvent;
use super::candidates::{self, PATH};
use super::connections::Way;
use super::dialer::Dialer;
use super::handshakes::TUNNEL;
use super::lan::Found;
use super::outer::may_be_told;
use super::relays::Relays;
use super::streams::Arrived;
use super::task::{Task, random};
use crate::quic::End;
use crate::stream::read_frames;

impl Task {
    pub(super) fn pinged(&mut self, ping: ping::Event) {
        match ping.result {
            Ok(time) => {
                for older in self.connections.replaced_by(ping.connection) {
                    let _ = self.swarm.close_connection(older);
                }
                self.proven(ping.peer, ping.connection);
                if let Some(peer) = self.peers.get(&ping.peer).filter(|peer| peer.best == Some(ping.connection)) {
                    self.outbox.push_back(NetEvent::RoundTrip { peer: peer.key, time });
                }
            }
            // TCP alone would hold a connection into the void for a quarter of an hour, and new substreams with it.
            Err(ping::Failure::Timeout | ping::Failure::Other { .. }) => {
                let _ = self.swarm.close_connection(ping.connection);
            }
            Err(ping::Failure::Unsupported) => {}
        }
    }

    pub(super) fn on_identified(&mut self, event: &identify::Event) {
        if let identify::Event::Received { connection_id, info, .. } = event {
            self.swarm.behaviour_mut().observed.note(*connection_id, &info.observed_addr);
        }
    }

    /// Somebody on the same network says who is where: wanted peers are dialled there, nobody else is.
    pub(super) fn found(&mut self, Found { peer, mut addresses }: Found) {
        addresses.retain(|address| may_be_told(address, &self.inner));
        let direct = self.connections.has(&peer, Way::Quic);
        if direct || addresses.is_empty() || !self.dialer.may_follow(&peer, (self.clock)()) {
            return;
        }
        tracing::debug!(%peer, "a peer is on the same network");
        self.dial(peer, addresses, PeerCondition::NotDialing);
    }

    pub(super) fn checked(&mut self, event: &autonat::v2::client::Event) {
        let (address, reachable) = (event.tested_addr.clone(), event.result.is_ok());
        let error = event.result.as_ref().err().map(ToString::to_string);
        tracing::debug!(%address, reachable, error, "it was tried to reach us");
        self.outbox.push_back(NetEvent::Checked { address, reachable });
    }

    pub(super) fn connected(&mut self, id: PeerId, connection: SwarmConnection, endpoint: &ConnectedPoint) {
        if let ConnectedPoint::Dialer { port_use: PortUse::New, .. } = endpoint {
            // A check whether the peer can be reached.
            return;
        }
        if self.gate().is_visit(connection) {
            if endpoint.is_dialer() && self.pairings.asked(&id).is_some() {
                self.gate().open(id, connection);
            }
            return;
        }
        if self.peers.contains_key(&id) {
            tracing::debug!(peer = %id, address = %other_end(endpoint), "a connection stands");
            self.connections.insert(id, connection, endpoint);
            self.dialer.connected(&id, (self.clock)());
            if !endpoint.is_relayed() {
                self.relays.connected(&id, (self.clock)());
            }
            self.settle(id);
        }
    }

    /// Closes every connection to a peer and dials no more.
    pub(super) fn say_farewell(&mut self, done: oneshot::Sender<()>) {
        self.dialer = Dialer::default();
        self.relays = Relays::default();
        for peer in self.peers.keys() {
            // An error means that there is no connection to close.
            let _ = self.swarm.disconnect_peer_id(*peer);
        }
        self.farewell = (!self.connections.is_empty()).then_some(done);
    }

    pub(super) fn disconnected(&mut self, id: PeerId, connection: SwarmConnection) {
        let Some((gone, number)) = self.connections.remove(connection) else {
            // A visit. Ours to an inviter is paid again until the join is over.
            if self.pairings.asked(&id).is_some() {
                self.dialer.failed(&id, (self.clock)(), random());
            }
            return;
        };
        tracing::debug!(peer = %id, address = %other_end(&gone.endpoint), "a connection ended");
        if self.connections.is_empty() {
            // Who waits for the end hears it when this is dropped.
            self.farewell = None;
        }
        if let Some((peer, connection)) = self.peers.get(&id).zip(number) {
            self.outbox.push_back(NetEvent::ConnectionDown { peer: peer.key, connection });
        }
        if !self.connections.any(&id) {
            self.dialer.disconnected(&id, (self.clock)(), random());
        }
        self.settle(id);
    }

    fn proven(&mut self, id: PeerId, connection: SwarmConnection) {
        self.connections.prove(connection);
        self.settle(id);
    }

    /// Tells of connections that count from now on, and lets substreams follow the best one.
    pub(super) fn settle(&mut self, id: PeerId) {
        if self.connections.has(&id, Way::Quic) {
            self.dialer.settled(&id);
        } else {
            self.dialer.lacking(&id, (self.clock)());
        }
        let news = self.connections.newly_counting(&id);
        let best = self.connections.best(&id);
        // Whoever dialled has the addresses, tries for a better way, and gives circuits back.
        match (best, self.connections.circuits(&id).is_empty()) {
            (Some(best), _) if best.way < Way::Quic && best.dialled == Dialled::ByUs => {
                self.upgrades.lacking(id, (self.clock)());
            }
            (Some(_), false) => self.upgrades.doubly(id, (self.clock)()),
            (Some(_), true) | (None, _) => self.upgrades.settled(&id),
        }
        let best = best.map(|best| best.swarm);
        self.swarm.behaviour_mut().streams.inner_mut().prefer(id, best);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.best != best && peer.best.is_some_and(|older| self.connections.is_doubted(older)) {
            // Else a handshake would wait for its time-out, and a peer that moved with it.
            for attempt in self.handshakes.give_up_ours(peer.key) {
                self.outbox.push_back(NetEvent::HandshakeFailed { peer: peer.key, attempt });
            }
        }
        for (connection, known) in news {
            let (dialled, address) = (known.dialled, other_end(&known.endpoint));
            let end = (known.way == Way::Quic).then(|| self.ends.newest(&id, &address)).flatten();
            let endpoint = end.map(|End { remote, local }| {
                // Whom we dialled answers whichever address of ours the kernel chooses.
                Endpoint { remote, local: local.filter(|_| dialled == Dialled::ByPeer) }
            });
            self.outbox.push_back(NetEvent::ConnectionUp { peer: peer.key, connection, dialled, address, endpoint });
        }
        if peer.best != best {
            let address = self.connections.best(&id).map(|best| other_end(&best.endpoint));
            tracing::debug!(peer = %peer.key, address = address.as_ref().map(tracing::field::display), "substreams go on");
            peer.best = best;
            peer.carrier.move_over();
            peer.carrier.set_open(best.is_some());
        }
    }

    pub(super) fn on_stream(&mut self, arrived: Arrived) {
        let Arrived { peer, connection, protocol, stream } = arrived;
        self.proven(peer, connection);
        // Dropping the stream resets it: nothing is read from who is not in the table.
        let Some(number) = self.connections.number(connection).filter(|_| self.peers.contains_key(&peer)) else {
            return;
        };
        if protocol == TUNNEL {
            self.on_tunnel_stream(peer, number, stream);
        } else if protocol == PATH {
            self.on_path_stream(peer, stream);
        } else {
            self.on_data_stream(peer, stream);
        }
    }

    fn on_tunnel_stream(&mut self, id: PeerId, connection: ConnectionId, stream: Stream) {
        let Some(key) = self.peers.get(&id).map(|peer| peer.key) else { return };
        let attempt = self.handshakes.next_incoming();
        self.outbox.push_back(NetEvent::HandshakeIncoming { peer: key, connection, attempt });
        self.handshakes.accept(key, attempt, stream);
    }

    fn on_path_stream(&mut self, id: PeerId, stream: Stream) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let reader = candidates::listen(peer.key, stream, self.stream_events_sender.clone());
        if let Some(older) = peer.candidates.replace(reader) {
            older.abort();
        }
    }

    fn on_data_stream(&mut self, id: PeerId, stream: Stream) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (slot, stats, inbound) = (peer.slot, peer.carrier.stats(), std::sync::Arc::clone(&self.inbound));
        let reader = tokio::spawn(async move {
            if let Err(error) = read_frames(stream, slot, &stats, &inbound).await {
                tracing::debug!(%error, "a data substream ended");
            }
        });
        if let Some(older) = peer.reader.replace(reader) {
            older.abort();
        }
    }
}

/// Where the other end is. Of a circuit that came in only the relay's address is known.
fn other_end(endpoint: &ConnectedPoint) -> Multiaddr {
    match endpoint {
        ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => local_addr.clone(),
        ConnectedPoint::Listener { .. } | ConnectedPoint::Dialer { .. } => endpoint.get_remote_address().clone(),
    }
}
