//! The packet path takes no memory: everything that a packet needs was there before it came.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
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

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(10)))).count_total, 1);
}
