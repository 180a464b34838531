//! Where peers tell each other that datagrams may reach them (protocol.md 7.7).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use net::address::{is_outside, is_quic, may_be_tried, socket_of};
use node::handshake::MAX_ENDPOINTS;
use node::path::candidates::Candidates;
use node::path::{Input as PathInput, Path};
use node::peer_key::PeerKey;
use node::router::PeerSlot;
use node::time::Time;
use os::clock::boottime;

use super::Supervisor;
use crate::config::CarrierRule;

/// The least time between two changes of what a peer sees that count: each has all others tried anew.
const BETWEEN: Duration = Duration::from_secs(2);

/// Where a peer sees this host.
#[derive(Debug, Default)]
pub(super) struct Sight {
    address: Option<SocketAddr>,
    changed: Option<Time>,
}

impl Sight {
    /// What the peer says now; whether that is news on which to act.
    fn renew(&mut self, now: Time, address: SocketAddr) -> bool {
        let changed = self.address.replace(address) != Some(address);
        let news = changed && self.changed.is_none_or(|at| now >= at + BETWEEN);
        if news {
            self.changed = Some(now);
        }
        news
    }

    /// It was of another network.
    pub(super) fn forget(&mut self) {
        self.address = None;
    }
}

impl Supervisor {
    /// Tells a peer where this host may be reached, as others see it and as it sees itself, and where the peer's datagrams
    /// come from.
    pub(super) async fn tell_candidates(&self, slot: PeerSlot) {
        let Some(peer) = self.peers.get(&slot) else { return };
        if self.config.carrier == CarrierRule::Stream {
            return;
        }
        let mut known: Vec<_> = self.net.sightings().await.into_iter().map(|sighting| sighting.own).collect();
        known.extend(self.outer_addresses());
        let observed = self.peers.values().filter_map(|peer| peer.sight.address);
        let known = known.iter().filter(|address| is_quic(address)).filter_map(socket_of);
        let addresses = ours(observed.chain(known), &self.inner_networks());
        let observed = match peer.paths.current() {
            Path::Datagrams(endpoint) => Some(endpoint.remote),
            Path::Stream => None,
        };
        let candidates = Candidates { addresses, observed };
        if candidates != Candidates::default() {
            self.net.tell_candidates(peer.config.key, candidates.to_bytes()).await;
        }
    }

    /// A peer told where it may be reached, and where it sees us.
    pub(super) async fn on_candidates(&mut self, peer: PeerKey, message: &[u8]) {
        let Some(&slot) = self.slots.get(&peer) else { return };
        if self.config.carrier == CarrierRule::Stream {
            return;
        }
        let Candidates { addresses, observed } = match Candidates::from_bytes(message) {
            Ok(candidates) => candidates,
            Err(error) => return tracing::debug!(peer = slot.0, %error, "a peer's candidates cannot be read"),
        };
        let (inner, direct) = (self.inner_networks(), self.surroundings.direct().collect::<Vec<_>>());
        let own: Vec<IpAddr> = self.surroundings.own().collect();
        let worth = |candidate: &SocketAddr| may_be_tried(*candidate, &own, &inner, &direct);
        let addresses: Vec<_> = addresses.into_iter().filter(worth).collect();
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        let now = boottime();
        peer.paths.take_candidates(now, &addresses);
        let moved = observed.is_some_and(|observed| peer.sight.renew(now, observed));
        self.obey_paths(slot).await;
        if moved {
            tracing::debug!("a peer sees this host at another address");
            self.retry_streams().await;
        }
    }

    /// Peers that only the stream leads to are told of a new address of ours.
    async fn retry_streams(&mut self) {
        let by_stream = self.peers.iter().filter(|(_, peer)| peer.paths.current() == Path::Stream);
        let slots: Vec<_> = by_stream.map(|(slot, _)| *slot).collect();
        for slot in slots {
            self.feed_paths(slot, PathInput::SeenElsewhere).await;
        }
    }

    /// A way to a peer is dead. Whether it is the peer that moved, or this host behind its NAT, those know who hear from us
    /// now: they tell where they see us.
    pub(super) fn show_up(&self, besides: PeerSlot) {
        for (slot, peer) in self.peers.iter().filter(|(slot, _)| **slot != besides) {
            if let Path::Datagrams(_) = peer.paths.current() {
                self.plane.send_empty(*slot);
            }
        }
    }
}

/// Those that may be told, the first ones first and none twice.
fn ours(addresses: impl Iterator<Item = SocketAddr>, inner: &[IpNet]) -> Vec<SocketAddr> {
    let mut candidates = Vec::new();
    for candidate in addresses {
        if is_outside(candidate.ip(), inner) && !candidates.contains(&candidate) && candidates.len() < MAX_ENDPOINTS {
            candidates.push(candidate);
        }
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(nets: &[&str]) -> Vec<IpNet> {
        nets.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_from_host_to_host_are_told_once_each_and_no_inner_ones() {
        let addresses = [
            "203.0.113.1:41820",
            "10.1.0.2:41820",
            "203.0.113.1:41820",
            "127.0.0.1:41820",
            "[fe80::1]:41820",
            "[2001:db8::1]:41820",
            "10.86.0.2:41820",
        ]
        .map(|address| address.parse().unwrap());
        let told: Vec<_> =
            ours(addresses.into_iter(), &nets(&["10.86.0.0/16"])).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["203.0.113.1:41820", "10.1.0.2:41820", "[2001:db8::1]:41820"]);
        let many = (1..20).map(|n| format!("203.0.113.{n}:1").parse().unwrap());
        assert_eq!(ours(many, &[]).len(), MAX_ENDPOINTS);
    }

    #[test]
    fn a_peer_that_sees_us_ever_elsewhere_is_listened_to_each_two_seconds() {
        let mut sight = Sight::default();
        let mut at = |milliseconds: u64, port| {
            sight.renew(Time::from_nanos(milliseconds * 1_000_000), SocketAddr::from(([203, 0, 113, 1], port)))
        };
        assert!(at(0, 1) && !at(1, 1));
        assert!((1..20).all(|n| !at(n * 100, 2 + n as u16 % 2)), "one after the other");
        assert!(at(2000, 1) && !at(5000, 1) && at(5001, 2));
    }

    #[test]
    fn a_peer_cannot_aim_us_at_ourselves_at_inner_hosts_or_at_networks_that_are_not_ours() {
        let (own, inner) = (["192.168.1.5".parse().unwrap()], nets(&["10.86.0.0/16", "fd63:7279:7072::/48"]));
        let direct = nets(&["192.168.1.0/24"]);
        let may = |candidate: &str| may_be_tried(candidate.parse().unwrap(), &own, &inner, &direct);
        for good in ["203.0.113.1:41820", "[2001:db8::1]:1", "192.168.1.9:41820"] {
            assert!(may(good), "{good}");
        }
        for bad in [
            "203.0.113.1:0",
            "127.0.0.1:41820",
            "0.0.0.0:41820",
            "255.255.255.255:41820",
            "224.0.0.1:41820",
            "169.254.1.1:41820",
            "192.168.1.5:41820",
            "192.168.2.9:41820",
            "10.86.0.2:41820",
            "[fd63:7279:7072::1]:41820",
            "[fe80::1]:41820",
            "[ff02::1]:41820",
            "[::ffff:192.168.1.5]:41820",
            "[::ffff:192.168.2.9]:41820",
        ] {
            assert!(!may(bad), "{bad}");
        }
    }
}
