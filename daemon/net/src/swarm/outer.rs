//! Dials stay outside: whoever asks for one, an address inside the tunnel is not dialled, or the tunnel would run through
//! itself; and whoever asks us to try an address of its own (AutoNAT) cannot make us try the networks around us.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use ipnet::IpNet;
use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};

use super::dialer::is_outer;
use crate::address::{ip_of, is_direct, is_outside, is_private, is_quic, is_reachable};

/// How long the hole for QUIC is punched before one for TCP is: frames can go beside QUIC, and its first packet, if it came
/// before the hole, is repeated after a second.
const HEAD_START: Duration = Duration::from_millis(1500);

/// A transport that dials no inner address.
pub(super) struct Outer<T> {
    transport: T,
    inner: Vec<IpNet>,
}

impl<T> Outer<T> {
    pub(super) const fn new(transport: T, inner: Vec<IpNet>) -> Self {
        Self { transport, inner }
    }
}

/// Whether others may know an address of ours, or we dial one that they tell us unasked: from host to host, and outside.
pub(super) fn may_be_told(address: &Multiaddr, inner: &[IpNet]) -> bool {
    is_direct(address) && ip_of(address).is_some_and(|ip| is_outside(ip, inner))
}

/// Whether a dial may leave. One from a new port is another host's wish to know whether it can be reached.
fn may_leave(address: &Multiaddr, port: PortUse, inner: &[IpNet]) -> bool {
    let public = || ip_of(address).is_some_and(|ip| is_reachable(ip) && !is_private(ip));
    is_outer(address, inner)
        && match port {
            PortUse::Reuse => true,
            PortUse::New => public(),
        }
}

impl<T> Transport for Outer<T>
where
    T: Transport + Unpin,
    T::Dial: Send + 'static,
{
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, Result<T::Output, T::Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<T::Error>> {
        self.transport.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.transport.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<T::Error>> {
        if !may_leave(&address, options.port_use, &self.inner) {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        let later = options.role.is_listener() && !is_quic(&address);
        let dial = self.transport.dial(address, options)?;
        if !later {
            return Ok(dial.boxed());
        }
        Ok(async move {
            tokio::time::sleep(HEAD_START).await;
            dial.await
        }
        .boxed())
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<T::ListenerUpgrade, T::Error>> {
        Pin::new(&mut self.transport).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_dialled_inside_and_for_others_nothing_but_public_addresses() {
        let inner = ["fd63:7279:7072::/48".parse().unwrap(), "10.86.0.0/16".parse().unwrap()];
        let may = |text: &str, port| may_leave(&text.parse().unwrap(), port, &inner);
        for own in ["/ip4/10.86.0.2/udp/1/quic-v1", "/ip6/fd63:7279:7072::1/tcp/1"] {
            assert!(!may(own, PortUse::Reuse) && !may(own, PortUse::New), "{own}");
        }
        for near in ["/ip4/192.168.1.1/tcp/22", "/ip4/127.0.0.1/tcp/22", "/ip6/fe80::1/tcp/22", "/ip4/100.64.0.1/tcp/1"]
        {
            assert!(may(near, PortUse::Reuse) && !may(near, PortUse::New), "{near}");
        }
        assert!(may("/ip4/203.0.113.1/tcp/1", PortUse::New) && may("/ip4/203.0.113.1/tcp/1", PortUse::Reuse));
    }
}
