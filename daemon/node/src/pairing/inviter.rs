//! The inviter's side: which tickets there are, and what a joiner is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use super::PairedPeer;
use super::introduction::{HostName, Introduction};
use super::invitation::{Exchange, Invitation, InvitationState, REMEMBERED};
use super::ipv4::{Ipv4Rules, Uncounted};
use super::ticket::{Ticket, TicketId, TicketSecret};
use super::wire::{P1, P2, Pair, PairFault, PairKey, Refusal};
use crate::crypto::{RandomError, RandomSource};
use crate::peer_key::PeerKey;
use crate::time::Time;

/// How long a ticket lives unless somebody says otherwise.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// The longest life of a ticket.
pub const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// The most tickets that are kept, those that are over included.
pub const MAX_TICKETS: usize = 64;

/// This many wrong MACs burn a ticket.
const MAX_WRONG_MACS: u8 = 3;

/// Both clocks: the one that counts sleep judges, the other is written down and judges after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The boot clock.
    pub boot: Time,
    /// Seconds since 1970 on the wall clock.
    pub wall: u64,
}

/// What the inviter says of itself, and what it grants from.
pub struct Host {
    /// Its name.
    pub name: HostName,
    /// Its IPv4 addresses and everybody else's.
    pub ipv4: Ipv4Rules,
}

/// Who sent a P1, as the transport proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The key.
    pub key: PeerKey,
    /// How we stand with it.
    pub standing: Standing,
}

/// How we stand with whoever sent a P1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Unknown to us.
    Stranger,
    /// Our peer already.
    Peer,
    /// We are joining it ourselves, and it has not answered our own P1.
    Joining,
}

/// What a P1 is answered.
pub enum Answer {
    /// Nothing: the stream is reset.
    Silence(PairFault),
    /// This P0.
    Refuse(Refusal),
    /// The same P2 as before.
    Again(Vec<u8>),
    /// A P2, once [`Inviter::invitations`] and the new peer are on disk; if that fails, [`Inviter::undo`].
    Accept(Box<Accepted>),
}

/// A pairing that the inviter accepts.
pub struct Accepted {
    /// By which ticket.
    pub ticket: TicketId,
    /// The new peer. If it is one already, it lost its state: end its handshakes and older pairing streams first.
    pub peer: PairedPeer,
    /// What to answer.
    pub p2: Vec<u8>,
    /// Why the joiner's IPv4 address does not count.
    pub uncounted: Option<Uncounted>,
    before: InvitationState,
}

/// A ticket that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// A life of no length, or too long.
    #[error("a ticket lives from 1 second to 7 days")]
    Lifetime,
    /// Nowhere to be found.
    #[error("this host has no address that another one could reach")]
    NoAddress,
    /// Too many tickets.
    #[error("{MAX_TICKETS} tickets are kept already; those that are over go after a day")]
    TooMany,
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// A ticket that cannot be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// There is none of this id.
    #[error("there is no such ticket")]
    Unknown,
    /// Somebody joined by it.
    #[error("the ticket was used already")]
    Used(PeerKey),
}

struct Kept {
    invitation: Invitation,
    expires: Time,
    forget_at: Time,
}

/// All tickets of this host.
///
/// After each call that takes `&mut self` the owner writes [`Self::invitations`] to disk if [`Self::take_changed`] says
/// so, and calls [`Self::expire`] at [`Self::deadline`] or later.
pub struct Inviter {
    own: PeerKey,
    kept: BTreeMap<TicketId, Kept>,
    changed: bool,
}

impl Inviter {
    /// The tickets that an earlier run wrote down. Their ages are judged by the wall clock this once; a clock that was
    /// set back since lengthens no ticket's life beyond what it was made with.
    pub fn restore(own: PeerKey, invitations: Vec<Invitation>, now: Now) -> Self {
        let kept = invitations.into_iter().map(|invitation| {
            let lifetime = Duration::from_secs(invitation.expires.saturating_sub(invitation.created)).min(MAX_LIFETIME);
            let left = Duration::from_secs(invitation.expires.saturating_sub(now.wall)).min(lifetime);
            let remembered = Duration::from_secs(invitation.remembered_until().saturating_sub(now.wall));
            let (expires, forget_at) = (now.boot + left, now.boot + remembered.min(MAX_LIFETIME + REMEMBERED));
            (invitation.id, Kept { invitation, expires, forget_at })
        });
        let mut inviter = Self { own, kept: kept.collect(), changed: false };
        inviter.expire(now);
        inviter
    }

