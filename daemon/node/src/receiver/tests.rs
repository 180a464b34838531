use std::time::Duration;

use super::*;
use crate::drops::DropCounters;
use crate::epoch::{Bound, Cipher, Limits, Outgoing, Sealer, WINDOW};
use crate::frame::FrameBatch;
use crate::handshake::{Negotiated, PaddingMode};
use crate::offload::{Segmentation, SuperPacket, VnetHeader};
use crate::router::Router;
use crate::secret::SecretKey32;

const SLOT: PeerSlot = PeerSlot(7);
const NOW: Time = Time::from_nanos(1_000_000_000);

fn negotiated(cipher: Cipher) -> Negotiated {
    Negotiated {
        mtu: 1420,
        rotation: Duration::from_secs(300),
        padding: PaddingMode::Multiple16,
        cipher,
        partial_checksums: true,
    }
}

fn index() -> ReceiverIndex {
    ReceiverIndex::new(0x5566_7788).unwrap()
}

struct Pair {
    sealer: Sealer,
    receiver: Receiver,
    router: Router,
}

fn pair_with(cipher: Cipher, limits: Limits) -> Pair {
    let key = SecretKey32::new([3; 32]);
    let negotiated = negotiated(cipher);
    let state = || Arc::new(EpochState::new(EpochId(1)));
    let sealer = Sealer::new(&key, index(), &negotiated, limits, NOW, state());
    let mut receiver = Receiver::default();
    receiver.install(SLOT, Opener::new(&key, index(), &negotiated, limits, NOW, state()));
    let mut router = Router::new(["10.86.0.1".parse().unwrap()], [], []);
    router.add_peer(SLOT, &["10.86.0.2/32".parse().unwrap()]).unwrap();
    Pair { sealer, receiver, router }
}

fn pair() -> Pair {
    pair_with(Cipher::ChaCha20Poly1305, Limits::standard(Cipher::ChaCha20Poly1305, Duration::from_secs(300)))
}

fn inner(length: usize) -> Vec<u8> {
    let mut packet = vec![0xab; length];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    packet[9] = 17;
    packet[12..20].copy_from_slice(&[10, 86, 0, 2, 10, 86, 0, 1]);
    packet
}

impl Pair {
    fn limits(&mut self) -> Vec<(PeerSlot, Report)> {
        self.receiver.limits_reached().collect()
    }

    fn seal(&self, packet: &[u8]) -> Vec<u8> {
        let mut batch = FrameBatch::new(4096);
        let outgoing = [Outgoing { packet, checksum: Checksum::Complete }];
        self.sealer.seal_batch(NOW, &outgoing, &mut batch, &DropCounters::default()).unwrap();
        batch.frames().next().unwrap().to_vec()
    }

    fn receive(&mut self, frame: &[u8]) -> Result<Vec<u8>, DropReason> {
        self.receive_from(frame, Origin::Stream(SLOT), NOW)
    }

    fn receive_from(&mut self, frame: &[u8], origin: Origin, now: Time) -> Result<Vec<u8>, DropReason> {
        let mut frame = frame.to_vec();
        match self.receiver.receive(now, &mut frame, origin, &mut Inward::new(&self.router))?.content? {
            Content::Packet(packet, _) => Ok(packet.to_vec()),
            Content::Empty => Ok(Vec::new()),
            Content::Probe(token) | Content::ProbeAck(token) => Ok(token.to_vec()),
        }
    }
}

#[test]
fn what_was_sealed_arrives_once_under_either_cipher() {
    for cipher in [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm] {
        let mut pair = pair_with(cipher, Limits::standard(cipher, Duration::from_secs(300)));
        for length in [20, 21, 28, 64, 512, 1419, 1420] {
            let frame = pair.seal(&inner(length));
            assert_eq!(pair.receive(&frame), Ok(inner(length)));
            assert_eq!(pair.receive(&frame), Err(DropReason::FrameReplayed));
        }
    }
}

