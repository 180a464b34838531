//! Pairing by ticket: the values "pairing" of Appendix B, and one with every field in use.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use cryprq_tests::exchange::identity;
use cryprq_tests::seams::ScriptedRandom;
use net::Multiaddr;
use node::crypto::extract;
use node::pairing::{
    Answer, Asker, Host, HostName, Inviter, Ipv4Rules, Joiner, Now, Standing, Ticket, default_ipv4, inner_ipv6,
};
use node::time::Time;
use serde_json::{Value, json};

use crate::{hex, pat};

struct Case {
    inviter_seed: [u8; 32],
    joiner_seed: [u8; 32],
    id: [u8; 8],
    secret: [u8; 16],
    addresses: &'static [(&'static str, u16)],
    nonce_a: [u8; 32],
    nonce_b: [u8; 32],
    joiner: &'static str,
    offered: Option<Ipv4Addr>,
    inviter: &'static str,
    granted: Option<Ipv4Addr>,
    own: Option<Ipv4Addr>,
}

fn cases() -> [Case; 2] {
    let appendix_b = Case {
        inviter_seed: pat(0x40),
        joiner_seed: pat(0x10),
        id: std::array::from_fn(|at| 0xe0 + at as u8),
        secret: std::array::from_fn(|at| 0xc0 + at as u8),
        addresses: &[("203.0.113.10", 41820)],
        nonce_a: pat(0xa0),
        nonce_b: pat(0x60),
        joiner: "laptop",
        offered: None,
        inviter: "gateway",
        granted: Some(Ipv4Addr::new(10, 86, 0, 2)),
        own: Some(Ipv4Addr::new(10, 86, 0, 1)),
    };
    let every_field = Case {
        inviter_seed: pat(0x21),
        joiner_seed: pat(0x43),
        id: [0xff; 8],
        secret: [0; 16],
        addresses: &[("2001:db8::10", 443), ("198.51.100.7", 1), ("192.0.2.1", 65535)],
        nonce_a: [0; 32],
        nonce_b: [0xff; 32],
        joiner: "Jürgens ノート",
        offered: Some(Ipv4Addr::new(192, 168, 77, 9)),
        inviter: "",
        granted: Some(Ipv4Addr::new(192, 168, 77, 9)),
        own: None,
    };
    [appendix_b, every_field]
}

pub(crate) fn entries() -> Vec<Value> {
    cases().iter().map(entry).collect()
}

