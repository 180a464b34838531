//! Attacks from the network and from a peer with bad intentions, one test each.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use cryprq_tests::impostor::Impostor;
use cryprq_tests::sim::addressing::{outer, packet, v4, v6};
use cryprq_tests::sim::ledger::{Content, FrameId, Outcome};
use cryprq_tests::sim::{Action, Fate, Setup, World, ms, scenarios, secs};
use node::drops::DropReason;
use node::epoch::WINDOW;
use node::frame::OVERHEAD;
use node::handshake::{RejectCode, reject_message};
use node::receiver::Origin;
use node::router::PeerSlot;
use node::state::PeerState;
use node::tunnel::AttemptId;

const SEED: u64 = 0x6174_7461_636b;

fn pair() -> World {
    let mut setup = Setup::pair(SEED);
    setup.limits.burst = 1000;
    World::connected(setup)
}

/// Sends a packet from host 0 to host 1 that the network loses, for the attacker to have.
fn captured(world: &mut World) -> FrameId {
    world.act(Action::Silence(0, 1, Duration::from_nanos(1)));
    let made = packet(9_000_000 + world.ledger().len() as u64, v4(0).into(), v4(1).into(), 100);
    let sent = world.seal_packets(0, 1, &[made]);
    world.run(ms(1));
    sent[0]
}

fn wire(world: &World, id: FrameId) -> Vec<u8> {
    world.ledger().frame(id).wire.clone()
}

/// The attacker's datagram at a host.
fn throw(world: &mut World, to: usize, bytes: &[u8]) -> Outcome {
    world.receive(to, None, &mut bytes.to_vec(), Origin::Udp(outer(usize::from(to == 0))))
}

fn again(world: &mut World, to: usize, id: FrameId) -> Outcome {
    let mut bytes = wire(world, id);
    world.receive(to, Some(id), &mut bytes, Origin::Udp(outer(usize::from(to == 0))))
}

// --- 24: what a peer writes into its packets

/// Seals raw inner bytes at host 0, and gives what host 1 makes of them.
fn inner(world: &mut World, bytes: &[u8]) -> Result<Vec<u8>, DropReason> {
    world.act(Action::Silence(0, 1, Duration::from_nanos(1)));
    let sent = world.seal_packets(0, 1, &[bytes.to_vec()]);
    let mut frame = wire(world, sent[0]);
    world.run(ms(1));
    match world.open(1, &mut frame, Origin::Udp(outer(0))) {
        Outcome::Opened(Content::Packet(packet, _)) => Ok(packet),
        Outcome::Dropped(reason) => Err(reason),
        other @ (Outcome::Opened(_) | Outcome::Refused(_)) => panic!("an authentic packet was {other:?}"),
    }
}

/// A packet of host 0 for host 1 with some bytes changed.
fn with(mut packet: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for &(at, to) in changes {
        packet[at] = to;
    }
    packet
}

fn v4_packet() -> Vec<u8> {
    packet(1, v4(0).into(), v4(1).into(), 100)
}

fn v6_packet() -> Vec<u8> {
    packet(1, v6(0).into(), v6(1).into(), 100)
}

/// Each fragment is judged by its own header: what overlaps cannot change the source of what passed.
#[test]
fn attack_24_overlapping_fragments() {
    let mut world = pair();
    let first = with(v4_packet(), &[(6, 0x20)]);
    let second = with(v4_packet(), &[(7, 2)]);
    for fragment in [&first, &second] {
        assert_eq!(inner(&mut world, fragment).as_ref(), Ok(fragment));
        let spoofed = with(fragment.clone(), &[(15, 9)]);
        assert_eq!(inner(&mut world, &spoofed), Err(DropReason::SourceNotAllowed));
    }
    // A fragment never has its checksum completed here: only what is whole is.
    let partial = with(second, &[(0, 0xc5), (9, 17)]);
    assert_eq!(inner(&mut world, &partial), Err(DropReason::InnerVersion), "nobody agreed on partial checksums");
}

/// Options, source routing among them, move neither the addresses that are judged nor the length that is read.
#[test]
fn attack_24_ip_options() {
    let mut world = pair();
    // A loose source route to 127.0.0.1 in a header of 28 bytes.
    let routed = with(v4_packet(), &[(0, 0x47), (20, 131), (21, 7), (22, 4), (23, 127), (24, 0), (25, 0), (26, 1)]);
    assert_eq!(inner(&mut world, &routed), Ok(routed.clone()), "the host's kernel refuses source routes");
    let spoofed = with(routed, &[(15, 9)]);
    assert_eq!(inner(&mut world, &spoofed), Err(DropReason::SourceNotAllowed));
    for length in 0..5 {
        let short = with(v4_packet(), &[(0, 0x40 | length)]);
        assert_eq!(inner(&mut world, &short), Err(DropReason::InnerHeader), "a header of {length} words");
    }
    let mut cut = with(v4_packet(), &[(0, 0x4f), (2, 0), (3, 48)]);
    cut.truncate(48);
    assert_eq!(inner(&mut world, &cut), Err(DropReason::InnerHeader), "options past the end");
    // Routing and destination options of IPv6 are behind the addresses.
    let extended = with(v6_packet(), &[(6, 43), (40, 60), (41, 0), (42, 0), (43, 1)]);
    assert_eq!(inner(&mut world, &extended), Ok(extended.clone()));
    assert_eq!(inner(&mut world, &with(extended, &[(23, 9)])), Err(DropReason::SourceNotAllowed));
}

