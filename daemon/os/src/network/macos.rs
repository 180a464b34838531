//! On macOS the extension's settings carry addresses and routes; the daemon changes none itself.

use std::io;

use ipnet::IpNet;

use super::{Attached, Link, NetworkError};

/// No handle to anything.
#[derive(Clone, Debug)]
pub struct Network(std::convert::Infallible);

impl Network {
    /// The daemon changes no addresses and routes itself here.
    ///
    /// # Errors
    /// Always `Unsupported`.
    pub fn open() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "on macOS the extension's settings carry addresses and routes"))
    }

    pub(super) const fn nothing(&self) -> &std::convert::Infallible {
        &self.0
    }

    /// The index of an interface.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn index_of(&self, _name: &str) -> Result<Option<u32>, NetworkError> {
        match self.0 {}
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn set_up(&self, _interface: u32, _mtu: u16) -> Result<(), NetworkError> {
        match self.0 {}
    }

    /// Has the kernel make super-packets of at most `bytes` bytes for an interface.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn limit_super_packets(&self, _interface: u32, _bytes: u32) -> Result<(), NetworkError> {
        match self.0 {}
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn add_address(&self, _interface: u32, _address: IpNet) -> Result<(), NetworkError> {
        match self.0 {}
    }

    /// Takes an address from an interface.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn remove_address(&self, _interface: u32, _address: IpNet) -> Result<(), NetworkError> {
        match self.0 {}
    }

    /// Routes a prefix to an interface.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn add_route(&self, _interface: u32, _prefix: IpNet) -> Result<(), NetworkError> {
        match self.0 {}
    }

    /// Removes such a route.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn remove_route(&self, _interface: u32, _prefix: IpNet) -> Result<(), NetworkError> {
        match self.0 {}
    }

    /// All addresses of this host.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn addresses(&self) -> Result<Vec<Attached>, NetworkError> {
        match self.0 {}
    }

    /// All interfaces of this host.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn links(&self) -> Result<Vec<Link>, NetworkError> {
        match self.0 {}
    }

    /// Removes an interface.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn remove_link(&self, _interface: u32) -> Result<(), NetworkError> {
        match self.0 {}
    }
}

/// News about interfaces and addresses, of which there are none here.
#[derive(Debug)]
pub struct Changes(std::convert::Infallible);

impl Changes {
    /// The extension tells what changes.
    ///
    /// # Errors
    /// Always `Unsupported`.
    pub fn listen() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "on macOS the extension tells what changes"))
    }

    /// Waits for a change.
    pub async fn next(&mut self) -> Option<()> {
        match self.0 {}
    }
}

/// Whether an interface may have IPv6 addresses: the extension's system decides.
pub const fn has_ipv6(_interface: &str) -> bool {
    true
}
