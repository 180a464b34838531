//! Ed25519: the identity that signs a handshake's transcript.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::peer_key::{PeerKey, PeerKeyError};
use crate::secret::StoredSecret;

/// A host's own identity: the libp2p Ed25519 key pair.
///
/// The seed stays in its store; the expanded key lives only while a signature is made.
pub struct Identity {
    seed: StoredSecret,
    public: PeerKey,
}

impl Identity {
    /// The identity of a 32-byte seed (RFC 8032).
    ///
    /// # Errors
    /// [`PeerKeyError`] if the seed's public key is none that a peer would accept.
    pub fn from_seed(seed: StoredSecret) -> Result<Self, PeerKeyError> {
        let pair = key_pair(&seed);
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Ok(Self { public: PeerKey::from_bytes(public)?, seed })
    }

    /// The public half.
    pub const fn public(&self) -> PeerKey {
        self.public
    }

    /// The seed, for the transport that needs the same identity.
    pub const fn seed(&self) -> &StoredSecret {
        &self.seed
    }

    /// An Ed25519 signature over `message` (RFC 8032).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(key_pair(&self.seed).sign(message).as_ref());
        out
    }
}

fn key_pair(seed: &StoredSecret) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("every 32 bytes are an Ed25519 seed")
}

/// A signature that does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureError;

/// Verifies an Ed25519 signature: canonical `S`, no key of small order (`PeerKey` refuses those), no `R` of small order.
///
/// # Errors
/// [`SignatureError`] for everything else than a good signature.
pub fn verify_strict(key: PeerKey, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
    let mut commitment = [0; 32];
    commitment.copy_from_slice(&signature[..32]);
    if PeerKey::from_bytes(commitment).is_err() {
        return Err(SignatureError);
    }
    UnparsedPublicKey::new(&ED25519, key.as_bytes()).verify(message, signature).map_err(|_| SignatureError)
}
