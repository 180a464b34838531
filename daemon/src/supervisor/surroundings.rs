//! What this host is connected to besides the tunnel.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use os::network::{Attached, Changes, Link, Network, NetworkError};

use super::health::Fault;
use super::{OwnAddresses, Supervisor};

/// The way to learn about it; on macOS the extension tells instead.
pub struct Environment {
    /// The system's own word.
    pub network: Network,
    /// When it has changed.
    pub changes: Changes,
}

/// All interfaces and addresses of this host, our own included.
pub struct Snapshot {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<Attached>,
}

impl Snapshot {
    /// Asks the system.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn take(network: &Network) -> Result<Self, NetworkError> {
        Ok(Self { addresses: network.addresses().await?, links: network.links().await? })
    }
}

/// Interfaces other than our own, as they were at the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Addresses with the networks around them. No peer may claim to be in one.
    addresses: BTreeSet<IpNet>,
    /// Whether one of them leads out of this host.
    connected: bool,
}

impl Default for Surroundings {
    /// Nothing is known, so nothing is complained of.
    fn default() -> Self {
        Self { addresses: BTreeSet::new(), connected: true }
    }
}

impl Surroundings {
    /// Every interface but the one of this name, and those that have one of our inner addresses: an extension's has a name
    /// that the system gives.
    pub fn of(Snapshot { links, addresses }: &Snapshot, name: &str, inner: &OwnAddresses) -> Self {
        let inner: BTreeSet<IpAddr> = inner.all().collect();
        let is_ours = |link: &Link| {
            let mut its = addresses.iter().filter(|attached| attached.interface == link.index);
            link.name == name || its.any(|attached| inner.contains(&attached.address.addr()))
        };
        let links: Vec<_> = links.iter().filter(|link| !is_ours(link)).collect();
        let mut surroundings = Self { addresses: BTreeSet::new(), connected: false };
        for attached in addresses {
            let Some(link) = links.iter().find(|link| link.index == attached.interface) else { continue };
            surroundings.connected |= link.carries && !link.loopback && !is_link_local(attached.address);
            surroundings.addresses.insert(attached.address);
        }
        surroundings
    }

    /// The addresses of this host.
    pub(super) fn own(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().map(IpNet::addr)
    }

    /// The networks that this host is directly connected to.
    pub(super) fn direct(&self) -> impl Iterator<Item = IpNet> {
        self.addresses.iter().map(IpNet::trunc).filter(|net| net.prefix_len() > 0)
    }

    /// Checks that the range of inner addresses is none of ours already.
    ///
    /// # Errors
    /// Which network overlaps it.
    pub fn check_range(&self, range: Ipv4Net) -> Result<(), String> {
        let range = IpNet::V4(range);
        match self.direct().find(|net| net.contains(&range) || range.contains(net)) {
            Some(net) => Err(format!("network.ipv4: {range} overlaps {net}, which this host is connected to")),
            None => Ok(()),
        }
    }
}

fn is_link_local(address: IpNet) -> bool {
    match address {
        IpNet::V4(net) => net.addr().is_link_local(),
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    }
}

impl Supervisor {
    /// Looks around after something changed.
    pub(super) async fn look_around(&mut self) {
        let Some(network) = &self.network else { return };
        let seen = match Snapshot::take(network).await {
            Ok(seen) => seen,
            // A kernel that does not tell is no reason to make anything anew.
            Err(error) => return tracing::debug!(%error, "cannot look at the network"),
        };
        // An interface that is made anew is not among what was seen, and is none of the surroundings either.
        self.miss_interface(&seen).await;
        let now = Surroundings::of(&seen, &self.config.interface, &self.own);
        if now == self.surroundings {
            return;
        }
        let moved = now.addresses != self.surroundings.addresses;
        self.surroundings = now;
        self.judge_surroundings();
        if moved {
            tracing::info!("the network changed");
            // What was found out about the network before says nothing about this one.
            self.checked.clear();
            self.peers.values_mut().for_each(|peer| peer.sight.forget());
            self.renew_router().await;
            self.net.kick().await;
            self.check_paths().await;
        }
    }

    pub(super) fn judge_surroundings(&mut self) {
        if self.surroundings.connected {
            self.health.clear(Fault::NoNetwork, "");
        } else {
            let text = "no interface leads out of this host".to_owned();
            self.health.note(Fault::NoNetwork, "", text, "connect it; the tunnels come back by themselves");
        }
        match self.surroundings.check_range(self.config.ipv4) {
            Ok(()) => self.health.clear(Fault::NetworkOverlap, ""),
            Err(text) => {
                let hint = "leave that network, or choose another network.ipv4 and restart cryprqd";
                self.health.note(Fault::NetworkOverlap, "", text, hint);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(addresses: &[&str]) -> Surroundings {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Surroundings { addresses, connected: true }
    }

    #[test]
    fn a_range_that_overlaps_a_network_of_this_host_is_found_either_way_round() {
        let range = "10.86.0.0/16".parse().unwrap();
        for (address, net) in [
            ("10.86.3.7/24", "10.86.3.0/24"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.86.9.9/32", "10.86.9.9/32"),
            ("10.86.0.1/16", "10.86.0.0/16"),
        ] {
            let error = around(&["192.168.1.5/24", address]).check_range(range).unwrap_err();
            assert!(error.contains(net), "{error}");
        }
        assert!(around(&["10.85.0.1/16", "127.0.0.1/8", "fe80::1/64", "0.0.0.0/0"]).check_range(range).is_ok());
    }
}
