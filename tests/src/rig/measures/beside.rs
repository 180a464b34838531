//! Two contenders in turns, each in a tunnel that stands meanwhile: what changes on the machine changes for both. Between
//! hosts that have cores of their own, or who shares one with whom would decide over a third of the throughput.

use super::latency::{Times, probe_in_turns};
use super::tcp::{self, Direction};
use super::{Figures, Measure, Plan, SMALL, rate};
use crate::measure::middle;
use crate::rig::contenders::Running;
use crate::rig::site::Site;

/// Comparisons of what swings most.
const PAIRS: usize = 5;

/// One contender by another: throughput of one stream, the round trip without other traffic, and the rate of small packets.
///
/// # Errors
/// When something passes on neither.
pub fn beside(one: (&Site, &Running), other: (&Site, &Running), plan: Plan) -> anyhow::Result<Figures> {
    let stream = |(site, running)| anyhow::Ok(tcp::run(site, running, 1, Direction::AToB, plan.tcp())?.gbits());
    let small = |(site, running)| rate(site, running, SMALL, plan);
    let (mut throughput, mut idle) = (Vec::new(), [Vec::new(), Vec::new()]);
    // The windows of the first streams.
    stream(one)?;
    stream(other)?;
    for _ in 0..PAIRS {
        throughput.push(stream(one)? / stream(other)?);
        let spell = probe_in_turns([one, other], plan.latency())?;
        idle.iter_mut().zip(spell).for_each(|(all, times)| all.extend(times));
    }
    let [of_one, of_other] = idle.map(|times| Times::new(times).percentile(50.0));
    Ok([
        (Measure::Tcp1ByLoop, middle(throughput)),
        (Measure::IdleByLoop, of_one / of_other),
        (Measure::Udp64ByLoop, small(one)? / small(other)?),
    ]
    .into())
}
