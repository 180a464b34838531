//! SHA-256, HMAC and the HKDF of protocol.md 6.1.

use aws_lc_rs::{digest, hkdf, hmac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::secret::SecretKey32;

/// SHA-256 over the parts, one after another (FIPS 180-4).
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// HMAC-SHA256 over the parts, one after another (RFC 2104).
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// `Extract(salt, ikm)` of RFC 5869 with SHA-256.
pub fn extract(salt: &[u8], ikm: &[u8]) -> SecretKey32 {
    SecretKey32::new(hmac_sha256(salt, &[ikm]))
}

/// `Exp(prk, label, ctx, len)` = `Expand(prk, u16_be(len) || u8(len("CrypRQ v1 " + label)) || "CrypRQ v1 " || label || ctx, len)`.
///
/// `label` is at most 200 bytes and `out` at most 255 × 32 (RFC 5869); both are constants of the protocol.
pub fn exp(prk: &SecretKey32, label: &str, context: &[&[u8]], out: &mut [u8]) {
    const PREFIX: &[u8] = b"CrypRQ v1 ";
    let output_len = u16::try_from(out.len()).unwrap_or(u16::MAX).to_be_bytes();
    let label_len = [u8::try_from(PREFIX.len() + label.len()).unwrap_or(u8::MAX)];
    let context: Zeroizing<Vec<u8>> = Zeroizing::new(context.concat());
    let info = [&output_len[..], &label_len, PREFIX, label.as_bytes(), &context];
    let length = out.len();
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, prk.expose())
        .expand(&info, OutputLength(length))
        .and_then(|okm| okm.fill(out))
        .expect("the protocol's output lengths are far below the 8160 bytes of RFC 5869");
}

/// Whether both byte strings are the same, in constant time for equal lengths.
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

struct OutputLength(usize);

impl hkdf::KeyType for OutputLength {
    fn len(&self) -> usize {
        self.0
    }
}
