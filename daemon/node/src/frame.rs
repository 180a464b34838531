//! The outside of data frames (protocol.md 7.1): header, types, and batches laid out for segmentation offload.

use crate::handshake::ReceiverIndex;

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 16;
/// Bytes of a frame's tag.
pub const TAG_LEN: usize = 16;
/// What a frame adds to the inner packet.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
/// The shortest frame.
pub const MIN_FRAME: usize = OVERHEAD;
/// The longest frame that a UDP datagram carries.
pub const MAX_UDP_FRAME: usize = 65_507;
/// The longest frame that a stream carries.
pub const MAX_STREAM_FRAME: usize = 65_535;

/// The first byte of a punch: bytes that open a NAT mapping and are no frame.
pub const PUNCH: u8 = 0x13;
/// Bytes of a punch.
pub const PUNCH_LEN: usize = 64;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameType {
    /// 0x10: an inner packet, or nothing (a keepalive).
    Data,
    /// 0x11: asks for a [`FrameType::ProbeAck`] with the same token.
    Probe,
    /// 0x12: answers a probe.
    ProbeAck,
}

impl FrameType {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Data => 0x10,
            Self::Probe => 0x11,
            Self::ProbeAck => 0x12,
        }
    }

    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x10 => Some(Self::Data),
            0x11 => Some(Self::Probe),
            0x12 => Some(Self::ProbeAck),
            0..=0x0f | 0x13..=u8::MAX => None,
        }
    }
}

pub(crate) fn write_header(out: &mut [u8; HEADER_LEN], kind: FrameType, index: ReceiverIndex, counter: u64) {
    *out = [0; HEADER_LEN];
    out[0] = kind.byte();
    out[4..8].copy_from_slice(&index.get().to_le_bytes());
    out[8..16].copy_from_slice(&counter.to_le_bytes());
}

/// The most frames in one run: what one `UDP_SEGMENT` send takes.
const MAX_RUN_FRAMES: usize = 64;
/// The most bytes in one run: what one UDP datagram of segments takes.
const MAX_RUN_BYTES: usize = MAX_UDP_FRAME;

/// The longest super-packet of TCP whose frames fit one run, in bytes, for a tunnel MTU: what the kernel is asked to keep
/// to, so that each of its super-packets leaves by one send.
pub const fn longest_super_packet(mtu: u16) -> u32 {
    /// What the kernel sets aside for headers when it decides how much payload a super-packet takes.
    const RESERVED: usize = 340;
    /// IPv6 and TCP with timestamps: the longest usual headers, so the least payload for a frame's length.
    const HEADERS: usize = 72;
    let mtu = mtu as usize;
    let frames = MAX_RUN_BYTES / (mtu + OVERHEAD);
    let frames = if frames > MAX_RUN_FRAMES { MAX_RUN_FRAMES } else { frames };
    (frames * (mtu - HEADERS) + RESERVED) as u32
}

/// Frames of equal length that lie one after another; the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'b> {
    /// The frames, without gaps.
    pub bytes: &'b [u8],
    /// The length of each frame but the last.
    pub stride: usize,
}

#[derive(Clone, Copy, Debug)]
struct RunSpan {
    start: usize,
    end: usize,
    stride: usize,
    frames: usize,
    /// A shorter frame ended it.
    closed: bool,
}

/// Sealed frames in one reused buffer, as runs of equal stride: what one system call with segmentation offload
/// sends. A single frame is the batch of one.
#[derive(Debug)]
pub struct FrameBatch {
    buffer: Box<[u8]>,
    used: usize,
    runs: Vec<RunSpan>,
    frames: usize,
}

impl FrameBatch {
    /// A batch with room for `capacity` bytes of frames.
    pub fn new(capacity: usize) -> Self {
        Self { buffer: vec![0; capacity].into_boxed_slice(), used: 0, runs: Vec::with_capacity(128), frames: 0 }
    }

    /// Forgets all frames; the memory stays.
    pub fn clear(&mut self) {
        self.used = 0;
        self.frames = 0;
        self.runs.clear();
    }

    /// How many frames it holds.
    pub const fn len(&self) -> usize {
        self.frames
    }

    /// Whether it holds none.
    pub const fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Bytes of all frames.
    pub const fn bytes(&self) -> usize {
        self.used
    }

    /// Whether a frame of `length` bytes still fits.
    pub const fn has_room(&self, length: usize) -> bool {
        self.buffer.len() - self.used >= length
    }

    /// The frames as runs of equal stride, in the order in which they were sealed.
    pub fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        self.runs.iter().map(|run| Run { bytes: &self.buffer[run.start..run.end], stride: run.stride })
    }

    /// The frames one by one, in order.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.runs().flat_map(|run| run.bytes.chunks(run.stride))
    }

    /// Room for one more frame, or `None` when the buffer is full. The room is not zeroed.
    pub(crate) fn push(&mut self, length: usize) -> Option<&mut [u8]> {
        let start = self.used;
        let end = start.checked_add(length).filter(|&end| end <= self.buffer.len())?;
        match self.runs.last_mut() {
            Some(run)
                if !run.closed
                    && length <= run.stride
                    && run.frames < MAX_RUN_FRAMES
                    && end - run.start <= MAX_RUN_BYTES =>
            {
                run.end = end;
                run.frames += 1;
                run.closed = length < run.stride;
            }
            Some(_) | None => {
                self.runs.push(RunSpan { start, end, stride: length, frames: 1, closed: false });
            }
        }
        self.used = end;
        self.frames += 1;
        Some(&mut self.buffer[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strides(lengths: &[usize]) -> Vec<(usize, usize)> {
        let mut batch = FrameBatch::new(1 << 20);
        for (i, &length) in lengths.iter().enumerate() {
            batch.push(length).unwrap().fill(i as u8);
        }
        let seen: Vec<_> = batch.frames().map(<[u8]>::len).collect();
        assert_eq!(seen, lengths, "the frames come back one by one");
        assert!(batch.frames().enumerate().all(|(i, f)| f.iter().all(|&b| b == i as u8)));
        batch.runs().map(|run| (run.stride, run.bytes.len())).collect()
    }

    #[test]
    fn equal_frames_share_a_run_and_a_shorter_one_ends_it() {
        assert_eq!(strides(&[100, 100, 60, 100]), [(100, 260), (100, 100)]);
        assert_eq!(strides(&[60, 100, 100]), [(60, 60), (100, 200)]);
    }

    #[test]
    fn a_run_keeps_the_limits_of_one_send() {
        assert_eq!(strides(&[100; 65]), [(100, 6400), (100, 100)]);
        let long = strides(&[1452; 46]);
        assert!(long.iter().all(|&(_, bytes)| bytes <= MAX_UDP_FRAME) && long.len() == 2);
    }

    #[test]
    fn the_longest_super_packet_fits_one_run() {
        assert_eq!(longest_super_packet(1420), 61_000);
        for mtu in [576, 1280, 1420, 9216] {
            let payload = longest_super_packet(mtu) as usize - 321;
            let frames = payload / (usize::from(mtu) - 72);
            let run = strides(&vec![usize::from(mtu) + OVERHEAD; frames]);
            assert_eq!(run.len(), 1, "MTU {mtu}: {frames} frames");
        }
    }

    #[test]
    fn a_full_batch_takes_nothing_more() {
        let mut batch = FrameBatch::new(100);
        assert!(batch.push(60).is_some());
        assert!(batch.push(60).is_none());
        batch.clear();
        assert!(batch.push(100).is_some() && batch.len() == 1);
    }
}
