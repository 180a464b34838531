//! How much one key may be used (protocol.md 7.5).

use std::time::Duration;

use super::Cipher;

/// A soft bound, past which keys are rotated, and a hard one that is never passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<T> {
    /// Rotate now.
    pub soft: T,
    /// Never exceed.
    pub hard: T,
}

/// The limits of one epoch, per direction; constructor arguments so that tests can lower them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time since the keys were derived. The soft bound is judged by the tunnel, which leads the rotation.
    pub age: Bound<Duration>,
    /// Messages sealed or opened.
    pub messages: Bound<u64>,
    /// Bytes of frames, header and tag included.
    pub bytes: Bound<u64>,
    /// Opens that failed (RFC 9001, 6.6).
    pub failed_opens: Bound<u64>,
}

impl Limits {
    /// The table of 7.5 for a cipher and a rotation time.
    pub fn standard(cipher: Cipher, rotation: Duration) -> Self {
        let bytes = match cipher {
            Cipher::ChaCha20Poly1305 => Bound { soft: 1 << 44, hard: 1 << 46 },
            Cipher::Aes256Gcm => Bound { soft: 1 << 38, hard: 1 << 40 },
        };
        Self {
            age: Bound { soft: rotation, hard: rotation + rotation / 2 },
            messages: Bound { soft: 1 << 60, hard: u64::MAX - (1 << 13) + 1 },
            bytes,
            failed_opens: Bound { soft: 1 << 36, hard: 1 << 37 },
        }
    }
}
