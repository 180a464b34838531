//! The libp2p transport.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, SelectAll};
use futures::{FutureExt, StreamExt};
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use libp2p::core::{Endpoint as Role, Transport as Libp2pTransport};
use libp2p::{Multiaddr, PeerId};
use node::drops::{DropCounters, DropReason};
use node::time::Time;
use os::udp::UdpOptions;
use quinn::rustls::AlertDescription;
use quinn::{ConnectError, ConnectionError, Incoming, TransportErrorCode};

use super::bound::Bound;
use super::connection::handshake;
use super::ends::Ends;
use super::gate::{Gate, OpenHandshake, Source, Verdict};
use super::keys::SocketKeys;
use super::listener::{Happening, Listener};
use super::punch::{Punches, punch};
use super::settings::{self, HANDSHAKE, Settings};
use super::{Config, Connection, Error, Reader, Receive, ResetKeys, address, on_own_threads};

/// Ends in a connection to a peer that proved its PeerId.
type Upgrade = BoxFuture<'static, Result<(PeerId, Connection), Error>>;
type Event = TransportEvent<Upgrade, Error>;

/// QUIC for libp2p. Needs a tokio runtime wherever it is called.
pub struct Transport {
    settings: Arc<Settings>,
    reset_keys: ResetKeys,
    udp: UdpOptions,
    receive: Receive,
    /// Reads sockets that only dial.
    receive_dialling: Receive,
    drops: Arc<DropCounters>,
    clock: fn() -> Time,
    gate: Gate,
    /// Those that listen or once did. They outlive their listeners, because connections and dials use them.
    sockets: Vec<Bound>,
    /// One for each family that nothing listens on.
    dialling: Vec<Bound>,
    listeners: SelectAll<Listener>,
    punches: Punches,
    /// Handshakes that may be those of peers that are waited for.
    taken: FuturesUnordered<BoxFuture<'static, Taken>>,
    ends: Ends,
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

struct Taken {
    at: Meeting,
    result: Result<(PeerId, Connection), Error>,
}

/// Where a handshake came in.
struct Meeting {
    listener: ListenerId,
    local: Multiaddr,
    remote: Multiaddr,
}

impl Meeting {
    fn event(self, upgrade: Upgrade) -> Event {
        let Self { listener: listener_id, local: local_addr, remote: send_back_addr } = self;
        TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr }
    }
}

