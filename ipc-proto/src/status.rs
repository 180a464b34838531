//! What `status` says.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode};

/// This host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Our own PeerId.
    pub peer_id: String,
    /// Our own name.
    pub name: String,
    /// Our inner addresses.
    pub addresses: Addresses,
    /// `running`: a daemon answers only while it runs.
    pub state: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Where inner packets come from: `tun`, `extension` or `none`.
    pub ingress: String,
    /// Outer addresses that we listen on.
    pub listen: Vec<String>,
    /// What is wrong or odd.
    pub health: Vec<HealthItem>,
    /// Drops that belong to no peer, by reason.
    pub drops: BTreeMap<String, u64>,
    /// The peer that all other traffic of this host goes through, if one was chosen.
    pub exit: Option<ExitStatus>,
    /// The peers.
    pub peers: Vec<PeerStatus>,
}

/// The peer that all other traffic of this host goes through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExitStatus {
    /// Its PeerId.
    pub peer: String,
    /// Its name.
    pub name: String,
    /// `waiting`: the host's routes are as they were until the peer is connected; `active`: they lead to it, connected
    /// or not.
    pub state: String,
    /// Whether it forwards IPv4; while active, IPv4 is refused on this host otherwise.
    pub ipv4: bool,
    /// Whether it forwards IPv6; while active, IPv6 is refused on this host otherwise.
    pub ipv6: bool,
    /// The resolvers in use while active.
    pub dns: Vec<IpAddr>,
    /// Who asks them for this host's programs while active: `resolv.conf` if each does so itself, `systemd-resolved`, or
    /// `extension` for its system.
    pub dns_by: Option<String>,
    /// What leaves this host outside the tunnel all the same, for a person.
    pub outside: Vec<String>,
}

/// Inner addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Addresses {
    /// The IPv4 address, if there is one.
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub ipv6: Ipv6Addr,
}

/// Something that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PeerStatus {
    /// Its PeerId.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `idle`, `connecting`, `connected`, `stalled` or `refused`.
    pub state: String,
    /// How packets travel, while connected.
    pub path: Option<PathStatus>,
    /// What keeps it from being connected, as far as that is known.
    pub obstacle: Option<Obstacle>,
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
    /// Inner packets received.
    pub rx_packets: u64,
    /// Inner packets sent.
    pub tx_packets: u64,
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
    /// Whether its packets go on to other networks through this host.
    pub forward: bool,
    /// Starts without a chain that lost one.
    pub chain_resets: u64,
    /// Handshakes that failed, by reason.
    pub failures: BTreeMap<String, u64>,
}

/// How packets reach a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PathStatus {
    /// `udp`: sealed frames in datagrams; `stream`: on a stream of a direct connection; `relay`: on one by a relay.
    pub kind: String,
    /// The other end.
    pub address: String,
    /// The PeerId of the relay, if there is one.
    pub relay: Option<String>,
    /// The round trip.
    pub rtt_ms: Option<f64>,
    /// How many of a hundred frames that the peer sent in the last seconds did not arrive; absent when too few were sent
    /// to tell.
    pub loss_percent: Option<f64>,
    /// The longest inner packet that passes, in bytes.
    pub mtu: u16,
    /// Why frames do not go by datagrams directly to the peer, if they do not.
    pub not_direct: Option<Obstacle>,
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Obstacle {
    /// A name for scripts.
    pub code: String,
    /// What is known of it.
    pub text: String,
    /// What a person can do.
    pub hint: Option<String>,
}
