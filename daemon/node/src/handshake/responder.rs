//! The side that the substream was opened to.

use zeroize::Zeroizing;

use super::error::{HandshakeError, M1Refused};
use super::params::Params;
use super::transcript::{Agreed, Parties, Role, Schedule, base_secret, noise_psk, start_noise};
use super::wire::{M1_HEADER, M1Header, header_bytes, m2_header, m4_header, split_m3};
use super::{ChainId, ChainKey, EpochSecrets, HandshakeContext, MAX_MESSAGE, ReceiverIndex, tlv};
use crate::crypto::ENCAPSULATION_KEY_LEN;

/// Whether a handshake without a chain is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainPolicy {
    /// It is.
    Optional,
    /// It gets REJECT 5 (`require_chain`, 6.7).
    Required,
}

/// A responder that has sent M2.
///
/// Its epoch is pending: nothing may be delivered on it before M3 verifies. Of the two ways that 6.6 allows, frames
/// that arrive earlier are dropped: the keys of the epoch come into being in [`Responder::read_m3`].
pub struct Responder {
    schedule: Schedule,
    agreed: Agreed,
}

impl Responder {
    /// Checks M1 and gives M2. `chains` are the chain keys held for this peer, at most two.
    ///
    /// # Errors
    /// [`M1Refused`] with the REJECT to send, if one is due.
    pub fn read_m1(
        context: &mut HandshakeContext<'_>,
        chains: &[&ChainKey],
        policy: ChainPolicy,
        index: ReceiverIndex,
        m1: &[u8],
    ) -> Result<(Self, Vec<u8>), M1Refused> {
        let header = M1Header::read(m1)?;
        if header.psk != context.psk.is_some() {
            return Err(HandshakeError::PskMismatch.into());
        }
        let chain = match header.chain {
            None if policy == ChainPolicy::Required => return Err(HandshakeError::ChainRequired.into()),
            None => None,
            Some(id) => Some(*chains.iter().find(|chain| chain.id() == id).ok_or(HandshakeError::ChainUnknown)?),
        };
        Self::answer(context, chain, index, &header, m1).map_err(M1Refused::from)
    }

    fn answer(
        context: &mut HandshakeContext<'_>,
        chain: Option<&ChainKey>,
        index: ReceiverIndex,
        header: &M1Header,
        m1: &[u8],
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let parties = Parties::of(context, Role::Responder);
        let mut noise = start_noise(Role::Responder, parties, &header_bytes(m1)?, context.random)?;
        let mut payload = Zeroizing::new(vec![0; m1.len()]);
        let length = noise.read_message(&m1[M1_HEADER..], &mut payload).map_err(|_| HandshakeError::Decrypt)?;
        let too_short = || HandshakeError::Length(m1.len());
        let (params, rest) = payload[..length].split_first_chunk::<{ Params::LEN }>().ok_or_else(too_short)?;
        let (kem_public, tlvs) = rest.split_first_chunk::<ENCAPSULATION_KEY_LEN>().ok_or_else(too_short)?;
        let negotiated = context.params.negotiate(Params::from_bytes(*params, context.limits)?);
        let remote_tlvs = tlv::read_all(tlvs)?;

        let (ciphertext, shared) = context.kem.encapsulate(kem_public)?;
        let mut m2 = [&m2_header(index, header.index)[..], &ciphertext].concat();
        let psk = noise_psk(&base_secret(chain, context.psk), &shared, m1, &m2);
        noise.set_psk(2, psk.expose()).map_err(|_| HandshakeError::Decrypt)?;
        let reply = [&context.params.to_bytes()[..], &tlv::write_all(context.tlvs)?].concat();
        let start = m2.len();
        m2.resize(MAX_MESSAGE, 0);
        let written = noise.write_message(&reply, &mut m2[start..]).map_err(|_| HandshakeError::Decrypt)?;
        m2.truncate(start + written);

        let schedule = Schedule::new(noise, parties)?;
        m2.extend(schedule.sign(Role::Responder, context.local, schedule.hash()));
        let chained = header.chain;
        let agreed = Agreed { remote_index: header.index, local_index: index, negotiated, remote_tlvs, chained };
        Ok((Self { schedule, agreed }, m2))
    }

    /// The chain key that M1 named.
    pub const fn chained(&self) -> Option<ChainId> {
        self.agreed.chained
    }

    /// Our index of the pending epoch.
    pub const fn local_index(&self) -> ReceiverIndex {
        self.agreed.local_index
    }

    /// Verifies M3: the epoch is confirmed, and M4 goes out.
    ///
    /// # Errors
    /// [`HandshakeError`] when M3 is not the initiator's.
    pub fn read_m3(self, m3: &[u8]) -> Result<(EpochSecrets, Vec<u8>), HandshakeError> {
        let (header, sealed) = split_m3(m3, self.agreed.local_index)?;
        self.schedule.verify(Role::Initiator, sealed, &header)?;
        let header = m4_header(self.agreed.remote_index);
        let m4 = [&header[..], &self.schedule.confirmation(&header)].concat();
        Ok((self.schedule.finish(Role::Responder, self.agreed), m4))
    }
}
