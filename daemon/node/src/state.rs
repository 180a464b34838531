//! The state of one peer, as a user sees it.

use std::fmt;

use crate::handshake::RejectCode;

/// How it stands with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerState {
    /// Not wanted.
    Idle,
    /// Wanted, but no epoch is live: packets are dropped.
    Connecting,
    /// An epoch is live.
    Connected,
    /// An epoch is live, but something was sent and nothing authentic came back for a while.
    Stalled,
    /// The peer refuses: a person must change version, suite or policy on one side.
    Refused(RejectCode),
}

impl PeerState {
    /// The state's name in status, metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Stalled => "stalled",
            Self::Refused(_) => "refused",
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
