use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::packet::{Checksum, complete_checksum, partial_checksum_fits, true_length};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

/// A super-packet as the kernel makes it, and its header.
#[derive(Clone, Debug)]
struct Flow {
    version: Version,
    protocol: Protocol,
    /// Bytes of IPv4 and TCP options, multiples of four.
    options: (usize, usize),
    segment: usize,
    payload: Vec<u8>,
    flags: u8,
    id: u16,
    sequence: u32,
    tos: u8,
}

impl Flow {
    fn start(&self) -> usize {
        match self.version {
            Version::V4 => 20 + self.options.0,
            Version::V6 => 40,
        }
    }

    fn packet(&self) -> Vec<u8> {
        let start = self.start();
        let header = match self.protocol {
            Protocol::Tcp => 20 + self.options.1,
            Protocol::Udp => 8,
        };
        let mut packet = vec![0; start + header];
        packet.extend(&self.payload);
        let length = packet.len();
        let number = match self.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        };
        match self.version {
            Version::V4 => {
                packet[0] = 0x40 | (start / 4) as u8;
                packet[1] = self.tos;
                packet[4..6].copy_from_slice(&self.id.to_be_bytes());
                (packet[6], packet[8], packet[9]) = (0x40, 64, number);
                packet[12..20].copy_from_slice(&[10, 86, 0, 1, 10, 86, 0, 2]);
                packet[20..start].fill(1);
            }
            Version::V6 => {
                packet[0] = 0x60 | self.tos >> 4;
                packet[1] = self.tos << 4;
                (packet[6], packet[7]) = (number, 64);
                packet[8..40].copy_from_slice(&[0xfd; 32]);
            }
        }
        packet[start..start + 4].copy_from_slice(&[0x30, 0x39, 0, 80]);
        match self.protocol {
            Protocol::Tcp => {
                packet[start + 4..start + 8].copy_from_slice(&self.sequence.to_be_bytes());
                packet[start + 12] = ((header / 4) << 4) as u8;
                packet[start + 13] = self.flags;
                packet[start + 20..start + header].fill(1);
            }
            Protocol::Udp => put(&mut packet, start + 4, length - start),
        }
        finish_network(&mut packet, start, length);
        let layer4 = Layer4::find(&packet).unwrap();
        let sum = layer4.pseudo_sum(&packet, length);
        put(&mut packet, layer4.field(), sum.into());
        packet
    }

    fn vnet(&self) -> VnetHeader {
        VnetHeader {
            needs_checksum: true,
            segmentation: match (self.protocol, self.version) {
                (Protocol::Udp, _) => Segmentation::Udp,
                (Protocol::Tcp, Version::V4) => Segmentation::TcpV4,
                (Protocol::Tcp, Version::V6) => Segmentation::TcpV6,
            },
            header_length: 0,
            segment: self.segment as u16,
            checksum_start: self.start() as u16,
            checksum_offset: self.protocol.checksum_offset() as u16,
        }
    }

    fn cut(&self, checksum: Checksum) -> Vec<Vec<u8>> {
        let packet = self.packet();
        let cut = SuperPacket::read(&self.vnet(), &packet).unwrap();
        let write = |number| {
            let mut out = vec![0xaa; cut.length_of(number)];
            cut.write(&packet, number, checksum, &mut out);
            out
        };
        (0..cut.count()).map(write).collect()
    }
}

fn flows() -> impl Strategy<Value = Flow> {
    let version = prop_oneof![Just(Version::V4), Just(Version::V6)];
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    let options = (0..=10usize, 0..=10usize).prop_map(|(ip, tcp)| (ip * 4, tcp * 4));
    let payload = (1..=60usize, 1..=1000usize, 1..=1000usize).prop_flat_map(|(count, segment, last)| {
        let length = (count - 1) * segment + last.min(segment);
        (Just(segment), prop::collection::vec(any::<u8>(), length))
    });
    let flags = prop_oneof![Just(0x10), Just(0x18), Just(0x50), Just(0x58)];
    (version, protocol, options, payload, flags, any::<u16>(), any::<u32>(), any::<u8>()).prop_map(
        |(version, protocol, options, (segment, payload), flags, id, sequence, tos)| Flow {
            version,
            protocol,
            options,
            segment,
            payload,
            flags,
            id,
            sequence,
            tos,
        },
    )
}

/// What a device would be given: each write as its header and the packet behind it.
fn merge(rule: MergeRule, packets: &[Vec<u8>], checksum: Checksum) -> Vec<(VnetHeader, Vec<u8>)> {
    let arena = packets.concat();
    let mut merger = Merger::new(rule);
    let mut written = Vec::new();
    let mut write = |merged: Merged<'_>| {
        let (vnet, headers) = merged.head.split_first_chunk::<{ VnetHeader::LEN }>().unwrap();
        let parts = merged.payload.iter().map(|part| &arena[part.clone()]);
        let packet = std::iter::once(headers).chain(parts).collect::<Vec<_>>().concat();
        written.push((VnetHeader::from_bytes(vnet), packet));
    };
    let mut at = 0;
    for packet in packets {
        let range: Range<usize> = at..at + packet.len();
        at = range.end;
        merger.push(&arena, range, checksum, &mut write);
    }
    merger.flush(&mut write);
    written
}

