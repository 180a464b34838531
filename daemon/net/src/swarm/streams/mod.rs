//! Substreams of members: handshakes and frames, each on the connection that serves its peer best.
//!
//! A peer may be connected several times over: directly, by way of a relay, by both sides at once. The swarm's task says
//! which connection is best (`super::connections`); whoever needs a substream names the peer only.

mod handler;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use tokio::sync::{mpsc, oneshot};

use super::candidates::PATH;
use super::handshakes::TUNNEL;
use crate::stream::DATA;
use handler::{StreamHandler, Wanted};

/// What members may open.
const PROTOCOLS: [StreamProtocol; 3] = [TUNNEL, DATA, PATH];
/// Substreams that may be asked for before the swarm looks.
const QUEUE: usize = 64;

/// A substream that a peer opened.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) protocol: StreamProtocol,
    pub(crate) stream: Stream,
}

/// Opens substreams; any task may hold one.
#[derive(Clone)]
pub(crate) struct Substreams(mpsc::Sender<Request>);

struct Request {
    peer: PeerId,
    wanted: Wanted,
}

impl Substreams {
    /// Opens a substream on the peer's best connection.
    ///
    /// # Errors
    /// `NotConnected` without a connection, or when the peer does not take the substream.
    pub(crate) async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> io::Result<Stream> {
        let (reply, opened) = oneshot::channel();
        let failed = || io::Error::new(io::ErrorKind::NotConnected, "the peer takes no substream");
        self.0.send(Request { peer, wanted: Wanted::new(protocol, reply) }).await.map_err(|_| failed())?;
        opened.await.map_err(|_| failed())
    }
}

pub(crate) struct Streams {
    best: HashMap<PeerId, ConnectionId>,
    opener: mpsc::Sender<Request>,
    requests: mpsc::Receiver<Request>,
    arrived: VecDeque<Arrived>,
}

impl Streams {
    pub(crate) fn new() -> Self {
        let (opener, requests) = mpsc::channel(QUEUE);
        Self { best: HashMap::new(), opener, requests, arrived: VecDeque::new() }
    }

    pub(crate) fn substreams(&self) -> Substreams {
        Substreams(self.opener.clone())
    }

    /// From now on a peer's substreams are opened on this connection.
    pub(crate) fn prefer(&mut self, peer: PeerId, connection: Option<ConnectionId>) {
        match connection {
            Some(connection) => self.best.insert(peer, connection),
            None => self.best.remove(&peer),
        };
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = StreamHandler;
    type ToSwarm = Arrived;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(StreamHandler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(StreamHandler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, came: THandlerOutEvent<Self>) {
        let (protocol, stream) = came;
        self.arrived.push_back(Arrived { peer, connection, protocol, stream });
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(arrived) = self.arrived.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(arrived));
        }
        loop {
            match self.requests.poll_recv(cx) {
                Poll::Ready(Some(Request { peer, wanted })) => {
                    // A request that is dropped tells who asks that there is no connection.
                    let Some(connection) = self.best.get(&peer) else { continue };
                    let handler = NotifyHandler::One(*connection);
                    return Poll::Ready(ToSwarm::NotifyHandler { peer_id: peer, handler, event: wanted });
                }
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}
