//! Who may begin a handshake. Pure: the time comes in.
//!
//! A stranger may cost a TLS handshake and its memory, so: a source that has not shown to receive what is sent to it is
//! asked to (QUIC's Retry, which needs no memory and sends less than came in) once many handshakes are open or once it
//! tries often; one that has shown it is granted some handshakes a second; and at most so many are open at a time.
//! A forged source address can at worst cause its owner one more round trip.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use node::time::Time;

/// What strangers may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From this many open handshakes on a source must prove its address first.
    pub unproven: usize,
    /// Open handshakes at most.
    pub open: usize,
    /// Handshakes in a row of one source, which is an IPv4 address or an IPv6 /64.
    pub burst: u32,
    /// After how long one more is granted.
    pub every: Duration,
}

impl Default for Limits {
    /// Room for a house full of peers behind one address that come back at once.
    fn default() -> Self {
        Self { unproven: 8, open: 64, burst: 32, every: Duration::from_millis(125) }
    }
}

/// Whether a source showed that it receives what is sent to its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Proven,
    Unproven,
}

/// What is done with a handshake's first packet.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Answer it. The handshake counts as open while the value lives.
    Accept(OpenHandshake),
    /// Ask the source to prove its address.
    Prove,
    /// Say nothing.
    Ignore,
}

/// A handshake that counts as open.
#[derive(Debug)]
pub(super) struct OpenHandshake(Arc<AtomicUsize>);

impl Drop for OpenHandshake {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) struct Gate {
    limits: Limits,
    open: Arc<AtomicUsize>,
    /// Forged addresses use up only what unproven ones may.
    proven: Buckets,
    unproven: Buckets,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, open: Arc::default(), proven: Buckets::default(), unproven: Buckets::default() }
    }

    pub(super) fn judge(&mut self, now: Time, address: IpAddr, source: Source) -> Verdict {
        let open = self.open.load(Ordering::Relaxed);
        let prefix = prefix(address);
        match source {
            Source::Unproven if open >= self.limits.unproven => Verdict::Prove,
            Source::Unproven if !self.unproven.take(now, prefix, &self.limits) => Verdict::Prove,
            Source::Proven if open >= self.limits.open => Verdict::Ignore,
            Source::Proven if !self.proven.take(now, prefix, &self.limits) => Verdict::Ignore,
            Source::Unproven | Source::Proven => {
                self.open.fetch_add(1, Ordering::Relaxed);
                Verdict::Accept(OpenHandshake(Arc::clone(&self.open)))
            }
        }
    }
}

/// What one subscriber has: an IPv4 address, or an IPv6 /64.
fn prefix(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
    }
}

/// Sources that are remembered, twice.
const REMEMBERED: usize = 4096;

/// A token bucket for each source, as the time when it will be full again. The sources of two spans are kept: when the
/// newer span's table is full, the older one is forgotten.
#[derive(Default)]
struct Buckets {
    newer: HashMap<u64, Time>,
    older: HashMap<u64, Time>,
}

impl Buckets {
    fn take(&mut self, now: Time, source: u64, limits: &Limits) -> bool {
        let full = self.newer.get(&source).or_else(|| self.older.get(&source)).copied();
        let full = full.unwrap_or(now).max(now) + limits.every;
        if full.saturating_since(now) > limits.every.saturating_mul(limits.burst) {
            return false;
        }
        if self.newer.len() >= REMEMBERED && !self.newer.contains_key(&source) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(source, full);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { unproven: 2, open: 4, burst: 3, every: Duration::from_secs(1) };

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn accepted(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Accept(_))
    }

    #[test]
    fn with_many_handshakes_open_a_source_must_prove_its_address() {
        let mut gate = Gate::new(LIMITS);
        let a = gate.judge(at(0), address("192.0.2.1"), Source::Unproven);
        let b = gate.judge(at(0), address("192.0.2.2"), Source::Unproven);
        assert!(accepted(&a) && accepted(&b));
        let asked = gate.judge(at(0), address("192.0.2.3"), Source::Unproven);
        assert!(matches!(asked, Verdict::Prove));
        let c = gate.judge(at(0), address("192.0.2.3"), Source::Proven);
        assert!(accepted(&c), "who proved it goes on");
        drop((a, b));
        assert!(accepted(&gate.judge(at(0), address("192.0.2.4"), Source::Unproven)), "one ended, one may begin");
    }

    #[test]
    fn more_open_handshakes_than_allowed_are_ignored() {
        let mut gate = Gate::new(LIMITS);
        let mut open: Vec<_> =
            (1..=4).map(|host| gate.judge(at(0), IpAddr::from([192, 0, 2, host]), Source::Proven)).collect();
        assert!(open.iter().all(accepted));
        assert!(matches!(gate.judge(at(0), address("192.0.2.9"), Source::Proven), Verdict::Ignore));
        open.pop();
        assert!(accepted(&gate.judge(at(0), address("192.0.2.9"), Source::Proven)));
    }

    #[test]
    fn a_source_is_granted_a_burst_and_then_its_rate() {
        let mut gate = Gate::new(LIMITS);
        let mut tries = |millis, ip: &str, source| accepted(&gate.judge(at(millis), address(ip), source));
        for source in [Source::Proven, Source::Unproven] {
            assert!((0..3).all(|_| tries(0, "192.0.2.1", source)));
            assert!(!tries(0, "192.0.2.1", source) && !tries(999, "192.0.2.1", source));
            assert!(tries(1000, "192.0.2.1", source) && !tries(1000, "192.0.2.1", source));
            assert!(tries(0, "192.0.2.2", source), "others have their own");
        }
    }

    #[test]
    fn an_ipv6_subscriber_is_one_source() {
        let mut gate = Gate::new(LIMITS);
        let mut tries = |ip: &str| accepted(&gate.judge(at(0), address(ip), Source::Proven));
        assert!(tries("2001:db8:0:1::1") && tries("2001:db8:0:1::2") && tries("2001:db8:0:1:ffff::3"));
        assert!(!tries("2001:db8:0:1::4") && tries("2001:db8:0:2::1"));
    }

    #[test]
    fn forged_addresses_cannot_shut_their_owner_out() {
        let mut gate = Gate::new(LIMITS);
        for _ in 0..100 {
            gate.judge(at(0), address("192.0.2.1"), Source::Unproven);
        }
        assert!(matches!(gate.judge(at(0), address("192.0.2.1"), Source::Unproven), Verdict::Prove));
        assert!(accepted(&gate.judge(at(0), address("192.0.2.1"), Source::Proven)));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut buckets = Buckets::default();
        let wide = Limits { burst: 1, ..LIMITS };
        assert!(buckets.take(at(0), 0, &wide));
        for source in 0..REMEMBERED as u64 {
            buckets.take(at(0), source, &wide);
        }
        assert!(!buckets.take(at(0), 0, &wide), "it is still known");
        for source in 0..10 * REMEMBERED as u64 {
            buckets.take(at(0), source, &wide);
            assert!(buckets.newer.len() <= REMEMBERED && buckets.older.len() <= REMEMBERED);
        }
    }
}
