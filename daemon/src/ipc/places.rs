//! How many clients may be connected, so that one user cannot keep out the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};

/// All connections together.
pub(super) const MAX_CLIENTS: usize = 128;
/// Those of one user. As many are kept free for root, who alone can mend things.
pub(super) const MAX_PER_USER: usize = 32;

const ROOT: Option<u32> = Some(0);

/// The connections in use, by user; `None` is whoever the kernel does not name.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<BTreeMap<Option<u32>, usize>>>);

/// One connection's place; it is free again when this is dropped.
pub(super) struct Place {
    places: Places,
    uid: Option<u32>,
}

impl Places {
    /// Takes a place for a connection.
    ///
    /// # Errors
    /// The refusal to tell the client.
    pub(super) fn take(&self, uid: Option<u32>) -> Result<Place, ErrorBody> {
        let mut taken = self.lock();
        let own = taken.get(&uid).copied().unwrap_or(0);
        let others: usize = taken.iter().filter(|(user, _)| **user != ROOT).map(|(_, count)| count).sum();
        let refused = |message: String| {
            Err(ErrorBody::new(ErrorCode::TooManyClients, message).hint("close a connection and try again"))
        };
        if own >= MAX_PER_USER {
            return refused(format!("{own} connections of this user are open already"));
        }
        if uid != ROOT && others >= MAX_CLIENTS - MAX_PER_USER {
            return refused(format!("{others} connections are open already"));
        }
        *taken.entry(uid).or_default() += 1;
        Ok(Place { places: self.clone(), uid })
    }

    /// How many connections are open.
    pub(super) fn taken(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<u32>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        let left = taken.get(&self.uid).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            taken.remove(&self.uid);
        } else {
            taken.insert(self.uid, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_13_no_user_fills_the_socket_and_root_always_finds_a_place() {
        let places = Places::default();
        let mut held = Vec::new();
        for uid in [None, Some(1), Some(2), Some(3), Some(4)] {
            let before = held.len();
            while let Ok(place) = places.take(uid) {
                held.push(place);
            }
            assert!(held.len() - before <= MAX_PER_USER);
        }
        assert_eq!(held.len(), MAX_CLIENTS - MAX_PER_USER);
        assert!(places.take(Some(1000)).is_err_and(|error| error.code == ErrorCode::TooManyClients));
        held.extend((0..MAX_PER_USER).map(|_| places.take(ROOT).map_err(|error| error.message).unwrap()));
        assert_eq!(places.taken(), MAX_CLIENTS);
        assert!(places.take(ROOT).is_err());
        held.remove(0);
        assert!(places.take(Some(1000)).is_ok(), "a place is free again");
        held.clear();
        assert!(places.lock().is_empty(), "nothing is remembered of users who left");
    }
}
