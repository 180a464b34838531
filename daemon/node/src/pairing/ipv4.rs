//! Which inner IPv4 addresses a host grants, and which it believes.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::addresses::default_ipv4;
use crate::peer_key::PeerKey;

/// What a host knows when it grants an address or is told one.
#[derive(Clone, Debug)]
pub struct Ipv4Rules {
    /// Its `network.ipv4`, which it grants from.
    pub range: Ipv4Net,
    /// Its own inner address.
    pub own: Option<Ipv4Addr>,
    /// The AllowedIPs of its other peers.
    pub taken: Vec<Ipv4Net>,
    /// The networks that it is directly connected to, besides the tunnel.
    pub direct: Vec<Ipv4Net>,
    /// Outer addresses: its own and its peers'.
    pub outer: Vec<Ipv4Addr>,
}

/// An address that does not count, and why; the pair uses IPv6 then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the inner address {address} is not used: {why}")]
pub struct Uncounted {
    /// Which.
    pub address: Ipv4Addr,
    /// Why.
    pub why: Ipv4Fault,
}

/// Why an address does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ipv4Fault {
    /// Neither in `network.ipv4` nor private.
    #[error("it lies neither in network.ipv4 nor in a private range")]
    Public,
    /// No address of a single host.
    #[error("it is no address of a single host")]
    NotUnicast,
    /// It is this host's own.
    #[error("it is this host's own")]
    Own,
    /// It belongs to another peer.
    #[error("it belongs to another peer")]
    Taken,
    /// It lies in a network that this host is directly connected to.
    #[error("it lies in a network that this host is directly connected to")]
    Direct,
    /// It is an outer address: the tunnel would run through itself.
    #[error("it is an outer address")]
    Outer,
    /// The inviter grants another one than was offered.
    #[error("the other host grants it in place of the one offered")]
    Differs,
    /// The inviter does not grant the one that was offered.
    #[error("the other host cannot use it")]
    NotGranted,
}

/// Private ranges: RFC 1918, and the shared space of RFC 6598.
const PRIVATE: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
];

impl Ipv4Rules {
    /// Whether an address that the other side names as its own counts.
    pub(super) fn check(&self, address: Ipv4Addr) -> Result<(), Uncounted> {
        if self.own == Some(address) {
            return Err(Uncounted { address, why: Ipv4Fault::Own });
        }
        self.check_granted(address)
    }

    /// Whether an address that the other side grants us counts; our own may be granted.
    pub(super) fn check_granted(&self, address: Ipv4Addr) -> Result<(), Uncounted> {
        let private = PRIVATE.iter().any(|&(net, length)| Ipv4Net::new_assert(net, length).contains(&address));
        let why = if address.is_unspecified()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_multicast()
            || address.is_broadcast()
        {
            Ipv4Fault::NotUnicast
        } else if !private && !self.range.contains(&address) {
            Ipv4Fault::Public
        } else if self.taken().any(|net| net.contains(&address)) {
            Ipv4Fault::Taken
        } else if self.direct.iter().any(|net| net.contains(&address)) {
            Ipv4Fault::Direct
        } else if self.outer.contains(&address) {
            Ipv4Fault::Outer
        } else {
            return Ok(());
        };
        Err(Uncounted { address, why })
    }

    /// What a joiner is granted: the address that it offers if it counts; if it has none, the next free one upwards from
    /// its place in our range.
    pub(super) fn grant(&self, joiner: PeerKey, offered: Option<Ipv4Addr>) -> Result<Option<Ipv4Addr>, Uncounted> {
        match offered {
            Some(address) => self.check(address).map(|()| Some(address)),
            None => Ok(default_ipv4(joiner, self.range).and_then(|place| self.next_free(place))),
        }
    }

    fn next_free(&self, place: Ipv4Addr) -> Option<Ipv4Addr> {
        let single = |address: Ipv4Addr| Ipv4Net::from(address);
        let own = self.own.into_iter().chain(self.outer.iter().copied()).map(single);
        let blocked: Vec<Ipv4Net> = self.taken().chain(self.direct.iter().copied()).chain(own).collect();
        let (first, last) = (self.range.network().to_bits() + 1, self.range.broadcast().to_bits() - 1);
        // Upwards to the end of the range, then from its beginning.
        for (from, to) in [(place.to_bits(), last), (first, place.to_bits() - 1)] {
            let mut candidate = from;
            while candidate <= to {
                let Some(net) = blocked.iter().find(|net| net.contains(&Ipv4Addr::from(candidate))) else {
                    return Some(candidate.into());
                };
                let Some(next) = net.broadcast().to_bits().checked_add(1) else { break };
                candidate = next;
            }
        }
        None
    }

