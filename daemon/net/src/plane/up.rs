//! From the host to the peers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use node::drops::{DropCounters, DropReason};
use node::epoch::{Outgoing, Sealed, Sealer};
use node::frame::FrameBatch;
use node::icmp;
use node::offload::{Segmentation, SuperPacket, VnetHeader};
use node::router::PeerSlot;
use node::time::Time;
use node::tunnel::{Report, Traffic};
use os::tun::LentPackets;

use super::reports::Reports;
use super::tables::{Tables, drops_of};
use super::trouble::Trouble;
use super::{PacketSource, PeerPlane};

const FRAMES: usize = 512 * 1024;
/// The pause after the device failed, so that a device that is gone does not make the loop spin.
const PAUSE: Duration = Duration::from_millis(500);
/// At most one packet is answered in this time: a sender that does not listen is not worth more.
const BETWEEN_ANSWERS: Duration = Duration::from_millis(1);

pub(super) struct Up {
    /// What is told the sender of a packet that is too long, or leads nowhere.
    pub(super) answer: Answer,
    /// What the device refuses.
    pub(super) trouble: Trouble,
    /// Whether the loop is to end; a device that fails may not tell that it was woken.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) tables: Arc<Tables>,
    pub(super) reports: Arc<Reports>,
    pub(super) drops: Arc<DropCounters>,
    pub(super) clock: fn() -> Time,
}

