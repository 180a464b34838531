//! The state folder: identity, peers, tickets, wishes, journal, lock (`docs/config.md`).

mod addresses;
mod file;
mod own;
mod peers;
mod tickets;
mod wishes;

pub use addresses::Addresses;
pub use file::StateError;
pub use tickets::{KeptJoin, Tickets};
pub use wishes::Wishes;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use node::crypto::{Identity, RandomSource};
use node::secret::{SecretKey32, SecretStore};
use os::files;
use os::journal::{self, Journal, Lock};
use os::random::SystemRandom;
use zeroize::Zeroizing;

const SEED: usize = 32;

/// An open state folder. One daemon at a time has it.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: Lock,
}

impl StateDir {
    /// Makes the folder if need be, checks that nobody else may enter it, and takes its lock.
    ///
    /// # Errors
    /// When another daemon has it, or others could read it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        files::ensure_private_dir(path)?;
        let lock = journal::lock(&path.join("lock"))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The identity key: read, or made at the first start.
    ///
    /// # Errors
    /// When the file is damaged, or others could read it, or there is no randomness.
    pub fn identity_seed(&self) -> anyhow::Result<Zeroizing<[u8; SEED]>> {
        let path = self.path.join("identity.key");
        match files::read_secret(&path, SEED as u64 + 1) {
            Ok(bytes) => {
                let seed = <[u8; SEED]>::try_from(bytes.as_slice());
                let seed = seed.ok().with_context(|| {
                    format!(
                        "{} does not hold {SEED} bytes: restore it, or move it away for a new identity",
                        path.display()
                    )
                })?;
                Ok(Zeroizing::new(seed))
            }
            Err(error) if error.kind() == Some(io::ErrorKind::NotFound) => {
                let mut seed = Zeroizing::new([0; SEED]);
                SystemRandom.fill(&mut *seed)?;
                files::create_secret(&path, &*seed)?;
                Ok(seed)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The journal of system changes.
    ///
    /// # Errors
    /// When it is damaged or of a later version.
    pub fn journal(&self) -> anyhow::Result<Journal> {
        Ok(Journal::open(&self.path.join("journal.jsonl"))?)
    }
}

/// Puts the seed into the store and derives the identity.
///
/// # Errors
/// When the store is full or the key is none that a peer would accept.
pub fn identity(seed: &[u8; SEED], store: &dyn SecretStore) -> anyhow::Result<Identity> {
    Ok(Identity::from_seed(store.keep(SecretKey32::new(*seed))?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let first = *StateDir::open(&path).unwrap().identity_seed().unwrap();
        assert_ne!(first, [0; 32]);
        assert_eq!(*StateDir::open(&path).unwrap().identity_seed().unwrap(), first);
        files::write_atomically(&path.join("identity.key"), &[1; 31]).unwrap();
        assert!(StateDir::open(&path).unwrap().identity_seed().unwrap_err().to_string().contains("32 bytes"));
    }

    #[test]
    fn a_second_daemon_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let _first = StateDir::open(&path).unwrap();
        assert!(StateDir::open(&path).unwrap_err().to_string().contains("another cryprqd"));
    }
}
