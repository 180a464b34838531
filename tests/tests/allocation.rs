//! The packet path takes no memory: everything that a packet needs was there before it came. And at the door of an extension
//! a batch takes one system call.

use std::io::{ErrorKind, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{HEADER, Header};
use cryprq_ipc_proto::hello::{Hello, Role};
use cryprq_ipc_proto::limits::MAX_PACKETS;
use cryprq_ipc_proto::packets::PacketWriter;
use cryprqd::ipc::extension::{Event, Extensions, door, serve_handed_over};
use net::plane::Device;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use node::drops::DropCounters;
use node::epoch::{Cipher, EpochId, EpochState, Limits, Opener, Outgoing, Sealer};
use node::frame::{FrameBatch, HEADER_LEN, OVERHEAD};
use node::handshake::{Negotiated, PaddingMode, ReceiverIndex};
use node::offload::{MergeRule, Merged, Merger, Segmentation, SuperPacket, VnetHeader};
use node::packet::Checksum;
use node::receiver::{Content, Origin, Received, Receiver, Trust};
use node::router::{Inward, PeerSlot, Router};
use node::secret::SecretKey32;
use node::time::Time;
use os::bell::{Bell, wait_readable};
use os::udp::{Ecn, ReceiveBatch, Transmit, UdpOptions, UdpSocket};

const NOW: Time = Time::from_nanos(1_000_000_000);
const SLOT: PeerSlot = PeerSlot(3);
const BATCH: usize = 32;

fn packet(length: usize) -> Vec<u8> {
    let mut packet = vec![0xab; length];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(length).expect("a short packet").to_be_bytes());
    packet[12..20].copy_from_slice(&[10, 86, 0, 2, 10, 86, 0, 1]);
    packet
}

#[test]
fn a_packet_that_passes_takes_no_memory() {
    for cipher in [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm] {
        let rotation = Duration::from_secs(300);
        let padding = PaddingMode::Multiple16;
        let negotiated = Negotiated { mtu: 1420, rotation, padding, cipher, partial_checksums: false };
        let (key, limits) = (SecretKey32::new([3; 32]), Limits::standard(cipher, rotation));
        let index = ReceiverIndex::new(9).expect("not zero");
        let state = || Arc::new(EpochState::new(EpochId(1)));
        let sealer = Sealer::new(&key, index, &negotiated, limits, NOW, state());
        let mut receiver = Receiver::default();
        let from = "192.0.2.1:41820".parse().expect("an address");
        receiver.set_trust(SLOT, Trust { endpoint: Some(from), proposed: None });
        receiver.install(SLOT, Opener::new(&key, index, &negotiated, limits, NOW, state()));
        let mut router = Router::new(["10.86.0.1".parse().expect("an address")], [], []);
        router.add_peer(SLOT, &["10.86.0.0/24".parse().expect("a prefix")]).expect("one peer");

        // Lengths that change make the most runs.
        let packets: Vec<_> = (0..BATCH).map(|at| packet(if at % 2 == 0 { 1420 } else { 40 + at })).collect();
        let outgoing: Vec<_> = packets.iter().map(|packet| Outgoing { packet, checksum: Checksum::Complete }).collect();
        let mut batch = FrameBatch::new(BATCH * (1420 + OVERHEAD));
        let mut frames: Vec<_> = (0..BATCH).map(|_| Vec::with_capacity(1420 + OVERHEAD)).collect();
        let drops = DropCounters::default();
        let mut inward = Inward::new(&router);
        let mut passed = 0;
        let taken = measure(|| {
            for _ in 0..100 {
                batch.clear();
                for packet in &packets {
                    assert_eq!(router.outbound(packet), Ok(SLOT));
                }
                sealer.seal_batch(NOW, &outgoing, &mut batch, &drops).expect("a fresh key");
                for (sealed, frame) in batch.frames().zip(&mut frames) {
                    frame.clear();
                    frame.extend_from_slice(sealed);
                    let received = receiver.receive(NOW, frame, Origin::Udp(from), &mut inward);
                    passed += usize::from(matches!(received, Ok(Received { content: Ok(Content::Packet(..)), .. })));
                }
            }
        });
        assert_eq!(passed, 100 * BATCH);
        assert_eq!(taken.count_total, 0, "{} allocations under {}", taken.count_total, cipher.name());
    }
}

/// Segments of the super-packet below, each of 1420 bytes.
const SEGMENTS: usize = 40;
const PAYLOAD: usize = 1380;
/// For all rounds.
const LIMIT: Duration = Duration::from_secs(60);

