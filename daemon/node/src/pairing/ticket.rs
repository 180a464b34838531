//! The text that a person carries from one host to the other.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::crypto::{RandomError, RandomSource, sha256};
use crate::peer_key::{PeerKey, PeerKeyError};

/// The most addresses that a ticket names.
pub const MAX_ADDRESSES: usize = 8;
/// The longest ticket, in characters without blanks.
pub const MAX_TICKET: usize = 512;

const PREFIX: &str = "cryprq:";
const VERSION: u8 = 1;
const CHECK: usize = 4;
const FIXED: usize = 1 + 32 + 8 + 16 + 1;
/// The most bytes of body whose base32, five bits a character, fits.
const MAX_BODY: usize = (MAX_TICKET - PREFIX.len()) * 5 / 8 - CHECK;
/// The longest text that is looked at: a ticket that somebody wrapped and indented.
const MAX_TEXT: usize = 16 * 1024;

/// A ticket's public number, random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketId(pub [u8; 8]);

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Text that names no ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ticket's id has 16 hex digits, as 'cryprq invite --list' shows them")]
pub struct TicketIdError;

impl FromStr for TicketId {
    type Err = TicketIdError;

    fn from_str(text: &str) -> Result<Self, TicketIdError> {
        let bytes = HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).map_err(|_| TicketIdError)?;
        Ok(Self(bytes.try_into().map_err(|_| TicketIdError)?))
    }
}

/// What only the holders of a ticket know.
///
/// ```compile_fail
/// let secret = node::pairing::TicketSecret::new([1; 16]);
/// println!("{secret:?}");
/// ```
/// ```compile_fail
/// let secret = node::pairing::TicketSecret::new([1; 16]);
/// let copy = secret.clone();
/// ```
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TicketSecret([u8; 16]);

impl TicketSecret {
    /// Takes over `bytes`; the caller wipes its own copy.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Draws one.
    pub(super) fn random(random: &mut dyn RandomSource) -> Result<Self, RandomError> {
        let mut secret = Self([0; 16]);
        random.fill(&mut secret.0)?;
        Ok(secret)
    }

    /// The bytes, for the one computation that needs them, and for the state folder.
    pub const fn expose(&self) -> &[u8; 16] {
        &self.0
    }
}

/// A ticket: whom to find where, and the secret that lets its holder in once.
///
/// ```compile_fail
/// fn print(ticket: &node::pairing::Ticket) { println!("{ticket:?}"); }
/// ```
pub struct Ticket {
    /// Who invites.
    pub inviter: PeerKey,
    /// Which of its tickets.
    pub id: TicketId,
    /// The secret.
    pub secret: TicketSecret,
    /// Where the inviter may be reached: multiaddrs in their binary form, without `/p2p`.
    pub addresses: Vec<Vec<u8>>,
}

