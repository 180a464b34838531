//! Handshakes in flight, and the keys that they make.

use std::sync::Arc;
use std::time::Duration;

use super::keyring::Full;
use super::{
    AttemptId, Base, ChainRule, ChainStart, Close, ConnectionId, Epoch, HandshakeFault, IndexLease, Made, Output, Role,
    Tunnel, TunnelConfig, TunnelEvent,
};
use crate::crypto::RandomSource;
use crate::epoch::{EpochId, EpochState, Limits, Opener, Sealer};
use crate::handshake::{
    AwaitM4, ChainId, ChainKey, ChainPolicy, EpochSecrets, HandshakeContext, HandshakeError, Initiator, Negotiated,
    ReceiverIndex, Responder, Tlv,
};
use crate::secret::SecretKey32;
use crate::time::Time;

/// At most one line about failed handshakes in this time (6.7).
const EVENT_INTERVAL: Duration = Duration::from_secs(10);
/// The most substreams of the peer that may wait for their M1.
const MAX_INCOMING: usize = 4;

/// Our own handshake.
pub(super) struct Own {
    pub(super) attempt: AttemptId,
    pub(super) connection: ConnectionId,
    pub(super) deadline: Time,
    pub(super) stage: Stage,
}

/// How far our own handshake is.
pub(super) enum Stage {
    /// The substream is being opened.
    Opening,
    /// M1 is unanswered.
    AwaitingM2 { initiator: Box<Initiator>, lease: IndexLease },
    /// M3 is sent.
    AwaitingM4 { check: AwaitM4, epoch: EpochId },
}

/// A handshake of the peer that waits for M3.
pub(super) struct Answering {
    pub(super) attempt: AttemptId,
    pub(super) connection: ConnectionId,
    pub(super) deadline: Time,
    pub(super) responder: Box<Responder>,
    pub(super) lease: IndexLease,
    /// When M2 was made, and the keys with it.
    pub(super) derived_at: Time,
}

/// A handshake that reached M3.
pub(super) struct Reached {
    pub(super) secrets: EpochSecrets,
    pub(super) derived_at: Time,
}

/// A substream of the peer that waits for M1.
pub(super) struct Incoming {
    pub(super) attempt: AttemptId,
    pub(super) connection: ConnectionId,
    pub(super) deadline: Time,
}

/// What the tunnel keeps of an epoch; the key that opens is with the receiving loop.
pub(super) struct EpochKeys {
    pub(super) state: Arc<EpochState>,
    pub(super) lease: IndexLease,
    pub(super) derived_at: Time,
    pub(super) limits: Limits,
    pub(super) negotiated: Negotiated,
    /// The key that seals, until a newer epoch is sent on.
    pub(super) sealer: Option<Arc<Sealer>>,
    pub(super) session: [u8; 8],
    pub(super) remote_tlvs: Vec<Tlv>,
    /// Set if the handshake was based on no chain.
    pub(super) start: Option<ChainStart>,
}

impl EpochKeys {
    /// The keys of an epoch whose both sides are proven, and what opens it.
    pub(super) fn new(
        id: EpochId,
        secrets: &EpochSecrets,
        lease: IndexLease,
        derived_at: Time,
        start: Option<ChainStart>,
        config: &TunnelConfig,
    ) -> (Self, Box<Opener>) {
        let negotiated = secrets.negotiated;
        let limits = config.limits.epoch(negotiated.cipher, negotiated.rotation);
        let state = Arc::new(EpochState::new(id));
        let shared = || Arc::clone(&state);
        let sealer = Sealer::new(&secrets.send, secrets.remote_index, &negotiated, limits, derived_at, shared());
        let opener = Opener::new(&secrets.receive, lease.get(), &negotiated, limits, derived_at, shared());
        let mut session = [0; 8];
        session.copy_from_slice(&secrets.session[..8]);
        let remote_tlvs = secrets.remote_tlvs.clone();
        let sealer = Some(Arc::new(sealer));
        let keys = Self { state, lease, derived_at, limits, negotiated, sealer, session, remote_tlvs, start };
        (keys, Box::new(opener))
    }

    pub(super) const fn index(&self) -> ReceiverIndex {
        self.lease.get()
    }

    /// When the hard limit of time ends it.
    pub(super) fn expires(&self) -> Time {
        self.derived_at + self.limits.age.hard
    }
}

/// What a handshake needs to know, borrowed for one call.
pub(super) fn context<'a>(config: &'a TunnelConfig, random: &'a mut dyn RandomSource) -> HandshakeContext<'a> {
    HandshakeContext {
        local: &config.identity,
        remote: config.remote,
        psk: config.psk.as_ref(),
        params: config.params,
        tlvs: &config.tlvs,
        limits: &config.limits.params,
        kem: &*config.kem,
        random,
    }
}

