//! What a network allows.

use std::io::{self, Write};

use cryprq_ipc_proto::message::{Netcheck, OuterAddress};

use super::ODD;
use super::sheet::Sheet;

/// A block of answers, then what would help.
pub(crate) fn netcheck(out: &mut dyn Write, columns: usize, check: &Netcheck) -> io::Result<()> {
    let mut sheet = Sheet::new(out, columns);
    sheet.field("UDP", &check.udp)?;
    sheet.field("TCP", &check.tcp)?;
    sheet.field(
        "IPv6",
        match check.ipv6.as_str() {
            "works" => "works",
            "present" => "there is a public address, nothing is connected by it",
            other => other,
        },
    )?;
    sheet.field(
        "NAT",
        match check.nat.as_str() {
            "none" => "none",
            "endpoint_independent" => "the same port for everybody: holes can be punched",
            "endpoint_dependent" => "another port for each destination: no hole can be punched",
            "some" => "there is one; what kind it is shows when two other hosts see this one",
            other => other,
        },
    )?;
    sheet.field("reachable", &check.reachable)?;
    for outer in &check.addresses {
        sheet.field("seen at", &seen(outer))?;
    }
    for relay in &check.relays {
        let kept = if relay.reserved { "keeps a place" } else { "keeps no place" };
        sheet.field("relay", &format!("{}, {kept}", relay.address))?;
    }
    check.advice.iter().try_for_each(|advice| sheet.warning(ODD, advice, None))
}

fn seen(outer: &OuterAddress) -> String {
    let by = match outer.seen_by.len() {
        0 => String::new(),
        1 => " by one host".into(),
        more => format!(" by {more} hosts"),
    };
    let reached = match outer.reachable {
        Some(true) => ", reachable",
        Some(false) => ", not reachable",
        None => "",
    };
    format!("{}{by}{reached}", outer.address)
}

#[cfg(test)]
mod tests {
    use cryprq_ipc_proto::message::RelayStatus;

    use crate::render::example::plain;

    use super::*;

    #[test]
    fn a_network_reads_like_this() {
        let check = Netcheck {
            udp: "works".into(),
            tcp: "unknown".into(),
            ipv6: "none".into(),
            nat: "endpoint_independent".into(),
            reachable: "no".into(),
            addresses: vec![OuterAddress {
                address: "/ip4/203.0.113.7/udp/1027/quic-v1".into(),
                seen_by: vec!["/ip4/192.0.2.1/udp/41820/quic-v1".into(), "/ip4/192.0.2.2/tcp/41820".into()],
                reachable: Some(false),
            }],
            relays: vec![RelayStatus { address: "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWRelay".into(), reserved: true }],
            advice: vec!["forward UDP port 41820".into()],
        };
        let text = plain(|out| netcheck(out, 100, &check));
        let expected = "  \
  UDP        works
  TCP        unknown
  IPv6       none
  NAT        the same port for everybody: holes can be punched
  reachable  no
  seen at    /ip4/203.0.113.7/udp/1027/quic-v1 by 2 hosts, not reachable
  relay      /ip4/192.0.2.1/tcp/1/p2p/12D3KooWRelay, keeps a place
  ! forward UDP port 41820
";
        assert_eq!(text, expected);
    }
}
