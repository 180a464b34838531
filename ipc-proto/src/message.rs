//! What is asked and what is answered.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::secret::SecretText;

/// A request. A peer is named by its name, its PeerId, or the beginning of its PeerId; no peer means all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        /// Whose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
    },
    /// Does not want tunnels.
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
}

const fn yes() -> bool {
    true
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// A ticket of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// This host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Our own PeerId.
    pub peer_id: String,
    /// Our own name.
    pub name: String,
    /// Our inner addresses.
    pub addresses: Addresses,
    /// `starting`, `running` or `stopping`.
    pub state: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Where inner packets come from: `tun` or `none`.
    pub ingress: String,
    /// Outer addresses that we listen on.
    pub listen: Vec<String>,
    /// What is wrong or odd.
    pub health: Vec<HealthItem>,
    /// Drops that belong to no peer, by reason.
    pub drops: BTreeMap<String, u64>,
    /// The peers.
    pub peers: Vec<PeerStatus>,
}

/// Inner addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The IPv4 address, if there is one.
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub ipv6: Ipv6Addr,
}

/// Something that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthItem {
    /// A name for scripts.
    pub code: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// What is wrong.
    pub text: String,
    /// What mends it.
    pub hint: Option<String>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its PeerId.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `idle`, `connecting`, `connected`, `stalled` or `refused`.
    pub state: String,
    /// How packets travel, while connected.
    pub path: Option<PathStatus>,
    /// The data frames' AEAD.
    pub cipher: Option<String>,
    /// When the last authentic packet came, RFC 3339.
    pub last_authentic: Option<String>,
    /// Milliseconds since then, by the clock that counts sleep.
    pub last_authentic_ms: Option<u64>,
    /// When the keys in use were made, RFC 3339.
    pub handshake_at: Option<String>,
    /// Time to the next rotation.
    pub next_rotation_ms: Option<u64>,
    /// Handshakes that ended with new keys.
    pub rotations: u64,
    /// Inner bytes received.
    pub rx_bytes: u64,
    /// Inner bytes sent.
    pub tx_bytes: u64,
    /// Inner bits received a second, over the last seconds.
    pub rx_bps: u64,
    /// Inner bits sent a second, over the last seconds.
    pub tx_bps: u64,
    /// Packets and frames of this peer that were dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Prefixes that belong to it.
    pub allowed_ips: Vec<String>,
    /// Whether the pair has a PSK.
    pub psk: bool,
    /// Starts without a chain that lost one.
    pub chain_resets: u64,
    /// Handshakes that failed, by reason.
    pub failures: BTreeMap<String, u64>,
}

/// How packets reach a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathStatus {
    /// `stream`.
    pub kind: String,
    /// The other end.
    pub address: String,
    /// The round trip.
    pub rtt_ms: Option<f64>,
    /// The tunnel MTU in bytes.
    pub mtu: u16,
}
