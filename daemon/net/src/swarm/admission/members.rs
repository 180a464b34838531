//! The peer table as the connections see it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use either::Either;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::boxed::Boxed;
use crate::address::{ip_of, is_private, is_quic, is_reachable, relay_of};
use crate::quic::Ends;

/// How many peers are tried to be reached at a time, in all and for one of them: so that what a peer asks for leaves places
/// for our own dials.
const MAX_CHECKS: usize = 16;
const MAX_CHECKS_OF_ONE: usize = 4;

/// As many are tried to be reached as may be at a time.
#[derive(Debug, thiserror::Error)]
#[error("enough peers are tried to be reached")]
struct EnoughChecks;

/// The members, and the relays that we use. All behaviours of one swarm share it, and are asked about a new connection in
/// one go.
#[derive(Clone, Default)]
pub(crate) struct Members(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    peers: BTreeSet<PeerId>,
    relays: BTreeSet<PeerId>,
}

/// Whether the internet could lead to a multiaddr. A name may.
fn is_public(address: &Multiaddr) -> bool {
    ip_of(address).is_none_or(|ip| is_reachable(ip) && !is_private(ip)) && relay_of(address).is_none()
}

/// On whose connections a behaviour exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Circle {
    /// On those of peers.
    Peers,
    /// On those of relays that are no peers too: they carry circuits for us and nothing else.
    PeersAndRelays,
}

impl Members {
    /// A table without peers yet, that knows the relays which we use.
    pub(crate) fn new(relays: impl IntoIterator<Item = PeerId>) -> Self {
        let table = Table { peers: BTreeSet::new(), relays: relays.into_iter().collect() };
        Self(Arc::new(Mutex::new(table)))
    }

    pub(super) fn insert(&self, peer: PeerId) {
        self.lock().peers.insert(peer);
    }

    pub(super) fn remove(&self, peer: &PeerId) -> bool {
        self.lock().peers.remove(peer)
    }

