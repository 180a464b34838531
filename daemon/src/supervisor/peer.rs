//! One peer, and how its tunnel is driven.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use net::Multiaddr;
use net::plane::PeerStats;
use net::swarm::NetEvent;
use node::peer_key::PeerKey;
use node::router::PeerSlot;
use node::secret::StoredSecret;
use node::tunnel::{ChainStart, ConnectionId, Input, Output, Tunnel, TunnelEvent, Want};
use os::clock::boottime;

use super::{Origin, Supervisor};
use crate::config::PeerConfig;

pub(super) struct Peer {
    /// Without its PSK.
    pub(super) config: PeerConfig,
    pub(super) origin: Origin,
    /// The PSK that its tunnel has too.
    pub(super) psk: Option<StoredSecret>,
    pub(super) tunnel: Tunnel,
    pub(super) stats: Arc<PeerStats>,
    /// What is wanted now.
    pub(super) want: Want,
    /// What `up` or `down` asked for, where that is not what the configuration says.
    pub(super) wish: Option<Want>,
    /// The newest comes last.
    pub(super) connections: BTreeMap<ConnectionId, Multiaddr>,
    pub(super) round_trip: Option<Duration>,
    pub(super) chain_resets: u64,
}

impl Peer {
    /// What is to be wanted of it when the daemon starts.
    pub(super) fn wanted(&self) -> Want {
        self.wish.unwrap_or(if self.config.up { Want::Up } else { Want::Down })
    }
}

impl Supervisor {
    pub(super) async fn on_net(&mut self, event: NetEvent) {
        let (peer, input) = match event {
            NetEvent::Listening(address) => {
                tracing::debug!(%address, "listening");
                self.health.remove("listen");
                self.listening.push(address.to_string());
                return;
            }
            NetEvent::ListenerFailed { address, error } => {
                tracing::debug!(%address, "not listening");
                tracing::warn!(%error, "cannot listen; trying again");
                self.listening.retain(|listening| *listening != address.to_string());
                let text = format!("cannot listen on {address}: {error}");
                return self.note("listen", text, "stop what uses the port, or choose another listen.port");
            }
            NetEvent::DialFailed { peer, error } => {
                tracing::debug!(%peer, %error, "not reached; trying again");
                return;
            }
            NetEvent::RoundTrip { peer, time } => {
                if let Some(peer) = self.slots.get(&peer).and_then(|slot| self.peers.get_mut(slot)) {
                    peer.round_trip = Some(time);
                }
                return;
            }
            NetEvent::ConnectionUp { peer, connection, dialled, address } => {
                tracing::debug!(%peer, %address, "connection up");
                if let Some(peer) = self.slots.get(&peer).and_then(|slot| self.peers.get_mut(slot)) {
                    peer.connections.insert(connection, address);
                }
                (peer, Input::ConnectionUp { connection, dialled })
            }
            NetEvent::ConnectionDown { peer, connection } => {
                if let Some(peer) = self.slots.get(&peer).and_then(|slot| self.peers.get_mut(slot)) {
                    peer.connections.remove(&connection);
                }
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
    }

    async fn obey(&mut self, slot: PeerSlot, key: PeerKey, output: Output) {
        match output {
            Output::OpenStream { connection: _, attempt } => self.net.open_handshake(key, attempt).await,
            Output::Send { attempt, bytes } => self.net.send_handshake(key, attempt, bytes).await,
            Output::CloseStream { attempt, how } => self.net.close_handshake(key, attempt, how).await,
            Output::Install { opener } => self.plane.install(slot, *opener),
            Output::Remove { index } => self.plane.remove(index),
            Output::SendWith(sealer) => self.plane.set_sealer(slot, sealer),
            Output::SendEmpty => self.plane.send_empty(slot),
            Output::SendProbe { token } => self.plane.send_probe(slot, token),
            Output::SendProbeAck { token } => self.plane.send_probe_ack(slot, token),
            Output::NeedConnection => self.net.dial_another(key).await,
            // A handshake follows on the control connection; carrier A has no other path to choose.
            Output::PathDead => {}
            Output::Event(event) => self.on_event(slot, event),
        }
    }

    fn on_event(&mut self, slot: PeerSlot, event: TunnelEvent) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        let name = peer.config.key;
        match event {
            TunnelEvent::StateChanged(state) => tracing::info!(peer = %name, ?state, "state"),
            TunnelEvent::Rotated { role, cipher, .. } => {
                tracing::info!(peer = %name, ?role, cipher = cipher.name(), "new keys");
            }
            TunnelEvent::ChainReset(ChainStart::First) => tracing::debug!(peer = %name, "first keys"),
            TunnelEvent::ChainReset(ChainStart::PeerLost) => {
                peer.chain_resets += 1;
                tracing::warn!(peer = %name, "the peer lost its chain key: it was restarted, or somebody has its identity");
            }
            TunnelEvent::Rejected(code) => tracing::warn!(peer = %name, reason = %code, "the peer refuses us"),
            TunnelEvent::HandshakeFailed { role, fault } => {
                tracing::warn!(peer = %name, ?role, reason = fault.name(), "a handshake failed");
            }
            TunnelEvent::KeysExpired => tracing::warn!(peer = %name, "keys expired without successors"),
            TunnelEvent::PathDead => tracing::info!(peer = %name, "no answer on the path"),
        }
    }
}
