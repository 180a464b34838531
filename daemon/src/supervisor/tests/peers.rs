//! `peer_add`, `peer_set`, `peer_remove`, and the peers of the state folder.

use node::pairing::inner_ipv6;

use super::*;

fn add(id: &str, more: &str) -> String {
    format!(r#"{{"cmd":"peer_add","peer":"{id}"{more}}}"#)
}

fn key(id: &str) -> PeerKey {
    net::peer_id::parse(id).unwrap()
}

#[tokio::test]
async fn an_added_peer_outlives_a_restart_and_a_removed_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut daemon = daemon(&state, "").await.unwrap();
    let psk = "ab".repeat(32);
    daemon.done(&add(A, &format!(r#","name":"gateway","psk":"{psk}","allowed_ips":["10.86.0.0/24"]"#))).await;
    daemon.done(&add(B, r#","up":false"#)).await;
    assert_eq!(daemon.peers(), [("gateway", true), (B, false)]);
    drop(daemon);

    let mut daemon = super::daemon(&state, "").await.unwrap();
    assert_eq!(daemon.peers(), [("gateway", true), (B, false)]);
    let status = daemon.supervisor.status();
    assert_eq!((status.peers[0].psk, status.peers[1].psk), (true, false));
    assert_eq!(status.peers[0].allowed_ips, ["10.86.0.0/24"]);
    assert_eq!(status.peers[1].allowed_ips, [format!("{}/128", inner_ipv6(key(B)))], "the derived address");
    daemon.done(r#"{"cmd":"peer_remove","peer":"gateway"}"#).await;
    drop(daemon);

    let daemon = super::daemon(&state, "").await.unwrap();
    assert_eq!(daemon.peers(), [(B, false)]);
}

#[tokio::test]
async fn a_removed_peer_leaves_no_secret_and_no_slot_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = daemon(&dir.path().join("state"), "").await.unwrap();
    let before = daemon.secrets.load(Ordering::Relaxed);
    let psk = "ab".repeat(32);
    let request = add(A, &format!(r#","name":"x","psk":"{psk}""#));
    for round in 0..3 {
        daemon.done(&request).await;
        assert!(daemon.secrets.load(Ordering::Relaxed) > before);
        let slot = daemon.supervisor.slots[&key(A)];
        assert_eq!(slot, PeerSlot(round), "a slot is used once");
        daemon.done(r#"{"cmd":"peer_remove","peer":"x"}"#).await;
        assert_eq!(daemon.secrets.load(Ordering::Relaxed), before);
        assert!(daemon.supervisor.peers.is_empty() && daemon.supervisor.slots.is_empty());
    }
    let text = std::fs::read_to_string(dir.path().join("state/peers.toml")).unwrap();
    assert!(!text.contains("psk"), "{text}");
}

#[tokio::test]
async fn peers_that_contradict_each_other_are_refused_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut daemon = daemon(&state, "").await.unwrap();
    daemon.done(&add(A, r#","name":"one","allowed_ips":["10.0.0.0/24"]"#)).await;
    let own = net::peer_id::format(daemon.supervisor.identity.public());
    let own_ipv6 = daemon.supervisor.own.ipv6;
    let cases = [
        (add(A, ""), ErrorCode::AlreadyExists, "stands in the state folder"),
        (add(B, r#","name":"one""#), ErrorCode::AlreadyExists, "called one"),
        (add(B, r#","allowed_ips":["10.0.0.7/24"]"#), ErrorCode::AlreadyExists, "belongs to peer one"),
        (add(B, &format!(r#","name":"{A}""#)), ErrorCode::InvalidConfig, "another's PeerId"),
        (add(&own, ""), ErrorCode::InvalidConfig, "this host itself"),
        (add(B, &format!(r#","allowed_ips":["{own_ipv6}/128"]"#)), ErrorCode::InvalidConfig, "own address"),
        (add("nobody", ""), ErrorCode::BadRequest, "peer: "),
        (add(B, r#","name":"a\nb""#), ErrorCode::BadRequest, "name: "),
        (add(B, r#","addresses":["10.0.0.1"]"#), ErrorCode::BadRequest, "addresses: "),
        (add(B, r#","allowed_ips":["10.0.0.300/32"]"#), ErrorCode::BadRequest, "allowed_ips: "),
        (add(B, r#","psk":"00""#), ErrorCode::BadRequest, "psk: "),
        (r#"{"cmd":"peer_set","peer":"two"}"#.into(), ErrorCode::UnknownPeer, "no peer is called"),
        (r#"{"cmd":"peer_remove","peer":"two"}"#.into(), ErrorCode::UnknownPeer, "no peer is called"),
    ];
    let before = std::fs::read(state.join("peers.toml")).unwrap();
    let secrets = daemon.secrets.load(Ordering::Relaxed);
    for (request, code, text) in cases {
        let error = daemon.refusal(&request).await;
        assert_eq!(error.code, code, "{request}: {error}");
        assert!(error.message.contains(text), "{request}: {error}");
    }
    assert_eq!(daemon.peers(), [("one", true)]);
    assert_eq!(std::fs::read(state.join("peers.toml")).unwrap(), before);
    assert_eq!(daemon.secrets.load(Ordering::Relaxed), secrets);
}

#[tokio::test]
async fn a_peer_of_the_configuration_is_not_changed_by_callers() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!("[[peer]]\nid = \"{A}\"\nname = \"gateway\"\n");
    let mut daemon = daemon(&dir.path().join("state"), &config).await.unwrap();
    for request in [r#"{"cmd":"peer_set","peer":"gateway","up":false}"#, r#"{"cmd":"peer_remove","peer":"gateway"}"#] {
        let error = daemon.refusal(request).await;
        assert_eq!(error.code, ErrorCode::InvalidConfig);
        assert!(error.hint.unwrap().contains("config reload"));
    }
    let error = daemon.refusal(&add(A, "")).await;
    assert!(error.message.contains("stands in the configuration file"), "{error}");
    assert_eq!(daemon.peers(), [("gateway", true)]);
}

#[tokio::test]
async fn a_peer_in_both_places_refuses_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    daemon(&state, "").await.unwrap().done(&add(A, r#","name":"kept""#)).await;
    for config in [
        format!("[[peer]]\nid = \"{A}\"\nname = \"gateway\"\n"),
        format!("[[peer]]\nid = \"{B}\"\nname = \"kept\"\n"),
        format!("[[peer]]\nid = \"{B}\"\nname = \"b\"\nallowed_ips = [\"{}/128\"]\n", inner_ipv6(key(A))),
    ] {
        let error = daemon(&state, &config).await.err().expect("it is refused").to_string();
        assert!(error.contains("kept"), "{error}");
    }
}

#[tokio::test]
async fn what_is_set_is_changed_and_what_is_not_said_stays() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut daemon = daemon(&state, "").await.unwrap();
    let psk = "ab".repeat(32);
    daemon.done(&add(A, &format!(r#","name":"old","psk":"{psk}","allowed_ips":["10.0.0.0/24"]"#))).await;
    let address = "/ip4/203.0.113.1/udp/41820/quic-v1";
    let more = r#""allowed_ips":["10.0.1.0/24"],"require_chain":true"#;
    daemon.done(&format!(r#"{{"cmd":"peer_set","peer":"old","name":"new","addresses":["{address}"],{more}}}"#)).await;
    let peer = &daemon.supervisor.status().peers[0];
    assert_eq!((peer.name.as_str(), peer.psk), ("new", true));
    assert_eq!(peer.allowed_ips, ["10.0.1.0/24"]);
    daemon.done(r#"{"cmd":"peer_set","peer":"new","psk":"none"}"#).await;
    assert!(!daemon.supervisor.status().peers[0].psk);
    drop(daemon);
    let daemon = super::daemon(&state, "").await.unwrap();
    let config = &daemon.supervisor.peers[&PeerSlot(0)].config;
    assert_eq!((config.name.as_str(), config.addresses[0].to_string().as_str()), ("new", address));
    assert_eq!(config.require_chain, node::tunnel::ChainRule::Required);
    assert!(daemon.supervisor.peers[&PeerSlot(0)].psk.is_none());
}

#[tokio::test]
async fn a_full_disk_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut daemon = daemon(&state, "").await.unwrap();
    daemon.done(&add(A, r#","name":"one""#)).await;
    let before = std::fs::read(state.join("peers.toml")).unwrap();
    let secrets = daemon.secrets.load(Ordering::Relaxed);
    // A folder in the way of the temporary name makes every write fail.
    std::fs::create_dir_all(state.join("peers.toml.new/in-the-way")).unwrap();
    for request in [
        add(B, ""),
        r#"{"cmd":"peer_set","peer":"one","name":"two","psk":"none"}"#.into(),
        r#"{"cmd":"peer_remove","peer":"one"}"#.into(),
    ] {
        let error = daemon.refusal(&request).await;
        assert!(error.message.contains("nothing was changed"), "{error}");
    }
    assert_eq!(daemon.peers(), [("one", true)]);
    assert_eq!(daemon.secrets.load(Ordering::Relaxed), secrets);
    assert_eq!(std::fs::read(state.join("peers.toml")).unwrap(), before);
}

#[tokio::test]
async fn wishes_follow_a_peer_through_a_restart_and_a_new_name() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut daemon = daemon(&state, "").await.unwrap();
    daemon.done(&add(A, r#","name":"one""#)).await;
    daemon.done(&add(B, r#","name":"two","up":false"#)).await;
    daemon.done(r#"{"cmd":"down","peer":"one"}"#).await;
    daemon.done(r#"{"cmd":"up","peer":"two"}"#).await;
    daemon.done(r#"{"cmd":"peer_set","peer":"one","name":"uno"}"#).await;
    drop(daemon);
    let mut daemon = super::daemon(&state, "").await.unwrap();
    assert_eq!(daemon.peers(), [("uno", false), ("two", true)]);
    // The newest word about the start is the configuration's.
    daemon.done(r#"{"cmd":"peer_set","peer":"two","up":true}"#).await;
    daemon.done(r#"{"cmd":"peer_set","peer":"two","up":false}"#).await;
    drop(daemon);
    assert_eq!(super::daemon(&state, "").await.unwrap().peers(), [("uno", false), ("two", false)]);
}

#[tokio::test]
async fn a_granted_address_is_used_until_the_configuration_names_one() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let mut daemon = daemon(&state, "").await.unwrap();
    let derived = daemon.supervisor.own.ipv4;
    let granted = Some([10, 86, 0, 2].into());
    daemon.supervisor.set_own_ipv4(granted).await.unwrap();
    assert_eq!(daemon.supervisor.own.ipv4, granted);
    drop(daemon);
    let mut daemon = super::daemon(&state, "").await.unwrap();
    assert_eq!(daemon.supervisor.own.ipv4, granted);
    daemon.supervisor.set_own_ipv4(None).await.unwrap();
    assert_eq!(daemon.supervisor.own.ipv4, derived);
    daemon.supervisor.set_own_ipv4(granted).await.unwrap();
    drop(daemon);
    let mut daemon = super::daemon(&state, "[network]\naddress = \"10.86.9.9\"\n").await.unwrap();
    assert_eq!(daemon.supervisor.own.ipv4, Some([10, 86, 9, 9].into()));
    assert!(daemon.supervisor.set_own_ipv4(None).await.is_err());
}
