//! Sealing: the sending half of an epoch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{Aead, AwsLcAead, Cipher, EpochId, EpochState, Limits};
use crate::drops::{DropCounters, DropReason};
use crate::frame::{FrameBatch, FrameType, HEADER_LEN, OVERHEAD, TAG_LEN, write_header};
use crate::handshake::{Negotiated, PaddingMode, ReceiverIndex};
use crate::offload::{SuperPacket, VnetHeader};
use crate::packet::{Checksum, PARTIAL_BIT, padded_length, partial_checksum_fits};
use crate::secret::SecretKey32;
use crate::time::Time;

/// A packet on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'p> {
    /// The inner IP packet.
    pub packet: &'p [u8],
    /// Whether its layer-4 checksum is whole.
    pub checksum: Checksum,
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// How many packets were taken from the front of the slice, sealed or dropped; fewer than given when the batch
    /// was full.
    pub taken: usize,
    /// How many of them were sealed.
    pub frames: usize,
    /// Bytes of those inner packets.
    pub inner_bytes: u64,
}

/// The send key of an epoch with its counter. There is no way to seal with a chosen counter.
pub struct Sealer {
    aead: AwsLcAead,
    index: ReceiverIndex,
    counter: AtomicU64,
    bytes: AtomicU64,
    derived_at: Time,
    limits: Limits,
    padding: PaddingMode,
    tunnel_mtu: usize,
    /// The smaller of the tunnel's and the path's.
    mtu: AtomicUsize,
    partial_checksums: bool,
    cipher: Cipher,
    state: Arc<EpochState>,
}