/// Text that is no ticket of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not begin like one.
    #[error("this is no ticket: one begins with 'cryprq:'")]
    NotATicket,
    /// Longer than any ticket.
    #[error("this is no ticket: one has at most {MAX_TICKET} characters")]
    TooLong,
    /// Its check does not match: a character is wrong, missing or too many.
    #[error("the ticket is mistyped: a character is wrong, missing or too many")]
    Mistyped,
    /// Of a later version.
    #[error("the ticket is of version {0}, which this host does not speak: it needs a newer CrypRQ")]
    Version(u8),
    /// Typed correctly, but what it says makes no sense.
    #[error("the ticket was made wrongly by the other host: {0}")]
    Malformed(&'static str),
    /// Its inviter's key is none that an honest host has.
    #[error("the ticket was made wrongly by the other host: {0}")]
    Key(#[from] PeerKeyError),
}

impl Ticket {
    /// A ticket with as many of `addresses`, the best first, as it has room for.
    pub(super) fn new(inviter: PeerKey, id: TicketId, secret: TicketSecret, addresses: &[Vec<u8>]) -> Self {
        let mut room = MAX_BODY - FIXED;
        let mut fitting = Vec::new();
        for address in addresses.iter().filter(|address| (1..=usize::from(u8::MAX)).contains(&address.len())) {
            if fitting.len() < MAX_ADDRESSES && address.len() < room {
                room -= 1 + address.len();
                fitting.push(address.clone());
            }
        }
        Self { inviter, id, secret, addresses: fitting }
    }

    /// The text, wiped when dropped.
    pub fn encode(&self) -> Zeroizing<String> {
        let mut body = Zeroizing::new(Vec::with_capacity(MAX_BODY + CHECK));
        body.push(VERSION);
        body.extend(self.inviter.as_bytes());
        body.extend(self.id.0);
        body.extend(self.secret.expose());
        body.push(u8::try_from(self.addresses.len()).unwrap_or(u8::MAX));
        for address in &self.addresses {
            body.push(u8::try_from(address.len()).unwrap_or(u8::MAX));
            body.extend(address);
        }
        let check = sha256(&[&body]);
        body.extend(&check[..CHECK]);
        let mut text = Zeroizing::new(String::with_capacity(MAX_TICKET));
        text.push_str(PREFIX);
        BASE32_NOPAD.encode_append(&body, &mut text);
        text
    }

    /// Reads a ticket as somebody typed or pasted it: in upper or lower case, with blanks and line breaks anywhere.
    ///
    /// # Errors
    /// [`TicketError`]; it tells a mistyped ticket from one that is wrong.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        if text.len() > MAX_TEXT {
            return Err(TicketError::TooLong);
        }
        let mut typed = Zeroizing::new(Vec::with_capacity(MAX_TICKET + 1));
        for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
            typed.push(byte.to_ascii_uppercase());
            if typed.len() > MAX_TICKET {
                return Err(TicketError::TooLong);
            }
        }
        let prefix = PREFIX.to_ascii_uppercase();
        let digits = typed.strip_prefix(prefix.as_bytes()).ok_or(TicketError::NotATicket)?;
        let bytes = Zeroizing::new(BASE32_NOPAD.decode(digits).map_err(|_| TicketError::Mistyped)?);
        let (body, check) = bytes.split_last_chunk::<CHECK>().ok_or(TicketError::Mistyped)?;
        if sha256(&[body])[..CHECK] != *check {
            return Err(TicketError::Mistyped);
        }
        Self::read(body)
    }

    fn read(body: &[u8]) -> Result<Self, TicketError> {
        let cut_off = TicketError::Malformed("it is cut off");
        let (&version, rest) = body.split_first().ok_or(cut_off)?;
        if version != VERSION {
            return Err(TicketError::Version(version));
        }
        let (inviter, rest) = rest.split_first_chunk::<32>().ok_or(cut_off)?;
        let (id, rest) = rest.split_first_chunk::<8>().ok_or(cut_off)?;
        let (secret, rest) = rest.split_first_chunk::<16>().ok_or(cut_off)?;
        let (&count, mut rest) = rest.split_first().ok_or(cut_off)?;
        if !(1..=MAX_ADDRESSES).contains(&count.into()) {
            return Err(TicketError::Malformed("it names no address, or more than 8"));
        }
        let mut addresses = Vec::new();
        for _ in 0..count {
            let (&length, behind) = rest.split_first().ok_or(cut_off)?;
            let (address, behind) = behind.split_at_checked(length.into()).ok_or(cut_off)?;
            addresses.push(address.to_vec());
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(TicketError::Malformed("something stands behind its addresses"));
        }
        let inviter = PeerKey::from_bytes(*inviter)?;
        Ok(Self { inviter, id: TicketId(*id), secret: TicketSecret::new(*secret), addresses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = "cryprq:AESUHOJP6EEVKEKHNLOIG2O3NXOJGNTFUEMXRXNBIBHOCBTMVFKZ3YHB4LR6JZPG47AMDQWDYTC4NR6I\
                             ZHFMXTGNZ3HQCCYEZMAHCCURAKRVZTIDUYLPEII";

    fn ticket(addresses: &[Vec<u8>]) -> Ticket {
        let key = PeerKey::from_bytes([0x42; 32]).unwrap();
        Ticket::new(key, TicketId([1; 8]), TicketSecret::new([2; 16]), addresses)
    }

    /// A ticket with any body and a right check.
    fn text_of(body: &[u8]) -> String {
        let bytes = [body, &sha256(&[body])[..CHECK]].concat();
        PREFIX.to_owned() + &BASE32_NOPAD.encode(&bytes)
    }

    fn fault(text: &str) -> TicketError {
        Ticket::parse(text).map(drop).unwrap_err()
    }

    #[test]
    fn the_ticket_of_appendix_b_reads_back_as_written() {
        let ticket = Ticket::parse(REFERENCE).unwrap();
        assert_eq!(ticket.inviter.to_string(), "2543b92f");
        assert_eq!(ticket.id.to_string(), "e0e1e2e3e4e5e6e7");
        assert_eq!(ticket.secret.expose()[..3], [0xc0, 0xc1, 0xc2]);
        assert_eq!(ticket.addresses, [[4, 203, 0, 113, 10, 0x91, 2, 0xa3, 0x5c, 0xcd, 3]]);
        assert_eq!(**ticket.encode(), *REFERENCE);
    }

    #[test]
    fn case_blanks_and_line_breaks_do_not_matter() {
        let lower = REFERENCE.to_ascii_lowercase();
        let (first, second) = lower.split_at(60);
        for text in [lower.clone(), REFERENCE.to_ascii_uppercase(), format!("  {first}\r\n\t{second} \n")] {
            assert_eq!(**Ticket::parse(&text).unwrap().encode(), *REFERENCE);
        }
    }

    #[test]
    fn every_single_mistake_in_typing_is_noticed() {
        for at in PREFIX.len()..REFERENCE.len() {
            let mut typed = REFERENCE.as_bytes().to_vec();
            typed[at] = if typed[at] == b'A' { b'B' } else { b'A' };
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(fault(&typed), TicketError::Mistyped, "character {at}");
            let (before, after) = REFERENCE.split_at(at);
            assert_eq!(fault(&format!("{before}{}", &after[1..])), TicketError::Mistyped, "without character {at}");
            assert_eq!(fault(&format!("{before}0{after}")), TicketError::Mistyped, "a zero at {at}");
        }
    }

    #[test]
    fn what_is_no_ticket_is_told_from_what_is_mistyped_and_what_is_wrong() {
        assert_eq!(fault("https://example.org"), TicketError::NotATicket);
        assert_eq!(fault("cryprq:"), TicketError::Mistyped);
        assert_eq!(fault("cryprq:é"), TicketError::Mistyped);
        assert_eq!(fault(&format!("cryprq:{}", "A".repeat(506))), TicketError::TooLong);
        assert_eq!(fault(&" ".repeat(MAX_TEXT + 1)), TicketError::TooLong);
        let body = |address: &[u8]| [&[1][..], &[0x42; 32], &[1; 8], &[2; 16], address].concat();
        assert!(Ticket::parse(&text_of(&body(&[1, 1, 9]))).is_ok());
        for (address, what) in [
            (&[0][..], "no address"),
            (&[9, 1, 9], "more than 8"),
            (&[1, 2, 9], "cut off"),
            (&[2, 1, 9], "cut off"),
            (&[1, 1, 9, 0], "behind"),
        ] {
            assert!(fault(&text_of(&body(address))).to_string().contains(what), "{address:?}");
        }
        let mut later = body(&[1, 1, 9]);
        later[0] = 2;
        assert_eq!(fault(&text_of(&later)), TicketError::Version(2));
        let mut zero = body(&[1, 1, 9]);
        zero[1..33].fill(0);
        assert_eq!(fault(&text_of(&zero)), TicketError::Key(PeerKeyError::SmallOrder));
    }

    #[test]
    fn addresses_beyond_the_room_are_left_out_and_the_ticket_stays_in_bounds() {
        let many: Vec<_> = (1..=20).map(|at| vec![at; 30]).collect();
        let made = ticket(&many);
        assert_eq!(made.addresses.len(), 8);
        assert!(made.encode().len() <= MAX_TICKET);
        let large: Vec<_> = [vec![1; 200], vec![2; 60], vec![3; 40], vec![4; 300], vec![]].to_vec();
        let made = ticket(&large);
        assert_eq!(made.addresses, [vec![1; 200], vec![3; 40]], "what does not fit makes way for what does");
        let text = made.encode();
        assert!(text.len() <= MAX_TICKET);
        assert_eq!(Ticket::parse(&text).unwrap().addresses, made.addresses);
    }

    #[test]
    fn ids_are_read_in_either_case() {
        let id = TicketId([0xab, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!("AB01020304050607".parse(), Ok(id));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("ab".parse::<TicketId>(), Err(TicketIdError));
    }
}
