//! From the peers to the host.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver as Commands, Sender};
use node::drops::{DropCounters, DropReason};
use node::epoch::Opener;
use node::frame::HEADER_LEN;
use node::handshake::ReceiverIndex;
use node::offload::{Merged, Merger};
use node::packet::{Checksum, complete_checksum};
use node::receiver::{Arrival, Content, Origin, Received, Receiver};
use node::router::PeerSlot;
use node::time::Time;
use node::tunnel::Report;

use super::PacketSink;
use super::reports::Reports;
use super::tables::Tables;
use crate::stream::{Inbound, InboundBatch};

pub(super) enum Command {
    Install(PeerSlot, Box<Opener>),
    Remove(ReceiverIndex),
    RemovePeer(PeerSlot, Sender<()>),
    Stop,
}

enum Next {
    Go,
    Stop,
}

pub(super) struct Down {
    pub(super) host: Host,
    pub(super) tables: Arc<Tables>,
    pub(super) reports: Arc<Reports>,
    pub(super) drops: Arc<DropCounters>,
    pub(super) clock: fn() -> Time,
    pub(super) inbound: Arc<Inbound>,
    pub(super) commands: Commands<Command>,
}

/// Where opened packets go.
pub(super) struct Host {
    pub(super) sink: Box<dyn PacketSink>,
    /// For a sink that takes super-packets.
    pub(super) merger: Option<Merger>,
}

impl Down {
    /// Runs until it is told to stop; gives back the epochs that it holds.
    pub(super) fn run(mut self, mut receiver: Receiver) -> Receiver {
        loop {
            let batch = self.inbound.pop();
            // After a batch was popped and before it is opened: an epoch that was installed before its first frame
            // arrived is there now.
            if let Next::Stop = self.obey(&mut receiver) {
                return receiver;
            }
            if let Some(mut batch) = batch {
                self.open(&mut receiver, &mut batch);
                self.inbound.recycle(batch);
            }
        }
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
                Command::Stop => return Next::Stop,
            }
        }
        Next::Go
    }

    fn open(&mut self, receiver: &mut Receiver, batch: &mut InboundBatch) {
        let Some(slot) = batch.slot else { return };
        let (tables, now) = (Arc::clone(&self.tables), (self.clock)());
        let (router, peers) = (tables.router(), tables.peers());
        let peer = peers.get(&slot);
        let drops = peer.map_or(&*self.drops, |peer| peer.stats.drops());
        let (mut authentic, mut packets, mut bytes) = (false, 0, 0);
        for number in 0..batch.len() {
            let frame = batch.range(number);
            match receiver.receive(now, &mut batch.arena_mut()[frame.clone()], Origin::Stream(slot), &router) {
                Ok(received) => {
                    authentic = true;
                    if let Some((length, checksum)) = take_note(&self.reports, received, now, drops) {
                        let start = frame.start + HEADER_LEN;
                        self.host.take(batch.arena_mut(), start..start + length, checksum, drops);
                        (packets, bytes) = (packets + 1, bytes + length as u64);
                    }
                }
                Err(reason) => drops.count(reason),
            }
        }
        self.host.flush(batch.arena(), drops);
        if authentic {
            self.reports.push(slot, Report::Received { at: now });
        }
        if packets > 0
            && let Some(peer) = peer
        {
            peer.stats.count_rx(packets, bytes);
        }
    }
}

/// Reports what an authentic frame says to the tunnel; gives the length of the packet that it holds, if any.
fn take_note(reports: &Reports, received: Received<'_>, now: Time, drops: &DropCounters) -> Option<(usize, Checksum)> {
    let Received { slot, epoch, arrival, content } = received;
    if arrival == Arrival::First {
        reports.push(slot, Report::FirstFrame { epoch });
    }
    match content {
        Ok(Content::Packet(packet, checksum)) => return Some((packet.len(), checksum)),
        Ok(Content::Empty) => {}
        Ok(Content::Probe(token)) => reports.push(slot, Report::ProbeReceived { token }),
        Ok(Content::ProbeAck(token)) => reports.push(slot, Report::ProbeAcked { token, at: now }),
        Err(reason) => drops.count(reason),
    }
    None
}

impl Host {
    /// Takes the packet at `at` of `arena`; it is written at the next [`Self::flush`] at the latest.
    fn take(&mut self, arena: &mut [u8], at: Range<usize>, checksum: Checksum, drops: &DropCounters) {
        let Self { sink, merger } = self;
        if let Some(merger) = merger {
            return merger.push(arena, at, checksum, |merged| write_merged(&mut **sink, merged, arena, drops));
        }
        let packet = &mut arena[at];
        if checksum == Checksum::Partial
            && let Err(reason) = complete_checksum(packet)
        {
            return drops.count(reason);
        }
        if sink.write(packet).is_err() {
            drops.count(DropReason::TunWrite);
        }
    }

    fn flush(&mut self, arena: &[u8], drops: &DropCounters) {
        let Self { sink, merger } = self;
        if let Some(merger) = merger {
            merger.flush(|merged| write_merged(&mut **sink, merged, arena, drops));
        }
    }
}

fn write_merged(sink: &mut dyn PacketSink, merged: Merged<'_>, arena: &[u8], drops: &DropCounters) {
    if sink.write_merged(merged, arena).is_err() {
        drops.add(DropReason::TunWrite, merged.payload.len() as u64);
    }
}
