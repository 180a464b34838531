//! What the core adds to the bare cipher, and what a look-up in the router and a timer cost.
//!
//! Bars: sealing and opening 1420 bytes costs at most 1.10 × the bare call with ChaCha20-Poly1305, and at most the bare
//! call and 60 ns with AES-256-GCM; a look-up among 10 000 peers at most 40 ns, and a timer at most 1 µs.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use cryprq_tests::measure::{by_turns, report};
use node::deadlines::Deadlines;
use node::drops::DropCounters;
use node::epoch::{Cipher, EpochId, EpochState, FrameSource, Limits, Opener, Outgoing, Sealer};
use node::frame::{FrameBatch, FrameType, HEADER_LEN, OVERHEAD, TAG_LEN};
use node::handshake::{Negotiated, PaddingMode, ReceiverIndex};
use node::packet::Checksum;
use node::router::{PeerSlot, Router};
use node::secret::SecretKey32;
use node::time::Time;

const NOW: Time = Time::from_nanos(1_000_000_000);
const LENGTH: usize = 1420;
const FRAME: usize = LENGTH + OVERHEAD;
const BATCH: usize = 32;
const ROUNDS: usize = 4000;
const PEERS: u32 = 10_000;
const FEW: u32 = 100;
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Both halves of an epoch.
struct Epoch {
    sealer: Sealer,
    opener: Opener,
    batch: FrameBatch,
    drops: DropCounters,
}

impl Epoch {
    fn new(cipher: Cipher) -> Self {
        let rotation = Duration::from_secs(300);
        let mtu = u16::try_from(LENGTH).expect("a length below 64 KiB");
        let padding = PaddingMode::Multiple16;
        let negotiated = Negotiated { mtu, rotation, padding, cipher, partial_checksums: false };
        let (key, limits) = (SecretKey32::new([7; 32]), Limits::standard(cipher, rotation));
        let index = ReceiverIndex::new(1).expect("not zero");
        let state = || Arc::new(EpochState::new(EpochId(1)));
        Self {
            sealer: Sealer::new(&key, index, &negotiated, limits, NOW, state()),
            opener: Opener::new(&key, index, &negotiated, limits, NOW, state()),
            batch: FrameBatch::new(BATCH * FRAME),
            drops: DropCounters::default(),
        }
    }

    fn seal(&mut self, packets: &[Outgoing<'_>]) -> Duration {
        self.batch.clear();
        let start = Instant::now();
        let sealed = self.sealer.seal_batch(NOW, packets, &mut self.batch, &self.drops);
        let took = start.elapsed();
        assert_eq!(sealed.map(|sealed| sealed.frames), Ok(BATCH));
        took
    }

    fn open(&mut self, packets: &[Outgoing<'_>]) -> Duration {
        self.seal(packets);
        let mut frames: Vec<Vec<u8>> = self.batch.frames().map(<[u8]>::to_vec).collect();
        let start = Instant::now();
        for frame in &mut frames {
            let opened = self.opener.open(NOW, FrameType::Data, frame, FrameSource::ValidatedUdp);
            assert!(black_box(opened).is_ok());
        }
        start.elapsed()
    }
}

/// The cipher alone, over frames that lie as the product's do.
struct Bare {
    key: LessSafeKey,
    counter: u64,
    arena: Vec<u8>,
}

impl Bare {
    fn new(cipher: Cipher) -> Self {
        let algorithm = match cipher {
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Cipher::Aes256Gcm => &AES_256_GCM,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &[7; 32]).expect("a key of 32 bytes"));
        Self { key, counter: 0, arena: vec![0x45; BATCH * FRAME] }
    }

    fn nonce(counter: u64) -> Nonce {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&counter.to_le_bytes());
        Nonce::assume_unique_for_key(bytes)
    }

    fn seal(&mut self) -> Duration {
        let start = Instant::now();
        for frame in self.arena.chunks_exact_mut(FRAME) {
            let (header, rest) = frame.split_at_mut(HEADER_LEN);
            let (text, tag) = rest.split_at_mut(rest.len() - TAG_LEN);
            let made = self.key.seal_in_place_separate_tag(Self::nonce(self.counter), Aad::from(&*header), text);
            tag.copy_from_slice(made.expect("short enough").as_ref());
            self.counter += 1;
        }
        start.elapsed()
    }

    fn open(&mut self) -> Duration {
        self.seal();
        let mut frames: Vec<Vec<u8>> = self.arena.chunks_exact(FRAME).map(<[u8]>::to_vec).collect();
        let first = self.counter - BATCH as u64;
        let start = Instant::now();
        for (frame, counter) in frames.iter_mut().zip(first..) {
            let (header, sealed) = frame.split_at_mut(HEADER_LEN);
            let opened = self.key.open_in_place(Self::nonce(counter), Aad::from(&*header), sealed);
            assert!(black_box(opened).is_ok());
        }
        start.elapsed()
    }
}

