//! TCP and UDP inside a packet: where their headers and checksums are.

use super::IPV6_HEADER;
use crate::drops::DropReason;

const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// The layer-4 protocols whose checksums and super-packets are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    const fn from_number(number: u8) -> Option<Self> {
        match number {
            TCP => Some(Self::Tcp),
            UDP => Some(Self::Udp),
            _ => None,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
        }
    }

    /// Where the checksum is in the header.
    pub(crate) const fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// The layer-4 header of an unfragmented TCP or UDP packet without IPv6 extension headers (7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer4 {
    pub(crate) protocol: Protocol,
    /// Offset of the layer-4 header.
    pub(crate) start: usize,
    /// Offset of the payload.
    pub(crate) payload: usize,
}

impl Layer4 {
    /// Finds it; the whole header must be there.
    pub(crate) fn find(packet: &[u8]) -> Option<Self> {
        let (protocol, start) = match packet.first()? >> 4 {
            4 => {
                let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
                if fragment != 0 {
                    return None;
                }
                (*packet.get(9)?, usize::from(packet[0] & 0x0f) * 4)
            }
            6 => (*packet.get(6)?, IPV6_HEADER),
            _ => return None,
        };
        let protocol = Protocol::from_number(protocol)?;
        let segment = packet.get(start..)?;
        let (header, least) = match protocol {
            Protocol::Tcp => (usize::from(segment.get(12)? >> 4) * 4, 20),
            Protocol::Udp => (8, 8),
        };
        let whole = header >= least && segment.len() >= header;
        whole.then_some(Self { protocol, start, payload: start + header })
    }

    /// Offset of the checksum.
    pub(crate) const fn field(&self) -> usize {
        self.start + self.protocol.checksum_offset()
    }

    /// The pseudo-header's sum of a packet of `length` bytes that begins with `packet`, folded, as the kernel leaves it
    /// in the checksum's field.
    pub(crate) fn pseudo_sum(&self, packet: &[u8], length: usize) -> u16 {
        let addresses = if packet[0] >> 4 == 4 { &packet[12..20] } else { &packet[8..40] };
        fold(add_words(u64::from(self.protocol.number()) + (length - self.start) as u64, addresses))
    }
}

/// The port that an unfragmented TCP or UDP packet comes from.
pub(crate) fn source_port(packet: &[u8]) -> Option<u16> {
    let Layer4 { start, .. } = Layer4::find(packet)?;
    Some(u16::from_be_bytes([*packet.get(start)?, *packet.get(start + 1)?]))
}

/// Whether a partial checksum may be accepted from a peer: 7.2's conditions, and a field that equals the recomputed
/// pseudo-header sum.
pub(crate) fn partial_checksum_fits(packet: &[u8]) -> bool {
    Layer4::find(packet).is_some_and(|found| {
        let sum = found.pseudo_sum(packet, packet.len());
        packet[found.field()..found.field() + 2] == sum.to_be_bytes()
    })
}

/// Completes a partial checksum, for a kernel that cannot.
///
/// # Errors
/// [`DropReason::InnerChecksum`] when the packet has none that could be completed.
pub fn complete_checksum(packet: &mut [u8]) -> Result<(), DropReason> {
    let found = Layer4::find(packet).ok_or(DropReason::InnerChecksum)?;
    complete_at(packet, found.start, found.field());
    Ok(())
}

/// Completes the partial checksum at `field` of what begins at `start`, as the kernel does: a sum of zero, which UDP has
/// another meaning for (RFC 768), is written as all ones.
pub(crate) fn complete_at(packet: &mut [u8], start: usize, field: usize) {
    let checksum = match !fold(add_words(0, &packet[start..])) {
        0 => 0xffff,
        checksum => checksum,
    };
    packet[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// A partial sum for `to` bytes of layer 4, from the one for `from` bytes of the same flow (RFC 1624).
pub(crate) fn rebase_sum(sum: u16, from: u16, to: u16) -> u16 {
    fold(u64::from(sum) + u64::from(!from) + u64::from(to))
}

/// The checksum of an IPv4 header whose own checksum field is zero.
pub(crate) fn header_checksum(header: &[u8]) -> u16 {
    !fold(add_words(0, header))
}

/// Adds bytes as words of 16 bits, two at once (RFC 1071, section 2); what is missing at the end counts as zeros.
pub(crate) fn add_words(start: u64, bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let sum = pairs.iter().fold(start, |sum, pair| sum + u64::from(u32::from_be_bytes(*pair)));
    sum + u64::from(u32::from_be_bytes(last))
}

/// Folds such a sum to 16 bits.
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}
