//! Whether somebody set the wall clock. Nothing in a tunnel depends on it; tickets, logs and people do.

use std::time::Duration;

use node::time::Time;

/// A clock that is kept in step moves by less than this between two looks.
const TOLERANCE: i128 = 10_000_000_000;
/// How long a jump is worth a word.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Compares the wall clock with the clock that only counts.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// The wall clock's distance from the other at the last look, in nanoseconds.
    distance: Option<i128>,
    jump: Option<(Time, i128)>,
}

impl WallClock {
    /// Looks at both clocks; gives the seconds of the last jump, forward or back, as long as it is worth a word.
    pub(super) fn look(&mut self, now: Time, wall: jiff::Timestamp) -> Option<i64> {
        let distance = wall.as_nanosecond() - i128::from(now.as_nanos());
        let moved = self.distance.replace(distance).map_or(0, |before| distance - before);
        if moved.abs() > TOLERANCE {
            self.jump = Some((now, moved));
        }
        self.jump = self.jump.filter(|(at, _)| now.saturating_since(*at) < REMEMBERED);
        self.jump.map(|(_, moved)| i64::try_from(moved / 1_000_000_000).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_14_a_clock_that_is_set_either_way_is_told_for_a_while_and_a_slow_drift_is_not() {
        let mut clock = WallClock::default();
        let mut look = |seconds: u64, wall: i64| {
            clock.look(Time::ZERO + Duration::from_secs(seconds), jiff::Timestamp::from_second(wall).unwrap())
        };
        assert_eq!(look(0, 1_000_000), None, "where it stands at first is no jump");
        assert_eq!(look(5, 1_000_006), None, "a second of drift");
        assert_eq!(look(28_805, 1_028_806), None, "eight hours of sleep pass on both clocks");
        assert_eq!(look(28_810, 1_028_811 + 31_536_000), Some(31_536_000));
        assert_eq!(look(28_815, 1_028_816 + 31_536_000), Some(31_536_000));
        assert_eq!(look(29_000, 1_029_001), Some(-31_536_000));
        assert_eq!(look(29_599, 1_029_600), Some(-31_536_000));
        assert_eq!(look(29_600, 1_029_601), None);
    }
}
