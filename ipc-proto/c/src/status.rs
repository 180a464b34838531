//! What the functions answer, and the numbers that a caller needs.

use std::panic::{UnwindSafe, catch_unwind};

use cryprq_ipc_proto::header::{FrameError, HEADER, Kind};
use cryprq_ipc_proto::limits::MAX_PACKETS;

/// It was done.
pub const CRYPRQ_OK: i32 = 0;
/// The frame begins with other bytes.
pub const CRYPRQ_MAGIC: i32 = 1;
/// The frame has another version.
pub const CRYPRQ_VERSION: i32 = 2;
/// Flags or reserved bytes of the frame are not zero.
pub const CRYPRQ_RESERVED: i32 = 3;
/// There is no frame of that kind, or not for this function.
pub const CRYPRQ_KIND: i32 = 4;
/// The frame's body is longer than its limit.
pub const CRYPRQ_TOO_LONG: i32 = 5;
/// The frame is cut off.
pub const CRYPRQ_TRUNCATED: i32 = 6;
/// Bytes follow after the frame's end.
pub const CRYPRQ_TRAILING: i32 = 7;
/// The body is not in its one right form.
pub const CRYPRQ_NOT_CANONICAL: i32 = 8;
/// The body holds a value that its type does not have.
pub const CRYPRQ_MALFORMED: i32 = 9;
/// An inner packet has 0 or more than 65 535 bytes.
pub const CRYPRQ_PACKET_LENGTH: i32 = 10;
/// The caller's memory is too small.
pub const CRYPRQ_NO_ROOM: i32 = 11;
/// A null pointer, or a position that no earlier call has given.
pub const CRYPRQ_ARGUMENT: i32 = 12;
/// A fault of this library.
pub const CRYPRQ_INTERNAL: i32 = 13;

/// The length of a frame's header in bytes.
pub const CRYPRQ_HEADER: usize = 16;
/// The longest frame in bytes, header included.
pub const CRYPRQ_MAX_FRAME: usize = 262160;
/// The kind of a frame of inner packets.
pub const CRYPRQ_KIND_PACKETS: u8 = 18;
/// The role in Hello of the packet-tunnel extension.
pub const CRYPRQ_ROLE_EXTENSION: u32 = 4;

// cbindgen writes numbers, not expressions of other crates.
const _: () = assert!(CRYPRQ_HEADER == HEADER && CRYPRQ_MAX_FRAME == HEADER + MAX_PACKETS);
const _: () = assert!(CRYPRQ_KIND_PACKETS == Kind::Packets as u8);

/// Why a function did not do it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The bytes are no frame.
    Frame(FrameError),
    /// The text is no frame, or the frame has no text here.
    Kind,
    /// The text is not the JSON of a frame.
    Malformed,
    /// See [`CRYPRQ_NO_ROOM`].
    NoRoom,
    /// See [`CRYPRQ_ARGUMENT`].
    Argument,
}

impl Failure {
    const fn status(&self) -> i32 {
        match self {
            Self::Frame(error) => match error {
                FrameError::Magic => CRYPRQ_MAGIC,
                FrameError::Version(_) => CRYPRQ_VERSION,
                FrameError::Reserved => CRYPRQ_RESERVED,
                FrameError::Kind(_) => CRYPRQ_KIND,
                FrameError::TooLong { .. } => CRYPRQ_TOO_LONG,
                FrameError::Truncated => CRYPRQ_TRUNCATED,
                FrameError::Trailing(_) => CRYPRQ_TRAILING,
                FrameError::NotCanonical => CRYPRQ_NOT_CANONICAL,
                FrameError::Malformed(_) => CRYPRQ_MALFORMED,
                FrameError::PacketLength(_) => CRYPRQ_PACKET_LENGTH,
            },
            Self::Kind => CRYPRQ_KIND,
            Self::Malformed => CRYPRQ_MALFORMED,
            Self::NoRoom => CRYPRQ_NO_ROOM,
            Self::Argument => CRYPRQ_ARGUMENT,
        }
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

/// Runs the inside of a function; a panic, of which none is known, becomes a status.
pub(crate) fn border(inside: impl FnOnce() -> Result<(), Failure> + UnwindSafe) -> i32 {
    match catch_unwind(inside) {
        Ok(Ok(())) => CRYPRQ_OK,
        Ok(Err(failure)) => failure.status(),
        Err(_) => CRYPRQ_INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_does_not_pass_the_border() {
        assert_eq!(border(|| Ok(())), CRYPRQ_OK);
        assert_eq!(border(|| Err(Failure::NoRoom)), CRYPRQ_NO_ROOM);
        assert_eq!(border(|| std::panic::resume_unwind(Box::new("no message on the screen"))), CRYPRQ_INTERNAL);
    }
}
