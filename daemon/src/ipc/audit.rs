//! Refusals in the log: who was refused what; at a pace that no caller can set.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time between two lines about one user.
const PAUSE: Duration = Duration::from_secs(1);
/// Users that are remembered; beyond them nobody is until some are silent again.
const MAX_USERS: usize = 256;

/// What was refused lately, by user.
#[derive(Default)]
pub(super) struct Audit(Mutex<BTreeMap<Option<u32>, Lately>>);

struct Lately {
    logged: Instant,
    /// Refusals since then.
    more: u64,
}

impl Audit {
    /// Notes a refusal and logs it, unless one of this user was logged just now: the next line then counts it.
    pub(super) fn refused(&self, uid: Option<u32>, verb: &'static str) {
        if let Some(more) = self.due(uid, Instant::now()) {
            tracing::warn!(uid, verb, more, "refused");
        }
    }

    /// How many refusals went unlogged before this one, if this one is to be logged.
    fn due(&self, uid: Option<u32>, now: Instant) -> Option<u64> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lately) = users.get_mut(&uid) {
            if now.duration_since(lately.logged) < PAUSE {
                lately.more += 1;
                return None;
            }
            lately.logged = now;
            return Some(std::mem::take(&mut lately.more));
        }
        if users.len() >= MAX_USERS {
            users.retain(|_, lately| now.duration_since(lately.logged) < PAUSE);
        }
        if users.len() >= MAX_USERS {
            return None;
        }
        users.insert(uid, Lately { logged: now, more: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_13_a_flood_of_refusals_is_one_line_a_second_and_none_is_uncounted() {
        let (audit, start) = (Audit::default(), Instant::now());
        assert_eq!(audit.due(Some(1), start), Some(0));
        assert!((0..1000).all(|_| audit.due(Some(1), start).is_none()));
        assert_eq!(audit.due(Some(2), start), Some(0), "another user has a line of his own");
        assert_eq!(audit.due(Some(1), start + PAUSE), Some(1000));
        assert_eq!(audit.due(Some(1), start + PAUSE + PAUSE), Some(0));
    }

    #[test]
    fn attack_13_many_users_take_no_more_memory_than_few() {
        let (audit, start) = (Audit::default(), Instant::now());
        let logged = (0..10_000).filter(|&uid| audit.due(Some(uid), start).is_some()).count();
        assert_eq!((logged, audit.0.lock().unwrap().len()), (MAX_USERS, MAX_USERS));
        assert_eq!(audit.due(Some(20_000), start + PAUSE), Some(0));
    }
}
