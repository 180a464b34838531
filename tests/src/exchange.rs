//! The product's handshake with given inputs, step by step, so that a test can change what is between the steps.

use node::crypto::Identity;
use node::handshake::{
    AwaitM4, ChainKey, ChainPolicy, EpochSecrets, HandshakeContext, HandshakeError, Initiator, M1Refused, ParamLimits,
    Params, ReceiverIndex, Responder, Tlv,
};
use node::peer_key::PeerKey;
use node::secret::{HeapStore, SecretKey32, SecretStore, StoredSecret};

use crate::reference::Inputs;
use crate::seams::{ScriptedRandom, SeededKem};

/// One side of a handshake.
pub struct Party {
    identity: Identity,
    remote: PeerKey,
    psk: Option<StoredSecret>,
    chain: Option<ChainKey>,
    params: Params,
    tlvs: Vec<Tlv>,
    kem: SeededKem,
    ephemeral: [u8; 32],
    index: ReceiverIndex,
    limits: ParamLimits,
}

/// The identity of a seed.
pub fn identity(seed: [u8; 32]) -> Identity {
    Identity::from_seed(keep(seed)).expect("a good seed")
}

/// A stored secret of these bytes.
pub fn keep(bytes: [u8; 32]) -> StoredSecret {
    HeapStore.keep(SecretKey32::new(bytes)).expect("the heap has room")
}

impl Party {
    /// I, and R, with these inputs and the same extensions in their typed form.
    ///
    /// # Panics
    /// When an input is not one that the product could be configured with.
    pub fn both(inputs: &Inputs, tlvs: [&[Tlv]; 2]) -> [Self; 2] {
        let seeds = [inputs.initiator_seed, inputs.responder_seed];
        let own = [(inputs.params_i, inputs.ei, inputs.idx_i), (inputs.params_r, inputs.er, inputs.idx_r)];
        [0, 1].map(|side| {
            let (params, ephemeral, index) = own[side];
            Self {
                identity: identity(seeds[side]),
                remote: identity(seeds[1 - side]).public(),
                psk: inputs.psk.map(keep),
                chain: inputs.chain_in.map(chain_key),
                params: Params::from_bytes(params, &ParamLimits::default()).expect("params that may be configured"),
                tlvs: tlvs[side].to_vec(),
                kem: SeededKem { seed: inputs.kem_seed, message: inputs.kem_m },
                ephemeral,
                index: ReceiverIndex::new(index).expect("an index is not zero"),
                limits: ParamLimits::default(),
            }
        })
    }

    /// With another peer in mind than the one that is there.
    pub fn expecting(mut self, remote: PeerKey) -> Self {
        self.remote = remote;
        self
    }

    fn with<T>(&self, call: impl FnOnce(&mut HandshakeContext<'_>) -> T) -> T {
        call(&mut HandshakeContext {
            local: &self.identity,
            remote: self.remote,
            psk: self.psk.as_ref(),
            params: self.params,
            tlvs: &self.tlvs,
            limits: &self.limits,
            kem: &self.kem,
            random: &mut ScriptedRandom::new(&self.ephemeral),
        })
    }

    /// M1.
    ///
    /// # Errors
    /// As [`Initiator::start`].
    pub fn start(&self) -> Result<(Initiator, Vec<u8>), HandshakeError> {
        self.with(|context| Initiator::start(context, self.chain.as_ref(), self.index))
    }

    /// M2 for M1.
    ///
    /// # Errors
    /// As [`Responder::read_m1`].
    pub fn read_m1(&self, m1: &[u8]) -> Result<(Responder, Vec<u8>), M1Refused> {
        let chains: Vec<&ChainKey> = self.chain.iter().collect();
        self.with(|context| Responder::read_m1(context, &chains, ChainPolicy::Optional, self.index, m1))
    }

    /// M3 for M2.
    ///
    /// # Errors
    /// As [`Initiator::read_m2`].
    pub fn read_m2(&self, state: Initiator, m2: &[u8]) -> Result<(AwaitM4, EpochSecrets, Vec<u8>), HandshakeError> {
        self.with(|context| state.read_m2(context, m2))
    }
}

/// A chain key of these bytes.
pub fn chain_key(bytes: [u8; 32]) -> ChainKey {
    ChainKey::new(SecretKey32::new(bytes), &HeapStore).expect("the heap has room")
}

/// Where the four messages stand when one of them was changed on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// I's first.
    M1,
    /// R's first.
    M2,
    /// I's second.
    M3,
    /// R's second.
    M4,
}

/// Both sides' results.
pub struct Exchange {
    /// M1 to M4 as sent.
    pub messages: [Vec<u8>; 4],
    /// I's keys.
    pub initiator: EpochSecrets,
    /// R's keys.
    pub responder: EpochSecrets,
}

/// Runs a whole handshake with `change` applied to each message on its way.
///
/// # Errors
/// The first fault that either side finds.
pub fn exchange(
    [initiator, responder]: &[Party; 2],
    change: impl Fn(Message, &mut Vec<u8>),
) -> Result<Exchange, HandshakeError> {
    let on_its_way = |message: Message, sent: &Vec<u8>| {
        let mut bytes = sent.clone();
        change(message, &mut bytes);
        bytes
    };
    let (waiting, m1) = initiator.start()?;
    let (pending, m2) = responder.read_m1(&on_its_way(Message::M1, &m1)).map_err(|refused| refused.error)?;
    let (await_m4, initiator, m3) = initiator.read_m2(waiting, &on_its_way(Message::M2, &m2))?;
    let (responder, m4) = pending.read_m3(&on_its_way(Message::M3, &m3))?;
    await_m4.read_m4(&on_its_way(Message::M4, &m4))?;
    Ok(Exchange { messages: [m1, m2, m3, m4], initiator, responder })
}
