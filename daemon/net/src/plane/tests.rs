use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver as StdReceiver, Sender as StdSender, channel};
use std::time::Duration;

use node::epoch::{Bound, Cipher, EpochId, EpochState, Limits};
use node::handshake::{Negotiated, PaddingMode};
use node::offload::VnetHeader;
use node::secret::SecretKey32;
use node::tunnel::Report;

use super::*;
use crate::quic::{failing, heard};

const PEER: PeerSlot = PeerSlot(3);
const LIMIT: Duration = Duration::from_secs(10);

fn clock() -> Time {
    Time::from_nanos(1_000_000_000)
}

struct ChannelSource {
    packets: StdReceiver<Option<Vec<u8>>>,
    batch: PacketBatch,
    answers: StdSender<Vec<u8>>,
}

/// A source of what is sent, and what it was told.
fn source(packets: StdReceiver<Option<Vec<u8>>>) -> (Box<ChannelSource>, StdReceiver<Vec<u8>>) {
    let (answers, told) = channel();
    (Box::new(ChannelSource { packets, batch: PacketBatch::default(), answers }), told)
}

impl PacketSource for ChannelSource {
    fn read_batch(&mut self) -> io::Result<LentPackets<'_>> {
        let Self { packets, batch, .. } = self;
        batch.clear();
        match packets.recv() {
            Ok(Some(packet)) => {
                batch.push(VnetHeader::default(), &packet);
                Ok(batch.lend())
            }
            Ok(None) | Err(_) => Err(io::ErrorKind::Interrupted.into()),
        }
    }

    fn answer(&mut self, packet: &[u8]) -> io::Result<()> {
        self.answers.send(packet.to_vec()).map_err(io::Error::other)
    }
}

struct ChannelSink(StdSender<Vec<u8>>);

impl PacketSink for ChannelSink {
    fn write(&mut self, packet: &[u8]) -> io::Result<()> {
        self.0.send(packet.to_vec()).map_err(io::Error::other)
    }
}

/// Hands frames straight to the other side's queue.
struct Wire(Weak<Inbound>);

impl Carrier for Wire {
    fn send(&self, frames: &FrameBatch) {
        let Some(inbound) = self.0.upgrade() else { return };
        let mut batch = inbound.spare();
        batch.slot = Some(PEER);
        frames.frames().for_each(|frame| batch.push(frame));
        inbound.push(batch);
    }
}

struct Host {
    plane: Plane,
    peer: Arc<PeerStats>,
    packets: StdSender<Option<Vec<u8>>>,
    delivered: StdReceiver<Vec<u8>>,
    answers: StdReceiver<Vec<u8>>,
    inbound: Arc<Inbound>,
}

fn host(own: &str, peer: &str) -> Host {
    let (packets, sent) = channel();
    let (source, answers) = source(sent);
    let (sink, delivered) = channel();
    let drops = Arc::new(DropCounters::default());
    let inbound = Arc::new(Inbound::new(Arc::clone(&drops)).unwrap());
    let stop = packets.clone();
    let plane = Plane::start(PlaneParts {
        device: Device { source, sink: Box::new(ChannelSink(sink)), wake: Box::new(move || drop(stop.send(None))) },
        inbound: Arc::clone(&inbound),
        drops,
        clock,
    })
    .unwrap();
    let mut router = Router::new([own.parse().unwrap()], [], []);
    router.add_peer(PEER, &[format!("{peer}/32").parse().unwrap()]).unwrap();
    plane.set_router(Arc::new(router));
    Host { plane, peer: Arc::default(), packets, delivered, answers, inbound }
}

fn keys() -> (Sealer, Opener) {
    let negotiated = Negotiated {
        mtu: 1420,
        rotation: Duration::from_secs(300),
        padding: PaddingMode::Multiple16,
        cipher: Cipher::ChaCha20Poly1305,
        partial_checksums: false,
    };
    let failed_opens = Bound { soft: 2, hard: 4 };
    let limits = Limits { failed_opens, ..Limits::standard(negotiated.cipher, negotiated.rotation) };
    let (key, index) = (SecretKey32::new([9; 32]), ReceiverIndex::new(77).unwrap());
    let state = || Arc::new(EpochState::new(EpochId(5)));
    (
        Sealer::new(&key, index, &negotiated, limits, clock(), state()),
        Opener::new(&key, index, &negotiated, limits, clock(), state()),
    )
}

fn packet(source: [u8; 4], destination: [u8; 4], mark: u8) -> Vec<u8> {
    let mut packet = vec![mark; 60];
    packet[..4].copy_from_slice(&[0x45, 0, 0, 60]);
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet
}

const A: [u8; 4] = [10, 86, 0, 1];
const B: [u8; 4] = [10, 86, 0, 2];

