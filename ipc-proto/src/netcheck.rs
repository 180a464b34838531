//! What `netcheck` says.

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode};

/// What this host's network allows, as far as connections that stand and checks by others show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Netcheck {
    /// `works`, `blocked` or `unknown`.
    pub udp: String,
    /// `works` or `unknown`.
    pub tcp: String,
    /// `works` (something is connected by it), `present` (there is a public address) or `none`.
    pub ipv6: String,
    /// What stands between this host and those that see it, by IPv4: `none`; `endpoint_independent` (everybody sees the
    /// same port, so holes can be punched); `endpoint_dependent` (each sees another); `some` (one host sees us, so nobody
    /// can tell); `unknown` (nobody does).
    pub nat: String,
    /// Whether hosts that we did not speak to can reach us: `yes`, `no` or `unknown`.
    pub reachable: String,
    /// Our outer addresses as others see them.
    pub addresses: Vec<OuterAddress>,
    /// The relays of the configuration.
    pub relays: Vec<RelayStatus>,
    /// What a person can do to be reached better.
    pub advice: Vec<String>,
}

/// An outer address of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OuterAddress {
    /// The multiaddr.
    pub address: String,
    /// The hosts that see us there.
    pub seen_by: Vec<String>,
    /// Whether a check reached us there, if there was one.
    pub reachable: Option<bool>,
}

/// A relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RelayStatus {
    /// Its multiaddr with its PeerId.
    pub address: String,
    /// Whether it keeps a place for us.
    pub reserved: bool,
}
