//! The primitives, all from `aws-lc-rs` (protocol.md 6.1 and 9), and the two seams of randomness (section 11).

mod hkdf;
mod identity;
mod kem;
mod noise;
mod self_test;

pub use hkdf::{ct_eq, exp, extract, hmac_sha256, sha256};
pub use identity::{Identity, SignatureError, verify_strict};
pub use kem::{AwsLcKem, CIPHERTEXT_LEN, ENCAPSULATION_KEY_LEN, Kem768, KemError, KemSecret};
pub(crate) use noise::Resolver;
pub use self_test::{SelfTestError, self_test};

/// Where secret random bytes come from: the operating system in a daemon, a script in vectors and simulation.
pub trait RandomSource: Send {
    /// Fills `out` completely.
    ///
    /// # Errors
    /// [`RandomError`] aborts the operation that asked.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError>;
}

/// The random source failed; no secret may be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source failed: {0}")]
pub struct RandomError(pub String);

/// A random number below `bound` (with a bias below 2^-32 for the small bounds of jitter).
pub(crate) fn random_below(random: &mut dyn RandomSource, bound: u64) -> Result<u64, RandomError> {
    let mut bytes = [0; 8];
    random.fill(&mut bytes)?;
    let wide = u128::from(u64::from_le_bytes(bytes)) * u128::from(bound);
    Ok(u64::try_from(wide >> 64).unwrap_or(0))
}