/// A jumbo payload has length zero in the header that counts: nothing behind it is delivered.
#[test]
fn attack_24_jumbo_payload() {
    let mut world = pair();
    let jumbo = with(v6_packet(), &[(4, 0), (5, 0), (6, 0), (40, 253), (41, 0), (42, 0xc2), (43, 4), (44, 1)]);
    assert_eq!(inner(&mut world, &jumbo), Ok(jumbo[..40].to_vec()));
}

/// Neither more than the frame holds is claimed, nor anything delivered that the header does not claim.
#[test]
fn attack_24_length_beyond_the_frame() {
    let mut world = pair();
    for claimed in [112 + 1, 1420, u16::MAX] {
        let [high, low] = claimed.to_be_bytes();
        let long = with(v4_packet(), &[(2, high), (3, low)]);
        assert_eq!(inner(&mut world, &long), Err(DropReason::InnerLength), "{claimed}");
    }
    let trailing = with(v4_packet(), &[(2, 0), (3, 40)]);
    assert_eq!(inner(&mut world, &trailing), Ok(trailing[..40].to_vec()));
    for claimed in [0, 19] {
        let short = with(v4_packet(), &[(2, 0), (3, claimed)]);
        assert_eq!(inner(&mut world, &short), Err(DropReason::InnerHeader), "{claimed}");
    }
    for nibble in (1..16).filter(|nibble| ![4, 6].contains(nibble)) {
        let other = with(v4_packet(), &[(0, nibble << 4 | 5)]);
        assert_eq!(inner(&mut world, &other), Err(DropReason::InnerVersion), "version {nibble}");
    }
}

/// An ICMP error is a packet like any other: it passes from the peer's own addresses alone, whatever it quotes, and
/// changes nothing in the tunnel.
#[test]
fn attack_24_icmp_too_big_with_forged_inner() {
    let mut world = pair();
    let mtu = world.status(1, 0).epoch.expect("connected").mtu;
    // Fragmentation needed, next hop 68, quoting a packet from us to somebody else.
    let mut forged = with(v4_packet(), &[(9, 1), (20, 3), (21, 4), (26, 0), (27, 68)]);
    forged[28..48].copy_from_slice(&packet(2, v4(1).into(), IpAddr::from([8, 8, 8, 8]), 64)[..20]);
    assert_eq!(inner(&mut world, &forged), Ok(forged.clone()));
    assert_eq!(inner(&mut world, &with(forged, &[(15, 9)])), Err(DropReason::SourceNotAllowed));
    assert_eq!(world.status(1, 0).epoch.expect("connected").mtu, mtu);
}

// --- 25: what somebody on the way does with frames

#[test]
fn attack_25_replay() {
    let mut world = pair();
    let ids: Vec<FrameId> = (0..50).map(|_| captured(&mut world)).collect();
    for &id in ids.iter().rev() {
        assert!(matches!(again(&mut world, 1, id), Outcome::Opened(_)));
    }
    for &id in &ids {
        assert_eq!(again(&mut world, 1, id), Outcome::Refused(DropReason::FrameReplayed));
    }
}

#[test]
fn attack_25_reorder_beyond_window() {
    let mut world = pair();
    let old = captured(&mut world);
    world.act(Action::Silence(0, 1, secs(1)));
    let more: Vec<Vec<u8>> = (0..WINDOW).map(|i| packet(8_000_000 + i, v4(0).into(), v4(1).into(), 64)).collect();
    let newest = more.chunks(200).flat_map(|some| world.seal_packets(0, 1, some)).last().expect("some were sealed");
    assert!(matches!(again(&mut world, 1, newest), Outcome::Opened(_)));
    assert_eq!(again(&mut world, 1, old), Outcome::Refused(DropReason::FrameTooOld));
}

