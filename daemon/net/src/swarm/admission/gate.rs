//! Who may connect.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream};
use node::drops::{DropCounters, DropReason};
use node::time::Time;

use super::handler::{Accepts, News, Open, PairHandler};
use super::members::{Circle, Members};
use super::pending::{Entry, Pending};
use crate::address::subscriber_of;

/// Connections of strangers at a time.
const MAX_GUESTS: usize = 8;
/// Of these from one source: an IPv4 address, or an IPv6 network of 64 bits.
const MAX_PER_SOURCE: usize = 2;
/// A stranger has this long for its P1, and as long again to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether strangers may connect in order to pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    /// They may: a ticket is kept.
    Admit,
    /// They may not.
    Refuse,
}

/// A pairing stream.
#[derive(Debug)]
pub(crate) struct GateEvent {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) opened: Opened,
}

#[derive(Debug)]
pub(crate) enum Opened {
    /// By the other side, in order to ask.
    ByPeer(Stream),
    /// By us.
    ByUs(Stream),
    /// Not.
    Failed(String),
}

/// The connection is none that is wanted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(&'static str);

pub(crate) struct Gate {
    members: Members,
    guests: Guests,
    /// Whom we join.
    inviter: Option<PeerId>,
    /// Connections that have not shown whose they are.
    pending: Pending,
    /// Connections of those who are no members.
    visits: BTreeMap<ConnectionId, Visit>,
    actions: VecDeque<ToSwarm<GateEvent, Open>>,
    waker: Option<Waker>,
    drops: Arc<DropCounters>,
    clock: fn() -> Time,
}

struct Visit {
    peer: PeerId,
    kind: Visitor,
}

enum Visitor {
    /// A stranger that connected to us.
    Guest { source: Option<IpAddr>, due: Time, asked: Asked },
    /// The inviter that we dialled.
    Inviter,
    /// Somebody whose connection is being closed.
    Leaving,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    NotYet,
    Yes,
}

impl Gate {
    /// Counts whom it turns away unheard among `drops`.
    pub(crate) fn new(members: Members, drops: Arc<DropCounters>, clock: fn() -> Time) -> Self {
        Self {
            members,
            guests: Guests::Refuse,
            inviter: None,
            pending: Pending::default(),
            visits: BTreeMap::new(),
            actions: VecDeque::new(),
            waker: None,
            drops,
            clock,
        }
    }

    pub(crate) fn admit(&mut self, peer: PeerId) {
        self.members.insert(peer);
    }

    /// Forbids a member and closes its connections.
    pub(crate) fn expel(&mut self, peer: PeerId) {
        if self.members.remove(&peer) {
            self.close(peer, CloseConnection::All);
        }
    }

    pub(crate) fn set_guests(&mut self, guests: Guests) {
        self.guests = guests;
        if guests == Guests::Refuse {
            self.close_where(|visit| matches!(visit.kind, Visitor::Guest { .. }));
        }
    }

    /// Lets us dial an inviter; with another one, or none, the connections to the one before are closed.
    pub(crate) fn set_inviter(&mut self, inviter: Option<PeerId>) {
        self.inviter = inviter;
        self.close_where(|visit| matches!(visit.kind, Visitor::Inviter) && Some(visit.peer) != inviter);
    }

    /// Whether circuits by a relay can be had: it is a peer, or one that we use.
    pub(crate) fn knows(&self, relay: &PeerId) -> bool {
        self.members.contains(relay, Circle::PeersAndRelays)
    }

    /// Whether a connection is no member's: it speaks nothing but pairing.
    pub(crate) fn is_visit(&self, connection: ConnectionId) -> bool {
        self.visits.contains_key(&connection)
    }

    /// A guest said what it wants: it stays until it is answered.
    pub(crate) fn asked(&mut self, connection: ConnectionId) {
        let now = (self.clock)();
        if let Some(Visit { kind: Visitor::Guest { due, asked, .. }, .. }) = self.visits.get_mut(&connection) {
            (*due, *asked) = (now + PATIENCE, Asked::Yes);
        }
    }

    /// Opens a pairing stream on a connection.
    pub(crate) fn open(&mut self, peer: PeerId, connection: ConnectionId) {
        let handler = NotifyHandler::One(connection);
        self.act(ToSwarm::NotifyHandler { peer_id: peer, handler, event: Open });
    }

    /// Closes the connections of guests whose time is over.
    pub(crate) fn expire(&mut self) {
        let now = (self.clock)();
        self.close_where(|visit| matches!(visit.kind, Visitor::Guest { due, .. } if due <= now));
    }