#[test]
fn the_product_makes_the_pairing_of_appendix_b() {
    let made = entry(&cases()[0]);
    for (name, value) in [
        (
            "ticket",
            "cryprq:AESUHOJP6EEVKEKHNLOIG2O3NXOJGNTFUEMXRXNBIBHOCBTMVFKZ3YHB4LR6JZPG47AMDQWDYTC4NR6IZHFMXTG\
             NZ3HQCCYEZMAHCCURAKRVZTIDUYLPEII",
        ),
        (
            "p1",
            "0101e0e1e2e3e4e5e6e7606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f066c6170746f70\
             0000000000000000000049f3730f93d76b1a3c6910e300b6062dfce77295aa7fac7cdc1370354d17cd10",
        ),
        (
            "p2",
            "0201a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf0767617465776179010a560002010a\
             56000134edf11be8703ea417bbf6f197107473b88ab535d9777c64546305819adfd742",
        ),
        ("K", "c45ca2fefaef4e9de884f11e0de8f5412683d78b14b6d66cedfb76cb938c6ffa"),
        ("psk", "ef89ead1e6ead54c2d55860bbd3e9b9be29982dc521e9d43c34798be46984f19"),
        ("inner_a", "fd63:7279:7072:d139:ba61:d38b:1415:4b9b"),
        ("inner_b", "fd63:7279:7072:20c9:f8b6:c000:5a5:a646"),
        ("ipv4_a", "10.86.70.153"),
        ("ipv4_b", "10.86.104.46"),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
}

/// Both sides of the product, with the case's values in the place of randomness.
fn entry(case: &Case) -> Value {
    let [a, b] = [case.inviter_seed, case.joiner_seed].map(|seed| identity(seed).public());
    let addresses: Vec<Multiaddr> = case
        .addresses
        .iter()
        .map(|&(ip, port)| {
            let family = if ip.contains(':') { "ip6" } else { "ip4" };
            format!("/{family}/{ip}/udp/{port}/quic-v1").parse().expect("an address")
        })
        .collect();
    let bytes: Vec<_> = addresses.iter().map(Multiaddr::to_vec).collect();
    let now = Now { boot: Time::ZERO, wall: 0 };
    let mut inviter = Inviter::restore(a, vec![], now);
    let mut drawn = ScriptedRandom::new(&[&case.id[..], &case.secret].concat());
    let ticket = inviter.invite(now, Duration::from_secs(600), &bytes, &mut drawn).expect("a ticket");
    let text = ticket.encode().to_string();

    let ticket = Ticket::parse(&text).expect("its own ticket");
    let name = |name| HostName::new(name).expect("printable");
    let mut drawn = ScriptedRandom::new(&case.nonce_b);
    let joiner = Joiner::start(b, &ticket, name(case.joiner), case.offered, &mut drawn).expect("P1");

    // In a range of two hosts the joiner gets the one that the inviter has not.
    let range = "10.86.0.0/30".parse().expect("a range");
    let rules = Ipv4Rules { range, own: case.own, taken: vec![], direct: vec![], outer: vec![] };
    let host = Host { name: name(case.inviter), ipv4: rules };
    let asker = Asker { key: b, standing: Standing::Stranger };
    let answer = inviter.answer(now, asker, joiner.p1(), &host, &mut ScriptedRandom::new(&case.nonce_a));
    let Answer::Accept(accepted) = answer else { panic!("a good P1 is accepted") };
    assert_eq!(accepted.peer.ipv4, case.granted);
    let joined = joiner.read(&accepted.p2, &Ipv4Rules { own: None, ..host.ipv4 }).expect("its own answer");
    assert!(joined.peer.psk.ct_eq(&accepted.peer.psk), "both have the same PSK");

    let body = body(a, case, &bytes);
    let named: Vec<_> = case.addresses.iter().map(|(ip, port)| json!({ "ip": ip, "port": port })).collect();
    let introduction = |name, ipv4: Option<Ipv4Addr>, ipv4_self: Option<Ipv4Addr>| {
        let text = |address: Option<Ipv4Addr>| address.map(|address| IpAddr::from(address).to_string());
        json!({ "name": name, "ipv4": text(ipv4), "ipv4_self": text(ipv4_self) })
    };
    let default_range = "10.86.0.0/16".parse().expect("a range");
    let default = |key| default_ipv4(key, default_range).map(|address| address.to_string());
    json!({
        "inviter_seed": hex(&case.inviter_seed), "joiner_seed": hex(&case.joiner_seed),
        "ticket_id": hex(&case.id), "secret": hex(&case.secret), "addresses": named,
        "nA": hex(&case.nonce_a), "nB": hex(&case.nonce_b),
        "offer": introduction(case.joiner, case.offered, None),
        "grant": introduction(case.inviter, case.granted, case.own),
        "pkA": hex(a.as_bytes()), "pkB": hex(b.as_bytes()), "body": hex(&body), "ticket": text,
        "K": hex(extract(b"CrypRQ v1 pairing", &case.secret).expose()),
        "p1": hex(joiner.p1()), "p2": hex(&accepted.p2), "psk": hex(joined.peer.psk.expose()),
        "inner_a": inner_ipv6(a).to_string(), "inner_b": inner_ipv6(b).to_string(),
        "ipv4_a": default(a), "ipv4_b": default(b),
    })
}

/// The ticket's body, written here a second time.
fn body(inviter: node::peer_key::PeerKey, case: &Case, addresses: &[Vec<u8>]) -> Vec<u8> {
    let mut body = [&[1][..], inviter.as_bytes(), &case.id, &case.secret, &[addresses.len() as u8]].concat();
    for address in addresses {
        body.push(address.len() as u8);
        body.extend(address);
    }
    body
}