/// A sends to B with one key; B receives with it.
fn joined() -> (Host, Host) {
    let (a, b) = (host("10.86.0.1", "10.86.0.2"), host("10.86.0.2", "10.86.0.1"));
    a.plane.add_peer(PEER, Arc::new(Wire(Arc::downgrade(&b.inbound))), Arc::clone(&a.peer));
    b.plane.add_peer(PEER, Arc::new(Wire(Arc::downgrade(&a.inbound))), Arc::clone(&b.peer));
    let (sealer, opener) = keys();
    b.plane.install(PEER, opener);
    a.plane.set_sealer(PEER, Some(Arc::new(sealer)));
    (a, b)
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn packets_reach_the_other_host_and_are_reported_once_a_batch() {
    let (a, b) = joined();
    for mark in 1..=3 {
        a.packets.send(Some(packet(A, B, mark))).unwrap();
        assert_eq!(b.delivered.recv_timeout(LIMIT).unwrap(), packet(A, B, mark));
    }
    let mut reports = Vec::new();
    wait_for("reports", || {
        reports.extend(b.plane.reports().drain());
        reports.contains(&(PEER, News::Received { at: clock(), via: Path::Stream }))
    });
    assert_eq!(reports[0], (PEER, News::Tunnel(Report::FirstFrame { epoch: EpochId(5) })));
    wait_for("the sender's report", || {
        a.plane
            .reports()
            .drain()
            .contains(&(PEER, News::Tunnel(Report::Sent { at: clock(), traffic: node::tunnel::Traffic::Content })))
    });
}

#[test]
fn packets_without_a_key_or_a_peer_are_dropped_and_counted() {
    let (a, _b) = joined();
    a.plane.set_sealer(PEER, None);
    a.packets.send(Some(packet(A, B, 1))).unwrap();
    // No fragment: nobody is told of those.
    a.packets.send(Some(packet(A, [10, 99, 0, 1], 0))).unwrap();
    wait_for("two drops", || a.plane.drops().total() + a.peer.drops().total() == 2);
    assert_eq!(a.plane.drops().snapshot(), [(DropReason::OutNoPeer, 1)]);
    assert_eq!(a.peer.drops().snapshot(), [(DropReason::OutPeerDown, 1)]);
    let answer = a.answers.recv_timeout(LIMIT).expect("who sends to nobody is told");
    assert_eq!((&answer[16..20], &answer[20..22]), (&A[..], &[3, 0][..]));
    assert!(a.answers.try_recv().is_err(), "who sends to a peer that is away is not");
}

#[test]
fn what_a_peer_sends_in_vain_is_counted_with_that_peer() {
    let (a, b) = joined();
    // A source that does not belong to A, and a destination that does not belong to B.
    a.packets.send(Some(packet([10, 86, 0, 9], B, 1))).unwrap();
    wait_for("the foreign source", || b.peer.drops().get(DropReason::SourceNotAllowed) == 1);
    let mut batch = b.inbound.spare();
    (batch.slot, batch.stats) = (Some(PEER), Some(Arc::clone(&b.peer)));
    batch.push(&[0xff; 40]);
    b.inbound.push(batch);
    wait_for("the nonsense", || b.peer.drops().get(DropReason::FrameType) == 1);
    assert_eq!(b.plane.drops().total(), 0);
    assert_eq!(b.peer.drops().total(), 2);
}

/// No authentic frame comes, so that nothing else would wake the tunnel.
#[test]
fn limits_of_failed_opens_are_reported_at_once() {
    let (_a, b) = joined();
    let mut forged = [&[0x10, 0, 0, 0][..], &77u32.to_le_bytes()].concat();
    forged.resize(64, 0);
    let forge = |count| {
        for _ in 0..count {
            let mut batch = b.inbound.spare();
            batch.slot = Some(PEER);
            batch.push(&forged);
            b.inbound.push(batch);
        }
    };
    for (total, report) in [(2, Report::SoftLimit { epoch: EpochId(5) }), (4, Report::HardLimit { epoch: EpochId(5) })]
    {
        forge(1);
        wait_for("the forgery", || b.peer.drops().get(DropReason::FrameForged) == total - 1);
        assert_eq!(b.plane.reports().drain(), [], "a limit is not reached yet");
        forge(1);
        let mut reports = Vec::new();
        wait_for("the limit", || {
            reports.extend(b.plane.reports().drain());
            !reports.is_empty()
        });
        assert_eq!(reports, [(PEER, News::Tunnel(report))]);
    }
}

#[test]
fn a_removed_peers_key_is_gone_when_the_call_returns() {
    let (a, b) = joined();
    let (sealer, _) = keys();
    let sealer = Arc::new(sealer);
    let held = Arc::downgrade(&sealer);
    b.plane.set_sealer(PEER, Some(sealer));
    b.plane.remove_peer(PEER);
    assert_eq!(held.strong_count(), 0, "nobody holds the key to send with");
    a.packets.send(Some(packet(A, B, 1))).unwrap();
    wait_for("the frame is refused", || b.plane.drops().get(DropReason::FrameUnknownIndex) == 1);
    assert!(b.delivered.try_recv().is_err());
}

#[test]
fn probes_and_empty_frames_are_sent_by_the_control_task() {
    let (a, b) = joined();
    a.plane.send_empty(PEER);
    a.plane.send_probe(PEER, [4; 8]);
    let mut reports = Vec::new();
    wait_for("the probe", || {
        reports.extend(b.plane.reports().drain());
        reports.contains(&(PEER, News::Tunnel(Report::ProbeReceived { token: [4; 8], via: Path::Stream })))
    });
    b.plane.send_probe_ack(PEER, [4; 8], Path::Stream);
    assert_eq!(b.peer.drops().get(DropReason::OutPeerDown), 1, "this side has no key to answer with");
}

#[test]
fn another_device_takes_over_with_the_keys_that_there_are() {
    let (a, mut b) = joined();
    a.packets.send(Some(packet(A, B, 1))).unwrap();
    assert_eq!(b.delivered.recv_timeout(LIMIT).unwrap(), packet(A, B, 1));
    let (packets, sent) = channel();
    let (source, _answers) = source(sent);
    let (sink, delivered) = channel();
    b.plane
        .replace_device(Device {
            source,
            sink: Box::new(ChannelSink(sink)),
            wake: Box::new(move || drop(packets.send(None))),
        })
        .unwrap();
    a.packets.send(Some(packet(A, B, 2))).unwrap();
    assert_eq!(delivered.recv_timeout(LIMIT).unwrap(), packet(A, B, 2));
    b.plane.replace_device(Device::none()).unwrap();
    a.packets.send(Some(packet(A, B, 3))).unwrap();
    wait_for("the packet that nobody takes", || b.peer.drops().get(DropReason::TunWrite) == 1);
}

/// A device whose interface was removed: every read fails, woken or not. Counts them.
struct Gone(Arc<AtomicUsize>);

impl PacketSource for Gone {
    fn read_batch(&mut self) -> io::Result<LentPackets<'_>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(io::Error::other("the interface is gone"))
    }
}

