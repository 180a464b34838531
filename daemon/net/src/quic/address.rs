//! Multiaddrs of the form `/ip4/…/udp/…/quic-v1[/p2p/…]`.

use std::net::{IpAddr, SocketAddr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Where a multiaddr leads and to whom; `None` when it is not of this transport.
pub(super) fn parse(address: &Multiaddr) -> Option<(SocketAddr, Option<PeerId>)> {
    let mut parts = address.iter();
    let (ip, udp, quic) = (parts.next()?, parts.next()?, parts.next()?);
    let peer = parts.next();
    if parts.next().is_some() {
        return None;
    }
    let ip = if let Protocol::Ip4(ip) = ip {
        IpAddr::V4(ip)
    } else if let Protocol::Ip6(ip) = ip {
        IpAddr::V6(ip)
    } else {
        return None;
    };
    let (Protocol::Udp(port), Protocol::QuicV1) = (udp, quic) else { return None };
    let socket = SocketAddr::new(ip, port);
    let Some(peer) = peer else { return Some((socket, None)) };
    let Protocol::P2p(peer) = peer else { return None };
    Some((socket, Some(peer)))
}

/// The multiaddr of an address.
pub(super) fn format(address: SocketAddr) -> Multiaddr {
    Multiaddr::empty().with(address.ip().into()).with(Protocol::Udp(address.port())).with(Protocol::QuicV1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_transport_are_read_and_others_are_not() {
        let peer = PeerId::random();
        let read = |text: &str| parse(&text.parse().unwrap());
        assert_eq!(read("/ip4/192.0.2.1/udp/7/quic-v1"), Some(("192.0.2.1:7".parse().unwrap(), None)));
        assert_eq!(
            read(&format!("/ip6/2001:db8::1/udp/7/quic-v1/p2p/{peer}")),
            Some(("[2001:db8::1]:7".parse().unwrap(), Some(peer)))
        );
        for other in [
            "/ip4/192.0.2.1/tcp/7",
            "/ip4/192.0.2.1/udp/7",
            "/ip4/192.0.2.1/udp/7/quic",
            "/ip4/192.0.2.1/udp/7/quic-v1/webtransport",
            "/dns4/example.org/udp/7/quic-v1",
            &format!("/ip4/192.0.2.1/udp/7/quic-v1/p2p/{peer}/p2p-circuit"),
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        for text in ["/ip4/192.0.2.1/udp/7/quic-v1", "/ip6/2001:db8::1/udp/7/quic-v1"] {
            assert_eq!(format(read(text).unwrap().0).to_string(), text);
        }
    }
}
