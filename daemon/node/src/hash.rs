//! A fast hash for tables whose keys an attacker does not choose.

use std::hash::{BuildHasherDefault, Hasher};

/// Makes a hash table use [`Fold`].
pub(crate) type BuildFold = BuildHasherDefault<Fold>;

/// Folds a key into 64 bits, by one multiplication for each 64 bits of it.
///
/// Whoever chooses the keys that are entered can make them collide, so they have to be the administrator's or our own;
/// looking others up costs no more than one that is there.
#[derive(Default)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, key: u32) {
        self.mix(key.into());
    }

    fn write_u128(&mut self, key: u128) {
        let [low, high] = [key as u64, (key >> 64) as u64];
        self.mix(low);
        self.mix(high);
    }
}

impl Fold {
    fn mix(&mut self, word: u64) {
        // The odd constant is 2^64 divided by the golden ratio.
        let product = u128::from(self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}
