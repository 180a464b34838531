//! Whom to dial and when: for ever, with exponential pauses and full jitter. Pure, the time comes in.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use node::time::Time;

use ipnet::IpNet;

use crate::address::{ip_of, is_quic};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// A connection that held this long forgives earlier failures.
const STABLE: Duration = Duration::from_secs(60);
/// Where somebody on the network says that a peer is, it is dialled once in this time.
const FOLLOWED: Duration = Duration::from_secs(5);
/// One that ended sooner was a refusal: the peer does not want us, or not yet.
const BRIEF: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Dialer {
    wanted: BTreeMap<PeerId, Wanted>,
}

struct Wanted {
    addresses: Vec<Multiaddr>,
    failures: u32,
    due: Option<Time>,
    connected_at: Option<Time>,
    /// While no connection is good: dials for a better one, and when the next is due.
    better: Option<(u32, Time)>,
    /// When it was last dialled where somebody on the network said that it is.
    followed: Option<Time>,
}

impl Dialer {
    /// Wants a peer, from now on at these addresses.
    pub(super) fn want(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, now: Time) {
        let connected_at = self.wanted.get(&peer).and_then(|wanted| wanted.connected_at);
        let due = (connected_at.is_none() && !addresses.is_empty()).then_some(now);
        self.wanted.insert(peer, Wanted { addresses, failures: 0, due, connected_at, better: None, followed: None });
    }

    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.wanted.remove(peer);
    }

    pub(super) fn connected(&mut self, peer: &PeerId, now: Time) {
        if let Some(wanted) = self.wanted.get_mut(peer) {
            wanted.due = None;
            wanted.connected_at.get_or_insert(now);
        }
    }

    /// No connection of a peer is direct and by QUIC, as before or now: where one could be, it is dialled for at growing
    /// pauses.
    pub(super) fn lacking(&mut self, peer: &PeerId, now: Time) {
        let Some(wanted) = self.wanted.get_mut(peer) else { return };
        let better = wanted.connected_at.is_some() && wanted.could_be_better();
        wanted.better = better.then(|| wanted.better.unwrap_or((0, now + FIRST)));
    }

    /// A connection of a peer is as good as any can be.
    pub(super) fn settled(&mut self, peer: &PeerId) {
        if let Some(wanted) = self.wanted.get_mut(peer) {
            wanted.better = None;
        }
    }

    /// The last connection is gone; `random` decides the pause.
    pub(super) fn disconnected(&mut self, peer: &PeerId, now: Time, random: u64) {
        if let Some(wanted) = self.wanted.get_mut(peer) {
            if let Some(held) = wanted.connected_at.take().map(|since| now.saturating_since(since)) {
                if held >= STABLE {
                    wanted.failures = 0;
                } else if held < BRIEF {
                    wanted.failures = wanted.failures.saturating_add(1);
                }
            }
            wanted.better = None;
            wanted.pause(now, random);
        }
    }

    /// A dial failed while nothing is connected.
    pub(super) fn failed(&mut self, peer: &PeerId, now: Time, random: u64) {
        if let Some(wanted) = self.wanted.get_mut(peer).filter(|wanted| wanted.connected_at.is_none()) {
            wanted.failures = wanted.failures.saturating_add(1);
            wanted.pause(now, random);
        }
    }

    /// Everybody who is not connected is due now.
    pub(super) fn kick(&mut self, now: Time) {
        for wanted in self.wanted.values_mut().filter(|wanted| wanted.connected_at.is_none()) {
            wanted.failures = 0;
            wanted.due = (!wanted.addresses.is_empty()).then_some(now);
        }
        for better in self.wanted.values_mut().filter_map(|wanted| wanted.better.as_mut()) {
            *better = (0, now);
        }
    }

    /// Whether to dial a peer now where somebody on the network says that it is: if it is wanted, and not each time that it
    /// is said.
    pub(super) fn may_follow(&mut self, peer: &PeerId, now: Time) -> bool {
        let Some(wanted) = self.wanted.get_mut(peer) else { return false };
        let may = wanted.followed.is_none_or(|last| now.saturating_since(last) >= FOLLOWED);
        if may {
            wanted.followed = Some(now);
        }
        may
    }

    /// The addresses of a wanted peer.
    pub(super) fn addresses(&self, peer: &PeerId) -> Option<Vec<Multiaddr>> {
        self.wanted.get(peer).map(|wanted| wanted.addresses.clone()).filter(|addresses| !addresses.is_empty())
    }

    /// Whom to dial now. Each is handed out once; `failed` or `connected` decides what follows.
    pub(super) fn due(&mut self, now: Time) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let due = self.wanted.iter_mut().filter(|(_, wanted)| wanted.due.is_some_and(|due| due <= now));
        due.map(|(peer, wanted)| {
            wanted.due = None;
            (*peer, wanted.addresses.clone())
        })
        .collect()
    }

    /// Whom to dial now for a better connection, and where.
    pub(super) fn due_for_better(&mut self, now: Time) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut out = Vec::new();
        for (peer, wanted) in &mut self.wanted {
            if let Some((dials, due)) = &mut wanted.better
                && *due <= now
            {
                *due = now + pause_after(*dials);
                *dials = dials.saturating_add(1);
                out.push((*peer, wanted.addresses.iter().filter(|address| is_good(address)).cloned().collect()));
            }
        }
        out
    }

    /// When somebody is due next.
    pub(super) fn deadline(&self) -> Option<Time> {
        let better = self.wanted.values().filter_map(|wanted| wanted.better).map(|(_, due)| due);
        self.wanted.values().filter_map(|wanted| wanted.due).chain(better).min()
    }
}

