//! `node.toml`: our own inner IPv4 address, when another host granted it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::file::{self, VERSION};
use super::{StateDir, StateError};

const FILE: &str = "node.toml";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<Ipv4Addr>,
}

impl StateDir {
    /// The IPv4 address that was granted when this host joined another.
    ///
    /// # Errors
    /// When the file is damaged, of a later version, or others could write it.
    pub fn own_ipv4(&self) -> Result<Option<Ipv4Addr>, StateError> {
        Ok(file::read::<Node>(&self.path.join(FILE))?.and_then(|node| node.ipv4))
    }

    /// Keeps a granted address, or forgets it.
    ///
    /// # Errors
    /// When the disk is full; the old file stays then.
    pub fn set_own_ipv4(&self, ipv4: Option<Ipv4Addr>) -> Result<(), StateError> {
        file::write(&self.path.join(FILE), &Node { version: VERSION, ipv4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_granted_address_outlives_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        assert_eq!(state.own_ipv4().unwrap(), None);
        let granted = Some([10, 86, 0, 2].into());
        state.set_own_ipv4(granted).unwrap();
        assert_eq!(state.own_ipv4().unwrap(), granted);
        state.set_own_ipv4(None).unwrap();
        assert_eq!(state.own_ipv4().unwrap(), None);
    }
}
