//! PeerIds as text and as keys: only those that hold an Ed25519 key inline (protocol.md 6.1).

use libp2p::PeerId;
use libp2p::identity::{PublicKey, ed25519};
use node::peer_key::{PeerKey, PeerKeyError};

/// Text that names no peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerIdError {
    /// Not the text of a PeerId.
    #[error("'{0}' is no PeerId: it looks like 12D3KooW…, see 'cryprq status' on the other host")]
    Text(String),
    /// A PeerId of another key type, or the hash of a key.
    #[error("the PeerId does not hold an Ed25519 key")]
    NotEd25519,
    /// A key that no honest host has.
    #[error(transparent)]
    Key(#[from] PeerKeyError),
}

/// The PeerId of a key.
pub fn from_key(key: PeerKey) -> PeerId {
    let public = ed25519::PublicKey::try_from_bytes(key.as_bytes());
    // A key that is no point has a PeerId all the same; nobody can prove to be it.
    public.map_or_else(|_| raw(key), |public| PublicKey::from(public).to_peer_id())
}

/// Builds the identity multihash by hand: code 0, length 36, then the protobuf of an Ed25519 key.
fn raw(key: PeerKey) -> PeerId {
    let bytes = [&PREFIX[..], key.as_bytes()].concat();
    PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a PeerId")
}

const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The key inside a PeerId.
///
/// # Errors
/// [`PeerIdError`] unless it holds a sound Ed25519 key.
pub fn to_key(peer: &PeerId) -> Result<PeerKey, PeerIdError> {
    let bytes = peer.to_bytes();
    let key = bytes.strip_prefix(&PREFIX).and_then(|key| <[u8; 32]>::try_from(key).ok());
    Ok(PeerKey::from_bytes(key.ok_or(PeerIdError::NotEd25519)?)?)
}

/// Reads the base58 text of a PeerId.
///
/// # Errors
/// [`PeerIdError`].
pub fn parse(text: &str) -> Result<PeerKey, PeerIdError> {
    to_key(&text.parse().map_err(|_| PeerIdError::Text(text.to_owned()))?)
}

/// The base58 text of a key's PeerId.
pub fn format(key: PeerKey) -> String {
    from_key(key).to_base58()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_texts_convert_both_ways() {
        let pair = libp2p::identity::Keypair::generate_ed25519();
        let peer = pair.public().to_peer_id();
        let key = to_key(&peer).unwrap();
        assert_eq!(from_key(key), peer);
        assert_eq!(raw(key), peer);
        assert_eq!(parse(&format(key)).unwrap(), key);
    }

    #[test]
    fn hashed_ids_and_nonsense_are_refused() {
        assert!(matches!(parse("gateway"), Err(PeerIdError::Text(_))));
        // The hash of an RSA key.
        let hashed = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        assert_eq!(parse(hashed), Err(PeerIdError::NotEd25519));
    }
}
