//! From the peers to the host.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver as Commands, Sender};
use node::drops::{DropCounters, DropReason};
use node::epoch::Opener;
use node::frame::HEADER_LEN;
use node::handshake::ReceiverIndex;
use node::offload::{Merged, Merger};
use node::packet::{Checksum, complete_checksum};
use node::path::{Endpoint, Input as PathInput, Path};
use node::receiver::{Arrival, Content, Origin, Received, Receiver, Trust, Whereabouts};
use node::router::{Inward, PeerSlot, Router};
use node::time::Time;
use node::tunnel::Report;
use os::tun::is_refused;
use os::udp::{Arrival as Datagram, is_out_of_room};

use super::PacketSink;
use super::reports::{News, Reports};
use super::tables::{PeerPlane, Tables, drops_of};
use super::trouble::Trouble;
use crate::datagram::Sockets;
use crate::inbound::{Inbound, InboundBatch};
use crate::quic::{FrameSink, Reader};

pub(super) enum Command {
    Install(PeerSlot, Box<Opener>),
    Remove(ReceiverIndex),
    RemovePeer(PeerSlot, Sender<()>),
    Trust(PeerSlot, Trust),
    Stop,
}

enum Next {
    Go,
    Stop,
}

/// What outlives the loop when it goes on with another device.
#[derive(Default)]
pub(super) struct Held {
    receiver: Receiver,
    readers: Vec<Reader>,
}

pub(super) struct Down {
    pub(super) host: Host,
    pub(super) tables: Arc<Tables>,
    pub(super) reports: Arc<Reports>,
    pub(super) drops: Arc<DropCounters>,
    pub(super) clock: fn() -> Time,
    pub(super) inbound: Arc<Inbound>,
    pub(super) sockets: Arc<Sockets>,
    /// What the sockets refuse.
    pub(super) receives: Arc<Mutex<Vec<(SocketAddr, Trouble)>>>,
    pub(super) commands: Commands<Command>,
}

/// Where opened packets go.
pub(super) struct Host {
    sink: Box<dyn PacketSink>,
    way: Way,
    /// What it refuses.
    trouble: Trouble,
}

/// How a sink takes packets.
enum Way {
    Singly,
    /// As super-packets.
    Merged(Merger),
    /// Many at once, where they lie; with the most that fit.
    Gathered(Vec<Range<usize>>, usize),
}

impl Down {
    /// Runs until it is told to stop; gives back what it holds. Datagrams and streams take turns, so that neither
    /// starves the other.
    pub(super) fn run(mut self, mut held: Held) -> Held {
        loop {
            for reader in self.inbound.attached() {
                self.sockets.add(reader.socket());
                self.receives().push((reader.socket().address(), reader.trouble().clone()));
                held.readers.push(reader);
            }
            let batch = self.inbound.pop();
            // After a batch was taken and before it is opened: an epoch that was installed before its first frame
            // arrived is there now.
            if let Next::Stop = self.obey(&mut held.receiver) {
                return held;
            }
            let mut idle = batch.is_none();
            if let Some(mut batch) = batch {
                self.open_batch(&mut held.receiver, &mut batch);
                self.inbound.recycle(batch);
            }
            let mut number = 0;
            while number < held.readers.len() {
                match held.readers[number].try_receive(self.clock) {
                    Ok(()) => {
                        idle = false;
                        if let Next::Stop = self.obey(&mut held.receiver) {
                            return held;
                        }
                        self.open_datagrams(&mut held.receiver, &mut held.readers[number]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                        self.forget(&held.readers.remove(number));
                        continue;
                    }
                    Err(_) => {}
                }
                number += 1;
            }
            if idle {
                self.inbound.wait(&held.readers, self.clock);
            }
        }
    }

    fn receives(&self) -> MutexGuard<'_, Vec<(SocketAddr, Trouble)>> {
        self.receives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody uses a socket any more.
    fn forget(&self, reader: &Reader) {
        self.sockets.remove(reader.socket());
        self.receives().retain(|(_, trouble)| !trouble.is(reader.trouble()));
    }

    fn obey(&self, receiver: &mut Receiver) -> Next {
        for command in self.commands.try_iter() {
            match command {
                Command::Install(slot, opener) => receiver.install(slot, *opener),
                Command::Remove(index) => {
                    receiver.remove(index);
                }
                Command::RemovePeer(slot, done) => {
                    receiver.remove_peer(slot);
                    let _ = done.send(());
                }
                Command::Trust(slot, trust) => receiver.set_trust(slot, trust),
                Command::Stop => return Next::Stop,
            }
        }
        Next::Go
    }

    fn open_batch(&mut self, receiver: &mut Receiver, batch: &mut InboundBatch) {
        let Some(slot) = batch.slot else { return };
        let (tables, now) = (Arc::clone(&self.tables), (self.clock)());
        let (router, peers) = (tables.router(), tables.peers());
        let mut opening = self.opening(receiver, &router, &peers, now);
        for number in 0..batch.len() {
            let at = batch.range(number);
            opening.frame(batch.arena_mut(), at, Origin::Stream(slot), Path::Stream);
        }
        opening.finish(batch.arena());
    }

    fn open_datagrams(&mut self, receiver: &mut Receiver, reader: &mut Reader) {
        let (tables, now) = (Arc::clone(&self.tables), (self.clock)());
        let (router, peers) = (tables.router(), tables.peers());
        let mut opening = self.opening(receiver, &router, &peers, now);
        let buffers = reader.deliver(&mut opening);
        opening.finish(buffers);
    }

    fn opening<'l>(
        &'l mut self,
        receiver: &'l mut Receiver,
        router: &'l Router,
        peers: &'l BTreeMap<PeerSlot, Arc<PeerPlane>>,
        now: Time,
    ) -> Opening<'l> {
        let Self { host, reports, drops, .. } = self;
        Opening { host, reports, drops, receiver, router: Inward::new(router), peers, now, current: None }
    }
}