/// A frame that was opened before a rotation is not opened again after it, whatever epoch it claims.
#[test]
fn attack_25_duplicate_across_rekey() {
    let mut world = pair();
    let id = captured(&mut world);
    assert!(matches!(again(&mut world, 1, id), Outcome::Opened(_)));
    world.act(Action::Rotate(0, 1));
    world.run(secs(1));
    assert_eq!(again(&mut world, 1, id), Outcome::Refused(DropReason::FrameReplayed));
    let next = captured(&mut world);
    let mut claimed = wire(&world, id);
    claimed[4..8].copy_from_slice(&wire(&world, next)[4..8]);
    assert_eq!(throw(&mut world, 1, &claimed), Outcome::Refused(DropReason::FrameForged));
    claimed[8..16].fill(0xff);
    claimed[15] = 0;
    assert_eq!(throw(&mut world, 1, &claimed), Outcome::Refused(DropReason::FrameForged));
    assert!(matches!(again(&mut world, 1, next), Outcome::Opened(_)), "the forgeries moved no window");
}

/// Frames of an epoch whose keys are gone find no key, and tell nothing.
#[test]
fn attack_25_old_epoch() {
    let mut world = pair();
    let old = captured(&mut world);
    world.act(Action::Rotate(1, 0));
    world.run(secs(62));
    let heard = world.status(1, 0).last_received;
    assert_eq!(again(&mut world, 1, old), Outcome::Refused(DropReason::FrameUnknownIndex));
    assert_eq!(world.status(1, 0).last_received, heard, "no sign of life");
}

#[test]
fn attack_25_bit_flips() {
    let mut world = pair();
    let id = captured(&mut world);
    let good = wire(&world, id);
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(throw(&mut world, 1, &flipped), Outcome::Refused(_)), "bit {bit}");
    }
    assert!(matches!(again(&mut world, 1, id), Outcome::Opened(_)), "the flips moved no window");
}

#[test]
fn attack_25_truncated() {
    let mut world = pair();
    let id = captured(&mut world);
    let good = wire(&world, id);
    for length in 0..good.len() {
        let reason = if length < OVERHEAD { DropReason::FrameLength } else { DropReason::FrameForged };
        assert_eq!(throw(&mut world, 1, &good[..length]), Outcome::Refused(reason), "{length} bytes");
    }
    let longer = [&good[..], &[0; 16]].concat();
    assert_eq!(throw(&mut world, 1, &longer), Outcome::Refused(DropReason::FrameForged));
}

/// A frame thrown back at its sender, as it is and under the sender's own index.
#[test]
fn attack_25_reflected() {
    let mut world = pair();
    let id = captured(&mut world);
    assert_eq!(again(&mut world, 0, id), Outcome::Refused(DropReason::FrameUnknownIndex));
    world.send_packets(1, 0, 1);
    let back = world.ledger().nth(world.ledger().len() - 1);
    let mut reflected = wire(&world, id);
    reflected[4..8].copy_from_slice(&wire(&world, back)[4..8]);
    assert_eq!(throw(&mut world, 0, &reflected), Outcome::Refused(DropReason::FrameForged));
}

/// Header and body of frames of two peers, of two epochs, and of two frames of one epoch.
#[test]
fn attack_25_cross_session_splice() {
    let mut setup = Setup::pair(SEED);
    setup.hosts = vec![Default::default(); 3];
    let mut world = World::connected(setup);
    let one = captured(&mut world);
    let two = captured(&mut world);
    world.act(Action::Rotate(0, 1));
    world.run(secs(1));
    let rotated = captured(&mut world);
    world.send_packets(2, 1, 1);
    let third = world.ledger().nth(world.ledger().len() - 1);
    let frames = [one, two, rotated, third].map(|id| wire(&world, id));
    for (i, header) in frames.iter().enumerate() {
        for (_, body) in frames.iter().enumerate().filter(|&(j, _)| j != i) {
            let spliced = [&header[..16], &body[16..]].concat();
            assert_eq!(throw(&mut world, 1, &spliced), Outcome::Refused(DropReason::FrameForged));
        }
    }
    // On a stream the transport proves the peer, so a frame of another is refused before a key is touched.
    let mut foreign = wire(&world, one);
    let refused = world.receive(1, None, &mut foreign, Origin::Stream(PeerSlot(2)));
    assert_eq!(refused, Outcome::Refused(DropReason::FrameForeignIndex));
    for id in [one, two, rotated] {
        assert!(matches!(again(&mut world, 1, id), Outcome::Opened(_)), "the splices moved no window");
    }
}

