//! What follows from the choice of an exit, as pure functions: the settings of a packet-tunnel extension, and what is done
//! to the routes of a host that has a tunnel interface of its own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cryprq_ipc_proto::extension::TunnelSettings;
use cryprq_ipc_proto::prefix::Prefix;
use ipnet::IpNet;
use node::handshake::Forwarding;
use os::journal::Change;
use os::network::policy::{DefaultRoute, Family, PolicyRule, Selection, Transport, WIDEST_SPECIFIC, Way};

use super::OwnAddresses;
use crate::config::LinuxConfig;

/// Whether an interface of this MTU carries an address's family: below 1280 bytes there is no IPv6 (RFC 8200, section 5).
pub(super) const fn carries(mtu: u16, address: IpAddr) -> bool {
    address.is_ipv4() || mtu >= 1280
}

/// What an extension's settings are made of.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Our inner addresses.
    pub own: OwnAddresses,
    /// The tunnel MTU in bytes.
    pub mtu: u16,
    /// The AllowedIPs of all peers.
    pub prefixes: BTreeSet<IpNet>,
    /// Networks that the host is directly connected to; an exit leaves them alone.
    pub direct: BTreeSet<IpNet>,
    /// Where peers are reached by sockets that are not bound to an interface.
    pub outer: BTreeSet<IpAddr>,
    /// The resolvers of the exit, if all traffic goes through one.
    pub exit: Option<Vec<IpAddr>>,
}

/// The settings of the extension.
///
/// With an exit both families are included whatever it forwards: what it does not is dropped by the router, and leaks
/// nowhere.
pub fn tunnel_settings(scene: &Scene) -> TunnelSettings {
    let carried = |address: IpAddr| carries(scene.mtu, address);
    let (mut included, mut excluded) = (BTreeSet::new(), BTreeSet::new());
    let narrow = scene.prefixes.iter().map(IpNet::trunc).filter(|net| net.prefix_len() > 0);
    included.extend(narrow.filter(|net| carried(net.addr())));
    if scene.exit.is_some() {
        included.extend(EVERYTHING.into_iter().filter(|net| carried(net.addr())));
        excluded.extend(scene.direct.iter().map(IpNet::trunc).filter(leads_out));
        excluded.extend(scene.outer.iter().copied().map(IpNet::from));
    }
    TunnelSettings {
        addresses: scene.own.all().filter(|ip| carried(*ip)).filter_map(|ip| prefix(IpNet::from(ip))).collect(),
        included: included.into_iter().filter_map(prefix).collect(),
        excluded: excluded.into_iter().filter_map(prefix).collect(),
        dns: scene.exit.clone().unwrap_or_default(),
        mtu: scene.mtu,
    }
}

