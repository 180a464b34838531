//! What `status` says.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cryprq_ipc_proto::message::{Addresses, PathStatus, PeerStatus, Status};
use net::address::relay_of;
use net::multiaddr::Protocol;
use net::{Multiaddr, peer_id};
use node::drops::DropCounters;
use node::path::Path;
use os::clock::boottime;

use super::peer::Peer;
use super::{Supervisor, obstacles};

impl Supervisor {
    pub(super) fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            peer_id: peer_id::format(self.identity.public()),
            name: self.config.name.clone(),
            addresses: Addresses { ipv4: self.own.ipv4, ipv6: self.own.ipv6 },
            state: "running".into(),
            since: self.since.to_string(),
            ingress: self.config.ingress.name().into(),
            listen: self.listening.iter().map(ToString::to_string).collect(),
            health: self.health.items(),
            drops: named(self.plane.drops()),
            exit: self.exit_status(),
            peers: self.peers.values().map(|peer| self.peer_status(peer)).collect(),
        }
    }

    pub(super) fn peer_status(&self, peer: &Peer) -> PeerStatus {
        let now = boottime();
        let tunnel = peer.tunnel.status(now);
        let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let epoch = tunnel.epoch.as_ref();
        let address = peer.used();
        let round_trip = tunnel.round_trip.or(peer.round_trip);
        let carried = peer.carried();
        let path = match peer.paths.current() {
            Path::Datagrams(endpoint) => Some(("udp", udp_address(endpoint.remote).to_string())),
            Path::Stream => address
                .map(|address| (if relay_of(address).is_some() { "relay" } else { "stream" }, address.to_string())),
        };
        let path = epoch.and(path).map(|(kind, address)| PathStatus {
            kind: kind.into(),
            relay: (kind == "relay").then(|| address_of_relay(peer.used())).flatten(),
            address,
            rtt_ms: round_trip.map(|time| time.as_secs_f64() * 1000.0),
            loss_percent: peer.rates.loss_percent(now, carried),
            mtu: peer.paths.mtu(),
            not_direct: obstacles::to_directness(peer, self.config.carrier),
        });
        let (rx_bps, tx_bps) = peer.rates.bps(now, carried);
        PeerStatus {
            id: peer_id::format(peer.config.key),
            name: peer.config.name.clone(),
            state: tunnel.state.name().into(),
            path,
            obstacle: obstacles::to_connecting(peer, tunnel.state),
            cipher: epoch.map(|epoch| epoch.cipher.name().into()),
            last_authentic: tunnel.last_received.map(|at| wall_time(now.saturating_since(at))),
            last_authentic_ms: tunnel.last_received.map(|at| milliseconds(now.saturating_since(at))),
            handshake_at: epoch.map(|epoch| wall_time(epoch.age)),
            next_rotation_ms: epoch.map(|epoch| milliseconds(epoch.next_rotation)),
            rotations: tunnel.handshakes,
            rx_bytes: peer.stats.rx_bytes(),
            tx_bytes: peer.stats.tx_bytes(),
            rx_packets: peer.stats.rx_packets(),
            tx_packets: peer.stats.tx_packets(),
            rx_bps,
            tx_bps,
            drops: named(peer.stats.drops()),
            allowed_ips: peer.config.allowed_ips.iter().map(ToString::to_string).collect(),
            psk: peer.psk.is_some(),
            forward: peer.config.forward,
            chain_resets: peer.chain_resets,
            failures: tunnel
                .failures
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect::<BTreeMap<_, _>>(),
        }
    }
}

fn address_of_relay(address: Option<&Multiaddr>) -> Option<String> {
    address.and_then(relay_of).map(|relay| relay.to_string())
}

/// A UDP address as other outer addresses are written.
fn udp_address(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Udp(address.port()))
}

/// What was counted, by the reasons' names.
fn named(drops: &DropCounters) -> BTreeMap<String, u64> {
    drops.snapshot().into_iter().map(|(reason, count)| (reason.name().to_owned(), count)).collect()
}

/// When that was by the wall clock, RFC 3339.
fn wall_time(ago: std::time::Duration) -> String {
    let ago = jiff::SignedDuration::try_from(ago).unwrap_or(jiff::SignedDuration::MAX);
    jiff::Timestamp::now().checked_sub(ago).unwrap_or(jiff::Timestamp::MIN).to_string()
}
