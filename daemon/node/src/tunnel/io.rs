//! What goes into a [`Tunnel`](super::Tunnel) and what comes out.

use std::sync::Arc;
use std::time::Duration;

use super::ChainRule;
use crate::epoch::{Cipher, EpochId, Opener, Sealer};
use crate::handshake::{Forwarding, HandshakeError, Params, ReceiverIndex, RejectCode, Tlv};
use crate::path::Path;
use crate::secret::StoredSecret;
use crate::state::PeerState;
use crate::time::Time;

/// One libp2p connection to the peer; numbers are chosen by the caller and not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One handshake and its substream. The tunnel numbers its own with even numbers, the caller the peer's with odd
/// ones; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u64);

/// Who dialled a connection; it decides who starts the first handshake (protocol.md 6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialled {
    /// We did.
    ByUs,
    /// The peer did.
    ByPeer,
}

/// Whether the tunnel shall be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// It shall.
    Up,
    /// It shall not: epochs are erased, chain keys are kept, handshakes are answered "busy".
    Down,
}

/// What a loop sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// At least one packet: the peer should answer sooner or later.
    Content,
    /// Only empty frames, probes and their answers.
    Keepalive,
}

/// What the packet loops tell the tunnel, at most once per batch each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A frame was opened on an epoch for the first time.
    FirstFrame {
        /// Which.
        epoch: EpochId,
    },
    /// A soft limit of messages, bytes or failed opens was reached: rotate now.
    SoftLimit {
        /// Of which epoch.
        epoch: EpochId,
    },
    /// A hard limit was reached: the epoch seals or opens nothing more.
    HardLimit {
        /// Of which epoch.
        epoch: EpochId,
    },
    /// Authentic frames came in.
    Received {
        /// When the last of them did.
        at: Time,
    },
    /// Frames went out.
    Sent {
        /// When.
        at: Time,
        /// What they held.
        traffic: Traffic,
    },
    /// An authentic probe came in; it is answered with [`Output::SendProbeAck`].
    ProbeReceived {
        /// Its token.
        token: [u8; 8],
        /// Which way it came.
        via: Path,
    },
    /// An authentic answer to a probe came in.
    ProbeAcked {
        /// Its token.
        token: [u8; 8],
        /// When.
        at: Time,
    },
}

/// What happened, as far as the tunnel must know.
pub enum Input {
    /// The deadline passed.
    Timeout,
    /// Whether the tunnel shall be up.
    Wanted(Want),
    /// A connection to the peer stands.
    ConnectionUp {
        /// Which.
        connection: ConnectionId,
        /// Who dialled it.
        dialled: Dialled,
    },
    /// A connection is gone, and with it every attempt on it.
    ConnectionDown {
        /// Which.
        connection: ConnectionId,
    },
    /// Answer to [`Output::OpenStream`]: messages can be sent.
    StreamOpened {
        /// Whose substream.
        attempt: AttemptId,
    },
    /// Answer to [`Output::OpenStream`]: it could not be opened.
    StreamFailed {
        /// Whose substream.
        attempt: AttemptId,
    },
    /// The peer opened a handshake substream.
    IncomingStream {
        /// On which connection.
        connection: ConnectionId,
        /// An odd number of the caller's choice.
        attempt: AttemptId,
    },
    /// A handshake message came in.
    Message {
        /// On which substream.
        attempt: AttemptId,
        /// The message without its length.
        bytes: Vec<u8>,
    },
    /// The peer closed or reset a handshake substream.
    StreamClosed {
        /// Which.
        attempt: AttemptId,
    },
    /// News from the packet loops.
    Report(Report),
    /// Make new keys now.
    Rotate,
    /// Forget all back-off, and make new keys now.
    Reconnect,
    /// Frames go another way from now on.
    PathChanged,
    /// Probe the way that frames go: perhaps it does not reach the peer.
    CheckPath,
    /// The administrator accepts one start without a chain (`require_chain`, protocol.md 6.7).
    AcceptChainReset,
    /// The pair has another PSK now, or none.
    PskChanged(Option<StoredSecret>),
    /// Starts without a chain are judged by this rule from now on.
    ChainRuleChanged(ChainRule),
    /// What the next handshake announces; the epoch in use stays as it was agreed.
    ParamsChanged(Params),
    /// The extensions that the next handshake carries.
    TlvsChanged(Vec<Tlv>),
    /// Erase all epochs and chain keys: the peer is removed, or the machine hibernates.
    EraseAll,
}

