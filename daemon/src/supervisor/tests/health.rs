//! Health items come with their cause and go with it.

use net::plane::Failures;
use node::handshake::RejectCode;
use node::offload::MergeRule;
use node::state::PeerState;
use os::tun::TunOffload;
use os::udp::UdpNote;

use super::*;

#[tokio::test]
async fn a_host_in_order_has_no_health_item() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(&dir.path().join("state"), "").await.unwrap();
    assert!(daemon.health().is_empty(), "{:?}", daemon.supervisor.status().health);
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_until_every_address_is_listened_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = daemon(&dir.path().join("state"), "").await.unwrap();
    let [udp, tcp] = ["/ip4/0.0.0.0/udp/41820/quic-v1", "/ip6/::/tcp/41820"].map(|text| text.parse().unwrap());
    let [on_udp, on_tcp] = ["/ip4/192.0.2.1/udp/41820/quic-v1", "/ip6/::1/tcp/41820"].map(|text| text.parse().unwrap());
    daemon.supervisor.does_not_listen(&udp, "taken");
    daemon.supervisor.does_not_listen(&tcp, "taken");
    daemon.supervisor.does_not_listen(&tcp, "still taken");
    let item = daemon.supervisor.status().health[0].clone();
    assert_eq!(item.code, "listen");
    assert!(item.text.contains("/ip4/0.0.0.0/udp") && item.text.contains("/ip6/::/tcp/41820: still taken"));
    daemon.supervisor.listens(on_udp);
    assert_eq!(daemon.health(), ["listen"]);
    daemon.supervisor.listens(on_tcp);
    assert!(daemon.health().is_empty());
    assert_eq!(daemon.supervisor.status().listen.len(), 2);
    daemon.supervisor.does_not_listen(&udp, "gone");
    assert_eq!(daemon.supervisor.status().listen, ["/ip6/::1/tcp/41820"]);
}

#[tokio::test]
async fn a_missing_group_and_secrets_that_may_be_swapped_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let host = Oddities { group: None, ..Oddities::default() };
    let locked = Arc::clone(&host.locked);
    let mut daemon = daemon_with(&dir.path().join("state"), "", host).await.unwrap();
    assert_eq!(daemon.health(), ["group_missing"]);
    locked.store(false, Ordering::Relaxed);
    daemon.supervisor.look();
    assert_eq!(daemon.health(), ["group_missing", "secrets_not_locked"]);
    locked.store(true, Ordering::Relaxed);
    daemon.supervisor.look();
    assert_eq!(daemon.health(), ["group_missing"]);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_told_until_it_takes_something() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut daemon = daemon(&state, "").await.unwrap();
    let in_the_way = state.join("wishes.toml.new/in-the-way");
    std::fs::create_dir_all(&in_the_way).unwrap();
    daemon.refusal(r#"{"cmd":"down"}"#).await;
    daemon.supervisor.look();
    assert_eq!(daemon.health(), ["state_not_saved"]);
    std::fs::remove_dir_all(state.join("wishes.toml.new")).unwrap();
    daemon.supervisor.look();
    assert!(daemon.health().is_empty());
    assert!(state.join("wishes.toml").exists());
}

#[tokio::test]
async fn damaged_wishes_are_done_without_until_there_are_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let config = format!("[[peer]]\nid = \"{A}\"\nname = \"gateway\"\n");
    drop(daemon(&state, &config).await.unwrap());
    for damage in ["", "version = 1\nup = [\"x\"]\ndown = []\n", "version = 1\nup = [\n", "\0\0\0\0"] {
        os::files::write_atomically(&state.join("wishes.toml"), damage.as_bytes()).unwrap();
        let mut daemon = daemon(&state, &config).await.unwrap();
        assert_eq!(daemon.health(), ["state_damaged"], "{damage:?}");
        assert_eq!(daemon.peers(), [("gateway", true)]);
        daemon.done(r#"{"cmd":"down"}"#).await;
        assert!(daemon.health().is_empty());
    }
}

