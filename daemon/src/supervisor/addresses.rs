//! Outer addresses: those that a ticket names, and those that may be dialled.

use ipnet::IpNet;
use net::Multiaddr;
use net::address::{ip_of, is_circuit, is_direct, is_outside, is_private, is_quic, relay_of};
use node::pairing::overlay;

use super::Supervisor;

impl Supervisor {
    /// Where other hosts may find this one, the best first: what the configuration advertises, where somebody reached us,
    /// such as at a router that passes our port on, then the addresses that we listen on, QUIC before TCP and public before
    /// private.
    pub(super) fn outer_addresses(&self) -> Vec<Multiaddr> {
        let inner = self.inner_networks();
        let outer = |address: &Multiaddr| {
            // The address of a relay is not ours.
            relay_of(address).is_none()
                && ip_of(address).is_some_and(|ip| is_outside(ip, &inner) && !self.own.all().any(|own| own == ip))
        };
        let mut listening: Vec<_> = self.listening.iter().filter(|address| outer(address)).cloned().collect();
        listening.sort_by_key(|address| (!is_quic(address), ip_of(address).is_some_and(is_private)));
        let mut all = self.config.advertise.clone();
        let reached = self.checked.iter().filter(|(address, reached)| **reached && outer(address));
        let mut reached: Vec<_> = reached.map(|(address, _)| address.clone()).collect();
        reached.sort_by_key(|address| !is_quic(address));
        for address in reached.into_iter().chain(listening) {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }

    /// Where inner addresses lie.
    pub(super) fn inner_networks(&self) -> [IpNet; 2] {
        [overlay().into(), self.config.ipv4.into()]
    }
}

/// A multiaddr of a ticket, if we know how to dial it.
pub(super) fn readable(bytes: Vec<u8>) -> Option<Multiaddr> {
    Multiaddr::try_from(bytes).ok().filter(|address| is_direct(address) || is_circuit(address))
}
