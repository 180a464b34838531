//! What the daemon and the packet-tunnel extension tell each other besides packets.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, numbered};
use crate::prefix::Prefix;

/// What the extension's interface shall be like, from the daemon; sent again whenever it changes. The extension
/// answers with Ready of the same request id once it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct TunnelSettings {
    /// The interface's own addresses.
    pub addresses: Vec<Prefix>,
    /// What goes into the tunnel.
    pub included: Vec<Prefix>,
    /// What does not, although a prefix of `included` holds it.
    pub excluded: Vec<Prefix>,
    /// Resolvers to use while the tunnel is up.
    pub dns: Vec<IpAddr>,
    /// The interface's MTU in bytes.
    pub mtu: u16,
}

/// Why the tunnel ends, from either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Somebody switched it off.
    SwitchedOff,
    /// The daemon is stopped for good.
    DaemonStopping,
    /// The operating system ends the extension.
    System,
    /// The settings could not be put in force.
    SettingsRefused,
}

numbered! {
    StopReason { 1 SwitchedOff, 2 DaemonStopping, 3 System, 4 SettingsRefused, }
}
