//! Headers with everything in them arrive as they were sent, with and without what the kernel offers.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use cryprq_tests::extension::Way;
use cryprq_tests::lab::{Capture, Host, Pair, Transfer, carrier, pattern};
use socket2::{Domain, Protocol, Socket, Type};

use super::offload::{ALL_OFF, LIMIT, OLD};
use super::{B_QUIC, pair_by};

/// Raw sockets with this protocol take whole packets.
const WHOLE_PACKETS: i32 = 255;
/// Nobody's (RFC 3692).
const EXPERIMENT: u8 = 253;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// The sum of one's complements, as every internet checksum.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}

fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let octets = |ip| match ip {
        IpAddr::V4(ip) => Ipv4Addr::octets(&ip).to_vec(),
        IpAddr::V6(ip) => Ipv6Addr::octets(&ip).to_vec(),
    };
    [octets(from), octets(to), vec![0, protocol], (length as u16).to_be_bytes().to_vec()].concat()
}

fn udp(from: IpAddr, to: IpAddr, mark: u8) -> Vec<u8> {
    let mut datagram = vec![mark; 8 + 100 + usize::from(mark)];
    let length = datagram.len();
    datagram[..8].copy_from_slice(&[0x13, mark, 0x14, mark, 0, length as u8, 0, 0]);
    let sum = checksum(&[&pseudo(from, to, UDP, length), &datagram]);
    datagram[6..8].copy_from_slice(&sum);
    datagram
}

