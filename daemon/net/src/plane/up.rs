//! From the host to the peers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use node::drops::{DropCounters, DropReason};
use node::epoch::Outgoing;
use node::frame::FrameBatch;
use node::packet::Checksum;
use node::router::PeerSlot;
use node::time::Time;
use node::tunnel::{Report, Traffic};
use os::tun::PacketBatch;

use super::reports::Reports;
use super::tables::Tables;
use super::{PacketSource, PeerPlane};

const FRAMES: usize = 512 * 1024;
/// The pause after the device failed, so that a device that is gone does not make the loop spin.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Up {
    pub(super) source: Box<dyn PacketSource>,
    pub(super) tables: Arc<Tables>,
    pub(super) reports: Arc<Reports>,
    pub(super) drops: Arc<DropCounters>,
    pub(super) clock: fn() -> Time,
}

impl Up {
    pub(super) fn run(mut self) {
        let mut batch = PacketBatch::default();
        let mut frames = FrameBatch::new(FRAMES);
        let mut failing = false;
        loop {
            match self.source.read_batch(&mut batch) {
                Ok(()) => {
                    failing = false;
                    self.send(&batch, &mut frames);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
                Err(error) => {
                    // Said once, not twice a second for as long as it lasts.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "the TUN device does not give packets; trying again");
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Seals neighbours for the same peer together.
    fn send(&self, batch: &PacketBatch, frames: &mut FrameBatch) {
        let router = self.tables.router();
        let mut run: Vec<Outgoing<'_>> = Vec::with_capacity(batch.len());
        let mut to: Option<PeerSlot> = None;
        for packet in batch.packets() {
            match router.outbound(packet) {
                Ok(slot) => {
                    if to != Some(slot) {
                        self.flush(to, &mut run, frames);
                        to = Some(slot);
                    }
                    run.push(Outgoing { packet, checksum: Checksum::Complete });
                }
                Err(reason) => self.drops.count(reason),
            }
        }
        self.flush(to, &mut run, frames);
    }

    fn flush(&self, to: Option<PeerSlot>, run: &mut Vec<Outgoing<'_>>, frames: &mut FrameBatch) {
        if let (Some(slot), false) = (to, run.is_empty()) {
            match self.tables.peers().get(&slot) {
                Some(peer) => self.seal(slot, peer, run, frames),
                None => self.drops.add(DropReason::OutPeerDown, run.len() as u64),
            }
        }
        run.clear();
    }

    fn seal(&self, slot: PeerSlot, peer: &PeerPlane, mut packets: &[Outgoing<'_>], frames: &mut FrameBatch) {
        let guard = peer.sealer.load();
        let Some(sealer) = &*guard else {
            return self.drops.add(DropReason::OutPeerDown, packets.len() as u64);
        };
        let now = (self.clock)();
        let soft = sealer.state().soft_limit_reached();
        while !packets.is_empty() {
            frames.clear();
            match sealer.seal_batch(now, packets, frames, &self.drops) {
                Ok(sealed) => {
                    peer.carrier.send(frames);
                    peer.stats.count_tx(sealed.frames as u64, sealed.inner_bytes);
                    packets = &packets[sealed.taken..];
                }
                Err(reason) => {
                    self.drops.add(reason, packets.len() as u64);
                    self.reports.push(slot, Report::HardLimit { epoch: sealer.epoch() });
                    return;
                }
            }
        }
        if !soft && sealer.state().soft_limit_reached() {
            self.reports.push(slot, Report::SoftLimit { epoch: sealer.epoch() });
        }
        self.reports.push(slot, Report::Sent { at: now, traffic: Traffic::Content });
    }
}
