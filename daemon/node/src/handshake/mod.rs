//! The handshake that makes an epoch's keys (protocol.md 6): Noise NNpsk2 over X25519, ML-KEM-768 mixed into its
//! psk, the chain key and PSK beneath, and both identities' signatures over the transcript.
//!
//! Four messages, no I/O: [`Initiator::start`] gives M1, [`Responder::read_m1`] answers M2,
//! [`Initiator::read_m2`] gives M3, [`Responder::read_m3`] gives M4, [`AwaitM4::read_m4`] ends it.
//! Whatever fails, dropping the state erases it.

mod chain_key;
mod error;
mod initiator;
mod params;
mod responder;
mod tlv;
mod transcript;
mod wire;

pub use chain_key::{ChainId, ChainKey};
pub use error::{HandshakeError, M1Refused};
pub use initiator::{AwaitM4, Initiator};
pub use params::{Capabilities, Negotiated, PaddingMode, ParamLimits, Params, ParamsError};
pub use responder::{ChainPolicy, Responder};
pub use tlv::{Forwarding, MAX_ENDPOINTS, MAX_TLV_BYTES, Tlv, TlvError};
pub(crate) use tlv::{read_all, write_all};
pub use wire::{MAX_MESSAGE, MAX_VERSION, RejectCode, VERSION, reject_message};

use std::num::NonZeroU32;

use crate::crypto::{Identity, Kem768, RandomError, RandomSource};
use crate::peer_key::PeerKey;
use crate::secret::{SecretKey32, StoredSecret};

/// What both roles need to know; borrowed for one call.
pub struct HandshakeContext<'a> {
    /// Our own identity.
    pub local: &'a Identity,
    /// Whom the connection's transport proved the peer to be.
    pub remote: PeerKey,
    /// The pair's PSK, if it has one (6.2).
    pub psk: Option<&'a StoredSecret>,
    /// What we announce.
    pub params: Params,
    /// Extensions that we send.
    pub tlvs: &'a [Tlv],
    /// The bounds that the peer's parameters must keep.
    pub limits: &'a ParamLimits,
    /// ML-KEM-768.
    pub kem: &'a dyn Kem768,
    /// Secret randomness.
    pub random: &'a mut dyn RandomSource,
}

/// The index that a receiver chose for an epoch: random, non-zero, unused on its side (6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiverIndex(NonZeroU32);

impl ReceiverIndex {
    /// An index from its number, which must not be zero.
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// The number as it stands in frames.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Draws an index that `used` does not hold.
    ///
    /// # Errors
    /// [`RandomError`] from the source.
    pub fn random(random: &mut dyn RandomSource, used: impl Fn(Self) -> bool) -> Result<Self, RandomError> {
        loop {
            let mut bytes = [0; 4];
            random.fill(&mut bytes)?;
            match Self::new(u32::from_le_bytes(bytes)) {
                Some(index) if !used(index) => return Ok(index),
                Some(_) | None => {}
            }
        }
    }
}

/// What a finished handshake leaves: the keys of one epoch, seen from one side.
pub struct EpochSecrets {
    /// Seals what we send.
    pub send: SecretKey32,
    /// Opens what we receive.
    pub receive: SecretKey32,
    /// CK', the chain key that the next handshake may name.
    pub chain: SecretKey32,
    /// The Noise handshake hash: public, names the session in logs by its first 8 bytes.
    pub session: [u8; 32],
    /// The index that the peer chose, for the frames that we send.
    pub remote_index: ReceiverIndex,
    /// The index that we chose.
    pub local_index: ReceiverIndex,
    /// What both sides' parameters come to.
    pub negotiated: Negotiated,
    /// The peer's extensions.
    pub remote_tlvs: Vec<Tlv>,
    /// The chain key that was mixed in, if any.
    pub chained: Option<ChainId>,
}
