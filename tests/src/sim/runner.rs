//! Runs many seeds on all processors, and says how to run the one that failed again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that picks one seed and prints what happens in it.
pub const SEED: &str = "CRYPRQ_SIM_SEED";

/// The seed that the environment asks for.
pub fn wanted_seed() -> Option<u64> {
    std::env::var(SEED).ok()?.parse().ok()
}

/// Runs `one` for `count` seeds from `first` on, and gives the results in the order of the seeds.
///
/// # Panics
/// When one of them does, with the way to run it again: `test` is the test's name.
pub fn run_seeds<T: Send>(test: &str, first: u64, count: u64, one: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(first);
    let (done, failed) = (Mutex::new(Vec::new()), Mutex::new(None));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let over = seed >= first + count || failed.lock().is_ok_and(|failed| failed.is_some());
                    if over {
                        return;
                    }
                    match catch_unwind(AssertUnwindSafe(|| one(seed))) {
                        Ok(result) => done.lock().expect("no holder panics").push((seed, result)),
                        Err(_) => *failed.lock().expect("no holder panics") = Some(seed),
                    }
                }
            });
        }
    });
    if let Some(seed) = failed.into_inner().expect("no holder panics") {
        panic!("seed {seed} failed; again with: {SEED}={seed} cargo nextest run -p cryprq-tests {test} --no-capture");
    }
    let mut done = done.into_inner().expect("no holder panics");
    done.sort_by_key(|&(seed, _)| seed);
    done.into_iter().map(|(_, result)| result).collect()
}
