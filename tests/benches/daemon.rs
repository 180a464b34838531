//! What a daemon costs and how fast it answers, end to end: two release daemons in network namespaces.
//!
//! Needs root and `cargo build --release --bins` first. Bars: 0.1 % of a core and 20 MiB while one peer is connected
//! and idle.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::{Daemon, Host, Identity, Peering, cpu, join, memory, programs};
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
struct Lab {
    a: Daemon,
    b: Daemon,
    host_a: Host,
    host_b: Host,
    id_b: Identity,
    _folder: tempfile::TempDir,
}

fn lab() -> Result<Lab> {
    let (host_a, host_b) = (Host::new()?, Host::new()?);
    join(&host_a, &host_b)?;
    let folder = tempfile::tempdir()?;
    let (id_a, id_b) = (Identity::new(1)?, Identity::new(2)?);
    let dials = [Peering { peer: &id_b, name: "b", addresses: &[ADDRESS] }];
    let a = Daemon::new(&host_a, folder.path().join("a"), &id_a, &dials)?;
    let b =
        Daemon::new(&host_b, folder.path().join("b"), &id_b, &[Peering { peer: &id_a, name: "a", addresses: &[] }])?;
    Ok(Lab { a, b, host_a, host_b, id_b, _folder: folder })
}

/// Answers every datagram on B's inner address, for as long as the process lives.
fn echo(lab: &Lab) -> Result<()> {
    let address = SocketAddr::from((lab.id_b.ipv4, ECHO_PORT));
    let socket = lab.host_b.run(move || UdpSocket::bind(address))?;
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if socket.send_to(&buffer[..length], from).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// On A: asks B's inner address each 2 ms until it answers, and says how long that took.
fn first_answer(lab: &Lab) -> JoinHandle<Result<Duration>> {
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
        echo(&lab)?;
        let answer = first_answer(&lab);
        lab.a.start()?;
        times.push(answer.join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))??);
        lab.a.stop()?;
        lab.b.stop()?;
    }
    println!("start of the daemon to the first answer through it: {:.1} ms (median of {RUNS})", median(times) / 1e6);
    Ok(())
}

fn answers(lab: &Lab) -> Result<()> {
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

fn idle(lab: &Lab) -> Result<()> {
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
