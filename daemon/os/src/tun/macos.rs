//! On macOS the packet-tunnel extension owns the interface and hands its packets to the daemon.

use std::io;

use node::offload::{MergeRule, Merged};

use super::{PacketBatch, TunConfig};
use crate::bell::Waker;

/// Never opened.
#[derive(Debug)]
pub struct Tun(std::convert::Infallible);

impl Tun {
    /// The daemon opens no interface itself here.
    ///
    /// # Errors
    /// Always `Unsupported`.
    pub fn open(_config: &TunConfig) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "on macOS inner packets come from the extension"))
    }

    /// Another handle.
    ///
    /// # Errors
    /// Never: there is none.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self.0 {}
    }

    /// Which super-packets the device takes.
    pub const fn merge_rule(&self) -> Option<MergeRule> {
        match self.0 {}
    }

    /// What ends a blocked read.
    pub fn waker(&self) -> Waker {
        match self.0 {}
    }

    /// Waits for packets.
    ///
    /// # Errors
    /// Never: there is none.
    pub fn read_batch(&mut self, _batch: &mut PacketBatch) -> io::Result<()> {
        match self.0 {}
    }

    /// Hands one packet to the host.
    ///
    /// # Errors
    /// Never: there is none.
    pub fn write(&mut self, _packet: &[u8]) -> io::Result<()> {
        match self.0 {}
    }

    /// Hands over what a merger made.
    ///
    /// # Errors
    /// Never: there is none.
    pub fn write_merged(&mut self, _merged: Merged<'_>, _arena: &[u8]) -> io::Result<()> {
        match self.0 {}
    }
}
