//! One datagram a call: macOS neither cuts nor merges runs.

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::{SockAddr, Socket};

use super::batch::{Arrival, ReceiveBatch};
use super::message::{Control, arrived, incoming, piece, send_one};
use super::socket::set_option;
use super::{UdpError, UdpNote, UdpOptions};

/// What the kernel granted.
pub(super) struct Granted {
    pub(super) segmentation: bool,
    pub(super) coalescing: bool,
    pub(super) fragments: bool,
}

pub(super) fn configure(
    socket: &Socket,
    address: SocketAddr,
    options: &UdpOptions,
    _notes: &mut Vec<UdpNote>,
) -> Result<Granted, UdpError> {
    if let Some(interface) = &options.interface {
        let refused = |error| UdpError::Interface { interface: interface.clone(), error };
        let index = nix::net::if_::if_nametoindex(interface.as_str()).map_err(|error| refused(error.into()))?;
        let index = NonZeroU32::new(index);
        match address {
            SocketAddr::V4(_) => socket.bind_device_by_index_v4(index),
            SocketAddr::V6(_) => socket.bind_device_by_index_v6(index),
        }
        .map_err(refused)?;
    }
    let whole = match address {
        SocketAddr::V4(_) => {
            set_option(socket, libc::IPPROTO_IP, libc::IP_RECVDSTADDR, 1)?;
            set_option(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
            set_option(socket, libc::IPPROTO_IP, libc::IP_DONTFRAG, 1)
        }
        SocketAddr::V6(_) => {
            set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
            set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)
        }
    };
    Ok(Granted { segmentation: false, coalescing: false, fragments: whole.is_err() })
}

/// There is no way past the system's limit.
pub(super) fn force_receive_buffer(_socket: &Socket, _bytes: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What the kernel granted.
pub(super) fn receive_buffer(socket: &Socket) -> io::Result<usize> {
    socket.recv_buffer_size()
}

/// A length in a message's header.
pub(super) const fn length(bytes: libc::socklen_t) -> usize {
    bytes as usize
}

/// The source address alone; on sending the option's name means that.
pub(super) fn source_v4(from: Ipv4Addr) -> (c_int, [u8; 4]) {
    (libc::IP_RECVDSTADDR, from.octets())
}

pub(super) fn decode(level: c_int, kind: c_int, data: &[u8], arrival: &mut Arrival) {
    if (level, kind) == (libc::IPPROTO_IP, libc::IP_RECVDSTADDR) {
        arrival.to = data.first_chunk::<4>().map(|octets| IpAddr::from(*octets));
    }
}

/// Never asked for: no socket here has segmentation.
pub(super) fn send_run(
    _socket: BorrowedFd<'_>,
    _to: &SockAddr,
    _control: &Control,
    _bytes: &[u8],
    _stride: usize,
) -> io::Result<()> {
    Err(io::ErrorKind::InvalidInput.into())
}

/// Sends datagrams of their own; how many the kernel took.
pub(super) fn send_each<'b>(
    socket: BorrowedFd<'_>,
    to: &SockAddr,
    control: &Control,
    datagrams: impl Iterator<Item = &'b [u8]>,
) -> io::Result<usize> {
    let mut sent = 0;
    for datagram in datagrams {
        match send_one(socket, to, control, datagram) {
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
            Ok(()) => sent += 1,
        }
    }
    Ok(sent)
}

/// Fills the batch with what is there.
pub(super) fn receive(socket: BorrowedFd<'_>, batch: &mut ReceiveBatch) -> io::Result<()> {
    batch.arrivals.clear();
    let mut arrivals = std::mem::take(&mut batch.arrivals);
    let mut failed = None;
    for mut room in batch.rooms() {
        let mut piece = piece(&[]);
        let mut header = incoming(&mut room, &mut piece);
        // SAFETY: the header points to the room's buffers and to `piece`, which live through the call and which nobody
        // else uses meanwhile.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
        let Ok(length) = usize::try_from(length) else {
            failed = Some(io::Error::last_os_error());
            break;
        };
        arrivals.push(arrived(room, &header, length));
    }
    batch.arrivals = arrivals;
    match failed {
        Some(error) if batch.arrivals.is_empty() => Err(error),
        Some(_) | None => Ok(()),
    }
}
