//! The side that opens the substream.

use snow::HandshakeState;
use zeroize::Zeroizing;

use super::error::HandshakeError;
use super::params::Params;
use super::transcript::{Agreed, Parties, Role, Schedule, base_secret, check_confirmation, noise_psk, start_noise};
use super::wire::{M1Header, M2_HEADER, M2_NOISE, SEALED_SIGNATURE, m3_header, read_m2_header, split_m4};
use super::{ChainId, ChainKey, EpochSecrets, HandshakeContext, MAX_MESSAGE, ReceiverIndex, tlv};
use crate::crypto::{CIPHERTEXT_LEN, KemSecret};
use crate::secret::SecretKey32;

/// An initiator that has sent M1.
pub struct Initiator {
    noise: HandshakeState,
    kem_secret: Box<dyn KemSecret>,
    base: SecretKey32,
    chained: Option<ChainId>,
    index: ReceiverIndex,
    m1: Vec<u8>,
}

impl Initiator {
    /// Begins a handshake, chained to `chain` if there is one, and gives M1.
    ///
    /// # Errors
    /// [`HandshakeError`] when randomness, the KEM or the caller's extensions fail.
    pub fn start(
        context: &mut HandshakeContext<'_>,
        chain: Option<&ChainKey>,
        index: ReceiverIndex,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let chained = chain.map(ChainKey::id);
        let header = M1Header { index, psk: context.psk.is_some(), chain: chained }.to_bytes();
        let parties = Parties::of(context, Role::Initiator);
        let mut noise = start_noise(Role::Initiator, parties, &header, context.random)?;
        let (kem_secret, kem_public) = context.kem.generate()?;
        let payload = [&context.params.to_bytes()[..], &kem_public, &tlv::write_all(context.tlvs)?].concat();
        let mut m1 = header.to_vec();
        m1.resize(MAX_MESSAGE, 0);
        let written = noise.write_message(&payload, &mut m1[header.len()..]).map_err(|_| HandshakeError::Decrypt)?;
        m1.truncate(header.len() + written);
        let base = base_secret(chain, context.psk);
        let message = m1.clone();
        Ok((Self { noise, kem_secret, base, chained, index, m1 }, message))
    }

    /// Reads M2 (or REJECT) and gives M3 with the epoch's keys. The epoch is not confirmed yet: see [`AwaitM4`].
    ///
    /// # Errors
    /// [`HandshakeError`] says which check failed; [`HandshakeError::Rejected`] carries the responder's hint.
    pub fn read_m2(
        mut self,
        context: &mut HandshakeContext<'_>,
        m2: &[u8],
    ) -> Result<(AwaitM4, EpochSecrets, Vec<u8>), HandshakeError> {
        let remote_index = read_m2_header(m2, self.index)?;
        let ciphertext: &[u8; CIPHERTEXT_LEN] =
            m2[M2_HEADER..M2_NOISE].try_into().map_err(|_| HandshakeError::Length(m2.len()))?;
        let shared = self.kem_secret.decapsulate(ciphertext)?;
        drop(self.kem_secret);
        let psk = noise_psk(&self.base, &shared, &self.m1, m2);
        self.noise.set_psk(2, psk.expose()).map_err(|_| HandshakeError::Decrypt)?;

        let (noise_part, sealed) = m2[M2_NOISE..].split_at(m2.len() - M2_NOISE - SEALED_SIGNATURE);
        let mut payload = Zeroizing::new(vec![0; noise_part.len()]);
        let length = self.noise.read_message(noise_part, &mut payload).map_err(|_| HandshakeError::Decrypt)?;
        let schedule = Schedule::new(self.noise, Parties::of(context, Role::Initiator))?;
        schedule.verify(Role::Responder, sealed, schedule.hash())?;

        let (params, tlvs) =
            payload[..length].split_first_chunk::<{ Params::LEN }>().ok_or(HandshakeError::Length(m2.len()))?;
        let agreed = Agreed {
            remote_index,
            local_index: self.index,
            negotiated: context.params.negotiate(Params::from_bytes(*params, context.limits)?),
            remote_tlvs: tlv::read_all(tlvs)?,
            chained: self.chained,
        };
        let header = m3_header(remote_index);
        let m3 = [&header[..], &schedule.sign(Role::Initiator, context.local, &header)].concat();
        let await_m4 = AwaitM4 { key: schedule.confirmation_key(), index: self.index };
        Ok((await_m4, schedule.finish(Role::Initiator, agreed), m3))
    }

    /// The chain key that M1 named.
    pub const fn chained(&self) -> Option<ChainId> {
        self.chained
    }
}

/// An initiator that has sent M3 and waits for the responder's confirmation.
pub struct AwaitM4 {
    key: SecretKey32,
    index: ReceiverIndex,
}

impl AwaitM4 {
    /// Whether `m4` confirms the epoch.
    ///
    /// # Errors
    /// [`HandshakeError`] when it does not.
    pub fn read_m4(&self, m4: &[u8]) -> Result<(), HandshakeError> {
        let (header, tag) = split_m4(m4, self.index)?;
        check_confirmation(&self.key, &header, tag)
    }
}
