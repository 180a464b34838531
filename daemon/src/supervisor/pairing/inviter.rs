//! The inviter's side: the verbs about tickets, and the answer to a P1.

use std::cmp::Reverse;
use std::time::Duration;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::{InviteStatus, Reply};
use cryprq_ipc_proto::secret::SecretText;
use net::swarm::PairStream;
use net::{Multiaddr, peer_id};
use node::pairing::{
    Answer, Asker, CancelError, DEFAULT_LIFETIME, Host, HostName, Invitation, InvitationState, Refusal, Standing,
    TicketIdError,
};
use node::peer_key::PeerKey;
use os::random::SystemRandom;

use super::refusals::{not_invited, not_kept};
use super::{Answered, now, warn_of};
use crate::supervisor::Supervisor;
use crate::supervisor::addresses::readable;
use crate::supervisor::peers::bad_request;

impl Supervisor {
    pub(in crate::supervisor) async fn invite(&mut self, expires_ms: Option<u64>, relay: Option<&str>) -> Answered {
        let lifetime = expires_ms.map_or(DEFAULT_LIFETIME, Duration::from_millis);
        // Those at the relay come first: whoever asks for them knows that others are of little use.
        let mut addresses = relay.map_or(Ok(Vec::new()), |relay| self.places_at(relay))?;
        addresses.extend(self.outer_addresses());
        let bytes: Vec<_> = addresses.iter().map(Multiaddr::to_vec).collect();
        let now = now();
        let made = self.pairing.inviter.invite(now, lifetime, &bytes, &mut SystemRandom);
        let ticket = made.map_err(|error| not_invited(&error))?;
        if let Err(error) = self.save_tickets() {
            self.pairing.inviter.withdraw(ticket.id);
            return Err(not_kept(&error));
        }
        self.follow_tickets().await;
        tracing::info!(ticket = %ticket.id, "a ticket is open");
        Ok(Reply::Invite {
            invite: ticket.id.to_string(),
            ticket: SecretText::new(ticket.encode().to_string()),
            expires_at: time_text(now.wall.saturating_add(lifetime.as_secs())),
            addresses: ticket.addresses.into_iter().filter_map(readable).map(|address| address.to_string()).collect(),
            reachable: self.reachable().into(),
        })
    }

    pub(in crate::supervisor) fn invites(&self) -> Reply {
        let mut invitations: Vec<_> = self.pairing.inviter.invitations().collect();
        invitations.sort_by_key(|invitation| (Reverse(invitation.created), invitation.id));
        Reply::Invites { invites: invitations.into_iter().map(invite_status).collect() }
    }

    pub(in crate::supervisor) async fn cancel_invite(&mut self, invite: &str) -> Result<(), ErrorBody> {
        let id = invite.parse().map_err(|error: TicketIdError| bad_request("invite", error.to_string()))?;
        let cancelled = self.pairing.inviter.cancel(now(), id);
        cancelled.map_err(|error| match error {
            CancelError::Unknown => ErrorBody::new(ErrorCode::TicketUnknown, error.to_string())
                .hint("'cryprq invite --list' shows the tickets"),
            CancelError::Used(by) => {
                let peer = peer_id::format(by);
                ErrorBody::new(ErrorCode::TicketUsed, format!("{error}, by {peer}"))
                    .hint(format!("sudo cryprq peers remove {peer}"))
            }
        })?;
        self.follow_tickets().await;
        Ok(())
    }

    pub(in crate::supervisor) async fn on_pairing_asked(&mut self, asker: PeerKey, stream: PairStream, p1: &[u8]) {
        let answer = self.judge(asker, p1).await;
        self.follow_tickets().await;
        self.net.answer_pairing(stream, answer).await;
    }

    /// What a P1 is answered; the answer may leave, for what must be on disk is.
    pub(in crate::supervisor) async fn judge(&mut self, asker: PeerKey, p1: &[u8]) -> Option<Vec<u8>> {
        let standing = if self.slots.contains_key(&asker) {
            Standing::Peer
        } else if self.pairing.is_joining(asker) {
            Standing::Joining
        } else {
            Standing::Stranger
        };
        let name = HostName::new(&self.config.name).ok()?;
        let host = Host { name, ipv4: self.ipv4_rules(asker, &[]) };
        let answer = self.pairing.inviter.answer(now(), Asker { key: asker, standing }, p1, &host, &mut SystemRandom);
        match answer {
            Answer::Silence(fault) => {
                tracing::debug!(peer = %asker, %fault, "a pairing message makes no sense");
                None
            }
            // Strangers may ask as often as they like, but not fill the log; wrong secrets burn the ticket soon.
            Answer::Refuse(Refusal::WrongSecret) => {
                tracing::warn!(peer = peer_id::format(asker), "a ticket was tried with a wrong secret");
                Some(Refusal::WrongSecret.message())
            }
            Answer::Refuse(refusal) => {
                tracing::debug!(peer = %asker, reason = %refusal, "a pairing was refused");
                Some(refusal.message())
            }
            Answer::Again(p2) => Some(p2),
            Answer::Accept(accepted) => {
                let kept = match self.save_tickets() {
                    Ok(()) => self.enter_paired(&accepted.peer, Vec::new()).await,
                    Err(error) => Err(not_kept(&error)),
                };
                if let Err(error) = kept {
                    tracing::error!(error = error.message, "a pairing could not be kept, so it gets no answer");
                    self.pairing.inviter.undo(*accepted);
                    self.follow_tickets().await;
                    return None;
                }
                tracing::info!(ticket = %accepted.ticket, peer = peer_id::format(asker), "a ticket was used");
                warn_of(asker, accepted.uncounted.as_slice());
                if standing == Standing::Joining {
                    let outcome = Ok(self.joined(asker));
                    self.end_join(outcome).await;
                }
                Some(accepted.p2)
            }
        }
    }
}

fn invite_status(invitation: &Invitation) -> InviteStatus {
    let (state, used) = match invitation.state {
        InvitationState::Open { .. } => ("open", None),
        InvitationState::Used { by, at, .. } => ("used", Some((by, at))),
        InvitationState::Burnt { .. } => ("burnt", None),
        InvitationState::Expired => ("expired", None),
        InvitationState::Cancelled { .. } => ("cancelled", None),
    };
    InviteStatus {
        id: invitation.id.to_string(),
        state: state.into(),
        expires_at: time_text(invitation.expires),
        used_by: used.map(|(by, _)| peer_id::format(by)),
        used_at: used.map(|(_, at)| time_text(at)),
    }
}

fn time_text(seconds: u64) -> String {
    let timestamp = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    timestamp.unwrap_or(jiff::Timestamp::MAX).to_string()
}
