//! Addresses and routes of this host.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
pub use linux::Network;
#[cfg(target_os = "macos")]
pub use macos::Network;

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
