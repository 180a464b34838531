//! The packet loops: one plain thread per direction, run to completion.
//!
//! `up`: packets of the host → router → seal → carrier. `down`: received frames → open → router → host. What they share
//! with the control task is what `docs/architecture.md`, decision 1, names: sealers, openers, the router's snapshot, and
//! once per batch a report.

mod down;
mod reports;
mod tables;
mod trouble;
mod up;

pub use reports::{News, Reports};
pub use tables::{PeerPlane, PeerStats, Tables};
pub use trouble::Trouble;

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver as Commands, Sender, bounded, unbounded};
use node::drops::{DropCounters, DropReason};
use node::epoch::{Opener, Sealer};
use node::frame::FrameBatch;
use node::handshake::ReceiverIndex;
use node::offload::{MergeRule, Merged};
use node::path::{Endpoint, Path};
use node::receiver::Trust;
use node::router::{PeerSlot, Router};
use node::time::Time;
use os::bell::Waker;
use os::tun::{LentPackets, PacketBatch, Tun};
use os::udp::UdpNote;

use crate::datagram::{DatagramCarrier, Sockets};
use crate::inbound::Inbound;
use down::{Command, Held};

/// Only so that removing a peer ends whatever happens.
const REMOVAL: Duration = Duration::from_secs(1);

/// The seam between packets and what carries their frames.
pub trait Carrier: Send + Sync {
    /// Sends or queues frames; waits for some milliseconds at most. What is dropped is counted.
    fn send(&self, frames: &FrameBatch);
}

/// Where inner packets come from.
pub trait PacketSource: Send {
    /// Waits for packets and lends them.
    ///
    /// # Errors
    /// `Interrupted` when the plane stops; anything else is tried again after a pause.
    fn read_batch(&mut self) -> io::Result<LentPackets<'_>>;

