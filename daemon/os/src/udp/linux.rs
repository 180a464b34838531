//! `UDP_SEGMENT`, `UDP_GRO`, `sendmmsg` and `recvmmsg`.

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockAddr, Socket};

use super::batch::{Arrival, BUFFERS, ReceiveBatch};
use super::message::{Control, arrived, incoming, outgoing, piece, send_one};
use super::socket::set_option;
use super::{MAX_RUN, Offload, UdpError, UdpNote, UdpOptions};

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
    notes: &mut Vec<UdpNote>,
) -> Result<Granted, UdpError> {
    if let Some(mark) = options.mark
        && let Err(error) = socket.set_mark(mark)
    {
        notes.push(UdpNote::Unmarked(error.to_string()));
    }
    if let Some(interface) = &options.interface {
        let refused = |error| UdpError::Interface { interface: interface.clone(), error };
        socket.bind_device(Some(interface.as_bytes())).map_err(refused)?;
    }
    let whole = match address {
        SocketAddr::V4(_) => {
            set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            set_option(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
            set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
        }
        SocketAddr::V6(_) => {
            set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
            // PROBE alone lets the kernel fragment what is longer than the interface's MTU.
            set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)
                .and_then(|()| set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1))
        }
    };
    let mut granted = |offload, name, value, otherwise| {
        let offered = offload == Offload::IfOffered && set_option(socket, libc::SOL_UDP, name, value).is_ok();
        if offload == Offload::IfOffered && !offered {
            notes.push(otherwise);
        }
        offered
    };
    // A segment size of zero is none: whether the kernel takes it tells whether it knows the option.
    let segmentation = granted(options.segmentation, libc::UDP_SEGMENT, 0, UdpNote::NoSegmentation);
    let coalescing = granted(options.coalescing, libc::UDP_GRO, 1, UdpNote::NoCoalescing);
    Ok(Granted { segmentation, coalescing, fragments: whole.is_err() })
}

/// Sets the receive buffer's size past the system's limit, which root may.
pub(super) fn force_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::RcvBufForce, &bytes)?)
}

/// What the kernel says that it granted: it doubles what was asked for, for its own needs.
pub(super) fn receive_buffer(socket: &Socket) -> io::Result<usize> {
    Ok(socket.recv_buffer_size()? / 2)
}

/// A length in a message's header.
pub(super) const fn length(bytes: usize) -> usize {
    bytes
}

/// `in_pktinfo`: the interface's index (any), the source address, and a field that only matters on receipt.
pub(super) fn source_v4(from: Ipv4Addr) -> (c_int, [u8; 12]) {
    let mut data = [0; 12];
    data[4..8].copy_from_slice(&from.octets());
    (libc::IP_PKTINFO, data)
}

pub(super) fn decode(level: c_int, kind: c_int, data: &[u8], arrival: &mut Arrival) {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // `in_pktinfo`: the datagram's destination comes last.
            arrival.to = data.last_chunk::<4>().map(|octets| IpAddr::from(*octets));
        }
        (libc::SOL_UDP, libc::UDP_GRO) => {
            let size = data.first_chunk().and_then(|int| usize::try_from(i32::from_ne_bytes(*int)).ok());
            arrival.stride = size.unwrap_or(arrival.stride);
        }
        _ => {}
    }
}

/// Sends a run that the kernel cuts into datagrams.
pub(super) fn send_run(
    socket: BorrowedFd<'_>,
    to: &SockAddr,
    control: &Control,
    bytes: &[u8],
    stride: usize,
) -> io::Result<()> {
    let mut control = *control;
    let size = u16::try_from(stride).map_err(|_| io::ErrorKind::InvalidInput)?;
    control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    send_one(socket, to, &control, bytes)
}

/// Sends datagrams of their own, [`MAX_RUN`] at most; how many the kernel took.
pub(super) fn send_each<'b>(
    socket: BorrowedFd<'_>,
    to: &SockAddr,
    control: &Control,
    datagrams: impl Iterator<Item = &'b [u8]>,
) -> io::Result<usize> {
    let mut pieces = [piece(&[]); MAX_RUN];
    // SAFETY: all-zero bytes are valid `mmsghdr`s.
    let mut headers: [libc::mmsghdr; MAX_RUN] = unsafe { std::mem::zeroed() };
    let mut count = 0;
    for (datagram, (place, header)) in datagrams.zip(pieces.iter_mut().zip(&mut headers)) {
        *place = piece(datagram);
        header.msg_hdr = outgoing(to, control, place);
        count += 1;
    }
    // SAFETY: `count` headers point to `to`, `control`, `pieces` and the datagrams, which live through the call.
    match unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) } {
        sent @ 0.. => Ok(usize::try_from(sent).unwrap_or_default()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Fills the batch with what is there.
pub(super) fn receive(socket: BorrowedFd<'_>, batch: &mut ReceiveBatch) -> io::Result<()> {
    batch.arrivals.clear();
    let mut pieces = [piece(&[]); BUFFERS];
    // SAFETY: all-zero bytes are valid `mmsghdr`s.
    let mut headers: [libc::mmsghdr; BUFFERS] = unsafe { std::mem::zeroed() };
    let mut count = 0;
    for (mut room, (place, header)) in batch.rooms().zip(pieces.iter_mut().zip(&mut headers)) {
        header.msg_hdr = incoming(&mut room, place);
        count += 1;
    }
    // SAFETY: `count` headers point to buffers of `batch` and to `pieces`, which live through the call and which nobody
    // else uses meanwhile; no time-out is given.
    let received = unsafe { libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0, std::ptr::null_mut()) };
    let Ok(received) = usize::try_from(received) else { return Err(io::Error::last_os_error()) };
    let mut arrivals = std::mem::take(&mut batch.arrivals);
    let filled = batch.rooms().zip(&headers).take(received);
    arrivals.extend(filled.map(|(room, header)| arrived(room, &header.msg_hdr, header.msg_len as usize)));
    batch.arrivals = arrivals;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use socket2::{Domain, Type};

    use super::*;

    /// As on a kernel that has neither: one that is asked for runs of a socket that is none of UDP refuses them.
    #[test]
    fn what_the_kernel_refuses_is_gone_without_and_told() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let granted = |options: &UdpOptions| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let mut notes = Vec::new();
            let granted = configure(&socket, address, options, &mut notes).unwrap();
            (granted.segmentation, granted.coalescing, notes)
        };
        let both = vec![UdpNote::NoSegmentation, UdpNote::NoCoalescing];
        assert_eq!(granted(&UdpOptions::default()), (false, false, both));
        let (segmentation, coalescing) = (Offload::Never, Offload::Never);
        let without = UdpOptions { segmentation, coalescing, ..UdpOptions::default() };
        assert_eq!(granted(&without), (false, false, Vec::new()), "what was not asked for is not missed");
    }
}
