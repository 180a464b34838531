//! How much a tunnel carried in the last seconds, and how much was lost on the way.

use std::collections::VecDeque;
use std::time::Duration;

use node::time::Time;

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_secs(5);
/// The time between two samples, and the shortest time that a rate is told over.
const PACE: Duration = Duration::from_secs(1);

/// So many frames must have been sent before loss is told: of fewer a single one would count for much.
const ENOUGH_FRAMES: u64 = 20;

/// What a tunnel carried up to some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// Bytes.
    pub(super) received: u64,
    /// Bytes.
    pub(super) sent: u64,
    /// Frames that arrived.
    pub(super) frames: u64,
    /// Frames that the peer sealed.
    pub(super) sealed: u64,
}

/// Samples of a tunnel's counters. They are taken while something flows, so an idle tunnel costs nothing.
#[derive(Debug)]
pub(super) struct Rates(VecDeque<(Time, Carried)>);

impl Rates {
    pub(super) fn new(now: Time) -> Self {
        Self(VecDeque::from([(now, Carried::default())]))
    }

    /// Takes a sample, unless one was taken just before.
    pub(super) fn sample(&mut self, now: Time, carried: Carried) {
        if self.0.back().is_some_and(|(last, _)| now.saturating_since(*last) < PACE) {
            return;
        }
        self.0.push_back((now, carried));
        // One that is too old stays as long as the next is not old enough to look back to.
        while self.0.get(1).is_some_and(|(second, _)| now.saturating_since(*second) >= WINDOW) {
            self.0.pop_front();
        }
    }

    /// Bits a second, received and sent.
    pub(super) fn bps(&self, now: Time, carried: Carried) -> (u64, u64) {
        let Some((since, before)) = self.recent(now).or(self.0.back()) else { return (0, 0) };
        let milliseconds = now.saturating_since(*since).max(PACE).as_millis();
        let bps = |now: u64, before: u64| {
            let bits = u128::from(now.saturating_sub(before)) * 8;
            u64::try_from(bits * 1000 / milliseconds).unwrap_or(u64::MAX)
        };
        (bps(carried.received, before.received), bps(carried.sent, before.sent))
    }

    /// Of a hundred frames that the peer sealed, how many did not arrive.
    pub(super) fn loss_percent(&self, now: Time, carried: Carried) -> Option<f64> {
        let (_, before) = self.recent(now)?;
        let sealed = carried.sealed.saturating_sub(before.sealed);
        let arrived = carried.frames.saturating_sub(before.frames);
        // Late ones of before the window may make them more than were sealed in it.
        (sealed >= ENOUGH_FRAMES).then(|| sealed.saturating_sub(arrived) as f64 * 100.0 / sealed as f64)
    }

    /// The oldest sample of the last seconds.
    fn recent(&self, now: Time) -> Option<&(Time, Carried)> {
        self.0.iter().find(|(at, _)| now.saturating_since(*at) <= WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(1000) + Duration::from_millis(milliseconds)
    }

    fn carried(received: u64, sent: u64) -> Carried {
        Carried { received, sent, ..Carried::default() }
    }

    #[test]
    fn a_steady_stream_has_its_rate_and_what_ended_has_none() {
        let mut rates = Rates::new(at(0));
        for tenth in 0..=100 {
            rates.sample(at(tenth * 100), carried(tenth * 1000, tenth * 10));
        }
        assert_eq!(rates.bps(at(10_000), carried(100_000, 1000)), (80_000, 800));
        assert!(rates.0.len() <= 7, "{} samples", rates.0.len());
        // Nothing flows any more, so no sample is taken; the rate falls to nothing within the window.
        assert!(rates.bps(at(12_000), carried(100_000, 1000)).0 < 80_000);
        assert_eq!(rates.bps(at(16_000), carried(100_000, 1000)), (0, 0));
        assert_eq!(rates.bps(at(3_600_000), carried(100_000, 1000)), (0, 0));
    }

    #[test]
    fn a_burst_after_a_long_silence_counts_from_its_beginning() {
        let mut rates = Rates::new(at(0));
        rates.sample(at(3_600_000), carried(1000, 0));
        assert_eq!(rates.bps(at(3_600_500), carried(126_000, 0)).0, 1_000_000);
        assert_eq!(rates.bps(at(3_602_000), carried(251_000, 0)).0, 1_000_000);
    }

    #[test]
    fn loss_is_what_the_peer_sealed_and_did_not_arrive_in_the_last_seconds() {
        let frames = |frames, sealed| Carried { frames, sealed, ..Carried::default() };
        let mut rates = Rates::new(at(0));
        assert_eq!(rates.loss_percent(at(100), frames(10, 19)), None, "of too few");
        rates.sample(at(2000), frames(1000, 1000));
        assert_eq!(rates.loss_percent(at(2500), frames(1150, 1200)), Some(50.0 * 100.0 / 1200.0));
        for second in 3..=10 {
            rates.sample(at(second * 1000), frames(second * 900, second * 1000));
        }
        assert_eq!(rates.loss_percent(at(10_000), frames(9000, 10_000)), Some(10.0));
        assert_eq!(rates.loss_percent(at(10_100), frames(13_600, 14_000)), Some(0.0), "late ones");
        assert_eq!(rates.loss_percent(at(60_000), frames(13_600, 14_000)), None, "nothing was sent lately");
    }
}