/// What the caller has to do. The order matters: an [`Output::Install`] must be in effect before a later
/// [`Output::Send`] leaves.
pub enum Output {
    /// Open a handshake substream.
    OpenStream {
        /// On which connection.
        connection: ConnectionId,
        /// For which attempt; the answer is [`Input::StreamOpened`] or [`Input::StreamFailed`].
        attempt: AttemptId,
    },
    /// Send a handshake message.
    Send {
        /// On which substream.
        attempt: AttemptId,
        /// The message without its length.
        bytes: Vec<u8>,
    },
    /// Forget a substream: close it once everything is sent. A failed attempt's is reset without detail.
    CloseStream {
        /// Which.
        attempt: AttemptId,
        /// How.
        how: Close,
    },
    /// Give the receiving loop an epoch.
    Install {
        /// Its key and window.
        opener: Box<Opener>,
    },
    /// Take an epoch from the receiving loop; its key is erased.
    Remove {
        /// Our index of it.
        index: ReceiverIndex,
    },
    /// Seal with this from now on; `None` means that the tunnel is down and packets are dropped.
    SendWith(Option<Arc<Sealer>>),
    /// Send an empty frame with the current sealer.
    SendEmpty,
    /// Send a probe with the current sealer.
    SendProbe {
        /// Its token.
        token: [u8; 8],
    },
    /// Answer a probe with the current sealer, the way that it came.
    SendProbeAck {
        /// The probe's token.
        token: [u8; 8],
        /// Which way the probe came, and so the answer goes.
        via: Path,
    },
    /// A new connection is needed: none stands, or the peer does not answer on the one that does.
    NeedConnection,
    /// What went out on the current path got no answer.
    PathDead,
    /// Something worth a line in a log.
    Event(TunnelEvent),
}

/// How a substream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// After everything sent was delivered.
    Finish,
    /// At once.
    Reset,
}

/// Which side of a handshake we were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We opened the substream and sent M1.
    Initiator,
    /// We answered.
    Responder,
}

/// What a start without a chain means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainStart {
    /// This side held no chain key of a confirmed epoch: first contact, or our own restart.
    First,
    /// This side held a chain key that the peer did not: the peer restarted, or somebody has its identity.
    PeerLost,
}

/// What happened, for logs and event streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelEvent {
    /// The peer's state changed.
    StateChanged(PeerState),
    /// A new epoch carries what we send.
    Rotated {
        /// Which.
        epoch: EpochId,
        /// The handshake that made it.
        role: Role,
        /// The first 8 bytes of the public session hash.
        session: [u8; 8],
        /// Its AEAD.
        cipher: Cipher,
        /// The tunnel MTU that both sides agreed on, in bytes.
        mtu: u16,
        /// The peer's extensions.
        remote_tlvs: Vec<Tlv>,
    },
    /// An epoch that continues no chain was confirmed (protocol.md 6.7).
    ChainReset(ChainStart),
    /// The peer rejected our handshake for a reason that needs a person.
    Rejected(RejectCode),
    /// A handshake failed; at most one of these each 10 s.
    HandshakeFailed {
        /// Ours or the peer's.
        role: Role,
        /// Why.
        fault: HandshakeFault,
    },
    /// The last epoch ended without a successor.
    KeysExpired,
    /// Probes went unanswered.
    PathDead,
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFault {
    /// A message was wrong.
    #[error(transparent)]
    Message(#[from] HandshakeError),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The peer was busy.
    #[error("the peer was busy")]
    Busy,
    /// The substream or its connection went away.
    #[error("its substream went away")]
    StreamLost,
    /// `require_chain` forbids a start without a chain.
    #[error("a handshake without a chain is not accepted until an administrator accepts one chain reset")]
    ChainRequired,
    /// No room for the chain key in locked memory.
    #[error("no room for the chain key in locked memory")]
    Store,
    /// More receive keys than the rules of protocol.md 8 can need.
    #[error("no room for another receive key")]
    TooManyEpochs,
}

impl HandshakeFault {
    /// The fault's name in counters and JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Message(error) => error.name(),
            Self::TimedOut => "timed_out",
            Self::Busy => "busy",
            Self::StreamLost => "stream_lost",
            Self::ChainRequired => "chain_required_here",
            Self::Store => "store",
            Self::TooManyEpochs => "too_many_epochs",
        }
    }
}

/// What a tunnel looks like now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelStatus {
    /// The peer's state.
    pub state: PeerState,
    /// The epoch that carries what we send.
    pub epoch: Option<EpochStatus>,
    /// When the last authentic frame came in.
    pub last_received: Option<Time>,
    /// The smoothed round trip of probes.
    pub round_trip: Option<Duration>,
    /// Handshakes that ended with a confirmed epoch, since the tunnel was made.
    pub handshakes: u64,
    /// Failed handshakes by [`HandshakeFault::name`].
    pub failures: Vec<(&'static str, u64)>,
    /// How many receive keys are held.
    pub receive_keys: usize,
    /// Whether a chain key is held.
    pub chained: bool,
    /// How long an accepted chain reset still stands.
    pub chain_reset_armed: Option<Duration>,
}

/// The epoch in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochStatus {
    /// Which.
    pub epoch: EpochId,
    /// The first 8 bytes of the public session hash.
    pub session: [u8; 8],
    /// Its AEAD.
    pub cipher: Cipher,
    /// The tunnel MTU in bytes.
    pub mtu: u16,
    /// For which families the peer forwards our packets, if it says so.
    pub forwarding: Option<Forwarding>,
    /// Time since its keys were derived.
    pub age: Duration,
    /// Time until this side starts the next rotation, if the peer does not do so before.
    pub next_rotation: Duration,
    /// Time until its keys are erased.
    pub expires: Duration,
}
