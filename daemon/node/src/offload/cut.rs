//! Cutting a super-packet into the packets that it stands for.

use super::{Segmentation, VnetHeader, finish_network, put};
use crate::drops::DropReason;
use crate::packet::{Checksum, Layer4, Protocol, complete_at, rebase_sum};

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

/// How a super-packet of the kernel is cut: a row of packets with one header each, all but the last of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuperPacket {
    protocol: Protocol,
    /// Offset of the layer-4 header.
    start: usize,
    /// Offset of the payload.
    payload: usize,
    /// Payload bytes of each packet but the last.
    segment: usize,
    /// Bytes of the whole super-packet.
    length: usize,
    /// What its packets' checksums may stay: partial only without IPv6 extension headers (7.2).
    checksum: Checksum,
}

impl SuperPacket {
    /// Reads how `packet`, whose length was checked, is to be cut.
    ///
    /// # Errors
    /// [`DropReason::OutMalformed`] when header and packet do not fit each other.
    pub fn read(vnet: &VnetHeader, packet: &[u8]) -> Result<Self, DropReason> {
        Self::find(vnet, packet).ok_or(DropReason::OutMalformed)
    }

    fn find(vnet: &VnetHeader, packet: &[u8]) -> Option<Self> {
        let (protocol, version) = match vnet.segmentation {
            Segmentation::TcpV4 => (Protocol::Tcp, 4),
            Segmentation::TcpV6 => (Protocol::Tcp, 6),
            Segmentation::Udp => (Protocol::Udp, packet.first()? >> 4),
            Segmentation::None | Segmentation::Unknown(_) => return None,
        };
        let start = usize::from(vnet.checksum_start);
        let header = match protocol {
            Protocol::Tcp => usize::from(*packet.get(start + 12)? >> 4) * 4,
            Protocol::Udp => 8,
        };
        let least = if version == 4 { 20 } else { 40 };
        let payload = start + header;
        let sound = packet.first()? >> 4 == version
            && start >= least
            && header > protocol.checksum_offset()
            && usize::from(vnet.checksum_offset) == protocol.checksum_offset()
            && vnet.needs_checksum
            && vnet.segment > 0
            && payload < packet.len();
        if !sound {
            return None;
        }
        let plain = Layer4::find(packet).is_some_and(|found| found.start == start && found.protocol == protocol);
        let checksum = if plain { Checksum::Partial } else { Checksum::Complete };
        Some(Self { protocol, start, payload, segment: vnet.segment.into(), length: packet.len(), checksum })
    }

    /// How many packets it stands for.
    pub const fn count(&self) -> usize {
        (self.length - self.payload).div_ceil(self.segment)
    }

    /// Bytes of its longest packet.
    pub fn longest(&self) -> usize {
        self.length_of(0)
    }

    const fn field(&self) -> usize {
        self.start + self.protocol.checksum_offset()
    }

    /// What its packets' checksums may stay.
    pub(crate) const fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// Bytes of packet `number`.
    pub(crate) fn length_of(&self, number: usize) -> usize {
        let left = self.length - self.payload - number * self.segment;
        self.payload + left.min(self.segment)
    }

    /// Writes packet `number` into `out`, which has its length, and finishes its checksum as `checksum` says.
    pub(crate) fn write(&self, packet: &[u8], number: usize, checksum: Checksum, out: &mut [u8]) {
        let offset = number * self.segment;
        let (header, payload) = out.split_at_mut(self.payload);
        header.copy_from_slice(&packet[..self.payload]);
        payload.copy_from_slice(&packet[self.payload + offset..][..payload.len()]);
        let length = out.len();
        if out[0] >> 4 == 4 {
            let id = u16::from_be_bytes([out[4], out[5]]).wrapping_add(number as u16);
            put(out, 4, id.into());
        }
        finish_network(out, self.start, length);
        self.finish_transport(out, offset, length);
        if checksum == Checksum::Complete {
            complete_at(out, self.start, self.field());
        }
    }

    fn finish_transport(&self, out: &mut [u8], offset: usize, length: usize) {
        let transport = length - self.start;
        let field = self.field();
        let whole = (self.length - self.start) as u16;
        let sum = rebase_sum(u16::from_be_bytes([out[field], out[field + 1]]), whole, transport as u16);
        put(out, field, sum.into());
        match self.protocol {
            Protocol::Udp => put(out, self.start + 4, transport),
            Protocol::Tcp => {
                let at = self.start + 4;
                let sequence = u32::from_be_bytes([out[at], out[at + 1], out[at + 2], out[at + 3]]);
                out[at..at + 4].copy_from_slice(&sequence.wrapping_add(offset as u32).to_be_bytes());
                let flags = &mut out[self.start + 13];
                if self.payload + offset + (length - self.payload) < self.length {
                    *flags &= !(TCP_FIN | TCP_PSH);
                }
                if offset > 0 {
                    *flags &= !TCP_CWR;
                }
            }
        }
    }
}
