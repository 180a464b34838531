//! PARAMS: what each side announces about its tunnel (protocol.md 6.3).

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::epoch::Cipher;

/// How a sender pads what it sends (7.2); each side's own choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PaddingMode {
    /// To the next multiple of 16 bytes.
    #[default]
    Multiple16,
    /// To 128, 256, 512, 1024 or the MTU.
    Buckets,
    /// Always to the MTU.
    Full,
}

impl PaddingMode {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Multiple16 => 0,
            Self::Buckets => 1,
            Self::Full => 2,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Multiple16),
            1 => Some(Self::Buckets),
            2 => Some(Self::Full),
            3..=u8::MAX => None,
        }
    }
}

/// Capability bits; one takes effect when both sides set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Bit 0: the processor has AES and carry-less multiply, so frames may use AES-256-GCM.
    pub aes_hardware: bool,
    /// Bit 1: the TUN takes and gives partial layer-4 checksums.
    pub partial_checksums: bool,
}

impl Capabilities {
    const fn to_byte(self) -> u8 {
        self.aes_hardware as u8 | (self.partial_checksums as u8) << 1
    }

    /// Unknown bits are ignored.
    const fn from_byte(byte: u8) -> Self {
        Self { aes_hardware: byte & 1 != 0, partial_checksums: byte & 2 != 0 }
    }
}

/// What one side announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Tunnel MTU in bytes of inner packet.
    pub mtu: u16,
    /// Time after which keys are rotated, in seconds.
    pub rotation_seconds: u16,
    /// How this side pads.
    pub padding: PaddingMode,
    /// What this side can do.
    pub capabilities: Capabilities,
}

/// The bounds of a peer's PARAMS; constructor arguments so that tests can lower them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamLimits {
    /// Allowed tunnel MTUs in bytes.
    pub mtu: RangeInclusive<u16>,
    /// Allowed rotation times in seconds.
    pub rotation_seconds: RangeInclusive<u16>,
}

impl Default for ParamLimits {
    /// The bounds of protocol.md 6.3.
    fn default() -> Self {
        Self { mtu: 576..=9216, rotation_seconds: 60..=3600 }
    }
}

/// A peer's PARAMS that end the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// Tunnel MTU out of bounds.
    #[error("tunnel MTU {0} is out of bounds")]
    Mtu(u16),
    /// Rotation time out of bounds.
    #[error("rotation after {0} s is out of bounds")]
    Rotation(u16),
    /// Unknown padding mode.
    #[error("unknown padding mode {0}")]
    Padding(u8),
    /// Reserved bytes are not zero.
    #[error("reserved bytes of PARAMS are not zero")]
    Reserved,
}

impl Params {
    /// Bytes on the wire.
    pub const LEN: usize = 8;

    /// The eight bytes on the wire.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let (mtu, rotation) = (self.mtu.to_le_bytes(), self.rotation_seconds.to_le_bytes());
        let (padding, capabilities) = (self.padding.to_byte(), self.capabilities.to_byte());
        [mtu[0], mtu[1], rotation[0], rotation[1], padding, capabilities, 0, 0]
    }

    /// Reads and checks the eight bytes.
    ///
    /// # Errors
    /// [`ParamsError`] names the field out of bounds.
    pub fn from_bytes(bytes: [u8; Self::LEN], limits: &ParamLimits) -> Result<Self, ParamsError> {
        let [m0, m1, r0, r1, padding, capabilities, z0, z1] = bytes;
        let (mtu, rotation_seconds) = (u16::from_le_bytes([m0, m1]), u16::from_le_bytes([r0, r1]));
        if !limits.mtu.contains(&mtu) {
            return Err(ParamsError::Mtu(mtu));
        }
        if !limits.rotation_seconds.contains(&rotation_seconds) {
            return Err(ParamsError::Rotation(rotation_seconds));
        }
        if (z0, z1) != (0, 0) {
            return Err(ParamsError::Reserved);
        }
        let padding = PaddingMode::from_byte(padding).ok_or(ParamsError::Padding(padding))?;
        Ok(Self { mtu, rotation_seconds, padding, capabilities: Capabilities::from_byte(capabilities) })
    }

    /// What both sides' parameters come to.
    pub fn negotiate(self, remote: Self) -> Negotiated {
        let both = |pick: fn(Capabilities) -> bool| pick(self.capabilities) && pick(remote.capabilities);
        Negotiated {
            mtu: self.mtu.min(remote.mtu),
            rotation: Duration::from_secs(self.rotation_seconds.min(remote.rotation_seconds).into()),
            padding: self.padding,
            cipher: if both(|c| c.aes_hardware) { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 },
            partial_checksums: both(|c| c.partial_checksums),
        }
    }
}

/// What holds for an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The smaller tunnel MTU, in bytes.
    pub mtu: u16,
    /// The shorter rotation time.
    pub rotation: Duration,
    /// Our own padding.
    pub padding: PaddingMode,
    /// The data frames' AEAD.
    pub cipher: Cipher,
    /// Whether packets may carry a partial layer-4 checksum.
    pub partial_checksums: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [u8; 8] = [0x8c, 5, 0x2c, 1, 0, 0, 0, 0];

    #[test]
    fn the_reference_parameters_read_and_write_back() {
        let params = Params::from_bytes(GOOD, &ParamLimits::default()).unwrap();
        assert_eq!((params.mtu, params.rotation_seconds, params.padding), (1420, 300, PaddingMode::Multiple16));
        assert_eq!(params.to_bytes(), GOOD);
    }

    #[test]
    fn every_field_out_of_bounds_is_named() {
        let broken = |at: usize, to: [u8; 2]| {
            let mut bytes = GOOD;
            bytes[at..at + 2].copy_from_slice(&to);
            Params::from_bytes(bytes, &ParamLimits::default()).unwrap_err()
        };
        assert_eq!(broken(0, 575u16.to_le_bytes()), ParamsError::Mtu(575));
        assert_eq!(broken(0, 9217u16.to_le_bytes()), ParamsError::Mtu(9217));
        assert_eq!(broken(2, 59u16.to_le_bytes()), ParamsError::Rotation(59));
        assert_eq!(broken(2, 3601u16.to_le_bytes()), ParamsError::Rotation(3601));
        assert_eq!(broken(4, [3, 0]), ParamsError::Padding(3));
        assert_eq!(broken(6, [1, 0]), ParamsError::Reserved);
        assert_eq!(broken(6, [0, 1]), ParamsError::Reserved);
    }

    #[test]
    fn a_capability_needs_both_sides_and_unknown_bits_are_ignored() {
        let with = |bits| {
            let mut bytes = GOOD;
            bytes[5] = bits;
            Params::from_bytes(bytes, &ParamLimits::default()).unwrap()
        };
        assert_eq!(with(1).negotiate(with(0xff)).cipher, Cipher::Aes256Gcm);
        assert_eq!(with(1).negotiate(with(2)).cipher, Cipher::ChaCha20Poly1305);
        assert!(with(2).negotiate(with(0xfe)).partial_checksums);
        assert!(!with(2).negotiate(with(1)).partial_checksums);
    }
}
