//! The TUN device: batches of inner packets in and out.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

pub use platform::Tun;

use std::io;
use std::ops::Range;

use node::offload::VnetHeader;

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunConfig {
    /// The interface's name, at most 15 bytes.
    pub name: String,
    /// Whether to use the kernel's segmentation offload.
    pub offload: TunOffload,
}

/// Whether a TUN device hands over and takes super-packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunOffload {
    /// As far as the kernel can.
    Probe,
    /// The same, but datagrams come and go one by one, as on kernels before 6.2.
    ProbeTcp,
    /// Single packets with whole checksums, as on kernels without `IFF_VNET_HDR`.
    Off,
}

/// Whether a device refused a write for what it is: what it takes otherwise, it may take in another form.
pub fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL))
}

/// Packets of one read, in one reused buffer.
#[derive(Debug)]
pub struct PacketBatch {
    buffer: Box<[u8]>,
    entries: Vec<Entry>,
}

/// Where a packet lies, and what the kernel left to do on it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    vnet: VnetHeader,
    start: usize,
    end: usize,
}

impl Entry {
    /// A packet on which nothing is left to do.
    pub fn whole(at: Range<usize>) -> Self {
        Self { vnet: VnetHeader::default(), start: at.start, end: at.end }
    }
}

/// Packets that lie in somebody's memory, to be worked on in place.
#[derive(Debug)]
pub struct LentPackets<'m> {
    memory: &'m mut [u8],
    entries: &'m [Entry],
}

impl<'m> LentPackets<'m> {
    /// The packets at `entries` of `memory`, which follow each other there and do not overlap.
    pub const fn new(memory: &'m mut [u8], entries: &'m [Entry]) -> Self {
        Self { memory, entries }
    }

    /// The packets, each with what the kernel left to do on it.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (VnetHeader, &mut [u8])> {
        let mut rest = &mut *self.memory;
        let mut offset = 0;
        self.entries.iter().map(move |entry| {
            let (taken, behind) = std::mem::take(&mut rest).split_at_mut(entry.end - offset);
            rest = behind;
            let packet = &mut taken[entry.start - offset..];
            offset = entry.end;
            (entry.vnet, packet)
        })
    }
}

/// The longest packet that a TUN device hands out.
pub const MAX_PACKET: usize = 65_535;
const MAX_PACKETS: usize = 256;
const MAX_READ: usize = VnetHeader::LEN + MAX_PACKET;

impl Default for PacketBatch {
    fn default() -> Self {
        Self { buffer: vec![0; 4 * MAX_READ].into_boxed_slice(), entries: Vec::with_capacity(MAX_PACKETS) }
    }
}

impl PacketBatch {
    /// The packets, in the order in which they were read.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.entries.iter().map(|entry| &self.buffer[entry.start..entry.end])
    }

    /// The packets, for whoever works on them in place.
    pub fn lend(&mut self) -> LentPackets<'_> {
        LentPackets::new(&mut self.buffer, &self.entries)
    }

    /// How many packets it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Appends a packet; whether there was room. For sources that are no device.
    pub fn push(&mut self, vnet: VnetHeader, packet: &[u8]) -> bool {
        let fits = self.room().and_then(|room| room.get_mut(..packet.len())).map(|room| room.copy_from_slice(packet));
        if fits.is_some() {
            self.commit(vnet, 0, packet.len());
        }
        fits.is_some()
    }

    fn used(&self) -> usize {
        self.entries.last().map_or(0, |entry| entry.end)
    }

    /// Room for one more read of any length, or `None` when the batch is full.
    fn room(&mut self) -> Option<&mut [u8]> {
        let used = self.used();
        let room = &mut self.buffer[used..];
        (room.len() >= MAX_READ && self.entries.len() < MAX_PACKETS).then_some(room)
    }

    /// Enters what was read into [`Self::room`]: `length` bytes, of which the first `header` are not the packet's.
    fn commit(&mut self, vnet: VnetHeader, header: usize, length: usize) {
        let used = self.used();
        self.entries.push(Entry { vnet, start: used + header, end: used + length });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_a_batch_come_back_in_order_with_their_headers() {
        let mut batch = PacketBatch::default();
        let vnet = VnetHeader { needs_checksum: true, ..VnetHeader::default() };
        assert!(batch.push(vnet, b"one") && batch.push(VnetHeader::default(), b"three"));
        let seen: Vec<_> = batch.lend().iter_mut().map(|(vnet, packet)| (vnet, packet.to_vec())).collect();
        assert_eq!(seen, [(vnet, b"one".to_vec()), (VnetHeader::default(), b"three".to_vec())]);
        assert_eq!(batch.packets().collect::<Vec<_>>(), [&b"one"[..], b"three"]);
        while batch.push(vnet, &[0; MAX_PACKET]) {}
        assert_eq!(batch.len(), 2 + 4, "a read of any length has room, or none begins");
    }
}
