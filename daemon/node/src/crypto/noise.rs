//! The primitives of `Noise_NNpsk2_25519_ChaChaPoly_SHA256` for `snow`, on AWS-LC.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use aws_lc_rs::digest;
use snow::Error;
use snow::error::StateProblem;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::{Zeroize, Zeroizing};

use super::RandomSource;

/// Gives `snow` its primitives. The 32 random bytes of the one ephemeral key are drawn beforehand, so that a failing
/// random source stops the handshake before it starts.
pub(crate) struct Resolver {
    ephemeral: Zeroizing<[u8; 32]>,
}

impl Resolver {
    pub(crate) fn new(random: &mut dyn RandomSource) -> Result<Self, super::RandomError> {
        let mut ephemeral = Zeroizing::new([0; 32]);
        random.fill(&mut *ephemeral)?;
        Ok(Self { ephemeral })
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OneKey(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(Curve25519::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::new(Sha256::default()) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::new(ChaChaPoly::default()) as Box<dyn Cipher>)
    }
}

/// Hands out its 32 bytes once; a second request is an error, never a repeated key.
struct OneKey(Option<Zeroizing<[u8; 32]>>);

impl Random for OneKey {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        let bytes = self.0.take().ok_or(Error::Rng)?;
        if dest.len() != bytes.len() {
            return Err(Error::Rng);
        }
        dest.copy_from_slice(&*bytes);
        Ok(())
    }
}

#[derive(Default)]
struct Curve25519 {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Curve25519 {
    fn key(&self) -> Result<agreement::PrivateKey, Error> {
        agreement::PrivateKey::from_private_key(&X25519, &*self.private).map_err(|_| Error::Dh)
    }
}

impl Dh for Curve25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        self.private.copy_from_slice(privkey);
        // A key that AWS-LC refuses leaves the public key of zeros, which every `dh` of the other side refuses.
        if let Ok(public) = self.key().and_then(|key| key.compute_public_key().map_err(|_| Error::Dh)) {
            self.public.copy_from_slice(public.as_ref());
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut private = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *private)?;
        self.set(&*private);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.private
    }

    /// AWS-LC refuses an all-zero result (RFC 7748, 6.1), so a point of small order ends the handshake.
    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let theirs = pubkey.get(..32).ok_or(Error::Dh)?;
        agreement::agree(&self.key()?, UnparsedPublicKey::new(&X25519, theirs), Error::Dh, |shared| {
            out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(shared);
            Ok(())
        })
    }
}

#[derive(Default)]
struct ChaChaPoly(Option<LessSafeKey>);

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new);
    }

    fn encrypt(&self, counter: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (body, rest) = out.split_at_mut(plaintext.len());
        body.copy_from_slice(plaintext);
        let tag = self
            .0
            .as_ref()
            .and_then(|key| key.seal_in_place_separate_tag(nonce(counter), Aad::from(authtext), body).ok())
            .expect("snow sets the key before it encrypts, and its messages are far below the limit of the cipher");
        rest[..16].copy_from_slice(tag.as_ref());
        plaintext.len() + 16
    }

    fn decrypt(&self, counter: u64, authtext: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let key = self.0.as_ref().ok_or(Error::State(StateProblem::MissingKeyMaterial))?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let plain = key.open_in_place(nonce(counter), Aad::from(authtext), &mut buffer).map_err(|_| Error::Decrypt)?;
        out.get_mut(..plain.len()).ok_or(Error::Decrypt)?.copy_from_slice(plain);
        Ok(plain.len())
    }
}

struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(self.0.clone().finish().as_ref());
    }
}

impl Drop for Curve25519 {
    fn drop(&mut self) {
        self.private.zeroize();
    }
}
