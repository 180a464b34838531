//! Inner IP packets: true length, padding, addresses, partial checksums (protocol.md 7.2).
//!
//! A peer is authenticated, not trusted: everything read from its packets is checked here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::drops::DropReason;
use crate::handshake::PaddingMode;

const IPV4_MIN_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Bit 7 of the first plaintext byte: the layer-4 checksum is partial.
pub(crate) const PARTIAL_BIT: u8 = 0x80;

/// Whether a packet's layer-4 checksum is whole, or only the pseudo-header's sum that the kernel completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Checksum {
    /// It is whole.
    #[default]
    Complete,
    /// It holds the pseudo-header's sum (`NEEDS_CSUM` of a TUN device).
    Partial,
}

/// The length that the packet's own header claims, checked against the bytes at hand.
///
/// # Errors
/// [`DropReason::InnerVersion`], [`DropReason::InnerHeader`] or [`DropReason::InnerLength`].
pub fn true_length(bytes: &[u8]) -> Result<usize, DropReason> {
    let first = *bytes.first().ok_or(DropReason::InnerHeader)?;
    let length = match first >> 4 {
        4 => {
            let header = usize::from(first & 0x0f) * 4;
            let total = bytes.get(2..4).ok_or(DropReason::InnerHeader)?;
            let total = usize::from(u16::from_be_bytes([total[0], total[1]]));
            if header < IPV4_MIN_HEADER || bytes.len() < header || total < header {
                return Err(DropReason::InnerHeader);
            }
            total
        }
        6 => {
            if bytes.len() < IPV6_HEADER {
                return Err(DropReason::InnerHeader);
            }
            IPV6_HEADER + usize::from(u16::from_be_bytes([bytes[4], bytes[5]]))
        }
        _ => return Err(DropReason::InnerVersion),
    };
    if length > bytes.len() { Err(DropReason::InnerLength) } else { Ok(length) }
}

/// Source and destination of a packet that [`true_length`] accepted.
pub fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 => {
            let source = <[u8; 4]>::try_from(packet.get(12..16)?).ok()?;
            let destination = <[u8; 4]>::try_from(packet.get(16..20)?).ok()?;
            Some((Ipv4Addr::from(source).into(), Ipv4Addr::from(destination).into()))
        }
        6 => {
            let source = <[u8; 16]>::try_from(packet.get(8..24)?).ok()?;
            let destination = <[u8; 16]>::try_from(packet.get(24..40)?).ok()?;
            Some((Ipv6Addr::from(source).into(), Ipv6Addr::from(destination).into()))
        }
        _ => None,
    }
}

/// The plaintext length of an inner packet of `length` bytes under a padding mode. `mtu` is the smaller of tunnel
/// and path MTU; what is longer already is not padded.
pub fn padded_length(length: usize, mode: PaddingMode, mtu: usize) -> usize {
    let wanted = match mode {
        PaddingMode::Multiple16 => length.next_multiple_of(16),
        PaddingMode::Buckets => [128, 256, 512, 1024].into_iter().find(|&b| length <= b).unwrap_or(mtu),
        PaddingMode::Full => mtu,
    };
    wanted.min(mtu).max(length)
}

/// Where a packet's layer-4 checksum lies, and what a partial one must hold.
struct PartialChecksum {
    /// Offset of the checksum field.
    field: usize,
    /// Offset of the layer-4 header.
    start: usize,
    /// The pseudo-header's sum, folded, as the kernel leaves it in the field.
    pseudo: u16,
}

/// Finds the checksum of an unfragmented TCP or UDP packet without IPv6 extension headers (7.2).
fn layer4(packet: &[u8]) -> Option<PartialChecksum> {
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
    let segment = packet.get(start..)?;
    let (offset, header) = match protocol {
        TCP => (16, usize::from(segment.get(12)? >> 4) * 4),
        UDP => (6, 8),
        _ => return None,
    };
    if segment.len() < header || header < offset + 2 {
        return None;
    }
    let length = u32::try_from(segment.len()).ok()?;
    let address_bytes = if packet[0] >> 4 == 4 { packet.get(12..20)? } else { packet.get(8..40)? };
    let sum = add_words(u64::from(protocol) + u64::from(length), address_bytes);
    Some(PartialChecksum { field: start + offset, start, pseudo: fold(sum) })
}

/// Whether a partial checksum may be accepted from a peer: 7.2's conditions, and a field that equals the recomputed
/// pseudo-header sum.
pub(crate) fn partial_checksum_fits(packet: &[u8]) -> bool {
    layer4(packet)
        .is_some_and(|found| packet.get(found.field..found.field + 2) == Some(found.pseudo.to_be_bytes().as_slice()))
}

/// Completes a partial checksum, for a receiver whose kernel cannot.
///
/// # Errors
/// [`DropReason::InnerChecksum`] when the packet has none that could be completed.
pub fn complete_checksum(packet: &mut [u8]) -> Result<(), DropReason> {
    let found = layer4(packet).ok_or(DropReason::InnerChecksum)?;
    let sum = fold(add_words(0, packet.get(found.start..).ok_or(DropReason::InnerChecksum)?));
    // UDP sends an all-ones sum where zero would mean "none" (RFC 768).
    let checksum = if sum == 0xffff { 0xffff } else { !sum };
    packet
        .get_mut(found.field..found.field + 2)
        .ok_or(DropReason::InnerChecksum)?
        .copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

fn add_words(start: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(2);
    let sum = words.by_ref().fold(start, |sum, w| sum + u64::from(u16::from_be_bytes([w[0], w[1]])));
    words.remainder().first().map_or(sum, |&last| sum + (u64::from(last) << 8))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