/// Frames of one batch on their way through the keys.
struct Opening<'l> {
    host: &'l mut Host,
    reports: &'l Reports,
    drops: &'l DropCounters,
    receiver: &'l mut Receiver,
    router: Inward<'l>,
    peers: &'l BTreeMap<PeerSlot, Arc<PeerPlane>>,
    now: Time,
    current: Option<Current<'l>>,
}

/// Neighbouring frames of one peer.
struct Current<'l> {
    slot: PeerSlot,
    peer: Option<&'l PeerPlane>,
    /// Which way the last one came.
    via: Path,
    packets: u64,
    bytes: u64,
    /// Frames that came, and frames that the peer sealed meanwhile.
    frames: u64,
    sealed: u64,
}

impl FrameSink for Opening<'_> {
    fn frame(&mut self, buffers: &mut [u8], at: Range<usize>, arrival: &Datagram) {
        let from = Endpoint { remote: arrival.from, local: arrival.to };
        self.frame(buffers, at, Origin::Udp(arrival.from), Path::Datagrams(from));
    }
}

impl Opening<'_> {
    fn frame(&mut self, arena: &mut [u8], at: Range<usize>, origin: Origin, via: Path) {
        let received = match self.receiver.receive(self.now, &mut arena[at.clone()], origin, &mut self.router) {
            Ok(received) => received,
            Err(reason) => return self.drops_by(origin).count(reason),
        };
        let slot = received.slot;
        if self.current.as_ref().is_none_or(|current| current.slot != slot) {
            self.report();
            let peer = self.peers.get(&slot).map(|peer| &**peer);
            self.current = Some(Current { slot, peer, via, packets: 0, bytes: 0, frames: 0, sealed: 0 });
        }
        let Some(current) = &mut self.current else { return };
        current.via = via;
        current.frames += 1;
        current.sealed = current.sealed.saturating_add(received.step);
        let drops = drops_of(current.peer, self.drops);
        if let Some((length, checksum)) = take_note(self.reports, received, self.now, via, drops) {
            let start = at.start + HEADER_LEN;
            self.host.take(arena, start..start + length, checksum, drops);
            current.packets += 1;
            current.bytes += length as u64;
        }
    }

    /// A stream's peer is known though its frame is not authentic.
    fn drops_by(&self, origin: Origin) -> &DropCounters {
        let peer = match origin {
            Origin::Stream(slot) => self.peers.get(&slot),
            Origin::Udp(_) => None,
        };
        drops_of(peer.map(|peer| &**peer), self.drops)
    }

    /// Reports once for all neighbours.
    fn report(&mut self) {
        let Some(Current { slot, peer, via, packets, bytes, frames, sealed }) = self.current.take() else { return };
        self.reports.push(slot, News::Received { at: self.now, via });
        if let Some(peer) = peer {
            peer.stats.count_rx(packets, bytes);
            peer.stats.count_frames(frames, sealed);
        }
    }

    /// Payloads lie in the arena: nothing may stay pending past its batch.
    fn finish(mut self, arena: &[u8]) {
        let drops = drops_of(self.current.as_ref().and_then(|current| current.peer), self.drops);
        self.host.flush(arena, drops);
        self.report();
        for (slot, report) in self.receiver.limits_reached() {
            self.reports.tunnel(slot, report);
        }
    }
}

