//! A peer that seems to have moved (protocol.md 7.6).

use std::net::SocketAddr;
use std::time::Duration;

use super::{Endpoint, Path, Paths};
use crate::epoch::EpochId;
use crate::receiver::Trust;
use crate::time::Time;

/// At most one pair of probes in this time.
const PAIR: Duration = Duration::from_millis(200);
/// How long an old endpoint must have been silent before an address that it cancelled may be proposed again.
const SILENCE: Duration = Duration::from_secs(1);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// An endpoint that a frame came from, and that has not answered yet.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) endpoint: Endpoint,
    token: [u8; 8],
    since: Time,
}

impl Proposal {
    pub(super) fn is_answered_by(&self, token: [u8; 8], from: Endpoint) -> bool {
        self.endpoint.remote == from.remote && self.token == token
    }

    pub(super) fn expires(&self) -> Time {
        self.since + PATIENCE
    }
}

/// An address that the old endpoint, being alive, spoke against.
#[derive(Debug)]
pub(super) struct Cancelled {
    remote: SocketAddr,
    /// When the old endpoint was last heard.
    heard: Time,
}

impl Paths {
    pub(super) fn on_moved(&mut self, now: Time, from: Endpoint, epoch: EpochId, counter: u64) {
        let soon = self.proposed_at.is_some_and(|at| now < at + PAIR);
        let denied = self.cancelled.as_ref().is_some_and(|c| c.remote == from.remote && now < c.heard + SILENCE);
        let known = self.trust.endpoint == Some(from.remote);
        if !self.is_wide(from.remote) || soon || denied || known {
            return;
        }
        let Some(token) = self.probe(from) else { return };
        self.proposed_at = Some(now);
        if let Path::Datagrams(old) = self.current {
            // Its answer is a frame from there, which is all that counts.
            let _ = self.probe(old);
        }
        self.proposal = Some(Proposal { endpoint: from, token, since: now });
        self.set_trust(Trust { proposed: Some((epoch, counter)), ..self.trust });
    }

    /// The old endpoint is alive.
    pub(super) fn on_stayed(&mut self, now: Time) {
        if let Some(proposal) = self.proposal.take() {
            self.cancelled = Some(Cancelled { remote: proposal.endpoint.remote, heard: now });
            self.set_trust(Trust { proposed: None, ..self.trust });
        }
    }

    /// What is heard from the old endpoint renews its word against the other.
    pub(super) fn on_endpoint_heard(&mut self, now: Time) {
        if let Some(cancelled) = &mut self.cancelled {
            cancelled.heard = now;
        }
    }

    pub(super) fn expire_proposal(&mut self, now: Time) {
        if self.proposal.as_ref().is_some_and(|proposal| proposal.expires() <= now) {
            self.proposal = None;
            self.set_trust(Trust { proposed: None, ..self.trust });
        }
    }
}
