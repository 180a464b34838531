//! What is measured of each contender, and what only of our daemon.

mod datagrams;
mod flood;
mod latency;
mod profile;
mod rotation;
mod search;
mod tcp;
mod usage;

pub use flood::flood;
pub use profile::profile;
pub use rotation::rotation;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::contenders::Running;
use super::site::{Side, Site};
use datagrams::Stream;
use tcp::Direction;
use usage::Usage;

/// One figure of a contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Gbit/s of one TCP stream from A to B.
    Tcp1,
    /// Gbit/s of one TCP stream from B to A.
    Tcp1Back,
    /// Gbit/s of four TCP streams from A to B.
    Tcp4,
    /// Gbit/s of four TCP streams from B to A.
    Tcp4Back,
    /// CPU seconds of both VPN processes per 10^9 bytes of one TCP stream.
    CpuPerGb,
    /// Thousands of datagrams of 64 bytes a second of which at most 1 % is lost.
    Udp64,
    /// The same with 1200 bytes.
    Udp1200,
    /// Median round trip without other traffic, in microseconds.
    IdleP50,
    /// 99th percentile of the round trip without other traffic, in microseconds.
    IdleP99,
    /// Median round trip beside one TCP stream, in microseconds.
    LoadedP50,
    /// 99th percentile of the round trip beside one TCP stream, in microseconds.
    LoadedP99,
    /// Peak resident memory of A's process, in MiB.
    RssA,
    /// Peak resident memory of B's process, in MiB.
    RssB,
    /// Datagrams lost while keys are rotated each second.
    RotationLost,
    /// TCP throughput while keys are rotated each second, by that without.
    RotationThroughput,
    /// TCP throughput under garbage at the daemon's port, by that under garbage at an unused port.
    FloodThroughput,
    /// CPU time of what is neither the VPN nor the rig, in percent of one core, while the others were taken.
    OtherWork,
}

/// The figures of one run.
pub type Figures = BTreeMap<Measure, f64>;

/// How long each measurement takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// One TCP measurement; the others follow from it.
    pub seconds: u64,
}

impl Plan {
    const fn tcp(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// One step of the search for a rate.
    const fn step(self) -> Duration {
        Duration::from_millis(200 * self.seconds)
    }

    const fn latency(self) -> Duration {
        Duration::from_millis(500 * self.seconds)
    }
}

/// The size of datagrams: what a game or a name server sends, and what a video call sends.
const SMALL: usize = 64;
const LARGE: usize = 1200;
const BYTES_PER_GB: f64 = 1e9;

/// Measures one contender. What went wrong stands beside the figures that could be taken.
pub fn measure(site: &Site, running: &Running, plan: Plan, mut told: impl FnMut(&str)) -> (Figures, Vec<String>) {
    let (mut figures, mut wrong) = (Figures::new(), Vec::new());
    let mut part = |name: &str, work: &mut dyn FnMut() -> anyhow::Result<Figures>| {
        told(name);
        match work() {
            Ok(taken) => figures.extend(taken),
            Err(error) => wrong.push(format!("{name}: {error:#}")),
        }
    };
    let around = Usage::now(&running.all_pids());
    // Handshakes, caches, routes, and the window of the first stream.
    part("warming up", &mut || {
        tcp::run(site, running, 1, Direction::AToB, Duration::from_secs(1)).map(|_| Figures::new())
    });
    part("TCP, 1 stream", &mut || one_stream(site, running, plan));
    part("TCP, 4 streams", &mut || {
        let run = |direction| Ok::<_, anyhow::Error>(tcp::run(site, running, 4, direction, plan.tcp())?.gbits());
        Ok([(Measure::Tcp4, run(Direction::AToB)?), (Measure::Tcp4Back, run(Direction::BToA)?)].into())
    });
    for (measure, name, size) in
        [(Measure::Udp64, "UDP, 64 bytes", SMALL), (Measure::Udp1200, "UDP, 1200 bytes", LARGE)]
    {
        part(name, &mut || Ok([(measure, rate(site, running, size, plan)? / 1000.0)].into()));
    }
    part("latency, idle", &mut || {
        let times = latency::probe(site, running, plan.latency())?;
        Ok([(Measure::IdleP50, times.percentile(50.0)), (Measure::IdleP99, times.percentile(99.0))].into())
    });
    part("latency, loaded", &mut || {
        // The stream outlasts the probes on both ends.
        let load = tcp::Client::start(site, running, 1, Direction::AToB, plan.latency() + Duration::from_secs(3))?;
        std::thread::sleep(Duration::from_secs(1));
        let times = latency::probe(site, running, plan.latency())?;
        load.finish()?;
        Ok([(Measure::LoadedP50, times.percentile(50.0)), (Measure::LoadedP99, times.percentile(99.0))].into())
    });
    if let (Ok(before), Ok(after)) = (&around, Usage::now(&running.all_pids())) {
        figures.insert(Measure::OtherWork, after.others_since(before));
    }
    if let Some([a, b]) = running.pids() {
        for (measure, pid) in [(Measure::RssA, a), (Measure::RssB, b)] {
            match crate::lab::memory(pid, "VmHWM") {
                Ok(mib) => _ = figures.insert(measure, mib),
                Err(error) => wrong.push(format!("an end died: {error:#}")),
            }
        }
    }
    (figures, wrong)
}

/// Both directions of one stream, and what the VPN's processes worked for them.
fn one_stream(site: &Site, running: &Running, plan: Plan) -> anyhow::Result<Figures> {
    let before = Usage::now(&running.all_pids())?;
    let there = tcp::run(site, running, 1, Direction::AToB, plan.tcp())?;
    let back = tcp::run(site, running, 1, Direction::BToA, plan.tcp())?;
    let after = Usage::now(&running.all_pids())?;
    let mut figures = Figures::from([(Measure::Tcp1, there.gbits()), (Measure::Tcp1Back, back.gbits())]);
    if running.pids().is_some() {
        let gigabytes = (there.bytes + back.bytes) / BYTES_PER_GB;
        figures.insert(Measure::CpuPerGb, after.vpn_since(&before).as_secs_f64() / gigabytes);
    }
    Ok(figures)
}

/// Datagrams a second of which at most 1 % is lost.
fn rate(site: &Site, running: &Running, size: usize, plan: Plan) -> anyhow::Result<f64> {
    let offer = |pace: Option<f64>| {
        let stream = Stream { size, pace, time: plan.step() };
        datagrams::stream(site, running.inner(Side::B), &stream)
    };
    let flood = offer(None)?;
    search::highest(flood.arrived_per_second(), |pace| Ok(offer(Some(pace))?.trial()))
}
