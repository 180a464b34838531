//! One peer, and how its tunnel is driven.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use net::address::relay_of;
use net::plane::PeerStats;
use net::swarm::{DialFailure, NetEvent};
use net::{Multiaddr, peer_id};
use node::handshake::{HandshakeError, RejectCode, Tlv};
use node::path::{Input as PathInput, Paths};
use node::peer_key::PeerKey;
use node::router::PeerSlot;
use node::secret::StoredSecret;
use node::state::PeerState;
use node::time::Time;
use node::tunnel::{ChainStart, ConnectionId, HandshakeFault, Input, Output, Tunnel, TunnelEvent, Want};
use os::clock::boottime;

use super::candidates::Sight;
use super::health::Fault;
use super::rates::{Carried, Rates};
use super::{Origin, Supervisor};
use crate::config::{CarrierRule, PeerConfig};

pub(super) struct Peer {
    /// Without its PSK.
    pub(super) config: PeerConfig,
    pub(super) origin: Origin,
    /// The PSK that its tunnel has too.
    pub(super) psk: Option<StoredSecret>,
    pub(super) tunnel: Tunnel,
    pub(super) paths: Paths,
    pub(super) stats: Arc<PeerStats>,
    /// What is wanted now.
    pub(super) want: Want,
    /// What `up` or `down` asked for, where that is not what the configuration says.
    pub(super) wish: Option<Want>,
    /// The newest comes last.
    pub(super) connections: BTreeMap<ConnectionId, Multiaddr>,
    pub(super) round_trip: Option<Duration>,
    /// Where it last saw our datagrams come from.
    pub(super) sight: Sight,
    /// Why the last dial reached nobody.
    pub(super) not_reached: Option<DialFailure>,
    /// Why the last hole was not punched.
    pub(super) not_punched: Option<String>,
    pub(super) rates: Rates,
    pub(super) chain_resets: u64,
    /// The extensions that it is told.
    pub(super) told: Vec<Tlv>,
}

impl Peer {
    /// What its tunnel carried.
    pub(super) fn carried(&self) -> Carried {
        Carried {
            received: self.stats.rx_bytes(),
            sent: self.stats.tx_bytes(),
            frames: self.stats.rx_frames(),
            sealed: self.stats.peer_frames(),
        }
    }

    /// When time alone changes something.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.tunnel.deadline().into_iter().chain(self.paths.deadline()).min()
    }

    /// Notes what its tunnel has carried up to now.
    pub(super) fn sample(&mut self, now: Time) {
        self.rates.sample(now, self.carried());
    }

    /// The other end of the connection that serves it: the newest direct one, or the newest by a relay.
    pub(super) fn used(&self) -> Option<&Multiaddr> {
        let ranked = self.connections.iter();
        ranked.max_by_key(|(number, address)| (relay_of(address).is_none(), **number)).map(|(_, address)| address)
    }

    /// What is to be wanted of it when the daemon starts.
    pub(super) fn wanted(&self) -> Want {
        self.wish.unwrap_or(if self.config.up { Want::Up } else { Want::Down })
    }
}

/// Whatever of the inner network belongs to some peers.
pub(super) fn prefixes<'p>(peers: impl Iterator<Item = &'p Peer>) -> BTreeSet<IpNet> {
    peers.flat_map(|peer| &peer.config.allowed_ips).map(IpNet::trunc).collect()
}

