//! Breadth-first search over a model, with the states' hashes as the set of what was seen.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Something that goes wrong.
pub(crate) type Fault = String;

/// A state with its successors.
pub(crate) trait Model: Sized + Clone {
    /// The state's name, the same however it was reached.
    fn code(&self) -> Vec<u8>;
    /// What may happen next; `Err` when it goes wrong.
    fn next(&self, found: &mut dyn FnMut(Result<Self, Fault>));
    /// What must hold in every state.
    fn check(&self) -> Result<(), Fault>;
}

/// How a search ended.
pub(crate) struct Outcome {
    /// How many different states were seen.
    pub(crate) states: usize,
    /// The first fault.
    pub(crate) fault: Option<Fault>,
}

/// Visits every state reachable from `start`, up to `limit`.
pub(crate) fn run<M: Model>(start: M, limit: usize) -> Outcome {
    let mut seen = HashSet::from([hash(&start.code())]);
    let mut queue = VecDeque::from([start]);
    let mut fault = None;
    while let Some(state) = queue.pop_front() {
        state.next(&mut |next| match next.and_then(|next| next.check().map(|()| next)) {
            Ok(next) => {
                if seen.insert(hash(&next.code())) {
                    queue.push_back(next);
                }
            }
            Err(error) => fault = fault.take().or(Some(error)),
        });
        if fault.is_some() || seen.len() >= limit {
            break;
        }
    }
    Outcome { states: seen.len(), fault }
}

/// 128 bits: with millions of states two of them share a name with a chance below 2^-80.
fn hash(code: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        code.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
