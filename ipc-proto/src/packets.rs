//! The body of a packet frame: `count u64`, then for each packet `length u64` and its bytes.
//!
//! This is what bincode makes of a `Vec<&[u8]>`, read without a copy and written in place. Whether a packet is IPv4 or
//! IPv6 is told by its first nibble.

use std::io::IoSlice;
use std::ops::Range;

use crate::header::{FrameError, HEADER, Header, Kind};
use crate::limits::{MAX_PACKET, MAX_PACKETS};

/// The bytes of a count or a length.
const NUMBER: usize = size_of::<u64>();

/// The packets of one frame, borrowed from its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packets<'a> {
    count: usize,
    /// What follows the count; its lengths add up.
    rest: &'a [u8],
}

impl<'a> Packets<'a> {
    /// Reads a body: walks its lengths once and copies nothing.
    ///
    /// # Errors
    /// [`FrameError`] when the lengths do not add up, or a packet has 0 or more than [`MAX_PACKET`] bytes; the
    /// connection cannot go on after it.
    pub fn read(body: &'a [u8]) -> Result<Self, FrameError> {
        if body.len() > MAX_PACKETS {
            return Err(FrameError::TooLong { length: body.len(), limit: MAX_PACKETS });
        }
        let (promised, rest) = number(body).ok_or(FrameError::Truncated)?;
        let (mut count, mut left) = (0, rest);
        // Each turn takes bytes that are there, so a count that lies ends the walk early.
        while (count as u64) < promised {
            let (length, after) = number(left).ok_or(FrameError::Truncated)?;
            let bytes = usize::try_from(length).ok().filter(|length| (1..=MAX_PACKET).contains(length));
            let bytes = bytes.ok_or(FrameError::PacketLength(length))?;
            left = after.get(bytes..).ok_or(FrameError::Truncated)?;
            count += 1;
        }
        if left.is_empty() { Ok(Self { count, rest }) } else { Err(FrameError::Trailing(left.len())) }
    }

    /// How many packets there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A whole frame of them, header included.
    ///
    /// # Errors
    /// Never for packets that were read.
    pub fn frame(&self, id: u32) -> Result<Vec<u8>, FrameError> {
        let header = Header { kind: Kind::Packets, length: NUMBER + self.rest.len(), id }.write()?;
        Ok([&header[..], &(self.count as u64).to_le_bytes(), self.rest].concat())
    }

    /// The first of the packets that follow a count; `None` when the bytes hold no whole one.
    pub fn first(rest: &[u8]) -> Option<&[u8]> {
        Iter(rest).next()
    }

    /// Where the packets lie in a memory in which the body begins at `body`, in order.
    pub fn ranges(&self, body: usize) -> impl Iterator<Item = Range<usize>> + use<'a> {
        self.iter().scan(body + NUMBER, |end, packet| {
            let start = *end + NUMBER;
            *end = start + packet.len();
            Some(start..*end)
        })
    }

    /// The packets, in order.
    pub const fn iter(&self) -> Iter<'a> {
        Iter(self.rest)
    }
}

impl<'a> IntoIterator for &Packets<'a> {
    type Item = &'a [u8];
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The packets of one frame, one after the other.
#[derive(Clone, Debug)]
pub struct Iter<'a>(&'a [u8]);

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, after) = number(self.0)?;
        let (packet, rest) = after.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(packet)
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<NUMBER>()?;
    Some((u64::from_le_bytes(*number), rest))
}

/// A packet frame that is written in place, header included, into memory of the caller.
#[derive(Debug)]
pub struct PacketWriter<'a> {
    frame: &'a mut [u8],
    end: usize,
    count: u64,
}

impl<'a> PacketWriter<'a> {
    /// The smallest frame: header and count.
    pub const EMPTY: usize = HEADER + NUMBER;
    /// What a packet takes besides its own bytes.
    pub const PER_PACKET: usize = NUMBER;

    /// Begins a frame in `frame`; `None` when not even [`Self::EMPTY`] bytes fit.
    pub fn new(frame: &'a mut [u8]) -> Option<Self> {
        let room = frame.len().min(HEADER + MAX_PACKETS);
        let frame = frame.get_mut(..room).filter(|frame| frame.len() >= Self::EMPTY)?;
        Some(Self { frame, end: Self::EMPTY, count: 0 })
    }

    /// Goes on with a frame of `end` bytes that [`Self::finish`] gave; `None` when `frame` holds none of that length.
    pub fn resume(frame: &'a mut [u8], end: usize) -> Option<Self> {
        let begun = Self::new(frame)?;
        let (count, _) = number(begun.frame.get(HEADER..end)?)?;
        (end >= Self::EMPTY).then_some(Self { end, count, ..begun })
    }