impl Supervisor {
    pub(super) async fn on_net(&mut self, event: NetEvent) {
        let (peer, input) = match event {
            NetEvent::Listening(address) => {
                tracing::debug!(%address, "listening");
                return self.listens(address);
            }
            NetEvent::ListeningEnded(address) => {
                tracing::debug!(%address, "not listening any more");
                return self.listening.retain(|listening| *listening != address);
            }
            NetEvent::PairingAsked { peer, stream, p1 } => return self.on_pairing_asked(peer, stream, &p1).await,
            NetEvent::PairingAnswered { peer, answer } => return self.on_pairing_answered(peer, answer).await,
            NetEvent::PairingFailed { peer, error } => return self.on_pairing_failed(peer, error),
            NetEvent::ListenerFailed { address, error } => {
                return self.does_not_listen(&address, &error);
            }
            NetEvent::Checked { address, reachable } => return self.checked(address, reachable),
            NetEvent::Reserved { relay } => return self.reserved(relay),
            NetEvent::Unreserved { relay, error } => return self.unreserved(&relay, &error),
            NetEvent::DialFailed { peer, failure } => return self.not_reached(peer, failure),
            NetEvent::Candidates { peer, message } => return self.on_candidates(peer, &message).await,
            NetEvent::NotPunched { peer, error } => {
                if let Some(peer) = self.slots.get(&peer).and_then(|slot| self.peers.get_mut(slot)) {
                    peer.not_punched = Some(error);
                }
                return;
            }
            NetEvent::RoundTrip { peer, time } => {
                if let Some(peer) = self.slots.get(&peer).and_then(|slot| self.peers.get_mut(slot)) {
                    peer.round_trip = Some(time);
                }
                return;
            }
            NetEvent::ConnectionUp { peer, connection, dialled, address, endpoint } => {
                self.heap.used();
                tracing::debug!(%peer, %address, "connection up");
                let Some(&slot) = self.slots.get(&peer) else { return };
                self.reached.note(peer, &address, dialled);
                if let Some(peer) = self.peers.get_mut(&slot) {
                    if relay_of(&address).is_none() {
                        (peer.not_reached, peer.not_punched) = (None, None);
                    }
                    peer.connections.insert(connection, address);
                }
                self.exit.look_again();
                // Where frames are to go by streams alone, nothing else is tried.
                if let Some(endpoint) = endpoint.filter(|_| self.config.carrier == CarrierRule::Auto) {
                    self.feed_paths(slot, PathInput::Connected { connection, endpoint }).await;
                }
                (peer, Input::ConnectionUp { connection, dialled })
            }
            NetEvent::ConnectionDown { peer, connection } => {
                self.heap.used();
                tracing::debug!(%peer, "connection down");
                let Some(&slot) = self.slots.get(&peer) else { return };
                if let Some(peer) = self.peers.get_mut(&slot) {
                    peer.connections.remove(&connection);
                }
                self.exit.look_again();
                self.feed_paths(slot, PathInput::Disconnected { connection }).await;
                (peer, Input::ConnectionDown { connection })
            }
            NetEvent::HandshakeIncoming { peer, connection, attempt } => {
                (peer, Input::IncomingStream { connection, attempt })
            }
            NetEvent::HandshakeOpened { peer, attempt } => (peer, Input::StreamOpened { attempt }),
            NetEvent::HandshakeFailed { peer, attempt } => (peer, Input::StreamFailed { attempt }),
            NetEvent::HandshakeMessage { peer, attempt, bytes } => (peer, Input::Message { attempt, bytes }),
            NetEvent::HandshakeClosed { peer, attempt } => (peer, Input::StreamClosed { attempt }),
        };
        if let Some(&slot) = self.slots.get(&peer) {
            self.feed(slot, input).await;
        }
    }

