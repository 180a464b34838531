//! Somebody with a host's identity, and perhaps with its chain key and PSK, but without its daemon.

use node::crypto::Identity;
use node::handshake::{
    AwaitM4, ChainKey, EpochSecrets, HandshakeContext, HandshakeError, Initiator, ParamLimits, Params, ReceiverIndex,
};
use node::peer_key::PeerKey;
use node::secret::StoredSecret;

use crate::exchange::{chain_key, identity, keep};
use crate::sim::World;
use crate::sim::seeded::{SeededRandom, SimKem, Tape};

/// An initiator outside the network.
pub struct Impostor {
    identity: Identity,
    remote: PeerKey,
    psk: Option<StoredSecret>,
    chain: Option<ChainKey>,
    params: Params,
    random: SeededRandom,
    kem: SimKem,
}

impl Impostor {
    /// With the identity of `victim`, towards `host`.
    pub fn new(world: &World, victim: usize, host: usize) -> Self {
        let tape = Tape::default();
        Self {
            identity: identity(world.host(victim).seed),
            remote: world.host(host).identity.public(),
            psk: None,
            chain: None,
            params: world.host(victim).setup.params(),
            random: SeededRandom::new(0x1111, tape.clone()),
            kem: SimKem::new(0x2222, tape),
        }
    }

    /// With a chain key too.
    #[must_use]
    pub fn with_chain(mut self, key: [u8; 32]) -> Self {
        self.chain = Some(chain_key(key));
        self
    }

    /// With a PSK too.
    #[must_use]
    pub fn with_psk(mut self, psk: [u8; 32]) -> Self {
        self.psk = Some(keep(psk));
        self
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut HandshakeContext<'_>, Option<&ChainKey>) -> T) -> T {
        let mut context = HandshakeContext {
            local: &self.identity,
            remote: self.remote,
            psk: self.psk.as_ref(),
            params: self.params,
            tlvs: &[],
            limits: &ParamLimits { rotation_seconds: 1..=3600, ..ParamLimits::default() },
            kem: &self.kem,
            random: &mut self.random,
        };
        call(&mut context, self.chain.as_ref())
    }

    /// M1.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn start(&mut self, index: u32) -> (Initiator, Vec<u8>) {
        let index = ReceiverIndex::new(index).expect("not zero");
        self.with(|context, chain| Initiator::start(context, chain, index)).expect("M1 can be made")
    }

    /// M3 for M2, and the epoch's keys.
    ///
    /// # Errors
    /// What is wrong with M2, seen with this identity, chain key and PSK; or the REJECT that it is.
    pub fn read_m2(&mut self, state: Initiator, m2: &[u8]) -> Result<(AwaitM4, EpochSecrets, Vec<u8>), HandshakeError> {
        self.with(|context, _| state.read_m2(context, m2))
    }
}
