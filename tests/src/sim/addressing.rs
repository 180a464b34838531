//! Inner addresses of simulated hosts, their packets, and cryptokey routing by a plain search: the reference for
//! [`node::router::Router`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The IPv4 address of a host inside the tunnel.
pub fn v4(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 86, 0, low(host))
}

/// The IPv6 address of a host inside the tunnel.
pub fn v6(host: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd63, 0x7279, 0x7072, 0, 0, 0, 0, low(host).into())
}

/// Where a host's datagrams come from, which all others know.
pub fn outer(host: usize) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, low(host)), 41820).into()
}

/// An address of nobody's.
pub fn elsewhere() -> SocketAddr {
    (Ipv4Addr::new(198, 51, 100, 1), 7).into()
}

fn low(host: usize) -> u8 {
    u8::try_from(host + 1).unwrap_or(u8::MAX)
}

/// The AllowedIPs of a host at its peers: its own addresses, a network behind it, and a hole in that of host 0, which
/// belongs to host 1.
pub fn allowed(host: usize) -> Vec<IpNet> {
    let network = IpNet::new(Ipv4Addr::new(10, low(host), 0, 0).into(), 16);
    let hole = (host == 1).then(|| IpNet::new(Ipv4Addr::new(10, 1, 2, 0).into(), 24));
    let own = [IpNet::from(IpAddr::from(v4(host))), IpNet::from(IpAddr::from(v6(host)))];
    own.into_iter().chain([network].into_iter().chain(hole).flatten()).collect()
}

/// Whose AllowedIPs hold `address`, at a host with these peers.
pub fn owner(peers: impl IntoIterator<Item = usize>, address: IpAddr) -> Option<usize> {
    let prefixes = peers.into_iter().flat_map(|peer| allowed(peer).into_iter().map(move |prefix| (prefix, peer)));
    prefixes.filter(|(p, _)| p.contains(&address)).max_by_key(|(p, _)| p.prefix_len()).map(|(_, peer)| peer)
}

/// Sources that are nobody's, or somebody else's: what a peer with bad intentions writes into its packets. The
/// destination has the same family.
pub fn spoofed_sources(from: usize, to: usize) -> Vec<IpAddr> {
    let third = (0..3).find(|&host| host != from && host != to).unwrap_or(2);
    vec![
        v4(to).into(),
        v4(third).into(),
        v6(to).into(),
        v6(third).into(),
        Ipv4Addr::new(10, 87, 0, 1).into(),
        Ipv4Addr::new(127, 0, 0, 1).into(),
        Ipv4Addr::new(224, 0, 0, 1).into(),
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv6Addr::LOCALHOST.into(),
        Ipv4Addr::new(10, 86, 0, low(from)).to_ipv6_mapped().into(),
    ]
}

/// The least length of [`packet`].
pub const MIN_PACKET: usize = 64;

/// A packet of `length` bytes that carries its number and bytes that no other packet has.
///
/// # Panics
/// When the addresses are of two families.
pub fn packet(number: u64, source: IpAddr, destination: IpAddr, length: usize) -> Vec<u8> {
    let length = length.max(MIN_PACKET);
    let mut out = Vec::with_capacity(length);
    let total = |less: usize| u16::try_from(length - less).unwrap_or(u16::MAX).to_be_bytes();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            out.extend([0x45, 0]);
            out.extend(total(0));
            out.extend([0, 0, 0, 0, 64, 253, 0, 0]);
            out.extend(source.octets());
            out.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            out.extend([0x60, 0, 0, 0]);
            out.extend(total(40));
            out.extend([253, 64]);
            out.extend(source.octets());
            out.extend(destination.octets());
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("a packet has one family"),
    }
    out.extend(number.to_be_bytes());
    out.extend(marker(number));
    out.resize(length, 0xa5);
    out
}

/// 16 bytes that only packet `number` has; found in clear on the wire, they are a plaintext leak.
pub fn marker(number: u64) -> [u8; 16] {
    let mut out = [0; 16];
    let (low, high) = out.split_at_mut(8);
    low.copy_from_slice(&number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    high.copy_from_slice(&number.wrapping_add(1).wrapping_mul(0xd6e8_feb8_6659_fd93).to_le_bytes());
    out
}