    /// Tells a tunnel what happened and does what it says, in its order.
    pub(super) async fn feed(&mut self, slot: PeerSlot, input: Input) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        peer.tunnel.handle(boottime(), input);
        let key = peer.config.key;
        while let Some(output) = self.peers.get_mut(&slot).and_then(|peer| peer.tunnel.poll_output()) {
            self.obey(slot, key, output).await;
        }
        self.renew_deadline(slot);
    }

    /// After something happened to a peer's tunnel or its paths.
    pub(super) fn renew_deadline(&mut self, slot: PeerSlot) {
        self.deadlines.set(slot, self.peers.get(&slot).and_then(Peer::deadline));
    }

    async fn obey(&mut self, slot: PeerSlot, key: PeerKey, output: Output) {
        match output {
            Output::OpenStream { connection: _, attempt } => self.net.open_handshake(key, attempt).await,
            Output::Send { attempt, bytes } => self.net.send_handshake(key, attempt, bytes).await,
            Output::CloseStream { attempt, how } => self.net.close_handshake(key, attempt, how).await,
            Output::Install { opener } => self.plane.install(slot, *opener),
            Output::Remove { index } => self.plane.remove(index),
            Output::SendWith(sealer) => {
                let gone = sealer.is_none();
                self.plane.set_sealer(slot, sealer);
                if gone {
                    Box::pin(self.feed_paths(slot, PathInput::NotLive)).await;
                }
            }
            Output::SendEmpty => self.plane.send_empty(slot),
            Output::SendProbe { token } => {
                self.plane.send_probe(slot, token);
                Box::pin(self.feed_paths(slot, PathInput::Sending)).await;
            }
            Output::SendProbeAck { token, via } => self.plane.send_probe_ack(slot, token, via),
            Output::NeedConnection => self.net.dial_another(key).await,
            // A handshake follows on the control connection. That may be as dead as the path, which only its ping would
            // find out, so another is dialled beside it.
            Output::PathDead => {
                self.show_up(slot);
                Box::pin(self.feed_paths(slot, PathInput::Dead)).await;
                // What the peer sends does not arrive, either, or its answers would: it is told by the way that is left.
                self.plane.send_empty(slot);
                self.net.dial_another(key).await;
            }
            Output::Event(event) => {
                self.on_paired_event(key, &event).await;
                if let TunnelEvent::Rotated { mtu, .. } = event {
                    Box::pin(self.feed_paths(slot, PathInput::Live { mtu })).await;
                }
                self.on_event(slot, event);
            }
        }
    }

    fn on_event(&mut self, slot: PeerSlot, event: TunnelEvent) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        // The number says which peer without saying who: names, keys and addresses stay below INFO.
        let number = slot.0;
        match event {
            TunnelEvent::StateChanged(state) => {
                tracing::info!(peer = number, state = state.name(), "state");
                self.judge_peer(slot, state);
            }
            TunnelEvent::Rotated { role, cipher, .. } => {
                tracing::info!(peer = number, ?role, cipher = cipher.name(), "new keys");
                self.health.clear(Fault::PeerRefused, &peer_id::format(peer.config.key));
                self.exit.look_again();
            }
            TunnelEvent::ChainReset(ChainStart::First) => tracing::debug!(peer = number, "first keys"),
            TunnelEvent::ChainReset(ChainStart::PeerLost) => {
                peer.chain_resets += 1;
                tracing::warn!(
                    peer = number,
                    "the peer lost its chain key: it was restarted, or somebody has its identity"
                );
            }
            TunnelEvent::Rejected(code) => {
                tracing::warn!(peer = number, reason = %code, "the peer refuses us");
                // While older keys are good the state says nothing of it.
                self.peer_refuses(slot, code);
            }
            TunnelEvent::HandshakeFailed { role, fault } => {
                tracing::warn!(peer = number, ?role, reason = fault.name(), "a handshake failed");
                if fault == HandshakeFault::ChainRequired {
                    self.chain_reset_needed(slot);
                } else if fault == HandshakeFault::Message(HandshakeError::PskMismatch) {
                    self.has_another_psk(slot);
                }
            }
            TunnelEvent::KeysExpired => tracing::warn!(peer = number, "keys expired without successors"),
            TunnelEvent::PathDead => tracing::info!(peer = number, "no answer on the path"),
        }
    }

    /// Notes what a peer's state asks of a person.
    pub(super) fn judge_peer(&mut self, slot: PeerSlot, state: PeerState) {
        let Some(peer) = self.peers.get(&slot) else { return };
        let subject = peer_id::format(peer.config.key);
        if let PeerState::Refused(code) = state {
            self.peer_refuses(slot, code);
        } else {
            self.health.clear(Fault::PeerRefused, &subject);
        }
        if matches!(state, PeerState::Connected | PeerState::Idle) {
            self.health.clear(Fault::ChainResetNeeded, &subject);
        }
    }

    fn peer_refuses(&mut self, slot: PeerSlot, code: RejectCode) {
        let Some(peer) = self.peers.get(&slot) else { return };
        let hint = match code {
            RejectCode::Version | RejectCode::Suite => "run the same version of CrypRQ on both hosts",
            RejectCode::ChainUnknown | RejectCode::Busy | RejectCode::Policy => {
                "give both hosts the same PSK or none; with require_chain, accept the chain reset on both hosts"
            }
        };
        let (subject, name) = (peer_id::format(peer.config.key), &peer.config.name);
        self.health.note(Fault::PeerRefused, &subject, format!("peer {name} refuses us: {code}"), hint);
    }

    /// The peer asked with a PSK that is not ours: it is told, and so is who looks at this host.
    fn has_another_psk(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get(&slot) else { return };
        let (subject, name) = (peer_id::format(peer.config.key), &peer.config.name);
        let text = format!("peer {name} asks with another PSK than ours, or without one");
        self.health.note(Fault::PeerRefused, &subject, text, "give both hosts the same PSK or none");
    }

    pub(super) fn chain_reset_needed(&mut self, slot: PeerSlot) {
        let Some(peer) = self.peers.get(&slot) else { return };
        let (subject, name) = (peer_id::format(peer.config.key), &peer.config.name);
        let text = format!("peer {name} has no chain key that we know, and require_chain demands one");
        let hint = format!("if that host was restarted: sudo cryprq peers accept-chain-reset {name}, on both hosts");
        self.health.note(Fault::ChainResetNeeded, &subject, text, &hint);
    }

    /// Forgets what was wrong with a peer that is gone.
    pub(super) fn absolve(&mut self, key: PeerKey) {
        let subject = peer_id::format(key);
        for fault in [Fault::PeerRefused, Fault::ChainResetNeeded, Fault::NarrowPath] {
            self.health.clear(fault, &subject);
        }
    }
}
