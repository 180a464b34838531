//! A host with two peers, for the tests of what is shown.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cryprq_ipc_proto::message::{Addresses, HealthItem, Obstacle, PathStatus, PeerStatus, Status};

use crate::output::Size;

/// Room for everything.
pub(crate) const WIDE: Size = Size { columns: usize::MAX, rows: usize::MAX };

/// What is drawn, without its colours and with `SINCE` for the time since the start.
pub(crate) fn plain(draw: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut out = anstream::StripStream::new(Vec::new());
    draw(&mut out).unwrap();
    let text = String::from_utf8(out.into_inner()).unwrap();
    match text.split_once(", started ") {
        Some((before, after)) => format!("{before}, started SINCE{}", &after[after.find('\n').unwrap()..]),
        None => text,
    }
}

/// The host.
pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        peer_id: "12D3KooWLaptop".into(),
        name: "laptop".into(),
        addresses: Addresses { ipv4: Some([10, 86, 0, 2].into()), ipv6: "fd63:7279:7072::2".parse().unwrap() },
        state: "running".into(),
        since: "2026-01-01T00:00:00Z".into(),
        ingress: "tun".into(),
        listen: vec!["/ip4/0.0.0.0/udp/41820/quic-v1".into(), "/ip4/0.0.0.0/tcp/41820".into()],
        health: vec![HealthItem {
            code: "no_group".into(),
            since: "2026-01-01T00:00:00Z".into(),
            text: "the group 'cryprq' does not exist: only root may use the control socket".into(),
            hint: Some("sudo groupadd --system cryprq, then restart the daemon".into()),
        }],
        drops: BTreeMap::from([("no_owner".into(), 3)]),
        exit: None,
        peers: vec![gateway(), phone()],
    }
}

fn gateway() -> PeerStatus {
    PeerStatus {
        id: "12D3KooWGateway".into(),
        name: "gateway".into(),
        state: "connected".into(),
        path: Some(PathStatus {
            kind: "stream".into(),
            address: "/ip4/192.0.2.2/udp/41820/quic-v1/p2p/12D3KooWGateway".into(),
            relay: None,
            rtt_ms: Some(12.34),
            loss_percent: Some(0.5),
            mtu: 1420,
            not_direct: Some(Obstacle {
                code: "no_answer".into(),
                text: "the peer does not answer datagrams".into(),
                hint: Some("look at its firewall".into()),
            }),
        }),
        obstacle: None,
        cipher: Some("aes-256-gcm".into()),
        last_authentic: Some("2026-01-01T00:00:00Z".into()),
        last_authentic_ms: Some(2100),
        handshake_at: None,
        next_rotation_ms: Some(272_000),
        rotations: 3,
        rx_bytes: 1_572_864,
        tx_bytes: 900,
        rx_packets: 0,
        tx_packets: 0,
        rx_bps: 12_345_678,
        tx_bps: 0,
        drops: BTreeMap::from([("replayed".into(), 2), ("too_old".into(), 1), ("short".into(), 0)]),
        allowed_ips: vec!["10.86.0.1/32".into(), "fd63:7279:7072::1/128".into()],
        psk: true,
        forward: true,
        chain_resets: 0,
        failures: BTreeMap::new(),
    }
}

fn phone() -> PeerStatus {
    PeerStatus {
        id: "12D3KooWPhone".into(),
        name: "phone".into(),
        state: "connecting".into(),
        path: None,
        obstacle: Some(Obstacle {
            code: "unreachable".into(),
            text: "not reached: /ip4/192.0.2.9/tcp/41820: Connection refused".into(),
            hint: Some("is the host on?".into()),
        }),
        cipher: None,
        last_authentic: None,
        last_authentic_ms: None,
        next_rotation_ms: None,
        rotations: 0,
        rx_bytes: 0,
        tx_bytes: 0,
        rx_packets: 0,
        tx_packets: 0,
        rx_bps: 0,
        drops: BTreeMap::new(),
        allowed_ips: vec!["10.86.0.3/32".into()],
        psk: false,
        forward: false,
        chain_resets: 1,
        failures: BTreeMap::from([("timeout".into(), 4)]),
        ..gateway()
    }
}
