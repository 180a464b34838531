//! What is measured of each contender, and what only of our daemon.

mod beside;
mod datagrams;
mod flood;
mod latency;
mod profile;
mod rotation;
mod search;
mod tcp;
mod usage;

pub use beside::beside;
pub use flood::flood;
pub use profile::profile;
pub use rotation::rotation;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::contenders::Running;
use super::site::{Side, Site};
use datagrams::Stream;
use latency::Times;
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
    /// Throughput of one TCP stream by that of the bare loop.
    Tcp1ByLoop,
    /// Median round trip without other traffic by that of the bare loop.
    IdleByLoop,
    /// Datagrams of 64 bytes a second of which at most 1 % is lost, by those of the bare loop.
    Udp64ByLoop,
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

    /// One spell of round trips without other traffic.
    const fn spell(self) -> Duration {
        Duration::from_millis(250 * self.seconds)
    }
}

/// The size of datagrams: what a game or a name server sends, and what a video call sends.
const SMALL: usize = 64;
const LARGE: usize = 1200;
const BYTES_PER_GB: f64 = 1e9;

/// A part of what is measured of a contender: its name, and how it is done.
type Part<'p> = (&'static str, &'p dyn Fn() -> anyhow::Result<Figures>);

/// Measures one contender. What went wrong stands beside the figures that could be taken.
pub fn measure(site: &Site, running: &Running, plan: Plan, mut told: impl FnMut(&str)) -> (Figures, Vec<String>) {
    let (mut figures, mut wrong, mut idle) = (Figures::new(), Vec::new(), Vec::new());
    let mut take = |part: &str, taken: anyhow::Result<Figures>| match taken {
        Ok(taken) => figures.extend(taken),
        Err(error) => wrong.push(format!("{part}: {error:#}")),
    };
    let around = Usage::now(&running.all_pids());
    let parts: [Part<'_>; 4] = [
        ("warming up", &|| warm_up(site, running)),
        ("TCP, 1 stream", &|| one_stream(site, running, plan)),
        ("TCP, 4 streams", &|| four_streams(site, running, plan)),
        ("latency, loaded", &|| loaded(site, running, plan)),
    ];
    for (name, work) in parts {
        told(name);
        take(name, work());
        // What waking somebody costs changes from one second to the next, so that one spell says little.
        let spell = latency::probe(site, running, plan.spell()).map(|times| idle.extend(times));
        take("latency, idle", spell.map(|()| Figures::new()));
    }
    if !idle.is_empty() {
        let idle = Times::new(idle);
        let percentiles = [(Measure::IdleP50, idle.percentile(50.0)), (Measure::IdleP99, idle.percentile(99.0))];
        take("latency, idle", Ok(percentiles.into()));
    }
    for (measure, name, size) in
        [(Measure::Udp64, "UDP, 64 bytes", SMALL), (Measure::Udp1200, "UDP, 1200 bytes", LARGE)]
    {
        told(name);
        take(name, rate(site, running, size, plan).map(|rate| [(measure, rate / 1000.0)].into()));
    }
    take("CPU time", around.and_then(|before| other_work(running, &before)));
    take("an end died", memory(running));
    (figures, wrong)
}

/// Handshakes, caches, routes, and the window of the first stream.
fn warm_up(site: &Site, running: &Running) -> anyhow::Result<Figures> {
    tcp::run(site, running, 1, Direction::AToB, Duration::from_secs(1)).map(|_| Figures::new())
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

/// Four streams at once, one direction after the other.
fn four_streams(site: &Site, running: &Running, plan: Plan) -> anyhow::Result<Figures> {
    let run = |direction| anyhow::Ok(tcp::run(site, running, 4, direction, plan.tcp())?.gbits());
    Ok([(Measure::Tcp4, run(Direction::AToB)?), (Measure::Tcp4Back, run(Direction::BToA)?)].into())
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

/// Round trips beside one stream, which outlasts them on both ends.
fn loaded(site: &Site, running: &Running, plan: Plan) -> anyhow::Result<Figures> {
    let load = tcp::Client::start(site, running, 1, Direction::AToB, plan.latency() + Duration::from_secs(3))?;
    std::thread::sleep(Duration::from_secs(1));
    let times = Times::new(latency::probe(site, running, plan.latency())?);
    load.finish()?;
    Ok([(Measure::LoadedP50, times.percentile(50.0)), (Measure::LoadedP99, times.percentile(99.0))].into())
}

/// What others than the VPN and the rig worked since `before`.
fn other_work(running: &Running, before: &Usage) -> anyhow::Result<Figures> {
    Ok([(Measure::OtherWork, Usage::now(&running.all_pids())?.others_since(before))].into())
}

/// Peak resident memory of both ends; nothing without a VPN.
fn memory(running: &Running) -> anyhow::Result<Figures> {
    let Some([a, b]) = running.pids() else { return Ok(Figures::new()) };
    let peak = |pid| crate::lab::memory(pid, "VmHWM");
    Ok([(Measure::RssA, peak(a)?), (Measure::RssB, peak(b)?)].into())
}
