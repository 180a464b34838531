//! What the extension's path costs beside the daemon's own interface: three pairs of release daemons in network
//! namespaces, of which A has an interface of its own, the Rust shuttle, or the Swift pump. All are measured in turns, at
//! the same MTU and without offload.
//!
//! Needs root, iperf3 and `cargo build --release --workspace --bins` first; the Swift pump is measured where
//! `CRYPRQ_SWIFT_PROGRAMS` is the folder of a release build of it. Bars: 70 % of the throughput and 1.5 × the CPU by the
//! shuttle, 50 % of the throughput by the Swift pump, 30 µs more latency one way.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cryprq_tests::extension::{Extension, Way};
use cryprq_tests::lab::{Host, Pair, Process, cpu, echo, iperf3, iperf3_server, until};
use cryprq_tests::measure::{median, middle, report, report_least};
use cryprq_tests::swift::program;

const ADDRESS: &str = "/ip4/192.0.2.2/udp/41820/quic-v1";
const ECHO_PORT: u16 = 7007;
/// How often each is measured.
const ROUNDS: usize = 7;
/// Round trips of one turn, and the pause between them: the tunnel is idle in between.
const ASKS: usize = 200;
const PACE: Duration = Duration::from_millis(2);

const fn name(way: Way) -> &'static str {
    match way {
        Way::Interface => "own interface",
        Way::Shuttle => "Rust shuttle",
        Way::Swift => "Swift pump",
    }
}

/// A pair whose tunnel stands.
struct Site {
    pair: Pair,
    /// The processes that packets pass.
    pids: Vec<u32>,
    _server: Process,
}

/// What one TCP measurement told.
#[derive(Clone, Copy)]
struct Run {
    gigabits: f64,
    /// Seconds of CPU for a gigabyte, of all processes that packets pass.
    cost: f64,
}

/// What all turns of one site told.
#[derive(Default)]
struct Told {
    up: Vec<Run>,
    down: Vec<Run>,
    trips: Vec<Duration>,
}

impl Site {
    fn new(way: Way) -> Result<Option<Self>> {
        let Some(pair) = Pair::of_peers("the bench of the extension's path", &[ADDRESS], &[])? else {
            return Ok(None);
        };
        let mut pair = pair.by(way)?;
        for daemon in [&pair.a, &pair.b] {
            daemon.configure("[linux]\ntun_offload = false\n")?;
        }
        pair.connect()?;
        let mut pids = vec![pair.a.pid().context("A runs")?, pair.b.pid().context("B runs")?];
        pids.extend(pair.extension.as_ref().map(Extension::pid));
        let server = iperf3_server(&pair.host_b, &pair.id_b.ipv4.to_string()).context("iperf3 is needed")?;
        echo(&pair.host_b, SocketAddr::from((pair.id_b.ipv4, ECHO_PORT)))?;
        Ok(Some(Self { pair, pids, _server: server }))
    }

    fn used(&self) -> Result<Duration> {
        self.pids.iter().map(|pid| cpu(*pid)).sum()
    }

    /// One TCP stream, to B or from it.
    fn stream(&self, way: &[&str]) -> Result<Run> {
        let address = self.pair.id_b.ipv4.to_string();
        let mut run = None;
        until("iperf3 measures", || {
            let Ok(before) = self.used() else { return false };
            let Some(sum) = iperf3(&self.pair.host_a, &address, way) else { return false };
            let (Some(rate), Some(bytes)) = (sum["bits_per_second"].as_f64(), sum["bytes"].as_f64()) else {
                return false;
            };
            let Ok(after) = self.used() else { return false };
            let cost = (after - before).as_secs_f64() / (bytes / 1e9);
            run = Some(Run { gigabits: rate / 1e9, cost });
            true
        })?;
        run.context("iperf3 told no rate")
    }

    /// Round trips of a small datagram, one after the other.
    fn trips(&self) -> Result<Vec<Duration>> {
        let to = SocketAddr::from((self.pair.id_b.ipv4, ECHO_PORT));
        self.pair.host_a.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            let (mut trips, mut buffer) = (Vec::new(), [0; 64]);
            while trips.len() < ASKS {
                let start = Instant::now();
                socket.send(&[0; 32])?;
                ensure!(socket.recv(&mut buffer)? == 32, "another answer");
                trips.push(start.elapsed());
                std::thread::sleep(PACE);
            }
            Ok(trips)
        })
    }

    fn measure(&self, told: &mut Told) -> Result<()> {
        told.up.push(self.stream(&[])?);
        told.down.push(self.stream(&["-R"])?);
        told.trips.extend(self.trips()?);
        Ok(())
    }
}

fn rates(runs: &[Run]) -> f64 {
    middle(runs.iter().map(|run| run.gigabits).collect())
}

fn costs(runs: &[Run]) -> f64 {
    middle(runs.iter().map(|run| run.cost).collect())
}

/// The median of the ratios of turns that follow each other.
fn ratio(of: &[Run], to: &[Run], part: impl Fn(&Run) -> f64) -> f64 {
    middle(of.iter().zip(to).map(|(of, to)| part(of) / part(to)).collect())
}

fn main() -> Result<()> {
    if let Err(error) = Host::new() {
        println!("skipped: {error:#}");
        return Ok(());
    }
    let ways = [Way::Interface, Way::Shuttle].into_iter().chain(program("swift-pump").map(|_| Way::Swift));
    let sites: Result<Option<Vec<_>>> = ways.map(Site::new).collect();
    let Some(sites) = sites? else { return Ok(()) };
    let mut told: Vec<Told> = sites.iter().map(|_| Told::default()).collect();
    for round in 0..ROUNDS {
        for turn in 0..sites.len() {
            // Another one begins each round.
            let at = (turn + round) % sites.len();
            sites[at].measure(&mut told[at])?;
        }
    }
    println!("medians of {ROUNDS} turns     TCP up    down Gbit/s   CPU up    down s/GB   round trip µs");
    for (site, told) in sites.iter().zip(&told) {
        let (up, down) = (rates(&told.up), rates(&told.down));
        let (cost_up, cost_down) = (costs(&told.up), costs(&told.down));
        let trip = median(told.trips.clone()) / 1e3;
        println!(
            "{:<22} {up:>8.2} {down:>8.2}        {cost_up:>8.2} {cost_down:>8.2}      {trip:>8.0}",
            name(site.pair.way)
        );
    }
    let native = &told[0];
    for (site, told) in sites.iter().zip(&told).skip(1) {
        let name = name(site.pair.way);
        let least = if site.pair.way == Way::Swift { 0.5 } else { 0.7 };
        for (way, of, to) in [("up", &told.up, &native.up), ("down", &told.down, &native.down)] {
            let share = ratio(of, to, |run| run.gigabits);
            report_least(&format!("{name}, {way}: throughput beside the interface's"), share, least, "x");
            if site.pair.way == Way::Shuttle {
                report(
                    &format!("{name}, {way}: CPU for a byte beside the interface's"),
                    ratio(of, to, |run| run.cost),
                    1.5,
                    "x",
                );
            }
        }
        if site.pair.way == Way::Shuttle {
            let hop = (median(told.trips.clone()) - median(native.trips.clone())) / 2.0 / 1e3;
            report(&format!("{name}: more latency one way"), hop, 30.0, "µs");
        }
    }
    Ok(())
}