const EVERYTHING: [IpNet; 2] = [
    IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(ipnet::Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
];

/// Loopback stays with the host whatever is said of it, and whoever gives out addresses cannot have half of the world left
/// out of the tunnel.
fn leads_out(net: &IpNet) -> bool {
    net.prefix_len() >= WIDEST_SPECIFIC && !net.addr().is_loopback()
}

fn prefix(net: IpNet) -> Option<Prefix> {
    Prefix::new(net.addr(), net.prefix_len()).ok()
}

/// What the routes of a host with an exit are made of.
#[derive(Clone, Debug)]
pub(super) struct Routing {
    /// The tunnel's interface, while there is one.
    pub(super) interface: Option<u32>,
    /// What the exit forwards, as far as the interface carries it.
    pub(super) forwarding: Forwarding,
    /// The families that this host has.
    pub(super) families: Vec<Family>,
    /// The ports of our own outer packets.
    pub(super) ports: BTreeSet<u16>,
    /// Mark, table and priority.
    pub(super) linux: LinuxConfig,
}

impl Routing {
    /// What is done to the routes, in this order: nothing is led into the table before the table is whole.
    ///
    /// Our own outer packets leave by the host's main table: datagrams by their mark, TCP connections, whose sockets are
    /// libp2p's, by their port. So does what the main table has a narrow route for. The rest goes to the exit, and what
    /// that does not forward, or what finds no interface, is unreachable.
    pub(super) fn changes(&self) -> Vec<Change> {
        let (table, mark) = (self.linux.table.into(), self.linux.fwmark.into());
        let first = u32::from(self.linux.rule_priority);
        let families = || self.families.iter().copied();
        let route = |family, way| Change::Default(DefaultRoute { family, table, way });
        let rule = |family, place, selection| Change::Rule(PolicyRule { family, priority: first + place, selection });
        let mut all: Vec<Change> = families().map(|family| route(family, Way::Unreachable)).collect();
        if let Some(index) = self.interface {
            all.extend(families().filter(|family| self.forwards(*family)).map(|f| route(f, Way::Interface(index))));
        }
        for family in families() {
            for port in self.ports.iter().copied() {
                for transport in [Transport::Udp, Transport::Tcp] {
                    all.push(rule(family, 0, Selection::FromPort { transport, port }));
                }
            }
            all.push(rule(family, 1, Selection::Specific));
        }
        all.extend(families().map(|family| rule(family, 2, Selection::Unmarked { mark, table })));
        all
    }

    const fn forwards(&self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.forwarding.ipv4,
            Family::Ipv6 => self.forwarding.ipv6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(exit: Option<&str>) -> Scene {
        Scene {
            own: OwnAddresses { ipv6: "fd63::2".parse().unwrap(), ipv4: Some([10, 86, 0, 2].into()) },
            mtu: 1420,
            prefixes: ["10.86.0.1/32", "fd63::1/128", "0.0.0.0/0"].map(|net| net.parse().unwrap()).into(),
            direct: ["192.168.1.5/24", "127.0.0.1/8", "2001:db8:7::5/64", "128.0.0.1/1"]
                .map(|net| net.parse().unwrap())
                .into(),
            outer: ["203.0.113.1".parse().unwrap()].into(),
            exit: exit.map(|dns| vec![dns.parse().unwrap()]),
        }
    }

    fn texts(prefixes: &[Prefix]) -> Vec<String> {
        prefixes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_an_exit_only_what_belongs_to_a_peer_goes_into_the_tunnel() {
        let settings = tunnel_settings(&scene(None));
        assert_eq!(texts(&settings.addresses), ["fd63::2/128", "10.86.0.2/32"]);
        assert_eq!(texts(&settings.included), ["10.86.0.1/32", "fd63::1/128"]);
        assert!(settings.excluded.is_empty() && settings.dns.is_empty());
        assert_eq!(settings.mtu, 1420);
    }

    #[test]
    fn with_an_exit_everything_goes_in_but_the_lan_and_the_tunnels_own_connections() {
        let settings = tunnel_settings(&scene(Some("10.86.0.1")));
        assert_eq!(texts(&settings.included), ["0.0.0.0/0", "10.86.0.1/32", "::/0", "fd63::1/128"]);
        assert_eq!(texts(&settings.excluded), ["192.168.1.0/24", "203.0.113.1/32", "2001:db8:7::/64"]);
        assert_eq!(settings.dns, ["10.86.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn below_1280_bytes_there_is_no_ipv6() {
        let settings = tunnel_settings(&Scene { mtu: 1279, ..scene(Some("10.86.0.1")) });
        assert_eq!(texts(&settings.addresses), ["10.86.0.2/32"]);
        assert_eq!(texts(&settings.included), ["0.0.0.0/0", "10.86.0.1/32"]);
    }

    #[test]
    fn what_the_exit_does_not_forward_is_unreachable_and_nothing_is_led_into_a_table_that_is_not_whole() {
        let routing = Routing {
            interface: Some(7),
            forwarding: Forwarding { ipv4: true, ipv6: false },
            families: Family::BOTH.into(),
            ports: [41820].into(),
            linux: crate::config::Config::default().linux,
        };
        let (table, mark) = (25458, 25458);
        let route = |family, way| Change::Default(DefaultRoute { family, table, way });
        let rule = |family, priority, selection| Change::Rule(PolicyRule { family, priority, selection });
        let port = |transport| Selection::FromPort { transport, port: 41820 };
        let mut expected = vec![
            route(Family::Ipv4, Way::Unreachable),
            route(Family::Ipv6, Way::Unreachable),
            route(Family::Ipv4, Way::Interface(7)),
        ];
        for family in Family::BOTH {
            expected.push(rule(family, 5208, port(Transport::Udp)));
            expected.push(rule(family, 5208, port(Transport::Tcp)));
            expected.push(rule(family, 5209, Selection::Specific));
        }
        expected.extend(Family::BOTH.map(|family| rule(family, 5210, Selection::Unmarked { mark, table })));
        assert_eq!(routing.changes(), expected);
        let without = Routing { interface: None, ..routing };
        assert!(!without.changes().contains(&route(Family::Ipv4, Way::Interface(7))));
    }
}
