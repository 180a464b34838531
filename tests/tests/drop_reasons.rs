//! Every reason for which something is dropped is brought about once, here or in the test that is named.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryprq_tests::repository;
use cryprq_tests::sim::addressing::packet;
use net::plane::{Carrier, Nowhere, PeerStats, Plane, PlaneParts, nothing};
use net::stream::{Inbound, StreamCarrier};
use node::drops::{DropCounters, DropReason};
use node::epoch::{Cipher, EpochId, EpochState, Limits, Opener, Outgoing, Sealer, WINDOW};
use node::frame::FrameBatch;
use node::handshake::{Negotiated, PaddingMode, ReceiverIndex};
use node::packet::Checksum;
use node::receiver::{Origin, Receiver};
use node::router::{PeerSlot, Router};
use node::secret::SecretKey32;
use node::time::Time;

const SLOT: PeerSlot = PeerSlot(1);
const LIMIT: Duration = Duration::from_secs(10);
const UDP: Origin = Origin::Udp { validated: true };

/// Reasons that only the inside of a crate can bring about, and where that is tested.
const ELSEWHERE: &[(DropReason, &str, &str)] = &[(
    DropReason::OutStale,
    "daemon/net/src/stream/carrier.rs",
    "a_full_queue_drops_its_oldest_and_a_slow_network_what_is_stale",
)];

fn clock() -> Time {
    Time::from_nanos(1_000_000_000)
}

/// One epoch of a peer with 10.86.0.2, and a bit of everything that 7.4 forbids.
struct Bench {
    sealer: Sealer,
    receiver: Receiver,
    router: Router,
}

fn epoch() -> (Sealer, Opener) {
    let negotiated = Negotiated {
        mtu: 1420,
        rotation: Duration::from_secs(300),
        padding: PaddingMode::Multiple16,
        cipher: Cipher::ChaCha20Poly1305,
        partial_checksums: true,
    };
    let limits = Limits::standard(negotiated.cipher, negotiated.rotation);
    let (key, index) = (SecretKey32::new([7; 32]), ReceiverIndex::new(77).expect("not zero"));
    let state = || Arc::new(EpochState::new(EpochId(1)));
    let sealer = Sealer::new(&key, index, &negotiated, limits, clock(), state());
    (sealer, Opener::new(&key, index, &negotiated, limits, clock(), state()))
}

impl Bench {
    fn new() -> Self {
        let (sealer, opener) = epoch();
        let mut receiver = Receiver::default();
        receiver.install(SLOT, opener);
        let mut router =
            Router::new([ip("10.86.0.1")], [ip("203.0.113.1")], ["192.168.1.0/24".parse().expect("a prefix")]);
        let all = ["0.0.0.0/0".parse().expect("a prefix")];
        router.add_peer(SLOT, &all).expect("nobody else has it");
        router.add_peer(PeerSlot(2), &["10.86.0.3/32".parse().expect("a prefix")]).expect("nobody else has it");
        Self { sealer, receiver, router }
    }

    fn seal(&self, inner: &[u8]) -> Vec<u8> {
        let mut out = FrameBatch::new(4096);
        let outgoing = [Outgoing { packet: inner, checksum: Checksum::Complete }];
        self.sealer.seal_batch(clock(), &outgoing, &mut out, &DropCounters::default()).expect("a good key");
        out.frames().next().expect("one frame").to_vec()
    }

    /// Why a datagram is dropped.
    fn drop_of(&mut self, datagram: &[u8], origin: Origin) -> DropReason {
        let mut bytes = datagram.to_vec();
        match self.receiver.receive(clock(), &mut bytes, origin, &self.router) {
            Ok(received) => received.content.expect_err("it must not pass"),
            Err(reason) => reason,
        }
    }

    fn drop_of_inner(&mut self, inner: &[u8]) -> DropReason {
        let frame = self.seal(inner);
        self.drop_of(&frame, UDP)
    }