    pub(crate) fn contains(&self, peer: &PeerId, circle: Circle) -> bool {
        let table = self.lock();
        match circle {
            Circle::Peers => table.peers.contains(peer),
            Circle::PeersAndRelays => table.peers.contains(peer) || table.relays.contains(peer),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A behaviour that exists on the connections of members alone: on a guest's it neither speaks nor is told anything.
pub(crate) struct MembersOnly<B> {
    inner: B,
    members: Members,
    circle: Circle,
    purpose: Purpose,
    /// Where connections really end, for a behaviour that tells it.
    ends: Option<Ends>,
    connections: BTreeMap<ConnectionId, PeerId>,
    /// Dials for a check that are under way, and to whom.
    dials: BTreeMap<ConnectionId, Option<PeerId>>,
    /// Those of the connections that were dialled for a check.
    checks: BTreeSet<ConnectionId>,
    /// Those of these that are not needed any more.
    checked: VecDeque<(PeerId, ConnectionId)>,
}

/// Which connections a behaviour is for, beside whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// All but those that check whether the other end can be reached.
    Any,
    /// All, and those above all.
    Checks,
    /// All but those, and our own dials to public addresses only: who sees us from the network around us cannot tell
    /// whether the internet does. Of our own addresses it is told the public ones.
    Public,
}

impl<B> MembersOnly<B> {
    pub(crate) fn new(inner: B, members: Members, circle: Circle) -> Self {
        Self {
            inner,
            members,
            circle,
            purpose: Purpose::Any,
            ends: None,
            connections: BTreeMap::new(),
            dials: BTreeMap::new(),
            checks: BTreeSet::new(),
            checked: VecDeque::new(),
        }
    }

    /// The behaviour dials in order to check whether others can be reached. Such a connection is closed when the check is
    /// over: when many peers connect at once, those that wait to be idle would cost as much memory as the peers do.
    pub(crate) fn that_checks(self) -> Self {
        Self { purpose: Purpose::Checks, ..self }
    }

    /// The behaviour asks others to check whether we can be reached.
    pub(crate) fn that_is_checked(self) -> Self {
        Self { purpose: Purpose::Public, ..self }
    }

    /// The behaviour tells the other end where it comes from.
    pub(crate) fn that_tells(self, ends: Ends) -> Self {
        Self { ends: Some(ends), ..self }
    }

    /// Where a connection ends that we dialled. Whom we waited for may have come from elsewhere than it was expected.
    fn other_end(&self, peer: &PeerId, address: &Multiaddr, role: Endpoint) -> Multiaddr {
        let ends = self.ends.as_ref().filter(|_| role == Endpoint::Listener && is_quic(address));
        ends.and_then(|ends| ends.newest(peer, address)).map_or_else(|| address.clone(), |end| end.address())
    }

    /// Whether the behaviour is for a connection that we dialled.
    fn is_for(&self, address: &Multiaddr, port: PortUse) -> bool {
        match self.purpose {
            Purpose::Checks => true,
            Purpose::Any => port == PortUse::Reuse,
            Purpose::Public => port == PortUse::Reuse && is_public(address),
        }
    }

    /// Whether a dial may be made: any that is not for a check, and so many that are.
    fn may_dial(&mut self, connection: ConnectionId, peer: Option<PeerId>) -> bool {
        let Some(noted) = self.dials.get_mut(&connection) else { return true };
        *noted = peer;
        let of_one = self.dials.values().filter(|other| **other == peer).count();
        self.dials.len() <= MAX_CHECKS && of_one <= MAX_CHECKS_OF_ONE
    }

    pub(crate) fn inner_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for MembersOnly<B> {
    type ConnectionHandler = Either<Boxed<THandler<B>>, dummy::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.members.contains(&peer, self.circle) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        let handler = self.inner.handle_established_inbound_connection(connection, peer, local, remote)?;
        self.connections.insert(connection, peer);
        Ok(Either::Left(Boxed::new(handler)))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if !self.may_dial(connection, peer) {
            return Err(ConnectionDenied::new(EnoughChecks));
        }
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.dials.remove(&connection);
        if !self.members.contains(&peer, self.circle) || !self.is_for(address, port_use) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        let address = &self.other_end(&peer, address, role);
        let handler = self.inner.handle_established_outbound_connection(connection, peer, address, role, port_use)?;
        self.connections.insert(connection, peer);
        if self.purpose == Purpose::Checks && port_use == PortUse::New {
            self.checks.insert(connection);
        }
        Ok(Either::Left(Boxed::new(handler)))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p's enum grows; what is about no connection is passed on")]
    fn on_swarm_event(&mut self, event: FromSwarm) {
        let told = match &event {
            FromSwarm::ConnectionEstablished(about) => self.connections.contains_key(&about.connection_id),
            FromSwarm::AddressChange(about) => self.connections.contains_key(&about.connection_id),
            FromSwarm::ConnectionClosed(about) => {
                self.checks.remove(&about.connection_id);
                self.connections.remove(&about.connection_id).is_some()
            }
            // Another behaviour refused what we let in.
            FromSwarm::ListenFailure(about) => {
                self.connections.remove(&about.connection_id);
                true
            }
            FromSwarm::DialFailure(about) => {
                self.dials.remove(&about.connection_id);
                self.checks.remove(&about.connection_id);
                self.connections.remove(&about.connection_id);
                true
            }
            FromSwarm::NewExternalAddrCandidate(about) => self.purpose != Purpose::Public || is_public(about.addr),
            _ => true,
        };
        if told {
            self.inner.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        // The only thing that is said there is how it went.
        if self.checks.remove(&connection) {
            self.checked.push_back((peer, connection));
        }
        match event {
            Either::Left(event) => self.inner.on_connection_handler_event(peer, connection, event),
            Either::Right(never) => match never {},
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((peer_id, connection)) = self.checked.pop_front() {
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) });
        }
        loop {
            let action = std::task::ready!(self.inner.poll(cx)).map_in(Either::Left);
            // What others say of our addresses is judged by `Observed`.
            if let ToSwarm::NewExternalAddrCandidate(_) = action {
                continue;
            }
            if let (ToSwarm::Dial { opts }, Purpose::Checks) = (&action, self.purpose) {
                self.dials.insert(opts.connection_id(), None);
            }
            // "Any connection of the peer" must not be a guest's.
            if let ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event } = action {
                let own =
                    self.connections.iter().find(|(_, peer)| **peer == peer_id).map(|(connection, _)| *connection);
                let Some(connection) = own else { continue };
                return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event });
            }
            return Poll::Ready(action);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::task::noop_waker_ref;
    use libp2p::ping;

    use super::*;

    const CONNECTION: usize = 7;

    /// What a behaviour does once the other end of a connection that we dialled has said its first word.
    fn after_a_word(purpose: Purpose, port: PortUse) -> ToSwarm<ping::Event, impl Sized> {
        let (peer, connection) = (PeerId::random(), ConnectionId::new_unchecked(CONNECTION));
        let members = Members::default();
        members.insert(peer);
        let inner = ping::Behaviour::default();
        let mut behaviour = MembersOnly { purpose, ..MembersOnly::new(inner, members, Circle::Peers) };
        let address = "/ip4/203.0.113.1/udp/1/quic-v1".parse().unwrap();
        behaviour.handle_established_outbound_connection(connection, peer, &address, Endpoint::Dialer, port).unwrap();
        behaviour.on_connection_handler_event(peer, connection, Either::Left(Ok(Duration::ZERO)));
        match behaviour.poll(&mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(action) => action,
            Poll::Pending => panic!("the word was lost"),
        }
    }

    #[test]
    fn a_connection_that_was_made_for_a_check_is_closed_when_that_is_over() {
        let done = after_a_word(Purpose::Checks, PortUse::New);
        let ToSwarm::CloseConnection { connection: CloseConnection::One(closed), .. } = done else {
            panic!("it stays open");
        };
        assert_eq!(closed, ConnectionId::new_unchecked(CONNECTION));
    }

    #[test]
    fn so_many_are_tried_to_be_reached_at_a_time_and_fewer_for_one_peer() {
        let mut behaviour = MembersOnly::new(ping::Behaviour::default(), Members::default(), Circle::Peers);
        let mut asks = |peer, dials: std::ops::Range<usize>| {
            let granted = dials.map(ConnectionId::new_unchecked).filter(|dial| {
                behaviour.dials.insert(*dial, None);
                let granted = behaviour.may_dial(*dial, Some(peer));
                if !granted {
                    behaviour.dials.remove(dial);
                }
                granted
            });
            granted.count()
        };
        for first in [0, 10, 20, 30] {
            assert_eq!(asks(PeerId::random(), first..first + 9), 4);
        }
        let late = PeerId::random();
        assert_eq!(asks(late, 40..49), 0);
        assert!(behaviour.may_dial(ConnectionId::new_unchecked(50), Some(late)), "a dial of our own is no check");
    }

    #[test]
    fn no_other_is_closed() {
        for (purpose, port) in [(Purpose::Checks, PortUse::Reuse), (Purpose::Any, PortUse::Reuse)] {
            assert!(matches!(after_a_word(purpose, port), ToSwarm::GenerateEvent(_)), "{purpose:?}, {port:?}");
        }
    }
}
