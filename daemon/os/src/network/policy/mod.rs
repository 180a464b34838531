//! Policy routing: which packets are looked up where, and a table of our own for what leaves by an exit.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// That of an address.
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// What packets go by, besides their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A rule of ours, the same in all its parts when it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// Whose packets.
    pub family: Family,
    /// Smaller ones come first.
    pub priority: u32,
    /// Which packets, and where they are looked up.
    pub selection: Selection,
}

/// Which packets a rule is for, and where it looks them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "packets", rename_all = "snake_case")]
pub enum Selection {
    /// Those from a port that only our own sockets have: the host's main table.
    FromPort {
        /// TCP or UDP.
        transport: Transport,
        /// The port.
        port: u16,
    },
    /// All, as far as the main table has a route for them that is no half of the world.
    Specific,
    /// Those without our mark: a table.
    Unmarked {
        /// The mark.
        mark: u32,
        /// The table.
        table: u32,
    },
}

/// Routes for up to this many bits count as default routes: other tunnels take the whole world in two halves or more,
/// and no private network is wider than 8 bits.
pub const WIDEST_SPECIFIC: u8 = 8;

/// The default route of a family in a table of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRoute {
    /// Whose packets.
    pub family: Family,
    /// The table.
    pub table: u32,
    /// Where they go.
    pub way: Way,
}

/// Where a default route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To an interface, by its index.
    Interface(u32),
    /// Nowhere, unless there is another default route: the host says at once that the destination is unreachable.
    Unreachable,
}