#[test]
fn the_reference_frames_of_appendix_b() {
    let key = |hex: &str| {
        let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        SecretKey32::new(bytes.try_into().unwrap())
    };
    let i2r = "45ef1ad557189c8ce7ae7a40050769bdd695078bcf8af12b9267680d92f89407";
    let expected = [
        (
            Cipher::ChaCha20Poly1305,
            "10000000887766550700000000000000c1e5d298e8f84cd7ec01c12a7ac6b7c97fb85c94a0c622cb4f10bb23e40fa2680f0a5aa38b82\
             31644045051eca7ebd028f39679772f930d13d03d0970de3e444",
        ),
        (
            Cipher::Aes256Gcm,
            "100000008877665507000000000000008b7d0a5c36602aa0fb164eb6153f3a06a5f26f6b7e4b8ecd3d3bfd3c47f363de0fd9125f2804\
             7b241a44854c3f65db1742ce77300eb542122285b1ce9fc8f40f",
        ),
    ];
    for (cipher, wire) in expected {
        let limits = Limits::standard(cipher, Duration::from_secs(300));
        let state = Arc::new(EpochState::new(EpochId(1)));
        let sealer = Sealer::new(&key(i2r), index(), &negotiated(cipher), limits, NOW, state);
        let mut packet = vec![0; 40];
        packet[..4].copy_from_slice(&[0x45, 0, 0, 0x28]);
        let mut batch = FrameBatch::new(4096);
        let outgoing = [Outgoing { packet: &packet, checksum: Checksum::Complete }; 8];
        sealer.seal_batch(NOW, &outgoing, &mut batch, &DropCounters::default()).unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(batch.frames().nth(7).unwrap()), wire);
    }
}

#[test]
fn every_flipped_byte_is_dropped() {
    let mut pair = pair();
    let frame = pair.seal(&inner(60));
    for at in 0..frame.len() {
        for bit in 0..8 {
            let mut forged = frame.clone();
            forged[at] ^= 1 << bit;
            let reason = pair.receive(&forged).unwrap_err();
            let expected: &[DropReason] = match at {
                0 => &[DropReason::FrameType, DropReason::FrameForged],
                1..4 => &[DropReason::FrameReserved],
                4..8 => &[DropReason::FrameUnknownIndex],
                8..16 => &[DropReason::FrameForged, DropReason::FrameKeyExpired],
                _ => &[DropReason::FrameForged],
            };
            assert!(expected.contains(&reason), "byte {at}: {reason:?}");
        }
    }
    assert_eq!(pair.receive(&frame), Ok(inner(60)), "forgeries leave the window untouched");
}

#[test]
fn the_outside_is_checked_before_a_key_is_touched() {
    let mut pair = pair();
    assert_eq!(pair.receive(&[]), Err(DropReason::FrameLength));
    assert_eq!(pair.receive(&[0x10; 31]), Err(DropReason::FrameLength));
    assert_eq!(pair.receive(&vec![0x10; 65_536]), Err(DropReason::FrameLength));
    assert_eq!(pair.receive(&[0x13; 64]), Err(DropReason::FrameType));
    let frame = pair.seal(&inner(60));
    let foreign = pair.receive_from(&frame, Origin::Stream(PeerSlot(8)), NOW);
    assert_eq!(foreign, Err(DropReason::FrameForeignIndex));
}

#[test]
fn a_spoofed_inner_source_is_dropped_but_counts_as_a_sign_of_life() {
    let mut pair = pair();
    let mut spoofed = inner(60);
    spoofed[15] = 99;
    let mut frame = pair.seal(&spoofed);
    let received =
        pair.receiver.receive(NOW, &mut frame, Origin::Stream(SLOT), &mut Inward::new(&pair.router)).unwrap();
    assert_eq!((received.slot, received.content), (SLOT, Err(DropReason::SourceNotAllowed)));
}

#[test]
fn malformed_inner_packets_have_their_reasons() {
    let mut pair = pair();
    let with = |at: usize, to: u8| {
        let mut packet = inner(60);
        packet[at] = to;
        packet
    };
    for (packet, reason) in [
        (with(0, 0x55), DropReason::InnerVersion),
        (with(0, 0x44), DropReason::InnerHeader),
        (with(2, 0x40), DropReason::InnerLength),
        (with(0, 0xc5), DropReason::InnerChecksum),
    ] {
        let frame = pair.seal(&packet);
        assert_eq!(pair.receive(&frame), Err(reason));
    }
}

