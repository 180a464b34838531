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

#[cfg(test)]
mod tests {
    use std::hash::Hash;

    use super::*;

    const KEYS: u32 = 10_000;
    /// Of a table that holds so many.
    const PLACES: usize = 1 << 14;

    /// How many keys fall on the place of a table that most do, and how many on the mark that tells them apart there:
    /// tables take the lowest bits for the one and the highest seven for the other.
    fn crowds(keys: impl Iterator<Item = impl Hash>) -> (usize, usize) {
        let (mut places, mut marks) = (vec![0_usize; PLACES], [0_usize; 128]);
        for key in keys {
            let mut hasher = Fold::default();
            key.hash(&mut hasher);
            let hash = hasher.finish() as usize;
            places[hash % PLACES] += 1;
            marks[hash >> 57] += 1;
        }
        (places.into_iter().max().unwrap_or(0), marks.into_iter().max().unwrap_or(0))
    }

    #[test]
    fn addresses_in_a_row_are_spread_over_the_table() {
        let v4 = (0..KEYS).map(|peer| u128::from(0x0a56_0000 + peer));
        let v6 = (0..KEYS).map(|peer| 0xfd63_7279_7072 << 80 | u128::from(peer));
        let networks = (0..KEYS).map(|peer| 0x2001_0db8 << 96 | u128::from(peer) << 64);
        let indices = (0..KEYS).map(|index| index.wrapping_mul(0x0100_0193));
        for (place, mark) in [crowds(v4), crowds(v6), crowds(networks), crowds(indices)] {
            // With a perfect hash 0.6 keys fall on a place and 78 on a mark.
            assert!(place <= 8 && mark <= 160, "{place} keys on one place, {mark} with one mark");
        }
    }
}
