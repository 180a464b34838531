//! What the loops look up: snapshots that are swapped as a whole, read once a batch without a lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use node::drops::DropCounters;
use node::epoch::Sealer;
use node::frame::FrameBatch;
use node::router::{PeerSlot, Router};

use super::Carrier;
use crate::datagram::DatagramCarrier;

/// The router and the peers.
#[derive(Default)]
pub struct Tables {
    router: ArcSwap<Router>,
    peers: ArcSwap<BTreeMap<PeerSlot, Arc<PeerPlane>>>,
}

/// One peer as the loops see it.
pub struct PeerPlane {
    /// The key to seal with, or none while the tunnel is down.
    pub sealer: ArcSwapOption<Sealer>,
    /// What carries frames where no datagrams do.
    stream: Arc<dyn Carrier>,
    /// What carries them otherwise.
    datagrams: ArcSwapOption<DatagramCarrier>,
    /// The longest inner packet that passes the way that frames go, in bytes.
    mtu: AtomicU16,
    /// What was carried and lost.
    pub stats: Arc<PeerStats>,
}

impl PeerPlane {
    /// Sends frames the way that they go now.
    pub(super) fn send(&self, frames: &FrameBatch) {
        match &*self.datagrams.load() {
            Some(datagrams) => datagrams.send(frames),
            None => self.stream.send(frames),
        }
    }

    /// Sends frames by the stream.
    pub(super) fn send_by_stream(&self, frames: &FrameBatch) {
        self.stream.send(frames);
    }
}

/// Where drops of a peer are counted, or those of no peer.
pub(super) fn drops_of<'d>(peer: Option<&'d PeerPlane>, of_none: &'d DropCounters) -> &'d DropCounters {
    peer.map_or(of_none, |peer| peer.stats.drops())
}

/// What one peer's tunnel carried and lost.
#[derive(Debug, Default)]
pub struct PeerStats {
    rx_bytes: AtomicU64,
    tx_bytes: AtomicU64,
    rx_packets: AtomicU64,
    tx_packets: AtomicU64,
    rx_frames: AtomicU64,
    peer_frames: AtomicU64,
    drops: DropCounters,
}

impl PeerStats {
    /// Inner bytes received.
    pub fn rx_bytes(&self) -> u64 {
        self.rx_bytes.load(Ordering::Relaxed)
    }

    /// Inner bytes sealed.
    pub fn tx_bytes(&self) -> u64 {
        self.tx_bytes.load(Ordering::Relaxed)
    }

    /// Packets received.
    pub fn rx_packets(&self) -> u64 {
        self.rx_packets.load(Ordering::Relaxed)
    }

    /// Packets sealed.
    pub fn tx_packets(&self) -> u64 {
        self.tx_packets.load(Ordering::Relaxed)
    }

    /// Frames that arrived, of whatever kind.
    pub fn rx_frames(&self) -> u64 {
        self.rx_frames.load(Ordering::Relaxed)
    }

    /// Frames that the peer sealed up to the newest of those, by their counters.
    pub fn peer_frames(&self) -> u64 {
        self.peer_frames.load(Ordering::Relaxed)
    }

    /// Packets and frames of this peer that were dropped.
    pub const fn drops(&self) -> &DropCounters {
        &self.drops
    }

    pub(super) fn count_rx(&self, packets: u64, bytes: u64) {
        self.rx_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.rx_packets.fetch_add(packets, Ordering::Relaxed);
    }

    pub(super) fn count_frames(&self, arrived: u64, sealed: u64) {
        self.rx_frames.fetch_add(arrived, Ordering::Relaxed);
        self.peer_frames.fetch_add(sealed, Ordering::Relaxed);
    }

    pub(super) fn count_tx(&self, packets: u64, bytes: u64) {
        self.tx_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tx_packets.fetch_add(packets, Ordering::Relaxed);
    }
}

impl Tables {
    pub(super) fn router(&self) -> arc_swap::Guard<Arc<Router>> {
        self.router.load()
    }

    pub(super) fn peers(&self) -> arc_swap::Guard<Arc<BTreeMap<PeerSlot, Arc<PeerPlane>>>> {
        self.peers.load()
    }

    pub(super) fn peer(&self, slot: PeerSlot) -> Option<Arc<PeerPlane>> {
        self.peers.load().get(&slot).cloned()
    }

    pub(super) fn set_router(&self, router: Arc<Router>) {
        self.router.store(router);
    }

    pub(super) fn add_peer(&self, slot: PeerSlot, stream: Arc<dyn Carrier>, stats: Arc<PeerStats>) {
        let (sealer, datagrams) = (ArcSwapOption::empty(), ArcSwapOption::empty());
        let peer = Arc::new(PeerPlane { sealer, stream, datagrams, mtu: AtomicU16::new(u16::MAX), stats });
        self.peers.rcu(|peers| {
            let mut peers = BTreeMap::clone(peers);
            peers.insert(slot, Arc::clone(&peer));
            peers
        });
    }

    /// Takes a peer out, and gives what shows when the last loop has let go of its key.
    pub(super) fn remove_peer(&self, slot: PeerSlot) -> Weak<Sealer> {
        let sealer = self.peer(slot).and_then(|peer| peer.sealer.swap(None));
        let sealer = sealer.map_or_else(Weak::new, |sealer| Arc::downgrade(&sealer));
        self.peers.rcu(|peers| {
            let mut peers = BTreeMap::clone(peers);
            peers.remove(&slot);
            peers
        });
        sealer
    }

    pub(super) fn set_datagrams(&self, slot: PeerSlot, datagrams: Option<DatagramCarrier>) {
        if let Some(peer) = self.peer(slot) {
            peer.datagrams.store(datagrams.map(Arc::new));
        }
    }

    pub(super) fn set_sealer(&self, slot: PeerSlot, sealer: Option<Arc<Sealer>>) {
        if let Some(peer) = self.peer(slot) {
            if let Some(sealer) = &sealer {
                sealer.set_path_mtu(peer.mtu.load(Ordering::Relaxed).into());
            }
            peer.sealer.store(sealer);
        }
    }

    pub(super) fn set_mtu(&self, slot: PeerSlot, mtu: u16) {
        if let Some(peer) = self.peer(slot) {
            peer.mtu.store(mtu, Ordering::Relaxed);
            if let Some(sealer) = &*peer.sealer.load() {
                sealer.set_path_mtu(mtu.into());
            }
        }
    }
}
