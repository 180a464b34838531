//! Layout of P1, P2 and P0, and the key that their MACs and the pair's PSK come from.

use std::fmt;

use zeroize::Zeroizing;

use super::introduction::Introduction;
use super::ticket::{TicketId, TicketSecret};
use crate::crypto::{RandomError, ct_eq, exp, extract, hmac_sha256, sha256};
use crate::peer_key::PeerKey;
use crate::secret::SecretKey32;

/// The longest pairing message, in bytes.
pub const MAX_MESSAGE: usize = 512;

const VERSION: u8 = 1;
const TYPE_P1: u8 = 0x01;
const TYPE_P2: u8 = 0x02;
const TYPE_P0: u8 = 0x0f;
const NONCE: usize = 32;
const MAC: usize = 32;
const P1_HEADER: usize = 2 + 8 + NONCE;
const P2_HEADER: usize = 2 + NONCE;

/// Why an inviter declines (P0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// 1: no such ticket.
    UnknownTicket,
    /// 2: its time is over, or it was cancelled.
    Expired,
    /// 3: it was used by somebody else, or burnt.
    Used,
    /// 4: the MAC is wrong.
    WrongSecret,
    /// 5: another version.
    Version,
    /// 6: against the inviter's policy: the joiner is its peer already, or it is joining the joiner.
    Policy,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::UnknownTicket, Self::Expired, Self::Used, Self::WrongSecret, Self::Version, Self::Policy];

    const fn number(self) -> u16 {
        match self {
            Self::UnknownTicket => 1,
            Self::Expired => 2,
            Self::Used => 3,
            Self::WrongSecret => 4,
            Self::Version => 5,
            Self::Policy => 6,
        }
    }

    /// The four bytes of P0.
    pub fn message(self) -> Vec<u8> {
        let number = self.number().to_le_bytes();
        vec![TYPE_P0, VERSION, number[0], number[1]]
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownTicket => "it knows no such ticket",
            Self::Expired => "the ticket expired or was cancelled",
            Self::Used => "the ticket was used already",
            Self::WrongSecret => "the ticket's secret is wrong",
            Self::Version => "it speaks another version of pairing",
            Self::Policy => "its policy forbids it",
        })
    }
}

/// What is wrong with a pairing message. Nothing of its text is in here: it comes from a stranger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairFault {
    /// A message of the wrong length.
    #[error("pairing message of {0} bytes where the protocol has another length")]
    Length(usize),
    /// Not the message that belongs here.
    #[error("pairing message of type {0:#04x} where another belongs")]
    Type(u8),
    /// Another version.
    #[error("pairing version {0}, this side speaks 1")]
    Version(u8),
    /// A name that is too long or not printable.
    #[error("the name is too long or not printable")]
    Name,
    /// An address that is absent and there at once, or one that does not belong into this message.
    #[error("an address field contradicts itself")]
    Address,
    /// The MAC does not match.
    #[error("the message was made with another secret, or changed on its way")]
    Mac,
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The inviter answered P0.
    #[error("the inviter refuses: {0}")]
    Refused(Refusal),
    /// The inviter answered P0 with a number that this version does not know.
    #[error("the inviter refuses for the reason number {0}, which this version does not know")]
    RefusedUnknown(u16),
}

/// `K = Extract("CrypRQ v1 pairing", secret)`.
pub(super) struct PairKey(SecretKey32);

impl PairKey {
    pub(super) fn new(secret: &TicketSecret) -> Self {
        Self(extract(b"CrypRQ v1 pairing", secret.expose()))
    }

    /// `HMAC-SHA256(K, "CrypRQ v1 pair " || label || 0x00 || parts)`.
    fn mac(&self, label: &str, parts: &[&[u8]]) -> [u8; MAC] {
        let all = [&[b"CrypRQ v1 pair ", label.as_bytes(), &[0]], parts].concat();
        hmac_sha256(self.0.expose(), &all)
    }

    /// `Exp(K, "pair psk", pkA || pkB || nA || nB, 32)`.
    pub(super) fn psk(&self, pair: Pair, nonce_a: &[u8; NONCE], nonce_b: &[u8; NONCE]) -> SecretKey32 {
        let mut psk = Zeroizing::new([0; 32]);
        let context = [&pair.inviter.as_bytes()[..], pair.joiner.as_bytes(), nonce_a, nonce_b];
        exp(&self.0, "pair psk", &context, &mut *psk);
        SecretKey32::new(*psk)
    }
}

/// Both ends of a pairing, as the transport proved them.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub(super) inviter: PeerKey,
    pub(super) joiner: PeerKey,
}

