//! What this host's network allows, from what others see of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cryprq_ipc_proto::message::{Netcheck, OuterAddress, RelayStatus};
use net::Multiaddr;
use net::address::{ip_of, is_private, is_quic, is_reachable, relay_of};
use net::swarm::Sighting;
use node::state::PeerState;
use node::tunnel::{Dialled, Want};
use os::clock::boottime;

use super::Supervisor;
use super::health::{Fault, News};

/// What is known.
struct Facts<'a> {
    sightings: &'a [Sighting],
    listening: &'a BTreeSet<Multiaddr>,
    /// Where it was tried to reach us.
    checked: &'a BTreeMap<Multiaddr, bool>,
    relays: Vec<(&'a Multiaddr, bool)>,
    /// Where we wanted to connect.
    dialled: Vec<&'a Multiaddr>,
    port: u16,
}

impl Supervisor {
    pub(super) async fn netcheck(&self) -> Netcheck {
        let sightings = self.net.sightings().await;
        let wanted = self.peers.values().filter(|peer| peer.want == Want::Up);
        let facts = Facts {
            sightings: &sightings,
            listening: &self.listening,
            checked: &self.checked,
            relays: self.config.relays.iter().map(|relay| (relay, self.reserved.contains(relay))).collect(),
            dialled: wanted.flat_map(|peer| &peer.config.addresses).collect(),
            port: self.config.port,
        };
        facts.judge()
    }

    /// Somebody tried to reach us.
    pub(super) fn checked(&mut self, address: Multiaddr, reachable: bool) {
        self.checked.insert(address, reachable);
        self.judge_reach();
    }

    /// `yes`, `no` or `unknown`.
    pub(super) fn reachable(&self) -> &'static str {
        reachable(&self.checked)
    }

    /// Complains when somebody has to reach us and cannot.
    pub(super) fn judge_reach(&mut self) {
        let waits = |peer: &super::Peer| {
            let connected = peer.tunnel.status(boottime()).state == PeerState::Connected;
            peer.want == Want::Up && peer.config.addresses.is_empty() && !connected
        };
        let missed: Vec<_> =
            self.peers.values().filter(|peer| waits(peer)).map(|peer| peer.config.name.as_str()).collect();
        if self.reachable() != "no" || !self.reserved.is_empty() || missed.is_empty() {
            return self.health.clear(Fault::Unreachable, "");
        }
        let text = format!("this host cannot be reached from outside, and {} has to dial it", missed.join(", "));
        let hint = "forward the UDP port of the router, or use a relay (relay.use); 'cryprq netcheck' says more";
        if self.health.note(Fault::Unreachable, "", text, hint) == News::New {
            tracing::warn!("a peer has to reach this host and cannot");
        }
    }
}

fn reachable(checked: &BTreeMap<Multiaddr, bool>) -> &'static str {
    if checked.values().any(|reached| *reached) {
        "yes"
    } else if checked.is_empty() {
        "unknown"
    } else {
        "no"
    }
}