    /// Makes a ticket with the best of `addresses` (multiaddrs in their binary form).
    ///
    /// # Errors
    /// [`InviteError`].
    pub fn invite(
        &mut self,
        now: Now,
        lifetime: Duration,
        addresses: &[Vec<u8>],
        random: &mut dyn RandomSource,
    ) -> Result<Ticket, InviteError> {
        if lifetime < Duration::from_secs(1) || lifetime > MAX_LIFETIME {
            return Err(InviteError::Lifetime);
        }
        if self.kept.len() >= MAX_TICKETS {
            return Err(InviteError::TooMany);
        }
        let mut id = TicketId([0; 8]);
        random.fill(&mut id.0)?;
        let secret = TicketSecret::random(random)?;
        let ticket = Ticket::new(self.own, id, TicketSecret::new(*secret.expose()), addresses);
        if ticket.addresses.is_empty() {
            return Err(InviteError::NoAddress);
        }
        let invitation = Invitation {
            id,
            created: now.wall,
            expires: now.wall.saturating_add(lifetime.as_secs()),
            secret: Some(secret),
            state: InvitationState::Open { wrong_macs: 0 },
        };
        let (expires, forget_at) = (now.boot + lifetime, now.boot + lifetime + REMEMBERED);
        self.kept.insert(id, Kept { invitation, expires, forget_at });
        self.changed = true;
        Ok(ticket)
    }

    /// Takes a ticket back.
    ///
    /// # Errors
    /// [`CancelError`].
    pub fn cancel(&mut self, now: Now, id: TicketId) -> Result<(), CancelError> {
        let kept = self.kept.get_mut(&id).ok_or(CancelError::Unknown)?;
        match kept.invitation.state {
            InvitationState::Used { by, .. } => return Err(CancelError::Used(by)),
            InvitationState::Open { .. } => kept.end(now, InvitationState::Cancelled { at: now.wall }),
            // Over already.
            InvitationState::Burnt { .. } | InvitationState::Expired | InvitationState::Cancelled { .. } => {
                return Ok(());
            }
        }
        self.changed = true;
        Ok(())
    }

    /// Removes a ticket that could not be written down, so that nobody ever gets it.
    pub fn withdraw(&mut self, id: TicketId) {
        self.kept.remove(&id);
    }

    /// Judges a P1.
    pub fn answer(
        &mut self,
        now: Now,
        asker: Asker,
        message: &[u8],
        host: &Host,
        random: &mut dyn RandomSource,
    ) -> Answer {
        self.expire(now);
        let p1 = match P1::read(message) {
            Ok(p1) => p1,
            Err(PairFault::Version(_)) => return Answer::Refuse(Refusal::Version),
            Err(fault) => return Answer::Silence(fault),
        };
        let refuse = |refusal| match asker.standing {
            // A peer learns nothing of tickets that are none of its own.
            Standing::Peer => Answer::Refuse(Refusal::Policy),
            Standing::Stranger | Standing::Joining => Answer::Refuse(refusal),
        };
        let Some(kept) = self.kept.get_mut(&p1.id) else { return refuse(Refusal::UnknownTicket) };
        let Some(secret) = &kept.invitation.secret else { return refuse(kept.refusal()) };
        let key = PairKey::new(secret);
        let pair = Pair { inviter: self.own, joiner: asker.key };
        let offer = p1.open(&key, pair);
        let wrong_secret = offer == Err(PairFault::Mac);
        match &mut kept.invitation.state {
            InvitationState::Open { .. } if asker.standing == Standing::Peer => return refuse(Refusal::Policy),
            InvitationState::Open { wrong_macs } if wrong_secret => {
                *wrong_macs += 1;
                if *wrong_macs >= MAX_WRONG_MACS {
                    kept.end(now, InvitationState::Burnt { at: now.wall });
                }
                self.changed = true;
                return refuse(Refusal::WrongSecret);
            }
            // Both join each other at once: the smaller key goes on with its own.
            InvitationState::Open { .. } if asker.standing == Standing::Joining && self.own < asker.key => {
                return refuse(Refusal::Policy);
            }
            InvitationState::Open { .. } => {}
            // The joiner did not get the answer, or lost its state since.
            InvitationState::Used { by, exchange: Some(exchange), .. } if *by == asker.key => {
                if exchange.p1 == message {
                    return Answer::Again(exchange.p2.clone());
                }
                if wrong_secret {
                    return Answer::Refuse(Refusal::WrongSecret);
                }
            }
            InvitationState::Used { .. }
            | InvitationState::Burnt { .. }
            | InvitationState::Expired
            | InvitationState::Cancelled { .. } => return refuse(kept.refusal()),
        }
        // Whoever holds the ticket says what may not be said.
        let Ok(offer) = offer else { return Answer::Refuse(Refusal::Policy) };
        let mut nonce = [0; 32];
        if let Err(error) = random.fill(&mut nonce) {
            return Answer::Silence(error.into());
        }
        self.changed = true;
        Answer::Accept(Box::new(kept.accept(now, &key, pair, (message, p1.nonce, offer), host, &nonce)))
    }

