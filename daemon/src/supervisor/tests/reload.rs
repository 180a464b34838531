//! The configuration is read again: all of it comes into force, or nothing.

use cryprq_ipc_proto::message::Request;
use os::peercred::Credentials;

use super::*;
use crate::ipc::Caller;

/// A daemon and the file that it reads.
struct Reloading {
    _dir: tempfile::TempDir,
    file: PathBuf,
    daemon: Daemon,
}

async fn reloading(config: &str) -> Reloading {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cryprq.toml");
    std::fs::write(&file, config).unwrap();
    // No daemon of these tests has a TUN device.
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    std::fs::write(dir.path().join("conf.d/ingress.toml"), "[network]\ningress = \"none\"\n").unwrap();
    let daemon = daemon(&dir.path().join("state"), config).await.unwrap();
    Reloading { _dir: dir, file, daemon }
}

impl Reloading {
    async fn read(&mut self, config: &str) -> Result<(Vec<String>, Vec<String>), ErrorBody> {
        std::fs::write(&self.file, config).unwrap();
        let reply = self.daemon.ask(r#"{"cmd":"reload"}"#).await?;
        let Reply::Reloaded { changed, needs_restart } = reply else { panic!("{reply:?}") };
        Ok((changed, needs_restart))
    }

    async fn shown(&mut self) -> String {
        let reply = self.daemon.ask(r#"{"cmd":"config"}"#).await;
        let Ok(Reply::Config { toml }) = reply else { panic!("{reply:?}") };
        toml
    }
}

fn peer(id: &str, name: &str, more: &str) -> String {
    format!("[[peer]]\nid = \"{id}\"\nname = \"{name}\"\n{more}\n")
}

#[tokio::test]
async fn what_can_change_changes_and_what_cannot_is_named() {
    let mut host = reloading("").await;
    let text = "[node]\nname = \"other\"\n[network]\naddress = \"10.86.9.9\"\nmtu = 1300\n[rotation]\nseconds = 600\n\
                [listen]\nport = 4000\nadvertise = [\"/dns4/gw.example.org/udp/4000/quic-v1\"]\n\
                [ipc.access]\nadmin = [\"user:nobody\"]\n";
    let (changed, needs_restart) = host.read(text).await.unwrap();
    assert_eq!(changed, ["ipc.access.admin", "listen.advertise", "network.address", "node.name", "rotation.seconds"]);
    assert_eq!(needs_restart, ["listen.port", "network.mtu"]);
    let status = host.daemon.supervisor.status();
    assert_eq!((status.name.as_str(), status.addresses.ipv4), ("other", Some([10, 86, 9, 9].into())));
    let shown = host.shown().await;
    assert!(
        shown.contains("seconds = 600") && shown.contains("port = 41820") && shown.contains("mtu = 1420"),
        "{shown}"
    );
    assert_eq!(host.read(text).await.unwrap(), (vec![], vec!["listen.port".into(), "network.mtu".into()]));
    let (changed, needs_restart) = host.read("").await.unwrap();
    assert_eq!((changed.len(), needs_restart.len()), (5, 0));
}

#[tokio::test]
async fn new_rules_hold_for_callers_that_are_connected_already() {
    let mut host = reloading("").await;
    let held = host.daemon.supervisor.authority.clone();
    let nobody = os::users::user_id("nobody").unwrap().expect("every system has the user nobody");
    let caller = Caller { credentials: Some(Credentials { uid: nobody, gid: nobody, groups: vec![] }) };
    assert!(held.check(&caller, &Request::Reload {}).await.is_err());
    host.read("[ipc.access]\nadmin = [\"user:nobody\"]\n").await.unwrap();
    assert!(held.check(&caller, &Request::Reload {}).await.is_ok());
    host.read("").await.unwrap();
    assert!(held.check(&caller, &Request::Reload {}).await.is_err());
}

#[tokio::test]
async fn a_configuration_that_is_refused_changes_nothing_and_is_told() {
    let kept = peer(A, "gateway", "");
    let mut host = reloading(&kept).await;
    let before = host.shown().await;
    let bad = "[node]\nname = \"other\"\n[network]\nmut = 1\nmtu = 1\n".to_owned() + &peer(B, "b", "");
    let error = host.read(&bad).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidConfig);
    assert!(error.message.contains(":4:1: network.mut: ") && error.message.contains(":5:7: network.mtu: "));
    assert_eq!(host.daemon.health(), ["config_refused"]);
    assert_eq!((host.shown().await, host.daemon.peers()), (before, vec![("gateway", true)]));
    host.read(&kept).await.unwrap();
    assert!(host.daemon.health().is_empty());
}

#[tokio::test]
async fn peers_come_change_and_go_and_the_others_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let psk = dir.path().join("a.psk");
    os::files::create_secret(&psk, "ab".repeat(32).as_bytes()).unwrap();
    let with_psk = format!("psk_file = \"{}\"", psk.display());
    let mut host = reloading(&peer(A, "a", &with_psk)).await;
    let slot = host.daemon.supervisor.slots[&net::peer_id::parse(A).unwrap()];
    host.daemon.done(r#"{"cmd":"down","peer":"a"}"#).await;

    let (changed, _) = host.read(&(peer(A, "a", &with_psk) + &peer(B, "b", ""))).await.unwrap();
    assert_eq!(changed, ["peer b"]);
    assert_eq!(host.daemon.peers(), [("a", false), ("b", true)]);

    os::files::write_atomically(&psk, "cd".repeat(32).as_bytes()).unwrap();
    let (changed, _) = host.read(&(peer(A, "a", &with_psk) + &peer(B, "b", ""))).await.unwrap();
    assert_eq!(changed, ["peer a"], "the PSK is another one");
    let a = &host.daemon.supervisor.peers[&slot];
    assert_eq!(a.psk.as_ref().unwrap().expose(), &[0xcd; 32]);

    let (changed, _) = host.read(&peer(A, "renamed", "allowed_ips = [\"10.9.0.0/24\"]")).await.unwrap();
    assert_eq!(changed, ["peer a", "peer b"]);
    assert_eq!(host.daemon.peers(), [("renamed", false)]);
    let a = &host.daemon.supervisor.peers[&slot];
    assert!(a.psk.is_none() && a.config.allowed_ips[0].to_string() == "10.9.0.0/24");
    assert_eq!(host.daemon.secrets.load(Ordering::Relaxed), 1, "the identity alone is left");
}

#[tokio::test]
async fn a_peer_of_the_state_folder_stays_and_is_not_doubled() {
    let mut host = reloading("").await;
    host.daemon.done(&format!(r#"{{"cmd":"peer_add","peer":"{A}","name":"kept"}}"#)).await;
    for config in [peer(A, "gateway", ""), peer(B, "kept", "")] {
        let error = host.read(&config).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::AlreadyExists);
        assert_eq!(host.daemon.peers(), [("kept", true)]);
    }
    host.read(&peer(B, "b", "")).await.unwrap();
    assert_eq!(host.daemon.peers(), [("kept", true), ("b", true)]);
    let shown = host.shown().await;
    assert!(shown.contains(B) && !shown.contains(A), "{shown}");
}

#[tokio::test]
async fn what_fails_half_way_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let psk = dir.path().join("b.psk");
    os::files::create_secret(&psk, "ab".repeat(32).as_bytes()).unwrap();
    let mut host = reloading(&peer(A, "a", "")).await;
    let before = host.shown().await;
    host.daemon.store_full.store(true, Ordering::Relaxed);
    let new = "[network]\naddress = \"10.86.9.9\"\n".to_owned()
        + &peer(A, "other", "")
        + &peer(B, "b", &format!("psk_file = \"{}\"", psk.display()));
    let error = host.read(&new).await.unwrap_err();
    assert!(error.message.contains("nothing was changed"), "{error}");
    assert_eq!((host.shown().await, host.daemon.peers()), (before, vec![("a", true)]));
    host.daemon.store_full.store(false, Ordering::Relaxed);
    host.read(&new).await.unwrap();
    assert_eq!(host.daemon.peers(), [("other", true), ("b", true)]);
}
