//! The public Ed25519 key that is a peer's identity.

use std::fmt;

/// A peer's Ed25519 public key, the 32 bytes inside its PeerId (protocol.md 6.1).
///
/// Keys order bytewise; the order decides who leads a rotation and who wins a collision (protocol.md 8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey([u8; 32]);

/// Why bytes are no peer's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerKeyError {
    /// A point of small order: a signature under it proves nothing.
    #[error("the Ed25519 key has small order, so a signature under it would prove nothing")]
    SmallOrder,
    /// The y coordinate is not reduced modulo the field's prime.
    #[error("the Ed25519 key is not in its canonical encoding")]
    NotCanonical,
}

/// The y coordinates (sign bit clear, canonical) of the eight points of small order on edwards25519.
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    // order 1: y = 1
    hex32(b"0100000000000000000000000000000000000000000000000000000000000000"),
    // order 2: y = -1
    hex32(b"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    // order 4: y = 0
    hex32(b"0000000000000000000000000000000000000000000000000000000000000000"),
    // order 8, two values of y
    hex32(b"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    hex32(b"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
];

impl PeerKey {
    /// Checks and takes 32 bytes.
    ///
    /// # Errors
    /// [`PeerKeyError`] for keys that no honest generator makes. Whether the point lies on the curve shows at the
    /// first signature, which then never verifies.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, PeerKeyError> {
        let mut y = bytes;
        y[31] &= 0x7f;
        if SMALL_ORDER_Y.contains(&y) {
            return Err(PeerKeyError::SmallOrder);
        }
        // p = 2^255 - 19, little-endian: ed ff … ff 7f
        let reduced = y[0] < 0xed || y[31] != 0x7f || y[1..31].iter().any(|&b| b != 0xff);
        if !reduced {
            return Err(PeerKeyError::NotCanonical);
        }
        Ok(Self(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PeerKey {
    /// The first four bytes in hex: enough to tell peers apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerKey({self})")
    }
}

pub(crate) const fn hex32(text: &[u8; 64]) -> [u8; 32] {
    const fn nibble(c: u8) -> u8 {
        if c >= b'a' { c - b'a' + 10 } else { c - b'0' }
    }
    let mut out = [0; 32];
    let mut i = 0;
    while i < 32 {
        out[i] = nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]);
        i += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_small_order_are_refused_with_either_sign() {
        for mut y in SMALL_ORDER_Y {
            assert_eq!(PeerKey::from_bytes(y), Err(PeerKeyError::SmallOrder));
            y[31] |= 0x80;
            assert_eq!(PeerKey::from_bytes(y), Err(PeerKeyError::SmallOrder));
        }
    }

    #[test]
    fn an_unreduced_encoding_is_refused() {
        let mut p_plus_two = hex32(b"efffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
        assert_eq!(PeerKey::from_bytes(p_plus_two), Err(PeerKeyError::NotCanonical));
        p_plus_two[5] = 0;
        assert!(PeerKey::from_bytes(p_plus_two).is_ok());
    }

    #[test]
    fn printing_shows_four_bytes_only() {
        let key = PeerKey::from_bytes([0x42; 32]).unwrap();
        assert_eq!(key.to_string(), "42424242");
    }
}
