//! Everything that passes a host's outer link, or another of its interfaces, byte for byte.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, recvfrom, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Host, WIRE};

/// `ETH_P_ALL` in network byte order.
const EVERYTHING: u16 = 3u16.to_be();
const BUFFER: usize = 64 << 20;

/// A running capture.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Seen>>,
}

/// What a capture saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Frames.
    pub frames: usize,
    /// All frames, one behind the other.
    pub bytes: Vec<u8>,
    /// Where in `bytes` each ends.
    ends: Vec<usize>,
}

impl Seen {
    /// The frames one by one.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    /// Whether `what` stands anywhere in the frames.
    pub fn holds(&self, what: &[u8]) -> bool {
        self.bytes.windows(what.len()).any(|window| window == what)
    }
}

impl Capture {
    /// Starts to capture; what passes after this returned is seen.
    ///
    /// # Errors
    /// When the kernel refuses a packet socket.
    pub fn start(host: &Host) -> anyhow::Result<Self> {
        Self::start_on(host, WIRE)
    }

    /// The same on another interface. One that is no Ethernet shows bare packets.
    ///
    /// # Errors
    /// When there is none, or the kernel refuses a packet socket.
    pub fn start_on(host: &Host, interface: &'static str) -> anyhow::Result<Self> {
        let wire = host.network(async move |network| {
            network.index_of(interface).await?.with_context(|| format!("no interface {interface}"))
        })?;
        let socket = host.run(|| -> io::Result<Socket> {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(EVERYTHING))))?;
            // Past the system's limit as root, up to it without.
            if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
                socket.set_recv_buffer_size(BUFFER)?;
            }
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            Ok(socket)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut seen, mut frame) = (Seen::default(), vec![0; 70_000]);
            loop {
                let (length, from) = match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
                    Ok(received) => received,
                    // What passed before the end is read before the end.
                    Err(Errno::EAGAIN) if stopped.load(Ordering::Relaxed) => return Ok(seen),
                    Err(Errno::EAGAIN | Errno::EINTR) => continue,
                    Err(error) => return Err(error.into()),
                };
                if from.is_some_and(|from| from.ifindex() == wire as usize) {
                    seen.frames += 1;
                    seen.bytes.extend_from_slice(&frame[..length]);
                    seen.ends.push(seen.bytes.len());
                }
            }
        });
        Ok(Self { stop, thread })
    }

    /// Ends the capture once the link is silent for a moment.
    ///
    /// # Errors
    /// When the capture itself failed.
    pub fn finish(self) -> io::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the capture panicked"))?
    }
}
