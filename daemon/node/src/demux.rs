//! What a datagram is, by its first bytes, and where the datagrams of a merged run lie.

use std::ops::Range;

use crate::drops::DropReason;
use crate::frame::PUNCH;

/// The shortest connection id that anybody may address a long header to: a client draws at least eight bytes for its
/// first packets, and ours are longer.
const MIN_ID: u8 = 8;

/// Whose a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A sealed frame.
    Frame,
    /// A QUIC packet.
    Quic,
}

/// Tells frames from QUIC packets: QUIC's first byte always has one of its top two bits set (we never offer to grease
/// them), ours never.
///
/// What is neither is dropped here, so that nothing is ever sent in answer: quinn would name its versions to whoever
/// speaks another one.
///
/// # Errors
/// Why it is dropped.
pub const fn kind(datagram: &[u8]) -> Result<Kind, DropReason> {
    match datagram {
        [] => Err(DropReason::FrameLength),
        [PUNCH, ..] => Err(DropReason::FramePunch),
        [0x10..=0x12, ..] => Ok(Kind::Frame),
        [0x00..=0x3f, ..] => Err(DropReason::FrameType),
        // A short header: only the connection can tell whether it is one.
        [0x40..=0x7f, ..] => Ok(Kind::Quic),
        // A long header of version 1, or the news (version 0) that a server speaks no version of ours.
        [0x80..=0xff, 0, 0, 0, 0 | 1, id, ..] if *id >= MIN_ID => Ok(Kind::Quic),
        [0x80..=0xff, ..] => Err(DropReason::QuicVersion),
    }
}

/// Where the datagrams of a run lie that the kernel merged: each has the length of the stride, the last one what is left.
/// Each is asked for its [`kind`] alone, because the kernel merges both kinds. An empty run is an empty datagram.
pub fn datagrams(run: Range<usize>, stride: usize) -> impl Iterator<Item = Range<usize>> {
    let stride = stride.clamp(1, run.len().max(1));
    let count = run.len().div_ceil(stride).max(1);
    (0..count).map(move |number| {
        let start = run.start + number * stride;
        start..(start + stride).min(run.end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_at_its_stride() {
        let cut = |run, stride| datagrams(run, stride).map(|at| (at.start, at.end)).collect::<Vec<_>>();
        assert_eq!(cut(7..17, 4), [(7, 11), (11, 15), (15, 17)]);
        assert_eq!(cut(7..15, 4), [(7, 11), (11, 15)]);
        assert_eq!(cut(7..9, usize::MAX), [(7, 9)]);
        assert_eq!(cut(7..9, 0), [(7, 8), (8, 9)]);
        assert_eq!(cut(7..7, 4), [(7, 7)], "an empty datagram");
    }

    #[test]
    fn frames_and_quic_are_told_apart_by_the_first_byte() {
        for first in 0..=u8::MAX {
            let kind = kind(&[first, 0, 0, 0, 1, 8]);
            let expected = match first {
                0x10..=0x12 => Ok(Kind::Frame),
                0x13 => Err(DropReason::FramePunch),
                0x00..=0x0f | 0x14..=0x3f => Err(DropReason::FrameType),
                0x40..=0xff => Ok(Kind::Quic),
            };
            assert_eq!(kind, expected, "{first:#04x}");
        }
        assert_eq!(kind(&[]), Err(DropReason::FrameLength));
    }

    #[test]
    fn long_headers_must_be_of_version_1_and_have_a_whole_connection_id() {
        let refused = Err(DropReason::QuicVersion);
        assert_eq!(kind(&[0xc0, 0x6b, 0x33, 0x43, 0xcf, 8]), refused, "version 2");
        assert_eq!(kind(&[0xc0, 0x1a, 0x1a, 0x1a, 0x1a, 8]), refused, "a version that nobody speaks");
        assert_eq!(kind(&[0xc0, 0, 0, 0, 1, 7]), refused, "a connection id that no packet to us has");
        assert_eq!(kind(&[0xc0, 0, 0, 0, 1]), refused, "cut off");
        assert_eq!(kind(&[0xc0, 0, 0, 0, 0, 12]), Ok(Kind::Quic), "version negotiation");
    }
}