/// A plane on such a device, and how often it was read.
fn plane_on_a_device_that_is_gone() -> (Plane, Arc<AtomicUsize>) {
    let drops = Arc::new(DropCounters::default());
    let inbound = Arc::new(Inbound::new(Arc::clone(&drops)).unwrap());
    let reads = Arc::new(AtomicUsize::new(0));
    let source = Box::new(Gone(Arc::clone(&reads)));
    let device = Device { source, sink: Box::new(Nowhere), wake: Box::new(|| {}) };
    (Plane::start(PlaneParts { device, inbound, drops, clock }).unwrap(), reads)
}

#[test]
fn a_plane_whose_device_is_gone_ends_when_it_is_told_to() {
    let (plane, _) = plane_on_a_device_that_is_gone();
    let (ended, end) = channel();
    std::thread::spawn(move || {
        drop(plane);
        ended.send(())
    });
    end.recv_timeout(LIMIT).expect("it ends");
}

#[test]
fn a_device_that_is_gone_for_good_is_told_and_does_not_make_the_loop_spin() {
    let begun = Instant::now();
    let (plane, reads) = plane_on_a_device_that_is_gone();
    // Not asked all the time, so that the loop would have the processor.
    while plane.failures().reads.is_none() {
        assert!(begun.elapsed() < LIMIT, "it is told");
        std::thread::sleep(Duration::from_millis(10));
    }
    // It rests for half a second after each failure, however long the machine makes the test take.
    let count = reads.load(Ordering::Relaxed);
    let most = begun.elapsed().as_millis() as usize / 500 + 1;
    assert!((2..=most).contains(&count), "{count} reads where {most} are enough");
}

#[test]
fn a_socket_that_fails_holds_up_no_other() {
    let host = host("10.86.0.1", "10.86.0.2");
    let ((broken, breaks), (whole, sender)) = (failing(), heard());
    host.inbound.attach(broken);
    host.inbound.attach(whole);
    let mut took = Vec::new();
    for round in 1..=101 {
        let begun = Instant::now();
        // While it rests, an error waits in it and is told to the next one that sends.
        let _ = breaks.send(b"x");
        sender.send(&[0x10; 48]).unwrap();
        wait_for("the frame of the socket that works", || host.plane.drops().total() >= round);
        took.push(begun.elapsed());
    }
    took.sort();
    // A failing socket rests for 100 ms. Were that waited for, hardly a round would be quicker.
    assert!(took[took.len() / 2] < Duration::from_millis(50), "{took:?}");
}