/// The copy of a packet into the batch, which every design has.
fn copy(packets: &[Outgoing<'_>], arena: &mut [u8]) -> Duration {
    let start = Instant::now();
    for (packet, frame) in packets.iter().zip(arena.chunks_exact_mut(FRAME)) {
        frame[HEADER_LEN..HEADER_LEN + LENGTH].copy_from_slice(packet.packet);
    }
    black_box(arena);
    start.elapsed()
}

fn frames(cipher: Cipher) {
    let mut bytes = vec![0xab; BATCH * LENGTH];
    for packet in bytes.chunks_exact_mut(LENGTH) {
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&u16::try_from(LENGTH).expect("a length").to_be_bytes());
    }
    let packets: Vec<_> =
        bytes.chunks_exact(LENGTH).map(|packet| Outgoing { packet, checksum: Checksum::Complete }).collect();
    let (mut bare, mut epoch, mut arena) = (Bare::new(cipher), Epoch::new(cipher), vec![0; BATCH * FRAME]);
    let [bare_seal, copied, seal] =
        by_turns(ROUNDS, [&mut || bare.seal(), &mut || copy(&packets, &mut arena), &mut || epoch.seal(&packets)]);
    let (mut bare, mut epoch) = (Bare::new(cipher), Epoch::new(cipher));
    let [bare_open, open] = by_turns(ROUNDS, [&mut || bare.open(), &mut || epoch.open(&packets)]);
    let each = |batch: f64| batch / BATCH as f64;
    let name = cipher.name();
    println!(
        "{name}: bare seal {:.1} ns, open {:.1} ns; copy {:.1} ns",
        each(bare_seal),
        each(bare_open),
        each(copied)
    );
    for (what, product, bare) in [("seal", seal - copied, bare_seal), ("open", open, bare_open)] {
        match cipher {
            Cipher::ChaCha20Poly1305 => {
                report(&format!("{name} {what}, over the bare call"), product / bare, 1.10, "×")
            }
            Cipher::Aes256Gcm => {
                report(&format!("{name} {what}, beyond the bare call"), each(product - bare), 60.0, "ns")
            }
        }
    }
}

/// A router with so many peers, and their addresses in a fixed order without a pattern that a processor could foresee.
fn routed(peers: u32) -> (Router, Vec<IpAddr>) {
    let mut router = Router::default();
    let address = |peer: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a56_0000 + peer));
    for peer in 0..peers {
        let v6 = format!("fd63:7279:7072::{:x}:{:x}/128", peer >> 16, peer & 0xffff);
        let prefixes = [address(peer).into(), v6.parse().expect("a prefix")];
        router.add_peer(PeerSlot(peer), &prefixes).expect("each has its own");
    }
    let order = (0..PEERS).map(|at| address(at.wrapping_mul(2_654_435_761) % peers)).collect();
    (router, order)
}

fn look_up((router, order): &(Router, Vec<IpAddr>)) -> Duration {
    let start = Instant::now();
    let found = order.iter().filter(|address| black_box(router.owner(**address)).is_some()).count();
    let took = start.elapsed();
    assert_eq!(found, order.len());
    took
}

fn router() {
    let (few, many) = (routed(FEW), routed(PEERS));
    let [of_few, of_many] = by_turns(200, [&mut || look_up(&few), &mut || look_up(&many)]);
    println!("router, one look-up among {FEW} peers: {:.1} ns", of_few / f64::from(PEERS));
    report("router, one look-up among 10 000 peers", of_many / f64::from(PEERS), 40.0, "ns");
}

/// Each of `peers` has been due and is due again, as with a keepalive each 20 s; how long that took.
fn due_once(deadlines: &mut Deadlines<PeerSlot>, peers: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..peers {
        let now = deadlines.first().expect("someone is due next");
        let next = deadlines.due(now).next().expect("it is due then");
        deadlines.set(next, Some(now + KEEPALIVE));
    }
    start.elapsed()
}

fn timers() {
    let filled = |peers: u32| {
        let mut deadlines = Deadlines::default();
        (0..peers).for_each(|peer| deadlines.set(PeerSlot(peer), Some(NOW + KEEPALIVE * peer / peers)));
        deadlines
    };
    let (mut few, mut many) = (filled(FEW), filled(PEERS));
    let [of_few, of_many] = by_turns(200, [&mut || due_once(&mut few, FEW), &mut || due_once(&mut many, PEERS)]);
    let (of_few, of_many) = (of_few / f64::from(FEW), of_many / f64::from(PEERS));
    println!("a timer among {FEW} peers: {of_few:.1} ns");
    report("a timer among 10 000 peers", of_many, 1000.0, "ns");
}

fn main() {
    frames(Cipher::ChaCha20Poly1305);
    frames(Cipher::Aes256Gcm);
    router();
    timers();
}
