//! The receiving loop's table: receiver index → peer and [`Opener`].

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::drops::DropReason;
use crate::epoch::{EpochId, EpochState, FrameSource, Limit, Opened, Opener};
use crate::frame::{FrameType, HEADER_LEN, MAX_STREAM_FRAME, MIN_FRAME};
use crate::handshake::ReceiverIndex;
use crate::hash::BuildFold;
use crate::packet::Checksum;
use crate::router::{Inward, PeerSlot};
use crate::time::Time;
use crate::tunnel::Report;

/// Where a frame came from, as the carrier knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A stream, whose transport proved the peer.
    Stream(PeerSlot),
    /// A datagram that came from here.
    Udp(SocketAddr),
}

/// Whether a frame was the first that opened on its epoch; the tunnel learns from it (protocol.md 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was.
    First,
    /// Others came before.
    Later,
}

/// What an authentic frame says about where its sender is (7.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// Nothing new.
    Known,
    /// A data frame newer than all before it came by UDP from another address than the validated one.
    Moved {
        /// Its counter.
        counter: u64,
    },
    /// While a move is proposed, something newer than the frame that proposed it came from the validated address.
    Stayed,
}

/// An authentic frame.
#[derive(Debug)]
pub struct Received<'f> {
    /// Whose.
    pub slot: PeerSlot,
    /// On which epoch.
    pub epoch: EpochId,
    /// Whether it was the epoch's first.
    pub arrival: Arrival,
    /// Where its sender is.
    pub whereabouts: Whereabouts,
    /// How many frames the peer sealed since the newest one that arrived before, this one included; 0 for a late one.
    pub step: u64,
    /// What it holds; an inner packet that must be dropped counts for liveness all the same.
    pub content: Result<Content<'f>, DropReason>,
}

/// What an authentic frame holds for us.
#[derive(Debug, PartialEq, Eq)]
pub enum Content<'f> {
    /// A packet for the TUN device.
    Packet(&'f mut [u8], Checksum),
    /// A keepalive.
    Empty,
    /// A probe to be answered.
    Probe([u8; 8]),
    /// The answer to a probe of ours.
    ProbeAck([u8; 8]),
}

/// What is held against the address that a datagram came from (7.4, 7.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The peer's validated endpoint.
    pub endpoint: Option<SocketAddr>,
    /// The epoch and counter of the frame that proposes another one.
    pub proposed: Option<(EpochId, u64)>,
}

struct Entry {
    slot: PeerSlot,
    opener: Opener,
    trust: Trust,
}

/// What belongs to one peer.
#[derive(Default)]
struct Peer {
    trust: Trust,
    /// Of its epochs: a handful.
    indices: Vec<u32>,
}

/// All epochs that one loop receives on. It owns the openers, so no lock is taken for a frame.
#[derive(Default)]
pub struct Receiver {
    /// By our own indices, which are random: a fast hash is enough.
    entries: HashMap<u32, Entry, BuildFold>,
    peers: BTreeMap<PeerSlot, Peer>,
    limits: Vec<(PeerSlot, Report)>,
}

impl Receiver {
    /// Takes an opener; from now on its frames are opened.
    pub fn install(&mut self, slot: PeerSlot, opener: Opener) {
        let index = opener.index();
        self.remove(index);
        let peer = self.peers.entry(slot).or_default();
        peer.indices.push(index.get());
        self.entries.insert(index.get(), Entry { slot, opener, trust: peer.trust });
    }

    /// Says where a peer's datagrams are expected to come from, now and on epochs to come.
    pub fn set_trust(&mut self, slot: PeerSlot, trust: Trust) {
        let peer = self.peers.entry(slot).or_default();
        peer.trust = trust;
        for index in &peer.indices {
            if let Some(entry) = self.entries.get_mut(index) {
                entry.trust = trust;
            }
        }
    }

    /// Erases the key behind `index`; whether there was one.
    pub fn remove(&mut self, index: ReceiverIndex) -> bool {
        let Some(entry) = self.entries.remove(&index.get()) else { return false };
        if let Some(peer) = self.peers.get_mut(&entry.slot) {
            peer.indices.retain(|&other| other != index.get());
        }
        true
    }

    /// Erases all keys of a peer.
    pub fn remove_peer(&mut self, slot: PeerSlot) {
        for index in self.peers.remove(&slot).into_iter().flat_map(|peer| peer.indices) {
            self.entries.remove(&index);
        }
    }

    /// How many epochs it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The shared state of the epoch behind `index`.
    pub fn state(&self, index: ReceiverIndex) -> Option<&Arc<EpochState>> {
        self.entries.get(&index.get()).map(|entry| entry.opener.state())
    }