/// A peer that begins good handshakes without end: a burst of them is answered, the rest is "busy", and the epoch
/// carries on.
#[test]
fn attack_25_rekey_flood() {
    let mut world = World::connected(Setup::pair(SEED));
    world.run(secs(30));
    let session = world.session(1, 0);
    let mut flooder = Impostor::new(&world, 0, 1).with_chain(world.host(0).store.contents()[0]);
    let (mut answered, mut busy) = (0, 0);
    for attempt in 0..2000 {
        let (_, m1) = flooder.start(1 + attempt);
        let answers = world.speak_as(0, 1, AttemptId(1_000_001 + 2 * u64::from(attempt)), m1);
        answered += answers.iter().filter(|bytes| bytes[0] == 2).count();
        busy += answers.iter().filter(|bytes| **bytes == reject_message(RejectCode::Busy)).count();
        world.run(ms(1));
    }
    assert_eq!((answered, busy), (5, 1995), "the burst, and nothing more within two seconds");
    assert_eq!(world.session(1, 0), session);
    world.run(secs(60));
    world.assert_connected();
}

/// Nothing that arrives unproven makes a host send anything, and an answer to a probe is never larger than the probe.
#[test]
fn attack_25_amplification() {
    let mut world = pair();
    world.run(ms(500));
    let id = captured(&mut world);
    let good = wire(&world, id);
    let before = world.ledger().len();
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        throw(&mut world, 1, &flipped);
    }
    world.run(ms(500));
    assert_eq!(world.ledger().len(), before, "a forgery was answered");
    world.act(Action::Silence(1, 0, secs(3)));
    world.send_packets(0, 1, 1);
    world.run(secs(10));
    let mut sizes = [BTreeSet::new(), BTreeSet::new()];
    for (_, frame) in world.ledger().frames() {
        match frame.content {
            Content::Probe(_) => _ = sizes[0].insert(frame.wire.len()),
            Content::ProbeAck(_) => _ = sizes[1].insert(frame.wire.len()),
            Content::Packet(..) | Content::Empty => {}
        }
    }
    assert_eq!(sizes[0], sizes[1]);
    assert_eq!(sizes[0].len(), 1, "probes were sent");
}

// --- 27: clocks

/// Eight hours of suspend of either host and of both. That no nonce repeats is the ledger's business.
#[test]
fn attack_27_suspend_8_h() {
    for seed in 0..4 {
        scenarios::hosts::hours_of_sleep_end_in_a_fresh_chained_epoch(seed);
    }
}

/// A clock that is a year ahead at once: every key is past its limit, at the very next use.
#[test]
fn attack_27_clock_jump_forward_1_y() {
    let mut world = pair();
    let (before, late) = (world.session(0, 1), captured(&mut world));
    let sent = world.ledger().len();
    for host in [0, 1] {
        world.sleep(host, secs(365 * 86_400));
    }
    world.run(secs(365 * 86_400));
    world.send_packets(0, 1, 3);
    assert_eq!(world.ledger().len(), sent, "nothing is sealed with a key of last year");
    assert!(matches!(again(&mut world, 1, late), Outcome::Refused(_)));
    assert!(world.run_until(secs(90), World::is_connected));
    assert_ne!(world.session(0, 1), before);
    world.assert_connected();
}

/// The clock that counts sleep never goes back; a host whose does all the same repeats no nonce, brings no erased key
/// back, and is connected again when the peer's key ends.
#[test]
fn attack_27_clock_jump_back_1_y() {
    let mut world = pair();
    let old = captured(&mut world);
    world.act(Action::Rotate(0, 1));
    world.run(secs(62));
    world.set_clock_back(0, secs(365 * 86_400));
    assert_eq!(again(&mut world, 1, old), Outcome::Refused(DropReason::FrameUnknownIndex));
    world.traffic(0, 1, ms(200), secs(600));
    world.traffic(1, 0, ms(200), secs(600));
    world.run(secs(600));
    assert!(world.host(1).peer(0).rotations() > 2, "the peer's clock still ends keys");
    assert!(world.run_until(secs(60), World::is_connected));
    world.assert_connected();
}

/// Neither a wall clock nor a time zone is an input of the core: a jump of the wall clock is no event at all.
#[test]
fn attack_27_no_wall_clock_in_the_core() {
    let core = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemon/node/src");
    let mut files = vec![core];
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()));
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("source text");
        read += 1;
        for clock in ["SystemTime", "Instant::now", "UNIX_EPOCH"] {
            assert!(!text.contains(clock), "{clock} in {}", path.display());
        }
    }
    assert!(read > 40, "{read} files");
}

/// A peer that is cut off in the middle of a flood of forgeries counts as silent.
#[test]
fn attack_25_forgeries_are_no_sign_of_life() {
    let mut world = pair();
    let id = captured(&mut world);
    let mut forged = wire(&world, id);
    forged[40] ^= 1;
    world.act(Action::Partition(0, 1, secs(60)));
    world.meddle(|_, _, _| Fate::Vanish);
    for _ in 0..100 {
        world.send_packets(1, 0, 1);
        throw(&mut world, 1, &forged);
        world.run(ms(50));
    }
    assert_eq!(world.state(1, 0), PeerState::Stalled);
}
