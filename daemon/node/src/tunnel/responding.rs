//! The peer's handshakes.

use super::attempts::{Answering, Incoming, Reached, Stage, context};
use super::{Close, IndexLease, Output, Progress, Role, Tunnel, Verdict, Want, collide};
use crate::handshake::{HandshakeError, M1Refused, RejectCode, Responder, reject_message};
use crate::time::Time;

impl Tunnel {
    /// M1, on a substream that the peer opened.
    pub(super) fn read_m1(&mut self, now: Time, stream: Incoming, bytes: &[u8]) {
        if self.is_busy(now) {
            return self.reject(&stream, RejectCode::Busy);
        }
        // Every M1 that is not answered "busy" ends an unfinished handshake of the peer (6.7).
        self.abandon_answering();
        match self.make_m2(bytes) {
            Ok((responder, lease, m2)) => {
                self.abandon_own();
                let Incoming { attempt, connection, deadline: _ } = stream;
                self.outputs.push_back(Output::Send { attempt, bytes: m2 });
                let deadline = now + self.config.limits.handshake;
                let responder = Box::new(responder);
                self.answering = Some(Answering { attempt, connection, deadline, responder, lease, derived_at: now });
            }
            Err(refused) => {
                match refused.reject {
                    Some(code) => self.reject(&stream, code),
                    None => self.close(stream.attempt, Close::Reset),
                }
                self.note_failure(now, Role::Responder, refused.error.into());
            }
        }
    }

    /// Not wanted, a collision that we win, or too many handshakes.
    fn is_busy(&mut self, now: Time) -> bool {
        let progress = match self.own.as_ref().map(|own| &own.stage) {
            None | Some(Stage::Opening) => Progress::Unsent,
            Some(Stage::AwaitingM2 { .. }) => Progress::AwaitingM2,
            Some(Stage::AwaitingM4 { .. }) => Progress::AwaitingM4,
        };
        self.want == Want::Down
            || collide(progress, self.rank) == Verdict::Busy
            || !self.bucket.take(now, &self.config.limits)
    }

    fn reject(&mut self, stream: &Incoming, code: RejectCode) {
        self.outputs.push_back(Output::Send { attempt: stream.attempt, bytes: reject_message(code) });
        self.close(stream.attempt, Close::Finish);
    }

    fn make_m2(&mut self, m1: &[u8]) -> Result<(Responder, IndexLease, Vec<u8>), M1Refused> {
        let lease = self.config.indices.lease(&mut *self.random).map_err(HandshakeError::from)?;
        let policy = self.chain_policy();
        let chains: Vec<_> = self.keyring.chain().iter().map(|link| &link.key).collect();
        let mut context = context(&self.config, &mut *self.random);
        let (responder, m2) = Responder::read_m1(&mut context, &chains, policy, lease.get(), m1)?;
        Ok((responder, lease, m2))
    }

    /// M3: the epoch is confirmed.
    pub(super) fn read_m3(&mut self, now: Time, bytes: &[u8]) {
        let Some(Answering { attempt, responder, lease, derived_at, .. }) = self.answering.take() else { return };
        let proven = match responder.read_m3(bytes) {
            Ok((secrets, m4)) => self.join(now, Role::Responder, Reached { secrets, derived_at }, lease).map(|_| m4),
            Err(error) => Err(error.into()),
        };
        match proven {
            Ok(m4) => {
                self.outputs.push_back(Output::Send { attempt, bytes: m4 });
                self.close(attempt, Close::Finish);
            }
            Err(fault) => {
                self.close(attempt, Close::Reset);
                self.fail_answering(now, fault);
            }
        }
    }
}
