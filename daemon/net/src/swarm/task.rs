//! The task that owns the swarm.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::identity::Keypair;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId as SwarmConnection, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, Swarm, ping};
use libp2p_stream::IncomingStreams;
use node::crypto::RandomSource;
use node::peer_key::PeerKey;
use node::router::PeerSlot;
use node::time::Time;
use node::tunnel::{AttemptId, Close, ConnectionId, Dialled};
use os::random::SystemRandom;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::admission::{Gate, GateEvent, Guests, Opened};
use super::behaviour::{self, Behaviour, Event};
use super::dialer::{Dialer, is_outer};
use super::handshakes::{Handshakes, TUNNEL};
use super::listeners::Listeners;
use super::pairing::{PairNews, PairStream, Pairings};
use super::{EVENTS, NetConfig, NetError, NetEvent};
use crate::peer_id;
use crate::quic::{self, ResetKeys};
use crate::stream::{DATA, Inbound, StreamCarrier, read_frames};

/// Room for the messages of handshakes in flight; a full queue holds their readers up.
const HANDSHAKE_EVENTS: usize = 64;
/// Room for what guests and members ask while pairing.
const PAIR_NEWS: usize = 16;

pub(super) enum Command {
    Allow { peer: PeerKey, slot: PeerSlot, carrier: Arc<StreamCarrier> },
    Disallow { peer: PeerKey, done: oneshot::Sender<()> },
    Dial { peer: PeerKey, addresses: Vec<Multiaddr> },
    DialAnother { peer: PeerKey },
    HangUp { peer: PeerKey },
    Farewell { done: oneshot::Sender<()> },
    Kick,
    OpenHandshake { peer: PeerKey, attempt: AttemptId },
    SendHandshake { peer: PeerKey, attempt: AttemptId, bytes: Vec<u8> },
    CloseHandshake { peer: PeerKey, attempt: AttemptId, how: Close },
    SetGuests(Guests),
    AnswerPairing { stream: PairStream, answer: Option<Vec<u8>> },
    Join { inviter: PeerKey, addresses: Vec<Multiaddr>, p1: Vec<u8> },
    EndJoin { inviter: PeerKey },
    AskAgain { inviter: PeerKey, p1: Vec<u8> },
}

pub(super) struct Task {
    swarm: Swarm<Behaviour>,
    control: libp2p_stream::Control,
    tunnel_streams: IncomingStreams,
    data_streams: IncomingStreams,
    listeners: Listeners,
    dialer: Dialer,
    handshakes: Handshakes,
    /// What the handshake substreams have to say; it goes out behind what the swarm said before.
    handshake_events: mpsc::Receiver<NetEvent>,
    pairings: Pairings,
    pair_news: mpsc::Receiver<PairNews>,
    peers: HashMap<PeerId, Peer>,
    /// Those of peers, without the visits of guests.
    connections: BTreeMap<ConnectionId, Connection>,
    last_connection: u64,
    /// What did not fit the queue yet; while it is long the swarm waits.
    outbox: VecDeque<NetEvent>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<NetEvent>,
    inbound: Arc<Inbound>,
    inner: Vec<ipnet::IpNet>,
    /// Who waits for the last connection to close.
    farewell: Option<oneshot::Sender<()>>,
    clock: fn() -> Time,
}

struct Connection {
    swarm: SwarmConnection,
    peer: PeerId,
    dialled: Dialled,
}

struct Peer {
    key: PeerKey,
    slot: PeerSlot,
    carrier: Arc<StreamCarrier>,
    writer: JoinHandle<()>,
    /// Reads the peer's newest data substream; a newer one replaces it.
    reader: Option<JoinHandle<()>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.writer.abort();
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

impl Task {
    pub(super) fn new(
        mut config: NetConfig,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<NetEvent>,
    ) -> Result<Self, NetError> {
        let reset_keys = ResetKeys::derive(&config.identity_seed);
        let identity = Keypair::ed25519_from_bytes(&mut *config.identity_seed).map_err(|_| NetError::Identity)?;
        let swarm = behaviour::swarm(quic::Config {
            identity,
            reset_keys,
            udp: std::mem::take(&mut config.udp),
            limits: quic::Limits::default(),
            receive: quic::on_own_threads(Arc::clone(&config.drops)),
            drops: Arc::clone(&config.drops),
            clock: config.clock,
        })?;
        let mut control = swarm.behaviour().stream.inner().new_control();
        let mut accept =
            |protocol| control.accept(protocol).map_err(|error| NetError::Transport("stream", error.to_string()));
        let (tunnel_streams, data_streams) = (accept(TUNNEL)?, accept(DATA)?);
        let (handshake_sender, handshake_events) = mpsc::channel(HANDSHAKE_EVENTS);
        let (pair_sender, pair_news) = mpsc::channel(PAIR_NEWS);
        Ok(Self {
            swarm,
            control,
            tunnel_streams,
            data_streams,
            listeners: Listeners::new(&config),
            dialer: Dialer::default(),
            handshakes: Handshakes::new(handshake_sender),
            handshake_events,
            pairings: Pairings::new(pair_sender),
            pair_news,
            peers: HashMap::new(),
            connections: BTreeMap::new(),
            last_connection: 0,
            outbox: VecDeque::new(),
            commands,
            events,
            inbound: config.inbound,
            inner: config.inner,
            farewell: None,
            clock: config.clock,
        })
    }

