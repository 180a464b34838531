//! The replay window of RFC 6479: a ring of words, of which the newest may be partly used.

const WORDS: usize = 128;
const BITS: u64 = 64;
/// How far behind the newest counter a frame may lag: 8 128 places.
pub const WINDOW: u64 = (WORDS as u64 - 1) * BITS;

/// What a counter is to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not seen yet.
    Fresh,
    /// Seen already.
    Replayed,
    /// Behind the window: nobody knows.
    TooOld,
}

/// Which counters of one epoch and direction have been received.
#[derive(Debug)]
pub struct Replay {
    words: Box<[u64; WORDS]>,
    /// One more than the highest counter committed; zero before the first.
    next: u64,
}

impl Default for Replay {
    fn default() -> Self {
        Self { words: Box::new([0; WORDS]), next: 0 }
    }
}

fn place(counter: u64) -> (usize, u64) {
    let word = usize::try_from(counter / BITS % WORDS as u64).unwrap_or(0);
    (word, 1 << (counter % BITS))
}

impl Replay {
    /// What `counter` is, without changing anything: the cheap check before the AEAD.
    pub fn check(&self, counter: u64) -> Seen {
        if counter >= self.next {
            return Seen::Fresh;
        }
        if self.next - 1 - counter >= WINDOW {
            return Seen::TooOld;
        }
        let (word, bit) = place(counter);
        if self.words[word] & bit == 0 { Seen::Fresh } else { Seen::Replayed }
    }

    /// The highest counter committed.
    pub const fn newest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Marks an authentic counter, and says what it was before.
    pub fn commit(&mut self, counter: u64) -> Seen {
        let seen = self.check(counter);
        if seen != Seen::Fresh {
            return seen;
        }
        if counter >= self.next {
            self.advance(counter);
        }
        let (word, bit) = place(counter);
        self.words[word] |= bit;
        seen
    }

    /// Clears the words between the newest counter and `counter`.
    fn advance(&mut self, counter: u64) {
        let current = self.next.checked_sub(1).map_or(0, |newest| newest / BITS);
        let steps = (counter / BITS - current).min(WORDS as u64);
        for step in 1..=steps {
            let (word, _) = place((current + step).wrapping_mul(BITS));
            self.words[word] = 0;
        }
        // The counters end at 2^64 - 2^13 (7.5), so this does not overflow for frames of a peer that keeps the rules;
        // one that does not only loses its own window.
        self.next = counter.saturating_add(1);
    }
}
