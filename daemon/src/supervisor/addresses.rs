//! Outer addresses: those that a ticket names, and those that may be dialled.

use std::net::IpAddr;

use ipnet::IpNet;
use net::Multiaddr;
use net::address::{ip_of, is_direct, is_quic};
use node::pairing::overlay;

use super::Supervisor;

impl Supervisor {
    /// Where other hosts may find this one, the best first: what the configuration advertises, then the addresses that we
    /// listen on, QUIC before TCP and public before private.
    pub(super) fn outer_addresses(&self) -> Vec<Multiaddr> {
        let inner = [IpNet::from(overlay()), self.config.ipv4.into()];
        let outer = |address: &Multiaddr| {
            ip_of(address).is_some_and(|ip| {
                is_reachable(ip) && !inner.iter().any(|net| net.contains(&ip)) && !self.own.all().any(|own| own == ip)
            })
        };
        let mut listening: Vec<_> = self.listening.iter().filter(|address| outer(address)).cloned().collect();
        listening.sort_by_key(|address| (!is_quic(address), ip_of(address).is_some_and(is_private)));
        let mut all = self.config.advertise.clone();
        for address in listening {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }
}

/// A multiaddr of a ticket, if we know how to dial it.
pub(super) fn readable(bytes: Vec<u8>) -> Option<Multiaddr> {
    Multiaddr::try_from(bytes).ok().filter(is_direct)
}

/// Whether another host could reach it at all.
fn is_reachable(ip: IpAddr) -> bool {
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        // The shared space of RFC 6598 lies behind a provider's NAT.
        IpAddr::V4(ip) => ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}