    pub(super) async fn run(mut self) {
        loop {
            self.keep_listening();
            self.dial_due();
            self.gate().expire();
            let pause = self.pause();
            let waiting = !self.outbox.is_empty();
            let full = self.outbox.len() >= EVENTS;
            let events = self.events.clone();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                permit = events.reserve(), if waiting => match (permit, self.outbox.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    (Err(_), _) | (_, None) => return,
                },
                event = self.swarm.select_next_some(), if !full => self.on_swarm(event),
                Some((peer, stream)) = self.tunnel_streams.next(), if !full => self.on_tunnel_stream(peer, stream),
                Some((peer, stream)) = self.data_streams.next(), if !full => self.on_data_stream(peer, stream),
                Some(event) = self.handshake_events.recv(), if !full => self.outbox.push_back(event),
                Some(news) = self.pair_news.recv(), if !full => self.on_pair_news(news),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn pause(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let guests = self.swarm.behaviour().gate.deadline();
        let deadline = self.dialer.deadline().into_iter().chain(self.listeners.deadline()).chain(guests).min();
        deadline.map_or(LONG, |deadline| deadline.saturating_since((self.clock)()))
    }

    fn keep_listening(&mut self) {
        let now = (self.clock)();
        for (address, error) in self.listeners.listen(now, |address| self.swarm.listen_on(address)) {
            self.outbox.push_back(NetEvent::ListenerFailed { address, error: told(&error) });
        }
    }

    fn dial_due(&mut self) {
        for (peer, addresses) in self.dialer.due((self.clock)()) {
            // Who is due has no connection but perhaps a guest's.
            self.dial(peer, addresses, PeerCondition::NotDialing);
        }
    }

    fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, condition: PeerCondition) {
        let addresses = addresses.into_iter().filter(|address| is_outer(address, &self.inner)).collect();
        let options = DialOpts::peer_id(peer).condition(condition).addresses(addresses).build();
        match self.swarm.dial(options) {
            // It is connected, or a dial is on its way whose end will be told.
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.dial_failed(peer, told(&error)),
        }
    }

    fn dial_failed(&mut self, peer: PeerId, error: String) {
        self.dialer.failed(&peer, (self.clock)(), random());
        if let Some(key) = self.peers.get(&peer).map(|peer| peer.key) {
            self.outbox.push_back(NetEvent::DialFailed { peer: key, error });
        } else if let Some(peer) = self.pairings.asked(&peer) {
            self.outbox.push_back(NetEvent::PairingFailed { peer, error });
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Allow { peer, slot, carrier } => self.allow(peer, slot, carrier),
            Command::Disallow { peer, done } => {
                let id = peer_id::from_key(peer);
                self.dialer.forget(&id);
                self.handshakes.close_all(peer);
                self.pairings.stop_asking(peer);
                self.gate().expel(id);
                if let Some(peer) = self.peers.remove(&id) {
                    // What is queued for it goes now; whoever else holds the carrier may hold it for a while.
                    peer.carrier.set_open(false);
                }
                let _ = done.send(());
            }
            Command::Dial { peer, addresses } => {
                self.dialer.want(peer_id::from_key(peer), addresses, (self.clock)());
            }
            Command::DialAnother { peer } => {
                let id = peer_id::from_key(peer);
                // Without a connection the dialler is at it already, at its pace.
                if let Some(addresses) = self.dialer.addresses(&id).filter(|_| self.has_connection(&id)) {
                    self.dial(id, addresses, PeerCondition::NotDialing);
                }
            }
            Command::HangUp { peer } => {
                let id = peer_id::from_key(peer);
                self.dialer.forget(&id);
                // An error means that there is no connection to close.
                let _ = self.swarm.disconnect_peer_id(id);
            }
            Command::Farewell { done } => self.say_farewell(done),
            Command::Kick => self.dialer.kick((self.clock)()),
            Command::OpenHandshake { peer, attempt } => {
                self.handshakes.open(peer, peer_id::from_key(peer), attempt, self.control.clone());
            }
            Command::SendHandshake { peer, attempt, bytes } => self.handshakes.send(peer, attempt, bytes),
            Command::CloseHandshake { peer, attempt, how } => self.handshakes.close(peer, attempt, how),
            Command::SetGuests(guests) => self.gate().set_guests(guests),
            Command::AnswerPairing { stream, answer } => self.pairings.answer(stream, answer),
            Command::Join { inviter, addresses, p1 } => {
                let id = peer_id::from_key(inviter);
                self.pairings.ask(inviter, p1);
                self.gate().set_inviter(Some(id));
                self.dialer.want(id, addresses, (self.clock)());
            }
            Command::EndJoin { inviter } => {
                self.pairings.stop_asking(inviter);
                self.gate().set_inviter(None);
                self.dialer.forget(&peer_id::from_key(inviter));
            }
            Command::AskAgain { inviter, p1 } => self.ask_again(inviter, p1),
        }
    }

    fn gate(&mut self) -> &mut Gate {
        &mut self.swarm.behaviour_mut().gate
    }

    fn ask_again(&mut self, inviter: PeerKey, p1: Vec<u8>) {
        let id = peer_id::from_key(inviter);
        let newest = self.connections.values().rev().find(|known| known.peer == id).map(|known| known.swarm);
        match newest {
            Some(connection) => {
                self.pairings.ask(inviter, p1);
                self.gate().open(id, connection);
            }
            None => {
                let error = "no connection stands".to_owned();
                self.outbox.push_back(NetEvent::PairingFailed { peer: inviter, error });
            }
        }
    }

    fn on_gate(&mut self, event: GateEvent) {
        let GateEvent { peer, connection, opened } = event;
        match opened {
            Opened::ByPeer(stream) => self.pairings.accept(peer, connection, stream),
            Opened::ByUs(stream) => self.pairings.opened(peer, connection, stream),
            Opened::Failed(error) => {
                if let Some(key) = self.pairings.asked(&peer) {
                    self.not_answered(key, connection, error);
                }
            }
        }
    }

    fn on_pair_news(&mut self, news: PairNews) {
        match news {
            PairNews::Asked { peer, connection, stream, p1 } => {
                self.gate().asked(connection);
                self.outbox.push_back(NetEvent::PairingAsked { peer, stream, p1 });
            }
            PairNews::Answered { peer, answer: Ok(answer), .. } => {
                self.outbox.push_back(NetEvent::PairingAnswered { peer, answer });
            }
            PairNews::Answered { peer, connection, answer: Err(error) } => self.not_answered(peer, connection, error),
        }
    }

    /// A join goes on with another connection; a peer's connection has other uses.
    fn not_answered(&mut self, peer: PeerKey, connection: SwarmConnection, error: String) {
        self.outbox.push_back(NetEvent::PairingFailed { peer, error });
        if self.gate().is_visit(connection) {
            let _ = self.swarm.close_connection(connection);
        }
    }

    fn allow(&mut self, key: PeerKey, slot: PeerSlot, carrier: Arc<StreamCarrier>) {
        let id = peer_id::from_key(key);
        self.gate().admit(id);
        let writer = tokio::spawn(Arc::clone(&carrier).run(id, self.control.clone()));
        carrier.set_open(self.has_connection(&id));
        self.peers.insert(id, Peer { key, slot, carrier, writer, reader: None });
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "libp2p's enum grows; the news not named here is of no consequence"
    )]
    fn on_swarm(&mut self, event: SwarmEvent<Event>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => self.outbox.push_back(NetEvent::Listening(address)),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.outbox.push_back(NetEvent::ListeningEnded(address));
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let Some(address) = self.listeners.closed(listener_id, (self.clock)()) {
                    let error = reason.err().map_or_else(|| "it was closed".to_owned(), |error| told(&error));
                    self.outbox.push_back(NetEvent::ListenerFailed { address, error });
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "a listener reported an error"),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => self.disconnected(peer_id, connection_id),
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                tracing::debug!(%error, "dialling failed");
                self.dial_failed(peer, told(&error));
            }
            SwarmEvent::Behaviour(Event::Ping(ping)) => self.pinged(ping),
            SwarmEvent::Behaviour(Event::Gate(event)) => self.on_gate(event),
            // Dials begun, addresses observed, strangers refused.
            _ => {}
        }
    }

    fn pinged(&mut self, ping: ping::Event) {
        match ping.result {
            Ok(time) => {
                self.close_older(ping.connection);
                if let Some(peer) = self.peers.get(&ping.peer) {
                    self.outbox.push_back(NetEvent::RoundTrip { peer: peer.key, time });
                }
            }
            // TCP alone would hold a connection into the void for a quarter of an hour, and new substreams with it.
            Err(ping::Failure::Timeout | ping::Failure::Other { .. }) => {
                let _ = self.swarm.close_connection(ping.connection);
            }
            Err(ping::Failure::Unsupported) => {}
        }
    }

    /// Whoever dials again has given the older connection up, or was restarted and does not have it any more. Left alone
    /// it would take substreams into the void until its ping fails.
    fn close_older(&mut self, proven: SwarmConnection) {
        let Some((number, newer)) = self.connections.iter().find(|(_, known)| known.swarm == proven) else { return };
        let older = self.connections.range(..number).map(|(_, older)| older);
        let older = older.filter(|older| older.peer == newer.peer && older.dialled == newer.dialled);
        let older: Vec<_> = older.map(|older| older.swarm).collect();
        for older in older {
            let _ = self.swarm.close_connection(older);
        }
    }

    fn connected(&mut self, id: PeerId, connection: SwarmConnection, endpoint: &ConnectedPoint) {
        if self.gate().is_visit(connection) {
            if endpoint.is_dialer() && self.pairings.asked(&id).is_some() {
                self.gate().open(id, connection);
            }
            return;
        }
        let Some(peer) = self.peers.get(&id) else { return };
        self.last_connection += 1;
        let number = ConnectionId(self.last_connection);
        let dialled = if endpoint.is_dialer() { Dialled::ByUs } else { Dialled::ByPeer };
        self.connections.insert(number, Connection { swarm: connection, peer: id, dialled });
        self.dialer.connected(&id, (self.clock)());
        peer.carrier.set_open(true);
        let address = endpoint.get_remote_address().clone();
        self.outbox.push_back(NetEvent::ConnectionUp { peer: peer.key, connection: number, dialled, address });
    }

    /// Closes every connection to a peer and dials no more.
    fn say_farewell(&mut self, done: oneshot::Sender<()>) {
        self.dialer = Dialer::default();
        for peer in self.peers.keys() {
            // An error means that there is no connection to close.
            let _ = self.swarm.disconnect_peer_id(*peer);
        }
        self.farewell = Some(done).filter(|_| !self.connections.is_empty());
    }

    fn disconnected(&mut self, id: PeerId, connection: SwarmConnection) {
        let number = self.connections.iter().find(|(_, known)| known.swarm == connection).map(|(number, _)| *number);
        let Some(number) = number else {
            // A visit. Ours to an inviter is paid again until the join is over.
            if self.pairings.asked(&id).is_some() {
                self.dialer.failed(&id, (self.clock)(), random());
            }
            return;
        };
        self.connections.remove(&number);
        if self.connections.is_empty() {
            // Who waits for the end hears it when this is dropped.
            self.farewell = None;
        }
        if let Some(peer) = self.peers.get(&id) {
            self.outbox.push_back(NetEvent::ConnectionDown { peer: peer.key, connection: number });
        }
        if !self.has_connection(&id) {
            self.dialer.disconnected(&id, (self.clock)(), random());
            if let Some(peer) = self.peers.get(&id) {
                peer.carrier.set_open(false);
            }
        }
    }

    fn has_connection(&self, id: &PeerId) -> bool {
        self.connections.values().any(|known| known.peer == *id)
    }

    fn on_tunnel_stream(&mut self, id: PeerId, stream: Stream) {
        let newest = self.connections.iter().rev().find(|(_, known)| known.peer == id);
        // Dropping the stream resets it: nothing is read from who is not in the table.
        let (Some(peer), Some((&connection, _))) = (self.peers.get(&id), newest) else { return };
        let key = peer.key;
        let attempt = self.handshakes.next_incoming();
        self.outbox.push_back(NetEvent::HandshakeIncoming { peer: key, connection, attempt });
        self.handshakes.accept(key, attempt, stream);
    }

    fn on_data_stream(&mut self, id: PeerId, stream: Stream) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (slot, stats, inbound) = (peer.slot, peer.carrier.stats(), Arc::clone(&self.inbound));
        let reader = tokio::spawn(async move {
            if let Err(error) = read_frames(stream, slot, &stats, &inbound).await {
                tracing::debug!(%error, "a data substream ended");
            }
        });
        if let Some(older) = peer.reader.replace(reader) {
            older.abort();
        }
    }
}

/// The innermost cause that says something: libp2p wraps the system's words, and some wrappings say nothing.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).filter(|text| !text.is_empty()).last().unwrap_or_else(|| format!("{error:?}"))
}

/// Jitter. Without randomness the pause is the longest; nothing secret depends on it.
fn random() -> u64 {
    let mut bytes = [0xff; 8];
    let _ = SystemRandom.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
