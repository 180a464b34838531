//! What a daemon costs and how fast it answers, end to end: two release daemons in network namespaces.
//!
//! Needs root and `cargo build --release --bins` first. Bars: 0.1 % of a core and 20 MiB while one peer is connected
//! and idle.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Host, Pair, cpu, echo, memory, programs};
use cryprq_tests::measure::{median, report};

const ADDRESS: &str = "/ip4/192.0.2.2/udp/41820/quic-v1";
const ECHO_PORT: u16 = 7007;
const ASKS: usize = 200;
const RUNS: usize = 20;
/// How long an idle daemon is watched: long enough for several keepalives of the tunnel and of QUIC.
const IDLE: Duration = Duration::from_secs(60);
/// How long a first answer may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two hosts; A dials B.
fn lab() -> Result<Pair> {
    Pair::of_peers("the bench of the daemon", &[ADDRESS], &[])?.context("there were hosts")
}

/// On A: asks B's inner address each 2 ms until it answers, and says how long that took.
fn first_answer(lab: &Pair) -> JoinHandle<Result<Duration>> {
    let to = SocketAddr::from((lab.id_b.ipv4, ECHO_PORT));
    lab.host_a.spawn(move || {
        let start = Instant::now();
        let mut buffer = [0; 64];
        while start.elapsed() < PATIENCE {
            // Each question has a socket of its own: the address to send from appears with the interface.
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(Duration::from_millis(2)))?;
            if socket.send_to(b"?", to).is_ok() && socket.recv(&mut buffer).is_ok() {
                return Ok(start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        anyhow::bail!("no answer within {} s", PATIENCE.as_secs())
    })
}

fn starts() -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let mut lab = lab()?;
        lab.b.start()?;
        echo(&lab.host_b, SocketAddr::from((lab.id_b.ipv4, ECHO_PORT)))?;
        let answer = first_answer(&lab);
        lab.a.start()?;
        times.push(answer.join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))??);
        lab.a.stop()?;
        lab.b.stop()?;
    }
    println!("start of the daemon to the first answer through it: {:.1} ms (median of {RUNS})", median(times) / 1e6);
    Ok(())
}

fn answers(lab: &Pair) -> Result<()> {
    let times: Result<Vec<_>> = (0..ASKS)
        .map(|_| {
            let start = Instant::now();
            lab.a.ask("status")?;
            Ok(start.elapsed())
        })
        .collect();
    println!("status over the socket: {:.3} ms (median of {ASKS})", median(times?) / 1e6);
    let program = programs()?.join("cryprq");
    let times: Result<Vec<_>> = (0..ASKS)
        .map(|_| {
            let start = Instant::now();
            let output =
                Command::new(&program).arg("--socket").arg(lab.a.socket()).args(["status", "--json"]).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(start.elapsed())
        })
        .collect();
    println!("cryprq status, the whole program: {:.2} ms (median of {ASKS})", median(times?) / 1e6);
    Ok(())
}

fn idle(lab: &Pair) -> Result<()> {
    let pids = [lab.a.pid().context("A runs")?, lab.b.pid().context("B runs")?];
    let before = [cpu(pids[0])?, cpu(pids[1])?];
    std::thread::sleep(IDLE);
    for (at, (pid, name)) in pids.into_iter().zip(["the side that dialled", "the other side"]).enumerate() {
        let share = (cpu(pid)? - before[at]).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
        report(&format!("idle, one peer, {name}: CPU"), share, 0.1, "%");
        report(&format!("idle, one peer, {name}: peak resident"), memory(pid, "VmHWM")?, 20.0, "MiB");
    }
    Ok(())
}

fn main() -> Result<()> {
    if let Err(error) = Host::new() {
        println!("skipped: {error:#}");
        return Ok(());
    }
    starts()?;
    let mut lab = lab()?;
    lab.b.start()?;
    lab.a.start()?;
    lab.a.wait_connected()?;
    answers(&lab)?;
    idle(&lab)?;
    lab.a.stop()?;
    lab.b.stop()?;
    Ok(())
}