    /// Whether a packet may have `length` bytes.
    pub fn takes(length: usize) -> bool {
        (1..=MAX_PACKET).contains(&length)
    }

    /// Room for a packet of `length` bytes, which the caller fills; `None` when the frame is full or no packet has that
    /// length.
    pub fn slot(&mut self, length: usize) -> Option<&mut [u8]> {
        if !Self::takes(length) {
            return None;
        }
        let start = self.end + Self::PER_PACKET;
        let end = start + length;
        let (prefix, packet) = self.frame.get_mut(self.end..end)?.split_at_mut(Self::PER_PACKET);
        prefix.copy_from_slice(&(length as u64).to_le_bytes());
        self.end = end;
        self.count = self.count.saturating_add(1);
        Some(packet)
    }

    /// Ends the frame and gives its bytes.
    pub fn finish(self) -> &'a [u8] {
        let Self { frame, end, count } = self;
        let (frame, _) = frame.split_at_mut(end);
        let header = Header { kind: Kind::Packets, length: end - HEADER, id: 0 }.write();
        let header = header.expect("`new` keeps the body within the limit");
        frame[..HEADER].copy_from_slice(&header);
        frame[HEADER..Self::EMPTY].copy_from_slice(&count.to_le_bytes());
        frame
    }
}

/// What stands between the packets of a frame that is written from where its packets lie.
#[derive(Clone, Debug)]
pub struct Gather {
    head: [u8; HEADER + NUMBER],
    lengths: [[u8; NUMBER]; Self::PACKETS],
}

impl Default for Gather {
    fn default() -> Self {
        Self { head: [0; HEADER + NUMBER], lengths: [[0; NUMBER]; Self::PACKETS] }
    }
}

impl Gather {
    /// The most packets of one frame; so many that its slices fit one `writev` everywhere.
    pub const PACKETS: usize = 128;
    /// The most slices of one frame.
    pub const SLICES: usize = 1 + 2 * Self::PACKETS;