impl Facts<'_> {
    fn judge(&self) -> Netcheck {
        let (udp, nat, reachable) = (self.udp(), self.nat(), reachable(self.checked));
        let tcp = if self.sightings.iter().any(|sighting| !is_quic(&sighting.by)) { "works" } else { "unknown" };
        Netcheck {
            udp: udp.into(),
            tcp: tcp.into(),
            ipv6: self.ipv6().into(),
            nat: nat.into(),
            reachable: reachable.into(),
            addresses: self.addresses(),
            relays: self
                .relays
                .iter()
                .map(|(relay, reserved)| RelayStatus { address: relay.to_string(), reserved: *reserved })
                .collect(),
            advice: self.advice(udp, nat, reachable),
        }
    }

    fn udp(&self) -> &'static str {
        let tried = || self.dialled.iter().copied().chain(self.relays.iter().map(|(relay, _)| *relay)).any(is_quic);
        if self.sightings.iter().any(|sighting| is_quic(&sighting.by)) {
            "works"
        } else if !self.sightings.is_empty() && tried() {
            "blocked"
        } else {
            "unknown"
        }
    }

    fn ipv6(&self) -> &'static str {
        let six = |address: &Multiaddr| ip_of(address).filter(IpAddr::is_ipv6);
        if self.sightings.iter().any(|sighting| six(&sighting.by).is_some()) {
            return "works";
        }
        let public = |address: &Multiaddr| six(address).is_some_and(|ip| is_reachable(ip) && !is_private(ip));
        if self.listening.iter().any(|address| relay_of(address).is_none() && public(address)) {
            "present"
        } else {
            "none"
        }
    }

    /// By QUIC as far as anybody sees us there, because that is where holes are punched first.
    fn nat(&self) -> &'static str {
        let four = |sighting: &&Sighting| ip_of(&sighting.own).is_some_and(|ip| ip.is_ipv4());
        let ours = |sighting: &&Sighting| sighting.dialled == Dialled::ByUs;
        let all: Vec<_> = self.sightings.iter().filter(four).filter(ours).collect();
        let quic: Vec<_> = all.iter().copied().filter(|sighting| is_quic(&sighting.own)).collect();
        let seen = if quic.is_empty() { all } else { quic };
        let own = |sighting: &&Sighting| self.listening.iter().any(|address| ip_of(address) == ip_of(&sighting.own));
        let (addresses, hosts): (BTreeSet<_>, BTreeSet<_>) =
            seen.iter().map(|sighting| (&sighting.own, ip_of(&sighting.by))).unzip();
        if seen.is_empty() {
            "unknown"
        } else if seen.iter().all(own) {
            "none"
        } else if addresses.len() > 1 {
            "endpoint_dependent"
        } else if hosts.len() > 1 {
            "endpoint_independent"
        } else {
            "some"
        }
    }

    fn addresses(&self) -> Vec<OuterAddress> {
        let mut seen: BTreeMap<&Multiaddr, BTreeSet<String>> = BTreeMap::new();
        for Sighting { own, by, .. } in self.sightings {
            seen.entry(own).or_default().insert(by.to_string());
        }
        for address in self.checked.keys() {
            seen.entry(address).or_default();
        }
        let told = |(address, by): (&Multiaddr, BTreeSet<String>)| OuterAddress {
            address: address.to_string(),
            seen_by: by.into_iter().collect(),
            reachable: self.checked.get(address).copied(),
        };
        seen.into_iter().map(told).collect()
    }

    fn advice(&self, udp: &str, nat: &str, reachable: &str) -> Vec<String> {
        let mut advice = Vec::new();
        let port = self.port;
        let at_relay = self.relays.iter().any(|(_, reserved)| *reserved);
        if self.sightings.is_empty() {
            advice
                .push("nobody sees this host yet: connect a peer, or name a relay in relay.use, and ask again".into());
        }
        if udp == "blocked" {
            advice.push("UDP does not pass, so packets go by TCP: let UDP out, if the network is yours".into());
        }
        if reachable == "no" && !at_relay {
            advice.push(format!(
                "to be reached, forward UDP port {port} of the router to this host and name it in listen.advertise, or use \
                 a relay (relay.use)"
            ));
        }
        if nat == "endpoint_dependent" {
            advice.push(
                "this router gives each destination another port, so no hole can be punched: with hosts behind such \
                 routers only a relay or a forwarded port helps"
                    .into(),
            );
        }
        for (relay, _) in self.relays.iter().filter(|(_, reserved)| !reserved) {
            advice.push(format!("the relay {relay} keeps no place for this host: 'cryprq status' says why"));
        }
        advice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn seen(own: &str, by: &str) -> Sighting {
        Sighting { own: address(own), by: address(by), dialled: Dialled::ByUs }
    }

    const ONE: &str = "/ip4/192.0.2.1/udp/41820/quic-v1";
    const TWO: &str = "/ip4/192.0.2.2/udp/41820/quic-v1";

    fn judge(sightings: &[Sighting], listening: &str, checked: &[(&str, bool)], dialled: &str) -> Netcheck {
        let listening = BTreeSet::from([address(listening)]);
        let checked = checked.iter().map(|(text, reached)| (address(text), *reached)).collect();
        let dialled = address(dialled);
        let facts = Facts {
            sightings,
            listening: &listening,
            checked: &checked,
            relays: vec![],
            dialled: vec![&dialled],
            port: 41820,
        };
        facts.judge()
    }

    #[test]
    fn what_two_hosts_see_tells_the_kind_of_nat() {
        let own = "/ip4/10.0.0.2/udp/41820/quic-v1";
        let mapped = |port| format!("/ip4/203.0.113.7/udp/{port}/quic-v1");
        let nat = |sightings: &[Sighting]| judge(sightings, own, &[], ONE).nat;
        assert_eq!(nat(&[]), "unknown");
        assert_eq!(nat(&[seen(&mapped(1027), ONE)]), "some");
        assert_eq!(nat(&[seen(&mapped(1027), ONE), seen(&mapped(1027), TWO)]), "endpoint_independent");
        assert_eq!(nat(&[seen(&mapped(1027), ONE), seen(&mapped(1028), TWO)]), "endpoint_dependent");
        assert_eq!(nat(&[seen(own, ONE), seen(own, TWO)]), "none");
        let mut inbound = seen("/ip4/203.0.113.7/udp/41820/quic-v1", TWO);
        inbound.dialled = Dialled::ByPeer;
        assert_eq!(nat(&[seen(&mapped(1027), ONE), inbound]), "some", "a forwarded port is not the mapping of a dial");
    }

    #[test]
    fn udp_is_blocked_where_tcp_connects_and_quic_was_tried() {
        let by_tcp = [seen("/ip4/203.0.113.7/tcp/1027", "/ip4/192.0.2.1/tcp/41820")];
        let check = judge(&by_tcp, "/ip4/10.0.0.2/tcp/41820", &[], ONE);
        assert_eq!((check.udp.as_str(), check.tcp.as_str(), check.nat.as_str()), ("blocked", "works", "some"));
        assert!(check.advice.iter().any(|line| line.contains("UDP does not pass")), "{check:?}");
        let check = judge(&by_tcp, "/ip4/10.0.0.2/tcp/41820", &[], "/ip4/192.0.2.1/tcp/41820");
        assert_eq!(check.udp, "unknown", "nobody tried");
    }

    #[test]
    fn a_host_that_was_not_reached_is_told_what_helps() {
        let own = "/ip4/203.0.113.7/udp/1027/quic-v1";
        let sightings = [seen(own, ONE)];
        let check = judge(&sightings, "/ip4/10.0.0.2/udp/41820/quic-v1", &[(own, false)], ONE);
        assert_eq!((check.reachable.as_str(), check.udp.as_str()), ("no", "works"));
        assert!(check.advice.iter().any(|line| line.contains("forward UDP port 41820")), "{check:?}");
        assert_eq!(check.addresses.len(), 1);
        assert_eq!((check.addresses[0].reachable, check.addresses[0].seen_by.len()), (Some(false), 1));
        let check = judge(&sightings, "/ip4/10.0.0.2/udp/41820/quic-v1", &[(own, true)], ONE);
        assert!(check.reachable == "yes" && check.advice.is_empty(), "{check:?}");
        assert_eq!(judge(&[], own, &[], ONE).reachable, "unknown");
    }

    #[test]
    fn ipv6_is_there_with_a_public_address_and_works_when_something_is_connected_by_it() {
        let ipv6 = |sightings: &[Sighting], listening: &str| judge(sightings, listening, &[], ONE).ipv6;
        assert_eq!(ipv6(&[], "/ip4/10.0.0.2/tcp/1"), "none");
        assert_eq!(ipv6(&[], "/ip6/fd00::1/tcp/1"), "none");
        assert_eq!(ipv6(&[], "/ip6/2001:db8::1/tcp/1"), "present");
        let six = seen("/ip6/2001:db8::1/tcp/1", "/ip6/2001:db8::2/tcp/1");
        assert_eq!(ipv6(&[six], "/ip6/2001:db8::1/tcp/1"), "works");
    }
}
