//! From the peers to the host.

use std::sync::Arc;

use crossbeam_channel::{Receiver as Commands, Sender};
use node::drops::{DropCounters, DropReason};
use node::epoch::Opener;
use node::handshake::ReceiverIndex;
use node::packet::{Checksum, complete_checksum};
use node::receiver::{Arrival, Content, Origin, Received, Receiver};
use node::router::{PeerSlot, Router};
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
    pub(super) sink: Box<dyn PacketSink>,
    pub(super) tables: Arc<Tables>,
    pub(super) reports: Arc<Reports>,
    pub(super) drops: Arc<DropCounters>,
    pub(super) clock: fn() -> Time,
    pub(super) inbound: Arc<Inbound>,
    pub(super) commands: Commands<Command>,
}

impl Down {
    pub(super) fn run(mut self) {
        let mut receiver = Receiver::default();
        loop {
            let batch = self.inbound.pop();
            // After a batch was popped and before it is opened: an epoch that was installed before its first frame
            // arrived is there now.
            if let Next::Stop = self.obey(&mut receiver) {
                return;
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
        let router = tables.router();
        let mut authentic = false;
        batch.for_each(|frame| authentic |= self.open_one(receiver, frame, slot, &router, now));
        if authentic {
            self.reports.push(slot, Report::Received { at: now });
        }
    }

    /// Whether the frame was authentic.
    fn open_one(
        &mut self,
        receiver: &mut Receiver,
        frame: &mut [u8],
        slot: PeerSlot,
        router: &Router,
        now: Time,
    ) -> bool {
        match receiver.receive(now, frame, Origin::Stream(slot), router) {
            Ok(received) => {
                self.deliver(received, now);
                true
            }
            Err(reason) => {
                self.drops.count(reason);
                false
            }
        }
    }

    fn deliver(&mut self, received: Received<'_>, now: Time) {
        let Received { slot, epoch, arrival, content } = received;
        if arrival == Arrival::First {
            self.reports.push(slot, Report::FirstFrame { epoch });
        }
        match content {
            Ok(Content::Packet(packet, checksum)) => self.write(slot, packet, checksum),
            Ok(Content::Empty) => {}
            Ok(Content::Probe(token)) => self.reports.push(slot, Report::ProbeReceived { token }),
            Ok(Content::ProbeAck(token)) => self.reports.push(slot, Report::ProbeAcked { token, at: now }),
            Err(reason) => self.drops.count(reason),
        }
    }

    fn write(&mut self, slot: PeerSlot, packet: &mut [u8], checksum: Checksum) {
        if checksum == Checksum::Partial
            && let Err(reason) = complete_checksum(packet)
        {
            return self.drops.count(reason);
        }
        match self.sink.write(packet) {
            Ok(()) => {
                if let Some(peer) = self.tables.peers().get(&slot) {
                    peer.stats.count_rx(packet.len() as u64);
                }
            }
            Err(_) => self.drops.count(DropReason::TunWrite),
        }
    }
}
