//! Known answers that the crypto library must give before a daemon starts (protocol.md 9).

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, ML_KEM_768};
use aws_lc_rs::signature::Ed25519KeyPair;

use super::{exp, extract, verify_strict};
use crate::epoch::{Aead, AwsLcAead, Cipher};
use crate::frame::{HEADER_LEN, TAG_LEN};
use crate::peer_key::{PeerKey, hex32};
use crate::secret::SecretKey32;

/// The crypto library gives another answer than the standards; nothing may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("self-test of {0} failed: the crypto library gives wrong answers on this machine")]
pub struct SelfTestError(pub &'static str);

/// One known answer each of ML-KEM-768 decapsulation, X25519, Ed25519, both AEADs and HKDF; takes under 1 ms.
///
/// # Errors
/// [`SelfTestError`] names the first primitive that is wrong.
pub fn self_test() -> Result<(), SelfTestError> {
    for (name, right) in [
        ("ML-KEM-768", kem as fn() -> Option<bool>),
        ("X25519", x25519),
        ("Ed25519", ed25519),
        ("ChaCha20-Poly1305", chacha20_poly1305),
        ("AES-256-GCM", aes_256_gcm),
        ("HKDF-SHA256", hkdf),
    ] {
        if right() != Some(true) {
            return Err(SelfTestError(name));
        }
    }
    Ok(())
}

/// The key pair, ciphertext and `ss` of "fresh" in Appendix B.
fn kem() -> Option<bool> {
    let key = DecapsulationKey::new(&ML_KEM_768, include_bytes!("kat/mlkem768_dk.bin")).ok()?;
    let shared = key.decapsulate(Ciphertext::from(&include_bytes!("kat/mlkem768_ct.bin")[..])).ok()?;
    Some(shared.as_ref() == hex32(b"f61c38d82696b2a68bbc4087c37b05ba4609c6e2cf6a904136b0264b933d50ca"))
}

/// The private key 01 02 … 20 and the public key of 02 03 … 21.
fn x25519() -> Option<bool> {
    let private = PrivateKey::from_private_key(&X25519, &counting(1)).ok()?;
    let public = hex32(b"ab9f2628c325c141e9fb2430f106850f62930bc3f0b12df39a9b84a49c7c1d12");
    let shared = hex32(b"ea38b11e2d0c40fe1a3e1cd51a238c7ed08487c2d7812740b5002d3f2c1f795f");
    agree(&private, UnparsedPublicKey::new(&X25519, public), (), |bytes| Ok(bytes == shared)).ok()
}

/// The initiator's identity of Appendix B signs, and its signature verifies.
fn ed25519() -> Option<bool> {
    let pair = Ed25519KeyPair::from_seed_unchecked(&counting(0x10)).ok()?;
    let public = hex32(b"7776e870b93354f2a0b24c23f2a36cc4e80e223218c1b97926fdd018396a2b9b");
    let mut expected = [0; 64];
    expected[..32].copy_from_slice(&hex32(b"f72442f4439364e61979050666ab5ad94c2476a2b4a31832cbcd699aa328ee96"));
    expected[32..].copy_from_slice(&hex32(b"8a55d3697bbd9318f29d7e45c5c57767f4adbfc21e2afedf3fb3a13613ed670e"));
    verify_strict(PeerKey::from_bytes(public).ok()?, MESSAGE, &expected).ok()?;
    Some(pair.sign(MESSAGE).as_ref() == expected)
}

fn chacha20_poly1305() -> Option<bool> {
    let sealed = hex32(b"558065f9896e1f57c68311d98c82b773b986c5094d6bb54f12e2fd481e39c9c1");
    aead(Cipher::ChaCha20Poly1305, sealed)
}

fn aes_256_gcm() -> Option<bool> {
    let sealed = hex32(b"815577bad217f521948fc86bdae3af28d0b86ef3e01b029e9c48c2828bbfd90a");
    aead(Cipher::Aes256Gcm, sealed)
}

/// Seals and opens a frame of counter 7, and refuses it with one bit changed.
fn aead(cipher: Cipher, expected: [u8; MESSAGE.len() + TAG_LEN]) -> Option<bool> {
    let mut header = [0; HEADER_LEN];
    (header[0], header[4], header[8]) = (0x10, 1, 7);
    let key = AwsLcAead::new(cipher, &SecretKey32::new(counting(3)));
    let mut text = *MESSAGE;
    let tag = key.seal(&header, &mut text).ok()?;
    let (mut good, mut changed) = (expected, expected);
    changed[0] ^= 1;
    key.open(&header, &mut good).ok()?;
    let refused = key.open(&header, &mut changed).is_err();
    Some([&text[..], &tag].concat() == expected && good.starts_with(MESSAGE) && refused)
}

fn hkdf() -> Option<bool> {
    let mut out = [0; 32];
    exp(&extract(b"salt", MESSAGE), "chain", &[], &mut out);
    Some(out == hex32(b"e5b627b522a5e68076b3f122e1ab63e9f8ed677cc357d52b9b21a1d56514b0e0"))
}

const MESSAGE: &[u8; 16] = b"CrypRQ self-test";

/// `pat(start)` of Appendix B.
fn counting(start: u8) -> [u8; 32] {
    let mut next = start;
    [(); 32].map(|()| {
        let byte = next;
        next = next.wrapping_add(1);
        byte
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_gives_every_known_answer() {
        assert_eq!(self_test(), Ok(()));
    }

    #[test]
    fn a_wrong_answer_is_noticed() {
        assert_eq!(aead(Cipher::Aes256Gcm, [0; 32]), None);
        let other = hex32(b"558065f9896e1f57c68311d98c82b773b986c5094d6bb54f12e2fd481e39c9c1");
        assert_eq!(aead(Cipher::Aes256Gcm, other), None);
    }
}
