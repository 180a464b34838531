//! The socket.

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::batch::ReceiveBatch;
use super::message::{Control, send_one};
use super::platform;
use super::{MAX_DATAGRAM, MAX_RUN, Transmit, UdpError, UdpNote, UdpOptions};
use crate::bell::{Waker, wait_readable, wait_writable};

/// Bulk data must not push handshakes out of the buffer that both share.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Modest: what waits here is latency.
const SEND_BUFFER: usize = 1 << 20;

/// A non-blocking UDP socket of one address family. Any thread may send; one receives.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    address: SocketAddr,
    /// Whether the kernel said that it cuts runs.
    granted: bool,
    coalescing: bool,
    /// Cleared when the kernel or a driver turns out not to cut runs after all.
    segmentation: AtomicBool,
    fragments: bool,
    notes: Vec<UdpNote>,
    waker: Waker,
}

impl UdpSocket {
    /// Makes a socket bound to `address`; port 0 is any.
    ///
    /// # Errors
    /// [`UdpError`]. What the kernel does not offer is no error but one of [`Self::notes`].
    pub fn open(address: SocketAddr, options: &UdpOptions) -> Result<Self, UdpError> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            // Each family has its own socket: no mapped addresses, and both may have the same port.
            socket.set_only_v6(true)?;
        }
        let mut notes = Vec::new();
        let granted = platform::configure(&socket, address, options, &mut notes)?;
        if granted.fragments {
            notes.push(UdpNote::Fragments);
        }
        enlarge_buffers(&socket, &mut notes)?;
        socket.bind(&address.into()).map_err(|error| UdpError::Bind { address, error })?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self {
            socket,
            address,
            granted: granted.segmentation,
            coalescing: granted.coalescing,
            segmentation: AtomicBool::new(granted.segmentation),
            fragments: granted.fragments,
            notes,
            waker: Waker::new()?,
        })
    }

    /// Sends a run; how many datagrams the kernel took. Fewer than given means that it has no room for the others now.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room for any; otherwise why the first was refused.
    pub fn send(&self, transmit: &Transmit<'_>) -> io::Result<usize> {
        let to = SockAddr::from(transmit.to);
        let control = Control::of(transmit);
        let stride = transmit.stride.max(1);
        let longest = (MAX_DATAGRAM / stride).clamp(1, MAX_RUN) * stride;
        let mut sent = 0;
        for run in transmit.bytes.chunks(longest) {
            match self.send_run(&to, &control, run, stride) {
                Ok(datagrams) => {
                    sent += datagrams;
                    if datagrams < run.len().div_ceil(stride) {
                        break;
                    }
                }
                Err(error) if sent == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    fn send_run(&self, to: &SockAddr, control: &Control, run: &[u8], stride: usize) -> io::Result<usize> {
        let datagrams = run.len().div_ceil(stride);
        if datagrams == 1 {
            return send_one(self.as_fd(), to, control, run).map(|()| 1);
        }
        let in_one = self.segmentation.load(Ordering::Relaxed);
        if in_one {
            match platform::send_run(self.as_fd(), to, control, run, stride) {
                Ok(()) => return Ok(datagrams),
                // A driver that cannot, or an address that is wrong in itself: sending each alone tells which.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL)) => {}
                Err(error) => return Err(error),
            }
        }
        let sent = platform::send_each(self.as_fd(), to, control, run.chunks(stride))?;
        if in_one {
            self.segmentation.store(false, Ordering::Relaxed);
        }
        Ok(sent)
    }

    /// Waits for datagrams and reads what is there.
    ///
    /// # Errors
    /// As [`Self::try_receive`], but for `WouldBlock`.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        loop {
            match self.try_receive(batch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drop(wait_readable(self.awaited().into_iter(), None)?);
                }
                result => return result,
            }
        }
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// `Interrupted` after [`Waker::wake`]; `WouldBlock` when there is nothing; otherwise the socket's error, after which
    /// it may be tried again.
    pub fn try_receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        // First, so that a flood cannot hide it.
        if self.waker.is_woken() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        platform::receive(self.as_fd(), batch)
    }

    /// What to wait for until [`Self::try_receive`] has something to say.
    pub fn awaited(&self) -> [BorrowedFd<'_>; 2] {
        [self.as_fd(), self.waker.as_fd()]
    }

    /// Waits until there may be room to send, but not for long.
    ///
    /// # Errors
    /// The system's.
    pub fn wait_for_room(&self, longest: Duration) -> io::Result<()> {
        wait_writable(self.as_fd(), longest)
    }

    /// Whether it can reach an address at all: of its family, and loopback only from loopback.
    pub fn reaches(&self, to: IpAddr) -> bool {
        let own = self.address.ip();
        own.is_ipv4() == to.is_ipv4() && (own.is_unspecified() || own.is_loopback() == to.is_loopback())
    }

    /// What ends a blocked [`Self::receive`].
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Where it is bound.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many datagrams of equal length are best sent in one run.
    pub fn run_length(&self) -> usize {
        if self.segmentation.load(Ordering::Relaxed) { MAX_RUN } else { 1 }
    }

    /// Whether datagrams of equal length may arrive as one run.
    pub const fn merges_runs(&self) -> bool {
        self.coalescing
    }

    /// Whether datagrams may be fragmented on their way out.
    pub const fn may_fragment(&self) -> bool {
        self.fragments
    }

    /// What it goes without: what it was not granted, and what turned out not to work.
    pub fn notes(&self) -> Vec<UdpNote> {
        let lost = self.granted && self.run_length() == 1;
        self.notes.iter().cloned().chain(lost.then_some(UdpNote::NoSegmentation)).collect()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn enlarge_buffers(socket: &Socket, notes: &mut Vec<UdpNote>) -> io::Result<()> {
    // A smaller buffer than asked for is no fault.
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    if platform::force_receive_buffer(socket, RECEIVE_BUFFER).is_err() {
        // Linux grants what its limit allows, macOS all or nothing.
        let mut bytes = RECEIVE_BUFFER;
        while socket.set_recv_buffer_size(bytes).is_err() && bytes > 1 << 16 {
            bytes /= 2;
        }
    }
    let got = platform::receive_buffer(socket)?;
    if got < RECEIVE_BUFFER {
        notes.push(UdpNote::SmallBuffer { wanted: RECEIVE_BUFFER, got });
    }
    Ok(())
}

/// Sets an option that takes an int.
pub(super) fn set_option(socket: &Socket, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the option's value is an int, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::udp::Ecn;

    #[test]
    fn a_run_that_the_kernel_refuses_to_cut_is_sent_piece_by_piece_from_then_on() {
        let open = || UdpSocket::open("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
        let (sender, receiver) = (open(), open());
        // The kernel cuts no runs of a socket without checksums.
        set_option(&sender.socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        assert_eq!(sender.run_length(), MAX_RUN);
        let bytes = [7; 250];
        let run = Transmit { to: receiver.address(), from: None, ecn: Ecn::Off, bytes: &bytes, stride: 100 };
        assert_eq!(sender.send(&run).unwrap(), 3);
        assert_eq!(sender.run_length(), 1);
        assert_eq!(sender.notes(), [UdpNote::NoSegmentation]);
        let mut received = 0;
        let mut batch = ReceiveBatch::default();
        while received < bytes.len() {
            receiver.receive(&mut batch).unwrap();
            received += batch.runs().map(|(_, run)| run.len()).sum::<usize>();
        }
    }

    #[test]
    fn what_is_wrong_in_itself_does_not_end_segmentation() {
        let sender = UdpSocket::open("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
        let run = Transmit {
            to: sender.address(),
            from: Some("192.0.2.77".parse().unwrap()),
            ecn: Ecn::Off,
            bytes: &[7; 250],
            stride: 100,
        };
        assert!(sender.send(&run).is_err(), "not an address of ours");
        assert_eq!(sender.run_length(), MAX_RUN);
    }
}
