//! Opening: the receiving half of an epoch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::replay::Seen;
use super::{Aead, AwsLcAead, EpochId, EpochState, Limits, Replay};
use crate::drops::DropReason;
use crate::frame::{FrameType, HEADER_LEN, TAG_LEN};
use crate::handshake::{Negotiated, ReceiverIndex};
use crate::packet::{Checksum, PARTIAL_BIT, partial_checksum_fits, true_length};
use crate::secret::SecretKey32;
use crate::time::Time;

/// Opens a second and epoch that frames from an address other than the peer's validated endpoint are granted (7.4).
const UNPROVEN_OPENS: u64 = 1000;
const SECOND: u64 = 1_000_000_000;

/// Where a frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSource {
    /// A stream of the peer whose frame it claims to be.
    Stream,
    /// A datagram from the peer's validated endpoint.
    ValidatedUdp,
    /// A datagram from anywhere else.
    UnprovenUdp,
}

/// What an authentic frame holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened<'f> {
    /// An inner packet of its true length; its checksum may be partial.
    Packet(&'f mut [u8], Checksum),
    /// A keepalive.
    Empty,
    /// A probe to be answered.
    Probe([u8; 8]),
    /// The answer to a probe of ours.
    ProbeAck([u8; 8]),
}

/// The receive key of an epoch with its replay window.
pub struct Opener {
    aead: AwsLcAead,
    index: ReceiverIndex,
    replay: Replay,
    opened: u64,
    bytes: u64,
    unproven: Bucket,
    derived_at: Time,
    limits: Limits,
    partial_checksums: bool,
    state: Arc<EpochState>,
}

impl Opener {
    /// An opener with an empty window. `key` is erased.
    pub fn new(
        key: &SecretKey32,
        index: ReceiverIndex,
        negotiated: &Negotiated,
        limits: Limits,
        derived_at: Time,
        state: Arc<EpochState>,
    ) -> Self {
        Self {
            aead: AwsLcAead::new(negotiated.cipher, key),
            index,
            replay: Replay::default(),
            opened: 0,
            bytes: 0,
            unproven: Bucket { tokens: UNPROVEN_OPENS, refilled: derived_at },
            derived_at,
            limits,
            partial_checksums: negotiated.partial_checksums,
            state,
        }
    }

    /// Which epoch it opens.
    pub fn epoch(&self) -> EpochId {
        self.state.id()
    }

    /// Our index of the epoch.
    pub const fn index(&self) -> ReceiverIndex {
        self.index
    }

    /// What the control task shares about the epoch.
    pub const fn state(&self) -> &Arc<EpochState> {
        &self.state
    }

    /// Whether no frame was opened yet: the next one is the epoch's first.
    pub const fn is_unused(&self) -> bool {
        self.opened == 0
    }

    /// The highest counter of an authentic frame.
    pub const fn newest(&self) -> Option<u64> {
        self.replay.newest()
    }

    /// Opens a frame whose length, type, reserved bytes and index the caller has checked, in place (7.4): window,
    /// AEAD, window again, and only then what is inside.
    ///
    /// # Errors
    /// The [`DropReason`]. Reasons named `Inner…` and `Probe…` are of an authentic frame, which counts for liveness.
    pub fn open<'f>(
        &mut self,
        now: Time,
        kind: FrameType,
        frame: &'f mut [u8],
        source: FrameSource,
    ) -> Result<Opened<'f>, DropReason> {
        let frame_length = frame.len() as u64;
        let (header, sealed) = frame.split_first_chunk_mut::<HEADER_LEN>().ok_or(DropReason::FrameLength)?;
        let counter = u64::from_le_bytes([
            header[8], header[9], header[10], header[11], header[12], header[13], header[14], header[15],
        ]);
        self.check(now, counter, frame_length, source)?;
        if self.aead.open(header, sealed).is_err() {
            self.note_failure();
            return Err(DropReason::FrameForged);
        }
        drop_unless_fresh(self.replay.commit(counter))?;
        self.opened += 1;
        self.bytes += frame_length;
        if self.opened >= self.limits.messages.soft || self.bytes >= self.limits.bytes.soft {
            self.state.note_soft_limit();
        }
        let text_length = sealed.len().saturating_sub(TAG_LEN);
        let text = &mut sealed[..text_length];
        match kind {
            FrameType::Data => self.inner(text),
            FrameType::Probe => token(text).map(Opened::Probe),
            FrameType::ProbeAck => token(text).map(Opened::ProbeAck),
        }
    }

    fn check(&mut self, now: Time, counter: u64, length: u64, source: FrameSource) -> Result<(), DropReason> {
        let expired = self.state.is_dead()
            || now.saturating_since(self.derived_at) >= self.limits.age.hard
            || self.opened >= self.limits.messages.hard
            || counter >= self.limits.messages.hard
            || self.bytes.saturating_add(length) > self.limits.bytes.hard;
        if expired {
            return Err(DropReason::FrameKeyExpired);
        }
        drop_unless_fresh(self.replay.check(counter))?;
        match source {
            FrameSource::Stream | FrameSource::ValidatedUdp => Ok(()),
            FrameSource::UnprovenUdp if self.unproven.take(now) => Ok(()),
            FrameSource::UnprovenUdp => Err(DropReason::FrameRateLimited),
        }
    }

    fn note_failure(&self) {
        let failed = self.state.failed_opens.fetch_add(1, Ordering::Relaxed) + 1;
        if failed >= self.limits.failed_opens.hard {
            self.state.kill();
        } else if failed >= self.limits.failed_opens.soft {
            self.state.note_soft_limit();
        }
    }

    fn inner<'f>(&self, text: &'f mut [u8]) -> Result<Opened<'f>, DropReason> {
        let partial = match text.first_mut() {
            None | Some(0) => return Ok(Opened::Empty),
            Some(first) if *first & PARTIAL_BIT != 0 && self.partial_checksums => {
                *first &= !PARTIAL_BIT;
                true
            }
            Some(_) => false,
        };
        let length = true_length(text)?;
        let packet = &mut text[..length];
        if !partial {
            return Ok(Opened::Packet(packet, Checksum::Complete));
        }
        if partial_checksum_fits(packet) {
            Ok(Opened::Packet(packet, Checksum::Partial))
        } else {
            Err(DropReason::InnerChecksum)
        }
    }
}

fn token(text: &[u8]) -> Result<[u8; 8], DropReason> {
    text.first_chunk::<8>().copied().ok_or(DropReason::ProbeLength)
}

fn drop_unless_fresh(seen: Seen) -> Result<(), DropReason> {
    match seen {
        Seen::Fresh => Ok(()),
        Seen::Replayed => Err(DropReason::FrameReplayed),
        Seen::TooOld => Err(DropReason::FrameTooOld),
    }
}

/// A token bucket of one second's worth.
struct Bucket {
    tokens: u64,
    refilled: Time,
}

impl Bucket {
    fn take(&mut self, now: Time) -> bool {
        let elapsed = u64::try_from(now.saturating_since(self.refilled).as_nanos()).unwrap_or(u64::MAX);
        let gained = elapsed.min(SECOND) * UNPROVEN_OPENS / SECOND;
        if gained > 0 {
            self.tokens = (self.tokens + gained).min(UNPROVEN_OPENS);
            self.refilled = now;
        }
        let granted = self.tokens > 0;
        self.tokens -= u64::from(granted);
        granted
    }
}
