//! Numbered datagrams: which arrived, and how often.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::Host;

/// Room for what waits while the receiving thread gets no processor.
const BUFFER: usize = 16 << 20;
/// How long the receiver waits for the next one of those that were sent.
const PATIENCE: Duration = Duration::from_secs(3);

/// As many as are sent behind one another after a delay.
const AT_ONCE: u32 = 100;

/// Numbered datagrams on their way from one host to another.
pub struct Flow {
    stop: Arc<AtomicBool>,
    arrived: Arc<AtomicU64>,
    sender: JoinHandle<io::Result<u64>>,
    receiver: JoinHandle<io::Result<Vec<u32>>>,
    sent: Arc<AtomicU64>,
}

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Handed to the sending host's kernel.
    pub sent: u64,
    /// Never arrived.
    pub lost: u64,
    /// Arrived more than once.
    pub repeated: u64,
}

impl Flow {
    /// Sends one datagram of `length` bytes after each `pause`, from `from` to an address of `to`.
    ///
    /// # Errors
    /// When the sockets cannot be made.
    pub fn start(from: &Host, to: &Host, address: IpAddr, length: usize, pause: Duration) -> io::Result<Self> {
        let unspecified: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        let socket = to.run(move || -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind((unspecified, 0))?;
            // Past the system's limit as root; what the limit gives without.
            let _ = setsockopt(&socket, sockopt::RcvBufForce, &BUFFER);
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            Ok(socket)
        })?;
        let target = SocketAddr::new(address, socket.local_addr()?.port());
        let (stop, arrived, sent) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
        let receiver = {
            let (arrived, sent) = (Arc::clone(&arrived), Arc::clone(&sent));
            std::thread::spawn(move || receive(&socket, &arrived, &sent))
        };
        let stopped = Arc::clone(&stop);
        let sender = from.spawn(move || send(unspecified, target, length, pause, &stopped));
        Ok(Self { stop, arrived, sender, receiver, sent })
    }

    /// How many arrived so far.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Stops sending, waits for what is on its way, and counts.
    ///
    /// # Errors
    /// When a socket failed.
    pub fn finish(self) -> anyhow::Result<Tally> {
        let panicked = |_| anyhow::anyhow!("a thread of the flow panicked");
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().map_err(panicked)??;
        self.sent.store(sent, Ordering::Relaxed);
        let times = self.receiver.join().map_err(panicked)??;
        let lost = sent - times.iter().filter(|&&times| times > 0).count() as u64;
        Ok(Tally { sent, lost, repeated: times.iter().filter(|&&times| times > 1).count() as u64 })
    }
}

fn send(own: IpAddr, target: SocketAddr, length: usize, pause: Duration, stop: &AtomicBool) -> io::Result<u64> {
    let socket = UdpSocket::bind((own, 0))?;
    let (mut begun, mut sent, mut datagram) = (Instant::now(), 0_u64, vec![0; length.max(8)]);
    let mut slot = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        datagram[..8].copy_from_slice(&sent.to_be_bytes());
        // A kernel that has no route just now sent nothing.
        sent += u64::from(socket.send_to(&datagram, target).is_ok());
        slot += 1;
        let late = begun.elapsed().saturating_sub(pause * slot);
        // Who got no processor for a while makes up for little of it: all of it at once would be a flood.
        if late > pause * AT_ONCE {
            begun += late;
        }
        std::thread::sleep((pause * slot).saturating_sub(begun.elapsed()));
    }
    Ok(sent)
}

/// How often each number came. `sent` is huge until the sender ended.
fn receive(socket: &UdpSocket, arrived: &AtomicU64, sent: &AtomicU64) -> io::Result<Vec<u32>> {
    let (mut times, mut distinct, mut last) = (Vec::<u32>::new(), 0, Instant::now());
    let mut datagram = [0; 2048];
    loop {
        let sent = sent.load(Ordering::Relaxed);
        if sent == distinct || (sent != u64::MAX && last.elapsed() > PATIENCE) {
            return Ok(times);
        }
        match socket.recv(&mut datagram) {
            Ok(length) => {
                let number = datagram.first_chunk().filter(|_| length >= 8).map(|bytes| u64::from_be_bytes(*bytes));
                let Some(number) = number.and_then(|number| usize::try_from(number).ok()) else { continue };
                if number >= times.len() {
                    times.resize(number + 1, 0);
                }
                distinct += u64::from(times[number] == 0);
                times[number] += 1;
                arrived.store(distinct, Ordering::Relaxed);
                last = Instant::now();
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}
