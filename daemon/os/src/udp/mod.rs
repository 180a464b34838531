//! The UDP socket that sealed frames and QUIC share: runs of datagrams out, batches of datagrams in.
//!
//! Segmentation offload decides the cost of a packet (docs/architecture.md, decision 4), so both directions are made for
//! it: [`UdpSocket::send`] takes a run of datagrams of equal length, [`UdpSocket::receive`] gives back the runs that the
//! kernel merged. What a kernel does not offer is done another way, and [`UdpOptions`] can ask for that way.

mod batch;
mod message;
mod sender;
mod socket;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

pub use batch::{Arrival, ReceiveBatch};
pub use socket::UdpSocket;

use std::io;
use std::net::{IpAddr, SocketAddr};

/// The most datagrams that one run holds: what the kernel cuts one send into.
pub const MAX_RUN: usize = 64;
/// The longest payload of a UDP datagram, and so the longest run in bytes.
pub const MAX_DATAGRAM: usize = 65_507;

/// How a socket is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdpOptions {
    /// Marks every packet for policy routing (Linux, needs CAP_NET_ADMIN).
    pub mark: Option<u32>,
    /// Sends and receives on this interface only, whatever the routes say.
    pub interface: Option<String>,
    /// Whether the kernel may cut runs into datagrams.
    pub segmentation: Offload,
    /// Whether the kernel may merge datagrams into runs.
    pub coalescing: Offload,
}

/// Whether something that not every kernel offers is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Where it is offered.
    #[default]
    IfOffered,
    /// Never: what old kernels do is done everywhere.
    Never,
}

/// A socket that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// The address is not ours, or somebody has the port.
    #[error("cannot bind UDP {address}: {error}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The traffic could not be kept on the interface: without that it might run through the tunnel that it carries.
    #[error("cannot keep UDP on the interface {interface}: {error}")]
    Interface {
        /// Which.
        interface: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// A socket, or one of its options, is refused.
    #[error("cannot make a UDP socket: {0}")]
    Socket(#[from] io::Error),
}

/// What a socket goes without although it was asked for, on a system that may have it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UdpNote {
    /// Policy routing will not know the packets.
    #[error("packets carry no mark ({0}): give the daemon CAP_NET_ADMIN")]
    Unmarked(String),
    /// Bursts may be lost.
    #[error("the receive buffer has {got} bytes of {wanted}: raise net.core.rmem_max")]
    SmallBuffer {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes granted.
        got: usize,
    },
    /// A run is sent datagram by datagram.
    #[error("the kernel does not cut runs into datagrams")]
    NoSegmentation,
    /// Each datagram comes alone.
    #[error("the kernel does not merge datagrams into runs")]
    NoCoalescing,
    /// The path's MTU cannot be measured.
    #[error("the kernel may fragment datagrams")]
    Fragments,
}

/// The two bits of explicit congestion notification (RFC 3168).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ecn {
    /// The sender does not take part.
    #[default]
    Off,
    /// ECT(1).
    Capable1,
    /// ECT(0).
    Capable0,
    /// A router met congestion.
    Congested,
}

impl Ecn {
    /// The bits in their place in a TOS or traffic class byte.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Off => 0b00,
            Self::Capable1 => 0b01,
            Self::Capable0 => 0b10,
            Self::Congested => 0b11,
        }
    }

    const fn from_tos(tos: u8) -> Self {
        match tos & 0b11 {
            0b01 => Self::Capable1,
            0b10 => Self::Capable0,
            0b11 => Self::Congested,
            _ => Self::Off,
        }
    }
}

/// Whether a datagram was refused because it is longer than the path's first link takes.
pub fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// Whether a datagram found no room: in the socket's buffer, or in the queue of its interface.
pub fn is_out_of_room(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// A run of datagrams to one address.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'b> {
    /// Where to.
    pub to: SocketAddr,
    /// Which of our addresses it leaves from; the kernel chooses if none is named.
    pub from: Option<IpAddr>,
    /// Its congestion bits.
    pub ecn: Ecn,
    /// The datagrams, one after another.
    pub bytes: &'b [u8],
    /// The length of each datagram but the last, which may be shorter.
    pub stride: usize,
}