    /// Sends a packet back to where packets come from: an error message about one of them.
    ///
    /// # Errors
    /// The packet is lost.
    fn answer(&mut self, _packet: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Where inner packets go: one by one, merged, or many at once.
pub trait PacketSink: Send {
    /// Hands one packet with a whole checksum to the host.
    ///
    /// # Errors
    /// The packet is lost and counted.
    fn write(&mut self, _packet: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Which super-packets [`Self::write_merged`] takes; without any, packets come one by one.
    fn merge_rule(&self) -> Option<MergeRule> {
        None
    }

    /// Hands over what a merger made of packets in `arena`.
    ///
    /// # Errors
    /// When it refuses them for what they are together ([`os::tun::is_refused`]), they are handed over one by one; else all
    /// its packets are lost and counted.
    fn write_merged(&mut self, _merged: Merged<'_>, _arena: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The most packets that [`Self::write_many`] takes at once; 0 where packets are not taken that way.
    fn takes(&self) -> usize {
        0
    }

    /// Hands over packets that lie in `arena`, each with a whole checksum, or counts in `drops` those that are lost.
    fn write_many(&mut self, packets: &[Range<usize>], _arena: &[u8], drops: &DropCounters) {
        drops.add(DropReason::TunWrite, packets.len() as u64);
    }
}

/// Packets of a TUN device.
struct TunSource {
    tun: Tun,
    batch: PacketBatch,
}

impl PacketSource for TunSource {
    fn read_batch(&mut self) -> io::Result<LentPackets<'_>> {
        self.tun.read_batch(&mut self.batch)?;
        Ok(self.batch.lend())
    }

    fn answer(&mut self, packet: &[u8]) -> io::Result<()> {
        self.tun.write(packet)
    }
}

impl PacketSink for Tun {
    fn write(&mut self, packet: &[u8]) -> io::Result<()> {
        Tun::write(self, packet)
    }

    fn merge_rule(&self) -> Option<MergeRule> {
        Tun::merge_rule(self)
    }

    fn write_merged(&mut self, merged: Merged<'_>, arena: &[u8]) -> io::Result<()> {
        Tun::write_merged(self, merged, arena)
    }
}

/// What ends a blocked [`PacketSource::read_batch`].
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// The waker of a device in the form that the plane takes.
pub fn wake(waker: Waker) -> Wake {
    Box::new(move || waker.wake())
}

/// Packets from nowhere, for a host without inner traffic of its own.
pub struct Nothing(crossbeam_channel::Receiver<()>);

/// A source that never gives a packet, and what ends it.
pub fn nothing() -> (Nothing, Wake) {
    let (stop, stopped) = bounded(1);
    (Nothing(stopped), Box::new(move || _ = stop.try_send(())))
}

impl PacketSource for Nothing {
    fn read_batch(&mut self) -> io::Result<LentPackets<'_>> {
        // Whether it was told to stop or its other end is gone: it is over.
        let _ = self.0.recv();
        Err(io::ErrorKind::Interrupted.into())
    }
}

/// Packets to nowhere.
#[derive(Debug, Clone, Copy)]
pub struct Nowhere;

impl PacketSink for Nowhere {}

/// What the loops are made of.
pub struct PlaneParts {
    /// The host's end.
    pub device: Device,
    /// Frames of streams, and the sockets that bring datagrams.
    pub inbound: Arc<Inbound>,
    /// Drops of packets and frames that belong to no peer.
    pub drops: Arc<DropCounters>,
    /// The clock that counts sleep.
    pub clock: fn() -> Time,
}

/// The host's end of the loops.
pub struct Device {
    /// Packets of the host.
    pub source: Box<dyn PacketSource>,
    /// Packets for the host.
    pub sink: Box<dyn PacketSink>,
    /// Ends a blocked read of `source`.
    pub wake: Wake,
}

impl Device {
    /// No device: no packet comes, and none is taken.
    pub fn none() -> Self {
        let (source, wake) = nothing();
        Self { source: Box::new(source), sink: Box::new(Nowhere), wake }
    }

    /// A TUN device.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn tun(tun: Tun) -> io::Result<Self> {
        let (sink, wake) = (tun.try_clone()?, wake(tun.waker()));
        let source = TunSource { tun, batch: PacketBatch::default() };
        Ok(Self { source: Box::new(source), sink: Box::new(sink), wake })
    }
}

/// What fails and has for a while, in the system's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// The device gives no packets.
    pub reads: Option<String>,
    /// The device takes no packets.
    pub writes: Option<String>,
    /// Sockets that bring nothing.
    pub sockets: Vec<(SocketAddr, String)>,
}

/// The running loops.
pub struct Plane {
    tables: Arc<Tables>,
    commands: Sender<Command>,
    command_queue: Commands<Command>,
    inbound: Arc<Inbound>,
    /// Those that the receiving loop reads.
    sockets: Arc<Sockets>,
    reports: Arc<Reports>,
    drops: Arc<DropCounters>,
    clock: fn() -> Time,
    /// Of the device that there is now.
    reads: Trouble,
    writes: Trouble,
    /// Of the sockets that the receiving loop reads.
    receives: Arc<Mutex<Vec<(SocketAddr, Trouble)>>>,
    running: Option<Running>,
    /// For the few frames that the control task sends itself.
    control_frames: Mutex<FrameBatch>,
}

/// Both threads, on one device.
struct Running {
    wake: Wake,
    stop: Arc<AtomicBool>,
    up: JoinHandle<()>,
    /// Gives what it holds when it ends.
    down: JoinHandle<Held>,
}

