//! Hole punching (DCUtR) as far as a peer may have us do it. libp2p dials what a peer names: as many addresses as fit a
//! message, and as often as it names them. Here a peer gets a few tries, and of its addresses those are tried that may be a
//! way to it.
//!
//! libp2p shows where a dial leads when it asks whether it may be made, and lets nobody take addresses out of it then. So
//! the others are refused one layer below, where the transport is asked for each ([`Aimed`]).

mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use if_watch::tokio::IfWatcher;
use ipnet::IpNet;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, dcutr};
use node::drops::{DropCounters, DropReason};
use node::time::Time;

use targets::{Aim, worth_trying};
pub(super) use targets::{Aimed, Targets};

/// How often a peer may have us try at once, and after how long once more. libp2p makes three tries for a circuit, and
/// each side may have asked for one.
const BURST: u32 = 6;
const EVERY: Duration = Duration::from_secs(10);
/// To how many addresses one try leads: libp2p offers no more of its own.
const TARGETS: usize = 20;

/// None of the addresses that a peer named is tried.
#[derive(Debug, thiserror::Error)]
#[error("a peer named no address that is tried for it")]
struct NoTarget;

/// libp2p's hole punching, within bounds.
pub(super) struct Punching {
    dcutr: dcutr::Behaviour,
    targets: Targets,
    /// Inner addresses, which are not dialled.
    inner: Vec<IpNet>,
    around: Around,
    /// When each peer may again have us try as often as at first.
    asked: BTreeMap<PeerId, Time>,
    /// Dials that are about to be made.
    dials: BTreeSet<ConnectionId>,
    drops: Arc<DropCounters>,
    clock: fn() -> Time,
}

impl Punching {
    /// Dials are made by a transport that is [`Aimed`] at the same `targets`.
    pub(super) fn new(
        own: PeerId,
        targets: Targets,
        inner: Vec<IpNet>,
        drops: Arc<DropCounters>,
        clock: fn() -> Time,
    ) -> Self {
        Self {
            dcutr: dcutr::Behaviour::new(own),
            targets,
            inner,
            around: Around::watch(),
            asked: BTreeMap::new(),
            dials: BTreeSet::new(),
            drops,
            clock,
        }
    }

    fn may_ask(&mut self, peer: PeerId) -> bool {
        let now = (self.clock)();
        self.asked.retain(|_, full| *full > now);
        let full = self.asked.get(&peer).copied().unwrap_or(now) + EVERY;
        if full.saturating_since(now) > EVERY * BURST {
            self.drops.count(DropReason::PunchesMany);
            return false;
        }
        self.asked.insert(peer, full);
        true
    }

    /// Where a dial leads that a peer asked for.
    fn targets(&mut self, addresses: &[Multiaddr]) -> Vec<Multiaddr> {
        let mut targets = worth_trying(addresses, &self.inner, &self.around.nets());
        let over = targets.len().saturating_sub(TARGETS);
        if over > 0 {
            self.drops.add(DropReason::PunchesMany, u64::try_from(over).unwrap_or(u64::MAX));
            targets.truncate(TARGETS);
        }
        targets
    }
}

impl NetworkBehaviour for Punching {
    type ConnectionHandler = THandler<dcutr::Behaviour>;
    type ToSwarm = dcutr::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.dcutr.handle_established_inbound_connection(connection, peer, local, remote)
    }

    /// Every dial of the swarm passes here, whoever asked for it.
    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if !self.dials.remove(&connection) {
            self.targets.aim(Aim::Anywhere);
            return Ok(Vec::new());
        }
        let targets = self.targets(addresses);
        tracing::debug!(?targets, named = addresses.len(), "a peer asks for a hole");
        if targets.is_empty() {
            return Err(ConnectionDenied::new(NoTarget));
        }
        self.targets.aim(Aim::Only(targets));
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.dcutr.handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        if let FromSwarm::DialFailure(about) = &event {
            self.dials.remove(&about.connection_id);
        }
        self.dcutr.on_swarm_event(event);
    }

    /// Whatever libp2p has to say here is a try that begins, or one that failed before it began.
    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        if self.may_ask(peer) {
            self.dcutr.on_connection_handler_event(peer, connection, event);
        } else {
            tracing::debug!(%peer, "a peer asks for more holes than it is granted");
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.around.poll(cx);
        let action = self.dcutr.poll(cx);
        if let Poll::Ready(ToSwarm::Dial { opts }) = &action {
            self.dials.insert(opts.connection_id());
        }
        action
    }
}

