//! Peers on the same network, found by multicast DNS. Whoever answers is believed no more than any address: the PeerId is
//! proven when it is dialled, and only peers that are wanted are.

use std::task::{Context, Poll};

use ipnet::IpNet;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId, mdns};

use super::outer::may_be_told;

/// libp2p's mDNS, which is told only those of our addresses that others on the network may know.
pub(super) struct Lan {
    mdns: mdns::tokio::Behaviour,
    inner: Vec<IpNet>,
}

impl Lan {
    pub(super) fn new(own: PeerId, inner: Vec<IpNet>) -> std::io::Result<Self> {
        Ok(Self { mdns: mdns::tokio::Behaviour::new(mdns::Config::default(), own)?, inner })
    }
}

impl NetworkBehaviour for Lan {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = mdns::Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        let told =
            if let FromSwarm::NewListenAddr(about) = &event { may_be_told(about.addr, &self.inner) } else { true };
        if told {
            self.mdns.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, never: THandlerOutEvent<Self>) {
        match never {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.mdns.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_on_the_network_may_know_has_no_inner_address() {
        let inner = ["fd63:7279:7072::/48".parse().unwrap(), "10.86.0.0/16".parse().unwrap()];
        let told = |text: &str| may_be_told(&text.parse().unwrap(), &inner);
        assert!(told("/ip4/192.168.1.7/udp/41820/quic-v1") && told("/ip6/fd00::7/tcp/41820"));
        for kept in [
            "/ip4/10.86.1.2/udp/41820/quic-v1",
            "/ip6/fd63:7279:7072::7/tcp/41820",
            "/ip4/127.0.0.1/tcp/41820",
            "/ip6/fe80::1/tcp/41820",
            "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit",
        ] {
            assert!(!told(kept), "{kept}");
        }
    }
}
