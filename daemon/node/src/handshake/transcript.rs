//! The key schedule and the signed transcript (protocol.md 6.4).

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use snow::HandshakeState;
use snow::params::NoiseParams;
use zeroize::Zeroizing;

use super::chain_key::ChainKey;
use super::error::HandshakeError;
use super::wire::{M1_HEADER, M2_NOISE, SEALED_SIGNATURE, TAG};
use super::{ChainId, EpochSecrets, HandshakeContext, Negotiated, ReceiverIndex, Tlv};
use crate::crypto::{RandomSource, Resolver, exp, extract, sha256, verify_strict};
use crate::peer_key::PeerKey;
use crate::secret::{SecretKey32, StoredSecret};

const NOISE: &str = "Noise_NNpsk2_25519_ChaChaPoly_SHA256";
/// v1 over libp2p binds no channel (6.2).
const CHANNEL_BINDING: [u8; 32] = [0; 32];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Initiator,
    Responder,
}

/// The two identities, by role.
#[derive(Clone, Copy)]
pub(super) struct Parties {
    pub(super) initiator: PeerKey,
    pub(super) responder: PeerKey,
}

impl Parties {
    pub(super) fn of(context: &HandshakeContext<'_>, role: Role) -> Self {
        let (local, remote) = (context.local.public(), context.remote);
        match role {
            Role::Initiator => Self { initiator: local, responder: remote },
            Role::Responder => Self { initiator: remote, responder: local },
        }
    }

    fn signed_text(self, role: Role, hash: &[u8; 32]) -> Vec<u8> {
        let word: &[u8] = match role {
            Role::Initiator => b"CrypRQ tunnel v1 initiator",
            Role::Responder => b"CrypRQ tunnel v1 responder",
        };
        [&[0x20; 64], word, &[0], hash, self.initiator.as_bytes(), self.responder.as_bytes()].concat()
    }
}

/// Starts Noise for one side, with M1's header in the prologue.
pub(super) fn start_noise(
    role: Role,
    parties: Parties,
    m1_header: &[u8; M1_HEADER],
    random: &mut dyn RandomSource,
) -> Result<HandshakeState, HandshakeError> {
    let prologue = [
        b"CrypRQ tunnel v1",
        &parties.initiator.as_bytes()[..],
        parties.responder.as_bytes(),
        &CHANNEL_BINDING,
        m1_header,
    ]
    .concat();
    let params: NoiseParams = NOISE.parse().map_err(|_| HandshakeError::Decrypt)?;
    // No placeholder psk: without one a forgotten `set_psk` fails instead of running on zeros.
    let builder = snow::Builder::with_resolver(params, Box::new(Resolver::new(random)?))
        .prologue(&prologue)
        .map_err(|_| HandshakeError::Decrypt)?;
    match role {
        Role::Initiator => builder.build_initiator(),
        Role::Responder => builder.build_responder(),
    }
    .map_err(|_| HandshakeError::Decrypt)
}

/// `S` of 6.2, the secret beneath the psk.
pub(super) fn base_secret(chain: Option<&ChainKey>, psk: Option<&StoredSecret>) -> SecretKey32 {
    const NONE: &[u8; 32] = &[0; 32];
    let (chain, psk) = (chain.map_or(NONE, ChainKey::expose), psk.map_or(NONE, StoredSecret::expose));
    extract(chain, psk)
}

/// `psk = Exp(Extract(S, ss), "psk", H(M1 || M2[0..1104]), 32)`.
pub(super) fn noise_psk(base: &SecretKey32, shared: &SecretKey32, m1: &[u8], m2: &[u8]) -> SecretKey32 {
    let transcript = sha256(&[m1, &m2[..M2_NOISE.min(m2.len())]]);
    let mut psk = Zeroizing::new([0; 32]);
    exp(&extract(base.expose(), shared.expose()), "psk", &[&transcript], &mut *psk);
    SecretKey32::new(*psk)
}

/// All keys of an epoch; erased with the handshake.
pub(super) struct Schedule {
    hash: [u8; 32],
    prk: SecretKey32,
    parties: Parties,
}

impl Schedule {
    /// Takes `h` and the split out of a finished Noise state.
    pub(super) fn new(mut noise: HandshakeState, parties: Parties) -> Result<Self, HandshakeError> {
        let hash: [u8; 32] = noise.get_handshake_hash().try_into().map_err(|_| HandshakeError::Decrypt)?;
        let (k1, k2) = noise.dangerously_get_raw_split();
        let (k1, k2) = (Zeroizing::new(k1), Zeroizing::new(k2));
        let mut ikm = Zeroizing::new([0; 64]);
        ikm[..32].copy_from_slice(&*k1);
        ikm[32..].copy_from_slice(&*k2);
        Ok(Self { hash, prk: extract(&hash, &*ikm), parties })
    }

