//! Who starts a handshake and when: rotation times, collisions, pauses after failures, and how many are answered
//! (protocol.md 6.7 and 8).

use std::time::Duration;

use super::TunnelLimits;
use crate::crypto::{RandomSource, random_below};
use crate::peer_key::PeerKey;
use crate::time::Time;

/// Which of the two keys is smaller, bytewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rank {
    /// Ours: we lead rotations and win collisions.
    Leader,
    /// The peer's.
    Follower,
}

impl Rank {
    /// Our rank towards a peer.
    pub fn of(local: PeerKey, remote: PeerKey) -> Self {
        if local < remote { Self::Leader } else { Self::Follower }
    }
}

/// How far our own handshake is when the peer's M1 comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// There is none, or its M1 has not left yet.
    Unsent,
    /// M1 is unanswered.
    AwaitingM2,
    /// M3 is sent.
    AwaitingM4,
}

/// What becomes of the peer's M1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// REJECT 4; our own handshake goes on.
    Busy,
    /// It is answered; our own handshake is abandoned.
    Answer,
}

/// The collision rule: exactly one of two handshakes that cross survives.
pub const fn collide(own: Progress, rank: Rank) -> Verdict {
    match (own, rank) {
        (Progress::AwaitingM2, Rank::Leader) => Verdict::Busy,
        (Progress::AwaitingM2, Rank::Follower) | (Progress::Unsent | Progress::AwaitingM4, _) => Verdict::Answer,
    }
}

/// When this side starts to rotate keys that were derived at `derived_at`.
pub(super) fn rotation_time(
    rank: Rank,
    derived_at: Time,
    soft: Duration,
    limits: &TunnelLimits,
    random: &mut dyn RandomSource,
) -> Time {
    match rank {
        Rank::Leader => derived_at + soft.mul_f64(0.9) + jitter(soft.mul_f64(0.05), random),
        Rank::Follower => derived_at + soft + limits.follower,
    }
}

/// A time between zero and `span`. Without randomness it is the middle: the moment of a rotation is no secret.
fn jitter(span: Duration, random: &mut dyn RandomSource) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random_below(random, nanos).unwrap_or(nanos / 2))
}

/// The pause after failed handshakes: it doubles up to a limit, with 20 % of jitter each way.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Time>,
}

impl Backoff {
    pub(super) fn failed(&mut self, now: Time, limits: &TunnelLimits, random: &mut dyn RandomSource) {
        let doubled = limits.retry.soft.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        self.pause(now, doubled.min(limits.retry.hard), random);
    }

    /// A pause of `span` ± 20 %.
    pub(super) fn pause(&mut self, now: Time, span: Duration, random: &mut dyn RandomSource) {
        self.until = Some(now + span.mul_f64(0.8) + jitter(span.mul_f64(0.4), random));
    }

    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// The end of the pause.
    pub(super) const fn until(&self) -> Option<Time> {
        self.until
    }
}

/// How many of the peer's handshakes are answered: a token bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: u32,
    refilled: Time,
}

impl Bucket {
    pub(super) const fn full(now: Time, limits: &TunnelLimits) -> Self {
        Self { tokens: limits.burst, refilled: now }
    }

    /// Whether one more is answered.
    pub(super) fn take(&mut self, now: Time, limits: &TunnelLimits) -> bool {
        let refill = limits.refill.as_nanos().max(1);
        let gained = now.saturating_since(self.refilled).as_nanos() / refill;
        let room = limits.burst - self.tokens.min(limits.burst);
        match u32::try_from(gained) {
            Ok(gained) if gained < room => {
                self.tokens += gained;
                self.refilled = self.refilled + limits.refill * gained;
            }
            Ok(_) | Err(_) => {
                self.tokens = limits.burst;
                self.refilled = now;
            }
        }
        let granted = self.tokens > 0;
        self.tokens -= u32::from(granted);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::RandomError;

    /// The smallest or the largest jitter.
    struct Extreme(u8);

    impl RandomSource for Extreme {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
            out.fill(self.0);
            Ok(())
        }
    }

    const fn seconds(s: u64) -> Time {
        Time::from_nanos(s * 1_000_000_000)
    }

    #[test]
    fn the_leader_rotates_between_90_and_95_percent_and_the_follower_15_s_after_the_limit() {
        let limits = TunnelLimits::default();
        let at = |rank, extreme| {
            rotation_time(rank, seconds(1000), Duration::from_secs(300), &limits, &mut Extreme(extreme))
        };
        assert_eq!(at(Rank::Leader, 0), seconds(1270));
        assert_eq!(at(Rank::Leader, 255).saturating_since(Time::ZERO).as_secs_f64().round(), 1285.0);
        assert!(at(Rank::Leader, 255) < seconds(1285));
        assert_eq!(at(Rank::Follower, 255), seconds(1315));
    }

    #[test]
    fn pauses_double_from_one_to_thirty_seconds_with_a_fifth_of_jitter() {
        let limits = TunnelLimits::default();
        let pauses = |extreme| {
            let mut backoff = Backoff::default();
            let mut one = || {
                backoff.failed(Time::ZERO, &limits, &mut Extreme(extreme));
                backoff.until().unwrap().saturating_since(Time::ZERO).as_secs_f64()
            };
            [one(), one(), one(), one(), one(), one(), one()]
        };
        assert_eq!(pauses(0), [0.8, 1.6, 3.2, 6.4, 12.8, 24.0, 24.0]);
        let most = pauses(255).map(|s| (s * 10.0).round() / 10.0);
        assert_eq!(most, [1.2, 2.4, 4.8, 9.6, 19.2, 36.0, 36.0]);
    }

    #[test]
    fn five_handshakes_are_answered_at_once_and_one_more_each_five_seconds() {
        let limits = TunnelLimits::default();
        let mut bucket = Bucket::full(seconds(0), &limits);
        assert_eq!((0..7).filter(|_| bucket.take(seconds(0), &limits)).count(), 5);
        assert!(!bucket.take(seconds(4), &limits));
        assert!(bucket.take(seconds(5), &limits));
        assert!(!bucket.take(seconds(9), &limits));
        assert!(bucket.take(seconds(10), &limits));
        assert_eq!((0..7).filter(|_| bucket.take(seconds(1000), &limits)).count(), 5);
    }

    #[test]
    fn of_two_handshakes_that_cross_exactly_one_survives() {
        let (leader, follower) =
            (collide(Progress::AwaitingM2, Rank::Leader), collide(Progress::AwaitingM2, Rank::Follower));
        assert_eq!((leader, follower), (Verdict::Busy, Verdict::Answer));
        for rank in [Rank::Leader, Rank::Follower] {
            assert_eq!(collide(Progress::AwaitingM4, rank), Verdict::Answer);
            assert_eq!(collide(Progress::Unsent, rank), Verdict::Answer);
        }
    }
}