    /// A default route claims no address: the longest match wins over it.
    fn taken(&self) -> impl Iterator<Item = Ipv4Net> {
        self.taken.iter().copied().filter(|net| net.prefix_len() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(range: &str) -> Ipv4Rules {
        Ipv4Rules { range: range.parse().unwrap(), own: None, taken: vec![], direct: vec![], outer: vec![] }
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn joiner() -> PeerKey {
        PeerKey::from_bytes([0x42; 32]).unwrap()
    }

    #[test]
    fn each_reason_not_to_believe_an_address_is_named() {
        let rules = Ipv4Rules {
            own: Some(ip("10.86.0.1")),
            taken: vec!["10.86.0.7/32".parse().unwrap(), "10.9.0.0/16".parse().unwrap(), "0.0.0.0/0".parse().unwrap()],
            direct: vec!["192.168.1.0/24".parse().unwrap()],
            outer: vec![ip("10.50.0.9")],
            ..rules("203.0.113.0/24")
        };
        let fault = |text: &str| rules.check(ip(text)).map_err(|uncounted| uncounted.why);
        for good in ["10.86.0.2", "172.16.0.1", "172.31.255.1", "192.168.2.1", "100.64.0.1", "203.0.113.9"] {
            assert_eq!(fault(good), Ok(()), "{good}");
        }
        assert_eq!(fault("10.86.0.1"), Err(Ipv4Fault::Own));
        assert_eq!(rules.check_granted(ip("10.86.0.1")), Ok(()), "our own may be granted to us");
        assert_eq!(fault("10.86.0.7"), Err(Ipv4Fault::Taken));
        assert_eq!(fault("10.9.3.1"), Err(Ipv4Fault::Taken));
        assert_eq!(fault("192.168.1.200"), Err(Ipv4Fault::Direct));
        assert_eq!(fault("10.50.0.9"), Err(Ipv4Fault::Outer));
        for public in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "203.0.114.1"] {
            assert_eq!(fault(public), Err(Ipv4Fault::Public), "{public}");
        }
        for odd in ["0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255"] {
            assert_eq!(fault(odd), Err(Ipv4Fault::NotUnicast), "{odd}");
        }
    }

    #[test]
    fn an_offered_address_is_granted_if_free_and_never_replaced() {
        let mut rules = rules("10.86.0.0/16");
        assert_eq!(rules.grant(joiner(), Some(ip("192.168.7.7"))), Ok(Some(ip("192.168.7.7"))));
        rules.taken.push("192.168.7.0/24".parse().unwrap());
        assert_eq!(rules.grant(joiner(), Some(ip("192.168.7.7"))).unwrap_err().why, Ipv4Fault::Taken);
    }

    #[test]
    fn a_joiner_without_an_address_gets_its_own_place_or_the_next_free_one() {
        let mut rules = rules("10.86.0.0/16");
        let place = default_ipv4(joiner(), rules.range).unwrap();
        assert_eq!(rules.grant(joiner(), None), Ok(Some(place)));
        let next = |n: u32| Some(Ipv4Addr::from(place.to_bits() + n));
        rules.own = Some(place);
        assert_eq!(rules.grant(joiner(), None), Ok(next(1)));
        rules.taken.push(Ipv4Net::from(next(1).unwrap()));
        rules.outer.push(next(2).unwrap());
        assert_eq!(rules.grant(joiner(), None), Ok(next(3)));
        rules.taken.push("0.0.0.0/0".parse().unwrap());
        assert_eq!(rules.grant(joiner(), None), Ok(next(3)), "a default route claims nothing");
    }

    #[test]
    fn the_search_wraps_around_and_ends_when_all_is_taken() {
        let mut rules = rules("10.86.0.0/29");
        let mut granted = Vec::new();
        while let Ok(Some(address)) = rules.grant(joiner(), None) {
            granted.push(address);
            rules.taken.push(address.into());
        }
        granted.sort_unstable();
        let all: Vec<_> = (1..=6).map(|n| Ipv4Addr::new(10, 86, 0, n)).collect();
        assert_eq!(granted, all, "every host address of the range once");
        rules.taken = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(rules.grant(joiner(), None), Ok(None));
        rules.range = "10.86.0.4/31".parse().unwrap();
        assert_eq!(rules.grant(joiner(), None), Ok(None), "a range without room");
    }
}