    fn key(&self, label: &str) -> SecretKey32 {
        let mut key = Zeroizing::new([0; 32]);
        exp(&self.prk, label, &[], &mut *key);
        SecretKey32::new(*key)
    }

    fn handshake_key(&self, sender: Role) -> SecretKey32 {
        self.key(match sender {
            Role::Initiator => "hs i2r",
            Role::Responder => "hs r2i",
        })
    }

    fn data_key(&self, sender: Role) -> SecretKey32 {
        self.key(match sender {
            Role::Initiator => "data i2r",
            Role::Responder => "data r2i",
        })
    }

    pub(super) const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The sealed signature of `own`, which `signer` makes.
    pub(super) fn sign(&self, own: Role, signer: &crate::crypto::Identity, ad: &[u8]) -> [u8; SEALED_SIGNATURE] {
        let mut out = [0; SEALED_SIGNATURE];
        out[..64].copy_from_slice(&signer.sign(&self.parties.signed_text(own, &self.hash)));
        let (signature, tag) = out.split_at_mut(64);
        tag.copy_from_slice(&seal(&self.handshake_key(own), 0, ad, signature));
        out
    }

    /// Opens and verifies the sealed signature of `signer`.
    pub(super) fn verify(&self, signer: Role, sealed: &[u8], ad: &[u8]) -> Result<(), HandshakeError> {
        let signature = open(&self.handshake_key(signer), 0, ad, sealed)?;
        let signature: [u8; 64] = signature.as_slice().try_into().map_err(|_| HandshakeError::Signature)?;
        let key = match signer {
            Role::Initiator => self.parties.initiator,
            Role::Responder => self.parties.responder,
        };
        verify_strict(key, &self.parties.signed_text(signer, &self.hash), &signature)
            .map_err(|_| HandshakeError::Signature)
    }

    /// The tag of M4, under the responder's handshake key with nonce 1.
    pub(super) fn confirmation(&self, header: &[u8; 8]) -> [u8; TAG] {
        seal(&self.handshake_key(Role::Responder), 1, header, &mut [])
    }

    /// What checks M4 after the rest of the handshake is erased.
    pub(super) fn confirmation_key(&self) -> SecretKey32 {
        self.handshake_key(Role::Responder)
    }

    /// The epoch's keys for `own`; consumes and so erases the schedule.
    pub(super) fn finish(self, own: Role, agreed: Agreed) -> EpochSecrets {
        let peer = match own {
            Role::Initiator => Role::Responder,
            Role::Responder => Role::Initiator,
        };
        let (send, receive) = (self.data_key(own), self.data_key(peer));
        debug_assert!(!send.ct_eq(&receive), "each direction has its own key");
        EpochSecrets {
            send,
            receive,
            chain: self.key("chain"),
            session: self.hash,
            remote_index: agreed.remote_index,
            local_index: agreed.local_index,
            negotiated: agreed.negotiated,
            remote_tlvs: agreed.remote_tlvs,
            chained: agreed.chained,
        }
    }
}

/// The public results of a handshake.
pub(super) struct Agreed {
    pub(super) remote_index: ReceiverIndex,
    pub(super) local_index: ReceiverIndex,
    pub(super) negotiated: Negotiated,
    pub(super) remote_tlvs: Vec<Tlv>,
    pub(super) chained: Option<ChainId>,
}

/// Whether `tag` is M4's.
pub(super) fn check_confirmation(key: &SecretKey32, header: &[u8; 8], tag: &[u8]) -> Result<(), HandshakeError> {
    open(key, 1, header, tag).map(drop)
}

fn cipher(key: &SecretKey32) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key.expose()).expect("a ChaCha20-Poly1305 key has 32 bytes");
    LessSafeKey::new(key)
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn seal(key: &SecretKey32, counter: u64, ad: &[u8], text: &mut [u8]) -> [u8; TAG] {
    let tag = cipher(key)
        .seal_in_place_separate_tag(nonce(counter), Aad::from(ad), text)
        .expect("64 bytes are far below the limit of the cipher");
    let mut out = [0; TAG];
    out.copy_from_slice(tag.as_ref());
    out
}

fn open(key: &SecretKey32, counter: u64, ad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, HandshakeError> {
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let length = cipher(key)
        .open_in_place(nonce(counter), Aad::from(ad), &mut buffer)
        .map_err(|_| HandshakeError::Decrypt)?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}