impl Transport {
    /// A transport that listens nowhere yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: Config) -> Result<Self, Error> {
        let Config { identity, reset_keys, udp, limits, receive, drops, clock, ends } = config;
        Ok(Self {
            settings: Arc::new(Settings::new(identity)?),
            reset_keys,
            udp,
            receive,
            receive_dialling: on_own_threads(Arc::clone(&drops)),
            drops,
            clock,
            gate: Gate::new(limits),
            sockets: Vec::new(),
            dialling: Vec::new(),
            listeners: SelectAll::new(),
            punches: Punches::default(),
            taken: FuturesUnordered::new(),
            ends,
            events: VecDeque::new(),
            waker: None,
        })
    }

    fn listen(&mut self, id: ListenerId, asked: SocketAddr) -> Result<(), Error> {
        let idle = self.sockets.iter().find(|bound| bound.asked == asked && !self.is_listening(bound)).cloned();
        let bound = match idle {
            Some(bound) => bound,
            None => {
                let keys = |socket| Ok(self.reset_keys.of(socket));
                let bound = self.open(asked, keys, &*self.receive)?;
                self.sockets.push(bound.clone());
                bound
            }
        };
        let listener = Listener::new(id, bound.clone())?;
        bound.endpoint.set_server_config(Some(self.settings.listening.clone()));
        self.listeners.push(listener);
        // From now on dials leave from the port that peers know.
        self.dialling.retain(|dialling| dialling.asked.is_ipv4() != asked.is_ipv4());
        Ok(())
    }

    fn is_listening(&self, bound: &Bound) -> bool {
        self.listeners.iter().any(|listener| listener.uses(bound))
    }

    fn open(
        &self,
        asked: SocketAddr,
        keys: impl FnOnce(SocketAddr) -> Result<SocketKeys, Error>,
        receive: &dyn Fn(Reader) -> io::Result<()>,
    ) -> Result<Bound, Error> {
        let settings = |socket| Ok((settings::endpoint(keys(socket)?)?, self.settings.silent.clone()));
        Bound::open(asked, &self.udp, settings, receive, &self.drops, &self.ends)
    }

    /// The socket that a dial leaves from.
    fn socket_for(&mut self, to: SocketAddr, port: PortUse) -> Result<Bound, Error> {
        if port == PortUse::Reuse {
            let known = self.sockets.iter().chain(&self.dialling).find(|bound| bound.socket.reaches(to.ip()));
            if let Some(bound) = known {
                return Ok(bound.clone());
            }
        }
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let bound = self.open((any, 0).into(), |_| SocketKeys::random(), &*self.receive_dialling)?;
        match port {
            PortUse::Reuse => self.dialling.push(bound.clone()),
            // It goes with the connection.
            PortUse::New => {}
        }
        Ok(bound)
    }

    /// Waits for a peer that dials us at the same moment.
    fn wait_for(&mut self, peer: PeerId, to: SocketAddr) -> Result<Upgrade, Error> {
        let listener = self.listeners.iter().find(|listener| listener.bound.socket.reaches(to.ip()));
        let socket = listener.map(|listener| Arc::clone(&listener.bound.socket)).ok_or(Error::NotListening)?;
        let connected = self.punches.wait_for(peer);
        Ok(async move {
            tokio::select! {
                connection = connected => Ok((peer, connection.map_err(|_| Error::TimedOut)?)),
                never = punch(&socket, to) => match never {},
                () = tokio::time::sleep(HANDSHAKE) => Err(Error::TimedOut),
            }
        }
        .boxed())
    }

    fn happened(&mut self, id: ListenerId, happening: Happening) {
        let event = match happening {
            Happening::Up(socket) => {
                TransportEvent::NewAddress { listener_id: id, listen_addr: address::format(socket) }
            }
            Happening::Down(socket) => {
                TransportEvent::AddressExpired { listener_id: id, listen_addr: address::format(socket) }
            }
            Happening::Incoming(incoming, own) => return self.judge(id, *incoming, own),
            Happening::Blind(error) => TransportEvent::ListenerError { listener_id: id, error },
            Happening::Ended(bound) => {
                self.sockets.retain(|other| !Arc::ptr_eq(&other.socket, &bound.socket));
                TransportEvent::ListenerClosed { listener_id: id, reason: Err(ConnectError::EndpointStopping.into()) }
            }
        };
        self.events.push_back(event);
    }

    fn judge(&mut self, listener: ListenerId, incoming: Incoming, own: SocketAddr) {
        let remote = incoming.remote_address();
        let source = if incoming.remote_address_validated() { Source::Proven } else { Source::Unproven };
        match self.gate.judge((self.clock)(), remote.ip(), source) {
            Verdict::Accept(open) => {
                let local = SocketAddr::new(incoming.local_ip().unwrap_or(own.ip()), own.port());
                let at = Meeting { listener, local: address::format(local), remote: address::format(remote) };
                self.accept(at, incoming, open);
            }
            Verdict::Prove => {
                if let Err(proven) = incoming.retry() {
                    proven.into_incoming().ignore();
                }
            }
            Verdict::Ignore => {
                self.drops.count(DropReason::QuicLimited);
                incoming.ignore();
            }
        }
    }

    fn accept(&mut self, at: Meeting, incoming: Incoming, open: OpenHandshake) {
        let connecting = match incoming.accept() {
            Ok(connecting) => connecting,
            Err(error) => {
                tracing::debug!(%error, "a handshake that is none");
                return self.drops.count(DropReason::QuicHandshake);
            }
        };
        let ends = self.ends.clone();
        let connection = async move { handshake(connecting, Some(open), &ends).await };
        if self.punches.any() {
            // Only the end of the handshake tells whether it is who is waited for.
            let taken = async move { Taken { at, result: connection.await } };
            self.taken.push(taken.boxed());
        } else {
            self.events.push_back(at.event(connection.boxed()));
        }
    }

    fn hand_over(&mut self, Taken { at, result }: Taken) {
        let result = match result {
            Ok((peer, connection)) => match self.punches.hand_over(&peer, connection) {
                Some(connection) => Ok((peer, connection)),
                None => return,
            },
            Err(error) => Err(error),
        };
        self.events.push_back(at.event(std::future::ready(result).boxed()));
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Libp2pTransport for Transport {
    type Output = (PeerId, Connection);
    type Error = Error;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        let Some((asked, _)) = address::parse(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        self.listen(id, asked).map_err(TransportError::Other)?;
        self.wake();
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(listener) = self.listeners.iter_mut().find(|listener| listener.id == id) else { return false };
        if !listener.close() {
            return false;
        }
        listener.bound.endpoint.set_server_config(Some(self.settings.silent.clone()));
        self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
        self.wake();
        true
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Upgrade, TransportError<Error>> {
        let (to, peer) = match address::parse(&address) {
            Some((to, peer)) if to.port() != 0 && !to.ip().is_unspecified() => (to, peer),
            Some(_) | None => return Err(TransportError::MultiaddrNotSupported(address)),
        };
        match (options.role, peer) {
            (Role::Listener, Some(peer)) => self.wait_for(peer, to).map_err(TransportError::Other),
            // Whoever is waited for must be known.
            (Role::Listener, None) => Err(TransportError::MultiaddrNotSupported(address)),
            (Role::Dialer, peer) => {
                let bound = self.socket_for(to, options.port_use).map_err(TransportError::Other)?;
                Ok(dial(bound, Arc::clone(&self.settings), to, peer, self.ends.clone()).boxed())
            }
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            if let Poll::Ready(Some(taken)) = self.taken.poll_next_unpin(cx) {
                self.hand_over(taken);
                continue;
            }
            match self.listeners.poll_next_unpin(cx) {
                Poll::Ready(Some((id, happening))) => self.happened(id, happening),
                Poll::Ready(None) | Poll::Pending => {
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Begins when it is first polled: libp2p makes dials before it knows which of them it needs.
async fn dial(
    bound: Bound,
    settings: Arc<Settings>,
    to: SocketAddr,
    peer: Option<PeerId>,
    ends: Ends,
) -> Result<(PeerId, Connection), Error> {
    // TLS wants a name; libp2p has none, and this one is sent to nobody who could tell hosts apart by it.
    const NAME: &str = "l";
    let connecting = bound.endpoint.connect_with(settings.dialling(peer)?, to, NAME)?;
    handshake(connecting, None, &ends).await.map_err(|error| match (error, peer) {
        (Error::Connection(ConnectionError::TransportError(error)), Some(peer)) if error.code == wrong_peer() => {
            Error::WrongPeer(peer)
        }
        (error, Some(_) | None) => error,
    })
}

/// How our own TLS ends a handshake with another peer than the expected one.
fn wrong_peer() -> TransportErrorCode {
    TransportErrorCode::crypto(AlertDescription::AccessDenied.into())
}
