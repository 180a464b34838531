//! What a rotation each second costs under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::datagrams::{self, Stream};
use super::tcp::{self, Direction};
use super::{Figures, LARGE, Measure, Plan};
use crate::measure::middle;
use crate::rig::contenders::{Contender, Cryprqd, Running};
use crate::rig::site::{Cores, Side};

/// Comparisons with and without rotations, in turns.
const PAIRS: usize = 5;
const EACH: Duration = Duration::from_secs(1);
/// Datagrams a second beside the rotations: a load that loses none without them.
const PACE: f64 = 20_000.0;

/// Our daemon, with more rotations than the protocol's limits allow.
///
/// # Errors
/// When the tunnel does not come up, or does not rotate.
pub fn rotation(plan: Plan) -> anyhow::Result<Figures> {
    let (site, running) = Cryprqd::eager().up(Cores::Apart)?;
    tcp::run(&site, &running, 1, Direction::AToB, plan.tcp())?;
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        let steady = tcp::run(&site, &running, 1, Direction::AToB, plan.tcp())?;
        let rotating = rotating(&running, || tcp::run(&site, &running, 1, Direction::AToB, plan.tcp()))?;
        ratios.push(rotating.gbits() / steady.gbits());
    }
    let stream = Stream { size: LARGE, pace: Some(PACE), time: plan.tcp() * 2 };
    let passed = rotating(&running, || datagrams::stream(&site, running.inner(Side::B), &stream))?;
    let lost = passed.sent.saturating_sub(passed.arrived);
    Ok([(Measure::RotationThroughput, middle(ratios)), (Measure::RotationLost, lost as f64)].into())
}

/// Rotates each second while `work` runs.
fn rotating<T>(running: &Running, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let daemon = running.daemon(Side::A).context("no daemon of ours")?;
    let rotations = || -> anyhow::Result<u64> { daemon.peer()?["rotations"].as_u64().context("no count of rotations") };
    let (before, begun, over) = (rotations()?, Instant::now(), Arc::new(AtomicBool::new(false)));
    let result = std::thread::scope(|scope| {
        let rotator = scope.spawn(|| -> anyhow::Result<()> {
            let mut next = Instant::now();
            while !over.load(Ordering::Relaxed) {
                if Instant::now() < next {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                daemon.ask("rotate")?;
                next += EACH;
            }
            Ok(())
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        rotator.join().map_err(|_| anyhow::anyhow!("the rotator panicked"))??;
        result
    })?;
    let (made, seconds) = (rotations()? - before, begun.elapsed().as_secs());
    ensure!(made + 1 >= seconds, "only {made} rotations in {seconds} s");
    Ok(result)
}