/// Reports what an authentic frame says; gives the length of the packet that it holds, if any.
fn take_note(
    reports: &Reports,
    received: Received<'_>,
    at: Time,
    via: Path,
    drops: &DropCounters,
) -> Option<(usize, Checksum)> {
    let Received { slot, epoch, arrival, whereabouts, step: _, content } = received;
    if arrival == Arrival::First {
        reports.tunnel(slot, Report::FirstFrame { epoch });
    }
    match (whereabouts, via) {
        (Whereabouts::Moved { counter }, Path::Datagrams(from)) => {
            reports.push(slot, News::Paths(PathInput::Moved { from, epoch, counter }));
        }
        (Whereabouts::Stayed, _) => reports.push(slot, News::Paths(PathInput::Stayed)),
        (Whereabouts::Known | Whereabouts::Moved { .. }, _) => {}
    }
    match content {
        Ok(Content::Packet(packet, checksum)) => return Some((packet.len(), checksum)),
        Ok(Content::Empty) => {}
        Ok(Content::Probe(token)) => reports.tunnel(slot, Report::ProbeReceived { token, via }),
        Ok(Content::ProbeAck(token)) => reports.push(slot, News::Acked { token, at, via }),
        Err(reason) => drops.count(reason),
    }
    None
}

impl Host {
    pub(super) fn new(sink: Box<dyn PacketSink>, trouble: Trouble) -> Self {
        let way = match (sink.merge_rule(), sink.takes()) {
            (Some(rule), _) => Way::Merged(Merger::new(rule)),
            (None, 0) => Way::Singly,
            (None, most) => Way::Gathered(Vec::with_capacity(most), most),
        };
        Self { sink, way, trouble }
    }

    /// Takes the packet at `at` of `arena`; it is written at the next [`Self::flush`] at the latest.
    fn take(&mut self, arena: &mut [u8], at: Range<usize>, checksum: Checksum, drops: &DropCounters) {
        let Self { sink, way, trouble } = self;
        if let Way::Merged(merger) = way {
            return merger.push(arena, at, checksum, |merged| write_merged(&mut **sink, merged, arena, drops, trouble));
        }
        let packet = &mut arena[at.clone()];
        if checksum == Checksum::Partial
            && let Err(reason) = complete_checksum(packet)
        {
            return drops.count(reason);
        }
        if let Way::Gathered(packets, most) = way {
            packets.push(at);
            if packets.len() == *most {
                sink.write_many(packets, arena, drops);
                packets.clear();
            }
        } else {
            write(&mut **sink, packet, drops, trouble);
        }
    }

    fn flush(&mut self, arena: &[u8], drops: &DropCounters) {
        let Self { sink, way, trouble } = self;
        match way {
            Way::Singly => {}
            Way::Merged(merger) => {
                merger.flush(|merged| write_merged(&mut **sink, merged, arena, drops, trouble));
            }
            Way::Gathered(packets, _) => {
                if !packets.is_empty() {
                    sink.write_many(packets, arena, drops);
                    packets.clear();
                }
            }
        }
    }
}

fn write(sink: &mut dyn PacketSink, packet: &[u8], drops: &DropCounters, trouble: &Trouble) {
    match sink.write(packet) {
        Ok(()) => trouble.works(),
        Err(error) => {
            drops.count(DropReason::TunWrite);
            complain(trouble, &error);
        }
    }
}

/// A kernel that cannot take them together after all, or takes what one of them says amiss, takes the others alone.
fn write_merged(sink: &mut dyn PacketSink, merged: Merged<'_>, arena: &[u8], drops: &DropCounters, trouble: &Trouble) {
    match sink.write_merged(merged, arena) {
        Ok(()) => trouble.works(),
        Err(error) if is_refused(&error) => {
            for at in merged.packets() {
                let mut packet = arena[at].to_vec();
                let whole = if merged.needs_checksum() { complete_checksum(&mut packet) } else { Ok(()) };
                match whole {
                    Ok(()) => write(sink, &packet, drops, trouble),
                    Err(reason) => drops.count(reason),
                }
            }
        }
        Err(error) => {
            drops.add(DropReason::TunWrite, merged.payload.len() as u64);
            complain(trouble, &error);
        }
    }
}

