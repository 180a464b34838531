//! What is told to the sender of a packet that cannot go on: it is longer than the path takes, or leads nowhere (RFC 792,
//! RFC 1191, RFC 4443).

use std::net::IpAddr;

use crate::packet::{add_words, addresses, fold, header_checksum};

/// Room for any message that is written here.
pub const MAX_MESSAGE: usize = 576;
/// Bytes of the packet that are quoted at most: what then fits each link (RFC 1812, 4.3.2.3).
const QUOTE: usize = 500;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOP_LIMIT: u8 = 64;

/// Writes into `out` that `packet`, an IP packet or the front of one, is too long: packets of `mtu` bytes pass. Gives the
/// length of the message, or `None` where nobody may be told (RFC 1122, 3.2.2; RFC 4443, 2.4 e).
///
/// It claims to come from the packet's destination: an address of this host's would not be taken from this side by
/// its own kernel. An IPv4 packet that may be fragmented is treated alike, since fragments are not made here.
pub fn too_big(packet: &[u8], mtu: u16, out: &mut [u8; MAX_MESSAGE]) -> Option<usize> {
    tell(packet, &Kind { v4: [3, 4], v6: [2, 0], mtu }, out)
}

/// The same for a packet that no route leads on for.
pub fn no_route(packet: &[u8], out: &mut [u8; MAX_MESSAGE]) -> Option<usize> {
    tell(packet, &Kind { v4: [3, 0], v6: [1, 0], mtu: 0 }, out)
}

/// Type and code in both versions, and what stands in the place of the MTU.
struct Kind {
    v4: [u8; 2],
    v6: [u8; 2],
    mtu: u16,
}