#[tokio::test]
async fn a_peer_that_refuses_us_is_named_until_it_does_not_or_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = daemon(&dir.path().join("state"), "").await.unwrap();
    for (id, name) in [(A, "one"), (B, "two")] {
        daemon.done(&format!(r#"{{"cmd":"peer_add","peer":"{id}","name":"{name}"}}"#)).await;
    }
    let [one, two] = [PeerSlot(0), PeerSlot(1)];
    daemon.supervisor.judge_peer(one, PeerState::Refused(RejectCode::Policy));
    daemon.supervisor.judge_peer(two, PeerState::Refused(RejectCode::Version));
    daemon.supervisor.chain_reset_needed(two);
    let items = daemon.supervisor.status().health;
    assert!(items[0].text.contains("peer one") && items[0].text.contains("peer two"), "{}", items[0].text);
    assert_eq!(daemon.health(), ["peer_refused", "chain_reset_needed"]);
    daemon.supervisor.judge_peer(one, PeerState::Connecting);
    assert!(!daemon.supervisor.status().health[0].text.contains("peer one"));
    daemon.done(r#"{"cmd":"peer_remove","peer":"two"}"#).await;
    assert!(daemon.health().is_empty());
}

#[tokio::test]
async fn a_peer_that_is_not_connected_is_not_pinged() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("[[peer]]\nid = \"{A}\"\nname = \"gateway\"\n");
    let mut daemon = daemon(&dir.path().join("state"), &config).await.unwrap();
    let error = daemon.refusal(r#"{"cmd":"ping","peer":"gateway"}"#).await;
    assert_eq!(error.code, ErrorCode::NotConnected);
    assert!(error.message.contains("connecting") && error.hint.is_some());
    assert_eq!(daemon.refusal(r#"{"cmd":"ping","peer":"x"}"#).await.code, ErrorCode::UnknownPeer);
}

#[tokio::test]
async fn what_the_kernel_lacks_is_one_item_as_long_as_it_lacks_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = daemon(&dir.path().join("state"), "").await.unwrap();
    let address = "192.0.2.1:41820".parse().unwrap();
    for (wanted, got) in [
        (TunOffload::Off, None),
        (TunOffload::ProbeTcp, Some(MergeRule::Tcp)),
        (TunOffload::Probe, Some(MergeRule::TcpAndUdp)),
    ] {
        daemon.supervisor.judge_interface(wanted, got);
        assert!(daemon.health().is_empty(), "{wanted:?} {got:?}");
    }
    daemon.supervisor.judge_interface(TunOffload::ProbeTcp, None);
    for _ in 0..2 {
        daemon.supervisor.judge_interface(TunOffload::Probe, Some(MergeRule::Tcp));
        daemon.supervisor.judge_sockets(vec![(address, UdpNote::NoSegmentation), (address, UdpNote::NoCoalescing)]);
    }
    assert_eq!(daemon.health(), ["kernel_lacks"]);
    let text = daemon.supervisor.status().health[0].text.clone();
    assert!(text.contains("of UDP alone") && text.contains("192.0.2.1:41820: the kernel does not cut"), "{text}");
    daemon.supervisor.judge_sockets(vec![(address, UdpNote::NoCoalescing)]);
    daemon.supervisor.judge_interface(TunOffload::Probe, Some(MergeRule::TcpAndUdp));
    let text = daemon.supervisor.status().health[0].text.clone();
    assert_eq!(text, "socket 192.0.2.1:41820: the kernel does not merge datagrams into runs");
    daemon.supervisor.judge_sockets(Vec::new());
    assert!(daemon.health().is_empty());
}

#[tokio::test]
async fn what_fails_for_good_is_one_item_of_its_kind_until_it_works() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = daemon(&dir.path().join("state"), "").await.unwrap();
    let error = || Some("Input/output error".to_owned());
    let socket = |text: &str| (text.parse().unwrap(), "Input/output error".to_owned());
    for _ in 0..3 {
        daemon.supervisor.judge_failures(Failures {
            reads: error(),
            writes: error(),
            sockets: vec![socket("192.0.2.1:41820"), socket("[2001:db8::1]:41820")],
        });
    }
    assert_eq!(daemon.health(), ["listen", "no_tun"]);
    let texts: Vec<_> = daemon.supervisor.status().health.iter().map(|item| item.text.clone()).collect();
    assert!(texts[0].contains("192.0.2.1:41820: Input/output error") && texts[0].contains("[2001:db8::1]"));
    assert!(texts[1].contains("gives no packets") && texts[1].contains("takes no packets"), "{texts:?}");
    let sockets = vec![socket("192.0.2.1:41820")];
    daemon.supervisor.judge_failures(Failures { sockets, ..Failures::default() });
    assert_eq!(daemon.health(), ["listen"]);
    daemon.supervisor.judge_failures(Failures::default());
    assert!(daemon.health().is_empty());
}