/// A device that has no room now is as it should be.
fn complain(trouble: &Trouble, error: &io::Error) {
    let no_device = error.kind() == io::ErrorKind::Unsupported;
    if !no_device && !is_out_of_room(error) && trouble.fails(error) {
        tracing::warn!(%error, "the TUN device takes no packets; trying again");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender as StdSender, channel};

    use node::offload::MergeRule;

    use super::*;

    /// A device that claims to take super-packets, and refuses each so; of packets it takes those that `takes` says.
    struct Refusing {
        errno: i32,
        takes: fn(&[u8]) -> bool,
        taken: StdSender<Vec<u8>>,
    }

    impl PacketSink for Refusing {
        fn write(&mut self, packet: &[u8]) -> io::Result<()> {
            if (self.takes)(packet) {
                return self.taken.send(packet.to_vec()).map_err(io::Error::other);
            }
            Err(io::Error::from_raw_os_error(self.errno))
        }

        fn merge_rule(&self) -> Option<MergeRule> {
            Some(MergeRule::TcpAndUdp)
        }

        fn write_merged(&mut self, _merged: Merged<'_>, _arena: &[u8]) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(self.errno))
        }
    }

    fn sum(bytes: &[u8]) -> u16 {
        let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
    }

    /// A datagram inside, with the checksum that its sender's kernel left to do, and with the whole one.
    fn datagram(mark: u8) -> [Vec<u8>; 2] {
        const LENGTH: u8 = 48;
        let mut packet = vec![mark; LENGTH.into()];
        packet[..20].copy_from_slice(&[0x45, 0, 0, LENGTH, 0, mark, 0x40, 0, 64, 17, 0, 0, 10, 86, 0, 1, 10, 86, 0, 2]);
        packet[20..28].copy_from_slice(&[0, 7, 0, 9, 0, LENGTH - 20, 0, 0]);
        let pseudo = [&packet[12..20], &[0, 17, 0, LENGTH - 20]].concat();
        packet[26..28].copy_from_slice(&sum(&pseudo).to_be_bytes());
        let mut whole = packet.clone();
        whole[26..28].copy_from_slice(&(!sum(&packet[20..])).to_be_bytes());
        [packet, whole]
    }

    /// What a refusing device takes of five datagrams of one flow, how many drops are counted, and whether it complains.
    fn deliver(errno: i32, takes: fn(&[u8]) -> bool) -> (Vec<Vec<u8>>, u64, bool) {
        let (taken, packets) = channel();
        let (drops, trouble) = (DropCounters::default(), Trouble::default());
        let mut host = Host::new(Box::new(Refusing { errno, takes, taken }), trouble.clone());
        let (mut arena, mut ends) = (Vec::new(), Vec::new());
        for mark in 1..=5 {
            arena.extend(&datagram(mark)[0]);
            ends.push(arena.len());
        }
        for end in ends {
            host.take(&mut arena, end - 48..end, Checksum::Partial, &drops);
        }
        host.flush(&arena, &drops);
        drop(host);
        (
            packets.iter().collect(),
            drops.get(DropReason::TunWrite),
            !trouble.fails(&io::Error::from_raw_os_error(errno)),
        )
    }

    #[test]
    fn what_a_device_refuses_together_it_gets_one_by_one() {
        let whole: Vec<_> = (1..=5).map(|mark| datagram(mark)[1].clone()).collect();
        for errno in [errno_of::EIO, errno_of::EINVAL] {
            assert_eq!(deliver(errno, |_| true), (whole.clone(), 0, false), "error {errno}");
            let (taken, drops, complains) = deliver(errno, |packet| packet[5] != 5);
            assert_eq!((taken, drops, complains), (whole[..4].to_vec(), 1, true), "error {errno}");
        }
    }

    #[test]
    fn what_a_device_has_no_room_for_is_lost_together_and_no_fault_of_it() {
        assert_eq!(deliver(errno_of::EAGAIN, |_| true), (vec![], 5, false));
        assert_eq!(deliver(errno_of::EBADF, |_| true), (vec![], 5, true), "but a device that is gone is");
    }

    /// As the kernel counts them.
    mod errno_of {
        pub(super) const EIO: i32 = 5;
        pub(super) const EBADF: i32 = 9;
        pub(super) const EAGAIN: i32 = 11;
        pub(super) const EINVAL: i32 = 22;
    }
}
