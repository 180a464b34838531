//! The libp2p swarm: one for the daemon's whole life.
//!
//! It listens, dials the wanted peers for ever, carries handshakes on `/cryprq/tunnel/1`, hands data substreams to
//! [`crate::stream`], keeps reservations with relays and is one if that is wanted, and lets strangers in as far as pairing
//! needs it (`/cryprq/pair/1`). The task never awaits the
//! daemon: what it has to say waits in a bounded queue.

mod admission;
mod behaviour;
mod candidates;
mod connections;
mod dialer;
mod failure;
mod handshakes;
mod lan;
mod links;
mod listeners;
mod message;
mod observed;
mod outer;
mod pairing;
mod places;
mod punching;
mod relaying;
mod relays;
mod resolver;
mod streams;
mod task;
mod upgrades;

pub use admission::Guests;
pub use failure::{DialFailure, DialFault};
pub use observed::Sighting;
pub use pairing::PairStream;
pub(crate) use streams::Substreams;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use libp2p::Multiaddr;
use node::drops::DropCounters;
use node::path::Endpoint;
use node::peer_key::PeerKey;
use node::router::PeerSlot;
use node::time::Time;
use node::tunnel::{AttemptId, Close, ConnectionId, Dialled};
use os::udp::UdpOptions;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::inbound::Inbound;
use crate::plane::PeerStats;
use crate::quic::Receive;
use crate::stream::StreamCarrier;
use task::Command;

const COMMANDS: usize = 1024;
const EVENTS: usize = 1024;

/// What the swarm is made with.
pub struct NetConfig {
    /// The identity's Ed25519 seed.
    pub identity_seed: Zeroizing<[u8; 32]>,
    /// Outer addresses to listen on.
    pub listen: Vec<IpAddr>,
    /// UDP and TCP port; 0 for any.
    pub port: u16,
    /// How UDP sockets are made.
    pub udp: UdpOptions,
    /// Whether to listen on TCP as well.
    pub tcp: Tcp,
    /// Relays to keep a reservation with, each with its PeerId.
    pub relays: Vec<Multiaddr>,
    /// Whether we are a relay ourselves.
    pub serve: Serve,
    /// Whether peers are looked for on the same network.
    pub discovery: Discovery,
    /// Where a relay that we are can be reached besides the addresses that it listens on.
    pub advertise: Vec<Multiaddr>,
    /// Inner addresses, which are never dialled: the tunnel must not run through itself.
    pub inner: Vec<IpNet>,
    /// Where frames go that streams bring.
    pub inbound: Arc<Inbound>,
    /// Who reads the UDP sockets.
    pub receive: Receive,
    /// Counts dropped frames.
    pub drops: Arc<DropCounters>,
    /// The clock that counts sleep.
    pub clock: fn() -> Time,
}

/// Whether the swarm listens on TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcp {
    /// It does, for networks that block UDP.
    Listen,
    /// It does not.
    Off,
}

/// Whom the swarm relays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// Its own peers, between each other.
    Peers,
    /// Nobody.
    Nobody,
}

/// Whether peers are looked for on the same network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// By multicast DNS, which tells our PeerId and outer addresses to everybody there.
    Mdns,
    /// They are not.
    Off,
}

/// A swarm that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The identity is no Ed25519 seed.
    #[error("the identity key is damaged")]
    Identity,
    /// A transport could not be made.
    #[error("cannot start the {0} transport: {1}")]
    Transport(&'static str, String),
}

