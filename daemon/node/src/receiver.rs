//! The receiving loop's table: receiver index → peer and [`Opener`].

use std::collections::HashMap;
use std::sync::Arc;

use crate::drops::DropReason;
use crate::epoch::{EpochId, EpochState, FrameSource, Opened, Opener};
use crate::frame::{FrameType, HEADER_LEN, MAX_STREAM_FRAME, MIN_FRAME};
use crate::handshake::ReceiverIndex;
use crate::packet::Checksum;
use crate::router::{PeerSlot, Router};
use crate::time::Time;

/// Where a frame came from, as the carrier knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A stream, whose transport proved the peer.
    Stream(PeerSlot),
    /// A datagram.
    Udp {
        /// Whether it came from the peer's validated endpoint.
        validated: bool,
    },
}

/// Whether a frame was the first that opened on its epoch; the tunnel learns from it (protocol.md 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was.
    First,
    /// Others came before.
    Later,
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

struct Entry {
    slot: PeerSlot,
    opener: Opener,
}

/// All epochs that one loop receives on. It owns the openers, so no lock is taken for a frame.
#[derive(Default)]
pub struct Receiver {
    entries: HashMap<u32, Entry>,
}

impl Receiver {
    /// Takes an opener; from now on its frames are opened.
    pub fn install(&mut self, slot: PeerSlot, opener: Opener) {
        self.entries.insert(opener.index().get(), Entry { slot, opener });
    }

    /// Erases the key behind `index`; whether there was one.
    pub fn remove(&mut self, index: ReceiverIndex) -> bool {
        self.entries.remove(&index.get()).is_some()
    }

    /// Erases all keys of a peer.
    pub fn remove_peer(&mut self, slot: PeerSlot) {
        self.entries.retain(|_, entry| entry.slot != slot);
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

    /// Opens one frame in place and asks the router whether its packet may pass (7.4).
    ///
    /// # Errors
    /// The [`DropReason`] of a frame that is not authentic: nothing may be concluded from it.
    pub fn receive<'f>(
        &mut self,
        now: Time,
        frame: &'f mut [u8],
        origin: Origin,
        router: &Router,
    ) -> Result<Received<'f>, DropReason> {
        let (kind, index) = read_header(frame)?;
        let entry = self.entries.get_mut(&index).ok_or(DropReason::FrameUnknownIndex)?;
        let source = match origin {
            Origin::Stream(slot) if slot != entry.slot => return Err(DropReason::FrameForeignIndex),
            Origin::Stream(_) => FrameSource::Stream,
            Origin::Udp { validated: true } => FrameSource::ValidatedUdp,
            Origin::Udp { validated: false } => FrameSource::UnprovenUdp,
        };
        let slot = entry.slot;
        let arrival = if entry.opener.is_unused() { Arrival::First } else { Arrival::Later };
        let epoch = entry.opener.epoch();
        let content = match entry.opener.open(now, kind, frame, source) {
            Ok(Opened::Packet(packet, checksum)) => {
                router.inbound(slot, packet).map(|()| Content::Packet(packet, checksum))
            }
            Ok(Opened::Empty) => Ok(Content::Empty),
            Ok(Opened::Probe(token)) => Ok(Content::Probe(token)),
            Ok(Opened::ProbeAck(token)) => Ok(Content::ProbeAck(token)),
            Err(reason) if is_authentic(reason) => Err(reason),
            Err(reason) => return Err(reason),
        };
        Ok(Received { slot, epoch, arrival, content })
    }
}

/// Type and index of a frame whose outside is well-formed.
fn read_header(frame: &[u8]) -> Result<(FrameType, u32), DropReason> {
    if !(MIN_FRAME..=MAX_STREAM_FRAME).contains(&frame.len()) {
        return Err(DropReason::FrameLength);
    }
    let header = frame.first_chunk::<HEADER_LEN>().ok_or(DropReason::FrameLength)?;
    let kind = FrameType::from_byte(header[0]).ok_or(DropReason::FrameType)?;
    if header[1..4] != [0; 3] {
        return Err(DropReason::FrameReserved);
    }
    Ok((kind, u32::from_le_bytes([header[4], header[5], header[6], header[7]])))
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
