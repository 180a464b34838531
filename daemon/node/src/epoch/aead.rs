//! The data frames' AEAD: one trait, AWS-LC in production, RustCrypto as the portable backend and oracle.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::aead::{AeadInOut, KeyInit};

use crate::frame::{HEADER_LEN, TAG_LEN};
use crate::secret::SecretKey32;

/// Which AEAD seals an epoch's frames (protocol.md 6.3, capability `AES_HW`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// RFC 8439; always possible.
    ChaCha20Poly1305,
    /// SP 800-38D; where both processors have it in hardware.
    Aes256Gcm,
}

impl Cipher {
    /// The name in status and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }
}

/// The tag was wrong, or the text too long for the cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AeadFailed;

/// An expanded key that seals and opens frames. The frame's 16-byte header is the associated data, and the nonce is
/// four zero bytes and the header's counter (7.1).
pub trait Aead: Send + Sync {
    /// Encrypts `text` in place and gives the tag.
    ///
    /// # Errors
    /// [`AeadFailed`] when the text is too long for the cipher.
    fn seal(&self, header: &[u8; HEADER_LEN], text: &mut [u8]) -> Result<[u8; TAG_LEN], AeadFailed>;

    /// Decrypts `sealed`, text and tag, in place.
    ///
    /// # Errors
    /// [`AeadFailed`] when the tag is wrong; the bytes are then undefined.
    fn open(&self, header: &[u8; HEADER_LEN], sealed: &mut [u8]) -> Result<(), AeadFailed>;
}

fn nonce(header: &[u8; HEADER_LEN]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&header[8..]);
    nonce
}

/// Either cipher by AWS-LC; its context is cleansed when freed.
pub struct AwsLcAead(LessSafeKey);

impl AwsLcAead {
    /// Expands `key` once for the epoch.
    pub fn new(cipher: Cipher, key: &SecretKey32) -> Self {
        let algorithm = match cipher {
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Cipher::Aes256Gcm => &AES_256_GCM,
        };
        let key = UnboundKey::new(algorithm, key.expose()).expect("both ciphers have keys of 32 bytes");
        Self(LessSafeKey::new(key))
    }
}

impl Aead for AwsLcAead {
    #[inline]
    fn seal(&self, header: &[u8; HEADER_LEN], text: &mut [u8]) -> Result<[u8; TAG_LEN], AeadFailed> {
        let nonce = Nonce::assume_unique_for_key(nonce(header));
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(header), text).map_err(|_| AeadFailed)?;
        tag.as_ref().try_into().map_err(|_| AeadFailed)
    }

    #[inline]
    fn open(&self, header: &[u8; HEADER_LEN], sealed: &mut [u8]) -> Result<(), AeadFailed> {
        let nonce = Nonce::assume_unique_for_key(nonce(header));
        self.0.open_in_place(nonce, Aad::from(header), sealed).map(drop).map_err(|_| AeadFailed)
    }
}

/// ChaCha20-Poly1305 in portable Rust: for platforms without AWS-LC, and the oracle that tests compare with.
pub struct PortableAead(chacha20poly1305::ChaCha20Poly1305);

impl PortableAead {
    /// Takes `key` over.
    pub fn new(key: &SecretKey32) -> Self {
        Self(chacha20poly1305::ChaCha20Poly1305::new(key.expose().into()))
    }
}

impl Aead for PortableAead {
    fn seal(&self, header: &[u8; HEADER_LEN], text: &mut [u8]) -> Result<[u8; TAG_LEN], AeadFailed> {
        let tag = self.0.encrypt_inout_detached(&nonce(header).into(), header, text.into()).map_err(|_| AeadFailed)?;
        Ok(tag.into())
    }

    fn open(&self, header: &[u8; HEADER_LEN], sealed: &mut [u8]) -> Result<(), AeadFailed> {
        let length = sealed.len().checked_sub(TAG_LEN).ok_or(AeadFailed)?;
        let (text, tag) = sealed.split_at_mut(length);
        let tag: [u8; TAG_LEN] = (&*tag).try_into().map_err(|_| AeadFailed)?;
        self.0.decrypt_inout_detached(&nonce(header).into(), header, text.into(), &tag.into()).map_err(|_| AeadFailed)
    }
}
