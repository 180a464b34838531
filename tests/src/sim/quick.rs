//! A selection of the simulation that takes seconds: what a deliberate fault of the core has to fail.

use std::panic::catch_unwind;

use super::{random, scenarios};

/// Seeds of each scenario.
const SEEDS: u64 = 2;
/// Networks drawn at random.
const NETWORKS: u64 = 40;

/// Runs the selection up to the first failure, and gives its name. The panic itself was printed by then.
///
/// # Errors
/// The name and the seed of what failed.
pub fn check() -> Result<(), String> {
    for scenario in scenarios::ALL {
        for seed in 0..SEEDS {
            attempt(scenario.name, seed, scenario.run)?;
        }
    }
    for seed in 0..NETWORKS {
        attempt("random", seed, |seed| _ = random::run(seed, false))?;
    }
    Ok(())
}

fn attempt(name: &str, seed: u64, run: fn(u64)) -> Result<(), String> {
    catch_unwind(|| run(seed)).map_err(|_| format!("{name}, seed {seed}"))
}
