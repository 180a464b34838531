//! The 16 bytes before the body of each binary frame, little-endian:
//!
//! | 0 | 2 | 3 | 4 | 6 | 8 | 12 |
//! |---|---|---|---|---|---|---|
//! | magic `C9 52` | version u8 | kind u8 | flags u16, zero | reserved u16, zero | body length u32 | request id u32 |

use crate::error::{ErrorBody, ErrorCode};
use crate::limits::{FRAME_VERSION, MAX_CONTROL, MAX_PACKET, MAX_PACKETS};

/// The first bytes of each frame. No JSON text and no HTTP request begins with the first of them.
pub const MAGIC: [u8; 2] = [0xc9, 0x52];
/// The header's length in bytes.
pub const HEADER: usize = 16;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal;)*) => {
        /// What a frame is. Numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }
    };
}

kinds! {
    /// The first frame of whoever connected.
    Hello = 1;
    /// The answer to a Hello that fits.
    HelloAck = 2;
    /// The answer to a Hello that does not; the connection ends.
    Refused = 3;
    /// A request.
    Request = 4;
    /// An answer.
    Reply = 5;
    /// What a watch tells.
    Event = 6;
    /// A refused request, or the end of a watch.
    Error = 7;
    /// What the extension's interface shall be like.
    TunnelSettings = 16;
    /// The settings of the same request id are in force.
    Ready = 17;
    /// Inner packets.
    Packets = 18;
    /// The machine goes to sleep.
    Pause = 19;
    /// The machine is awake again.
    Resume = 20;
    /// The tunnel ends.
    Stop = 21;
}

impl Kind {
    /// The longest body of this kind, in bytes.
    pub const fn limit(self) -> usize {
        if matches!(self, Self::Packets) { MAX_PACKETS } else { MAX_CONTROL }
    }
}

/// What a frame says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the body is.
    pub kind: Kind,
    /// The body's length in bytes.
    pub length: usize,
    /// Chosen by who asks and repeated in every answer; 0 where nobody asked.
    pub id: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`FrameError`]; the connection cannot go on after it.
    pub fn read(bytes: &[u8; HEADER]) -> Result<Self, FrameError> {
        let [m0, m1, version, kind, f0, f1, r0, r1, l0, l1, l2, l3, i0, i1, i2, i3] = *bytes;
        if [m0, m1] != MAGIC {
            return Err(FrameError::Magic);
        }
        if version != FRAME_VERSION {
            return Err(FrameError::Version(version));
        }
        if [f0, f1, r0, r1] != [0; 4] {
            return Err(FrameError::Reserved);
        }
        let kind = Kind::ALL.iter().copied().find(|known| *known as u8 == kind).ok_or(FrameError::Kind(kind))?;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > kind.limit() {
            return Err(FrameError::TooLong { length, limit: kind.limit() });
        }
        Ok(Self { kind, length, id: u32::from_le_bytes([i0, i1, i2, i3]) })
    }

    /// Writes a header.
    ///
    /// # Errors
    /// [`FrameError::TooLong`].
    pub fn write(&self) -> Result<[u8; HEADER], FrameError> {
        let too_long = FrameError::TooLong { length: self.length, limit: self.kind.limit() };
        let length = u32::try_from(self.length).ok().filter(|_| self.length <= self.kind.limit()).ok_or(too_long)?;
        let ([l0, l1, l2, l3], [i0, i1, i2, i3]) = (length.to_le_bytes(), self.id.to_le_bytes());
        Ok([MAGIC[0], MAGIC[1], FRAME_VERSION, self.kind as u8, 0, 0, 0, 0, l0, l1, l2, l3, i0, i1, i2, i3])
    }
}

/// Why bytes are no frame, or a message does not fit one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Other first bytes.
    #[error("a frame begins with C9 52")]
    Magic,
    /// Another version.
    #[error("frame version {0}, this side speaks {FRAME_VERSION}")]
    Version(u8),
    /// Flags or reserved bytes that have no meaning in this version.
    #[error("flags and reserved bytes of a frame are zero")]
    Reserved,
    /// A kind without a meaning.
    #[error("there is no frame of kind {0}")]
    Kind(u8),
    /// A body beyond its limit.
    #[error("a body of {length} bytes is longer than {limit}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The longest.
        limit: usize,
    },
    /// Fewer bytes than there must be.
    #[error("the body is cut off")]
    Truncated,
    /// More bytes than there must be.
    #[error("{0} bytes follow after the body's end")]
    Trailing(usize),
    /// The same message has another encoding, and that is the one.
    #[error("the body is not in its one right form")]
    NotCanonical,
    /// A value that its type does not have.
    #[error("the body is malformed: {0}")]
    Malformed(String),
    /// An inner packet of an impossible length.
    #[error("an inner packet has 1 to {MAX_PACKET} bytes, not {0}")]
    PacketLength(u64),
}

impl From<FrameError> for ErrorBody {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::Version(_) => ErrorCode::VersionMismatch,
            FrameError::TooLong { .. } => ErrorCode::TooLarge,
            FrameError::Magic
            | FrameError::Reserved
            | FrameError::Kind(_)
            | FrameError::Truncated
            | FrameError::Trailing(_)
            | FrameError::NotCanonical
            | FrameError::Malformed(_)
            | FrameError::PacketLength(_) => ErrorCode::BadRequest,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_written_and_its_numbers_are_those_of_the_document() {
        let numbers: Vec<_> = Kind::ALL.iter().map(|kind| *kind as u8).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21]);
        for &kind in Kind::ALL {
            let header = Header { kind, length: kind.limit(), id: 0x0403_0201 };
            let bytes = header.write().unwrap();
            assert_eq!((bytes[..4].to_vec(), &bytes[12..]), (vec![0xc9, 0x52, 1, kind as u8], &[1, 2, 3, 4][..]));
            assert_eq!(Header::read(&bytes), Ok(header));
            let beyond = Header { length: kind.limit() + 1, ..header };
            assert!(matches!(beyond.write(), Err(FrameError::TooLong { .. })));
        }
    }

    #[test]
    fn attack_08_every_foreign_byte_of_a_header_has_its_error() {
        let good = Header { kind: Kind::Request, length: 9, id: 7 }.write().unwrap();
        let changed = |at: usize, to: u8| {
            let mut bytes = good;
            bytes[at] = to;
            Header::read(&bytes)
        };
        assert_eq!(changed(0, b'{'), Err(FrameError::Magic));
        assert_eq!(changed(1, 0x53), Err(FrameError::Magic));
        assert_eq!(changed(2, 0), Err(FrameError::Version(0)));
        assert_eq!(changed(2, 2), Err(FrameError::Version(2)));
        assert_eq!(changed(3, 8), Err(FrameError::Kind(8)));
        assert!((4..8).all(|at| changed(at, 1) == Err(FrameError::Reserved)));
        assert_eq!(changed(11, 0xff), Err(FrameError::TooLong { length: 0xff00_0009, limit: MAX_CONTROL }));
    }
}
