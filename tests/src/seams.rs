//! The two seams of protocol.md 11 with given bytes in the place of randomness, for vectors and simulation.

use libcrux_ml_kem::mlkem768;
use node::crypto::{CIPHERTEXT_LEN, ENCAPSULATION_KEY_LEN, Kem768, KemError, KemSecret, RandomError, RandomSource};
use node::secret::SecretKey32;

/// ML-KEM-768 of libcrux from a key seed (d || z of FIPS 203) and an encapsulation message.
pub struct SeededKem {
    /// `d || z`.
    pub seed: [u8; 64],
    /// `m`.
    pub message: [u8; 32],
}

impl Kem768 for SeededKem {
    fn generate(&self) -> Result<(Box<dyn KemSecret>, [u8; ENCAPSULATION_KEY_LEN]), KemError> {
        let (secret, public) = mlkem768::generate_key_pair(self.seed).into_parts();
        Ok((Box::new(LibcruxSecret(secret)), *public.as_slice()))
    }

    fn encapsulate(&self, key: &[u8; ENCAPSULATION_KEY_LEN]) -> Result<([u8; CIPHERTEXT_LEN], SecretKey32), KemError> {
        let key = mlkem768::MlKem768PublicKey::from(key);
        if !mlkem768::validate_public_key(&key) {
            return Err(KemError::BadKey);
        }
        let (ciphertext, shared) = mlkem768::encapsulate(&key, self.message);
        Ok((*ciphertext.as_slice(), SecretKey32::new(shared)))
    }
}

/// A decapsulation key of libcrux.
pub struct LibcruxSecret(mlkem768::MlKem768PrivateKey);

impl KemSecret for LibcruxSecret {
    fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Result<SecretKey32, KemError> {
        Ok(SecretKey32::new(mlkem768::decapsulate(&self.0, &ciphertext.into())))
    }
}

/// Hands out its bytes in order, and fails when they are used up.
pub struct ScriptedRandom(Vec<u8>);

impl ScriptedRandom {
    /// A source of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl RandomSource for ScriptedRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        if self.0.len() < out.len() {
            return Err(RandomError("the script is used up".into()));
        }
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }
}

/// The system's randomness by AWS-LC, where a test wants none in particular.
pub struct SystemRandom;

impl RandomSource for SystemRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        aws_lc_rs::rand::fill(out).map_err(|_| RandomError("aws-lc".into()))
    }
}
