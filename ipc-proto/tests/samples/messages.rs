//! Requests, replies and events.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::message::{
    Addresses, Event, EventBody, ExitStatus, HealthItem, InviteStatus, Netcheck, Obstacle, OuterAddress, PathStatus,
    PeerStatus, RelayStatus, Reply, Request, Status, StatusChange,
};
use cryprq_ipc_proto::secret::SecretText;
use serde_json::to_value;

use super::{Sample, sample};

const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

pub(super) fn up() -> Frame<'static> {
    Frame::Request(Request::Up { peer: Some("gateway".into()), exit: None })
}

pub(super) fn requests() -> Vec<Sample> {
    let peer = || "gateway".to_owned();
    let secret = |text: &str| SecretText::new(text.to_owned());
    let add = Request::PeerAdd {
        peer: PEER.into(),
        name: Some(peer()),
        addresses: vec!["/dns4/gw.example.org/udp/41820/quic-v1".into(), "/ip4/192.0.2.1/tcp/41820".into()],
        allowed_ips: vec!["10.86.0.1/32".into()],
        psk: Some(secret("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")),
        require_chain: true,
        up: false,
        forward: true,
    };
    let add_least = Request::PeerAdd {
        peer: PEER.into(),
        name: None,
        addresses: Vec::new(),
        allowed_ips: Vec::new(),
        psk: None,
        require_chain: false,
        up: true,
        forward: false,
    };
    let set = Request::PeerSet {
        peer: peer(),
        name: Some("gw".into()),
        addresses: Some(Vec::new()),
        allowed_ips: Some(vec!["::/0".into()]),
        psk: Some(secret("none")),
        require_chain: Some(false),
        up: Some(true),
        forward: Some(true),
    };
    let set_least = Request::PeerSet {
        peer: peer(),
        name: None,
        addresses: None,
        allowed_ips: None,
        psk: None,
        require_chain: None,
        up: None,
        forward: None,
    };
    let all = [
        ("", Request::Hello {}),
        ("", Request::Status {}),
        ("", Request::Peers { peer: None }),
        ("_one", Request::Peers { peer: Some(peer()) }),
        ("", Request::Watch {}),
        ("", Request::Ping { peer: peer() }),
        ("", Request::Metrics {}),
        ("", Request::Up { peer: None, exit: None }),
        ("_one", Request::Up { peer: Some(peer()), exit: None }),
        ("_exit", Request::Up { peer: None, exit: Some(peer()) }),
        ("", Request::Down { peer: None }),
        ("_one", Request::Down { peer: Some(peer()) }),
        ("", Request::Rotate { peer: None }),
        ("_one", Request::Rotate { peer: Some(peer()) }),
        ("", Request::Reconnect { peer: None }),
        ("_one", Request::Reconnect { peer: Some(peer()) }),
        ("", Request::Invite { expires_ms: None, relay: None }),
        ("_expires", Request::Invite { expires_ms: Some(600_000), relay: None }),
        ("_relay", Request::Invite { expires_ms: None, relay: Some("relay".into()) }),
        ("", Request::InviteList {}),
        ("", Request::InviteCancel { invite: "e0e1e2e3e4e5e6e7".into() }),
        ("", Request::Join { ticket: secret("cryprq:AESUHOJP6EEVKEKH") }),
        ("", add),
        ("_least", add_least),
        ("", set),
        ("_least", set_least),
        ("", Request::PeerRemove { peer: peer() }),
        ("", Request::PeerAcceptChainReset { peer: peer() }),
        ("", Request::Config {}),
        ("", Request::Reload {}),
        ("", Request::LogLevel { level: "debug".into() }),
        ("", Request::Netcheck {}),
    ];
    let named = |(which, request): (&str, Request)| {
        let body = to_value(&request).expect("it fits");
        sample(format!("request__{}{which}", request.name()), 7, Frame::Request(request), body)
    };
    all.into_iter().map(named).collect()
}