/// What happened on the network.
#[derive(Debug)]
pub enum NetEvent {
    /// We listen here.
    Listening(Multiaddr),
    /// We do not listen here any more: the address is gone from this host.
    ListeningEnded(Multiaddr),
    /// We cannot listen here, or do not any more; it is tried again.
    ListenerFailed {
        /// Where.
        address: Multiaddr,
        /// Why.
        error: String,
    },
    /// A connection to an allowed peer stands.
    ConnectionUp {
        /// Whom to.
        peer: PeerKey,
        /// Its number.
        connection: ConnectionId,
        /// Who dialled.
        dialled: Dialled,
        /// The other end. By way of a relay it is the relay's address, its PeerId and `/p2p-circuit`.
        address: Multiaddr,
        /// Where datagrams may reach the peer, if it is a direct connection by UDP.
        endpoint: Option<Endpoint>,
    },
    /// A connection is gone.
    ConnectionDown {
        /// Whose.
        peer: PeerKey,
        /// Its number.
        connection: ConnectionId,
    },
    /// A relay keeps a place for us.
    Reserved {
        /// The relay's address, with its PeerId.
        relay: Multiaddr,
    },
    /// A relay keeps no place for us any more, or none at all; it is asked again.
    Unreserved {
        /// The relay's address, with its PeerId.
        relay: Multiaddr,
        /// Why.
        error: String,
    },
    /// A peer or relay tried to reach us from outside.
    Checked {
        /// Where.
        address: Multiaddr,
        /// Whether it could.
        reachable: bool,
    },
    /// A wanted peer could not be reached; it is tried again.
    DialFailed {
        /// Whom.
        peer: PeerKey,
        /// Why.
        failure: DialFailure,
    },
    /// DCUtR made no direct connection to a peer that a relay connects us to; it is tried again.
    NotPunched {
        /// To whom.
        peer: PeerKey,
        /// Why.
        error: String,
    },
    /// A peer told where it may be reached by datagrams (`node::path::candidates`).
    Candidates {
        /// Who.
        peer: PeerKey,
        /// The message without its length.
        message: Vec<u8>,
    },
    /// A peer opened a handshake substream.
    HandshakeIncoming {
        /// Who.
        peer: PeerKey,
        /// The connection that brought it.
        connection: ConnectionId,
        /// Its odd number.
        attempt: AttemptId,
    },
    /// Our handshake substream is open.
    HandshakeOpened {
        /// To whom.
        peer: PeerKey,
        /// Its number.
        attempt: AttemptId,
    },
    /// Our handshake substream could not be opened.
    HandshakeFailed {
        /// To whom.
        peer: PeerKey,
        /// Its number.
        attempt: AttemptId,
    },
    /// A handshake message.
    HandshakeMessage {
        /// Whose.
        peer: PeerKey,
        /// On which substream.
        attempt: AttemptId,
        /// The message without its length.
        bytes: Vec<u8>,
    },
    /// The peer closed or reset a handshake substream.
    HandshakeClosed {
        /// Whose.
        peer: PeerKey,
        /// Which.
        attempt: AttemptId,
    },
    /// Somebody, perhaps a stranger, sent P1; [`Net::answer_pairing`] answers it.
    PairingAsked {
        /// Whom the transport proved it to be.
        peer: PeerKey,
        /// The stream.
        stream: PairStream,
        /// The message without its length.
        p1: Vec<u8>,
    },
    /// The inviter answered our P1.
    PairingAnswered {
        /// Whose answer.
        peer: PeerKey,
        /// The message without its length.
        answer: Vec<u8>,
    },
    /// Our P1 got no answer. While we join, it is tried again.
    PairingFailed {
        /// Whose.
        peer: PeerKey,
        /// Why.
        error: String,
    },
    /// The round trip of a libp2p ping.
    RoundTrip {
        /// To whom.
        peer: PeerKey,
        /// How long.
        time: Duration,
    },
}

/// A handle to the swarm's task; the task ends when the last handle is dropped.
#[derive(Clone)]
pub struct Net {
    commands: mpsc::Sender<Command>,
    clock: fn() -> Time,
}

/// Starts the swarm on the current tokio runtime.
///
/// # Errors
/// [`NetError`]; a port in use is no error here but a [`NetEvent::ListenerFailed`].
pub fn start(config: NetConfig) -> Result<(Net, mpsc::Receiver<NetEvent>), NetError> {
    let (commands, command_queue) = mpsc::channel(COMMANDS);
    let (events, event_queue) = mpsc::channel(EVENTS);
    let clock = config.clock;
    let task = task::Task::new(config, command_queue, events)?;
    tokio::spawn(task.run());
    Ok((Net { commands, clock }, event_queue))
}