/// A super-packet of TCP as the kernel hands it out: its checksum is that of the pseudo-header.
fn super_packet() -> (VnetHeader, Vec<u8>) {
    let mut packet = packet(40 + SEGMENTS * PAYLOAD);
    packet[6..10].copy_from_slice(&[0x40, 0, 64, 6]);
    (packet[32], packet[33]) = (5 << 4, 0x10);
    let words = packet[12..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum = words.sum::<u32>() + 6 + (packet.len() as u32 - 20);
    packet[36..38].copy_from_slice(&(((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    let vnet = VnetHeader {
        needs_checksum: true,
        segmentation: Segmentation::TcpV4,
        segment: PAYLOAD as u16,
        checksum_start: 20,
        checksum_offset: 16,
        ..VnetHeader::default()
    };
    (vnet, packet)
}

/// What bulk data costs: a super-packet is cut, sealed, sent by UDP, received as what the kernel merged, opened where it lies
/// and merged into one again.
#[test]
fn a_super_packet_that_passes_from_end_to_end_takes_no_memory() {
    let rotation = Duration::from_secs(300);
    let (cipher, padding) = (Cipher::ChaCha20Poly1305, PaddingMode::Multiple16);
    let negotiated = Negotiated { mtu: 1420, rotation, padding, cipher, partial_checksums: true };
    let (key, limits) = (SecretKey32::new([3; 32]), Limits::standard(cipher, rotation));
    let index = ReceiverIndex::new(9).expect("not zero");
    let state = || Arc::new(EpochState::new(EpochId(1)));
    let sealer = Sealer::new(&key, index, &negotiated, limits, NOW, state());
    let mut receiver = Receiver::default();
    let open = || UdpSocket::open("127.0.0.1:0".parse().expect("an address"), &UdpOptions::default());
    let (near, far) = (open().expect("a socket"), open().expect("a socket"));
    receiver.set_trust(SLOT, Trust { endpoint: Some(near.address()), proposed: None });
    receiver.install(SLOT, Opener::new(&key, index, &negotiated, limits, NOW, state()));
    let mut router = Router::new(["10.86.0.1".parse().expect("an address")], [], []);
    router.add_peer(SLOT, &["10.86.0.0/24".parse().expect("a prefix")]).expect("one peer");

    let (vnet, packet) = super_packet();
    let mut sealed = FrameBatch::new(SEGMENTS * (1420 + OVERHEAD + 16));
    let (mut arrived, mut merger) = (ReceiveBatch::default(), Merger::new(MergeRule::TcpAndUdp));
    let drops = DropCounters::default();
    let (mut payload, mut writes) = (0, 0);
    let mut write = |merged: Merged<'_>| {
        payload += merged.payload.iter().map(Range::len).sum::<usize>();
        writes += 1;
    };
    let begun = Instant::now();
    let mut round = || {
        sealed.clear();
        assert_eq!(router.outbound(&packet), Ok(SLOT));
        let cut = SuperPacket::read(&vnet, &packet).expect("a super-packet");
        sealer.seal_super(NOW, &packet, &cut, &mut sealed, &drops).expect("a fresh key");
        for run in sealed.runs() {
            let transmit =
                Transmit { to: far.address(), from: None, ecn: Ecn::Off, bytes: run.bytes, stride: run.stride };
            let datagrams = run.bytes.len().div_ceil(run.stride);
            assert_eq!(near.send(&transmit).expect("there is room"), datagrams);
        }
        let mut inward = Inward::new(&router);
        let mut frames = 0;
        while frames < SEGMENTS {
            // On loopback what was sent is there, or nearly.
            while let Err(error) = far.try_receive(&mut arrived) {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                assert!(begun.elapsed() < LIMIT, "{frames} of {SEGMENTS} came");
                drop(wait_readable(far.awaited().into_iter(), Some(LIMIT)).expect("a wait"));
            }
            let (runs, buffers) = arrived.parts();
            for (arrival, run) in runs {
                for start in run.clone().step_by(arrival.stride) {
                    let at = start..run.end.min(start + arrival.stride);
                    let received = receiver.receive(NOW, &mut buffers[at], Origin::Udp(arrival.from), &mut inward);
                    let Ok(Received { content: Ok(Content::Packet(packet, checksum)), .. }) = received else {
                        continue;
                    };
                    let at = start + HEADER_LEN..start + HEADER_LEN + packet.len();
                    frames += 1;
                    merger.push(buffers, at, checksum, &mut write);
                }
            }
            merger.flush(&mut write);
        }
    };
    // What the system's library wants once.
    round();
    let taken = measure(|| (0..100).for_each(|_| round()));
    assert_eq!((payload, drops.total()), (101 * SEGMENTS * PAYLOAD, 0));
    assert!(writes < 101 * SEGMENTS, "packets are merged: {writes} writes");
    assert_eq!(taken.count_total, 0, "{} allocations", taken.count_total);
}

/// What the loop that receives waits for when it is at rest: its bell, and a socket of each family with what wakes it.
#[test]
fn a_wait_for_packets_takes_no_memory() {
    let open = |address: &str| UdpSocket::open(address.parse().expect("an address"), &UdpOptions::default());
    let sockets = [open("127.0.0.1:0").expect("a socket"), open("127.0.0.1:0").expect("a socket")];
    let bell = Bell::new().expect("a bell");
    let awaited = || std::iter::once(bell.as_fd()).chain(sockets.iter().flat_map(UdpSocket::awaited));
    assert_eq!(awaited().count(), 5);
    let mut rung = 0;
    let taken = measure(|| {
        for _ in 0..100 {
            assert!(wait_readable(awaited(), Some(Duration::ZERO)).expect("a wait").all(|ready| !ready));
            bell.ring();
            rung += wait_readable(awaited(), None).expect("a wait").filter(|ready| *ready).count();
            bell.silence();
        }
    });
    assert_eq!((rung, taken.count_total), (100, 0), "{} allocations", taken.count_total);
}

/// An extension's end of a socket, and the packet loops' end of it; the runtime holds the conversation.
fn attached(runtime: &tokio::runtime::Runtime, kind: SockType) -> (UnixStream, Device, Extensions) {
    let pair = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).expect("a socket");
    let (mut extension, socket) = (UnixStream::from(pair.0), pair.1);
    let (sockets, handed_over) = tokio::sync::mpsc::channel(1);
    let (door, mut extensions) = door(Arc::default());
    runtime.spawn(serve_handed_over(handed_over, door));
    sockets.blocking_send(socket).expect("the door is open");
    for frame in [Frame::Hello(Hello::new("test", Role::Extension)), Frame::Ready] {
        let id = u32::from(frame == Frame::Ready);
        let bytes = frame.write(id).expect("a frame");
        // Until it is ready the daemon reads header and body one after the other.
        for part in [&bytes[..HEADER], &bytes[HEADER..]].into_iter().filter(|part| !part.is_empty()) {
            extension.write_all(part).expect("the daemon reads");
        }
    }
    // The greeting and the settings.
    let mut answers = Vec::new();
    while frames(&answers) < 2 {
        let mut bytes = [0; 4096];
        let length = extension.read(&mut bytes).expect("an answer");
        answers.extend_from_slice(&bytes[..length]);
    }
    match runtime.block_on(extensions.events.recv()) {
        Some(Event::Attached(device, _)) => (extension, device, extensions),
        Some(Event::InForce(_) | Event::Detached(_)) | None => panic!("it is ready"),
    }
}

#[test]
fn a_packet_that_passes_the_door_of_an_extension_takes_no_memory() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (mut extension, Device { mut source, mut sink, .. }, _extensions) = attached(&runtime, SockType::Stream);
    let mut memory = vec![0; HEADER + MAX_PACKETS];
    let mut writer = PacketWriter::new(&mut memory).expect("there is room");
    let arena: Vec<u8> = (0..BATCH).flat_map(|_| packet(1420)).collect();
    let ranges: Vec<Range<usize>> = (0..BATCH).map(|at| at * 1420..(at + 1) * 1420).collect();
    for at in &ranges {
        writer.slot(1420).expect("it fits").copy_from_slice(&arena[at.clone()]);
    }
    let frame = writer.finish();
    let mut back = vec![0; frame.len()];
    let drops = DropCounters::default();
    let mut passed = 0;
    let mut round = || {
        extension.write_all(frame).expect("the daemon reads");
        let mut taken = 0;
        while taken < BATCH {
            taken += source.read_batch().expect("packets came").iter_mut().count();
        }
        sink.write_many(&ranges, &arena, &drops);
        extension.read_exact(&mut back).expect("the same packets");
        passed += usize::from(back == frame);
    };
    round();
    let taken = measure(|| (0..100).for_each(|_| round()));
    assert_eq!((passed, drops.total()), (101, 0));
    assert_eq!(taken.count_total, 0, "{} allocations", taken.count_total);
}

/// How many whole frames there are.
fn frames(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() {
        let length = Header::read(header).expect("a frame").length;
        let Some(after) = rest.get(length..) else { break };
        (bytes, count) = (after, count + 1);
    }
    count
}

/// On a socket that keeps what one call wrote apart from what the next does, and gives a read one of them and throws away
/// what that did not take.
#[test]
fn a_batch_passes_the_door_of_an_extension_by_one_read_and_by_one_write() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (mut extension, Device { mut source, mut sink, .. }, _extensions) = attached(&runtime, SockType::SeqPacket);
    let drops = DropCounters::default();
    for count in [1, BATCH, sink.takes()] {
        let arena: Vec<u8> = (0..count).flat_map(|_| packet(500)).collect();
        let ranges: Vec<Range<usize>> = (0..count).map(|at| at * 500..(at + 1) * 500).collect();
        let mut memory = vec![0; HEADER + MAX_PACKETS];
        let mut writer = PacketWriter::new(&mut memory).expect("there is room");
        ranges.iter().for_each(|at| writer.slot(500).expect("it fits").copy_from_slice(&arena[at.clone()]));
        let frame = writer.finish();
        for _ in 0..3 {
            assert_eq!(extension.write(frame).expect("the daemon reads"), frame.len());
            assert_eq!(source.read_batch().expect("packets came").iter_mut().count(), count, "one read takes all");
            sink.write_many(&ranges, &arena, &drops);
            let mut back = vec![0; frame.len() + 1];
            assert_eq!(extension.read(&mut back).expect("packets"), frame.len(), "one write took all {count}");
            assert_eq!(back[..frame.len()], *frame);
        }
    }
    assert_eq!(drops.total(), 0);
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(10)))).count_total, 1);
}
