//! Extensions of M1 and M2 (protocol.md 6.3).

use std::net::{IpAddr, SocketAddr};

/// The most bytes that a message's extensions may take.
pub const MAX_TLV_BYTES: usize = 512;

const UDP_ENDPOINT: u8 = 0x80;
const FORWARDING: u8 = 0x81;
const OBSERVED: u8 = 0x82;
/// Types below are critical: who does not know one ends the handshake.
const FIRST_OPTIONAL: u8 = 0x80;
/// How many addresses a message names at most.
pub const MAX_ENDPOINTS: usize = 8;

/// For which families a gateway forwards this peer's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Bit 0.
    pub ipv4: bool,
    /// Bit 1.
    pub ipv6: bool,
}

/// One extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlv {
    /// 0x80: a hint where the sender's UDP frames may come from or go to.
    UdpEndpoint(SocketAddr),
    /// 0x81: the sender forwards packets of this peer to other networks.
    Forwarding(Forwarding),
    /// 0x82: where the receiver's UDP frames come from, as the sender sees it (7.7).
    Observed(SocketAddr),
}

/// Extensions that end the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlvError {
    /// A type or length without its value.
    #[error("an extension is cut off")]
    Truncated,
    /// A critical type that this side does not know.
    #[error("unknown critical extension {0:#04x}")]
    Critical(u8),
    /// A type that may stand once stands twice, or more endpoints than eight.
    #[error("extension {0:#04x} stands too often")]
    Repeated(u8),
    /// A known type with a value of the wrong form.
    #[error("extension {0:#04x} has a malformed value")]
    Malformed(u8),
    /// More than 512 bytes.
    #[error("extensions of {0} bytes, at most 512 are allowed")]
    TooLong(usize),
}

impl Tlv {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Forwarding(f) => out.extend([FORWARDING, 1, u8::from(f.ipv4) | u8::from(f.ipv6) << 1]),
            Self::UdpEndpoint(address) => write_endpoint(UDP_ENDPOINT, *address, out),
            Self::Observed(address) => write_endpoint(OBSERVED, *address, out),
        }
    }

    fn read(kind: u8, value: &[u8]) -> Result<Option<Self>, TlvError> {
        match kind {
            FORWARDING => match value {
                [bits] => Ok(Some(Self::Forwarding(Forwarding { ipv4: bits & 1 != 0, ipv6: bits & 2 != 0 }))),
                _ => Err(TlvError::Malformed(kind)),
            },
            UDP_ENDPOINT => endpoint(value).map(|a| Some(Self::UdpEndpoint(a))).ok_or(TlvError::Malformed(kind)),
            OBSERVED => endpoint(value).map(|a| Some(Self::Observed(a))).ok_or(TlvError::Malformed(kind)),
            0..FIRST_OPTIONAL => Err(TlvError::Critical(kind)),
            _ => Ok(None),
        }
    }
}

fn write_endpoint(kind: u8, address: SocketAddr, out: &mut Vec<u8>) {
    let port = address.port().to_le_bytes();
    match address.ip() {
        IpAddr::V4(ip) => {
            out.extend([kind, 7, 4, port[0], port[1]]);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.extend([kind, 19, 6, port[0], port[1]]);
            out.extend(ip.octets());
        }
    }
}

fn endpoint(value: &[u8]) -> Option<SocketAddr> {
    let (&[family, p0, p1], address) = value.split_first_chunk::<3>()?;
    let ip = match family {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        6 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        0..=3 | 5 | 7..=u8::MAX => return None,
    };
    Some(SocketAddr::new(ip, u16::from_le_bytes([p0, p1])))
}

/// The extensions as they stand in a message.
///
/// # Errors
/// [`TlvError::TooLong`] past 512 bytes.
pub(crate) fn write_all(tlvs: &[Tlv]) -> Result<Vec<u8>, TlvError> {
    let mut out = Vec::new();
    tlvs.iter().for_each(|tlv| tlv.write(&mut out));
    if out.len() > MAX_TLV_BYTES { Err(TlvError::TooLong(out.len())) } else { Ok(out) }
}

/// Reads a message's extensions; unknown optional ones are passed over.
///
/// # Errors
/// [`TlvError`] says which extension is wrong and how.
pub(crate) fn read_all(mut bytes: &[u8]) -> Result<Vec<Tlv>, TlvError> {
    if bytes.len() > MAX_TLV_BYTES {
        return Err(TlvError::TooLong(bytes.len()));
    }
    let mut out: Vec<Tlv> = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        let (&length, rest) = rest.split_first().ok_or(TlvError::Truncated)?;
        let (value, rest) = rest.split_at_checked(length.into()).ok_or(TlvError::Truncated)?;
        if let Some(tlv) = Tlv::read(kind, value)? {
            let same = out.iter().filter(|t| std::mem::discriminant(*t) == std::mem::discriminant(&tlv)).count();
            let most = match tlv {
                Tlv::UdpEndpoint(_) => MAX_ENDPOINTS,
                Tlv::Forwarding(_) | Tlv::Observed(_) => 1,
            };
            if same >= most {
                return Err(TlvError::Repeated(kind));
            }
            out.push(tlv);
        }
        bytes = rest;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_read_back_as_written() {
        let tlvs = [
            Tlv::Forwarding(Forwarding { ipv4: true, ipv6: false }),
            Tlv::UdpEndpoint("203.0.113.9:41820".parse().unwrap()),
            Tlv::UdpEndpoint("[2001:db8::9]:41820".parse().unwrap()),
        ];
        assert_eq!(read_all(&write_all(&tlvs).unwrap()).unwrap(), tlvs);
    }

    #[test]
    fn unknown_optional_extensions_are_passed_over() {
        assert_eq!(read_all(&[0xfe, 2, 1, 2, 0x81, 1, 3]).unwrap().len(), 1);
    }

    #[test]
    fn each_malformation_is_named() {
        assert_eq!(read_all(&[0x81]), Err(TlvError::Truncated));
        assert_eq!(read_all(&[0x81, 2, 0]), Err(TlvError::Truncated));
        assert_eq!(read_all(&[0x01, 0]), Err(TlvError::Critical(1)));
        assert_eq!(read_all(&[0x81, 1, 0, 0x81, 1, 0]), Err(TlvError::Repeated(0x81)));
        assert_eq!(read_all(&[0x81, 0]), Err(TlvError::Malformed(0x81)));
        assert_eq!(read_all(&[0x80, 7, 5, 0, 0, 1, 2, 3, 4]), Err(TlvError::Malformed(0x80)));
        assert_eq!(read_all(&[0xfe; 513]), Err(TlvError::TooLong(513)));
        let nine = [0x80, 7, 4, 0, 0, 1, 2, 3, 4].repeat(9);
        assert_eq!(read_all(&nine), Err(TlvError::Repeated(0x80)));
    }
}
