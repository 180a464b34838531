//! The core in a simulated network: see `cryprq_tests::sim`.

use std::collections::BTreeMap;

use cryprq_tests::sim::random::{self, DATA_FRAMES, ROTATIONS};
use cryprq_tests::sim::runner::{run_seeds, wanted_seed};

/// Networks drawn at random.
const RUNS: u64 = 2000;

#[test]
fn in_any_network_nothing_is_lost_that_the_network_did_not_lose() {
    if let Some(seed) = wanted_seed() {
        println!("{:?}", random::run(seed, true));
        return;
    }
    let runs = run_seeds("in_any_network", 0, RUNS, |seed| random::run(seed, false));
    let mut excused: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut frames, mut delivered, mut arrivals, mut forgeries, mut rotations) = (0, 0, 0, 0, 0);
    for run in &runs {
        assert!(run.totals.data_frames >= DATA_FRAMES && run.rotations >= ROTATIONS, "{run:?}");
        frames += run.totals.data_frames;
        delivered += run.totals.delivered;
        arrivals += run.totals.arrivals;
        forgeries += run.totals.forgeries;
        rotations += run.rotations;
        for (&why, &count) in &run.totals.excused {
            *excused.entry(why).or_default() += count;
        }
    }
    let converged = runs.iter().map(|run| run.converged).max().unwrap_or_default();
    println!("{} runs: {frames} data frames, {delivered} delivered, {rotations} rotations", runs.len());
    println!("{arrivals} intact arrivals, {forgeries} forged; slowest convergence {converged:?}");
    println!("not opened, with a reason: {excused:#?}");
}

#[test]
fn a_seed_reproduces_everything() {
    for seed in [1, 2, 3, 4] {
        assert_eq!(random::run(seed, false), random::run(seed, false), "seed {seed}");
    }
}
