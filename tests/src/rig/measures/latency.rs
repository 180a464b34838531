//! Round trips of single datagrams.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::rig::contenders::Running;
use crate::rig::site::{Side, Site};

/// Probes a second.
const RATE: f64 = 500.0;
/// Probes in a turn.
const TURN: u32 = 25;
/// Bytes of a probe.
const LENGTH: usize = 64;
/// How long the last answers are waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Round trips in microseconds, sorted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Times(Vec<f64>);

impl Times {
    pub(super) fn new(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    /// The smallest time that at least `percent` of all do not exceed; zero of nothing.
    pub(super) fn percentile(&self, percent: f64) -> f64 {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied().unwrap_or(0.0)
    }
}

/// Sends probes from A to B for a time; gives how long each was under way, in microseconds.
pub(super) fn probe(site: &Site, running: &Running, time: Duration) -> anyhow::Result<Vec<f64>> {
    let [times] = probe_in_turns([(site, running)], time)?;
    Ok(times)
}

/// The same for several, each for that time, in turns that are short: what waking somebody costs changes from one second to
/// the next, and so changes for all, while what each of them needs stays in the caches for as long as a turn lasts.
pub(super) fn probe_in_turns<const N: usize>(
    of: [(&Site, &Running); N],
    time: Duration,
) -> anyhow::Result<[Vec<f64>; N]> {
    let over = Arc::new(AtomicBool::new(false));
    let (mut sockets, mut echoing) = (Vec::new(), Vec::new());
    for (site, running) in of {
        let to = running.inner(Side::B);
        let echo = site.host(Side::B).run(move || UdpSocket::bind((to, 0)))?;
        echo.set_read_timeout(Some(Duration::from_millis(50)))?;
        let target = echo.local_addr()?;
        sockets.push(site.host(Side::A).run(move || asking(target))?);
        let over = Arc::clone(&over);
        echoing.push(site.host(Side::B).spawn(move || answer(&echo, &over)));
    }
    let host = of.first().map(|(site, _)| site.host(Side::A)).context("there is nobody to ask")?;
    let whole = time * u32::try_from(N)?;
    let asked = host.spawn(move || ask(&sockets, whole)).join();
    over.store(true, Ordering::Relaxed);
    for echo in echoing {
        echo.join().map_err(|_| anyhow::anyhow!("the echo panicked"))?;
    }
    let times = asked.map_err(|_| anyhow::anyhow!("the prober panicked"))??;
    ensure!(times.iter().all(|times| !times.is_empty()), "no probe came back");
    times.try_into().map_err(|_| anyhow::anyhow!("probes of others came back"))
}

fn answer(socket: &UdpSocket, over: &AtomicBool) {
    let mut buffer = [0; LENGTH];
    while !over.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // A queue that is full just now loses this probe, as it would any packet.
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}

fn asking(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(target)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Asks one after the other, at a fixed pace whether or not answers come, so that a stall is seen by every probe that falls
/// into it.
fn ask(sockets: &[UdpSocket], time: Duration) -> anyhow::Result<Vec<Vec<f64>>> {
    let (begun, mut sent) = (Instant::now(), 0_u32);
    let mut times = vec![Vec::new(); sockets.len()];
    let mut buffer = [0; LENGTH];
    loop {
        let now = begun.elapsed();
        let due = Duration::from_secs_f64(f64::from(sent) / RATE);
        let end = if due < time { due } else { time + PATIENCE };
        if now >= end {
            if end > time {
                return Ok(times);
            }
            let mut probe = [0; LENGTH];
            probe[..8].copy_from_slice(&u64::try_from(begun.elapsed().as_nanos())?.to_le_bytes());
            let _ = sockets[(sent / TURN) as usize % sockets.len()].send(&probe);
            sent += 1;
            continue;
        }
        let mut ready: Vec<_> = sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        ppoll(&mut ready, Some(TimeSpec::from_duration(end - now)), None)?;
        for (socket, times) in sockets.iter().zip(&mut times) {
            match socket.recv(&mut buffer) {
                Ok(LENGTH) => {
                    let sent_at = buffer.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                    times.push((begun.elapsed().saturating_sub(Duration::from_nanos(sent_at))).as_nanos() as f64 / 1e3);
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = Times::new((1..=200).rev().map(f64::from).collect());
        assert_eq!(times.percentile(50.0), 100.0);
        assert_eq!(times.percentile(99.0), 198.0);
        assert_eq!(times.percentile(100.0), 200.0);
        assert_eq!(times.percentile(0.0), 1.0);
        assert_eq!(Times::new(vec![7.0]).percentile(99.0), 7.0);
        assert_eq!(Times::new(Vec::new()).percentile(50.0), 0.0);
    }
}
