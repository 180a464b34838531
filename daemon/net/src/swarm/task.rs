//! The task that owns the swarm.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId as SwarmConnection, DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use node::crypto::RandomSource;
use node::peer_key::PeerKey;
use node::router::PeerSlot;
use node::time::Time;
use node::tunnel::{AttemptId, Close};
use os::random::SystemRandom;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::admission::{Gate, GateEvent, Guests, Members, Opened};
use super::behaviour::{self, Behaviour, Control, Event};
use super::candidates;
use super::connections::Connections;
use super::dialer::{Dialer, is_outer};
use super::failure::DialFailure;
use super::handshakes::Handshakes;
use super::listeners::Listeners;
use super::pairing::{PairNews, PairStream, Pairings};
use super::relays::Relays;
use super::upgrades::Upgrades;
use super::{EVENTS, NetConfig, NetError, NetEvent, Serve, Sighting, Substreams};
use crate::address::relay_of;
use crate::inbound::Inbound;
use crate::peer_id;
use crate::quic::{self, Ends, ResetKeys};
use crate::stream::StreamCarrier;

/// Room for the messages of substreams in flight; a full queue holds their readers up.
const STREAM_EVENTS: usize = 64;
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
    Sightings { reply: oneshot::Sender<Vec<Sighting>> },
    AskAgain { inviter: PeerKey, p1: Vec<u8> },
    TellCandidates { peer: PeerKey, message: Vec<u8> },
}

pub(super) struct Task {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) ends: Ends,
    substreams: Substreams,
    listeners: Listeners,
    pub(super) relays: Relays,
    pub(super) serve: Serve,
    pub(super) dialer: Dialer,
    pub(super) upgrades: Upgrades,
    /// Dials of ours, not of libp2p's protocols.
    dials: HashSet<SwarmConnection>,
    pub(super) handshakes: Handshakes,
    /// What substreams of handshakes and candidates have to say; it goes out behind what the swarm said before.
    stream_events: mpsc::Receiver<NetEvent>,
    /// For the tasks that read them.
    pub(super) stream_events_sender: mpsc::Sender<NetEvent>,
    pub(super) pairings: Pairings,
    pair_news: mpsc::Receiver<PairNews>,
    pub(super) peers: HashMap<PeerId, Peer>,
    pub(super) connections: Connections,
    /// What did not fit the queue yet; while it is long the swarm waits.
    pub(super) outbox: VecDeque<NetEvent>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<NetEvent>,
    pub(super) inbound: Arc<Inbound>,
    pub(super) inner: Vec<ipnet::IpNet>,
    /// Who waits for the last connection to close.
    pub(super) farewell: Option<oneshot::Sender<()>>,
    pub(super) clock: fn() -> Time,
}

pub(super) struct Peer {
    pub(super) key: PeerKey,
    pub(super) slot: PeerSlot,
    pub(super) carrier: Arc<StreamCarrier>,
    /// The connection that its substreams are opened on.
    pub(super) best: Option<SwarmConnection>,
    writer: JoinHandle<()>,
    /// Reads the peer's newest data substream; a newer one replaces it.
    pub(super) reader: Option<JoinHandle<()>>,
    /// Reads the newest message of candidates.
    pub(super) candidates: Option<JoinHandle<()>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.writer.abort();
        self.reader.iter().chain(&self.candidates).for_each(JoinHandle::abort);
    }
}

