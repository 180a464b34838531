//! Inner IP packets: true length, padding, addresses, partial checksums (protocol.md 7.2).
//!
//! A peer is authenticated, not trusted: everything read from its packets is checked here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::drops::DropReason;
use crate::handshake::PaddingMode;

mod layer4;

pub use layer4::complete_checksum;
pub(crate) use layer4::{
    Layer4, Protocol, add_words, complete_at, fold, header_checksum, partial_checksum_fits, rebase_sum, source_port,
};

const IPV4_MIN_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
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

#[cfg(test)]
mod tests;
