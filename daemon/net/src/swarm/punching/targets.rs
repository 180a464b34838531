//! Where a dial may lead that a peer asked for.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use ipnet::IpNet;
use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};

use crate::address::{is_direct, may_be_tried, socket_of, without_peer};

/// Those of a peer's addresses that are tried, each once, by the rule for where datagrams are tried (protocol.md 7.7).
/// `around` are this host's addresses, each with the network around it.
pub(super) fn worth_trying(addresses: &[Multiaddr], inner: &[IpNet], around: &[IpNet]) -> Vec<Multiaddr> {
    let own: Vec<_> = around.iter().map(IpNet::addr).collect();
    let around: Vec<_> = around.iter().copied().filter(|net| net.prefix_len() > 0).collect();
    let mut targets = Vec::new();
    for address in addresses.iter().map(without_peer) {
        let may = socket_of(&address).is_some_and(|socket| may_be_tried(socket, &own, inner, &around));
        if may && is_direct(&address) && !targets.contains(&address) {
            targets.push(address);
        }
    }
    targets
}

/// What the swarm's next dial may lead to. A swarm makes one at a time: it asks its behaviours whether it may, and then the
/// transport for each address.
#[derive(Clone, Default)]
pub(crate) struct Targets(Arc<Mutex<Aim>>);

/// Where one dial may lead.
#[derive(Debug, Default)]
pub(super) enum Aim {
    /// It is ours.
    #[default]
    Anywhere,
    /// A peer asked for it: here, once to each.
    Only(Vec<Multiaddr>),
}

impl Targets {
    /// A dial begins.
    pub(super) fn aim(&self, aim: Aim) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = aim;
    }

    /// Whether it may lead here.
    pub(super) fn allow(&self, address: &Multiaddr) -> bool {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Aim::Anywhere => true,
            Aim::Only(targets) => {
                let address = without_peer(address);
                let found = targets.iter().position(|target| *target == address);
                found.map(|at| targets.swap_remove(at)).is_some()
            }
        }
    }
}

/// A transport that dials where the dial of the moment may lead. It has to be asked before names are looked up.
pub(crate) struct Aimed<T> {
    transport: T,
    targets: Targets,
}

impl<T> Aimed<T> {
    pub(crate) const fn new(transport: T, targets: Targets) -> Self {
        Self { transport, targets }
    }
}

impl<T: Transport + Unpin> Transport for Aimed<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<T::Error>> {
        self.transport.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.transport.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<T::Dial, TransportError<T::Error>> {
        if !self.targets.allow(&address) {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        self.transport.dial(address, options)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<T::ListenerUpgrade, T::Error>> {
        Pin::new(&mut self.transport).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;
    use libp2p::multiaddr::Protocol;

    use super::*;

    const PEER: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    fn nets(nets: &[&str]) -> Vec<IpNet> {
        nets.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn tried(addresses: &[&str]) -> Vec<String> {
        let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let inner = nets(&["10.86.0.0/16", "fd63:7279:7072::/48"]);
        let around = nets(&["127.0.0.1/8", "192.168.1.5/24", "2001:db8:1::5/64", "10.0.0.5/0"]);
        worth_trying(&addresses, &inner, &around).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_peer_cannot_aim_our_dials_at_ourselves_at_inner_hosts_or_at_networks_that_are_not_ours() {
        for good in [
            "/ip4/203.0.113.1/udp/41820/quic-v1",
            "/ip4/203.0.113.1/tcp/41820",
            "/ip6/2001:db8::1/tcp/1",
            "/ip4/192.168.1.9/udp/41820/quic-v1",
            "/ip6/2001:db8:1::9/tcp/1",
        ] {
            assert_eq!(tried(&[good]), [good]);
            assert_eq!(tried(&[&format!("{good}/p2p/{PEER}")]), [good]);
        }
        for bad in [
            "/ip4/127.0.0.1/tcp/22",
            "/ip6/::1/tcp/22",
            "/ip6/::ffff:127.0.0.1/tcp/22",
            "/ip6/::ffff:192.168.1.5/tcp/22",
            "/ip4/0.0.0.0/tcp/22",
            "/ip4/255.255.255.255/udp/1/quic-v1",
            "/ip4/224.0.0.1/udp/1/quic-v1",
            "/ip6/ff02::1/udp/1/quic-v1",
            "/ip4/169.254.1.1/tcp/22",
            "/ip6/fe80::1/tcp/22",
            "/ip4/10.86.0.2/tcp/22",
            "/ip6/fd63:7279:7072::1/tcp/22",
            "/ip6/::ffff:10.86.0.2/tcp/22",
            "/ip4/192.168.1.5/tcp/22",
            "/ip6/2001:db8:1::5/tcp/22",
            "/ip4/192.168.2.9/tcp/22",
            "/ip4/100.64.0.1/tcp/22",
            "/ip6/fd00::1/tcp/22",
            "/ip4/203.0.113.1/tcp/0",
            "/ip4/203.0.113.1/udp/1",
            "/ip4/203.0.113.1/tcp/1/ws",
            "/dns4/localhost/tcp/22",
            &format!("/ip4/203.0.113.1/tcp/1/p2p/{PEER}/p2p-circuit"),
        ] {
            assert!(tried(&[bad]).is_empty(), "{bad}");
        }
    }

    #[test]
    fn each_address_is_tried_once_with_a_peer_id_and_without() {
        let address = "/ip4/203.0.113.1/tcp/1";
        assert_eq!(tried(&[address, &format!("{address}/p2p/{PEER}"), address]), [address]);
    }

    #[test]
    fn a_dial_that_a_peer_asked_for_leads_where_it_may_once_and_one_of_ours_anywhere() {
        let (targets, address) = (Targets::default(), "/ip4/203.0.113.1/tcp/1".parse::<Multiaddr>().unwrap());
        let dialled = address.clone().with(Protocol::P2p(PeerId::random()));
        assert!(targets.allow(&dialled) && targets.allow(&dialled));
        targets.aim(Aim::Only(vec![address]));
        assert!(!targets.allow(&"/ip4/127.0.0.1/tcp/1".parse().unwrap()));
        assert!(targets.allow(&dialled) && !targets.allow(&dialled));
        targets.aim(Aim::Anywhere);
        assert!(targets.allow(&dialled));
    }
}
