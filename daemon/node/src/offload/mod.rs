//! Super-packets of segmentation offload (`docs/dataplane.md`): cut into packets of the tunnel's MTU on the way out,
//! merged again on the way in, so that the kernel is called once for many packets.
//!
//! A TUN device with `IFF_VNET_HDR` puts a [`VnetHeader`] before each packet. [`SuperPacket`] reads one that stands
//! for a row of packets; [`Merger`] writes them. Both are pure: the bytes come from the caller and go back to it.

mod cut;
mod merge;

pub use cut::SuperPacket;
pub use merge::{MergeRule, Merged, Merger};

use crate::drops::DropReason;
use crate::packet::{Layer4, Protocol, complete_at, header_checksum};

/// The header before each packet of a TUN device with `IFF_VNET_HDR` (virtio 1.2, section 5.1.6, without `num_buffers`),
/// in the machine's byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// Whether the layer-4 checksum holds only the pseudo-header's sum.
    pub needs_checksum: bool,
    /// Which packets a super-packet stands for; none for a plain packet.
    pub segmentation: Segmentation,
    /// Bytes of all headers of a super-packet.
    pub header_length: u16,
    /// Payload bytes of each packet that a super-packet stands for.
    pub segment: u16,
    /// Where the checksum begins: the layer-4 header's offset.
    pub checksum_start: u16,
    /// Where in the layer-4 header the checksum is.
    pub checksum_offset: u16,
}

/// The kinds of super-packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Segmentation {
    /// One plain packet.
    #[default]
    None,
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over either.
    Udp,
    /// What this program does not understand.
    Unknown(u8),
}

impl Segmentation {
    /// `VIRTIO_NET_HDR_GSO_ECN`: the first packet has CWR. Cutting and merging look at the packet itself.
    const ECN: u8 = 0x80;

    const fn from_byte(byte: u8) -> Self {
        match byte & !Self::ECN {
            0 => Self::None,
            1 => Self::TcpV4,
            4 => Self::TcpV6,
            5 => Self::Udp,
            other => Self::Unknown(other),
        }
    }

    const fn to_byte(self) -> u8 {
        match self {
            Self::None => 0,
            Self::TcpV4 => 1,
            Self::TcpV6 => 4,
            Self::Udp => 5,
            Self::Unknown(byte) => byte,
        }
    }

    const fn of(layer4: &Layer4, first_byte: u8) -> Self {
        match (layer4.protocol, first_byte >> 4) {
            (Protocol::Udp, _) => Self::Udp,
            (Protocol::Tcp, 4) => Self::TcpV4,
            (Protocol::Tcp, _) => Self::TcpV6,
        }
    }
}

impl VnetHeader {
    /// Bytes of the header.
    pub const LEN: usize = 10;
    /// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
    const NEEDS_CHECKSUM: u8 = 1;

    /// Reads the header.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            needs_checksum: bytes[0] & Self::NEEDS_CHECKSUM != 0,
            segmentation: Segmentation::from_byte(bytes[1]),
            header_length: word(2),
            segment: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        }
    }

    /// Completes the checksum of a plain packet that the kernel left partial.
    ///
    /// # Errors
    /// [`DropReason::OutMalformed`] when header and packet do not fit each other.
    pub(crate) fn complete_checksum(&self, packet: &mut [u8]) -> Result<(), DropReason> {
        let start = usize::from(self.checksum_start);
        let field = start + usize::from(self.checksum_offset);
        if field + 2 > packet.len() {
            return Err(DropReason::OutMalformed);
        }
        complete_at(packet, start, field);
        Ok(())
    }

    /// Writes the header.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0] = if self.needs_checksum { Self::NEEDS_CHECKSUM } else { 0 };
        bytes[1] = self.segmentation.to_byte();
        let words = [self.header_length, self.segment, self.checksum_start, self.checksum_offset];
        for (to, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// The length of an IP packet, and the checksum of an IPv4 header that ends at `end`.
fn finish_network(packet: &mut [u8], end: usize, length: usize) {
    if packet[0] >> 4 == 6 {
        return put(packet, 4, length - 40);
    }
    put(packet, 2, length);
    put(packet, 10, 0);
    let sum = header_checksum(&packet[..end]);
    put(packet, 10, sum.into());
}

/// Writes a length or a sum, which fits 16 bits because no packet is longer.
fn put(packet: &mut [u8], at: usize, value: usize) {
    packet[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
}

#[cfg(test)]
mod tests;