impl Sealer {
    /// A sealer with its counter at zero. `key` is erased.
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
            counter: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            derived_at,
            limits,
            padding: negotiated.padding,
            tunnel_mtu: negotiated.mtu.into(),
            mtu: AtomicUsize::new(negotiated.mtu.into()),
            partial_checksums: negotiated.partial_checksums,
            cipher: negotiated.cipher,
            state,
        }
    }

    /// Which epoch it seals for.
    pub fn epoch(&self) -> EpochId {
        self.state.id()
    }

    /// What the control task shares about the epoch.
    pub const fn state(&self) -> &Arc<EpochState> {
        &self.state
    }

    /// The cipher in use.
    pub const fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// The longest inner packet, in bytes.
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Keeps inner packets and their padding to what the path takes, in bytes, as far as that is less than the tunnel's
    /// MTU.
    pub fn set_path_mtu(&self, mtu: usize) {
        self.mtu.store(mtu.min(self.tunnel_mtu), Ordering::Relaxed);
    }

    /// Finishes what the kernel left to do on a plain packet's checksum, as far as the peer's kernel cannot.
    ///
    /// # Errors
    /// [`DropReason::OutMalformed`] when header and packet do not fit each other.
    pub fn finish_checksum(&self, vnet: &VnetHeader, packet: &mut [u8]) -> Result<Checksum, DropReason> {
        if !vnet.needs_checksum {
            return Ok(Checksum::Complete);
        }
        if self.partial_checksums && partial_checksum_fits(packet) {
            return Ok(Checksum::Partial);
        }
        vnet.complete_checksum(packet).map(|()| Checksum::Complete)
    }

    /// Seals `packets` into `out` until it is full. A packet longer than the MTU, or with a partial checksum that the
    /// peer does not take, is dropped and counted.
    ///
    /// # Errors
    /// [`DropReason::OutKeyExpired`] when the key must not be used any more; nothing was taken then.
    pub fn seal_batch(
        &self,
        now: Time,
        packets: &[Outgoing<'_>],
        out: &mut FrameBatch,
        drops: &DropCounters,
    ) -> Result<Sealed, DropReason> {
        let (before, mtu) = (out.bytes(), self.mtu());
        let mut counter = self.reserve(now, packets.len())?;
        let mut sealed = Sealed::default();
        for outgoing in packets {
            let length = outgoing.packet.len();
            let partial = outgoing.checksum == Checksum::Partial;
            if length > mtu || length == 0 || (partial && !self.partial_checksums) {
                let reason = if length > mtu { DropReason::OutTooLong } else { DropReason::OutMalformed };
                drops.count(reason);
                sealed.taken += 1;
                continue;
            }
            let text_length = padded_length(length, self.padding, mtu);
            let Some(frame) = out.push(text_length + OVERHEAD) else { break };
            self.seal_frame(frame, FrameType::Data, counter, length, |inner| {
                inner.copy_from_slice(outgoing.packet);
                mark(inner, outgoing.checksum);
            });
            counter += 1;
            sealed.taken += 1;
            sealed.frames += 1;
            sealed.inner_bytes += length as u64;
        }
        self.account(out.bytes() - before);
        Ok(sealed)
    }

    /// Cuts a super-packet and seals its packets into `out`, all of them or none. Their checksums stay partial where the
    /// peer takes that, else they are completed.
    ///
    /// `taken` of the result is 0 when the batch has no room left, else 1: the super-packet was sealed, or dropped and
    /// counted because its packets are longer than the MTU or more than an empty batch holds.
    ///
    /// # Errors
    /// As [`Self::seal_batch`].
    pub fn seal_super(
        &self,
        now: Time,
        packet: &[u8],
        cut: &SuperPacket,
        out: &mut FrameBatch,
        drops: &DropCounters,
    ) -> Result<Sealed, DropReason> {
        let (count, longest, mtu) = (cut.count(), cut.longest(), self.mtu());
        let fits = longest <= mtu;
        if !fits || !out.has_room(count * (padded_length(longest, self.padding, mtu) + OVERHEAD)) {
            if fits && !out.is_empty() {
                return Ok(Sealed::default());
            }
            drops.add(DropReason::OutTooLong, count as u64);
            return Ok(Sealed { taken: 1, ..Sealed::default() });
        }
        let checksum = if self.partial_checksums { cut.checksum() } else { Checksum::Complete };
        let (before, first) = (out.bytes(), self.reserve(now, count)?);
        let mut sealed = Sealed { taken: 1, ..Sealed::default() };
        for (counter, number) in (first..).zip(0..count) {
            let length = cut.length_of(number);
            let text_length = padded_length(length, self.padding, mtu);
            let Some(frame) = out.push(text_length + OVERHEAD) else { break };
            self.seal_frame(frame, FrameType::Data, counter, length, |inner| {
                cut.write(packet, number, checksum, inner);
                mark(inner, checksum);
            });
            sealed.frames += 1;
            sealed.inner_bytes += length as u64;
        }
        self.account(out.bytes() - before);
        Ok(sealed)
    }

    /// Seals a keepalive: zero bytes, padded by the mode like a packet.
    ///
    /// # Errors
    /// [`DropReason::OutKeyExpired`]; [`DropReason::OutQueueFull`] when `out` is full.
    pub fn seal_empty(&self, now: Time, out: &mut FrameBatch) -> Result<(), DropReason> {
        self.seal_one(now, FrameType::Data, &[], padded_length(16, self.padding, self.mtu()), out)
    }

    /// Seals a probe, unpadded.
    ///
    /// # Errors
    /// As [`Self::seal_empty`].
    pub fn seal_probe(&self, now: Time, token: [u8; 8], out: &mut FrameBatch) -> Result<(), DropReason> {
        self.seal_one(now, FrameType::Probe, &token, token.len(), out)
    }

    /// Seals a probe as long as a packet of `length` bytes would be, to learn whether such packets pass.
    ///
    /// # Errors
    /// As [`Self::seal_empty`].
    pub fn seal_long_probe(
        &self,
        now: Time,
        token: [u8; 8],
        length: usize,
        out: &mut FrameBatch,
    ) -> Result<(), DropReason> {
        self.seal_one(now, FrameType::Probe, &token, length.max(token.len()), out)
    }

    /// Seals the answer to a probe, unpadded and so never larger than the probe.
    ///
    /// # Errors
    /// As [`Self::seal_empty`].
    pub fn seal_probe_ack(&self, now: Time, token: [u8; 8], out: &mut FrameBatch) -> Result<(), DropReason> {
        self.seal_one(now, FrameType::ProbeAck, &token, token.len(), out)
    }

    fn seal_one(
        &self,
        now: Time,
        kind: FrameType,
        inner: &[u8],
        text_length: usize,
        out: &mut FrameBatch,
    ) -> Result<(), DropReason> {
        let counter = self.reserve(now, 1)?;
        let frame = out.push(text_length + OVERHEAD).ok_or(DropReason::OutQueueFull)?;
        self.seal_frame(frame, kind, counter, inner.len(), |text| text.copy_from_slice(inner));
        self.account(text_length + OVERHEAD);
        Ok(())
    }

    /// Takes `count` counters; they are consumed whether or not the frames are sent.
    fn reserve(&self, now: Time, count: usize) -> Result<u64, DropReason> {
        if self.bytes.load(Ordering::Relaxed) >= self.limits.bytes.hard {
            self.state.kill();
        }
        if self.state.is_dead() || now.saturating_since(self.derived_at) >= self.limits.age.hard {
            return Err(DropReason::OutKeyExpired);
        }
        let count = count as u64;
        let first = self.counter.fetch_add(count, Ordering::Relaxed);
        let end = first.saturating_add(count);
        if end > self.limits.messages.hard {
            // The hard limit lies 2^13 below the end of the counter: batches that race past it cannot wrap.
            self.state.kill();
            return Err(DropReason::OutKeyExpired);
        }
        if end >= self.limits.messages.soft {
            self.state.note_soft_limit();
        }
        Ok(first)
    }

    fn account(&self, frame_bytes: usize) {
        let bytes = self.bytes.fetch_add(frame_bytes as u64, Ordering::Relaxed) + frame_bytes as u64;
        if bytes >= self.limits.bytes.soft {
            self.state.note_soft_limit();
        }
    }

    /// `frame` has room for header, text and tag. `fill` writes the first `length` bytes of the text; the rest is zero.
    #[inline]
    fn seal_frame(&self, frame: &mut [u8], kind: FrameType, counter: u64, length: usize, fill: impl FnOnce(&mut [u8])) {
        let Some((header, rest)) = frame.split_first_chunk_mut::<HEADER_LEN>() else { return };
        let Some((text, tag)) = rest.split_last_chunk_mut::<TAG_LEN>() else { return };
        write_header(header, kind, self.index, counter);
        let (inner, padding) = text.split_at_mut(length);
        fill(inner);
        padding.fill(0);
        *tag = self.aead.seal(header, text).expect("a frame is far below the length limit of either cipher");
    }
}

/// Says inside the encryption that a packet's checksum is partial (7.2).
fn mark(packet: &mut [u8], checksum: Checksum) {
    if let (Checksum::Partial, Some(first)) = (checksum, packet.first_mut()) {
        *first |= PARTIAL_BIT;
    }
}
