//! What one host says of itself and of the other while pairing: the offer in P1, the grant in P2.

use std::fmt;
use std::net::Ipv4Addr;

use super::PairFault;

/// The longest name in bytes.
pub const MAX_NAME: usize = 63;

/// A host's name: at most 63 bytes, every character printable. It comes from strangers, so it is escaped where it is
/// printed all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

/// A name that is too long or holds what cannot be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has at most {MAX_NAME} bytes, all printable")]
pub struct HostNameError;

impl HostName {
    /// Checks and takes a name; it may be empty.
    ///
    /// # Errors
    /// [`HostNameError`].
    pub fn new(name: &str) -> Result<Self, HostNameError> {
        // What Rust escapes besides quotes and backslash is what shows nothing, or turns the text around.
        let plain: String = name.chars().filter(|c| !matches!(c, '\'' | '"' | '\\')).collect();
        let printable = plain.escape_debug().eq(plain.chars());
        if name.len() <= MAX_NAME && printable { Ok(Self(name.to_owned())) } else { Err(HostNameError) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_debug().fmt(f)
    }
}

/// An offer or a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The sender's name.
    pub name: HostName,
    /// The joiner's inner IPv4 address, offered or granted.
    pub ipv4: Option<Ipv4Addr>,
    /// The sender's own; absent in an offer.
    pub ipv4_self: Option<Ipv4Addr>,
}

impl Introduction {
    /// Bytes beside the name.
    pub(super) const FIXED: usize = 1 + 2 * (1 + 4);

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let name = self.name.as_str();
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend(name.as_bytes());
        for address in [self.ipv4, self.ipv4_self] {
            out.push(u8::from(address.is_some()));
            out.extend(address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        }
    }

    /// How long the introduction is that `bytes` begin with, by its own word.
    pub(super) fn length(bytes: &[u8]) -> Result<usize, PairFault> {
        let name = usize::from(*bytes.first().ok_or(PairFault::Length(bytes.len()))?);
        if name > MAX_NAME { Err(PairFault::Name) } else { Ok(Self::FIXED + name) }
    }

    /// Reads exactly these bytes. What a stranger wrote is looked at only once its MAC is right.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, PairFault> {
        let wrong_length = PairFault::Length(bytes.len());
        let name = Self::length(bytes)? - Self::FIXED;
        let (name, rest) = bytes[1..].split_at_checked(name).ok_or(wrong_length.clone())?;
        let (first, rest) = rest.split_first_chunk::<5>().ok_or(wrong_length.clone())?;
        let second = <&[u8; 5]>::try_from(rest).map_err(|_| wrong_length)?;
        let name = std::str::from_utf8(name).map_err(|_| PairFault::Name)?;
        Ok(Self {
            name: HostName::new(name).map_err(|_| PairFault::Name)?,
            ipv4: read_address(*first)?,
            ipv4_self: read_address(*second)?,
        })
    }
}

fn read_address([has, octets @ ..]: [u8; 5]) -> Result<Option<Ipv4Addr>, PairFault> {
    match (has, octets) {
        (0, [0, 0, 0, 0]) => Ok(None),
        (1, octets) => Ok(Some(octets.into())),
        (0 | 2..=u8::MAX, _) => Err(PairFault::Address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printable_and_short() {
        for good in ["", "laptop", "Jürgens Rechner", "it's \"mine\" \\o/", "ノート", "नमस्ते", "e\u{301}te"]
        {
            assert_eq!(HostName::new(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(64);
        for bad in ["a\nb", "a\u{1b}[2Jb", "a\0", "\u{202e}abc", "a\u{200b}b", "\u{feff}", &long] {
            assert_eq!(HostName::new(bad), Err(HostNameError), "{bad:?}");
        }
        assert_eq!(HostName::new("it's").unwrap().to_string(), "it\\'s", "escaped where it is printed");
    }

    #[test]
    fn introductions_read_back_as_written() {
        let both = [None, Some(Ipv4Addr::new(10, 86, 0, 2))];
        for (ipv4, ipv4_self) in both.into_iter().flat_map(|a| both.map(|b| (a, b))) {
            let said = Introduction { name: HostName::new("gateway").unwrap(), ipv4, ipv4_self };
            let mut bytes = Vec::new();
            said.write(&mut bytes);
            assert_eq!(Introduction::length(&bytes), Ok(bytes.len()));
            assert_eq!(Introduction::read(&bytes), Ok(said));
        }
    }

    #[test]
    fn there_is_one_way_only_to_write_an_introduction() {
        let mut good = Vec::new();
        Introduction { name: HostName::new("ab").unwrap(), ipv4: None, ipv4_self: None }.write(&mut good);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Introduction::read(&bytes)
        };
        assert_eq!(with(3, 2), Err(PairFault::Address), "a flag is 0 or 1");
        assert_eq!(with(4, 9), Err(PairFault::Address), "an absent address is zero");
        assert_eq!(with(12, 9), Err(PairFault::Address));
        assert_eq!(with(1, 0xff), Err(PairFault::Name), "no UTF-8");
        assert_eq!(with(1, b'\n'), Err(PairFault::Name));
        assert_eq!(with(0, 64), Err(PairFault::Name));
        assert!(matches!(with(0, 1), Err(PairFault::Length(_))));
        assert!(matches!(Introduction::read(&[]), Err(PairFault::Length(0))));
    }
}