impl Net {
    /// Lets a peer connect, and gives what carries frames to it. Frames from it arrive under `slot`.
    pub async fn allow(&self, peer: PeerKey, slot: PeerSlot, stats: Arc<PeerStats>) -> Arc<StreamCarrier> {
        let carrier = Arc::new(StreamCarrier::new(stats, self.clock));
        self.send(Command::Allow { peer, slot, carrier: Arc::clone(&carrier) }).await;
        carrier
    }

    /// Forbids a peer: when this returns nothing of it is read any more, and its connections are being closed.
    pub async fn disallow(&self, peer: PeerKey) {
        let (done, closed) = oneshot::channel();
        self.send(Command::Disallow { peer, done }).await;
        let _ = closed.await;
    }

    /// Dials a peer at these addresses until it is connected, and again whenever it is not.
    pub async fn dial(&self, peer: PeerKey, addresses: Vec<Multiaddr>) {
        self.send(Command::Dial { peer, addresses }).await;
    }

    /// Dials a wanted peer now, even though a connection stands.
    pub async fn dial_another(&self, peer: PeerKey) {
        self.send(Command::DialAnother { peer }).await;
    }

    /// Stops dialling a peer and closes its connections.
    pub async fn hang_up(&self, peer: PeerKey) {
        self.send(Command::HangUp { peer }).await;
    }

    /// Closes every connection to a peer, so that the peers need not find out, and dials no more. Returns when the last
    /// one is closed.
    pub async fn farewell(&self) {
        let (done, closed) = oneshot::channel();
        self.send(Command::Farewell { done }).await;
        // The sender is dropped when all is said.
        let _ = closed.await;
    }

    /// The network changed: dial every wanted peer now.
    pub async fn kick(&self) {
        self.send(Command::Kick).await;
    }

    /// Tells a peer where this host may be reached by datagrams, if it is connected.
    pub async fn tell_candidates(&self, peer: PeerKey, message: Vec<u8>) {
        self.send(Command::TellCandidates { peer, message }).await;
    }

    /// Opens a handshake substream; the answer is an event.
    pub async fn open_handshake(&self, peer: PeerKey, attempt: AttemptId) {
        self.send(Command::OpenHandshake { peer, attempt }).await;
    }

    /// Sends a handshake message.
    pub async fn send_handshake(&self, peer: PeerKey, attempt: AttemptId, bytes: Vec<u8>) {
        self.send(Command::SendHandshake { peer, attempt, bytes }).await;
    }

    /// Ends a handshake substream.
    pub async fn close_handshake(&self, peer: PeerKey, attempt: AttemptId, how: Close) {
        self.send(Command::CloseHandshake { peer, attempt, how }).await;
    }

    /// Whether strangers may connect in order to pair: as long as a ticket is kept.
    pub async fn set_guests(&self, guests: Guests) {
        self.send(Command::SetGuests(guests)).await;
    }

    /// Answers a P1, or resets its stream in silence.
    pub async fn answer_pairing(&self, stream: PairStream, answer: Option<Vec<u8>>) {
        self.send(Command::AnswerPairing { stream, answer }).await;
    }

    /// Dials an inviter that is no peer yet at these addresses and sends it P1, until [`Self::end_join`].
    pub async fn join(&self, inviter: PeerKey, addresses: Vec<Multiaddr>, p1: Vec<u8>) {
        self.send(Command::Join { inviter, addresses, p1 }).await;
    }

    /// Stops joining; the connections that were made for it are closed.
    pub async fn end_join(&self, inviter: PeerKey) {
        self.send(Command::EndJoin { inviter }).await;
    }

    /// Sends P1 once more to an inviter that is a peer by now, on a connection that stands.
    pub async fn ask_again(&self, inviter: PeerKey, p1: Vec<u8>) {
        self.send(Command::AskAgain { inviter, p1 }).await;
    }

    /// Where others see us at the moment.
    pub async fn sightings(&self) -> Vec<Sighting> {
        let (reply, sightings) = oneshot::channel();
        self.send(Command::Sightings { reply }).await;
        sightings.await.unwrap_or_default()
    }

    async fn send(&self, command: Command) {
        // The task ends only after the last handle, unless the runtime shuts down; then nothing matters any more.
        let _ = self.commands.send(command).await;
    }
}
