//! The TUN device: batches of inner packets in and out.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

pub use platform::{Tun, Waker};

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunConfig {
    /// The interface's name, at most 15 bytes.
    pub name: String,
}

/// Packets of one read, in one reused buffer.
#[derive(Debug)]
pub struct PacketBatch {
    buffer: Box<[u8]>,
    /// Where each packet ends.
    ends: Vec<usize>,
}

/// The longest packet that a TUN device hands out.
pub const MAX_PACKET: usize = 65_535;
const MAX_PACKETS: usize = 256;

impl Default for PacketBatch {
    fn default() -> Self {
        Self { buffer: vec![0; 4 * MAX_PACKET].into_boxed_slice(), ends: Vec::with_capacity(MAX_PACKETS) }
    }
}

impl PacketBatch {
    /// The packets, in the order in which they were read.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied()).map(|(start, end)| &self.buffer[start..end])
    }

    /// How many packets it holds.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.ends.clear();
    }

    /// Appends a packet; whether there was room. For sources that are no device.
    pub fn push(&mut self, packet: &[u8]) -> bool {
        let fits = self.room().and_then(|room| room.get_mut(..packet.len())).map(|room| room.copy_from_slice(packet));
        if fits.is_some() {
            self.commit(packet.len());
        }
        fits.is_some()
    }

    /// Room for one more packet of any length, or `None` when the batch is full.
    fn room(&mut self) -> Option<&mut [u8]> {
        let used = self.ends.last().copied().unwrap_or(0);
        let room = &mut self.buffer[used..];
        (room.len() >= MAX_PACKET && self.ends.len() < MAX_PACKETS).then_some(room)
    }

    fn commit(&mut self, length: usize) {
        let used = self.ends.last().copied().unwrap_or(0);
        self.ends.push(used + length);
    }
}
