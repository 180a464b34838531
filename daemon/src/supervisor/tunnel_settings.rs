//! What the extension's interface shall be like, from what the control task knows.

use std::net::IpAddr;

use cryprq_ipc_proto::extension::TunnelSettings;
use cryprq_ipc_proto::prefix::Prefix;
use ipnet::IpNet;

/// Below it there is no IPv6 (RFC 8200, section 5).
const IPV6_MTU: u16 = 1280;

/// The settings of a host with these own addresses, whose peers have these prefixes.
pub(super) fn tunnel_settings(
    own: impl Iterator<Item = IpAddr>,
    prefixes: impl Iterator<Item = IpNet>,
    mtu: u16,
) -> TunnelSettings {
    let carried = |net: &IpNet| net.addr().is_ipv4() || mtu >= IPV6_MTU;
    let listed = |nets: &mut dyn Iterator<Item = IpNet>| nets.filter(carried).filter_map(prefix).collect();
    TunnelSettings {
        addresses: listed(&mut own.map(IpNet::from)),
        included: listed(&mut prefixes.map(|net| net.trunc())),
        excluded: Vec::new(),
        dns: Vec::new(),
        mtu,
    }
}

fn prefix(net: IpNet) -> Option<Prefix> {
    Prefix::new(net.addr(), net.prefix_len()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(mtu: u16) -> (Vec<String>, Vec<String>) {
        let own = ["10.86.0.1", "fd63::1"].map(|address| address.parse().unwrap());
        let peers = ["10.86.0.2/32", "192.168.7.9/24", "fd63::2/128"].map(|net| net.parse().unwrap());
        let settings = tunnel_settings(own.into_iter(), peers.into_iter(), mtu);
        assert_eq!((settings.mtu, settings.excluded.len(), settings.dns.len()), (mtu, 0, 0));
        let texts = |prefixes: Vec<Prefix>| prefixes.iter().map(ToString::to_string).collect();
        (texts(settings.addresses), texts(settings.included))
    }

    #[test]
    fn own_addresses_are_single_and_what_peers_have_is_routed() {
        let (addresses, included) = settings(1420);
        assert_eq!(addresses, ["10.86.0.1/32", "fd63::1/128"]);
        assert_eq!(included, ["10.86.0.2/32", "192.168.7.0/24", "fd63::2/128"]);
    }

    #[test]
    fn an_interface_that_is_too_narrow_for_ipv6_has_none() {
        let (addresses, included) = settings(1279);
        assert_eq!(addresses, ["10.86.0.1/32"]);
        assert_eq!(included, ["10.86.0.2/32", "192.168.7.0/24"]);
    }
}
