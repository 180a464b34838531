//! `wishes.toml`: what `up` and `down` asked for, over what the configuration says.

use std::collections::BTreeMap;
use std::path::Path;

use net::peer_id;
use node::peer_key::PeerKey;
use node::tunnel::Want;
use serde::{Deserialize, Serialize};

use super::file::{self, VERSION};
use super::{StateDir, StateError};

const FILE: &str = "wishes.toml";

/// What is wanted of which peer.
pub type Wishes = BTreeMap<PeerKey, Want>;

/// PeerIds, so that a peer with a new name keeps its wish.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    up: Vec<String>,
    down: Vec<String>,
    /// The peer that all traffic goes through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit: Option<String>,
}

impl StateDir {
    /// What was asked for.
    ///
    /// # Errors
    /// When the file is damaged, of a later version, or others could write it.
    pub fn wishes(&self) -> Result<Wishes, StateError> {
        let path = self.path.join(FILE);
        let Some(file) = file::read::<File>(&path)? else { return Ok(Wishes::new()) };
        let wish = |id: &String, want| read(id, want, &path);
        let up = file.up.iter().map(|id| wish(id, Want::Up));
        up.chain(file.down.iter().map(|id| wish(id, Want::Down))).collect()
    }

    /// The peer that all traffic was to go through.
    ///
    /// # Errors
    /// When the file is damaged, of a later version, or others could write it.
    pub fn exit_wish(&self) -> Result<Option<PeerKey>, StateError> {
        let path = self.path.join(FILE);
        let exit = file::read::<File>(&path)?.and_then(|file| file.exit);
        exit.map(|id| peer_id::parse(&id).map_err(|_| StateError::damaged(&path))).transpose()
    }

    /// Keeps what is asked for over restarts.
    ///
    /// # Errors
    /// When the disk is full; the old file stays then.
    pub fn set_wishes(&self, wishes: &Wishes, exit: Option<PeerKey>) -> Result<(), StateError> {
        let ids = |want| {
            let matching = wishes.iter().filter(|(_, wish)| **wish == want);
            matching.map(|(key, _)| peer_id::format(*key)).collect()
        };
        let (up, down, exit) = (ids(Want::Up), ids(Want::Down), exit.map(peer_id::format));
        file::write(&self.path.join(FILE), &File { version: VERSION, up, down, exit })
    }
}

fn read(id: &str, want: Want, path: &Path) -> Result<(PeerKey, Want), StateError> {
    Ok((peer_id::parse(id).map_err(|_| StateError::damaged(path))?, want))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    const B: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

    #[test]
    fn wishes_outlive_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = StateDir::open(&path).unwrap();
        assert!(state.wishes().unwrap().is_empty());
        let key = |id| peer_id::parse(id).unwrap();
        let wishes = Wishes::from([(key(A), Want::Up), (key(B), Want::Down)]);
        assert_eq!(state.exit_wish().unwrap(), None);
        state.set_wishes(&wishes, Some(key(A))).unwrap();
        drop(state);
        let state = StateDir::open(&path).unwrap();
        assert_eq!((state.wishes().unwrap(), state.exit_wish().unwrap()), (wishes, Some(key(A))));
        os::files::write_atomically(&path.join(FILE), b"version = 1\nup = [\"gateway\"]\ndown = []\n").unwrap();
        assert!(matches!(state.wishes().unwrap_err(), StateError::Damaged { .. }));
    }
}
