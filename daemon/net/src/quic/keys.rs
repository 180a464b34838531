//! Keys behind stateless resets and connection ids (protocol.md 6.7).

use std::net::SocketAddr;
use std::sync::Arc;

use node::crypto::{RandomSource, ct_eq, exp, extract, hmac_sha256};
use node::secret::SecretKey32;
use os::random::SystemRandom;
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator};

use super::Error;

/// Bytes of a connection id that are drawn.
const NONCE: usize = 8;
/// Bytes that show it to be ours.
const TAG: usize = 4;

/// What the keys of all sockets come from. It follows from the identity, so a restarted daemon has the same: it knows
/// the connection ids of its forerunner, and peers believe its resets.
pub struct ResetKeys(SecretKey32);

impl ResetKeys {
    /// The keys of an identity's Ed25519 seed.
    pub fn derive(identity_seed: &[u8; 32]) -> Self {
        Self(extract(b"CrypRQ v1 quic", identity_seed))
    }

    /// The keys of a socket.
    pub(super) fn of(&self, socket: SocketAddr) -> SocketKeys {
        let family = if socket.is_ipv4() { 4 } else { 6 };
        let key = |label| {
            let mut key = [0; 32];
            exp(&self.0, label, &[&[family], &socket.port().to_le_bytes()], &mut key);
            SecretKey32::new(key)
        };
        SocketKeys { reset: key("stateless reset"), id: key("connection id") }
    }
}

/// The keys of one socket.
pub(super) struct SocketKeys {
    reset: SecretKey32,
    id: SecretKey32,
}

impl SocketKeys {
    /// Keys of a socket that no later daemon has again.
    pub(super) fn random() -> Result<Self, Error> {
        Ok(Self { reset: random()?, id: random()? })
    }

    pub(super) fn split(self) -> Result<(ResetKey, Ids), Error> {
        Ok((ResetKey(self.reset), Ids { key: Arc::new(self.id), seed: Arc::new(random()?), drawn: 0 }))
    }
}

fn random() -> Result<SecretKey32, Error> {
    let mut bytes = [0; 32];
    SystemRandom.fill(&mut bytes).map_err(|error| Error::Tls(error.to_string()))?;
    Ok(SecretKey32::new(bytes))
}

/// Makes the tokens of stateless resets.
pub(super) struct ResetKey(SecretKey32);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(&hmac_sha256(self.0.expose(), &[data]));
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        if ct_eq(&hmac_sha256(self.0.expose(), &[data]), signature) { Ok(()) } else { Err(CryptoError) }
    }
}

/// Connection ids that only we can tell from random bytes. So a packet to an unknown one of ours is answered by a
/// reset, and anything else by nothing. (quinn's own generator has a hash that an observer could turn round; under a key
/// that never changes all connections of a host could be linked by it.)
#[derive(Clone)]
pub(super) struct Ids {
    key: Arc<SecretKey32>,
    seed: Arc<SecretKey32>,
    drawn: u64,
}

impl Ids {
    fn tag(&self, nonce: &[u8]) -> [u8; 32] {
        hmac_sha256(self.key.expose(), &[nonce])
    }
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let drawn = hmac_sha256(self.seed.expose(), &[&self.drawn.to_le_bytes()]);
        self.drawn += 1;
        let mut id = [0; NONCE + TAG];
        id[..NONCE].copy_from_slice(&drawn[..NONCE]);
        id[NONCE..].copy_from_slice(&self.tag(&drawn[..NONCE])[..TAG]);
        ConnectionId::new(&id)
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), quinn_proto::InvalidCid> {
        match cid.split_at_checked(NONCE) {
            Some((nonce, tag)) if ct_eq(tag, &self.tag(nonce)[..TAG]) => Ok(()),
            Some(_) | None => Err(quinn_proto::InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        NONCE + TAG
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(socket: &str) -> SocketKeys {
        let mut seed = [0; 32];
        (0x10..).zip(&mut seed).for_each(|(value, byte)| *byte = value);
        ResetKeys::derive(&seed).of(socket.parse().unwrap())
    }

    fn hex(key: &SecretKey32) -> String {
        key.expose().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_follow_from_identity_family_and_port() {
        // Computed by an independent HKDF.
        let four = keys("192.0.2.1:41820");
        assert_eq!(hex(&four.reset), "778c3c257a4087142f24a111d0467743fb4c5fed780f76633e0399806a1b2793");
        assert_eq!(hex(&four.id), "ee841ecf6fb13577f68a2b72bf8d0c127237967e3328b1529552f63ceb8e1dd2");
        let six = keys("[2001:db8::1]:41820");
        assert_eq!(hex(&six.reset), "5ed01eacb99ce4c0f0c51e36d1fa78945f4e939cba8cec54653723605e89858e");
        assert_eq!(hex(&six.id), "61f3d9700141ac73749f72261162bc5e6b3621d6eb6e7835522c32eea1b32fc1");
        assert_ne!(hex(&keys("192.0.2.1:41821").reset), hex(&four.reset));
        assert_ne!(hex(&SocketKeys::random().unwrap().reset), hex(&SocketKeys::random().unwrap().reset));
    }

    #[test]
    fn a_later_life_knows_the_connection_ids_of_an_earlier_one_and_nobody_elses() {
        let ids = |keys: SocketKeys| keys.split().unwrap().1;
        let (mut earlier, mut later) = (ids(keys("192.0.2.1:41820")), ids(keys("192.0.2.1:41820")));
        let other = ids(keys("192.0.2.1:41821"));
        for _ in 0..100 {
            let id = earlier.generate_cid();
            assert_eq!(id.len(), later.cid_len());
            assert!(later.validate(&id).is_ok() && other.validate(&id).is_err());
            assert_ne!(id, later.generate_cid(), "each life draws its own");
            for place in 0..id.len() {
                let mut forged = [0; NONCE + TAG];
                forged.copy_from_slice(&id);
                forged[place] ^= 1;
                assert!(later.validate(&ConnectionId::new(&forged)).is_err());
            }
        }
        assert!(later.validate(&ConnectionId::new(&[])).is_err());
    }
}
