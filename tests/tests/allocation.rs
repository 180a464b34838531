//! The packet path takes no memory: everything that a packet needs was there before it came. And at the door of an extension
//! a batch takes one system call.

use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

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
use node::frame::{FrameBatch, OVERHEAD};
use node::handshake::{Negotiated, PaddingMode, ReceiverIndex};
use node::packet::Checksum;
use node::receiver::{Content, Origin, Received, Receiver, Trust};
use node::router::{PeerSlot, Router};
use node::secret::SecretKey32;
use node::time::Time;

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
                    let received = receiver.receive(NOW, frame, Origin::Udp(from), &router);
                    passed += usize::from(matches!(received, Ok(Received { content: Ok(Content::Packet(..)), .. })));
                }
            }
        });
        assert_eq!(passed, 100 * BATCH);
        assert_eq!(taken.count_total, 0, "{} allocations under {}", taken.count_total, cipher.name());
    }
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
