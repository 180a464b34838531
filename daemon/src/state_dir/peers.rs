//! `peers.toml`: the peers that pairing and `peers add` made, with their PSKs.

use cryprq_ipc_proto::secret::SecretText;
use net::peer_id;
use node::tunnel::ChainRule;
use serde::{Deserialize, Serialize};

use super::file::{self, VERSION};
use super::{StateDir, StateError};
use crate::config::PeerConfig;
use crate::config::peer::{check_name, read_peer_address, read_prefix, read_psk};

const FILE: &str = "peers.toml";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peers {
    version: u32,
    #[serde(default)]
    peer: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    name: String,
    addresses: Vec<String>,
    allowed_ips: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psk: Option<SecretText>,
    require_chain: bool,
    up: bool,
    /// Files of before that key have none.
    #[serde(default)]
    forward: bool,
}

impl StateDir {
    /// The peers of the state folder.
    ///
    /// # Errors
    /// When the file is damaged, of a later version, or others could read it.
    pub fn peers(&self) -> Result<Vec<PeerConfig>, StateError> {
        let path = self.path.join(FILE);
        let entries = file::read::<Peers>(&path)?.map_or_else(Vec::new, |peers| peers.peer);
        entries.iter().map(|entry| entry.read().map_err(|_| StateError::damaged(&path))).collect()
    }

    /// Replaces the peers of the state folder, each with its PSK.
    ///
    /// # Errors
    /// When the disk is full; the old file stays then.
    pub fn set_peers<'a>(
        &self,
        peers: impl Iterator<Item = (&'a PeerConfig, Option<&'a [u8; 32]>)>,
    ) -> Result<(), StateError> {
        let peer = peers.map(|(config, psk)| Entry::of(config, psk)).collect();
        file::write(&self.path.join(FILE), &Peers { version: VERSION, peer })
    }
}

impl Entry {
    fn of(config: &PeerConfig, psk: Option<&[u8; 32]>) -> Self {
        Self {
            id: peer_id::format(config.key),
            name: config.name.clone(),
            addresses: config.addresses.iter().map(ToString::to_string).collect(),
            allowed_ips: config.allowed_ips.iter().map(ToString::to_string).collect(),
            psk: psk.map(|psk| SecretText::new(data_encoding::HEXLOWER.encode(psk))),
            require_chain: config.require_chain == ChainRule::Required,
            up: config.up,
            forward: config.forward,
        }
    }

    fn read(&self) -> Result<PeerConfig, String> {
        check_name(&self.name)?;
        let key = peer_id::parse(&self.id).map_err(|error| error.to_string())?;
        Ok(PeerConfig {
            key,
            name: self.name.clone(),
            addresses: self.addresses.iter().map(|text| read_peer_address(text, key)).collect::<Result<_, _>>()?,
            allowed_ips: self.allowed_ips.iter().map(|text| read_prefix(text)).collect::<Result<_, _>>()?,
            psk_file: None,
            psk: self.psk.as_ref().map(|psk| read_psk(psk.expose().as_bytes())).transpose()?,
            require_chain: if self.require_chain { ChainRule::Required } else { ChainRule::Optional },
            up: self.up,
            forward: self.forward,
        })
    }
}

#[cfg(test)]
mod tests {
    use os::files;

    use super::*;

    const ID: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    #[test]
    fn peers_read_back_as_they_were_written_with_their_psks() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        assert!(state.peers().unwrap().is_empty());
        let mut peer = PeerConfig::new(peer_id::parse(ID).unwrap());
        peer.name = "gate \"way\" ü".into();
        peer.addresses = vec!["/dns4/gw.example.org/udp/41820/quic-v1".parse().unwrap()];
        peer.allowed_ips.push("10.86.0.0/24".parse().unwrap());
        (peer.require_chain, peer.up) = (ChainRule::Required, false);
        state.set_peers([(&peer, Some(&[0xab; 32]))].into_iter()).unwrap();
        let read = &state.peers().unwrap()[0];
        assert_eq!((read.key, &read.name, &read.addresses), (peer.key, &peer.name, &peer.addresses));
        assert_eq!((&read.allowed_ips, read.require_chain, read.up), (&peer.allowed_ips, ChainRule::Required, false));
        assert_eq!(read.psk.as_ref().unwrap().expose(), &[0xab; 32]);
        state.set_peers(std::iter::empty()).unwrap();
        assert!(state.peers().unwrap().is_empty());
    }

    #[test]
    fn a_peer_that_makes_no_sense_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = StateDir::open(&path).unwrap();
        let entry = |id: &str, prefix: &str, psk: &str| {
            format!(
                "version = 1\n[[peer]]\nid = \"{id}\"\nname = \"x\"\naddresses = []\nallowed_ips = [\"{prefix}\"]\n\
                 psk = \"{psk}\"\nrequire_chain = false\nup = true\n"
            )
        };
        let psk = "ab".repeat(32);
        for (id, prefix, psk) in [("nobody", "10.0.0.1/32", &*psk), (ID, "10.0.0.300/32", &psk), (ID, "::/0", "ab")] {
            files::write_atomically(&path.join(FILE), entry(id, prefix, psk).as_bytes()).unwrap();
            assert!(matches!(state.peers().unwrap_err(), StateError::Damaged { .. }));
        }
        files::write_atomically(&path.join(FILE), entry(ID, "10.0.0.1/32", &psk).as_bytes()).unwrap();
        assert_eq!(state.peers().unwrap().len(), 1);
    }
}