impl Up {
    pub(super) fn run(mut self, mut source: Box<dyn PacketSource>) {
        let mut frames = FrameBatch::new(FRAMES);
        loop {
            match source.read_batch() {
                Ok(packets) => {
                    self.trouble.works();
                    self.send(packets, &mut frames);
                    if let Some(message) = self.answer.take() {
                        // One that is lost is told again with the next packet.
                        let _ = source.answer(message);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
                Err(_) if self.stop.load(Ordering::Relaxed) => return,
                Err(error) => {
                    // Said once, not twice a second for as long as it lasts.
                    if self.trouble.fails(&error) {
                        tracing::warn!(%error, "the TUN device does not give packets; trying again");
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Neighbours for the same peer are sealed into one batch.
    fn send(&mut self, mut batch: LentPackets<'_>, frames: &mut FrameBatch) {
        let (router, peers, now) = (self.tables.router(), self.tables.peers(), (self.clock)());
        let mut current: Option<(PeerSlot, Sending<'_>)> = None;
        for (vnet, packet) in batch.iter_mut() {
            let slot = match router.outbound(packet) {
                Ok(slot) => slot,
                Err(reason) => {
                    self.drops.count(reason);
                    if reason == DropReason::OutNoPeer {
                        self.answer.no_route(now, packet);
                    }
                    continue;
                }
            };
            if current.as_ref().is_none_or(|(to, _)| *to != slot) {
                if let Some((slot, sending)) = current.take() {
                    self.finish(slot, sending, frames);
                }
                let peer = peers.get(&slot);
                let Some(started) = peer.and_then(|peer| Sending::to(peer, now)) else {
                    drops_of(peer.map(|peer| &**peer), &self.drops).count(DropReason::OutPeerDown);
                    continue;
                };
                current = Some((slot, started));
            }
            let Some((_, sending)) = &mut current else { continue };
            match sending.seal(&vnet, packet, frames) {
                Ok(longest) if longest > sending.sealer.mtu() => {
                    self.answer.too_long(now, packet, sending.sealer.mtu());
                }
                Ok(_) => {}
                Err(reason) => sending.peer.stats.drops().count(reason),
            }
        }
        if let Some((slot, sending)) = current {
            self.finish(slot, sending, frames);
        }
    }

    /// Sends what is left of a peer's frames and reports once for all of them.
    fn finish(&self, slot: PeerSlot, sending: Sending<'_>, frames: &mut FrameBatch) {
        sending.flush(frames);
        let Sending { peer, sealer, now, soft, expired, packets, bytes } = sending;
        let epoch = sealer.epoch();
        if expired {
            self.reports.tunnel(slot, Report::HardLimit { epoch });
        }
        if !soft && sealer.state().soft_limit_reached() {
            self.reports.tunnel(slot, Report::SoftLimit { epoch });
        }
        if packets > 0 {
            peer.stats.count_tx(packets, bytes);
            self.reports.tunnel(slot, Report::Sent { at: now, traffic: Traffic::Content });
        }
    }
}

/// An error message about one packet of a batch, which the source gets when the batch is done with.
pub(super) struct Answer {
    message: [u8; icmp::MAX_MESSAGE],
    length: usize,
    /// When a sender was last told.
    told_at: Option<Time>,
}

impl Default for Answer {
    fn default() -> Self {
        Self { message: [0; icmp::MAX_MESSAGE], length: 0, told_at: None }
    }
}

impl Answer {
    /// Tells the sender of a packet that is too long which MTU there is; so does the kernel for a link.
    fn too_long(&mut self, now: Time, packet: &[u8], mtu: usize) {
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        self.tell(now, |message| icmp::too_big(packet, mtu, message));
    }

    /// Tells the sender of a packet that is nobody's, so that it need not wait; so does the kernel without a route.
    fn no_route(&mut self, now: Time, packet: &[u8]) {
        self.tell(now, |message| icmp::no_route(packet, message));
    }

    fn tell(&mut self, now: Time, write: impl FnOnce(&mut [u8; icmp::MAX_MESSAGE]) -> Option<usize>) {
        if self.told_at.is_some_and(|at| now < at + BETWEEN_ANSWERS) {
            return;
        }
        if let Some(length) = write(&mut self.message) {
            (self.length, self.told_at) = (length, Some(now));
        }
    }

    /// The message, once.
    fn take(&mut self) -> Option<&[u8]> {
        let length = std::mem::take(&mut self.length);
        (length > 0).then(|| &self.message[..length])
    }
}

/// Neighbouring packets for one peer.
struct Sending<'p> {
    peer: &'p PeerPlane,
    sealer: Arc<Sealer>,
    now: Time,
    /// Whether a soft limit was reached before.
    soft: bool,
    expired: bool,
    packets: u64,
    bytes: u64,
}

impl<'p> Sending<'p> {
    /// `None` while the tunnel is down.
    fn to(peer: &'p PeerPlane, now: Time) -> Option<Self> {
        let sealer = peer.sealer.load_full()?;
        let soft = sealer.state().soft_limit_reached();
        Some(Self { peer, sealer, now, soft, expired: false, packets: 0, bytes: 0 })
    }

    /// Seals one packet, or all that a super-packet stands for; gives the length of the longest, which the sealer drops
    /// where it is over the MTU. A full batch is sent first.
    fn seal(&mut self, vnet: &VnetHeader, packet: &mut [u8], frames: &mut FrameBatch) -> Result<usize, DropReason> {
        let drops = self.peer.stats.drops();
        let checksum = match vnet.segmentation {
            Segmentation::None => self.sealer.finish_checksum(vnet, packet)?,
            Segmentation::TcpV4 | Segmentation::TcpV6 | Segmentation::Udp | Segmentation::Unknown(_) => {
                let cut = SuperPacket::read(vnet, packet)?;
                self.seal_whole(frames, |sealer, now, frames| sealer.seal_super(now, packet, &cut, frames, drops))?;
                return Ok(cut.longest());
            }
        };
        let outgoing = [Outgoing { packet, checksum }];
        self.seal_whole(frames, |sealer, now, frames| sealer.seal_batch(now, &outgoing, frames, drops))?;
        Ok(packet.len())
    }

    fn seal_whole(
        &mut self,
        frames: &mut FrameBatch,
        seal: impl Fn(&Sealer, Time, &mut FrameBatch) -> Result<Sealed, DropReason>,
    ) -> Result<(), DropReason> {
        let mut result = seal(&self.sealer, self.now, frames);
        if result.is_ok_and(|sealed| sealed.taken == 0) {
            self.flush(frames);
            result = seal(&self.sealer, self.now, frames);
        }
        self.expired |= result == Err(DropReason::OutKeyExpired);
        let sealed = result?;
        self.packets += sealed.frames as u64;
        self.bytes += sealed.inner_bytes;
        Ok(())
    }

    fn flush(&self, frames: &mut FrameBatch) {
        if !frames.is_empty() {
            self.peer.send(frames);
            frames.clear();
        }
    }
}
