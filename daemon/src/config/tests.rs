use node::tunnel::ChainRule;

use super::*;

const A: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
const B: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

fn errors(text: &str) -> String {
    Config::parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_valid_and_has_the_documented_defaults() {
    let config = Config::parse("").unwrap();
    assert_eq!((config.mtu, config.port, config.rotation_seconds), (1420, 41820, 300));
    assert_eq!((config.ingress, config.address), (Ingress::Tun, OwnIpv4::Derived));
    assert_eq!(config.ipv4.to_string(), "10.86.0.0/16");
    assert_eq!(config.access.admin, BTreeSet::from([Who::Root]));
    assert_eq!(config.listen.len(), 2);
}

#[test]
fn a_peer_is_read_with_all_its_keys() {
    let config = Config::parse(&format!(
        "[[peer]]\nid = \"{A}\"\nname = \"gateway\"\naddresses = [\"/dns4/gw.example.org/udp/41820/quic-v1\"]\n\
         allowed_ips = [\"10.86.0.1/32\", \"fd63:7279:7072::1/128\"]\nrequire_chain = true\nup = false\n"
    ));
    let peer = &config.unwrap().peers[0];
    assert_eq!((peer.name.as_str(), peer.up, peer.require_chain), ("gateway", false, ChainRule::Required));
    assert_eq!((peer.addresses.len(), peer.allowed_ips.len()), (1, 2));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_known_ones() {
    let text = errors("[network]\nmut = 1400\n");
    assert!(text.contains("line 2") && text.contains("mut") && text.contains("`mtu`"), "{text}");
}

#[test]
fn all_errors_are_told_at_once_and_each_names_its_key() {
    let text = errors(&format!(
        "[node]\nname = \"\"\n[network]\nmtu = 100\naddress = \"x\"\ningress = \"extension\"\n[listen]\nport = 70000\n\
         addresses = [\"localhost\"]\n[rotation]\nseconds = 30\npadding = \"32\"\n[ipc.access]\nadmin = [\"wheel\"]\n\
         [log]\nlevel = \"loud\"\n[[peer]]\nid = \"nobody\"\nname = \"a\"\n[[peer]]\nid = \"{A}\"\nname = \"b\"\n\
         addresses = [\"10.0.0.1\"]\nallowed_ips = [\"10.0.0.300/32\"]\n"
    ));
    let keys = [
        "node.name",
        "network.mtu",
        "network.address",
        "network.ingress",
        "listen.port",
        "listen.addresses",
        "rotation.seconds",
        "rotation.padding",
        "ipc.access.admin",
        "log.level",
        "peer a, id",
        "peer b, addresses",
        "peer b, allowed_ips",
    ];
    for key in keys {
        assert!(text.lines().any(|line| line.starts_with(&format!("{key}: "))), "{key} in\n{text}");
    }
    assert_eq!(text.lines().count(), keys.len(), "{text}");
}

#[test]
fn the_same_peer_name_or_prefix_twice_names_both() {
    let peer =
        |id: &str, name: &str| format!("[[peer]]\nid = \"{id}\"\nname = \"{name}\"\nallowed_ips = [\"10.0.0.1/32\"]\n");
    let text = errors(&(peer(A, "one") + &peer(B, "two")));
    assert_eq!(text, "peer two, allowed_ips: 10.0.0.1/32 belongs to peer one already");
    let text = errors(&(peer(A, "one") + &peer(A, "one")));
    assert!(text.contains("the same id as peer one") && text.contains("stands twice"), "{text}");
}

#[test]
fn drop_ins_are_read_in_order_and_the_last_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cryprq.toml");
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    std::fs::write(&file, "[network]\nmtu = 1300\n[log]\nlevel = \"debug\"\n").unwrap();
    std::fs::write(dir.path().join("conf.d/20-b.toml"), "[network]\nmtu = 1380\n").unwrap();
    std::fs::write(dir.path().join("conf.d/10-a.toml"), "[network]\nmtu = 1350\n").unwrap();
    std::fs::write(dir.path().join("conf.d/30-c.toml.off"), "nonsense").unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!((config.mtu, config.log_level.as_str()), (1380, "debug"));
    assert_eq!(Config::load(&dir.path().join("none.toml")).unwrap().port, 41820);
}

#[test]
fn a_psk_is_read_from_a_private_file_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.psk");
    let config = format!("[[peer]]\nid = \"{A}\"\nname = \"g\"\npsk_file = \"{}\"\n", file.display());
    os::files::create_secret(&file, "ab".repeat(32).as_bytes()).unwrap();
    assert_eq!(Config::parse(&config).unwrap().peers[0].psk.as_ref().unwrap().expose(), &[0xab; 32]);
    os::files::write_atomically(&file, b"q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=\n").unwrap();
    assert_eq!(Config::parse(&config).unwrap().peers[0].psk.as_ref().unwrap().expose(), &[0xab; 32]);
    os::files::write_atomically(&file, "00".repeat(32).as_bytes()).unwrap();
    assert!(errors(&config).contains("zeros"));
    os::files::write_atomically(&file, b"short").unwrap();
    assert!(errors(&config).contains("openssl rand"));
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    assert!(errors(&config).contains("chmod"));
}
