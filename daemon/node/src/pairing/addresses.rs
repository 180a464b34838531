//! Inner addresses (protocol.md 10).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::crypto::sha256;
use crate::peer_key::PeerKey;

const PREFIX: [u8; 6] = [0xfd, 0x63, 0x72, 0x79, 0x70, 0x72];

/// `fd63:7279:7072::/48`, which every inner IPv6 address lies in.
pub fn overlay() -> Ipv6Net {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&PREFIX);
    Ipv6Net::new_assert(bytes.into(), 48)
}

/// A host's inner IPv6 address: the prefix and the first 80 bits of `H("CrypRQ v1 inner address" || pk)`.
pub fn inner_ipv6(key: PeerKey) -> Ipv6Addr {
    let hash = sha256(&[b"CrypRQ v1 inner address", key.as_bytes()]);
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&PREFIX);
    bytes[6..].copy_from_slice(&hash[..10]);
    bytes.into()
}

/// A host's own IPv4 address in `range`: offset 1 + (u64_be of the first 8 bytes of
/// `H("CrypRQ v1 inner ipv4" || pk)`) mod (size − 2). `None` for ranges of fewer than three addresses.
pub fn default_ipv4(key: PeerKey, range: Ipv4Net) -> Option<Ipv4Addr> {
    let hash = sha256(&[b"CrypRQ v1 inner ipv4", key.as_bytes()]);
    let number = u64::from_be_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]]);
    let size = 1u64 << (32 - range.prefix_len());
    let places = size.checked_sub(2).filter(|&places| places > 0)?;
    let offset = u32::try_from(1 + number % places).ok()?;
    Some((range.network().to_bits() + offset).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hex: &str) -> PeerKey {
        let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        PeerKey::from_bytes(bytes.try_into().unwrap()).unwrap()
    }

    #[test]
    fn the_reference_addresses_of_appendix_b() {
        let a = key("2543b92ff1095511476adc8369db6ddc933665a11978dda1404ee1066ca9559d");
        let b = key("7776e870b93354f2a0b24c23f2a36cc4e80e223218c1b97926fdd018396a2b9b");
        assert_eq!(inner_ipv6(a).to_string(), "fd63:7279:7072:d139:ba61:d38b:1415:4b9b");
        assert_eq!(inner_ipv6(b).to_string(), "fd63:7279:7072:20c9:f8b6:c000:5a5:a646");
        let range = "10.86.0.0/16".parse().unwrap();
        assert_eq!(default_ipv4(a, range).unwrap().to_string(), "10.86.70.153");
        assert_eq!(default_ipv4(b, range).unwrap().to_string(), "10.86.104.46");
        assert!(overlay().contains(&inner_ipv6(a)));
    }

    #[test]
    fn ranges_without_room_give_no_address() {
        let a = key("2543b92ff1095511476adc8369db6ddc933665a11978dda1404ee1066ca9559d");
        assert_eq!(default_ipv4(a, "10.0.0.0/31".parse().unwrap()), None);
        assert_eq!(default_ipv4(a, "10.0.0.4/32".parse().unwrap()), None);
        assert_eq!(default_ipv4(a, "10.0.0.0/30".parse().unwrap()).unwrap().octets()[..3], [10, 0, 0]);
        assert!(default_ipv4(a, "0.0.0.0/0".parse().unwrap()).is_some());
    }
}