    /// When [`Self::expire`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let due = self.visits.values().filter_map(|visit| match visit.kind {
            Visitor::Guest { due, .. } => Some(due),
            Visitor::Inviter | Visitor::Leaving => None,
        });
        due.min()
    }

    fn receive(&mut self, connection: ConnectionId, peer: PeerId, remote: &Multiaddr) -> Result<Accepts, Refused> {
        if self.members.contains(&peer, Circle::Peers) {
            return Ok(Accepts::All);
        }
        if self.members.contains(&peer, Circle::PeersAndRelays) {
            return Ok(Accepts::None);
        }
        if self.guests == Guests::Refuse {
            return Err(Refused("not a peer"));
        }
        // What has no address of its own (a relay's) counts as one source.
        let source = subscriber_of(remote);
        let guests = || {
            self.visits.iter().filter_map(|(id, visit)| match visit.kind {
                Visitor::Guest { source, due, asked } => Some((*id, source, due, asked)),
                Visitor::Inviter | Visitor::Leaving => None,
            })
        };
        if guests().filter(|(_, other, ..)| *other == source).count() >= MAX_PER_SOURCE {
            return Err(Refused("too many strangers of this source"));
        }
        if guests().count() >= MAX_GUESTS {
            let silent = guests().filter(|(.., asked)| *asked == Asked::NotYet);
            // The oldest is due first.
            let oldest = silent.min_by_key(|&(id, _, due, _)| (due, id)).map(|(id, ..)| id);
            let oldest = oldest.ok_or(Refused("too many strangers"))?;
            self.see_off(oldest);
        }
        let kind = Visitor::Guest { source, due: (self.clock)() + PATIENCE, asked: Asked::NotYet };
        self.visits.insert(connection, Visit { peer, kind });
        Ok(Accepts::One)
    }

    /// Whom we may dial.
    fn may_dial(&self, peer: &PeerId) -> Result<(), Refused> {
        let known = self.members.contains(peer, Circle::PeersAndRelays) || self.inviter == Some(*peer);
        if known { Ok(()) } else { Err(Refused("neither a peer nor a relay of relay.use")) }
    }

    fn close_where(&mut self, over: impl Fn(&Visit) -> bool) {
        let over: Vec<_> = self.visits.iter().filter(|(_, visit)| over(visit)).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|connection| self.see_off(connection));
    }

    /// The place is free at once; libp2p closes the connection when it comes to it.
    fn see_off(&mut self, connection: ConnectionId) {
        if let Some(visit) = self.visits.get_mut(&connection) {
            visit.kind = Visitor::Leaving;
            let peer = visit.peer;
            self.close(peer, CloseConnection::One(connection));
        }
    }

    fn close(&mut self, peer_id: PeerId, connection: CloseConnection) {
        self.act(ToSwarm::CloseConnection { peer_id, connection });
    }

    fn act(&mut self, action: ToSwarm<GateEvent, Open>) {
        self.actions.push_back(action);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = PairHandler;
    type ToSwarm = GateEvent;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        match self.pending.enter(connection, local, remote) {
            Entry::Granted => Ok(()),
            Entry::Refused => {
                self.drops.count(DropReason::ConnectionsLimited);
                Err(ConnectionDenied::new(Refused("too many connections that have not shown whose they are")))
            }
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pending.leave(connection);
        self.receive(connection, peer, remote).map(PairHandler::new).map_err(ConnectionDenied::new)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        peer.map_or(Ok(()), |peer| self.may_dial(&peer)).map_err(ConnectionDenied::new)?;
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.may_dial(&peer).map_err(ConnectionDenied::new)?;
        // A check whether the peer can be reached (AutoNAT) is nothing but that.
        if port_use == PortUse::New {
            return Ok(PairHandler::passing());
        }
        if self.members.contains(&peer, Circle::Peers) {
            return Ok(PairHandler::new(Accepts::All));
        }
        // A relay's connection is no visit; but one that we join is asked on a connection for that.
        if self.inviter == Some(peer) {
            self.visits.insert(connection, Visit { peer, kind: Visitor::Inviter });
        }
        Ok(PairHandler::new(Accepts::None))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "libp2p's enum grows; only the end of a connection matters")]
    fn on_swarm_event(&mut self, event: FromSwarm) {
        let gone = match event {
            FromSwarm::ConnectionClosed(closed) => closed.connection_id,
            // Another behaviour refused what we let in, or nobody was there.
            FromSwarm::ListenFailure(failed) => failed.connection_id,
            FromSwarm::DialFailure(failed) => failed.connection_id,
            _ => return,
        };
        self.pending.leave(gone);
        self.visits.remove(&gone);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, news: THandlerOutEvent<Self>) {
        let opened = match news {
            News::Asked(stream) => Opened::ByPeer(stream),
            News::Opened(stream) => Opened::ByUs(stream),
            News::Failed(error) => Opened::Failed(error),
        };
        self.act(ToSwarm::GenerateEvent(GateEvent { peer, connection, opened }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
