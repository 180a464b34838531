//! What is asked and what is answered.

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, numbered};
use crate::secret::SecretText;

pub use crate::netcheck::{Netcheck, OuterAddress, RelayStatus};
pub use crate::status::{Addresses, ExitStatus, HealthItem, Obstacle, PathStatus, PeerStatus, Status};
pub use crate::watch::{Event, EventBody, HostChange, PeerChange, PeerFields, StatusChange};

/// A request. A peer is named by its name, its PeerId, or the beginning of its PeerId; no peer means all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Who answers, and which version.
    Hello {},
    /// Everything about this host and its peers.
    Status {},
    /// The peers, or one of them.
    Peers {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// The full state now, then what changes, until the caller leaves.
    Watch {},
    /// One round trip inside the tunnel, by a probe.
    Ping {
        /// To whom.
        peer: String,
    },
    /// OpenMetrics text.
    Metrics {},
    /// Wants tunnels.
    Up {
        /// Whose; with `exit` and without this, the exit's alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
        /// The peer that all other traffic of this host is to go through, in the place of the one before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<String>,
    },
    /// Does not want tunnels; an exit among them is none any more.
    Down {
        /// Whose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// Makes new keys now.
    Rotate {
        /// Whose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// Forgets all pauses and connects now.
    Reconnect {
        /// Whose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// Makes a one-time ticket.
    Invite {
        /// How long it is good, in milliseconds: 10 minutes unless said, at most 7 days.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_ms: Option<u64>,
        /// The relay that it leads by, for hosts that cannot reach this one: its name or PeerId.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relay: Option<String>,
    },
    /// The tickets of this host, without their secrets.
    InviteList {},
    /// Makes a ticket worthless.
    InviteCancel {
        /// Its id, as [`InviteStatus::id`] has it.
        invite: String,
    },
    /// Becomes a peer of the host that made a ticket.
    Join {
        /// The ticket.
        ticket: SecretText,
    },
    /// Adds a peer; it is kept in the state folder, not in the configuration file.
    PeerAdd {
        /// Its PeerId, in full.
        peer: String,
        /// Its name for people; the PeerId unless said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Multiaddrs to dial it at.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        addresses: Vec<String>,
        /// Prefixes that belong to it; its derived IPv6 address unless said.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allowed_ips: Vec<String>,
        /// The pair's PSK: 32 bytes in hex or base64.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        psk: Option<SecretText>,
        /// Whether a start without a chain needs an administrator.
        #[serde(default)]
        require_chain: bool,
        /// Whether to connect at start.
        #[serde(default = "yes")]
        up: bool,
        /// Whether it may send packets to other networks through this host.
        #[serde(default)]
        forward: bool,
    },
    /// Changes a peer of the state folder; what is not said stays.
    PeerSet {
        /// Which.
        peer: String,
        /// Its name for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Multiaddrs to dial it at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        addresses: Option<Vec<String>>,
        /// Prefixes that belong to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allowed_ips: Option<Vec<String>>,
        /// The pair's PSK in hex or base64, or `none` to have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        psk: Option<SecretText>,
        /// Whether a start without a chain needs an administrator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        require_chain: Option<bool>,
        /// Whether to connect at start.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        up: Option<bool>,
        /// Whether it may send packets to other networks through this host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forward: Option<bool>,
    },
    /// Removes a peer of the state folder; its keys are erased when the answer comes.
    PeerRemove {
        /// Which.
        peer: String,
    },
    /// Accepts one start without a chain (`require_chain`).
    PeerAcceptChainReset {
        /// Whose.
        peer: String,
    },
    /// The configuration in force.
    Config {},
    /// Reads the configuration again: all or nothing.
    Reload {},
    /// Says more or less in the log.
    LogLevel {
        /// `error`, `warn`, `info`, `debug` or `trace`.
        level: String,
    },
    /// What this host's network allows.
    Netcheck {},
}

numbered! {
    Request {
        1 Hello {},
        2 Status {},
        3 Peers { peer },
        4 Watch {},
        5 Ping { peer },
        6 Metrics {},
        7 Up { peer, exit },
        8 Down { peer },
        9 Rotate { peer },
        10 Reconnect { peer },
        11 Invite { expires_ms, relay },
        12 InviteList {},
        13 InviteCancel { invite },
        14 Join { ticket },
        15 PeerAdd { peer, name, addresses, allowed_ips, psk, require_chain, up, forward },
        16 PeerSet { peer, name, addresses, allowed_ips, psk, require_chain, up, forward },
        17 PeerRemove { peer },
        18 PeerAcceptChainReset { peer },
        19 Config {},
        20 Reload {},
        21 LogLevel { level },
        22 Netcheck {},
    }
}

const fn yes() -> bool {
    true
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello {
        /// The daemon's version.
        version: String,
    },
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Peers`].
    Peers {
        /// They.
        peers: Vec<PeerStatus>,
    },
    /// To [`Request::Ping`].
    Ping {
        /// The PeerId that answered.
        peer: String,
        /// The round trip inside the tunnel.
        rtt_ms: f64,
    },
    /// To [`Request::Metrics`].
    Metrics {
        /// OpenMetrics text.
        text: String,
    },
    /// To [`Request::Invite`].
    Invite {
        /// The ticket's id, as [`InviteStatus::id`] has it; `id` of a reply is the caller's own.
        invite: String,
        /// The ticket. Whoever has it may join, once.
        ticket: SecretText,
        /// When it becomes worthless, RFC 3339.
        expires_at: String,
        /// The multiaddrs in it.
        addresses: Vec<String>,
        /// Whether hosts that we did not speak to can reach us, as [`Netcheck::reachable`] has it.
        reachable: String,
    },
    /// To [`Request::InviteList`].
    Invites {
        /// The tickets, the newest first.
        invites: Vec<InviteStatus>,
    },
    /// To [`Request::Join`].
    Joined {
        /// The PeerId of the inviter.
        peer: String,
        /// Its name.
        name: String,
        /// Our own inner addresses.
        addresses: Addresses,
    },
    /// To [`Request::Config`].
    Config {
        /// The configuration in force, as TOML, without secrets.
        toml: String,
    },
    /// To [`Request::Reload`].
    Reloaded {
        /// Keys whose new values are in force.
        changed: Vec<String>,
        /// Keys whose new values wait for a restart.
        needs_restart: Vec<String>,
    },
    /// It was done.
    Done {},
    /// To [`Request::Netcheck`].
    Netcheck(Netcheck),
}

numbered! {
    Reply {
        1 Hello { version },
        2 Status(status),
        3 Peers { peers },
        4 Ping { peer, rtt_ms },
        5 Metrics { text },
        6 Invite { invite, ticket, expires_at, addresses, reachable },
        7 Invites { invites },
        8 Joined { peer, name, addresses },
        9 Config { toml },
        10 Reloaded { changed, needs_restart },
        11 Done {},
        12 Netcheck(check),
    }
}

/// A ticket of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InviteStatus {
    /// Its id in hex.
    pub id: String,
    /// `open`, `used`, `burnt`, `expired` or `cancelled`.
    pub state: String,
    /// When it expires or expired, RFC 3339.
    pub expires_at: String,
    /// The PeerId that used it.
    pub used_by: Option<String>,
    /// When it was used, RFC 3339.
    pub used_at: Option<String>,
}
