//! Our own addresses, as this host knows them and as peers and relays see them: what hole punching tries, and what a check
//! of reachability checks.
//!
//! Dials leave from the port that we listen on, so a NAT's mapping that one peer sees is the one that others may come in
//! by. libp2p's identify would replace its port by ours, which is wrong wherever a NAT gives another.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ipnet::IpNet;
use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};
use node::drops::{DropCounters, DropReason};
use node::time::Time;
use node::tunnel::Dialled;

use super::outer::may_be_told;
use crate::address::{ip_of, is_quic};

/// What others name as addresses of ours is kept by libp2p for ever: they may name so many at once that were not among the
/// last, and then one in this time; and over one connection so many.
const NEW: u32 = 32;
const NEW_OF_ONE: u32 = 4;
const EVERY: Duration = Duration::from_secs(600);
/// Those that cost nothing to name again.
const REMEMBERED: usize = 64;

/// Where another host sees us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Where it sees us.
    pub own: Multiaddr,
    /// Where it is.
    pub by: Multiaddr,
    /// Who connected to whom.
    pub dialled: Dialled,
}

pub(super) struct Observed {
    inner: Vec<IpNet>,
    drops: Arc<DropCounters>,
    clock: fn() -> Time,
    /// Direct connections from or to a port that we listen on, and what their other ends may say.
    connections: BTreeMap<ConnectionId, (ConnectedPoint, Allowance)>,
    /// What all may say together.
    all: Allowance,
    /// What was said last.
    said: VecDeque<Multiaddr>,
    /// What the other end of a connection sees.
    seen: BTreeMap<ConnectionId, Multiaddr>,
    listening: BTreeSet<Multiaddr>,
    candidates: VecDeque<Multiaddr>,
    waker: Option<Waker>,
}

/// A token bucket, as the time when it will be full again.
#[derive(Default)]
struct Allowance(Time);

impl Allowance {
    fn allows(&self, now: Time, times: u32) -> bool {
        (self.0.max(now) + EVERY).saturating_since(now) <= EVERY * times
    }

    fn take(&mut self, now: Time) {
        self.0 = self.0.max(now) + EVERY;
    }
}

impl Observed {
    pub(super) fn new(inner: Vec<IpNet>, drops: Arc<DropCounters>, clock: fn() -> Time) -> Self {
        Self {
            inner,
            drops,
            clock,
            connections: BTreeMap::new(),
            all: Allowance::default(),
            said: VecDeque::new(),
            seen: BTreeMap::new(),
            listening: BTreeSet::new(),
            candidates: VecDeque::new(),
            waker: None,
        }
    }

    /// The other end of a connection says where it sees us.
    pub(super) fn note(&mut self, connection: ConnectionId, own: &Multiaddr) {
        let Some((endpoint, _)) = self.connections.get(&connection) else { return };
        let tcp = !is_quic(own);
        let same_way = is_quic(own) == is_quic(endpoint.get_remote_address());
        // Without a listener on TCP a dial leaves from a port that nobody can come in by.
        let open = !tcp || self.listening.iter().any(|address| !is_quic(address));
        if same_way && open && self.is_candidate(own) && self.may_say(connection, own) {
            self.seen.insert(connection, own.clone());
            self.offer(own.clone());
            if let Some(guess) = self.tcp_beside(own) {
                self.offer(guess);
            }
        }
    }

    /// Whether the other end of a connection may name this address.
    fn may_say(&mut self, connection: ConnectionId, own: &Multiaddr) -> bool {
        if self.said.contains(own) {
            return true;
        }
        let Some((_, one)) = self.connections.get_mut(&connection) else { return false };
        let now = (self.clock)();
        if !one.allows(now, NEW_OF_ONE) || !self.all.allows(now, NEW) {
            self.drops.count(DropReason::SightingsMany);
            return false;
        }
        one.take(now);
        self.all.take(now);
        self.said.push_back(own.clone());
        if self.said.len() > REMEMBERED {
            self.said.pop_front();
        }
        true
    }

    /// Where a NAT that keeps ports would let TCP in, as long as nobody has seen us there: who reaches a relay by QUIC
    /// alone has nothing better to offer to a peer for which UDP is blocked.
    fn tcp_beside(&self, own: &Multiaddr) -> Option<Multiaddr> {
        let ip = ip_of(own).filter(|_| is_quic(own))?;
        let same = |address: &&Multiaddr| !is_quic(address) && ip_of(address).is_some_and(|other| other == ip);
        if self.seen.values().chain(&self.listening).any(|address| same(&address)) {
            return None;
        }
        let family = |address: &&Multiaddr| ip_of(address).is_some_and(|other| other.is_ipv4() == ip.is_ipv4());
        let listening = self.listening.iter().filter(|address| !is_quic(address)).find(family)?;
        let port = listening.iter().find(|part| matches!(part, Protocol::Tcp(_)))?;
        Some(Multiaddr::empty().with(ip.into()).with(port))
    }

    /// What is seen of us at the moment.
    pub(super) fn sightings(&self) -> Vec<Sighting> {
        let seen = self.seen.iter().filter_map(|(id, own)| Some((&self.connections.get(id)?.0, own)));
        seen.map(|(endpoint, own)| Sighting {
            own: own.clone(),
            by: endpoint.get_remote_address().clone(),
            dialled: if endpoint.is_dialer() { Dialled::ByUs } else { Dialled::ByPeer },
        })
        .collect()
    }

    fn is_candidate(&self, address: &Multiaddr) -> bool {
        may_be_told(address, &self.inner)
    }

    fn offer(&mut self, address: Multiaddr) {
        self.candidates.push_back(address);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Observed {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

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
            FromSwarm::ConnectionEstablished(about) => {
                let new_port = matches!(about.endpoint, ConnectedPoint::Dialer { port_use: PortUse::New, .. });
                if !about.endpoint.is_relayed() && !new_port {
                    self.connections.insert(about.connection_id, (about.endpoint.clone(), Allowance::default()));
                }
            }
            FromSwarm::ConnectionClosed(about) => {
                self.connections.remove(&about.connection_id);
                self.seen.remove(&about.connection_id);
            }
            // Hosts of one network meet there, whatever their router does.
            FromSwarm::NewListenAddr(about) if self.is_candidate(about.addr) => {
                self.listening.insert(about.addr.clone());
                self.offer(about.addr.clone());
            }
            FromSwarm::ExpiredListenAddr(about) => _ = self.listening.remove(about.addr),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, never: THandlerOutEvent<Self>) {
        match never {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(address) = self.candidates.pop_front() {
            return Poll::Ready(ToSwarm::NewExternalAddrCandidate(address));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
