//! Secrets in memory (protocol.md 9): wiped on drop, never printed, cloned or compared in variable time.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A 32-byte secret.
///
/// It has no `Debug`, `Clone` or `PartialEq`:
///
/// ```compile_fail
/// let key = node::secret::SecretKey32::new([1; 32]);
/// println!("{key:?}");
/// ```
/// ```compile_fail
/// let key = node::secret::SecretKey32::new([1; 32]);
/// let copy = key.clone();
/// ```
/// ```compile_fail
/// let (a, b) = (node::secret::SecretKey32::new([1; 32]), node::secret::SecretKey32::new([1; 32]));
/// assert!(a == b);
/// ```
/// It lies on the heap, so that a move moves a pointer: a key that is moved itself leaves a copy that nobody wipes.
#[derive(ZeroizeOnDrop)]
pub struct SecretKey32(Box<[u8; 32]>);

impl SecretKey32 {
    /// Takes over `bytes`; the caller wipes its own copy.
    pub fn new(mut bytes: [u8; 32]) -> Self {
        let secret = Self(Box::new(bytes));
        bytes.zeroize();
        secret
    }

    /// The bytes, for the one computation that needs them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same, in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }

    /// Whether every byte is zero, in constant time.
    pub fn is_zero(&self) -> bool {
        self.0.ct_eq(&[0; 32]).into()
    }
}

/// Where long-lived secrets (identity seed, PSKs, chain keys) are kept.
///
/// The daemon's store locks the pages into memory; [`HeapStore`] is the portable one.
pub trait SecretStore: Send + Sync {
    /// Takes `secret` over and wipes the copy that came in.
    ///
    /// # Errors
    /// [`StoreError`] when the store has no room left.
    fn keep(&self, secret: SecretKey32) -> Result<StoredSecret, StoreError>;
}

/// One place of a [`SecretStore`]; wiped when dropped.
pub trait SecretSlot: Send + Sync {
    /// The bytes.
    fn expose(&self) -> &[u8; 32];
}

/// A secret that lives in a [`SecretStore`]; wiped when dropped.
///
/// ```compile_fail
/// fn print(secret: &node::secret::StoredSecret) { println!("{secret:?}"); }
/// ```
pub struct StoredSecret(Box<dyn SecretSlot>);

impl StoredSecret {
    /// Wraps a store's own slot.
    pub fn new(slot: Box<dyn SecretSlot>) -> Self {
        Self(slot)
    }

    /// The bytes, for the one computation that needs them.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Whether both are the same, in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

/// The store cannot take another secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no room for another secret in locked memory: {0}")]
pub struct StoreError(pub String);

/// A store on the ordinary heap: wiped on drop, but neither locked nor kept out of dumps.
#[derive(Debug, Default, Clone, Copy)]
pub struct HeapStore;

impl SecretStore for HeapStore {
    fn keep(&self, secret: SecretKey32) -> Result<StoredSecret, StoreError> {
        Ok(StoredSecret::new(Box::new(HeapSlot(Zeroizing::new(*secret.expose())))))
    }
}

struct HeapSlot(Zeroizing<[u8; 32]>);

impl SecretSlot for HeapSlot {
    fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_secret_reads_back() {
        let stored = HeapStore.keep(SecretKey32::new([7; 32])).unwrap();
        assert_eq!(stored.expose(), &[7; 32]);
    }

    #[test]
    fn zero_is_told_from_everything_else() {
        assert!(SecretKey32::new([0; 32]).is_zero());
        let mut bytes = [0; 32];
        bytes[31] = 1;
        assert!(!SecretKey32::new(bytes).is_zero());
    }
}
