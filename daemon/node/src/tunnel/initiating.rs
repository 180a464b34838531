//! Our own handshakes.

use super::attempts::{Own, Reached, Stage, context};
use super::{AttemptId, Base, ConnectionId, HandshakeFault, Output, Role, Tunnel, TunnelEvent};
use crate::handshake::{ChainId, ChainPolicy, HandshakeError, Initiator, RejectCode};
use crate::time::Time;

impl Tunnel {
    /// Asks for a substream; an unfinished handshake of the peer ends (6.7).
    pub(super) fn start(&mut self, now: Time, connection: ConnectionId) {
        if self.base_to_name() == Base::Clear && self.chain_policy() == ChainPolicy::Required {
            self.refuse(now, RejectCode::Policy);
            self.note_failure(now, Role::Initiator, HandshakeFault::ChainRequired);
            return;
        }
        self.abandon_answering();
        self.last_attempt += 2;
        let attempt = AttemptId(self.last_attempt);
        let deadline = now + self.config.limits.handshake;
        self.own = Some(Own { attempt, connection, deadline, stage: Stage::Opening });
        self.outputs.push_back(Output::OpenStream { connection, attempt });
    }

    /// The substream is open: M1 goes out.
    pub(super) fn send_m1(&mut self, now: Time, attempt: AttemptId) {
        let Some(own) = &self.own else { return };
        if own.attempt != attempt || !matches!(own.stage, Stage::Opening) {
            return;
        }
        match self.make_m1() {
            Ok((stage, bytes)) => {
                if let Some(own) = &mut self.own {
                    own.stage = stage;
                }
                self.outputs.push_back(Output::Send { attempt, bytes });
            }
            Err(error) => self.fail_own(now, error.into()),
        }
    }

    fn make_m1(&mut self) -> Result<(Stage, Vec<u8>), HandshakeError> {
        let chain = self.keyring.chain().get(self.base_to_name()).map(|link| &link.key);
        let lease = self.config.indices.lease(&mut *self.random)?;
        let mut context = context(&self.config, &mut *self.random);
        let (initiator, m1) = Initiator::start(&mut context, chain, lease.get())?;
        Ok((Stage::AwaitingM2 { initiator: Box::new(initiator), lease }, m1))
    }

    /// M2, M4 or REJECT.
    pub(super) fn read_answer(&mut self, now: Time, bytes: &[u8]) {
        let Some(own) = self.own.take() else { return };
        let attempt = own.attempt;
        let stage = match own.stage {
            // The peer does not speak first.
            Stage::Opening => Err(HandshakeError::Length(bytes.len()).into()),
            Stage::AwaitingM2 { initiator, lease } => {
                let named = initiator.chained();
                let mut context = context(&self.config, &mut *self.random);
                match initiator.read_m2(&mut context, bytes) {
                    Ok((check, secrets, m3)) => {
                        self.join(now, Role::Initiator, Reached { secrets, derived_at: now }, lease).map(|epoch| {
                            self.outputs.push_back(Output::Send { attempt, bytes: m3 });
                            Stage::AwaitingM4 { check, epoch }
                        })
                    }
                    Err(HandshakeError::Rejected { code, max_version }) => {
                        return self.on_reject(now, attempt, named, code, max_version);
                    }
                    Err(error) => Err(error.into()),
                }
            }
            // `settle` ends the handshake of an epoch that is confirmed, by whatever.
            Stage::AwaitingM4 { check, epoch } => check.read_m4(bytes).map_err(HandshakeFault::from).map(|()| {
                self.keyring.confirmed(now, epoch);
                Stage::AwaitingM4 { check, epoch }
            }),
        };
        match stage {
            Ok(stage) => self.own = Some(Own { stage, ..own }),
            Err(fault) => self.own_failed(now, attempt, fault),
        }
    }

    /// A hint of the peer: it never lowers what the configuration requires.
    fn on_reject(&mut self, now: Time, attempt: AttemptId, named: Option<ChainId>, code: RejectCode, max_version: u8) {
        let rejected = HandshakeError::Rejected { code, max_version };
        match code {
            RejectCode::ChainUnknown => match self.base_of(named) {
                Some(refused @ (Base::Newest | Base::Older)) => {
                    self.close(attempt, super::Close::Reset);
                    self.next_base = Some(self.keyring.after_unknown(refused));
                    self.urgent = true;
                }
                Some(Base::Clear) | None => self.own_failed(now, attempt, rejected.into()),
            },
            RejectCode::Busy => self.own_failed(now, attempt, HandshakeFault::Busy),
            RejectCode::Version | RejectCode::Suite | RejectCode::Policy => {
                self.own_failed(now, attempt, rejected.into());
                self.refuse(now, code);
                self.event(TunnelEvent::Rejected(code));
            }
        }
    }

    /// A person must act: a long pause, shorter while an epoch is live.
    fn refuse(&mut self, now: Time, code: RejectCode) {
        self.refused = Some(code);
        self.next_base = None;
        let pauses = self.config.limits.refused;
        let pause = if self.is_live() { pauses.soft } else { pauses.hard };
        self.backoff.pause(now, pause, &mut *self.random);
    }

    /// What the next M1 names.
    fn base_to_name(&self) -> Base {
        let chain = self.keyring.chain();
        match self.next_base {
            Some(Base::Clear) => Base::Clear,
            Some(base) if chain.get(base).is_some() => base,
            Some(Base::Newest | Base::Older) | None => chain.first_base(),
        }
    }
}