fn tcp(count: usize, segment: usize) -> Flow {
    Flow {
        version: Version::V4,
        protocol: Protocol::Tcp,
        options: (0, 12),
        segment,
        payload: (0..count * segment).map(|i| i as u8).collect(),
        flags: 0x18,
        id: 0xfffe,
        sequence: u32::MAX - 100,
        tos: 2,
    }
}

proptest! {
    #[test]
    fn what_is_cut_is_whole_packets_and_merges_to_what_it_was(flow in flows()) {
        let packets = flow.cut(Checksum::Partial);
        prop_assert_eq!(packets.len(), flow.payload.len().div_ceil(flow.segment));
        for packet in &packets {
            prop_assert_eq!(true_length(packet), Ok(packet.len()));
            prop_assert!(partial_checksum_fits(packet));
        }
        let merged = merge(MergeRule::TcpAndUdp, &packets, Checksum::Partial);
        let bytes: Vec<_> = merged.iter().map(|(_, packet)| packet.clone()).collect();
        prop_assert_eq!(bytes, [flow.packet()]);
        let vnet = merged[0].0;
        prop_assert!(vnet.needs_checksum && usize::from(vnet.checksum_start) == flow.start());
        if packets.len() > 1 {
            prop_assert_eq!((vnet.segmentation, usize::from(vnet.segment)), (flow.vnet().segmentation, flow.segment));
        } else {
            prop_assert_eq!(vnet.segmentation, Segmentation::None);
        }
    }

    #[test]
    fn sums_completed_while_cutting_are_those_completed_afterwards(flow in flows()) {
        let partial = flow.cut(Checksum::Partial).into_iter().map(|mut packet| {
            complete_checksum(&mut packet).unwrap();
            packet
        });
        prop_assert_eq!(flow.cut(Checksum::Complete), partial.collect::<Vec<_>>());
    }

    #[test]
    fn the_reader_and_the_merger_take_any_bytes(
        vnet in any::<[u8; VnetHeader::LEN]>(),
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 20..200), 1..8),
    ) {
        let vnet = VnetHeader::from_bytes(&vnet);
        for packet in &packets {
            if let Ok(cut) = SuperPacket::read(&vnet, packet) {
                for number in 0..cut.count() {
                    cut.write(packet, number, Checksum::Complete, &mut vec![0; cut.length_of(number)]);
                }
            }
        }
        let written = merge(MergeRule::TcpAndUdp, &packets, Checksum::Partial);
        let bytes: usize = written.iter().map(|(_, packet)| packet.len()).sum();
        prop_assert!(bytes <= packets.concat().len());
    }
}

#[test]
fn a_header_reads_back() {
    let vnet = tcp(2, 100).vnet();
    assert_eq!(VnetHeader::from_bytes(&vnet.to_bytes()), vnet);
    assert_eq!(VnetHeader::default().to_bytes(), [0; VnetHeader::LEN]);
    let mut congestion = vnet.to_bytes();
    congestion[1] |= Segmentation::ECN;
    assert_eq!(VnetHeader::from_bytes(&congestion), vnet);
}

#[test]
fn fin_and_push_stand_on_the_last_packet_and_cwr_on_the_first() {
    let flow = Flow { flags: 0x10 | 0x01 | 0x08 | 0x80, ..tcp(3, 100) };
    let flags: Vec<_> = flow.cut(Checksum::Partial).iter().map(|packet| packet[20 + 13]).collect();
    assert_eq!(flags, [0x90, 0x10, 0x19]);
}

#[test]
fn numbers_wrap_around() {
    let packets = tcp(3, 100).cut(Checksum::Partial);
    let ids: Vec<_> = packets.iter().map(|p| u16::from_be_bytes([p[4], p[5]])).collect();
    assert_eq!(ids, [0xfffe, 0xffff, 0]);
    let sequences: Vec<_> = packets.iter().map(|p| u32::from_be_bytes([p[24], p[25], p[26], p[27]])).collect();
    assert_eq!(sequences, [u32::MAX - 100, u32::MAX, 99]);
}