fn tell(packet: &[u8], kind: &Kind, out: &mut [u8; MAX_MESSAGE]) -> Option<usize> {
    let (source, destination) = addresses(packet)?;
    if !may_be_told(packet, source, destination) {
        return None;
    }
    let quote = &packet[..packet.len().min(QUOTE)];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (ip, rest) = out.split_first_chunk_mut::<20>()?;
            let length = ip.len() + message(rest, quote, kind.v4, kind.mtu, 0)?;
            *ip = [0; 20];
            (ip[0], ip[8], ip[9]) = (0x45, HOP_LIMIT, ICMP);
            ip[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            ip[12..16].copy_from_slice(&destination.octets());
            ip[16..20].copy_from_slice(&source.octets());
            let sum = header_checksum(ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            Some(length)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (ip, rest) = out.split_first_chunk_mut::<40>()?;
            *ip = [0; 40];
            (ip[0], ip[6], ip[7]) = (0x60, ICMPV6, HOP_LIMIT);
            ip[8..24].copy_from_slice(&destination.octets());
            ip[24..40].copy_from_slice(&source.octets());
            let length = 8 + quote.len();
            let pseudo_header = add_words(length as u64 + u64::from(ICMPV6), &ip[8..]);
            message(rest, quote, kind.v6, kind.mtu, pseudo_header)?;
            ip[4..6].copy_from_slice(&(length as u16).to_be_bytes());
            Some(40 + length)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// The message itself: type and code, checksum, the MTU in the place that both versions have for it, the quote.
fn message(out: &mut [u8], quote: &[u8], kind: [u8; 2], mtu: u16, sum: u64) -> Option<usize> {
    let out = out.get_mut(..8 + quote.len())?;
    out[..8].fill(0);
    out[..2].copy_from_slice(&kind);
    out[6..8].copy_from_slice(&mtu.to_be_bytes());
    out[8..].copy_from_slice(quote);
    let checksum = !fold(add_words(sum, out));
    out[2..4].copy_from_slice(&checksum.to_be_bytes());
    Some(out.len())
}

/// Nothing is sent about an ICMP error, about a later fragment, to a group, or to nobody.
fn may_be_told(packet: &[u8], source: IpAddr, destination: IpAddr) -> bool {
    let (protocol, start, first) = if packet[0] >> 4 == 4 {
        (packet[9], usize::from(packet[0] & 0x0f) * 4, u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff == 0)
    } else {
        (packet[6], 40, true)
    };
    let kind = packet.get(start).copied();
    let error = match protocol {
        // All but echo, timestamp and information (RFC 792).
        ICMP => kind.is_none_or(|kind| !matches!(kind, 0 | 8 | 13..=16)),
        ICMPV6 => kind.is_none_or(|kind| kind < 128),
        _ => false,
    };
    let broadcast = matches!(destination, IpAddr::V4(destination) if destination.is_broadcast());
    let group = broadcast || destination.is_multicast();
    first && !error && !group && !source.is_multicast() && !source.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP packet, or what else the protocol number says.
    fn packet(version: u8, protocol: u8, length: usize) -> Vec<u8> {
        let mut packet = vec![0; length];
        if version == 4 {
            (packet[0], packet[6], packet[9]) = (0x45, 0x40, protocol);
            packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
            packet[16..20].copy_from_slice(&[10, 0, 0, 2]);
        } else {
            (packet[0], packet[6]) = (0x60, protocol);
            (packet[8], packet[23], packet[24], packet[39]) = (0xfd, 1, 0xfd, 2);
        }
        packet
    }

    fn told(packet: &[u8]) -> Option<Vec<u8>> {
        let mut out = [0xaa; MAX_MESSAGE];
        too_big(packet, 1300, &mut out).map(|length| out[..length].to_vec())
    }

    #[test]
    fn a_packet_that_is_too_long_is_quoted_to_its_sender_with_the_mtu() {
        let (v4, v6) = (packet(4, 17, 1400), packet(6, 17, 1400));
        let answer = told(&v4).unwrap();
        assert_eq!((answer.len(), &answer[20..22], &answer[26..28]), (528, &[3, 4][..], &1300_u16.to_be_bytes()[..]));
        assert_eq!((&answer[12..16], &answer[16..20], &answer[28..]), (&v4[16..20], &v4[12..16], &v4[..500]));
        assert_eq!((fold(add_words(0, &answer[..20])), fold(add_words(0, &answer[20..]))), (0xffff, 0xffff));
        let answer = told(&v6).unwrap();
        assert_eq!((answer.len(), &answer[40..42], &answer[46..48]), (548, &[2, 0][..], &1300_u16.to_be_bytes()[..]));
        assert_eq!((&answer[8..24], &answer[24..40], &answer[48..]), (&v6[24..40], &v6[8..24], &v6[..500]));
        assert_eq!(fold(add_words(508 + 58, &answer[8..])), 0xffff);
    }

    #[test]
    fn a_packet_that_leads_nowhere_is_quoted_to_its_sender_without_an_mtu() {
        let mut out = [0xaa; MAX_MESSAGE];
        for (packet, ip, kind) in [(packet(4, 17, 60), 20, [3, 0]), (packet(6, 17, 60), 40, [1, 0])] {
            assert_eq!(no_route(&packet, &mut out), Some(ip + 8 + 60));
            assert_eq!((&out[ip..ip + 2], &out[ip + 4..ip + 8]), (&kind[..], &[0; 4][..]));
            assert_eq!(out[ip + 8..ip + 68], packet);
        }
    }

    #[test]
    fn a_short_packet_is_quoted_as_a_whole() {
        assert_eq!(told(&packet(4, 17, 33)).unwrap().len(), 28 + 33);
        assert_eq!(told(&packet(6, 17, 41)).unwrap().len(), 48 + 41);
    }

    #[test]
    fn nobody_is_told_of_errors_fragments_groups_and_what_is_no_packet() {
        let with = |version, protocol, changes: &[(usize, u8)]| {
            let mut packet = packet(version, protocol, 100);
            changes.iter().for_each(|&(at, byte)| packet[at] = byte);
            told(&packet).is_some()
        };
        assert!(with(4, ICMP, &[(20, 8)]) && with(6, ICMPV6, &[(40, 128)]), "an echo request is no error");
        assert!(!with(4, ICMP, &[(20, 3)]) && !with(4, ICMP, &[(20, 11)]) && !with(6, ICMPV6, &[(40, 2)]));
        assert!(!with(4, 17, &[(7, 1)]), "a later fragment");
        assert!(with(4, 17, &[(6, 0x20)]), "the first one");
        assert!(!with(4, 17, &[(16, 224)]) && !with(4, 17, &[(16, 255), (17, 255), (18, 255), (19, 255)]));
        assert!(!with(6, 17, &[(24, 0xff)]) && !with(6, 17, &[(8, 0xff)]));
        assert!(!with(4, 17, &[(12, 0), (13, 0), (14, 0), (15, 0)]), "from nobody");
        assert!([&[][..], &[0x45; 19], &[0x60; 39], &[0x10; 60]].iter().all(|bytes| told(bytes).is_none()));
    }
}