/// A segment with options and flags, to a port where nobody listens.
fn tcp(from: IpAddr, to: IpAddr, flags: u8, options: &[u8]) -> Vec<u8> {
    let mut segment = vec![0x13, flags, 0x14, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    segment.extend([(5 + options.len() as u8 / 4) << 4, flags, 0x40, 0, 0, 0, 0, 0]);
    segment.extend(options);
    segment.extend([flags; 33]);
    let sum = checksum(&[&pseudo(from, to, TCP, segment.len()), &segment]);
    segment[16..18].copy_from_slice(&sum);
    segment
}

fn v4(from: Ipv4Addr, to: Ipv4Addr, tos: u8, options: &[u8], protocol: u8, content: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, tos];
    packet.extend(((header + content.len()) as u16).to_be_bytes());
    packet.extend([0x31, tos, 0x40, 0, 63, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(options);
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(content);
    packet
}

/// With extension headers, each a number and its bytes without the number of the next.
fn v6(from: Ipv6Addr, to: Ipv6Addr, class: u8, chain: &[(u8, &[u8])], protocol: u8, content: &[u8]) -> Vec<u8> {
    let mut extensions = Vec::new();
    let following = chain.iter().skip(1).map(|(number, _)| *number).chain([protocol]);
    for ((_, bytes), next) in chain.iter().zip(following) {
        extensions.push(next);
        extensions.extend_from_slice(bytes);
    }
    let first = chain.first().map_or(protocol, |(number, _)| *number);
    let mut packet = vec![0x60 | class >> 4, class << 4 | 0x0a, 0xbc, 0xde];
    packet.extend(((extensions.len() + content.len()) as u16).to_be_bytes());
    packet.extend([first, 61]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(extensions);
    packet.extend(content);
    packet
}

/// Options of IPv4: a router's alert, a route to be recorded, times to be stamped, one of nobody, and as many as there may be.
const OPTIONS: [&[u8]; 5] = [
    &[0x94, 4, 0, 0],
    &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[0x9e, 6, 1, 2, 3, 4, 1, 1],
    &[1; 40],
];
/// Extension headers of IPv6: hop by hop, destination, routing with nothing left to do, a fragment that is whole.
const HOP_BY_HOP: (u8, &[u8]) = (0, &[0, 1, 4, 0, 0, 0, 0]);
const DESTINATION: (u8, &[u8]) = (60, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
const ROUTING: (u8, &[u8]) = (43, &[2, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
const FRAGMENT: (u8, &[u8]) = (44, &[0, 0, 0, 1, 2, 3, 4]);
/// Options of TCP: those of a beginning, and holes in what came.
const BEGINNING: &[u8] = &[2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];
const HOLES: &[u8] = &[1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
/// SYN with both congestion flags, a segment that tells of congestion, one that heard of it, and one that urges.
const FLAGS: [(u8, &[u8]); 4] = [(0xc2, BEGINNING), (0x50, HOLES), (0x98, HOLES), (0x30, &[])];

fn packets_v4(from: Ipv4Addr, to: Ipv4Addr) -> Vec<Vec<u8>> {
    let (ip_from, ip_to) = (from.into(), to.into());
    let mut packets = Vec::new();
    for (options, mark) in OPTIONS.into_iter().chain([&[][..]]).zip(1..) {
        for tos in [0, 1, 2, 3, 0xb8, 0xff] {
            packets.push(v4(from, to, tos, options, UDP, &udp(ip_from, ip_to, mark)));
            packets.push(v4(from, to, tos, options, EXPERIMENT, &[mark; 77]));
        }
        let segments = FLAGS.map(|(flags, of_tcp)| tcp(ip_from, ip_to, flags, of_tcp));
        packets.extend(segments.iter().map(|segment| v4(from, to, 2, options, TCP, segment)));
    }
    packets
}

fn packets_v6(from: Ipv6Addr, to: Ipv6Addr) -> Vec<Vec<u8>> {
    let (ip_from, ip_to) = (from.into(), to.into());
    let mut packets = Vec::new();
    let chains: [&[_]; 6] =
        [&[], &[HOP_BY_HOP], &[DESTINATION], &[ROUTING], &[FRAGMENT], &[HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT]];
    for (chain, mark) in chains.into_iter().zip(1..) {
        for class in [0, 1, 2, 3, 0xb8, 0xff] {
            packets.push(v6(from, to, class, chain, UDP, &udp(ip_from, ip_to, mark)));
            packets.push(v6(from, to, class, chain, EXPERIMENT, &[mark; 77]));
        }
        let segments = FLAGS.map(|(flags, of_tcp)| tcp(ip_from, ip_to, flags, of_tcp));
        packets.extend(segments.iter().map(|segment| v6(from, to, 2, chain, TCP, segment)));
    }
    packets
}

/// Sends whole packets from one host's inner address to the other's; all of them arrive there as they are, this way.
fn arrive(from: &Host, to: &Host, way: Way, address: IpAddr, packets: Vec<Vec<u8>>) -> Result<()> {
    let capture = Capture::start_on(to, way.interface())?;
    let sent: BTreeSet<_> = packets.iter().cloned().collect();
    ensure!(sent.len() == packets.len(), "no two are alike");
    from.run(move || -> Result<()> {
        let domain = Domain::for_address(SocketAddr::new(address, 0));
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(WHOLE_PACKETS)))?;
        for packet in packets {
            socket.send_to(&packet, &SocketAddr::new(address, 0).into())?;
        }
        Ok(())
    })?;
    // What goes the same way behind them arrives behind them.
    Transfer::start(to, from, address, pattern(1), Duration::ZERO)?.finish()?;
    let seen: BTreeSet<_> = capture.finish()?.packets().map(Vec::from).collect();
    let missing = sent.difference(&seen).map(|packet| format!("{:02x?}", &packet[..packet.len().min(72)]));
    let missing: Vec<_> = missing.collect();
    ensure!(missing.is_empty(), "{} of {} did not arrive so: {missing:#?}", missing.len(), sent.len());
    Ok(())
}

/// Whether a TCP segment holds what none before it did. What is sent again, as by a machine that is busy, has no mark
/// (RFC 3168, 6.1.5).
fn is_new(next: &mut Option<u32>, segment: &[u8]) -> bool {
    let number = |at: usize| segment.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let (Some(begin), Some(header)) = (number(4), segment.get(12).map(|byte| usize::from(byte >> 4) * 4)) else {
        return false;
    };
    let length = segment.len().saturating_sub(header);
    let new = next.is_none_or(|next| begin.wrapping_sub(next) < 1 << 31);
    if new {
        *next = u32::try_from(length).ok().map(|length| begin.wrapping_add(length));
    }
    new
}

/// A flow of the kernel's own, whose peers speak of congestion: what begins it and what it carries keep their marks.
fn flow_keeps_its_marks(pair: &Pair) -> Result<()> {
    for host in [&pair.host_a, &pair.host_b] {
        host.run(|| std::fs::write("/proc/sys/net/ipv4/tcp_ecn", "1"))?;
    }
    for address in [IpAddr::from(pair.id_b.ipv4), pair.id_b.ipv6.into()] {
        let at_a = Capture::start_on(&pair.host_a, pair.way.interface())?;
        let at_b = Capture::start_on(&pair.host_b, Way::Interface.interface())?;
        Transfer::start(&pair.host_b, &pair.host_a, address, pattern(700_000), Duration::ZERO)?.finish()?;
        let [at_a, at_b] =
            [at_a.finish()?, at_b.finish()?].map(|seen| seen.packets().map(Vec::from).collect::<Vec<_>>());
        let start = if address.is_ipv4() { 20 } else { 40 };
        let flags = |packet: &[u8]| packet.get(start + 13).copied().unwrap_or(0);
        let is_tcp = |packet: &[u8]| packet.get(if start == 20 { 9 } else { 6 }) == Some(&TCP);
        let beginnings = |seen: &[Vec<u8>]| -> BTreeSet<Vec<u8>> {
            // But for the checksum, which the sender's kernel leaves to the device.
            let whole = seen.iter().filter(|packet| is_tcp(packet) && flags(packet) & 2 != 0);
            whole.map(|packet| [&packet[start..start + 16], &packet[start + 18..]].concat()).collect()
        };
        ensure!(beginnings(&at_a) == beginnings(&at_b) && beginnings(&at_a).len() == 2, "{:02x?}", beginnings(&at_a));
        ensure!(beginnings(&at_a).iter().any(|begin| begin[13] & 0xc0 == 0xc0), "both hosts speak of congestion");
        let mark = |packet: &[u8]| if start == 20 { packet[1] & 3 } else { packet[1] >> 4 & 3 };
        let data = |packet: &&Vec<u8>| is_tcp(packet) && flags(packet) & 2 == 0 && packet.len() > start + 200;
        for (packets, host) in [(&at_a, "A"), (&at_b, "B")] {
            let mut next = None;
            let carried: Vec<_> =
                packets.iter().filter(data).filter(|packet| is_new(&mut next, &packet[start..])).collect();
            ensure!(carried.len() > 5, "{host} saw only {}", carried.len());
            let unmarked = carried.iter().filter(|packet| mark(packet) != 2).count();
            ensure!(unmarked == 0, "{unmarked} of {} at {host} are not marked", carried.len());
            let stamped = carried.iter().all(|packet| packet[start + 20..start + 24] == [1, 1, 8, 10]);
            ensure!(stamped, "a segment at {host} has lost its time");
        }
    }
    Ok(())
}

/// Two daemons with these lines in their configurations; A's inner packets go this way.
fn with(way: Way, lines: &str) -> Result<()> {
    let Some(mut pair) = pair_by(way, &[B_QUIC])? else { return Ok(()) };
    pair.a.configure(lines)?;
    pair.b.configure(lines)?;
    pair.connect()?;
    super::paths::both_go_by(carrier().as_deref().unwrap_or("udp"), &pair, LIMIT)?;
    let (a, b) = (&pair.id_a, &pair.id_b);
    arrive(&pair.host_a, &pair.host_b, Way::Interface, b.ipv4.into(), packets_v4(a.ipv4, b.ipv4))?;
    arrive(&pair.host_b, &pair.host_a, way, a.ipv6.into(), packets_v6(b.ipv6, a.ipv6))?;
    flow_keeps_its_marks(&pair)
}

#[test]
fn all_options_arrive_with_every_offload() -> Result<()> {
    with(Way::Interface, "")
}

#[test]
fn all_options_arrive_without_any() -> Result<()> {
    with(Way::Interface, ALL_OFF)
}

#[test]
fn all_options_arrive_as_on_an_older_kernel() -> Result<()> {
    with(Way::Interface, OLD)
}

#[test]
fn all_options_arrive_behind_the_shuttle() -> Result<()> {
    with(Way::Shuttle, "")
}

#[test]
fn all_options_arrive_behind_the_swift_pump() -> Result<()> {
    with(Way::Swift, "")
}