#[test]
fn keepalives_and_probes_are_told_from_packets() {
    let mut pair = pair();
    let mut batch = FrameBatch::new(4096);
    pair.sealer.seal_empty(NOW, &mut batch).unwrap();
    pair.sealer.seal_probe(NOW, [1; 8], &mut batch).unwrap();
    pair.sealer.seal_probe_ack(NOW, [2; 8], &mut batch).unwrap();
    let frames: Vec<Vec<u8>> = batch.frames().map(<[u8]>::to_vec).collect();
    assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [48, 40, 40]);
    let mut contents = Vec::new();
    for mut frame in frames {
        let received =
            pair.receiver.receive(NOW, &mut frame, Origin::Stream(SLOT), &mut Inward::new(&pair.router)).unwrap();
        contents.push(format!("{:?} {:?}", received.arrival, received.content.unwrap()));
    }
    assert_eq!(
        contents,
        ["First Empty", "Later Probe([1, 1, 1, 1, 1, 1, 1, 1])", "Later ProbeAck([2, 2, 2, 2, 2, 2, 2, 2])"]
    );
}

#[test]
fn frames_behind_the_window_are_too_old() {
    let mut pair = pair();
    let first = pair.seal(&inner(60));
    for _ in 0..WINDOW {
        pair.seal(&inner(60));
    }
    let newest = pair.seal(&inner(60));
    assert!(pair.receive(&newest).is_ok());
    assert_eq!(pair.receive(&first), Err(DropReason::FrameTooOld));
}

#[test]
fn unproven_sources_get_a_thousand_opens_a_second() {
    let mut pair = pair();
    let unproven = Origin::Udp("198.51.100.1:7".parse().unwrap());
    let mut forged = pair.seal(&inner(60));
    forged[20] ^= 1;
    let drops: Vec<_> = (0..1001).map(|_| pair.receive_from(&forged, unproven, NOW).unwrap_err()).collect();
    assert!(drops[..1000].iter().all(|&r| r == DropReason::FrameForged));
    assert_eq!(drops[1000], DropReason::FrameRateLimited);
    let later = NOW + Duration::from_millis(1);
    assert_eq!(pair.receive_from(&forged, unproven, later), Err(DropReason::FrameForged), "the bucket refills");
    let good = pair.seal(&inner(60));
    let endpoint = "192.0.2.1:7".parse().unwrap();
    pair.receiver.set_trust(SLOT, Trust { endpoint: Some(endpoint), proposed: None });
    let validated = Origin::Udp(endpoint);
    assert!(pair.receive_from(&good, validated, NOW).is_ok(), "the validated endpoint is not limited");
}

fn small_limits() -> Limits {
    Limits {
        age: Bound { soft: Duration::from_secs(300), hard: Duration::from_secs(450) },
        messages: Bound { soft: 5, hard: 8 },
        bytes: Bound { soft: 1 << 44, hard: 1 << 46 },
        failed_opens: Bound { soft: 2, hard: 4 },
    }
}

#[test]
fn limits_are_soft_first_and_then_hard() {
    let mut pair = pair_with(Cipher::ChaCha20Poly1305, small_limits());
    let frames: Vec<_> = (0..8).map(|_| pair.seal(&inner(60))).collect();
    assert!(pair.sealer.state().soft_limit_reached());
    let mut batch = FrameBatch::new(4096);
    assert_eq!(pair.sealer.seal_empty(NOW, &mut batch), Err(DropReason::OutKeyExpired));
    for (number, frame) in frames.iter().enumerate() {
        assert!(pair.receive(frame).is_ok());
        let soft = (SLOT, Report::SoftLimit { epoch: EpochId(1) });
        assert_eq!(pair.limits(), if number == 4 { vec![soft] } else { vec![] });
    }
    assert!(pair.receiver.state(index()).unwrap().soft_limit_reached());
}

#[test]
fn byte_limits_hold_in_both_directions() {
    let limits = Limits { bytes: Bound { soft: 96, hard: 192 }, ..small_limits() };
    let mut pair = pair_with(Cipher::ChaCha20Poly1305, limits);
    let frames: Vec<_> = (0..2).map(|_| pair.seal(&inner(60))).collect();
    assert!(pair.sealer.state().soft_limit_reached());
    let mut batch = FrameBatch::new(4096);
    assert_eq!(pair.sealer.seal_empty(NOW, &mut batch), Err(DropReason::OutKeyExpired));
    assert!(pair.sealer.state().is_dead(), "the tunnel is down, and not connected in name only");
    assert!(pair.receive(&frames[0]).is_ok() && pair.receive(&frames[1]).is_ok());
    let other = pair_with(Cipher::ChaCha20Poly1305, small_limits());
    other.seal(&inner(60));
    other.seal(&inner(60));
    assert_eq!(pair.receive(&other.seal(&inner(60))), Err(DropReason::FrameKeyExpired));
}

