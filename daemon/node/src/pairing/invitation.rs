//! One ticket as its inviter keeps it, in memory and in the state folder.

use std::time::Duration;

use super::PairedPeer;
use super::ticket::{TicketId, TicketSecret};
use super::wire::{P1, P2, Pair, PairFault, PairKey};
use crate::peer_key::PeerKey;

/// How long a ticket that is over is remembered at least, so that whoever comes with it is told what became of it.
pub(super) const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// One ticket as its inviter keeps it. Times are seconds since 1970 on the wall clock: they are for people and for the
/// next start; a running inviter judges by its boot clock.
pub struct Invitation {
    /// The ticket's id.
    pub id: TicketId,
    /// When it was made.
    pub created: u64,
    /// When it expires.
    pub expires: u64,
    /// The secret, while it is still needed: until the ticket is over, or the first tunnel handshake is complete.
    pub secret: Option<TicketSecret>,
    /// What became of it.
    pub state: InvitationState,
}

/// What became of a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvitationState {
    /// It waits for its joiner.
    Open {
        /// P1 that named it with a wrong MAC.
        wrong_macs: u8,
    },
    /// Somebody joined by it.
    Used {
        /// Who.
        by: PeerKey,
        /// When.
        at: u64,
        /// P1 and P2, until the first tunnel handshake with the joiner is complete: until then it may ask again.
        exchange: Option<Exchange>,
    },
    /// Too many wrong MACs.
    Burnt {
        /// When.
        at: u64,
    },
    /// Its time was over before anybody joined by it.
    Expired,
    /// The administrator took it back.
    Cancelled {
        /// When.
        at: u64,
    },
}

/// The two messages of an accepted pairing. Without the ticket's secret nothing follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What the joiner sent.
    pub p1: Vec<u8>,
    /// What it was answered.
    pub p2: Vec<u8>,
}

impl Invitation {
    /// When it is forgotten, in seconds since 1970.
    pub(super) fn remembered_until(&self) -> u64 {
        let over = match self.state {
            InvitationState::Open { .. } | InvitationState::Expired => self.expires,
            InvitationState::Used { at, .. } | InvitationState::Burnt { at } | InvitationState::Cancelled { at } => at,
        };
        self.expires.max(over.saturating_add(REMEMBERED.as_secs()))
    }

    /// The peer that follows from an exchange which is not complete yet; `None` if there is none.
    pub(super) fn unfinished(&self, inviter: PeerKey) -> Option<Result<PairedPeer, PairFault>> {
        let InvitationState::Used { by, exchange: Some(exchange), .. } = &self.state else { return None };
        let key = PairKey::new(self.secret.as_ref()?);
        let pair = Pair { inviter, joiner: *by };
        let peer = || {
            let p1 = P1::read(&exchange.p1)?;
            let offer = p1.open(&key, pair)?;
            let p2 = P2::open(&exchange.p2, &key, pair, &exchange.p1)?;
            let psk = key.psk(pair, &p2.nonce, p1.nonce);
            Ok(PairedPeer { key: *by, name: offer.name, ipv4: p2.grant.ipv4, psk })
        };
        Some(peer())
    }
}