#[test]
fn only_neighbours_that_the_kernel_would_cut_alike_are_merged() {
    let base = tcp(3, 100).cut(Checksum::Partial);
    let sizes = |packets: &[Vec<u8>]| {
        merge(MergeRule::TcpAndUdp, packets, Checksum::Partial).iter().map(|(_, p)| p.len() - 52).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&base), [300]);
    let changed = |at: usize, to: u8| {
        let mut packets = base.clone();
        packets[1][at] = to;
        sizes(&packets)
    };
    for (what, at) in
        [("TOS", 1), ("TTL", 8), ("source", 15), ("port", 21), ("sequence", 27), ("ack", 31), ("window", 35)]
    {
        assert_eq!(changed(at, 0x77), [100, 100, 100], "another {what}");
    }
    assert_eq!(changed(33, 0x90), [100, 100, 100], "CWR is never merged");
    assert_eq!(changed(33, 0x12), [100, 100, 100], "nor is SYN");
    assert_eq!(changed(5, 0x77), [100, 100, 100], "an identification out of order");
    assert_eq!(changed(33, 0x18), [200, 100], "a pushed packet is the last of its super-packet");
    let skipped = [base[0].clone(), base[2].clone()];
    assert_eq!(sizes(&skipped), [100, 100], "a hole in the sequence");
    let same_id: Vec<_> = base
        .iter()
        .map(|packet| {
            let mut packet = packet.clone();
            packet[4..6].fill(0);
            packet
        })
        .collect();
    assert_eq!(sizes(&same_id), [300], "what is never fragmented may keep its identification");
}

#[test]
fn whole_checksums_and_what_the_device_cannot_take_pass_alone() {
    let packets = tcp(3, 100).cut(Checksum::Complete);
    let written = merge(MergeRule::TcpAndUdp, &packets, Checksum::Complete);
    assert!(written.iter().zip(&packets).all(|((vnet, out), packet)| *vnet == VnetHeader::default() && out == packet));
    let udp = Flow { protocol: Protocol::Udp, ..tcp(3, 100) }.cut(Checksum::Partial);
    assert_eq!(merge(MergeRule::Tcp, &udp, Checksum::Partial).len(), 3);
    assert_eq!(merge(MergeRule::TcpAndUdp, &udp, Checksum::Partial).len(), 1);
}

#[test]
fn a_super_packet_ends_at_the_longest_packet_and_at_64_parts() {
    let long = Flow { payload: vec![0; 45 * 1400], ..tcp(1, 1400) }.cut(Checksum::Partial);
    let again =
        Flow { payload: vec![0; 45 * 1400], sequence: (u32::MAX - 100).wrapping_add(45 * 1400), ..tcp(1, 1400) };
    let mut packets = long;
    packets.last_mut().unwrap()[33] &= !0x08;
    packets.extend(Flow { id: 0xfffe_u16.wrapping_add(45), ..again }.cut(Checksum::Partial));
    let written = merge(MergeRule::Tcp, &packets, Checksum::Partial);
    assert!(written.iter().all(|(_, packet)| packet.len() <= 65_535) && written.len() == 2);
    let many = Flow { payload: vec![0; 65 * 10], ..tcp(1, 10) }.cut(Checksum::Partial);
    assert_eq!(merge(MergeRule::Tcp, &many, Checksum::Partial).len(), 2);
}

#[test]
fn a_header_that_does_not_fit_its_packet_is_refused() {
    let flow = tcp(3, 100);
    let packet = flow.packet();
    let refused = |change: fn(&mut VnetHeader)| {
        let mut vnet = flow.vnet();
        change(&mut vnet);
        SuperPacket::read(&vnet, &packet) == Err(DropReason::OutMalformed)
    };
    assert!(!refused(|_| ()));
    assert!(refused(|vnet| vnet.segment = 0));
    assert!(refused(|vnet| vnet.segmentation = Segmentation::TcpV6));
    assert!(refused(|vnet| vnet.segmentation = Segmentation::Unknown(3)));
    assert!(refused(|vnet| vnet.needs_checksum = false));
    assert!(refused(|vnet| vnet.checksum_start = 8));
    assert!(refused(|vnet| vnet.checksum_start = 60_000));
    assert!(refused(|vnet| vnet.checksum_offset = 6));
}

#[test]
fn behind_an_extension_header_sums_are_completed() {
    let flow = Flow { version: Version::V6, options: (0, 0), ..tcp(2, 100) };
    let mut packet = flow.packet();
    // Eight bytes of destination options (RFC 8200, 4.6) between the headers.
    packet.splice(40..40, [6, 0, 1, 4, 0, 0, 0, 0]);
    packet[6] = 60;
    let length = packet.len();
    put(&mut packet, 4, length - 40);
    let vnet = VnetHeader { checksum_start: 48, ..flow.vnet() };
    let cut = SuperPacket::read(&vnet, &packet).unwrap();
    assert_eq!((cut.count(), cut.checksum()), (2, Checksum::Complete));
    for (number, plain) in flow.cut(Checksum::Complete).iter().enumerate() {
        let mut out = vec![0; cut.length_of(number)];
        cut.write(&packet, number, Checksum::Complete, &mut out);
        assert_eq!(out[48..], plain[40..], "extension headers are not in the sum");
    }
}
