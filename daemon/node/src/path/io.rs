//! What goes into [`Paths`](super::Paths) and what comes out.

use std::net::{IpAddr, SocketAddr};

use crate::epoch::EpochId;
use crate::receiver::Trust;
use crate::tunnel::ConnectionId;

/// Where datagrams of a peer go to and come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The peer's end.
    pub remote: SocketAddr,
    /// Our end, where only one of our addresses will do: the peer may sit behind a NAT that lets nobody else answer.
    pub local: Option<IpAddr>,
}

/// The way that frames go, or came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Carrier A: a substream of the best connection.
    Stream,
    /// Carrier C: datagrams from or to here.
    Datagrams(Endpoint),
}

impl Path {
    /// Whether both are the same way, whichever of our addresses they end at.
    pub fn is_same_way(self, other: Self) -> bool {
        match (self, other) {
            (Self::Stream, Self::Stream) => true,
            (Self::Datagrams(one), Self::Datagrams(other)) => one.remote == other.remote,
            (Self::Stream, Self::Datagrams(_)) | (Self::Datagrams(_), Self::Stream) => false,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The deadline came.
    Timeout,
    /// There are keys that the peer is known to hold.
    Live {
        /// The tunnel's MTU, in bytes.
        mtu: u16,
    },
    /// There are none any more.
    NotLive,
    /// A direct connection stands, whose datagrams end there.
    Connected {
        /// Its number.
        connection: ConnectionId,
        /// Its ends.
        endpoint: Endpoint,
    },
    /// A connection is gone.
    Disconnected {
        /// Its number.
        connection: ConnectionId,
    },
    /// Authentic frames came in this way, the last of a batch.
    Heard {
        /// Which way.
        via: Path,
    },
    /// [`Whereabouts::Moved`](crate::receiver::Whereabouts::Moved).
    Moved {
        /// Where the frame came from.
        from: Endpoint,
        /// On which epoch.
        epoch: EpochId,
        /// Its counter.
        counter: u64,
    },
    /// [`Whereabouts::Stayed`](crate::receiver::Whereabouts::Stayed).
    Stayed,
    /// The answer to a probe.
    Acked {
        /// The probe's token.
        token: [u8; 8],
        /// Where it came from.
        from: Endpoint,
    },
    /// The tunnel says that what we send is not answered.
    Dead,
    /// Packets are being sent, and the tunnel has the way probed that they go.
    Sending,
    /// Addresses or routes of this host changed: what was tried in vain is tried anew.
    NetworkChanged,
    /// Others see this host at another address than before: what was tried in vain is tried anew, but for packets that were
    /// too long.
    SeenElsewhere,
}

impl Input {
    /// Whether it tells of frames under the tunnel's keys.
    pub(super) const fn is_of_frames(self) -> bool {
        match self {
            Self::Heard { .. }
            | Self::Moved { .. }
            | Self::Stayed
            | Self::Acked { .. }
            | Self::Dead
            | Self::Sending => true,
            Self::Timeout
            | Self::Live { .. }
            | Self::NotLive
            | Self::Connected { .. }
            | Self::Disconnected { .. }
            | Self::NetworkChanged
            | Self::SeenElsewhere => false,
        }
    }
}

/// What the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a probe by datagram.
    Probe {
        /// Its token.
        token: [u8; 8],
        /// Where to.
        to: Endpoint,
        /// Padded as an inner packet of so many bytes would be; else as short as it can be.
        size: Option<u16>,
    },
    /// Keep inner packets to this length, in bytes, from now on.
    Mtu(u16),
    /// Send frames this way from now on, and tell the tunnel.
    Use(Path),
    /// Give this to the receiving loop.
    Trust(Trust),
    /// Tell the peer where this host may be reached by datagrams ([`candidates`](super::candidates)).
    TellCandidates,
    /// Have the tunnel probe the way that frames go: the peer's come another way.
    CheckPath,
}
