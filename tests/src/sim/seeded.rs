//! The core's seams on one seed: randomness, ML-KEM, and a store of secrets that a thief can read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use node::crypto::{CIPHERTEXT_LEN, ENCAPSULATION_KEY_LEN, Kem768, KemError, KemSecret, RandomError, RandomSource};
use node::secret::{SecretKey32, SecretSlot, SecretStore, StoreError, StoredSecret};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::seams::SeededKem;

/// What one tunnel drew last: the secret inputs of the handshake message that it makes next.
#[derive(Clone, Copy, Default)]
pub struct Drawn {
    /// The private X25519 key.
    pub ephemeral: [u8; 32],
    /// `d || z` of ML-KEM's key generation.
    pub kem_seed: Seed64,
    /// `m` of ML-KEM's encapsulation.
    pub kem_message: [u8; 32],
}

/// 64 bytes; arrays of that length have no default.
#[derive(Clone, Copy)]
pub struct Seed64(pub [u8; 64]);

impl Default for Seed64 {
    fn default() -> Self {
        Self([0; 64])
    }
}

/// Shared by the two seams of one tunnel and whoever looks at what they gave.
pub type Tape = Arc<Mutex<Drawn>>;

/// What was drawn last.
pub fn last_drawn(tape: &Tape) -> Drawn {
    *tape.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Randomness of a seed.
pub struct SeededRandom {
    rng: ChaCha8Rng,
    tape: Tape,
}

impl SeededRandom {
    /// A source that also notes the ephemeral keys that it gives.
    pub fn new(seed: u64, tape: Tape) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), tape }
    }
}

impl RandomSource for SeededRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        self.rng.fill_bytes(out);
        // Only ephemeral keys are drawn 32 bytes at a time.
        if let Ok(key) = <[u8; 32]>::try_from(&*out) {
            self.tape.lock().unwrap_or_else(PoisonError::into_inner).ephemeral = key;
        }
        Ok(())
    }
}

/// ML-KEM-768 of a seed.
pub struct SimKem {
    rng: Mutex<ChaCha8Rng>,
    tape: Tape,
}

impl SimKem {
    /// A KEM that also notes the seeds that it used.
    pub fn new(seed: u64, tape: Tape) -> Self {
        Self { rng: Mutex::new(ChaCha8Rng::seed_from_u64(seed)), tape }
    }

    fn next(&self, note: impl FnOnce(&mut Drawn, &SeededKem)) -> SeededKem {
        let mut kem = SeededKem { seed: [0; 64], message: [0; 32] };
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.fill_bytes(&mut kem.seed);
        rng.fill_bytes(&mut kem.message);
        note(&mut self.tape.lock().unwrap_or_else(PoisonError::into_inner), &kem);
        kem
    }
}

impl Kem768 for SimKem {
    fn generate(&self) -> Result<(Box<dyn KemSecret>, [u8; ENCAPSULATION_KEY_LEN]), KemError> {
        self.next(|drawn, kem| drawn.kem_seed = Seed64(kem.seed)).generate()
    }

    fn encapsulate(&self, key: &[u8; ENCAPSULATION_KEY_LEN]) -> Result<([u8; CIPHERTEXT_LEN], SecretKey32), KemError> {
        self.next(|drawn, kem| drawn.kem_message = kem.message).encapsulate(key)
    }
}

/// A store whose present contents can be copied at any moment: the memory that a thief reads.
#[derive(Clone, Default)]
pub struct OpenStore(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    secrets: BTreeMap<u64, [u8; 32]>,
    next: u64,
}

impl OpenStore {
    /// What is kept now, the oldest first.
    pub fn contents(&self) -> Vec<[u8; 32]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).secrets.values().copied().collect()
    }
}

impl SecretStore for OpenStore {
    fn keep(&self, secret: SecretKey32) -> Result<StoredSecret, StoreError> {
        let bytes = *secret.expose();
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.next += 1;
        let number = book.next;
        book.secrets.insert(number, bytes);
        drop(book);
        Ok(StoredSecret::new(Box::new(OpenSlot { store: self.clone(), number, bytes })))
    }
}

struct OpenSlot {
    store: OpenStore,
    number: u64,
    bytes: [u8; 32],
}

impl SecretSlot for OpenSlot {
    fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl Drop for OpenSlot {
    fn drop(&mut self) {
        self.store.0.lock().unwrap_or_else(PoisonError::into_inner).secrets.remove(&self.number);
    }
}