    /// What the tunnels are to be told about limits that were reached since the last call. Failed opens reach theirs
    /// without an authentic frame, so that nobody else would tell (7.5).
    pub fn limits_reached(&mut self) -> impl Iterator<Item = (PeerSlot, Report)> + '_ {
        self.limits.drain(..)
    }

    /// Opens one frame in place and asks the router whether its packet may pass (7.4).
    ///
    /// # Errors
    /// The [`DropReason`] of a frame that is not authentic: nothing may be concluded from it.
    pub fn receive<'f>(
        &mut self,
        now: Time,
        frame: &'f mut [u8],
        origin: Origin,
        router: &mut Inward<'_>,
    ) -> Result<Received<'f>, DropReason> {
        let Header { kind, index, counter } = read_header(frame)?;
        let entry = self.entries.get_mut(&index).ok_or(DropReason::FrameUnknownIndex)?;
        let source = match origin {
            Origin::Stream(slot) if slot != entry.slot => return Err(DropReason::FrameForeignIndex),
            Origin::Stream(_) => FrameSource::Stream,
            Origin::Udp(from) if entry.trust.endpoint == Some(from) => FrameSource::ValidatedUdp,
            Origin::Udp(_) => FrameSource::UnprovenUdp,
        };
        let slot = entry.slot;
        let arrival = if entry.opener.is_unused() { Arrival::First } else { Arrival::Later };
        let (epoch, newest) = (entry.opener.epoch(), entry.opener.newest());
        let before = entry.opener.state().limit();
        let opened = entry.opener.open(now, kind, frame, source);
        let limit = entry.opener.state().limit();
        if limit > before {
            self.limits.extend(limit.map(|limit| (slot, limit_report(limit, epoch))));
        }
        let content = match opened {
            Ok(Opened::Packet(packet, checksum)) => {
                router.inbound(slot, packet).map(|()| Content::Packet(packet, checksum))
            }
            Ok(Opened::Empty) => Ok(Content::Empty),
            Ok(Opened::Probe(token)) => Ok(Content::Probe(token)),
            Ok(Opened::ProbeAck(token)) => Ok(Content::ProbeAck(token)),
            Err(reason) if is_authentic(reason) => Err(reason),
            Err(reason) => return Err(reason),
        };
        let proposed = entry.trust.proposed;
        let whereabouts = match (source, kind) {
            (FrameSource::UnprovenUdp, FrameType::Data)
                if newest.is_none_or(|newest| counter > newest) && self.is_newest(slot, epoch) =>
            {
                Whereabouts::Moved { counter }
            }
            (FrameSource::ValidatedUdp, FrameType::Data | FrameType::ProbeAck)
                if proposed.is_some_and(|proposed| (epoch, counter) > proposed) =>
            {
                Whereabouts::Stayed
            }
            (FrameSource::Stream | FrameSource::ValidatedUdp | FrameSource::UnprovenUdp, _) => Whereabouts::Known,
        };
        let step = newest.map_or(counter.saturating_add(1), |newest| counter.saturating_sub(newest));
        Ok(Received { slot, epoch, arrival, whereabouts, step, content })
    }

    /// Whether no frame was opened on a newer epoch of the peer.
    fn is_newest(&self, slot: PeerSlot, epoch: EpochId) -> bool {
        let indices = self.peers.get(&slot).into_iter().flat_map(|peer| &peer.indices);
        let mut openers = indices.filter_map(|index| self.entries.get(index)).map(|entry| &entry.opener);
        !openers.any(|opener| opener.epoch() > epoch && !opener.is_unused())
    }
}

const fn limit_report(limit: Limit, epoch: EpochId) -> Report {
    match limit {
        Limit::Soft => Report::SoftLimit { epoch },
        Limit::Hard => Report::HardLimit { epoch },
    }
}

struct Header {
    kind: FrameType,
    index: u32,
    counter: u64,
}

/// The header of a frame whose outside is well-formed.
fn read_header(frame: &[u8]) -> Result<Header, DropReason> {
    if !(MIN_FRAME..=MAX_STREAM_FRAME).contains(&frame.len()) {
        return Err(DropReason::FrameLength);
    }
    let header = frame.first_chunk::<HEADER_LEN>().ok_or(DropReason::FrameLength)?;
    let kind = FrameType::from_byte(header[0]).ok_or(DropReason::FrameType)?;
    if header[1..4] != [0; 3] {
        return Err(DropReason::FrameReserved);
    }
    let [.., i0, i1, i2, i3, c0, c1, c2, c3, c4, c5, c6, c7] = *header;
    let counter = u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
    Ok(Header { kind, index: u32::from_le_bytes([i0, i1, i2, i3]), counter })
}

/// Whether a drop is of a frame whose tag was right.
fn is_authentic(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::InnerVersion
            | DropReason::InnerHeader
            | DropReason::InnerLength
            | DropReason::InnerChecksum
            | DropReason::ProbeLength
    )
}

#[cfg(test)]
mod tests;
