//! Multiaddrs: what this host can dial, and the IP addresses in them.

use std::net::IpAddr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// The first IP address in a multiaddr; a DNS name has none.
pub fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| {
        if let Protocol::Ip4(ip) = part {
            Some(ip.into())
        } else if let Protocol::Ip6(ip) = part {
            Some(ip.into())
        } else {
            None
        }
    })
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
    fn the_ip_address_is_found_where_there_is_one() {
        assert_eq!(ip_of(&address("/ip6/2001:db8::1/tcp/1")), "2001:db8::1".parse().ok());
        assert_eq!(ip_of(&address("/dns4/gw.example.org/tcp/443")), None);
        assert!(is_quic(&address("/ip4/192.0.2.1/udp/1/quic-v1")) && !is_quic(&address("/ip4/192.0.2.1/tcp/1")));
    }
}
