//! Frames as they arrive on a stream, in memory that is used again and again.

use std::ops::Range;

use crate::header::{FrameError, HEADER, Header};
use crate::limits::MAX_PACKETS;

/// The longest frame.
const LONGEST: usize = HEADER + MAX_PACKETS;
/// A read shorter than this is worth moving the beginning of a frame for.
const SHORT: usize = 64 * 1024;

/// What was read of a stream and not yet taken.
///
/// Read into [`Self::room`], say how much with [`Self::filled`], then take frames with [`Self::frame`] until there is
/// none. A frame's body stays where it is until the next [`Self::room`].
#[derive(Debug)]
pub struct Incoming {
    memory: Box<[u8]>,
    /// What is not taken yet lies between these two.
    start: usize,
    end: usize,
}

impl Default for Incoming {
    /// With twice the room of the longest frame, so that few frames have to be moved.
    fn default() -> Self {
        Self { memory: vec![0; 2 * LONGEST].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl Incoming {
    /// Where the next read goes; never empty. The bodies of frames that were taken are gone after it.
    pub fn room(&mut self) -> &mut [u8] {
        let begun = self.start..self.end;
        if begun.is_empty() {
            (self.start, self.end) = (0, 0);
        } else if self.start + self.needed().max(SHORT) > self.memory.len() {
            self.memory.copy_within(begun.clone(), 0);
            (self.start, self.end) = (0, begun.len());
        }
        &mut self.memory[self.end..]
    }

    /// The bytes of the frame that begins here, as far as that is known.
    fn needed(&self) -> usize {
        let header = self.memory[self.start..self.end].first_chunk().map(Header::read);
        header.and_then(Result::ok).map_or(HEADER, |header| HEADER + header.length)
    }

    /// `length` bytes were read into [`Self::room`].
    pub fn filled(&mut self, length: usize) {
        self.end = (self.end + length).min(self.memory.len());
    }

    /// Takes the next frame, if all of it is there: its header, and where its body lies in [`Self::memory`].
    ///
    /// # Errors
    /// [`FrameError`]; the connection cannot go on after it.
    pub fn frame(&mut self) -> Result<Option<(Header, Range<usize>)>, FrameError> {
        let there = &self.memory[self.start..self.end];
        let Some(header) = there.first_chunk() else { return Ok(None) };
        let header = Header::read(header)?;
        if there.len() < HEADER + header.length {
            return Ok(None);
        }
        let body = self.start + HEADER..self.start + HEADER + header.length;
        self.start = body.end;
        Ok(Some((header, body)))
    }

    /// Whether a frame has begun that is not all there.
    pub const fn is_amid_frame(&self) -> bool {
        self.start < self.end
    }

    /// Everything, to look at bodies.
    pub fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// Everything, to work on bodies in place.
    pub fn memory_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::StopReason;
    use crate::frame::Frame;
    use crate::packets::PacketWriter;

    /// A frame with one packet, 24 bytes longer than asked.
    fn packets(length: usize) -> Vec<u8> {
        let mut memory = vec![0; LONGEST];
        let mut writer = PacketWriter::new(&mut memory).unwrap();
        for _ in 0..length.div_ceil(60_000) {
            writer.slot(length.min(60_000)).unwrap().fill(0x45);
        }
        writer.finish().to_vec()
    }

    /// All frames of a stream that comes in reads of at most `read` bytes.
    fn taken(stream: &[u8], read: usize) -> Result<Vec<Vec<u8>>, FrameError> {
        let (mut incoming, mut rest, mut frames) = (Incoming::default(), stream, Vec::new());
        while !rest.is_empty() {
            let room = incoming.room();
            let length = room.len().min(read).min(rest.len());
            let (now, later) = rest.split_at(length);
            room[..length].copy_from_slice(now);
            rest = later;
            incoming.filled(length);
            while let Some((header, body)) = incoming.frame()? {
                frames.push([&header.write().unwrap()[..], &incoming.memory()[body]].concat());
            }
        }
        assert!(!incoming.is_amid_frame());
        Ok(frames)
    }

    #[test]
    fn frames_come_whole_and_in_order_however_they_are_cut() {
        let stop = Frame::Stop(StopReason::System).write(7).unwrap();
        let sent: Vec<_> = [100, 240_000, 1, 60_000, 240_000, 240_000, 1420, 240_000, 200_000]
            .into_iter()
            .flat_map(|length| [packets(length), stop.clone()])
            .collect();
        let stream = sent.concat();
        for read in [1, 7, 1500, 65_536, 100_003, usize::MAX] {
            assert_eq!(taken(&stream, read).unwrap(), sent, "{read} bytes a read");
        }
    }

    #[test]
    fn attack_08_what_is_no_frame_is_refused_as_soon_as_its_header_is_there() {
        let mut stream = [packets(20), vec![0xc9; HEADER]].concat();
        assert_eq!(taken(&stream, 5), Err(FrameError::Magic));
        stream.truncate(packets(20).len());
        let too_long = [0xc9, 0x52, 1, 18, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        stream.extend_from_slice(&too_long);
        assert!(matches!(taken(&stream, usize::MAX), Err(FrameError::TooLong { .. })));
    }
}
