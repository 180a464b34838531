//! Chain keys: each epoch's contribution to the next (protocol.md 6.2 and 8).

use crate::crypto::exp;
use crate::secret::{SecretKey32, SecretStore, StoreError, StoredSecret};

/// The public name of a chain key: `Exp(CK, "chain id", "", 16)`. All zero stands for "none".
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub struct ChainId(pub [u8; 16]);

impl ChainId {
    /// What an unchained M1 carries.
    pub const NONE: Self = Self([0; 16]);
}

/// A chain key and its name.
pub struct ChainKey {
    id: ChainId,
    key: StoredSecret,
}

impl ChainKey {
    /// Keeps `key` in `store`.
    ///
    /// # Errors
    /// [`StoreError`] when the store is full.
    pub fn new(key: SecretKey32, store: &dyn SecretStore) -> Result<Self, StoreError> {
        let mut id = [0; 16];
        exp(&key, "chain id", &[], &mut id);
        Ok(Self { id: ChainId(id), key: store.keep(key)? })
    }

    /// The name.
    pub const fn id(&self) -> ChainId {
        self.id
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        self.key.expose()
    }
}
