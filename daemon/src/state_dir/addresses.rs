//! `addresses.toml`: where each peer was reached last.

use std::collections::BTreeMap;

use net::{Multiaddr, peer_id};
use node::peer_key::PeerKey;
use serde::{Deserialize, Serialize};

use super::file::{self, VERSION};
use super::{StateDir, StateError};
use crate::config::peer::read_address;

const FILE: &str = "addresses.toml";

/// Outer addresses of each peer, the last good one first.
pub type Addresses = BTreeMap<PeerKey, Vec<Multiaddr>>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    peer: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    addresses: Vec<String>,
}

impl StateDir {
    /// Where the peers were reached.
    ///
    /// # Errors
    /// When the file is damaged, of a later version, or others could write it.
    pub fn addresses(&self) -> Result<Addresses, StateError> {
        let path = self.path.join(FILE);
        let Some(file) = file::read::<File>(&path)? else { return Ok(Addresses::new()) };
        let read = |entry: &Entry| {
            let addresses = entry.addresses.iter().map(|text| read_address(text)).collect::<Result<_, _>>().ok()?;
            Some((peer_id::parse(&entry.id).ok()?, addresses))
        };
        file.peer.iter().map(|entry| read(entry).ok_or_else(|| StateError::damaged(&path))).collect()
    }

    /// Keeps where the peers were reached.
    ///
    /// # Errors
    /// When the disk is full; the old file stays then.
    pub fn set_addresses(&self, addresses: &Addresses) -> Result<(), StateError> {
        let entry = |(key, addresses): (&PeerKey, &Vec<Multiaddr>)| Entry {
            id: peer_id::format(*key),
            addresses: addresses.iter().map(ToString::to_string).collect(),
        };
        let peer = addresses.iter().map(entry).collect();
        file::write(&self.path.join(FILE), &File { version: VERSION, peer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_in_their_order_and_nonsense_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = StateDir::open(&path).unwrap();
        assert!(state.addresses().unwrap().is_empty());
        let key = peer_id::parse("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA").unwrap();
        let good = ["/ip6/2001:db8::1/udp/1/quic-v1", "/dns4/gw.example.org/tcp/2"].map(|text| text.parse().unwrap());
        let addresses = Addresses::from([(key, good.to_vec())]);
        state.set_addresses(&addresses).unwrap();
        assert_eq!(state.addresses().unwrap(), addresses);
        let text = std::fs::read_to_string(path.join(FILE)).unwrap().replace("/tcp/2", "/tcp/x");
        os::files::write_atomically(&path.join(FILE), text.as_bytes()).unwrap();
        assert!(matches!(state.addresses().unwrap_err(), StateError::Damaged { .. }));
    }
}
