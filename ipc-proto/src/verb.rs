//! The table of verbs: who may ask for what. Dispatcher, command line and tests read it.

use crate::message::Request;

/// What a caller may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Look.
    Observe,
    /// Switch tunnels.
    Operate,
    /// Change who is a peer, and how.
    Admin,
}

impl Tier {
    /// The name in `[ipc.access]` and in refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// One verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verb {
    /// `cmd` in JSON, and the command line's word.
    pub name: &'static str,
    /// Who may use it.
    pub tier: Tier,
}

/// All verbs.
pub const VERBS: &[Verb] = &[
    Verb { name: "hello", tier: Tier::Observe },
    Verb { name: "status", tier: Tier::Observe },
    Verb { name: "up", tier: Tier::Operate },
    Verb { name: "down", tier: Tier::Operate },
    Verb { name: "rotate", tier: Tier::Operate },
    Verb { name: "reconnect", tier: Tier::Operate },
    Verb { name: "peer_accept_chain_reset", tier: Tier::Admin },
    Verb { name: "log_level", tier: Tier::Admin },
];

impl Request {
    /// The request's name in the table.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello {} => "hello",
            Self::Status {} => "status",
            Self::Up { .. } => "up",
            Self::Down { .. } => "down",
            Self::Rotate { .. } => "rotate",
            Self::Reconnect { .. } => "reconnect",
            Self::PeerAcceptChainReset { .. } => "peer_accept_chain_reset",
            Self::LogLevel { .. } => "log_level",
        }
    }

    /// Who may make it. A request that the table does not hold is the administrator's alone.
    pub fn tier(&self) -> Tier {
        VERBS.iter().find(|verb| verb.name == self.name()).map_or(Tier::Admin, |verb| verb.tier)
    }
}