impl Tunnel {
    pub(super) fn on_incoming(&mut self, now: Time, connection: ConnectionId, attempt: AttemptId) {
        if self.incoming.len() == MAX_INCOMING {
            let oldest = self.incoming.remove(0);
            self.close(oldest.attempt, Close::Reset);
        }
        let deadline = now + self.config.limits.handshake;
        self.incoming.push(Incoming { attempt, connection, deadline });
    }

    /// Ends our own handshake without a fault. An epoch that it made stays to receive on (8).
    pub(super) fn abandon_own(&mut self) {
        if let Some(own) = self.own.take() {
            self.close(own.attempt, Close::Reset);
        }
    }

    /// Ends the peer's handshake without a fault; its keys are erased.
    pub(super) fn abandon_answering(&mut self) {
        if let Some(answering) = self.answering.take() {
            self.close(answering.attempt, Close::Reset);
        }
    }

    pub(super) fn end_attempts(&mut self) {
        self.abandon_own();
        self.abandon_answering();
        self.next_base = None;
    }

    /// Our own handshake failed: pause, then try again.
    pub(super) fn fail_own(&mut self, now: Time, fault: HandshakeFault) {
        if let Some(own) = self.own.take() {
            self.own_failed(now, own.attempt, fault);
        }
    }

    pub(super) fn own_failed(&mut self, now: Time, attempt: AttemptId, fault: HandshakeFault) {
        self.close(attempt, Close::Reset);
        self.next_base = None;
        self.urgent = true;
        self.backoff.failed(now, &self.config.limits, &mut *self.random);
        self.note_failure(now, Role::Initiator, fault);
    }

    /// The peer's handshake failed.
    pub(super) fn fail_answering(&mut self, now: Time, fault: HandshakeFault) {
        self.abandon_answering();
        self.note_failure(now, Role::Responder, fault);
    }

    pub(super) fn note_failure(&mut self, now: Time, role: Role, fault: HandshakeFault) {
        *self.failures.entry(fault.name()).or_default() += 1;
        let quiet = self.last_failure_event.is_some_and(|last| now.saturating_since(last) < EVENT_INTERVAL);
        if !quiet {
            self.last_failure_event = Some(now);
            self.event(TunnelEvent::HandshakeFailed { role, fault });
        }
    }

    pub(super) fn erase_epochs(&mut self) {
        let erased = self.keyring.erase_epochs();
        self.remove_all(erased);
    }

    /// A handshake reached M3: its epoch joins the others, before M3 or M4 leaves.
    pub(super) fn join(
        &mut self,
        now: Time,
        role: Role,
        mut handshake: Reached,
        lease: IndexLease,
    ) -> Result<EpochId, HandshakeFault> {
        let base = self.base_of(handshake.secrets.chained).ok_or(HandshakeError::ChainUnknown)?;
        let id = self.keyring.next_id();
        let start = self.chain_start(base);
        let (keys, opener) = EpochKeys::new(id, &handshake.secrets, lease, handshake.derived_at, start, &self.config);
        // Only here, after the signature was verified, is the chain key kept (6.4).
        let chain = std::mem::replace(&mut handshake.secrets.chain, SecretKey32::new([0; 32]));
        let chain = ChainKey::new(chain, &*self.config.store).map_err(|_| HandshakeFault::Store)?;
        let erased = self.keyring.learn(now, role, base);
        self.remove_all(erased);
        let erased =
            self.keyring.add(role, base, id, Made { keys, chain }).map_err(|Full| HandshakeFault::TooManyEpochs)?;
        self.remove_all(erased);
        self.next_base = None;
        self.outputs.push_back(Output::Install { opener });
        Ok(id)
    }

    /// Marks epochs dead for the loops and takes them from them.
    pub(super) fn remove_all(&mut self, epochs: impl IntoIterator<Item = Epoch<EpochKeys>>) {
        for Epoch { keys, .. } in epochs {
            keys.state.kill();
            self.outputs.push_back(Output::Remove { index: keys.index() });
        }
    }

    pub(super) fn close(&mut self, attempt: AttemptId, how: Close) {
        self.outputs.push_back(Output::CloseStream { attempt, how });
    }

    /// Which chain key, held now, a handshake was based on; `None` if it is gone.
    pub(super) fn base_of(&self, named: Option<ChainId>) -> Option<Base> {
        match named {
            None => Some(Base::Clear),
            Some(id) => self.keyring.chain().find(|key| key.id() == id),
        }
    }

    /// What a start on `base` means for the chain.
    pub(super) fn chain_start(&self, base: Base) -> Option<ChainStart> {
        match base {
            Base::Newest | Base::Older => None,
            Base::Clear if self.keyring.chain().stands_for_none() => Some(ChainStart::First),
            Base::Clear => Some(ChainStart::PeerLost),
        }
    }

    /// Whether a handshake without a chain is made and answered now.
    pub(super) fn chain_policy(&self) -> ChainPolicy {
        match self.config.require_chain {
            ChainRule::Required if self.armed_until.is_none() => ChainPolicy::Required,
            ChainRule::Required | ChainRule::Optional => ChainPolicy::Optional,
        }
    }
}