/// The longest pause after so many failures in a row, of a dial or of what is asked from a relay.
pub(super) fn pause_after(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.min(6)).min(LONGEST)
}

/// Whether a connection to this address may have datagrams beside it.
fn is_good(address: &Multiaddr) -> bool {
    is_quic(address) && !address.iter().any(|part| part == Protocol::P2pCircuit)
}

impl Wanted {
    fn could_be_better(&self) -> bool {
        self.addresses.iter().any(is_good)
    }

    fn pause(&mut self, now: Time, random: u64) {
        let longest = pause_after(self.failures);
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let pause =
            Duration::from_nanos(u64::try_from((u128::from(random) * u128::from(nanos)) >> 64).unwrap_or(nanos));
        self.due = (!self.addresses.is_empty()).then_some(now + pause);
    }
}

/// Whether an address may be dialled: not inside the overlay, or the tunnel would run through itself.
pub(super) fn is_outer(address: &Multiaddr, inner: &[IpNet]) -> bool {
    !ip_of(address).is_some_and(|ip| inner.iter().any(|net| net.contains(&ip)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn dialer() -> (Dialer, PeerId) {
        let (mut dialer, peer) = (Dialer::default(), PeerId::random());
        dialer.want(peer, vec!["/ip4/203.0.113.1/udp/1/quic-v1".parse().unwrap()], at(0));
        (dialer, peer)
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_never_end() {
        let (mut dialer, peer) = dialer();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert_eq!(dialer.due(now).len(), 1);
            assert!(dialer.due(now).is_empty(), "handed out once");
            dialer.failed(&peer, now, u64::MAX);
            let next = dialer.deadline().unwrap();
            pauses.push(next.saturating_since(now).as_secs_f64().round() as u64);
            now = next;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
    }

    #[test]
    fn what_somebody_on_the_network_says_of_a_wanted_peer_is_followed_now_and_then() {
        let (mut dialer, peer) = dialer();
        assert!(!dialer.may_follow(&PeerId::random(), at(0)), "nobody else is looked for");
        let followed: Vec<_> = (0..12).filter(|seconds| dialer.may_follow(&peer, at(*seconds))).collect();
        assert_eq!(followed, [0, 5, 10]);
    }

    #[test]
    fn where_only_streams_are_carried_a_better_connection_is_dialled_for_until_there_is_one() {
        let (mut dialer, peer) = dialer();
        let (tcp, quic) = ("/ip4/203.0.113.1/tcp/1", "/ip4/203.0.113.1/udp/1/quic-v1");
        dialer.want(peer, [tcp, quic].map(|text| text.parse().unwrap()).into(), at(0));
        dialer.connected(&peer, at(0));
        dialer.lacking(&peer, at(0));
        let mut times = Vec::new();
        while let Some(next) = dialer.deadline().filter(|&next| next <= at(200)) {
            let due = dialer.due_for_better(next);
            assert_eq!(due, [(peer, vec![quic.parse().unwrap()])]);
            dialer.lacking(&peer, next);
            times.push(next.saturating_since(at(0)).as_secs());
        }
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 64, 124, 184]);
        dialer.kick(at(200));
        assert_eq!(dialer.deadline(), Some(at(200)));
        dialer.settled(&peer);
        assert_eq!(dialer.deadline(), None);
        dialer.want(peer, vec![tcp.parse().unwrap()], at(0));
        dialer.lacking(&peer, at(200));
        assert_eq!(dialer.deadline(), None, "nothing better is known");
    }

    #[test]
    fn a_stable_connection_forgives_and_a_short_one_does_not() {
        let (mut dialer, peer) = dialer();
        for _ in 0..3 {
            dialer.failed(&peer, at(0), 0);
        }
        dialer.connected(&peer, at(10));
        assert_eq!(dialer.deadline(), None, "a connected peer is not dialled");
        dialer.disconnected(&peer, at(20), u64::MAX);
        assert!(dialer.deadline().unwrap() > at(27), "the failures still count");
        dialer.connected(&peer, at(30));
        dialer.disconnected(&peer, at(90), u64::MAX);
        assert!(dialer.deadline().unwrap() <= at(91));
    }

    #[test]
    fn who_is_sent_away_at_once_comes_back_ever_more_rarely() {
        let (mut dialer, peer) = dialer();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            dialer.connected(&peer, now);
            dialer.disconnected(&peer, now, u64::MAX);
            let next = dialer.deadline().unwrap();
            pauses.push(next.saturating_since(now).as_secs_f64().round() as u64);
            now = next;
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_change_of_network_makes_everybody_due() {
        let (mut dialer, peer) = dialer();
        dialer.failed(&peer, at(0), u64::MAX);
        dialer.kick(at(1));
        assert_eq!(dialer.deadline(), Some(at(1)));
        dialer.forget(&peer);
        assert_eq!(dialer.deadline(), None);
    }

    #[test]
    fn overlay_addresses_are_not_dialled() {
        let inner = ["fd63:7279:7072::/48".parse().unwrap(), "10.86.0.0/16".parse().unwrap()];
        let outer = |text: &str| is_outer(&text.parse().unwrap(), &inner);
        assert!(outer("/ip4/203.0.113.1/udp/1/quic-v1") && outer("/dns4/gw.example.org/tcp/1"));
        assert!(!outer("/ip4/10.86.0.2/tcp/1") && !outer("/ip6/fd63:7279:7072::2/tcp/1"));
    }
}
