//! Headers and packet frames, in place.

use cryprq_ipc_proto::header::{FrameError, HEADER, Header, Kind};
use cryprq_ipc_proto::packets::{PacketWriter, Packets};

use crate::control::split;
use crate::memory;
use crate::status::{Failure, border};

/// What a frame's header says.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CryprqHeader {
    /// What the body is: a number of `docs/ipc.md`.
    pub kind: u8,
    /// The body's length in bytes.
    pub length: u32,
    /// Chosen by who asks and repeated in every answer; 0 where nobody asked.
    pub id: u32,
}

/// Reads a header, the first `CRYPRQ_HEADER` bytes of a frame, so that the caller knows how many follow.
///
/// # Safety
/// `bytes` points at `length` bytes, `header` at a header; they do not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryprq_frame_header(bytes: *const u8, length: usize, header: *mut CryprqHeader) -> i32 {
    border(|| {
        // SAFETY: the caller's promise is theirs.
        let (bytes, out) = unsafe { (memory::read(bytes, length)?, memory::value(header)?) };
        let header = Header::read(bytes.first_chunk::<HEADER>().ok_or(FrameError::Truncated)?)?;
        let length = u32::try_from(header.length).map_err(|_| Failure::Argument)?;
        *out = CryprqHeader { kind: header.kind as u8, length, id: header.id };
        Ok(())
    })
}

/// Adds a packet to the packet frame of `*end` bytes at the beginning of `frame`; 0 begins one. Afterwards the first
/// `*end` bytes are a whole frame again. `CRYPRQ_NO_ROOM` leaves it as it was: send it and begin another.
///
/// # Safety
/// `frame` points at `capacity` bytes, `end` at a size, `packet` at `length` bytes; none overlaps another.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryprq_packets_add(
    frame: *mut u8,
    capacity: usize,
    end: *mut usize,
    packet: *const u8,
    length: usize,
) -> i32 {
    border(|| {
        // SAFETY: the caller's promise is theirs.
        let (frame, end, packet) =
            unsafe { (memory::write(frame, capacity)?, memory::value(end)?, memory::read(packet, length)?) };
        let mut writer = match *end {
            0 => PacketWriter::new(frame).ok_or(Failure::NoRoom)?,
            end => PacketWriter::resume(frame, end).ok_or(Failure::Argument)?,
        };
        if !PacketWriter::takes(packet.len()) {
            return Err(Failure::Frame(FrameError::PacketLength(packet.len() as u64)));
        }
        writer.slot(packet.len()).ok_or(Failure::NoRoom)?.copy_from_slice(packet);
        *end = writer.finish().len();
        Ok(())
    })
}

/// Checks one whole packet frame, lengths and all, and counts its packets.
///
/// # Safety
/// `frame` points at `length` bytes, `count` at a size; they do not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryprq_packets_count(frame: *const u8, length: usize, count: *mut usize) -> i32 {
    border(|| {
        // SAFETY: the caller's promise is theirs.
        let (frame, count) = unsafe { (memory::read(frame, length)?, memory::value(count)?) };
        *count = body(frame).and_then(|body| Ok(Packets::read(body)?))?.len();
        Ok(())
    })
}

/// The next packet of a frame that `cryprq_packets_count` has checked. `*at` is 0 for the first and goes on by itself;
/// the packet is the `*packet_length` bytes from `frame + *packet` on. After the last one `*packet_length` is 0.
///
/// # Safety
/// `frame` points at `length` bytes; `at`, `packet` and `packet_length` point at a size each; none overlaps another.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryprq_packets_next(
    frame: *const u8,
    length: usize,
    at: *mut usize,
    packet: *mut usize,
    packet_length: *mut usize,
) -> i32 {
    border(|| {
        // SAFETY: the caller's promise is theirs.
        let (frame, at, packet, packet_length) = unsafe {
            (memory::read(frame, length)?, memory::value(at)?, memory::value(packet)?, memory::value(packet_length)?)
        };
        let start = if *at == 0 { PacketWriter::EMPTY } else { *at };
        let rest = frame.get(start..).ok_or(Failure::Argument)?;
        (*packet, *packet_length) = (0, 0);
        if let Some(next) = Packets::first(rest) {
            *packet = start + PacketWriter::PER_PACKET;
            *packet_length = next.len();
            *at = *packet + next.len();
        } else if !rest.is_empty() {
            return Err(Failure::Frame(FrameError::Truncated));
        }
        Ok(())
    })
}

/// The body of a packet frame.
fn body(frame: &[u8]) -> Result<&[u8], Failure> {
    let (header, body) = split(frame)?;
    if header.kind != Kind::Packets {
        return Err(Failure::Kind);
    }
    match body.len() {
        length if length < header.length => Err(FrameError::Truncated.into()),
        length if length > header.length => Err(FrameError::Trailing(length - header.length).into()),
        _ => Ok(body),
    }
}
