//! Every reason for which something is dropped is brought about once, here or in the test that is named.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryprq_tests::repository;
use cryprq_tests::sim::addressing::packet;
use net::inbound::Inbound;
use net::plane::{Carrier, Device, PeerStats, Plane, PlaneParts};
use net::stream::StreamCarrier;
use node::drops::{DropCounters, DropReason};
use node::epoch::{Cipher, EpochId, EpochState, Limits, Opener, Outgoing, Sealer, WINDOW};
use node::frame::FrameBatch;
use node::handshake::{Forwarding, Negotiated, PaddingMode, ReceiverIndex};
use node::packet::Checksum;
use node::receiver::{Origin, Receiver, Trust};
use node::router::{Inward, PeerSlot, Router};
use node::secret::SecretKey32;
use node::time::Time;

const SLOT: PeerSlot = PeerSlot(1);
const LIMIT: Duration = Duration::from_secs(10);
const ENDPOINT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)), 47_351);
const UDP: Origin = Origin::Udp(ENDPOINT);

const NAMES: &str = "daemon/src/names.rs";

/// Reasons that only the inside of a crate, or a socket, brings about: where that is tested.
const ELSEWHERE: &[(DropReason, &str, &str)] = &[
    (
        DropReason::ExtensionAway,
        "daemon/src/ipc/extension/tests.rs",
        "a_paused_extension_gets_nothing_until_it_resumes",
    ),
    (
        DropReason::ExtensionBehind,
        "daemon/src/ipc/extension/tests.rs",
        "attack_13_an_extension_that_does_not_read_costs_bounded_memory_and_its_oldest_packets",
    ),
    (
        DropReason::SightingsMany,
        "daemon/net/src/swarm/observed/tests.rs",
        "whoever_sees_us_at_ever_more_addresses_is_believed_for_a_few_of_them",
    ),
    (
        DropReason::PunchesMany,
        "daemon/net/tests/punching/mod.rs",
        "a_peer_that_asks_for_holes_on_this_host_gets_no_connection_there_and_soon_no_more_tries",
    ),
    (
        DropReason::AnnouncedMany,
        "tests/tests/e2e/lan.rs",
        "a_stranger_that_announces_peers_without_end_costs_no_memory_and_peers_are_found_after_it",
    ),
    (DropReason::NamesMalformed, NAMES, "more_than_can_wait_is_dropped_and_so_is_what_is_no_question"),
    (DropReason::NamesStranger, NAMES, "who_is_not_forwarded_is_not_answered"),
    (DropReason::NamesBusy, NAMES, "more_than_can_wait_is_dropped_and_so_is_what_is_no_question"),
    (DropReason::NamesUnanswered, NAMES, "without_a_resolver_that_answers_the_failure_is_told"),
    (DropReason::NamesForeign, NAMES, "a_question_gets_the_answer_to_it_and_no_other"),
    (
        DropReason::OutStale,
        "daemon/net/src/stream/carrier.rs",
        "a_full_queue_drops_its_oldest_and_a_slow_network_what_is_stale",
    ),
    (DropReason::FramePunch, "daemon/net/src/quic/reader.rs", "a_merged_run_is_sorted_datagram_by_datagram"),
    (
        DropReason::FrameUncarried,
        "daemon/net/src/quic/reader.rs",
        "empty_datagrams_and_frames_without_a_carrier_are_counted",
    ),
    (DropReason::QuicVersion, "daemon/net/src/quic/reader.rs", "a_merged_run_is_sorted_datagram_by_datagram"),
    (DropReason::QuicLength, "daemon/net/src/quic/queue.rs", "a_packet_longer_than_announced_is_counted"),
    (
        DropReason::QuicQueueFull,
        "daemon/net/src/quic/queue.rs",
        "what_does_not_fit_is_counted_and_what_was_first_comes_first",
    ),
    (
        DropReason::QuicSend,
        "daemon/net/src/quic/socket.rs",
        "what_the_system_refuses_to_send_is_counted_and_ends_no_connection",
    ),
    (
        DropReason::QuicHandshake,
        "daemon/net/tests/quic/strangers.rs",
        "a_forged_first_packet_is_counted_and_not_answered",
    ),
    (
        DropReason::QuicLimited,
        "daemon/net/tests/quic/strangers.rs",
        "a_source_that_tries_too_often_is_not_heard_for_a_while",
    ),
    (
        DropReason::ConnectionsLimited,
        "daemon/net/src/swarm/admission/gate/tests.rs",
        "of_one_source_eight_connections_may_say_nothing_and_of_all_64",
    ),
];

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
        receiver.set_trust(SLOT, Trust { endpoint: Some(ENDPOINT), proposed: None });
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
        match self.receiver.receive(clock(), &mut bytes, origin, &mut Inward::new(&self.router)) {
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
    let inbound = Arc::new(Inbound::new(Arc::clone(&drops)).expect("a descriptor"));
    let feed = Arc::clone(&inbound);
    let parts = PlaneParts { device: Device::none(), inbound, drops, clock };
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

/// Brings a reason about, and gives the one that was counted.
type Drive = fn(&mut Bench) -> DropReason;

/// What brings each reason about.
fn driven() -> BTreeMap<DropReason, Drive> {
    use DropReason::*;
    let table: [(DropReason, Drive); 33] = [
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
        (OutLoop, |bench| {
            bench.router.set_exit(SLOT, Forwarding { ipv4: true, ipv6: true }, [1]);
            let own = with(with(packet(1, ip("10.86.0.1"), ip("198.51.100.9"), 64), 9, 17), 21, 1);
            bench.router.outbound(&own).expect_err("the tunnel would carry itself")
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
            let inbound = Inbound::new(Arc::clone(&drops)).expect("a descriptor");
            for _ in 0..1000 {
                let mut batch = inbound.spare();
                batch.push(&[0; 32]);
                inbound.push(batch);
            }
            drops.snapshot()[0].0
        }),
        (FrameRateLimited, |bench| {
            let frame = bench.seal(&good());
            let forged = with(frame.clone(), 20, frame[20] ^ 1);
            let unproven = Origin::Udp(SocketAddr::new(ENDPOINT.ip(), 1));
            (0..1001).map(|_| bench.drop_of(&forged, unproven)).last().expect("many")
        }),
        (FrameReplayed, |bench| {
            let mut frame = bench.seal(&good());
            let again = frame.clone();
            assert!(bench.receiver.receive(clock(), &mut frame, UDP, &mut Inward::new(&bench.router)).is_ok());
            bench.drop_of(&again, UDP)
        }),
        (FrameTooOld, |bench| {
            let old = bench.seal(&good());
            let mut newest = (0..=WINDOW).map(|_| bench.seal(&good())).last().expect("many");
            assert!(bench.receiver.receive(clock(), &mut newest, UDP, &mut Inward::new(&bench.router)).is_ok());
            bench.drop_of(&old, UDP)
        }),
        (FrameKeyExpired, |bench| {
            let mut frame = bench.seal(&good());
            let late = clock() + Duration::from_secs(450);
            bench
                .receiver
                .receive(late, &mut frame, UDP, &mut Inward::new(&bench.router))
                .expect_err("the key is too old")
        }),
        (FrameForged, |bench| {
            let frame = bench.seal(&good());
            bench.drop_of(&with(frame.clone(), 20, frame[20] ^ 1), UDP)
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
        let tests = text.split_once("#[cfg(test)]").map_or(&*text, |(_, tests)| tests);
        assert!(tests.contains(&format!("fn {test}(")), "{file} has no test {test}");
        assert!(tests.contains(&format!("DropReason::{reason:?}")), "no test in {file} looks at {reason:?}");
        seen.push(*reason);
    }
    seen.sort_unstable();
    assert_eq!(seen, DropReason::ALL, "each reason once, in the order of their counters");
}