impl Task {
    pub(super) fn new(
        mut config: NetConfig,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<NetEvent>,
    ) -> Result<Self, NetError> {
        let listeners = Listeners::new(&config);
        let ends = Ends::default();
        let reset_keys = ResetKeys::derive(&config.identity_seed);
        let identity = Keypair::ed25519_from_bytes(&mut *config.identity_seed).map_err(|_| NetError::Identity)?;
        let relays = Relays::new(&config.relays);
        let quic = quic::Config {
            identity,
            reset_keys,
            udp: std::mem::take(&mut config.udp),
            limits: quic::Limits::default(),
            receive: config.receive,
            ends: ends.clone(),
            drops: Arc::clone(&config.drops),
            clock: config.clock,
        };
        let (members, inner) = (Members::new(relays.ids()), config.inner.clone());
        let (serve, discovery) = (config.serve, config.discovery);
        let drops = Arc::clone(&config.drops);
        let control = Control { members, serve, discovery, inner, drops, clock: config.clock };
        let mut swarm = behaviour::swarm(quic, control)?;
        if config.serve == Serve::Peers {
            config.advertise.iter().for_each(|address| swarm.add_external_address(address.clone()));
        }
        let substreams = swarm.behaviour_mut().streams.inner_mut().substreams();
        let (stream_events_sender, stream_events) = mpsc::channel(STREAM_EVENTS);
        let (pair_sender, pair_news) = mpsc::channel(PAIR_NEWS);
        Ok(Self {
            swarm,
            substreams,
            ends,
            listeners,
            relays,
            serve: config.serve,
            dialer: Dialer::default(),
            upgrades: Upgrades::default(),
            dials: HashSet::new(),
            handshakes: Handshakes::new(stream_events_sender.clone()),
            stream_events,
            stream_events_sender,
            pairings: Pairings::new(pair_sender),
            pair_news,
            peers: HashMap::new(),
            connections: Connections::default(),
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
            self.keep_reserved();
            self.dial_due();
            self.upgrade_due();
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
                Some(event) = self.stream_events.recv(), if !full => self.outbox.push_back(event),
                Some(news) = self.pair_news.recv(), if !full => self.on_pair_news(news),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn pause(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let guests = self.swarm.behaviour().gate.deadline();
        let (dials, upgrades) = (self.dialer.deadline(), self.upgrades.deadline());
        let others = [dials, upgrades, self.listeners.deadline(), self.relays.deadline()];
        let deadline = others.into_iter().flatten().chain(guests).min();
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
            // Who is due has no connection but perhaps a guest's. What libp2p's protocols dial meanwhile is not waited for:
            // a hole that is punched for a relayed connection which is gone keeps them busy for long.
            self.dial(peer, addresses, PeerCondition::Always);
        }
        for (peer, addresses) in self.dialer.due_for_better((self.clock)()) {
            self.dial(peer, addresses, PeerCondition::NotDialing);
        }
    }

    pub(super) fn dial(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, condition: PeerCondition) {
        let mut addresses: Vec<_> = addresses.into_iter().filter(|address| is_outer(address, &self.inner)).collect();
        let unknown = addresses.iter().filter_map(relay_of).find(|relay| !self.swarm.behaviour().gate.knows(relay));
        addresses.retain(|address| relay_of(address).is_none_or(|relay| self.swarm.behaviour().gate.knows(&relay)));
        if let Some(relay) = unknown.filter(|_| addresses.is_empty()) {
            let text = format!("the relay {relay} is neither a peer nor named in relay.use");
            return self.dial_failed(peer, DialFailure::before_dialling(text));
        }
        let options = DialOpts::peer_id(peer).condition(condition).addresses(addresses).build();
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => _ = self.dials.insert(connection),
            // libp2p dials it for a purpose of its own, whose end says nothing about ours.
            Err(DialError::DialPeerConditionFalse(_)) => self.dialer.failed(&peer, (self.clock)(), random()),
            Err(error) => self.dial_failed(peer, DialFailure::of(&error)),
        }
    }

    fn dial_failed(&mut self, peer: PeerId, failure: DialFailure) {
        self.dialer.failed(&peer, (self.clock)(), random());
        if let Some(key) = self.peers.get(&peer).map(|peer| peer.key) {
            self.outbox.push_back(NetEvent::DialFailed { peer: key, failure });
        } else if let Some(peer) = self.pairings.asked(&peer) {
            self.outbox.push_back(NetEvent::PairingFailed { peer, error: failure.text });
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
                if self.connections.any(&id) {
                    self.connections.doubt(&id);
                    self.settle(id);
                    if let Some(addresses) = self.dialer.addresses(&id) {
                        self.dial(id, addresses, PeerCondition::NotDialing);
                    }
                }
            }
            Command::HangUp { peer } => {
                let id = peer_id::from_key(peer);
                self.dialer.forget(&id);
                if !self.relays.contains(&id) {
                    // An error means that there is no connection to close.
                    let _ = self.swarm.disconnect_peer_id(id);
                }
            }
            Command::Kick => {
                self.dialer.kick((self.clock)());
                self.relays.kick((self.clock)());
                self.upgrades.kick((self.clock)());
            }
            Command::Farewell { done } => self.say_farewell(done),
            Command::OpenHandshake { peer, attempt } => {
                self.handshakes.open(peer, peer_id::from_key(peer), attempt, self.substreams.clone());
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
            Command::Sightings { reply } => {
                // Who asked may have left.
                let _ = reply.send(self.swarm.behaviour().observed.sightings());
            }
            Command::AskAgain { inviter, p1 } => self.ask_again(inviter, p1),
            Command::TellCandidates { peer, message } => {
                candidates::tell(peer_id::from_key(peer), message, self.substreams.clone());
            }
        }
    }

    pub(super) fn gate(&mut self) -> &mut Gate {
        &mut self.swarm.behaviour_mut().gate
    }

    fn ask_again(&mut self, inviter: PeerKey, p1: Vec<u8>) {
        let id = peer_id::from_key(inviter);
        match self.connections.best(&id).map(|best| best.swarm) {
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
        let writer = tokio::spawn(Arc::clone(&carrier).run(id, self.substreams.clone()));
        carrier.set_open(self.connections.any(&id));
        self.peers.insert(id, Peer { key, slot, carrier, best: None, writer, reader: None, candidates: None });
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "libp2p's enum grows; the news not named here is of no consequence"
    )]
    fn on_swarm(&mut self, event: SwarmEvent<Event>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => self.listens(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.listens_no_more(address),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let error = reason.err().map(|error| told(&error));
                if let Some(address) = self.listeners.closed(listener_id, (self.clock)()) {
                    let error = error.unwrap_or_else(|| "it was closed".to_owned());
                    self.outbox.push_back(NetEvent::ListenerFailed { address, error });
                } else {
                    self.unreserved(listener_id, error);
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "a listener reported an error"),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.dials.remove(&connection_id);
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => self.disconnected(peer_id, connection_id),
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), connection_id, error, .. } => {
                let failure = DialFailure::of(&error);
                tracing::debug!(error = failure.text, "dialling failed");
                self.relays.not_reached(&peer, &failure.text);
                if self.dials.remove(&connection_id) {
                    self.dial_failed(peer, failure);
                }
            }
            SwarmEvent::Behaviour(Event::Ping(ping)) => self.pinged(ping),
            SwarmEvent::Behaviour(Event::Gate(event)) => self.on_gate(event),
            SwarmEvent::Behaviour(Event::Stream(arrived)) => self.on_stream(arrived),
            SwarmEvent::Behaviour(Event::Relay(event)) => self.on_relay(&event),
            SwarmEvent::Behaviour(Event::Identified(event)) => self.on_identified(&event),
            SwarmEvent::Behaviour(Event::Found(event)) => self.found(event),
            SwarmEvent::Behaviour(Event::Checked(event)) => self.checked(&event),
            SwarmEvent::Behaviour(Event::Punched(event)) => self.punched(&event),
            // Dials begun, addresses observed, strangers refused.
            _ => {}
        }
    }
}

/// The innermost cause that says something: libp2p wraps the system's words, and some wrappings say nothing.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).filter(|text| !text.is_empty()).last().unwrap_or_else(|| format!("{error:?}"))
}

/// Jitter. Without randomness the pause is the longest; nothing secret depends on it.
pub(super) fn random() -> u64 {
    let mut bytes = [0xff; 8];
    let _ = SystemRandom.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
