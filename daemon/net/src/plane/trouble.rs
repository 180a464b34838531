//! What a device or a socket refuses, for as long as it does: the loops note it, and the control task tells who should
//! know.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Trouble that lasts is worth telling: what comes and goes costs packets, and is counted.
const LASTING: Duration = Duration::from_secs(2);
/// After so long without another failure it is over. Longer than any loop rests.
const OVER: Duration = Duration::from_secs(5);

/// One thing that may fail. All clones are of the same.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether there is a failure to forget: so that what works costs nothing to say.
    any: AtomicBool,
    failing: Mutex<Option<Failing>>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    last: Instant,
    error: String,
}

impl Trouble {
    /// It failed. Whether that is news.
    pub fn fails(&self, error: &io::Error) -> bool {
        self.failed_at(Instant::now(), error)
    }

    /// Whether both are the same one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// It works.
    pub fn works(&self) {
        if self.0.any.load(Ordering::Relaxed) {
            *self.failing() = None;
            self.0.any.store(false, Ordering::Relaxed);
        }
    }

    /// Why it fails, if it does and has for a while.
    pub fn lasting(&self) -> Option<String> {
        self.lasting_at(Instant::now())
    }

    fn failed_at(&self, now: Instant, error: &io::Error) -> bool {
        let mut failing = self.failing();
        let since = failing.as_ref().filter(|known| now - known.last < OVER).map(|known| known.since);
        *failing = Some(Failing { since: since.unwrap_or(now), last: now, error: error.to_string() });
        self.0.any.store(true, Ordering::Relaxed);
        since.is_none()
    }

    fn lasting_at(&self, now: Instant) -> Option<String> {
        let failing = self.failing();
        let lasting = |known: &&Failing| known.last - known.since >= LASTING && now - known.last < OVER;
        failing.as_ref().filter(lasting).map(|known| known.error.clone())
    }

    fn failing(&self) -> std::sync::MutexGuard<'_, Option<Failing>> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fails_again_and_again_and_did_so_just_now_is_told() {
        let (trouble, begin) = (Trouble::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let error = io::Error::from_raw_os_error(5);
        assert!(trouble.failed_at(at(0), &error), "news");
        assert_eq!(trouble.lasting_at(at(1)), None, "once is nothing");
        assert!(!trouble.failed_at(at(2), &error));
        assert_eq!(trouble.lasting_at(at(3)), Some(error.to_string()));
        assert_eq!(trouble.lasting_at(at(7)), None, "it is over");
        assert!(trouble.failed_at(at(8), &error), "and begins anew");
        assert_eq!(trouble.lasting_at(at(9)), None);
        trouble.failed_at(at(10), &error);
        assert!(trouble.lasting_at(at(10)).is_some());
        trouble.works();
        assert_eq!(trouble.lasting_at(at(10)), None);
    }
}
