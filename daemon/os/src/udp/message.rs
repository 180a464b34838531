//! Control messages, and the headers of `sendmsg` and `recvmsg`.

use std::ffi::{c_int, c_void};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::{SockAddr, SockAddrStorage};

use super::batch::{Arrival, Room};
use super::{Ecn, Transmit};

/// Room for everything that we send or ask for: congestion bits, an address of ours, a segment size.
const CAPACITY: usize = 128;
/// Bytes before a control message's data.
// SAFETY: the macro only computes.
const HEADER: usize = unsafe { libc::CMSG_LEN(0) } as usize;

/// A buffer of control messages, aligned for their headers.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control {
    bytes: [u8; CAPACITY],
    used: usize,
}

/// Bytes that a control message with `data` bytes of data takes.
const fn space(data: usize) -> usize {
    // SAFETY: the macro only computes.
    unsafe { libc::CMSG_SPACE(data as libc::c_uint) as usize }
}

impl Control {
    pub(super) const EMPTY: Self = Self { bytes: [0; CAPACITY], used: 0 };

    /// What goes along with a transmit: its congestion bits and the address that it leaves from.
    pub(super) fn of(transmit: &Transmit<'_>) -> Self {
        let mut control = Self::EMPTY;
        if transmit.ecn != Ecn::Off {
            let tos = c_int::from(transmit.ecn.bits());
            match transmit.to {
                SocketAddr::V4(_) => control.push(libc::IPPROTO_IP, libc::IP_TOS, &tos.to_ne_bytes()),
                SocketAddr::V6(_) => control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &tos.to_ne_bytes()),
            }
        }
        match transmit.from {
            Some(IpAddr::V4(from)) => {
                let (kind, data) = super::platform::source_v4(from);
                control.push(libc::IPPROTO_IP, kind, &data);
            }
            Some(IpAddr::V6(from)) => {
                // `in6_pktinfo`: the address, then the interface's index, zero for any.
                let mut data = [0; 20];
                data[..16].copy_from_slice(&from.octets());
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data);
            }
            None => {}
        }
        control
    }

    /// Appends a message. What does not fit is left out; what we send always fits.
    pub(super) fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let end = self.used + space(data.len());
        debug_assert!(end <= CAPACITY, "more control messages than foreseen");
        let Some(room) = self.bytes.get_mut(self.used..end) else { return };
        // SAFETY: all-zero bytes are a valid `cmsghdr`.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = (HEADER + data.len()) as _;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        // SAFETY: `room` has at least HEADER bytes, which is the header's size rounded up; unaligned writes are allowed.
        unsafe { room.as_mut_ptr().cast::<libc::cmsghdr>().write_unaligned(header) };
        room[HEADER..HEADER + data.len()].copy_from_slice(data);
        self.used = end;
    }

    /// The messages: level, type, data.
    pub(super) fn messages(&self) -> impl Iterator<Item = (c_int, c_int, &[u8])> {
        let mut rest = &self.bytes[..self.used.min(CAPACITY)];
        std::iter::from_fn(move || {
            if rest.len() < HEADER {
                return None;
            }
            // SAFETY: `rest` has at least the header's bytes, every bit pattern is a valid header, and unaligned reads
            // are allowed.
            let header = unsafe { rest.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
            let length = super::platform::length(header.cmsg_len);
            let data = rest.get(HEADER..length)?;
            rest = rest.get(space(data.len())..).unwrap_or_default();
            Some((header.cmsg_level, header.cmsg_type, data))
        })
    }
}

/// A header of `sendmsg` for one piece of bytes. It points into its arguments and is valid while they live.
pub(super) fn outgoing(to: &SockAddr, control: &Control, piece: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all-zero bytes are a valid `msghdr`.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = to.as_ptr().cast_mut().cast();
    header.msg_namelen = to.len();
    header.msg_iov = piece;
    header.msg_iovlen = 1;
    if control.used > 0 {
        header.msg_control = control.bytes.as_ptr().cast_mut().cast();
        header.msg_controllen = control.used as _;
    }
    header
}

/// Bytes to send, as `sendmsg` takes them.
pub(super) fn piece(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Sends one message: a datagram, if `control` asks for nothing else. It touches less memory than a row of one does.
pub(super) fn send_one(socket: BorrowedFd<'_>, to: &SockAddr, control: &Control, bytes: &[u8]) -> io::Result<()> {
    let mut piece = piece(bytes);
    let header = outgoing(to, control, &mut piece);
    // SAFETY: the header points to `to`, `control` and `bytes`, which live through the call; the kernel only reads them.
    match unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A header of `recvmsg` that fills `room`. It points into its arguments and is valid while they live.
pub(super) fn incoming(room: &mut Room<'_>, piece: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all-zero bytes are a valid `msghdr`.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    *piece = libc::iovec { iov_base: room.buffer.as_mut_ptr().cast(), iov_len: room.buffer.len() };
    header.msg_name = std::ptr::from_mut::<SockAddrStorage>(room.name).cast::<c_void>();
    header.msg_namelen = room.name.size_of();
    header.msg_iov = piece;
    header.msg_iovlen = 1;
    header.msg_control = room.control.bytes.as_mut_ptr().cast();
    header.msg_controllen = CAPACITY as _;
    header
}

/// What a filled room holds, and how many bytes. `header` is the one that [`incoming`] made, after the call.
pub(super) fn arrived(room: Room<'_>, header: &libc::msghdr, length: usize) -> (Arrival, usize) {
    room.control.used = super::platform::length(header.msg_controllen).min(CAPACITY);
    let name = std::mem::replace(room.name, SockAddrStorage::zeroed());
    // SAFETY: the kernel wrote an address of `msg_namelen` bytes into the storage, or none and left it zeroed.
    let name = unsafe { SockAddr::new(name, header.msg_namelen) };
    // An internet socket has no other kind of peer.
    let from = name.as_socket().unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
    let mut arrival = Arrival { from, to: None, ecn: Ecn::Off, stride: length };
    for (level, kind, data) in room.control.messages() {
        match (level, kind) {
            // One byte on IPv4, an int on IPv6 (and a byte on some systems).
            (libc::IPPROTO_IP, libc::IP_TOS | libc::IP_RECVTOS) => {
                arrival.ecn = Ecn::from_tos(data.first().copied().unwrap_or(0));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                let tos = data.first_chunk().map_or(0, |int| i32::from_ne_bytes(*int) as u8);
                arrival.ecn = Ecn::from_tos(data.first().filter(|_| data.len() == 1).copied().unwrap_or(tos));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                arrival.to = data.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into());
            }
            _ => super::platform::decode(level, kind, data, &mut arrival),
        }
    }
    arrival.stride = arrival.stride.max(1);
    (arrival, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_are_read_as_they_were_written() {
        let mut control = Control::EMPTY;
        control.push(1, 2, &[7; 3]);
        control.push(3, 4, &[]);
        control.push(5, 6, &[9; 20]);
        let seen: Vec<_> = control.messages().map(|(level, kind, data)| (level, kind, data.to_vec())).collect();
        assert_eq!(seen, [(1, 2, vec![7; 3]), (3, 4, vec![]), (5, 6, vec![9; 20])]);
    }

    #[test]
    fn control_messages_that_lie_about_their_length_end_the_list() {
        let mut control = Control::EMPTY;
        control.push(1, 2, &[7; 4]);
        for length in [0, HEADER as u8 - 1, 255] {
            control.bytes[0] = length;
            assert_eq!(control.messages().count(), 0, "length {length}");
        }
    }
}