    fn drop_of_addresses(&mut self, source: &str, destination: &str) -> DropReason {
        self.drop_of_inner(&packet(1, ip(source), ip(destination), 64))
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn good() -> Vec<u8> {
    packet(1, ip("10.86.0.2"), ip("10.86.0.1"), 64)
}

fn with(mut bytes: Vec<u8>, at: usize, to: u8) -> Vec<u8> {
    bytes[at] = to;
    bytes
}

fn probe_without_token(bench: &mut Bench) -> DropReason {
    // An empty frame of this key that claims to be a probe does not open: only the peer itself can send such a thing.
    let aead = node::epoch::AwsLcAead::new(Cipher::ChaCha20Poly1305, &SecretKey32::new([7; 32]));
    let mut header = [0; 16];
    (header[0], header[4]) = (0x11, 77);
    let tag = node::epoch::Aead::seal(&aead, &header, &mut []).expect("short");
    bench.drop_of(&[&header[..], &tag].concat(), UDP)
}

/// Waits for the receiving loop, which is a thread of its own.
fn wait_for_drop(drops: &DropCounters, reason: DropReason) -> DropReason {
    let start = Instant::now();
    while drops.get(reason) == 0 {
        assert!(start.elapsed() < LIMIT, "{reason:?} was not counted: {:?}", drops.snapshot());
        std::thread::yield_now();
    }
    reason
}

struct Nobody;

impl Carrier for Nobody {
    fn send(&self, _frames: &FrameBatch) {}
}

/// The packet loops without a host behind them: they have no key to send with, and nowhere to write to.
fn by_the_loops() -> [DropReason; 2] {
    let drops = Arc::new(DropCounters::default());
    let inbound = Arc::new(Inbound::new(Arc::clone(&drops)));
    let (source, wake) = nothing();
    let (sink, feed) = (Box::new(Nowhere), Arc::clone(&inbound));
    let parts = PlaneParts { source: Box::new(source), sink, wake, inbound, drops, clock };
    let plane = Plane::start(parts).expect("two threads");
    let stats = Arc::new(PeerStats::default());
    plane.add_peer(SLOT, Arc::new(Nobody), Arc::clone(&stats));
    plane.send_empty(SLOT);
    let down = wait_for_drop(stats.drops(), DropReason::OutPeerDown);

    let bench = Bench::new();
    let (_, opener) = epoch();
    plane.set_router(Arc::new(Bench::new().router));
    plane.install(SLOT, opener);
    let mut batch = feed.spare();
    batch.slot = Some(SLOT);
    batch.stats = Some(Arc::clone(&stats));
    batch.push(&bench.seal(&good()));
    feed.push(batch);
    [down, wait_for_drop(stats.drops(), DropReason::TunWrite)]
}

/// What brings each reason about.
fn driven() -> BTreeMap<DropReason, fn(&mut Bench) -> DropReason> {
    use DropReason::*;
    let table: [(DropReason, fn(&mut Bench) -> DropReason); 32] = [
        (OutMalformed, |bench| bench.router.outbound(&good()[..19]).expect_err("no packet")),
        (OutTooLong, |bench| {
            let (drops, long) = (DropCounters::default(), vec![0x45; 1421]);
            let outgoing = [Outgoing { packet: &long, checksum: Checksum::Complete }];
            bench.sealer.seal_batch(clock(), &outgoing, &mut FrameBatch::new(4096), &drops).expect("a good key");
            drops.snapshot()[0].0
        }),
        (OutNoPeer, |_| Router::default().outbound(&good()).expect_err("there is no peer")),
        (OutLinkScope, |_| {
            let multicast = packet(1, ip("10.86.0.1"), ip("224.0.0.251"), 64);
            Router::default().outbound(&multicast).expect_err("it stays on its link")
        }),
        (OutKeyExpired, |bench| {
            let late = clock() + Duration::from_secs(450);
            bench.sealer.seal_empty(late, &mut FrameBatch::new(4096)).expect_err("the key is too old")
        }),
        (OutQueueFull, |bench| bench.sealer.seal_empty(clock(), &mut FrameBatch::new(8)).expect_err("it has no room")),
        (OutNoPath, |bench| {
            let stats = Arc::new(PeerStats::default());
            let carrier = StreamCarrier::new(Arc::clone(&stats), clock);
            let mut frames = FrameBatch::new(4096);
            bench.sealer.seal_empty(clock(), &mut frames).expect("a good key");
            carrier.send(&frames);
            stats.drops().snapshot()[0].0
        }),
        (FrameLength, |bench| bench.drop_of(&[0x10; 31], UDP)),
        (FrameType, |bench| bench.drop_of(&[0x13; 64], UDP)),
        (FrameReserved, |bench| bench.drop_of(&with(vec![0x10; 64], 1, 1), UDP)),
        (FrameUnknownIndex, |bench| {
            let frame = bench.seal(&good());
            bench.drop_of(&with(frame, 5, 9), UDP)
        }),
        (FrameForeignIndex, |bench| {
            let frame = bench.seal(&good());
            bench.drop_of(&frame, Origin::Stream(PeerSlot(2)))
        }),
        (InQueueFull, |_| {
            let drops = Arc::new(DropCounters::default());
            let inbound = Inbound::new(Arc::clone(&drops));
            for _ in 0..1000 {
                let mut batch = inbound.spare();
                batch.push(&[0; 32]);
                inbound.push(batch);
            }
            drops.snapshot()[0].0
        }),
        (FrameRateLimited, |bench| {
            let forged = with(bench.seal(&good()), 20, 0);
            let unproven = Origin::Udp { validated: false };
            (0..1001).map(|_| bench.drop_of(&forged, unproven)).last().expect("many")
        }),
        (FrameReplayed, |bench| {
            let mut frame = bench.seal(&good());
            let again = frame.clone();
            assert!(bench.receiver.receive(clock(), &mut frame, UDP, &bench.router).is_ok());
            bench.drop_of(&again, UDP)
        }),
        (FrameTooOld, |bench| {
            let old = bench.seal(&good());
            let mut newest = (0..=WINDOW).map(|_| bench.seal(&good())).last().expect("many");
            assert!(bench.receiver.receive(clock(), &mut newest, UDP, &bench.router).is_ok());
            bench.drop_of(&old, UDP)
        }),
        (FrameKeyExpired, |bench| {
            let mut frame = bench.seal(&good());
            let late = clock() + Duration::from_secs(450);
            bench.receiver.receive(late, &mut frame, UDP, &bench.router).expect_err("the key is too old")
        }),
        (FrameForged, |bench| {
            let frame = bench.seal(&good());
            let flipped = frame[20] ^ 1;
            bench.drop_of(&with(frame, 20, flipped), UDP)
        }),
        (InnerVersion, |bench| bench.drop_of_inner(&with(good(), 0, 0x55))),
        (InnerHeader, |bench| bench.drop_of_inner(&with(good(), 0, 0x44))),
        (InnerLength, |bench| bench.drop_of_inner(&with(good(), 2, 0x40))),
        (InnerChecksum, |bench| bench.drop_of_inner(&with(good(), 0, 0xc5))),
        (ProbeLength, probe_without_token),
        (SourceNotAllowed, |bench| bench.drop_of_addresses("10.86.0.3", "10.86.0.1")),
        (SourceOwn, |bench| bench.drop_of_addresses("10.86.0.1", "10.86.0.1")),
        (SourceLoopback, |bench| bench.drop_of_addresses("127.0.0.1", "10.86.0.1")),
        (SourceLinkLocal, |bench| bench.drop_of_addresses("169.254.0.1", "10.86.0.1")),
        (SourceMulticast, |bench| bench.drop_of_addresses("224.0.0.1", "10.86.0.1")),
        (SourceUnspecified, |bench| bench.drop_of_addresses("0.0.0.0", "10.86.0.1")),
        (SourceDirect, |bench| bench.drop_of_addresses("192.168.1.9", "10.86.0.1")),
        (DestinationOuter, |bench| bench.drop_of_addresses("10.86.0.2", "203.0.113.1")),
        (DestinationNotOurs, |bench| bench.drop_of_addresses("10.86.0.2", "8.8.8.8")),
    ];
    table.into_iter().collect()
}

#[test]
fn every_drop_reason_is_brought_about() {
    let mut seen: Vec<DropReason> = by_the_loops().to_vec();
    for (reason, drive) in driven() {
        assert_eq!(drive(&mut Bench::new()), reason);
        seen.push(reason);
    }
    for (reason, file, test) in ELSEWHERE {
        let text = std::fs::read_to_string(repository::root().join(file)).expect("the file is there");
        let (_, body) = text.split_once(&format!("fn {test}(")).unwrap_or_else(|| panic!("{file} has no test {test}"));
        let body = body.split("\n    }\n").next().unwrap_or_default();
        assert!(body.contains(&format!("DropReason::{reason:?}")), "{test} does not look at {reason:?}");
        seen.push(*reason);
    }
    seen.sort_unstable();
    assert_eq!(seen, DropReason::ALL, "each reason once, in the order of their counters");
}
