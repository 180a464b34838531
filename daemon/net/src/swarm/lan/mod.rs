//! Peers on the same network, found by multicast DNS. Whoever answers is believed no more than any address: the PeerId is
//! proven when it is dialled, and only peers that are wanted are.
//!
//! Anybody on the network may say anything, as much as fits the wire. So nothing that is heard is kept, and so many
//! messages a second are read and no more.

mod link;
mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use if_watch::IfEvent;
use if_watch::tokio::IfWatcher;
use ipnet::{IpNet, Ipv4Net};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};
use node::drops::{DropCounters, DropReason};
use node::time::Time;
use tokio::time::{Instant, Sleep};

use super::outer::may_be_told;
use crate::address::ip_of;
use link::Link;
use message::{Label, Message};

/// How many messages are read in a span. A house full of hosts answers with one each.
const MESSAGES: u32 = 256;
const SPAN: Duration = Duration::from_secs(1);
/// How long until interfaces are watched again after the system's news of them broke off.
const WATCH_AGAIN: Duration = Duration::from_secs(5);

/// Somebody on the network says that a peer is here.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) peer: PeerId,
    pub(super) addresses: Vec<Multiaddr>,
}

pub(super) struct Lan {
    own: PeerId,
    inner: Vec<IpNet>,
    drops: Arc<DropCounters>,
    label: Label,
    interfaces: Interfaces,
    links: BTreeMap<Ipv4Addr, Link>,
    /// Where we listen, as far as others on the network may know.
    listening: BTreeSet<Multiaddr>,
    patience: Patience,
    /// When it is listened again.
    awake: Pin<Box<Sleep>>,
    clock: fn() -> Time,
}

/// Where news of this host's addresses come from.
enum Interfaces {
    Watched(Box<IfWatcher>),
    /// To be watched again.
    Pausing(Pin<Box<Sleep>>),
}

impl Lan {
    /// # Errors
    /// When the system does not tell of its interfaces.
    pub(super) fn new(
        own: PeerId,
        inner: Vec<IpNet>,
        drops: Arc<DropCounters>,
        clock: fn() -> Time,
    ) -> io::Result<Self> {
        Ok(Self {
            own,
            inner,
            drops,
            label: Label::random(),
            interfaces: Interfaces::Watched(Box::new(IfWatcher::new()?)),
            links: BTreeMap::new(),
            listening: BTreeSet::new(),
            patience: Patience::new(clock()),
            awake: Box::pin(tokio::time::sleep(Duration::ZERO)),
            clock,
        })
    }

    fn poll_interfaces(&mut self, cx: &mut Context<'_>) {
        loop {
            let news = match &mut self.interfaces {
                Interfaces::Watched(watcher) => watcher.poll_if_event(cx),
                Interfaces::Pausing(pause) => match pause.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        // What is up is told again, and a link that stands is kept.
                        let watcher = IfWatcher::new();
                        self.interfaces = watcher.map_or_else(|_| pausing(), |new| Interfaces::Watched(Box::new(new)));
                        continue;
                    }
                    Poll::Pending => return,
                },
            };
            match news {
                Poll::Ready(Ok(IfEvent::Up(IpNet::V4(net)))) => self.up(net),
                Poll::Ready(Ok(IfEvent::Down(net))) => self.links.retain(|own, _| net.addr() != *own),
                // Peers are looked for by IPv4, whose networks every host is in.
                Poll::Ready(Ok(IfEvent::Up(IpNet::V6(_)))) => {}
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "interfaces are not watched for a while");
                    self.interfaces = pausing();
                }
                Poll::Pending => return,
            }
        }
    }

    fn up(&mut self, net: Ipv4Net) {
        let tunnel = self.inner.iter().any(|inner| inner.contains(&IpNet::V4(net).addr()));
        if tunnel || net.addr().is_loopback() || self.links.contains_key(&net.addr()) {
            return;
        }
        match Link::open(net) {
            Ok(link) => _ = self.links.insert(net.addr(), link),
            Err(error) => {
                tracing::warn!(%error, "peers cannot be looked for on one of the networks");
                tracing::debug!(address = %net.addr(), "it is this one");
            }
        }
    }

    /// The next peer that is somewhere.
    fn poll_links(&mut self, cx: &mut Context<'_>) -> Poll<Found> {
        let Self { own, label, links, listening, patience, awake, drops, clock, .. } = self;
        for (address, link) in links {
            link.poll_send(cx);
            loop {
                if let Some(rest) = patience.rest(clock()) {
                    if patience.ends() {
                        drops.count(DropReason::AnnouncedMany);
                    }
                    awake.as_mut().reset(Instant::now() + rest);
                    std::task::ready!(awake.as_mut().poll(cx));
                    continue;
                }
                let Poll::Ready(heard) = link.poll_hear(cx) else { break };
                patience.take();
                match heard {
                    Some(Message::Question) => {
                        let here = listening.iter().filter(|listening| ip_of(listening) == Some((*address).into()));
                        link.answer(|| message::answer(label, *own, here));
                        link.poll_send(cx);
                    }
                    Some(Message::Answer { peer, addresses }) if peer != *own => {
                        return Poll::Ready(Found { peer, addresses });
                    }
                    Some(Message::Answer { .. }) | None => {}
                }
            }
        }
        Poll::Pending
    }
}

fn pausing() -> Interfaces {
    Interfaces::Pausing(Box::pin(tokio::time::sleep(WATCH_AGAIN)))
}

/// How many messages are read yet. Pure, the time comes in.
struct Patience {
    left: u32,
    /// When this span began.
    since: Time,
    /// Whether it was said that there is none left.
    said: bool,
}

impl Patience {
    const fn new(now: Time) -> Self {
        Self { left: MESSAGES, since: now, said: false }
    }

    /// How long nothing is read, if it is so.
    fn rest(&mut self, now: Time) -> Option<Duration> {
        let over = now.saturating_since(self.since);
        if self.left == 0 && over >= SPAN {
            *self = Self::new(now);
        }
        (self.left == 0).then(|| SPAN - over)
    }

    /// One was read.
    const fn take(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// Whether this is the first time in its span that there is none left.
    const fn ends(&mut self) -> bool {
        !std::mem::replace(&mut self.said, true)
    }
}

impl NetworkBehaviour for Lan {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Found;

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

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "libp2p's enum grows; the rest says nothing about our addresses"
    )]
    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::NewListenAddr(about) if may_be_told(about.addr, &self.inner) => {
                self.listening.insert(about.addr.clone());
            }
            FromSwarm::ExpiredListenAddr(about) => _ = self.listening.remove(about.addr),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, never: THandlerOutEvent<Self>) {
        match never {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.poll_interfaces(cx);
        self.poll_links(cx).map(ToSwarm::GenerateEvent)
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

    #[test]
    fn so_many_messages_are_read_in_a_second_and_the_next_ones_later() {
        let mut patience = Patience::new(Time::ZERO);
        let mut read = |now| {
            let mut read = 0;
            while patience.rest(now).is_none() {
                patience.take();
                read += 1;
            }
            (read, patience.rest(now), patience.ends())
        };
        let half = Time::ZERO + SPAN / 2;
        assert_eq!(read(Time::ZERO), (MESSAGES, Some(SPAN), true));
        assert_eq!(read(half), (0, Some(SPAN / 2), false), "which is said once");
        assert_eq!(read(Time::ZERO + SPAN), (MESSAGES, Some(SPAN), true));
        assert_eq!(read(Time::ZERO + SPAN * 60).0, MESSAGES, "what was not used is not saved");
    }
}