/// P1 as far as it can be read without the secret.
pub(super) struct P1<'a> {
    pub(super) id: TicketId,
    pub(super) nonce: &'a [u8; NONCE],
    offer: &'a [u8],
    signed: &'a [u8],
    mac: &'a [u8; MAC],
}

impl<'a> P1<'a> {
    pub(super) fn write(key: &PairKey, pair: Pair, id: TicketId, nonce: &[u8; NONCE], offer: &Introduction) -> Vec<u8> {
        let mut message = vec![TYPE_P1, VERSION];
        message.extend(id.0);
        message.extend(nonce);
        offer.write(&mut message);
        let mac = Self::mac(key, pair, &message);
        message.extend(mac);
        message
    }

    pub(super) fn read(message: &'a [u8]) -> Result<Self, PairFault> {
        let (header, offer, signed, mac) = split::<P1_HEADER>(message, TYPE_P1)?;
        let wrong_length = || PairFault::Length(message.len());
        let id = header[2..].first_chunk::<8>().ok_or_else(wrong_length)?;
        let nonce = header.last_chunk::<NONCE>().ok_or_else(wrong_length)?;
        Ok(Self { id: TicketId(*id), nonce, offer, signed, mac })
    }

    /// Checks the MAC, and only then reads what a stranger wrote.
    pub(super) fn open(&self, key: &PairKey, pair: Pair) -> Result<Introduction, PairFault> {
        if !ct_eq(&Self::mac(key, pair, self.signed), self.mac) {
            return Err(PairFault::Mac);
        }
        let offer = Introduction::read(self.offer)?;
        if offer.ipv4_self.is_some() { Err(PairFault::Address) } else { Ok(offer) }
    }

    fn mac(key: &PairKey, pair: Pair, signed: &[u8]) -> [u8; MAC] {
        key.mac("join", &[pair.inviter.as_bytes(), pair.joiner.as_bytes(), signed])
    }
}

/// P2 with the right MAC.
pub(super) struct P2 {
    pub(super) nonce: [u8; NONCE],
    pub(super) grant: Introduction,
}

impl P2 {
    pub(super) fn write(key: &PairKey, pair: Pair, p1: &[u8], nonce: &[u8; NONCE], grant: &Introduction) -> Vec<u8> {
        let mut message = vec![TYPE_P2, VERSION];
        message.extend(nonce);
        grant.write(&mut message);
        let mac = Self::mac(key, pair, p1, &message);
        message.extend(mac);
        message
    }

    /// Reads the inviter's answer to `p1`; P0 in its place is an error.
    pub(super) fn open(message: &[u8], key: &PairKey, pair: Pair, p1: &[u8]) -> Result<Self, PairFault> {
        if let &[TYPE_P0, _, low, high] = message {
            let number = u16::from_le_bytes([low, high]);
            let known = Refusal::ALL.into_iter().find(|refusal| refusal.number() == number);
            return Err(known.map_or(PairFault::RefusedUnknown(number), PairFault::Refused));
        }
        let (header, grant, signed, mac) = split::<P2_HEADER>(message, TYPE_P2)?;
        if !ct_eq(&Self::mac(key, pair, p1, signed), mac) {
            return Err(PairFault::Mac);
        }
        let nonce = *header.last_chunk::<NONCE>().ok_or(PairFault::Length(message.len()))?;
        Ok(Self { nonce, grant: Introduction::read(grant)? })
    }

    fn mac(key: &PairKey, pair: Pair, p1: &[u8], signed: &[u8]) -> [u8; MAC] {
        key.mac("accept", &[pair.inviter.as_bytes(), pair.joiner.as_bytes(), &sha256(&[p1]), signed])
    }
}

/// Header, introduction, everything before the MAC, and the MAC.
type Parts<'a, const HEADER: usize> = (&'a [u8; HEADER], &'a [u8], &'a [u8], &'a [u8; MAC]);

fn split<const HEADER: usize>(message: &[u8], kind: u8) -> Result<Parts<'_, HEADER>, PairFault> {
    let wrong_length = || PairFault::Length(message.len());
    match message {
        [k, VERSION, ..] if *k == kind => {}
        [k, version, ..] if *k == kind => return Err(PairFault::Version(*version)),
        [k, ..] => return Err(PairFault::Type(*k)),
        [] => return Err(wrong_length()),
    }
    let (header, rest) = message.split_first_chunk::<HEADER>().ok_or_else(wrong_length)?;
    let (introduction, mac) = rest.split_last_chunk::<MAC>().ok_or_else(wrong_length)?;
    if introduction.len() != Introduction::length(introduction)? {
        return Err(wrong_length());
    }
    Ok((header, introduction, &message[..message.len() - MAC], mac))
}
