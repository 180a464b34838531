//! What is asked and what is answered.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// A request. A peer is named by its name, its PeerId, or the beginning of its PeerId; no peer means all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Who answers, and which version.
    Hello {},
    /// Everything about this host and its peers.
    Status {},
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
    /// Accepts one start without a chain (`require_chain`).
    PeerAcceptChainReset {
        /// Whose.
        peer: String,
    },
    /// Says more or less in the log.
    LogLevel {
        /// `error`, `warn`, `info`, `debug` or `trace`.
        level: String,
    },
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
    /// It was done.
    Done {},
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
    /// Milliseconds since the last authentic packet came.
    pub last_authentic_ms: Option<u64>,
    /// Time to the next rotation.
    pub next_rotation_ms: Option<u64>,
    /// Handshakes that ended with new keys.
    pub rotations: u64,
    /// Inner bytes received.
    pub rx_bytes: u64,
    /// Inner bytes sent.
    pub tx_bytes: u64,
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
