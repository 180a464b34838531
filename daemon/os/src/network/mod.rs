//! Addresses and routes of this host.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
pub mod policy;

#[cfg(target_os = "linux")]
pub use linux::{Changes, Network, has_ipv6};
#[cfg(target_os = "macos")]
pub use macos::{Changes, Network, has_ipv6};

use ipnet::IpNet;

/// A change that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {error}")]
pub struct NetworkError {
    /// What was tried.
    pub what: String,
    /// Why it failed.
    pub error: String,
}

/// Networks that this host is directly connected to, of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The interface's index.
    pub interface: u32,
    /// The host's own address there, with the network's prefix length.
    pub address: IpNet,
}

/// An interface of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it leads to this host only.
    pub loopback: bool,
    /// Whether it is up and something is at its other end.
    pub carries: bool,
}
