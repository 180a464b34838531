//! Everything that passes a host's outer link, byte for byte.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::Host;

/// `ETH_P_ALL` in network byte order.
const EVERYTHING: u16 = 3u16.to_be();

/// A running capture.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Vec<u8>>>,
}

impl Capture {
    /// Starts to capture; what passes after this returned is seen.
    ///
    /// # Errors
    /// When the kernel refuses a packet socket.
    pub fn start(host: &Host) -> io::Result<Self> {
        let mut socket = host.run(|| -> io::Result<Socket> {
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(EVERYTHING))))?;
            socket.set_recv_buffer_size(64 << 20)?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            Ok(socket)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut seen, mut frame) = (Vec::new(), vec![0; 70_000]);
            while !stopped.load(Ordering::Relaxed) {
                match socket.read(&mut frame) {
                    Ok(length) if is_outer(&frame[..length]) => seen.extend_from_slice(&frame[..length]),
                    Ok(_) => {}
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(seen)
        });
        Ok(Self { stop, thread })
    }

    /// Ends the capture and gives the bytes of all frames.
    ///
    /// # Errors
    /// When the capture itself failed.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the capture panicked"))?
    }
}

/// Frames of the tunnel's own interface have no Ethernet header: they begin with an IP header (0x45, 0x60). No MAC
/// address of a veth does: unicast ones that the kernel draws have bit 1 of their first byte set and bit 0 clear.
fn is_outer(frame: &[u8]) -> bool {
    !matches!(frame.first(), None | Some(0x45 | 0x60))
}
