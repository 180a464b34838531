//! ML-KEM-768 (FIPS 203).

use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};

use crate::secret::SecretKey32;

/// Bytes of an encapsulation key.
pub const ENCAPSULATION_KEY_LEN: usize = 1184;
/// Bytes of a ciphertext.
pub const CIPHERTEXT_LEN: usize = 1088;

/// The seam for ML-KEM-768: production draws its own randomness, vectors and simulation give seeds (protocol.md 11).
pub trait Kem768: Send + Sync {
    /// A fresh key pair.
    ///
    /// # Errors
    /// [`KemError::Failed`] when the library fails, for want of randomness or memory.
    fn generate(&self) -> Result<(Box<dyn KemSecret>, [u8; ENCAPSULATION_KEY_LEN]), KemError>;

    /// A shared secret and its ciphertext for `key`.
    ///
    /// # Errors
    /// [`KemError::BadKey`] when `key` fails the check of FIPS 203, 7.2 (modulus).
    fn encapsulate(&self, key: &[u8; ENCAPSULATION_KEY_LEN]) -> Result<([u8; CIPHERTEXT_LEN], SecretKey32), KemError>;
}

/// A decapsulation key; wiped when dropped.
pub trait KemSecret: Send {
    /// The shared secret of a ciphertext; a wrong one gives an unrelated secret (implicit rejection), not an error.
    ///
    /// # Errors
    /// [`KemError::Failed`] when the library fails.
    fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Result<SecretKey32, KemError>;
}

/// Why a KEM operation gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KemError {
    /// The encapsulation key fails the check of FIPS 203.
    #[error("the ML-KEM-768 encapsulation key is malformed")]
    BadKey,
    /// The library failed.
    #[error("ML-KEM-768 failed in the crypto library")]
    Failed,
}

/// ML-KEM-768 of AWS-LC.
#[derive(Debug, Clone, Copy, Default)]
pub struct AwsLcKem;

impl Kem768 for AwsLcKem {
    fn generate(&self) -> Result<(Box<dyn KemSecret>, [u8; ENCAPSULATION_KEY_LEN]), KemError> {
        let secret = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| KemError::Failed)?;
        let public = secret.encapsulation_key().and_then(|key| key.key_bytes()).map_err(|_| KemError::Failed)?;
        let bytes = public.as_ref().try_into().map_err(|_| KemError::Failed)?;
        #[cfg(debug_assertions)]
        pairwise_check(&secret, &bytes)?;
        Ok((Box::new(AwsLcSecret(secret)), bytes))
    }

    fn encapsulate(&self, key: &[u8; ENCAPSULATION_KEY_LEN]) -> Result<([u8; CIPHERTEXT_LEN], SecretKey32), KemError> {
        let key = EncapsulationKey::new(&ML_KEM_768, key).map_err(|_| KemError::BadKey)?;
        let (ciphertext, shared) = key.encapsulate().map_err(|_| KemError::BadKey)?;
        let ciphertext = ciphertext.as_ref().try_into().map_err(|_| KemError::Failed)?;
        Ok((ciphertext, shared_secret(shared.as_ref())?))
    }
}

struct AwsLcSecret(DecapsulationKey);

impl KemSecret for AwsLcSecret {
    fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Result<SecretKey32, KemError> {
        let shared = self.0.decapsulate(Ciphertext::from(&ciphertext[..])).map_err(|_| KemError::Failed)?;
        shared_secret(shared.as_ref())
    }
}

fn shared_secret(bytes: &[u8]) -> Result<SecretKey32, KemError> {
    bytes.try_into().map(SecretKey32::new).map_err(|_| KemError::Failed)
}

/// The pairwise consistency test of protocol.md 9, in debug builds.
#[cfg(debug_assertions)]
fn pairwise_check(secret: &DecapsulationKey, public: &[u8; ENCAPSULATION_KEY_LEN]) -> Result<(), KemError> {
    let (ciphertext, theirs) = AwsLcKem.encapsulate(public)?;
    let ours = secret.decapsulate(Ciphertext::from(&ciphertext[..])).map_err(|_| KemError::Failed)?;
    if shared_secret(ours.as_ref())?.ct_eq(&theirs) { Ok(()) } else { Err(KemError::Failed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_share_one_secret() {
        let (secret, public) = AwsLcKem.generate().unwrap();
        let (ciphertext, theirs) = AwsLcKem.encapsulate(&public).unwrap();
        assert!(secret.decapsulate(&ciphertext).unwrap().ct_eq(&theirs));
    }

    #[test]
    fn a_key_outside_the_modulus_is_refused() {
        let (_, mut public) = AwsLcKem.generate().unwrap();
        // The first coefficient becomes 4095, above q = 3329.
        public[0] = 0xff;
        public[1] |= 0x0f;
        assert!(matches!(AwsLcKem.encapsulate(&public), Err(KemError::BadKey)));
    }

    #[test]
    fn a_wrong_ciphertext_gives_an_unrelated_secret() {
        let (secret, public) = AwsLcKem.generate().unwrap();
        let (mut ciphertext, theirs) = AwsLcKem.encapsulate(&public).unwrap();
        ciphertext[0] ^= 1;
        assert!(!secret.decapsulate(&ciphertext).unwrap().ct_eq(&theirs));
    }
}
