//! The state as OpenMetrics text.

use std::collections::BTreeMap;

use cryprq_ipc_proto::message::{PeerStatus, Status};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The media type of [`text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const STATES: [&str; 5] = ["idle", "connecting", "connected", "stalled", "refused"];

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;
type Floats = Family<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>;

/// The metrics of one state. `clients` are the connections to the control socket.
pub(super) fn text(status: &Status, clients: usize) -> String {
    let mut registry = Registry::with_prefix("cryprq");
    host(&mut registry, status, clients);
    let peers = Peers::register(&mut registry);
    status.peers.iter().for_each(|peer| peers.note(peer));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

fn host(registry: &mut Registry, status: &Status, clients: usize) {
    registry.register("build", "The daemon", Info::new([("version", status.version.clone())]));
    let open = Gauge::<i64>::default();
    open.set(i64::try_from(clients).unwrap_or(i64::MAX));
    registry.register("ipc_clients", "Connections to the control socket", open);
    let health = Gauges::default();
    for item in &status.health {
        health.get_or_create(&vec![("code", item.code.clone())]).set(1);
    }
    registry.register("health", "What is wrong with this host: 1 for each", health);
    let drops = Counters::default();
    add(&drops, &[], &status.drops);
    registry.register("drops", "Packets and frames dropped that belong to no peer", drops);
}

/// What is told of each peer.
#[derive(Default)]
struct Peers {
    state: Gauges,
    bytes: Counters,
    packets: Counters,
    drops: Counters,
    failures: Counters,
    rotations: Counters,
    chain_resets: Counters,
    last_authentic: Floats,
    next_rotation: Floats,
    round_trip: Floats,
    loss: Floats,
}

impl Peers {
    fn register(registry: &mut Registry) -> Self {
        let peers = Self::default();
        let metrics = registry.sub_registry_with_prefix("peer");
        metrics.register("state", "1 for the state that the peer is in, 0 for the others", peers.state.clone());
        metrics.register_with_unit("traffic", "Inner bytes carried", Unit::Bytes, peers.bytes.clone());
        metrics.register("packets", "Inner packets carried", peers.packets.clone());
        metrics.register("drops", "Packets and frames of the peer that were dropped", peers.drops.clone());
        metrics.register("handshake_failures", "Handshakes that failed", peers.failures.clone());
        metrics.register("rotations", "Handshakes that ended with new keys", peers.rotations.clone());
        metrics.register("chain_resets", "Starts without a chain that lost one", peers.chain_resets.clone());
        let lost = "Of the frames that the peer sealed in the last seconds, the part that did not arrive";
        metrics.register_with_unit("loss", lost, Unit::Ratios, peers.loss.clone());
        for (name, help, times) in [
            ("last_authentic", "Time since the last authentic packet", &peers.last_authentic),
            ("next_rotation", "Time to the next rotation of keys", &peers.next_rotation),
            ("round_trip", "Round trip on the path in use", &peers.round_trip),
        ] {
            metrics.register_with_unit(name, help, Unit::Seconds, times.clone());
        }
        peers
    }

    fn note(&self, peer: &PeerStatus) {
        let own: Labels = vec![("peer", peer.id.clone()), ("name", peer.name.clone())];
        for state in STATES {
            self.state.get_or_create(&with(&own, "state", state)).set((peer.state == state).into());
        }
        for (direction, bytes, packets) in
            [("receive", peer.rx_bytes, peer.rx_packets), ("transmit", peer.tx_bytes, peer.tx_packets)]
        {
            let labels = with(&own, "direction", direction);
            self.bytes.get_or_create(&labels).inc_by(bytes);
            self.packets.get_or_create(&labels).inc_by(packets);
        }
        add(&self.drops, &own, &peer.drops);
        add(&self.failures, &own, &peer.failures);
        self.rotations.get_or_create(&own).inc_by(peer.rotations);
        self.chain_resets.get_or_create(&own).inc_by(peer.chain_resets);
        let round_trip = peer.path.as_ref().and_then(|path| path.rtt_ms);
        if let Some(percent) = peer.path.as_ref().and_then(|path| path.loss_percent) {
            self.loss.get_or_create(&own).set(percent / 100.0);
        }
        let whole = |ms: Option<u64>| ms.map(|ms| ms as f64);
        for (times, ms) in [
            (&self.last_authentic, whole(peer.last_authentic_ms)),
            (&self.next_rotation, whole(peer.next_rotation_ms)),
            (&self.round_trip, round_trip),
        ] {
            if let Some(ms) = ms {
                times.get_or_create(&own).set(ms / 1000.0);
            }
        }
    }
}

fn with(labels: &[(&'static str, String)], name: &'static str, value: &str) -> Labels {
    labels.iter().cloned().chain([(name, value.to_owned())]).collect()
}

fn add(counters: &Counters, labels: &[(&'static str, String)], reasons: &BTreeMap<String, u64>) {
    for (reason, count) in reasons {
        counters.get_or_create(&with(labels, "reason", reason)).inc_by(*count);
    }
}

#[cfg(test)]
mod tests {
    use cryprq_ipc_proto::message::{Addresses, HealthItem, PathStatus};
    use node::handshake::RejectCode;
    use node::state::PeerState;

    use super::*;

    fn counts(reason: &str, count: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([(reason.to_owned(), count)])
    }

    fn status() -> Status {
        let peer = PeerStatus {
            id: "12D3KooWPeer".into(),
            name: "gate\"way\n\\".into(),
            state: "connected".into(),
            path: Some(PathStatus {
                kind: "stream".into(),
                address: "/x".into(),
                relay: None,
                rtt_ms: Some(12.5),
                loss_percent: Some(25.0),
                mtu: 1420,
                not_direct: None,
            }),
            obstacle: None,
            cipher: None,
            last_authentic: None,
            last_authentic_ms: Some(1500),
            handshake_at: None,
            next_rotation_ms: None,
            rotations: 3,
            rx_bytes: 10,
            tx_bytes: 20,
            rx_packets: 1,
            tx_packets: 2,
            rx_bps: 0,
            tx_bps: 0,
            drops: counts("frame_replayed", 5),
            allowed_ips: vec![],
            psk: true,
            forward: false,
            chain_resets: 1,
            failures: counts("timed_out", 6),
        };
        Status {
            version: "0.1.0".into(),
            peer_id: "12D3KooWSelf".into(),
            name: "laptop".into(),
            addresses: Addresses { ipv4: None, ipv6: "fd63::1".parse().unwrap() },
            state: "running".into(),
            since: "2026-01-01T00:00:00Z".into(),
            ingress: "tun".into(),
            listen: vec![],
            health: vec![HealthItem { code: "listen".into(), since: String::new(), text: String::new(), hint: None }],
            drops: counts("out_no_peer", 4),
            exit: None,
            peers: vec![peer],
        }
    }

    #[test]
    fn every_number_of_the_state_has_its_line() {
        let text = text(&status(), 2);
        let peer = r#"peer="12D3KooWPeer",name="gate\"way\n\\""#;
        for line in [
            "cryprq_build_info{version=\"0.1.0\"} 1".to_owned(),
            "cryprq_ipc_clients 2".into(),
            "cryprq_health{code=\"listen\"} 1".into(),
            "cryprq_drops_total{reason=\"out_no_peer\"} 4".into(),
            format!("cryprq_peer_state{{{peer},state=\"connected\"}} 1"),
            format!("cryprq_peer_state{{{peer},state=\"stalled\"}} 0"),
            format!("cryprq_peer_traffic_bytes_total{{{peer},direction=\"receive\"}} 10"),
            format!("cryprq_peer_traffic_bytes_total{{{peer},direction=\"transmit\"}} 20"),
            format!("cryprq_peer_packets_total{{{peer},direction=\"receive\"}} 1"),
            format!("cryprq_peer_packets_total{{{peer},direction=\"transmit\"}} 2"),
            format!("cryprq_peer_drops_total{{{peer},reason=\"frame_replayed\"}} 5"),
            format!("cryprq_peer_handshake_failures_total{{{peer},reason=\"timed_out\"}} 6"),
            format!("cryprq_peer_rotations_total{{{peer}}} 3"),
            format!("cryprq_peer_chain_resets_total{{{peer}}} 1"),
            format!("cryprq_peer_last_authentic_seconds{{{peer}}} 1.5"),
            format!("cryprq_peer_round_trip_seconds{{{peer}}} 0.0125"),
        ] {
            assert!(text.lines().any(|written| written == line), "{line}\nis not in\n{text}");
        }
        assert!(!text.contains("next_rotation_seconds{"), "what is not known has no line");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn attack_10_a_name_cannot_add_a_line() {
        let mut status = status();
        status.peers[0].name = "x\"} 1\ncryprq_peer_state{state=\"connected".into();
        assert_eq!(text(&status, 0).lines().count(), text(&self::status(), 0).lines().count());
    }

    #[test]
    fn every_state_of_a_peer_is_told() {
        let refused = PeerState::Refused(RejectCode::Version);
        let all = [PeerState::Idle, PeerState::Connecting, PeerState::Connected, PeerState::Stalled, refused];
        assert_eq!(all.map(PeerState::name), STATES);
    }
}