fn addresses() -> Addresses {
    Addresses {
        ipv4: Some("10.86.70.153".parse().expect("well written")),
        ipv6: "fd63:7279:7072:d139::1".parse().expect("well written"),
    }
}

fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// A peer that was never reached.
fn idle(id: &str, name: &str) -> PeerStatus {
    PeerStatus {
        id: id.into(),
        name: name.into(),
        state: "idle".into(),
        path: None,
        obstacle: None,
        cipher: None,
        last_authentic: None,
        last_authentic_ms: None,
        handshake_at: None,
        next_rotation_ms: None,
        rotations: 0,
        rx_bytes: 0,
        tx_bytes: 0,
        rx_packets: 0,
        tx_packets: 0,
        rx_bps: 0,
        tx_bps: 0,
        drops: BTreeMap::new(),
        allowed_ips: vec!["fd63:7279:7072:20c9::1/128".into()],
        psk: false,
        forward: false,
        chain_resets: 0,
        failures: BTreeMap::new(),
    }
}

fn connected() -> PeerStatus {
    PeerStatus {
        state: "connected".into(),
        path: Some(PathStatus {
            kind: "stream".into(),
            address: "/ip4/192.0.2.1/udp/41820/quic-v1".into(),
            relay: None,
            rtt_ms: Some(12.5),
            loss_percent: Some(0.25),
            mtu: 1420,
            not_direct: Some(Obstacle {
                code: "no_answer".into(),
                text: "the peer does not answer datagrams with frames, though QUIC passes".into(),
                hint: None,
            }),
        }),
        cipher: Some("ChaCha20-Poly1305".into()),
        last_authentic: Some("2026-11-25T01:02:03Z".into()),
        last_authentic_ms: Some(250),
        handshake_at: Some("2026-11-25T01:00:00Z".into()),
        next_rotation_ms: Some(177_000),
        rotations: 3,
        rx_bytes: u64::MAX,
        tx_bytes: 1,
        rx_packets: 9_007_199_254_740_993,
        tx_packets: 2,
        rx_bps: 800,
        tx_bps: 8,
        drops: counts(&[("frame_replayed", 1)]),
        psk: true,
        forward: true,
        chain_resets: 1,
        failures: counts(&[("bad_signature", 1), ("timed_out", 2)]),
        ..idle(PEER, "gateway")
    }
}

fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        peer_id: "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2".into(),
        name: "laptop – Büro".into(),
        addresses: addresses(),
        state: "running".into(),
        since: "2026-11-25T00:00:00Z".into(),
        ingress: "tun".into(),
        listen: vec!["/ip4/0.0.0.0/udp/41820/quic-v1".into()],
        health: vec![HealthItem {
            code: "listen".into(),
            since: "2026-11-25T00:00:01Z".into(),
            text: "cannot listen".into(),
            hint: Some("choose another port".into()),
        }],
        drops: counts(&[("frame_forged", 4), ("out_no_peer", 7)]),
        exit: Some(ExitStatus {
            peer: PEER.into(),
            name: "gateway".into(),
            state: "active".into(),
            ipv4: true,
            ipv6: false,
            dns: vec![IpAddr::from([10, 86, 0, 1]), "fd63:7279:7072::1".parse().expect("well written")],
            dns_by: Some("systemd-resolved".into()),
            outside: vec!["what this host's own routes lead elsewhere".into()],
        }),
        peers: vec![connected(), idle("12D3KooWSecond", "second")],
    }
}

/// One peer hung up, one went, one came.
fn later() -> Status {
    let obstacle = Some(Obstacle {
        code: "unreachable".into(),
        text: "not reached: /ip4/192.0.2.1/tcp/41820: Connection refused".into(),
        hint: Some("is the host on?".into()),
    });
    let lost = PeerStatus {
        state: "connecting".into(),
        path: None,
        cipher: None,
        psk: false,
        forward: false,
        obstacle,
        ..connected()
    };
    Status {
        name: "laptop".into(),
        health: Vec::new(),
        drops: counts(&[("frame_forged", 5)]),
        exit: None,
        peers: vec![lost, idle("12D3KooWThird", "third")],
        ..status()
    }
}

