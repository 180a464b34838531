//! Merging neighbours of one flow into a super-packet, without copying their payloads.

use std::ops::Range;

use super::{Segmentation, VnetHeader, finish_network, put};
use crate::packet::{Checksum, Layer4, Protocol};

/// The longest headers: an IPv4 header and a TCP header, both with all options.
const MAX_HEADERS: usize = 120;
const MAX_PACKET: usize = 65_535;
const MAX_PARTS: usize = 64;
const TCP_PSH: u8 = 0x08;
/// Flags that a packet in the middle of a super-packet may have: ACK, PSH on the last one, ECE on all.
const TCP_MERGEABLE: u8 = 0x10 | TCP_PSH | 0x40;
const TCP_ACK: u8 = 0x10;

/// Which super-packets the device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeRule {
    /// TCP.
    Tcp,
    /// TCP and UDP (Linux 6.2 and later).
    TcpAndUdp,
}

/// One write to the device: `head`, then the bytes of the arena that `payload` names, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged<'m> {
    /// A [`VnetHeader`] and, of a super-packet, its headers.
    pub head: &'m [u8],
    /// Where the rest lies.
    pub payload: &'m [Range<usize>],
}

impl Merged<'_> {
    /// Where the packets lie that it was made of, each as it was.
    pub fn packets(&self) -> impl Iterator<Item = Range<usize>> {
        let headers = self.head.len().saturating_sub(VnetHeader::LEN);
        self.payload.iter().map(move |part| part.start.saturating_sub(headers)..part.end)
    }

    /// Whether their checksums are partial.
    pub fn needs_checksum(&self) -> bool {
        self.head.first_chunk().is_some_and(|header| VnetHeader::from_bytes(header).needs_checksum)
    }
}

/// A super-packet under construction. Payloads stay where they were opened, so [`Self::flush`] must be called before
/// the arena is used again.
pub struct Merger {
    rule: MergeRule,
    head: [u8; VnetHeader::LEN + MAX_HEADERS],
    flow: Option<Flow>,
    parts: Vec<Range<usize>>,
}

struct Flow {
    layer4: Layer4,
    /// Payload bytes of the first packet, which all but the last must have.
    segment: usize,
    bytes: usize,
    next_sequence: u32,
}

impl Merger {
    /// A merger with nothing in it.
    pub fn new(rule: MergeRule) -> Self {
        let head = [0; VnetHeader::LEN + MAX_HEADERS];
        Self { rule, head, flow: None, parts: Vec::with_capacity(MAX_PARTS) }
    }