#[test]
fn too_many_failed_opens_end_the_epoch() {
    let mut pair = pair_with(Cipher::ChaCha20Poly1305, small_limits());
    let good = pair.seal(&inner(60));
    let mut forged = good.clone();
    forged[20] ^= 1;
    let (soft, hard) = (Report::SoftLimit { epoch: EpochId(1) }, Report::HardLimit { epoch: EpochId(1) });
    for expected in [None, Some(soft), None, Some(hard)] {
        assert_eq!(pair.receive(&forged), Err(DropReason::FrameForged));
        assert_eq!(pair.limits(), expected.map(|report| (SLOT, report)).into_iter().collect::<Vec<_>>());
    }
    assert!(pair.receiver.state(index()).unwrap().soft_limit_reached());
    assert_eq!(pair.receive(&good), Err(DropReason::FrameKeyExpired));
    assert_eq!(pair.limits(), [], "each is said once");
}

#[test]
fn an_old_or_killed_key_neither_seals_nor_opens() {
    let mut pair = pair();
    let frame = pair.seal(&inner(60));
    let late = NOW + Duration::from_secs(450);
    let mut batch = FrameBatch::new(4096);
    assert_eq!(pair.sealer.seal_empty(late, &mut batch), Err(DropReason::OutKeyExpired));
    let stale = pair.receive_from(&frame, Origin::Stream(SLOT), late);
    assert_eq!(stale, Err(DropReason::FrameKeyExpired));
    pair.receiver.state(index()).unwrap().kill();
    pair.sealer.state().kill();
    assert_eq!(pair.receive(&frame), Err(DropReason::FrameKeyExpired));
    assert_eq!(pair.sealer.seal_empty(NOW, &mut batch), Err(DropReason::OutKeyExpired));
    assert!(pair.receiver.remove(index()));
    assert_eq!(pair.receive(&frame), Err(DropReason::FrameUnknownIndex));
}

#[test]
fn what_cannot_be_sealed_is_dropped_with_its_reason() {
    let pair = pair();
    let drops = DropCounters::default();
    let mut batch = FrameBatch::new(4096);
    let (long, empty) = (inner(1421), Vec::new());
    let outgoing = [&long, &empty].map(|packet| Outgoing { packet, checksum: Checksum::Complete });
    let sealed = pair.sealer.seal_batch(NOW, &outgoing, &mut batch, &drops).unwrap();
    assert_eq!((sealed.taken, sealed.frames, batch.len()), (2, 0, 0));
    assert_eq!(drops.snapshot(), [(DropReason::OutMalformed, 1), (DropReason::OutTooLong, 1)]);
}

#[test]
fn a_full_batch_says_how_far_it_came() {
    let pair = pair();
    let mut batch = FrameBatch::new(250);
    let packet = inner(60);
    let outgoing = [Outgoing { packet: &packet, checksum: Checksum::Complete }; 5];
    let sealed = pair.sealer.seal_batch(NOW, &outgoing, &mut batch, &DropCounters::default()).unwrap();
    assert_eq!((sealed.taken, sealed.frames, sealed.inner_bytes), (2, 2, 120));
}

/// A TCP super-packet of `count` packets of 1360 bytes of payload, and its header.
fn super_packet(count: usize) -> (VnetHeader, Vec<u8>) {
    let mut packet = inner(40 + count * 1360);
    packet[9] = 6;
    packet[6..8].copy_from_slice(&[0x40, 0]);
    packet[32] = 5 << 4;
    packet[33] = 0x10;
    let pseudo: u32 = packet[12..20].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = pseudo + 6 + (packet.len() as u32 - 20);
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[36..38].copy_from_slice(&(folded as u16).to_be_bytes());
    let vnet = VnetHeader {
        needs_checksum: true,
        segmentation: Segmentation::TcpV4,
        segment: 1360,
        checksum_start: 20,
        checksum_offset: 16,
        ..VnetHeader::default()
    };
    (vnet, packet)
}

