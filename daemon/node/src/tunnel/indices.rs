//! Receiver indices: random, non-zero, and unused on this host.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::crypto::{RandomError, RandomSource};
use crate::handshake::ReceiverIndex;

/// The indices in use on this host. All its tunnels share one: the receiving loops look frames up by index alone.
#[derive(Debug, Default)]
pub struct IndexSpace(Mutex<BTreeSet<ReceiverIndex>>);

/// An index while it is in use; dropping it frees it.
#[derive(Debug)]
pub struct IndexLease {
    index: ReceiverIndex,
    space: Arc<IndexSpace>,
}

impl IndexSpace {
    /// Draws an index that nobody uses.
    ///
    /// # Errors
    /// [`RandomError`] from the source.
    pub fn lease(self: &Arc<Self>, random: &mut dyn RandomSource) -> Result<IndexLease, RandomError> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = ReceiverIndex::random(random, |index| used.contains(&index))?;
        used.insert(index);
        drop(used);
        Ok(IndexLease { index, space: Arc::clone(self) })
    }

    /// How many are in use.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl IndexLease {
    /// The index.
    pub const fn get(&self) -> ReceiverIndex {
        self.index
    }
}

impl Drop for IndexLease {
    fn drop(&mut self) {
        self.space.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out the same number twice each time.
    struct Twice(u32);

    impl RandomSource for Twice {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
            self.0 += 1;
            out.copy_from_slice(&(self.0 / 2).to_le_bytes());
            Ok(())
        }
    }

    #[test]
    fn an_index_is_never_zero_nor_leased_twice_and_comes_back_when_dropped() {
        let space = Arc::new(IndexSpace::default());
        let mut random = Twice(0);
        let a = space.lease(&mut random).unwrap();
        let b = space.lease(&mut random).unwrap();
        assert_eq!((a.get().get(), b.get().get(), space.len()), (1, 2, 2));
        drop(a);
        drop(b);
        assert!(space.is_empty());
    }
}
