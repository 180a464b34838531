//! Multiaddrs: what this host can dial, and the IP addresses in them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// The first IP address in a multiaddr; a DNS name has none. An IPv4 address in the clothes of IPv6 (`::ffff:a.b.c.d`) is
/// what it leads to.
pub fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| {
        if let Protocol::Ip4(ip) = part {
            Some(ip.into())
        } else if let Protocol::Ip6(ip) = part {
            Some(ip.to_canonical())
        } else {
            None
        }
    })
}

/// Whose address the first one in a multiaddr is, as far as can be told: an IPv4 address, or an IPv6 network of 64 bits.
pub fn subscriber_of(address: &Multiaddr) -> Option<IpAddr> {
    Some(match ip_of(address)? {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    })
}

/// Where a multiaddr of a host by its address leads, whichever protocol it goes by.
pub fn socket_of(address: &Multiaddr) -> Option<SocketAddr> {
    let (Protocol::Udp(port) | Protocol::Tcp(port)) = address.iter().nth(1)? else { return None };
    Some(SocketAddr::new(ip_of(address)?, port))
}

/// Whether a multiaddr is a host by address or name, and then QUIC or TCP: what a ticket may name and we can dial.
pub fn is_direct(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    let (host, port, rest, end) = (parts.next(), parts.next(), parts.next(), parts.next());
    let host = matches!(
        host,
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))
    );
    let way = matches!(
        (port, rest, end),
        (Some(Protocol::Udp(_)), Some(Protocol::QuicV1), None) | (Some(Protocol::Tcp(_)), None, None)
    );
    host && way
}

/// A multiaddr without the PeerId at its end.
pub fn without_peer(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    address
}

/// The relay that a multiaddr goes by.
pub fn relay_of(address: &Multiaddr) -> Option<PeerId> {
    let mut relay = None;
    for part in address {
        if let Protocol::P2p(id) = part {
            relay = Some(id);
        } else if part == Protocol::P2pCircuit {
            return relay;
        }
    }
    None
}

/// Whether a multiaddr leads to a relay and on: `RELAY/p2p/ID/p2p-circuit` with a direct address of the relay's.
pub fn is_circuit(address: &Multiaddr) -> bool {
    let mut to_relay = address.clone();
    to_relay.pop() == Some(Protocol::P2pCircuit) && is_relay(&to_relay)
}

/// Whether a multiaddr is the direct address of a relay with its PeerId.
pub fn is_relay(address: &Multiaddr) -> bool {
    let mut direct = address.clone();
    matches!(direct.pop(), Some(Protocol::P2p(_))) && is_direct(&direct)
}

/// Whether another host could reach an address at all.
pub fn is_reachable(ip: IpAddr) -> bool {
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

/// Whether another host could reach an address outside the tunnel, where `inner` addresses lie.
pub fn is_outside(ip: IpAddr, inner: &[IpNet]) -> bool {
    let ip = ip.to_canonical();
    is_reachable(ip) && !inner.iter().any(|net| net.contains(&ip))
}

/// Whether an address is of a network that the internet does not route to.
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        // The shared space of RFC 6598 lies behind a provider's NAT.
        IpAddr::V4(ip) => ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

/// Whether a peer may have us try to reach it there (protocol.md 7.7): it is authenticated, not trusted. `own` are this
/// host's addresses, `around` the networks that it is directly connected to.
pub fn may_be_tried(candidate: SocketAddr, own: &[IpAddr], inner: &[IpNet], around: &[IpNet]) -> bool {
    let ip = candidate.ip().to_canonical();
    let near = || around.iter().any(|net| net.contains(&ip));
    candidate.port() > 0 && is_outside(ip, inner) && !own.contains(&ip) && (!is_private(ip) || near())
}

/// Whether a multiaddr goes by QUIC.
pub fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::QuicV1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn direct_addresses_are_a_host_and_quic_or_tcp() {
        for direct in [
            "/ip4/192.0.2.1/udp/1/quic-v1",
            "/ip6/2001:db8::1/tcp/1",
            "/dns/gw.example.org/udp/41820/quic-v1",
            "/dns4/gw.example.org/tcp/443",
            "/dns6/gw.example.org/tcp/443",
        ] {
            assert!(is_direct(&address(direct)), "{direct}");
        }
        for other in [
            "/ip4/192.0.2.1",
            "/ip4/192.0.2.1/udp/1",
            "/ip4/192.0.2.1/udp/1/quic",
            "/ip4/192.0.2.1/tcp/1/ws",
            "/tcp/1",
            "/unix/%2Frun%2Fx.sock",
            "/dnsaddr/example.org/tcp/1",
            "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
        ] {
            assert!(!is_direct(&address(other)), "{other}");
        }
        assert!(!is_direct(&Multiaddr::empty()));
    }

    #[test]
    fn a_circuit_names_a_relay_by_a_direct_address_and_its_peer_id() {
        let id = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        let relay = format!("/dns4/relay.example.org/udp/41820/quic-v1/p2p/{id}");
        let circuit = address(&format!("{relay}/p2p-circuit"));
        assert!(is_relay(&address(&relay)) && is_circuit(&circuit));
        assert_eq!(relay_of(&circuit), id.parse().ok());
        assert_eq!(relay_of(&circuit.with(Protocol::P2p(PeerId::random()))), id.parse().ok());
        for other in [&relay, "/ip4/192.0.2.1/tcp/1/p2p-circuit", &format!("/p2p/{id}/p2p-circuit"), "/p2p-circuit"] {
            assert!(!is_circuit(&address(other)), "{other}");
        }
        assert_eq!(relay_of(&address(&relay)), None, "nothing follows it");
        assert!(!is_relay(&address("/ip4/192.0.2.1/tcp/1")));
    }

    #[test]
    fn the_ip_address_is_found_where_there_is_one() {
        assert_eq!(ip_of(&address("/ip6/2001:db8::1/tcp/1")), "2001:db8::1".parse().ok());
        assert_eq!(ip_of(&address("/ip6/::ffff:127.0.0.1/tcp/1")), "127.0.0.1".parse().ok());
        assert_eq!(ip_of(&address("/dns4/gw.example.org/tcp/443")), None);
        assert!(is_quic(&address("/ip4/192.0.2.1/udp/1/quic-v1")) && !is_quic(&address("/ip4/192.0.2.1/tcp/1")));
    }
}