#[test]
fn a_super_packet_is_sealed_as_one_run_and_every_packet_opens() {
    let mut pair = pair();
    let (vnet, packet) = super_packet(10);
    let cut = SuperPacket::read(&vnet, &packet).unwrap();
    let mut batch = FrameBatch::new(1 << 16);
    let drops = DropCounters::default();
    let sealed = pair.sealer.seal_super(NOW, &packet, &cut, &mut batch, &drops).unwrap();
    assert_eq!((sealed.taken, sealed.frames, sealed.inner_bytes), (1, 10, 14_000));
    assert_eq!(batch.runs().count(), 1, "equal packets go out in one call");
    let mut payload = Vec::new();
    for frame in batch.frames().map(<[u8]>::to_vec).collect::<Vec<_>>() {
        let mut frame = frame;
        let received =
            pair.receiver.receive(NOW, &mut frame, Origin::Stream(SLOT), &mut Inward::new(&pair.router)).unwrap();
        match received.content.unwrap() {
            Content::Packet(packet, Checksum::Partial) => payload.extend_from_slice(&packet[40..]),
            Content::Packet(..) | Content::Empty | Content::Probe(_) | Content::ProbeAck(_) => panic!("not partial"),
        }
    }
    assert_eq!(payload, packet[40..]);
    let again = pair.sealer.seal_super(NOW, &packet, &cut, &mut batch, &drops).unwrap();
    assert_eq!(again.taken, 1);
    let mut small = FrameBatch::new(20_000);
    assert_eq!(pair.sealer.seal_super(NOW, &packet, &cut, &mut small, &drops).unwrap().taken, 1);
    assert_eq!(pair.sealer.seal_super(NOW, &packet, &cut, &mut small, &drops).unwrap().taken, 0, "no room is left");
    assert_eq!((small.len(), drops.total()), (10, 0));
}

#[test]
fn a_super_packet_that_no_batch_or_mtu_holds_is_dropped_packet_by_packet() {
    let pair = pair();
    let drops = DropCounters::default();
    let (vnet, packet) = super_packet(10);
    let cut = SuperPacket::read(&vnet, &packet).unwrap();
    let sealed = pair.sealer.seal_super(NOW, &packet, &cut, &mut FrameBatch::new(1000), &drops).unwrap();
    assert_eq!((sealed.taken, sealed.frames, drops.get(DropReason::OutTooLong)), (1, 0, 10));
    let cut = SuperPacket::read(&VnetHeader { segment: 1400, ..vnet }, &packet).unwrap();
    pair.sealer.seal_super(NOW, &packet, &cut, &mut FrameBatch::new(1 << 16), &drops).unwrap();
    assert_eq!(drops.get(DropReason::OutTooLong), 20);
}

#[test]
fn a_checksum_stays_partial_only_where_the_peer_takes_it() {
    let (vnet, packet) = super_packet(1);
    let vnet = VnetHeader { segmentation: Segmentation::None, ..vnet };
    let with = pair().sealer;
    let mut ours = packet.clone();
    assert_eq!(with.finish_checksum(&vnet, &mut ours), Ok(Checksum::Partial));
    assert_eq!(ours, packet);
    assert_eq!(with.finish_checksum(&VnetHeader::default(), &mut ours), Ok(Checksum::Complete));
    ours[36] ^= 1;
    assert_eq!(with.finish_checksum(&vnet, &mut ours), Ok(Checksum::Complete), "a sum that the peer would refuse");
    let beyond = VnetHeader { checksum_start: 1399, ..vnet };
    assert_eq!(with.finish_checksum(&beyond, &mut ours), Err(DropReason::OutMalformed));

    let limits = Limits::standard(Cipher::Aes256Gcm, Duration::from_secs(300));
    let negotiated = Negotiated { partial_checksums: false, ..negotiated(Cipher::Aes256Gcm) };
    let state = Arc::new(EpochState::new(EpochId(1)));
    let without = Sealer::new(&SecretKey32::new([3; 32]), index(), &negotiated, limits, NOW, state);
    let (mut completed, mut expected) = (packet.clone(), packet);
    assert_eq!(without.finish_checksum(&vnet, &mut completed), Ok(Checksum::Complete));
    crate::packet::complete_checksum(&mut expected).unwrap();
    assert_eq!(completed, expected);
}