pub(super) fn status_reply() -> Frame<'static> {
    Frame::Reply(Reply::Status(Box::new(status())))
}

pub(super) fn replies() -> Vec<Sample> {
    let invite = |state: &str, used: Option<&str>| InviteStatus {
        id: "e0e1e2e3e4e5e6e7".into(),
        state: state.into(),
        expires_at: "2026-11-25T01:10:00Z".into(),
        used_by: used.map(Into::into),
        used_at: used.map(|_| "2026-11-25T01:05:00Z".into()),
    };
    let all = [
        ("hello", Reply::Hello { version: "0.1.0".into() }),
        ("status", Reply::Status(Box::new(status()))),
        ("peers", Reply::Peers { peers: vec![connected()] }),
        ("ping", Reply::Ping { peer: PEER.into(), rtt_ms: 12.5 }),
        ("metrics", Reply::Metrics { text: "# EOF\n".into() }),
        (
            "invite",
            Reply::Invite {
                invite: "e0e1e2e3e4e5e6e7".into(),
                ticket: SecretText::new("cryprq:AESUHOJP6EEVKEKH".into()),
                expires_at: "2026-11-25T01:10:00Z".into(),
                addresses: vec!["/ip4/192.0.2.1/udp/41820/quic-v1".into()],
                reachable: "yes".into(),
            },
        ),
        ("invites", Reply::Invites { invites: vec![invite("used", Some(PEER)), invite("open", None)] }),
        ("joined", Reply::Joined { peer: PEER.into(), name: "gateway".into(), addresses: addresses() }),
        ("config", Reply::Config { toml: "[node]\nname = \"laptop\"\n".into() }),
        ("reloaded", Reply::Reloaded { changed: vec!["log.level".into()], needs_restart: Vec::new() }),
        ("done", Reply::Done {}),
        ("netcheck", Reply::Netcheck(netcheck())),
    ];
    let named = |(name, reply): (&str, Reply)| {
        let body = to_value(&reply).expect("it fits");
        assert_eq!(body["reply"], name);
        sample(format!("reply__{name}"), 7, Frame::Reply(reply), body)
    };
    all.into_iter().map(named).collect()
}

fn netcheck() -> Netcheck {
    let address = |address: &str, seen_by: &[&str], reachable| OuterAddress {
        address: address.into(),
        seen_by: seen_by.iter().map(|by| (*by).into()).collect(),
        reachable,
    };
    Netcheck {
        udp: "works".into(),
        tcp: "unknown".into(),
        ipv6: "none".into(),
        nat: "endpoint_independent".into(),
        reachable: "no".into(),
        addresses: vec![
            address("/ip4/203.0.113.7/udp/1027/quic-v1", &["/ip4/192.0.2.1/udp/41820/quic-v1"], Some(false)),
            address("/ip4/203.0.113.7/tcp/41820", &[], None),
        ],
        relays: vec![RelayStatus { address: format!("/ip4/192.0.2.1/udp/41820/quic-v1/p2p/{PEER}"), reserved: true }],
        advice: vec!["forward UDP port 41820 of the router to this host".into()],
    }
}

pub(super) fn events() -> Vec<Sample> {
    let change = StatusChange::between(&status(), &later());
    let all = [
        ("state", Event { seq: 1, body: EventBody::State(Box::new(status())) }),
        ("change", Event { seq: 2, body: EventBody::Change(Box::new(change)) }),
        ("nothing", Event { seq: 3, body: EventBody::Change(Box::default()) }),
    ];
    let named = |(name, event): (&str, Event)| {
        let body = to_value(&event).expect("it fits");
        sample(format!("event__{name}"), 7, Frame::Event(event), body)
    };
    all.into_iter().map(named).collect()
}