/// This host's addresses, with the networks around them.
struct Around(Option<IfWatcher>);

impl Around {
    fn watch() -> Self {
        let watcher = IfWatcher::new();
        Self(watcher.inspect_err(|error| tracing::debug!(%error, "the networks around are not known")).ok())
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        let Some(watcher) = &mut self.0 else { return };
        while let Poll::Ready(news) = watcher.poll_if_event(cx) {
            if let Err(error) = news {
                tracing::debug!(%error, "the networks around are not known any more");
                // A watcher that failed once fails for ever.
                self.0 = None;
                return;
            }
        }
    }

    /// As far as they are known: a watcher that failed begins anew, and knows them the next time.
    fn nets(&mut self) -> Vec<IpNet> {
        if self.0.is_none() {
            *self = Self::watch();
        }
        self.0.iter().flat_map(IfWatcher::iter).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static NOW: Cell<Time> = const { Cell::new(Time::ZERO) };
    }

    fn punching() -> Punching {
        let inner = vec!["10.86.0.0/16".parse().unwrap()];
        Punching::new(PeerId::random(), Targets::default(), inner, Arc::default(), || NOW.get())
    }

    /// What becomes of a dial to these addresses.
    fn dial(punching: &mut Punching, addresses: &[Multiaddr]) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        punching.handle_pending_outbound_connection(ConnectionId::new_unchecked(1), None, addresses, Endpoint::Dialer)
    }

    #[tokio::test]
    async fn a_peer_that_asks_for_ever_more_holes_gets_a_few_and_then_one_each_ten_seconds() {
        let (mut punching, peer, other) = (punching(), PeerId::random(), PeerId::random());
        let mut granted = |peer, asked: u32| (0..asked).filter(|_| punching.may_ask(peer)).count();
        assert_eq!(granted(peer, 100), 6);
        assert_eq!(granted(other, 1), 1, "another peer is heard all the same");
        NOW.set(Time::ZERO + EVERY);
        assert_eq!(granted(peer, 100), 1);
        NOW.set(Time::ZERO + EVERY * 100);
        assert_eq!(granted(peer, 100), 6);
        assert_eq!(punching.drops.get(DropReason::PunchesMany), 94 + 99 + 94);
        assert_eq!(punching.asked.len(), 1, "who asked long ago is forgotten");
    }

    #[tokio::test]
    async fn of_the_addresses_that_fit_a_message_twenty_are_tried() {
        let mut punching = punching();
        let named: Vec<Multiaddr> =
            (0..315).map(|port| format!("/ip4/203.0.113.1/udp/{}/quic-v1", port + 1).parse().unwrap()).collect();
        punching.dials.insert(ConnectionId::new_unchecked(1));
        dial(&mut punching, &named).unwrap();
        assert_eq!(named.iter().filter(|address| punching.targets.allow(address)).count(), 20);
        assert_eq!(punching.drops.get(DropReason::PunchesMany), 295);
    }

    #[tokio::test]
    async fn a_dial_that_could_lead_nowhere_is_not_made_and_one_of_ours_is() {
        let (mut punching, near) = (punching(), "/ip4/127.0.0.1/tcp/22".parse::<Multiaddr>().unwrap());
        punching.dials.insert(ConnectionId::new_unchecked(1));
        assert!(dial(&mut punching, std::slice::from_ref(&near)).is_err());
        assert!(dial(&mut punching, std::slice::from_ref(&near)).is_ok() && punching.targets.allow(&near));
    }
}
