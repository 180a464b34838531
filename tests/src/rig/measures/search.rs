//! The search for the highest rate that still passes.

/// How far the rate is raised at first.
const RISE: f64 = 1.3;
/// How often it is raised.
const RISES: usize = 6;
/// How often the range is halved: to a sixteenth of its width.
const HALVINGS: usize = 4;
/// A system's hiccup fails a rate once, but hardly twice.
const TRIES: usize = 2;

/// What became of one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trial {
    /// It passed; so many a second arrived.
    Passed(f64),
    /// More was lost than may be, or the sender could not offer it.
    Failed,
}

/// The most that arrived of any rate that passed, beginning at a guess. Zero when none passed.
pub(super) fn highest(guess: f64, mut offer: impl FnMut(f64) -> anyhow::Result<Trial>) -> anyhow::Result<f64> {
    let mut best = 0.0_f64;
    let mut passes = |rate: f64| -> anyhow::Result<bool> {
        for _ in 0..TRIES {
            if let Trial::Passed(arrived) = offer(rate)? {
                best = best.max(arrived);
                return Ok(true);
            }
        }
        Ok(false)
    };
    let (mut low, mut high) = (0.0, guess.max(1000.0));
    for _ in 0..RISES {
        if !passes(high)? {
            break;
        }
        (low, high) = (high, high * RISE);
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if passes(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something that passes up to a rate.
    fn up_to(limit: f64) -> impl FnMut(f64) -> anyhow::Result<Trial> {
        move |rate| Ok(if rate <= limit { Trial::Passed(rate) } else { Trial::Failed })
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for guess in [30_000.0, 100_000.0, 180_000.0] {
            let found = highest(guess, up_to(100_000.0)).unwrap();
            assert!((90_000.0..=100_000.0).contains(&found), "{found} from {guess}");
        }
    }

    #[test]
    fn one_hiccup_changes_nothing() {
        let mut offers = 0;
        let mut steady = up_to(100_000.0);
        let hiccup = |rate| {
            offers += 1;
            if offers == 1 { Ok(Trial::Failed) } else { steady(rate) }
        };
        assert_eq!(highest(90_000.0, hiccup).unwrap(), highest(90_000.0, up_to(100_000.0)).unwrap());
    }

    #[test]
    fn where_nothing_passes_the_rate_is_zero() {
        assert_eq!(highest(50_000.0, up_to(0.0)).unwrap(), 0.0);
    }
}