impl Plane {
    /// Starts both threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(parts: PlaneParts) -> io::Result<Self> {
        let PlaneParts { device, inbound, drops, clock } = parts;
        let (commands, command_queue) = unbounded();
        let mut plane = Self {
            tables: Arc::default(),
            commands,
            command_queue,
            inbound,
            sockets: Arc::default(),
            reports: Arc::default(),
            drops,
            clock,
            reads: Trouble::default(),
            writes: Trouble::default(),
            receives: Arc::default(),
            running: None,
            control_frames: Mutex::new(FrameBatch::new(16 * 1024)),
        };
        plane.run_on(device, Held::default())?;
        Ok(plane)
    }

    /// Goes on with another device; no key is lost.
    ///
    /// # Errors
    /// When the system gives no thread; then nothing runs any more.
    pub fn replace_device(&mut self, device: Device) -> io::Result<()> {
        let held = self.stop();
        self.run_on(device, held)
    }

    fn run_on(&mut self, device: Device, held: Held) -> io::Result<()> {
        let Device { source, sink, wake } = device;
        (self.reads, self.writes) = (Trouble::default(), Trouble::default());
        let (drops, clock, stop) = (&self.drops, self.clock, Arc::new(AtomicBool::new(false)));
        let up = up::Up {
            answer: up::Answer::default(),
            trouble: self.reads.clone(),
            stop: Arc::clone(&stop),
            tables: Arc::clone(&self.tables),
            reports: Arc::clone(&self.reports),
            drops: Arc::clone(drops),
            clock,
        };
        let down = down::Down {
            host: down::Host::new(sink, self.writes.clone()),
            receives: Arc::clone(&self.receives),
            tables: Arc::clone(&self.tables),
            reports: Arc::clone(&self.reports),
            drops: Arc::clone(drops),
            clock,
            inbound: Arc::clone(&self.inbound),
            sockets: Arc::clone(&self.sockets),
            commands: self.command_queue.clone(),
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let up = thread("cryprq-up").spawn(move || up.run(source))?;
        let down = thread("cryprq-down").spawn(move || down.run(held))?;
        self.running = Some(Running { wake, stop, up, down });
        Ok(())
    }

    /// Stops both threads and waits for them; gives what they held.
    fn stop(&mut self) -> Held {
        let Some(Running { wake, stop, up, down }) = self.running.take() else { return Held::default() };
        stop.store(true, Ordering::Relaxed);
        let _ = self.commands.send(Command::Stop);
        self.inbound.wake();
        wake();
        let _ = up.join();
        down.join().unwrap_or_default()
    }

    /// Swaps the router's snapshot.
    pub fn set_router(&self, router: Arc<Router>) {
        self.tables.set_router(router);
    }

    /// Enters a peer, whose frames go by `stream` until [`Self::set_path`] says otherwise.
    pub fn add_peer(&self, slot: PeerSlot, stream: Arc<dyn Carrier>, stats: Arc<PeerStats>) {
        self.tables.add_peer(slot, stream, stats);
    }

    /// Says which way a peer's frames go.
    pub fn set_path(&self, slot: PeerSlot, path: Path) {
        let Some(peer) = self.tables.peer(slot) else { return };
        let datagrams = match path {
            Path::Stream => None,
            Path::Datagrams(endpoint) => Some(self.datagrams(&peer, endpoint)),
        };
        self.tables.set_datagrams(slot, datagrams);
    }

    fn datagrams(&self, peer: &PeerPlane, endpoint: Endpoint) -> DatagramCarrier {
        DatagramCarrier::new(Arc::clone(&self.sockets), endpoint, Arc::clone(&peer.stats))
    }

    /// Says how long a peer's packets may be on the way that its frames go, in bytes; longer ones are sent back to where
    /// they came from with that (`node::icmp`).
    pub fn set_mtu(&self, slot: PeerSlot, mtu: u16) {
        self.tables.set_mtu(slot, mtu);
    }

    /// Says where a peer's datagrams are expected to come from.
    pub fn set_trust(&self, slot: PeerSlot, trust: Trust) {
        let _ = self.commands.send(Command::Trust(slot, trust));
        self.inbound.wake();
    }

    /// Says what to seal a peer's packets with; `None` drops them.
    pub fn set_sealer(&self, slot: PeerSlot, sealer: Option<Arc<Sealer>>) {
        self.tables.set_sealer(slot, sealer);
    }

    /// Gives the receiving loop an epoch. Frames that arrive after this returned are opened with it.
    pub fn install(&self, slot: PeerSlot, opener: Opener) {
        // Commands are drained after a batch was popped and before it is opened, so no wake-up is needed.
        let _ = self.commands.send(Command::Install(slot, Box::new(opener)));
    }

    /// Takes an epoch from the receiving loop; its key is erased there at the next batch, and `EpochState` marks it
    /// dead at once.
    pub fn remove(&self, index: ReceiverIndex) {
        let _ = self.commands.send(Command::Remove(index));
        self.inbound.wake();
    }

    /// Removes a peer: its keys are erased when this returns. Whoever else holds its sealer lets go of it before.
    pub fn remove_peer(&self, slot: PeerSlot) {
        let sealer = self.tables.remove_peer(slot);
        let (done, erased) = bounded(1);
        if self.commands.send(Command::RemovePeer(slot, done)).is_ok() {
            self.inbound.wake();
            // A loop that ended erased everything with itself, and answers no more.
            let _ = erased.recv_timeout(REMOVAL);
        }
        // The sending loop holds the key until its batch is finished, which takes microseconds.
        let end = Instant::now() + REMOVAL;
        while sealer.strong_count() > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends an empty frame with the peer's current key.
    pub fn send_empty(&self, slot: PeerSlot) {
        self.send_one(slot, |sealer, now, out| sealer.seal_empty(now, out), PeerPlane::send);
    }

    /// Sends a probe with the peer's current key, the way that frames go.
    pub fn send_probe(&self, slot: PeerSlot, token: [u8; 8]) {
        self.send_one(slot, |sealer, now, out| sealer.seal_probe(now, token, out), PeerPlane::send);
    }

    /// Sends a probe with the peer's current key to an endpoint, as long as a packet of `size` bytes where one is given.
    pub fn send_probe_to(&self, slot: PeerSlot, token: [u8; 8], to: Endpoint, size: Option<u16>) {
        let send = |peer: &PeerPlane, frames: &FrameBatch| self.datagrams(peer, to).send(frames);
        let seal = |sealer: &Sealer, now, out: &mut FrameBatch| match size {
            None => sealer.seal_probe(now, token, out),
            Some(size) => sealer.seal_long_probe(now, token, size.into(), out),
        };
        self.send_one(slot, seal, send);
    }

    /// Answers a probe with the peer's current key, the way that it came.
    pub fn send_probe_ack(&self, slot: PeerSlot, token: [u8; 8], via: Path) {
        let send = |peer: &PeerPlane, frames: &FrameBatch| match via {
            Path::Stream => peer.send_by_stream(frames),
            Path::Datagrams(from) => self.datagrams(peer, from).send(frames),
        };
        self.send_one(slot, |sealer, now, out| sealer.seal_probe_ack(now, token, out), send);
    }

    fn send_one(
        &self,
        slot: PeerSlot,
        seal: impl Fn(&Sealer, Time, &mut FrameBatch) -> Result<(), DropReason>,
        send: impl Fn(&PeerPlane, &FrameBatch),
    ) {
        let Some(peer) = self.tables.peer(slot) else { return };
        let Some(sealer) = peer.sealer.load_full() else {
            return peer.stats.drops().count(DropReason::OutPeerDown);
        };
        let mut frames = self.control_frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.clear();
        match seal(&sealer, (self.clock)(), &mut frames) {
            Ok(()) => send(&peer, &frames),
            Err(reason) => peer.stats.drops().count(reason),
        }
    }

    /// What the loops have to say.
    pub fn reports(&self) -> &Arc<Reports> {
        &self.reports
    }

    /// What fails and has for a while.
    pub fn failures(&self) -> Failures {
        let receives = self.receives.lock().unwrap_or_else(PoisonError::into_inner);
        let lasting = |(address, trouble): &(SocketAddr, Trouble)| Some((*address, trouble.lasting()?));
        Failures {
            reads: self.reads.lasting(),
            writes: self.writes.lasting(),
            sockets: receives.iter().filter_map(lasting).collect(),
        }
    }

    /// What the sockets go without.
    pub fn socket_notes(&self) -> Vec<(SocketAddr, UdpNote)> {
        self.sockets.notes()
    }

    /// Drops of packets and frames that belong to no peer.
    pub fn drops(&self) -> &Arc<DropCounters> {
        &self.drops
    }
}

impl Drop for Plane {
    /// Every key goes with the threads.
    fn drop(&mut self) {
        drop(self.stop());
    }
}

#[cfg(test)]
mod tests;
