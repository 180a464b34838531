//! Datagrams at a pace, one system call for up to 32, none merged: the tunnel sees single packets.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt};

use super::search::Trial;
use crate::lab::Host;
use crate::rig::site::{Side, Site};

const BATCH: usize = 32;
const LONGEST: usize = 2048;
/// Bytes of socket buffer: what is lost is lost by the tunnel, not by a sink that gets no processor for a moment.
const BUFFER: usize = 16 << 20;
/// How long the sink waits for stragglers once the sender has ended.
const STRAGGLERS: Duration = Duration::from_millis(300);
/// The nap of a sender that is ahead of its pace.
const NAP: Duration = Duration::from_micros(20);
/// The share that may be lost, and the share of the pace that the sender has to reach.
const LOSS: f64 = 0.01;
const REACHED: f64 = 0.97;

/// Datagrams from A to B.
pub(super) struct Stream {
    /// Bytes of each.
    pub(super) size: usize,
    /// How many a second; as many as possible if none is given.
    pub(super) pace: Option<f64>,
    /// For how long.
    pub(super) time: Duration,
}

/// What became of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Passed {
    pub(super) sent: u64,
    pub(super) arrived: u64,
    pub(super) pace: Option<f64>,
    pub(super) time: Duration,
}

impl Passed {
    pub(super) fn arrived_per_second(&self) -> f64 {
        self.arrived as f64 / self.time.as_secs_f64()
    }

    /// Whether the pace was held and enough arrived.
    pub(super) fn trial(&self) -> Trial {
        let offered = self.sent as f64 / self.time.as_secs_f64();
        let held = self.pace.is_none_or(|pace| offered >= REACHED * pace);
        let whole = self.arrived as f64 >= (1.0 - LOSS) * self.sent as f64;
        if held && whole && self.sent > 0 { Trial::Passed(self.arrived_per_second()) } else { Trial::Failed }
    }
}

/// Sends datagrams from A to an address of B and counts them there.
pub(super) fn stream(site: &Site, to: Ipv4Addr, stream: &Stream) -> anyhow::Result<Passed> {
    let socket = site.host(Side::B).run(move || UdpSocket::bind((to, 0)))?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let target = socket.local_addr()?;
    let over = Arc::new(AtomicBool::new(false));
    let sink = {
        let over = Arc::clone(&over);
        site.host(Side::B).spawn(move || count(&socket, &over))
    };
    let payloads = vec![vec![0; stream.size.min(LONGEST)]; BATCH];
    let begun = Instant::now();
    let sender = send(site.host(Side::A), target, payloads, stream.pace, stream.time, Arc::default());
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
    let time = begun.elapsed();
    over.store(true, Ordering::Relaxed);
    let arrived = sink.join().map_err(|_| anyhow::anyhow!("the sink panicked"))?;
    Ok(Passed { sent: sent?, arrived: arrived?, pace: stream.pace, time })
}

/// Sends the payloads again and again from a host; gives how many left.
pub(super) fn send(
    host: &Host,
    to: SocketAddr,
    payloads: Vec<Vec<u8>>,
    pace: Option<f64>,
    time: Duration,
    stop: Arc<AtomicBool>,
) -> JoinHandle<anyhow::Result<u64>> {
    host.spawn(move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        setsockopt(&socket, sockopt::SndBufForce, &BUFFER)?;
        socket.connect(to)?;
        let slices: Vec<[IoSlice<'_>; 1]> = payloads.iter().map(|payload| [IoSlice::new(payload)]).collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(slices.len(), None);
        let connected = vec![None::<SockaddrIn>; slices.len()];
        let (begun, mut sent) = (Instant::now(), 0_u64);
        while begun.elapsed() < time && !stop.load(Ordering::Relaxed) {
            let due = pace.map_or(slices.len() as f64, |pace| pace * begun.elapsed().as_secs_f64() - sent as f64);
            if due < 1.0 {
                std::thread::sleep(NAP);
                continue;
            }
            let now = slices.len().min(due as usize);
            match sendmmsg(socket.as_raw_fd(), &mut headers, &slices[..now], &connected[..now], [], MsgFlags::empty()) {
                Ok(results) => sent += results.count() as u64,
                // Nobody listens, or the queue is full: what a flood has to expect.
                Err(Errno::ECONNREFUSED | Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::EPERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    })
}

/// Counts what arrives until the sender has ended and nothing comes any more.
fn count(socket: &UdpSocket, over: &AtomicBool) -> anyhow::Result<u64> {
    let mut buffers = vec![[0_u8; LONGEST]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let (mut arrived, mut last) = (0_u64, Instant::now());
    loop {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        match recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None) {
            Ok(results) => {
                arrived += results.count() as u64;
                last = Instant::now();
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if over.load(Ordering::Relaxed) && last.elapsed() > STRAGGLERS {
            return Ok(arrived);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(sent: u64, arrived: u64, pace: f64) -> Trial {
        Passed { sent, arrived, pace: Some(pace), time: Duration::from_secs(2) }.trial()
    }

    #[test]
    fn a_rate_passes_with_one_percent_lost_and_no_more() {
        assert_eq!(passed(20_000, 19_800, 10_000.0), Trial::Passed(9_900.0));
        assert_eq!(passed(20_000, 19_799, 10_000.0), Trial::Failed);
    }

    #[test]
    fn a_rate_that_the_sender_did_not_reach_fails() {
        assert_eq!(passed(19_000, 19_000, 10_000.0), Trial::Failed);
        assert_eq!(passed(0, 0, 10_000.0), Trial::Failed);
    }
}