    /// Takes the packet at `at` of `arena`, whose length was checked; `write` gets what is ready.
    pub fn push(&mut self, arena: &[u8], at: Range<usize>, checksum: Checksum, mut write: impl FnMut(Merged<'_>)) {
        let packet = &arena[at.clone()];
        let layer4 = match checksum {
            Checksum::Partial => Layer4::find(packet),
            Checksum::Complete => None,
        };
        let Some(layer4) = layer4 else {
            self.flush(&mut write);
            return write(Merged { head: &VnetHeader::default().to_bytes(), payload: &[at] });
        };
        if !self.continues(&layer4, packet) {
            self.flush(&mut write);
            self.begin(layer4, packet);
        }
        if self.append(&layer4, packet, at, self.may_go_on(&layer4, packet)) == More::No {
            self.flush(&mut write);
        }
    }

    /// Writes what is under construction.
    pub fn flush(&mut self, mut write: impl FnMut(Merged<'_>)) {
        let Some(flow) = self.flow.take() else { return };
        let Layer4 { protocol, start, payload } = flow.layer4;
        let mut vnet = VnetHeader {
            needs_checksum: true,
            checksum_start: start as u16,
            checksum_offset: protocol.checksum_offset() as u16,
            ..VnetHeader::default()
        };
        let (front, header) = self.head.split_at_mut(VnetHeader::LEN);
        let header = &mut header[..payload];
        if self.parts.len() > 1 {
            vnet.segmentation = Segmentation::of(&flow.layer4, header[0]);
            vnet.header_length = payload as u16;
            vnet.segment = flow.segment as u16;
            finish(&flow, header);
        }
        front.copy_from_slice(&vnet.to_bytes());
        write(Merged { head: &self.head[..VnetHeader::LEN + payload], payload: &self.parts });
        self.parts.clear();
    }

    fn begin(&mut self, layer4: Layer4, packet: &[u8]) {
        self.head[VnetHeader::LEN..][..layer4.payload].copy_from_slice(&packet[..layer4.payload]);
        self.flow = Some(Flow { layer4, segment: packet.len() - layer4.payload, bytes: 0, next_sequence: 0 });
    }

    fn append(&mut self, layer4: &Layer4, packet: &[u8], at: Range<usize>, more: More) -> More {
        let Some(flow) = &mut self.flow else { return More::No };
        let length = packet.len() - layer4.payload;
        flow.bytes += length;
        self.parts.push(at.start + layer4.payload..at.end);
        if layer4.protocol == Protocol::Tcp {
            flow.next_sequence = sequence(layer4, packet).wrapping_add(length as u32);
            self.head[VnetHeader::LEN + layer4.start + 13] |= packet[layer4.start + 13] & TCP_PSH;
        }
        let full = length < flow.segment || self.parts.len() == MAX_PARTS;
        if full { More::No } else { more }
    }

    /// Whether a packet may follow this one in a super-packet.
    fn may_go_on(&self, layer4: &Layer4, packet: &[u8]) -> More {
        let length = packet.len() - layer4.payload;
        let goes = match layer4.protocol {
            Protocol::Tcp => {
                let flags = packet[layer4.start + 13];
                flags & !TCP_MERGEABLE == 0 && flags & TCP_ACK != 0 && flags & TCP_PSH == 0
            }
            Protocol::Udp => {
                let claimed = u16::from_be_bytes([packet[layer4.start + 4], packet[layer4.start + 5]]);
                self.rule == MergeRule::TcpAndUdp && usize::from(claimed) == packet.len() - layer4.start
            }
        };
        if goes && length > 0 { More::Yes } else { More::No }
    }

    /// Whether the packet is the next one of the flow under construction.
    fn continues(&self, layer4: &Layer4, packet: &[u8]) -> bool {
        let Some(flow) = &self.flow else { return false };
        let first = &self.head[VnetHeader::LEN..][..flow.layer4.payload];
        let length = packet.len() - layer4.payload;
        flow.layer4 == *layer4
            && (1..=flow.segment).contains(&length)
            && layer4.payload + flow.bytes + length <= MAX_PACKET
            && same_network(first, packet, layer4, self.parts.len())
            && same_transport(flow, first, packet)
    }
}

/// Whether more may follow in the super-packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

/// Equal but for length, checksum and IPv4 identification, which counts up, or stays where nothing is ever fragmented.
fn same_network(first: &[u8], packet: &[u8], layer4: &Layer4, number: usize) -> bool {
    if first[0] >> 4 == 6 {
        return first[..4] == packet[..4] && first[6..40] == packet[6..40];
    }
    let id = |header: &[u8]| u16::from_be_bytes([header[4], header[5]]);
    let never_fragmented = packet[6] & 0x40 != 0;
    let counts_up = id(packet) == id(first).wrapping_add(number as u16);
    first[..2] == packet[..2]
        && first[6..10] == packet[6..10]
        && first[12..layer4.start] == packet[12..layer4.start]
        && (counts_up || (never_fragmented && id(packet) == id(first)))
}

fn same_transport(flow: &Flow, first: &[u8], packet: &[u8]) -> bool {
    let Layer4 { protocol, start, payload } = flow.layer4;
    if first[start..start + 4] != packet[start..start + 4] {
        return false;
    }
    match protocol {
        Protocol::Udp => {
            usize::from(u16::from_be_bytes([packet[start + 4], packet[start + 5]])) == packet.len() - start
        }
        Protocol::Tcp => {
            let (ours, theirs) = (&first[start..payload], &packet[start..payload]);
            sequence(&flow.layer4, packet) == flow.next_sequence
                && ours[8..13] == theirs[8..13]
                && ours[13] | TCP_PSH == theirs[13] | TCP_PSH
                && ours[14..16] == theirs[14..16]
                && ours[18..] == theirs[18..]
        }
    }
}

fn sequence(layer4: &Layer4, packet: &[u8]) -> u32 {
    let at = layer4.start + 4;
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

/// Lengths and sums of the whole super-packet.
fn finish(flow: &Flow, header: &mut [u8]) {
    let layer4 = flow.layer4;
    let length = layer4.payload + flow.bytes;
    if layer4.protocol == Protocol::Udp {
        put(header, layer4.start + 4, length - layer4.start);
    }
    finish_network(header, layer4.start, length);
    let sum = layer4.pseudo_sum(header, length);
    put(header, layer4.field(), sum.into());
}