    /// Makes a frame of as many of the packets as fit one, in their order; gives its slices and how many those are.
    ///
    /// # Errors
    /// [`FrameError::PacketLength`] when the first of them cannot be in a frame.
    pub fn frame<'a, 's>(
        &'a mut self,
        packets: impl Iterator<Item = &'a [u8]> + Clone,
        slices: &'s mut [IoSlice<'a>; Self::SLICES],
    ) -> Result<(&'s mut [IoSlice<'a>], usize), FrameError> {
        let (mut body, mut count) = (NUMBER, 0);
        for (packet, prefix) in packets.clone().zip(&mut self.lengths) {
            let impossible = !(1..=MAX_PACKET).contains(&packet.len());
            if impossible && count == 0 {
                return Err(FrameError::PacketLength(packet.len() as u64));
            }
            if impossible || body + NUMBER + packet.len() > MAX_PACKETS {
                break;
            }
            *prefix = (packet.len() as u64).to_le_bytes();
            body += NUMBER + packet.len();
            count += 1;
        }
        self.head[..HEADER].copy_from_slice(&Header { kind: Kind::Packets, length: body, id: 0 }.write()?);
        self.head[HEADER..].copy_from_slice(&(count as u64).to_le_bytes());
        slices[0] = IoSlice::new(&self.head);
        for ((packet, prefix), pair) in packets.zip(&self.lengths).take(count).zip(slices[1..].chunks_exact_mut(2)) {
            pair[0] = IoSlice::new(prefix);
            pair[1] = IoSlice::new(packet);
        }
        Ok((&mut slices[..1 + 2 * count], count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode;

    fn body(packets: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        encode(&packets.to_vec(), &mut body).unwrap();
        body
    }

    #[test]
    fn the_layout_is_bincodes_of_borrowed_slices_byte_for_byte() {
        let (small, large) = ([0x45; 20], vec![0x60; MAX_PACKET]);
        for packets in [vec![], vec![&small[..]], vec![&large[..], &small[..1], &large[..1420]]] {
            let mut memory = vec![0xee; 200_000];
            let mut writer = PacketWriter::new(&mut memory).unwrap();
            for packet in &packets {
                writer.slot(packet.len()).unwrap().copy_from_slice(packet);
            }
            let frame = writer.finish();
            let header = Header::read(frame[..HEADER].try_into().unwrap()).unwrap();
            assert_eq!((header.kind, header.length), (Kind::Packets, frame.len() - HEADER));
            assert_eq!(frame[HEADER..], body(&packets));
            let read = Packets::read(&frame[HEADER..]).unwrap();
            assert_eq!((read.len(), read.is_empty()), (packets.len(), packets.is_empty()));
            assert_eq!(read.iter().collect::<Vec<_>>(), packets);
            assert_eq!(read.ranges(HEADER).map(|at| &frame[at]).collect::<Vec<_>>(), packets);
        }
    }

    #[test]
    fn attack_08_lengths_that_do_not_add_up_are_refused() {
        let good = body(&[&[0x45; 20], &[0x60; 40]]);
        for end in 0..good.len() {
            assert_eq!(Packets::read(&good[..end]), Err(FrameError::Truncated), "cut off after {end}");
        }
        assert_eq!(Packets::read(&[&good[..], &[0]].concat()), Err(FrameError::Trailing(1)));
        let with = |at: usize, number: u64| {
            let mut bytes = good.clone();
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            Packets::read(&bytes).unwrap_err()
        };
        assert_eq!(with(0, u64::MAX), FrameError::Truncated);
        assert_eq!(with(0, 1), FrameError::Trailing(48));
        assert_eq!(with(8, 0), FrameError::PacketLength(0));
        assert_eq!(with(8, MAX_PACKET as u64 + 1), FrameError::PacketLength(65_536));
        assert_eq!(with(8, u64::MAX), FrameError::PacketLength(u64::MAX));
        assert!(matches!(with(8, 21), FrameError::PacketLength(_)), "the next length is read one byte too late");
        assert!(matches!(Packets::read(&vec![0; MAX_PACKETS + 1]), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn a_frame_that_was_finished_can_be_gone_on_with() {
        let mut memory = [0xee; 100];
        let mut end = PacketWriter::new(&mut memory).unwrap().finish().len();
        for packet in [&[0x45; 3][..], &[0x60; 1], &[0x45; 20]] {
            let mut writer = PacketWriter::resume(&mut memory, end).unwrap();
            writer.slot(packet.len()).unwrap().copy_from_slice(packet);
            end = writer.finish().len();
        }
        assert_eq!(memory[HEADER..end], body(&[&[0x45; 3], &[0x60; 1], &[0x45; 20]]));
        for wrong in [0, HEADER, PacketWriter::EMPTY - 1, 101, usize::MAX] {
            assert!(PacketWriter::resume(&mut memory, wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_writer_takes_what_fits_and_nothing_else() {
        assert!(PacketWriter::new(&mut [0; PacketWriter::EMPTY - 1]).is_none());
        let mut memory = [0; PacketWriter::EMPTY + PacketWriter::PER_PACKET + 10];
        let mut writer = PacketWriter::new(&mut memory).unwrap();
        assert!(writer.slot(11).is_none() && writer.slot(0).is_none() && writer.slot(usize::MAX).is_none());
        assert!(writer.slot(10).is_some());
        assert!(writer.slot(1).is_none());
        assert_eq!(Packets::read(&writer.finish()[HEADER..]).unwrap().len(), 1);
        let mut memory = vec![0; 2 * MAX_PACKETS];
        let mut writer = PacketWriter::new(&mut memory).unwrap();
        while writer.slot(MAX_PACKET).is_some() {}
        assert!(writer.finish().len() <= HEADER + MAX_PACKETS, "memory beyond the limit is not used");
    }

    #[test]
    fn a_gathered_frame_is_the_written_one() {
        let (small, large) = ([0x45; 20], vec![0x60; MAX_PACKET]);
        let many: Vec<&[u8]> = (0..1000).map(|i| &small[..1 + i % 20]).chain([&large[..]; 9]).collect();
        let (mut gather, mut rest, mut frames) = (Gather::default(), &many[..], 0);
        while !rest.is_empty() {
            let mut slices = [IoSlice::new(&[]); Gather::SLICES];
            let (slices, count) = gather.frame(rest.iter().copied(), &mut slices).unwrap();
            let frame: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let mut memory = vec![0; HEADER + MAX_PACKETS];
            let mut writer = PacketWriter::new(&mut memory).unwrap();
            rest[..count].iter().for_each(|packet| writer.slot(packet.len()).unwrap().copy_from_slice(packet));
            assert_eq!(frame, writer.finish());
            (rest, frames) = (&rest[count..], frames + 1);
        }
        assert_eq!(frames, 1000_usize.div_ceil(Gather::PACKETS) + 2, "the last holds three of the long ones");
        let mut slices = [IoSlice::new(&[]); Gather::SLICES];
        let (_, count) = gather.frame([&small[..], &[]].into_iter(), &mut slices).unwrap();
        assert_eq!(count, 1, "what cannot be in a frame ends it");
        let mut slices = [IoSlice::new(&[]); Gather::SLICES];
        let impossible = gather.frame([&[][..]].into_iter(), &mut slices);
        assert_eq!(impossible.map(drop), Err(FrameError::PacketLength(0)));
    }
}