    /// Takes an acceptance back that could not be written down.
    pub fn undo(&mut self, accepted: Accepted) {
        if let Some(kept) = self.kept.get_mut(&accepted.ticket) {
            kept.invitation.state = accepted.before;
            self.changed = true;
        }
    }

    /// The first tunnel handshake with a joiner is complete, or it is no peer any more: its ticket's secret goes.
    pub fn complete(&mut self, joiner: PeerKey) {
        for kept in self.kept.values_mut() {
            if let InvitationState::Used { by, exchange, .. } = &mut kept.invitation.state
                && *by == joiner
                && exchange.take().is_some()
            {
                kept.invitation.secret = None;
                self.changed = true;
            }
        }
    }

    /// Ends what is over and forgets what was over for long.
    pub fn expire(&mut self, now: Now) {
        for kept in self.kept.values_mut() {
            if matches!(kept.invitation.state, InvitationState::Open { .. }) && kept.expires <= now.boot {
                (kept.invitation.state, kept.invitation.secret) = (InvitationState::Expired, None);
                self.changed = true;
            }
        }
        let before = self.kept.len();
        self.kept.retain(|_, kept| kept.forget_at > now.boot);
        self.changed |= self.kept.len() != before;
    }

    /// Whether anything changed that is to be written down; asking answers it.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// When [`Self::expire`] has something to do.
    pub fn deadline(&self) -> Option<Time> {
        let next = |kept: &Kept| match kept.invitation.state {
            InvitationState::Open { .. } => kept.expires,
            InvitationState::Used { .. }
            | InvitationState::Burnt { .. }
            | InvitationState::Expired
            | InvitationState::Cancelled { .. } => kept.forget_at,
        };
        self.kept.values().map(next).min()
    }

    /// Whether strangers may connect in order to pair: some ticket is open, or over and remembered.
    pub fn admits_strangers(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Every ticket that is kept.
    pub fn invitations(&self) -> impl Iterator<Item = &Invitation> {
        self.kept.values().map(|kept| &kept.invitation)
    }

    /// The peers of pairings that are not complete; a crash may have kept one out of the list of peers.
    ///
    /// # Errors
    /// Each is a [`PairFault`] where the file was damaged.
    pub fn unfinished(&self) -> impl Iterator<Item = Result<PairedPeer, PairFault>> {
        self.invitations().filter_map(|invitation| invitation.unfinished(self.own))
    }
}

impl Kept {
    /// It is over: the secret goes, and the ticket is remembered a while.
    fn end(&mut self, now: Now, state: InvitationState) {
        (self.invitation.state, self.invitation.secret) = (state, None);
        self.forget_at = self.expires.max(now.boot + REMEMBERED);
    }

    fn refusal(&self) -> Refusal {
        match self.invitation.state {
            InvitationState::Open { .. } | InvitationState::Expired | InvitationState::Cancelled { .. } => {
                Refusal::Expired
            }
            InvitationState::Used { .. } | InvitationState::Burnt { .. } => Refusal::Used,
        }
    }

    fn accept(
        &mut self,
        now: Now,
        key: &PairKey,
        pair: Pair,
        (p1, joiner_nonce, offer): (&[u8], &[u8; 32], Introduction),
        host: &Host,
        nonce: &[u8; 32],
    ) -> Accepted {
        let (ipv4, uncounted) = match host.ipv4.grant(pair.joiner, offer.ipv4) {
            Ok(granted) => (granted, None),
            Err(uncounted) => (None, Some(uncounted)),
        };
        let grant = Introduction { name: host.name.clone(), ipv4, ipv4_self: host.ipv4.own };
        let p2 = P2::write(key, pair, p1, nonce, &grant);
        let first_use = if let InvitationState::Used { at, .. } = self.invitation.state { at } else { now.wall };
        let exchange = Some(Exchange { p1: p1.to_vec(), p2: p2.clone() });
        let used = InvitationState::Used { by: pair.joiner, at: first_use, exchange };
        let before = std::mem::replace(&mut self.invitation.state, used);
        self.forget_at = self.expires.max(now.boot + REMEMBERED);
        let psk = key.psk(pair, nonce, joiner_nonce);
        let peer = PairedPeer { key: pair.joiner, name: offer.name, ipv4, psk };
        Accepted { ticket: self.invitation.id, peer, p2, uncounted, before }
    }
}

#[cfg(test)]
mod tests;
