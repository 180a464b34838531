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
fn an_unknown_key_is_named_with_its_place_and_what_was_meant() {
    for (text, expected) in [
        ("[network]\nmut = 1400\n", "cryprq.toml:2:1: network.mut: there is no such key; did you mean network.mtu?"),
        ("  [netwrok]\nmtu = 1400\n", "cryprq.toml:1:4: netwrok: there is no such key; did you mean network?"),
        ("mtu = 1400\n", "cryprq.toml:1:1: mtu: there is no such key; did you mean network.mtu?"),
        (
            "[ipc]\naccess.obsreve = []\n",
            "cryprq.toml:2:8: ipc.access.obsreve: there is no such key; did you mean ipc.access.observe?",
        ),
        ("[log]\ncolour = 1\n", "cryprq.toml:2:1: log.colour: there is no such key; here may stand level"),
    ] {
        assert_eq!(errors(text), expected);
    }
    let text = errors(&format!("[[peer]]\nid = \"{A}\"\npsk = \"ab\"\n"));
    assert!(text.contains(":3:1: peer.psk: ") && text.ends_with("did you mean peer.psk_file?"), "{text}");
}

#[test]
fn what_is_no_toml_is_told_with_every_place_and_without_what_follows_from_it() {
    let text = errors("[network]\nmtu = \n[log\nlevel = \"info\"\n");
    assert!(text.lines().any(|line| line.starts_with("cryprq.toml:2:")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("cryprq.toml:3:")), "{text}");
    assert!(errors("a = 1\na = 2\n").contains("duplicate"));
}

#[test]
fn a_value_of_another_type_is_named_with_both_types() {
    let text =
        errors("[network]\nmtu = \"1400\"\n[listen]\ntcp = 1\naddresses = [\"::\", 7]\n[[node]]\nname = \"a\"\n");
    assert_eq!(
        text,
        "cryprq.toml:2:7: network.mtu: it is a string, not a whole number\n\
         cryprq.toml:4:7: listen.tcp: it is an integer, not true or false\n\
         cryprq.toml:5:20: listen.addresses: it is an integer, not a string\n\
         cryprq.toml:6:1: node: it is an array, not a section"
    );
}

#[test]
fn all_errors_are_told_at_once_and_each_names_its_key() {
    let text = errors(&format!(
        "[node]\nname = \"\"\nstate_dir = \"here\"\n[network]\nmtu = 100\naddress = \"x\"\ningress = \"wire\"\n\
         ipv4 = \"10.0.0.0/31\"\ninterface = \"a/b\"\n[listen]\nport = 70000\naddresses = [\"localhost\"]\n\
         advertise = [\"gw.example.org\"]\n[rotation]\nseconds = 30\npadding = \"32\"\n[ipc]\ngroup = \"a b\"\n\
         access.admin = [\"wheel\"]\n[log]\nlevel = \"loud\"\n[[peer]]\nid = \"nobody\"\nname = \"a\"\n\
         [[peer]]\nid = \"{A}\"\nname = \"b\"\naddresses = [\"10.0.0.1\"]\nallowed_ips = [\"10.0.0.300/32\"]\n\
         [[peer]]\nname = \"c\"\n"
    ));
    let keys = [
        "2:8: node.name",
        "3:13: node.state_dir",
        "5:7: network.mtu",
        "6:11: network.address",
        "7:11: network.ingress",
        "8:8: network.ipv4",
        "9:13: network.interface",
        "11:8: listen.port",
        "12:14: listen.addresses",
        "13:14: listen.advertise",
        "15:11: rotation.seconds",
        "16:11: rotation.padding",
        "18:9: ipc.group",
        "19:17: ipc.access.admin",
        "21:9: log.level",
        "23:6: peer a, id",
        "28:14: peer b, addresses",
        "29:16: peer b, allowed_ips",
        "30:1: peer c",
    ];
    let places: Vec<_> = text.lines().map(|line| line.splitn(5, ':').take(4).collect::<Vec<_>>().join(":")).collect();
    assert_eq!(places, keys.map(|key| format!("cryprq.toml:{key}")), "{text}");
}

#[test]
fn the_same_peer_name_or_prefix_twice_names_both() {
    let peer =
        |id: &str, name: &str| format!("[[peer]]\nid = \"{id}\"\nname = \"{name}\"\nallowed_ips = [\"10.0.0.1/32\"]\n");
    let text = errors(&(peer(A, "one") + &peer(B, "two")));
    assert_eq!(text, "cryprq.toml:5:1: peer two, allowed_ips: 10.0.0.1/32 belongs to peer one already");
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

#[test]
fn an_error_in_a_drop_in_names_its_file_and_the_last_word_is_the_one_that_is_judged() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cryprq.toml");
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    std::fs::write(&file, "[network]\nmtu = 1\n[log]\nlevel = \"loud\"\n").unwrap();
    std::fs::write(dir.path().join("conf.d/10-a.toml"), "[network]\nmtu = 2\n").unwrap();
    let text = Config::load(&file).unwrap_err().to_string();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("/cryprq.toml:4:9: log.level: "), "{text}");
    assert!(lines[1].contains("/conf.d/10-a.toml:2:7: network.mtu: 2 is out of bounds"), "{text}");
    assert_eq!(lines.len(), 2);
}

#[test]
fn attack_18_a_configuration_that_others_can_change_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cryprq.toml");
    let drop_in = dir.path().join("conf.d/10-a.toml");
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    std::fs::write(&file, "").unwrap();
    std::fs::write(&drop_in, "").unwrap();
    assert!(Config::load(&file).is_ok());
    for path in [dir.path(), &dir.path().join("conf.d"), &file, &drop_in] {
        let mode = |mode| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        mode(0o775);
        let text = Config::load(&file).unwrap_err().to_string();
        assert!(text.contains(&format!("chmod go-w {}", path.display())), "{text}");
        // Who wants to know whether it is good may look at it all the same.
        assert!(Config::check(&file).is_ok());
        mode(0o755);
    }
    assert!(Config::load(&file).is_ok());
    assert!(Config::check(&dir.path().join("none.toml")).unwrap_err().to_string().contains("no such file"));
}

#[test]
fn the_rights_of_the_socket_follow_its_group() {
    let config = Config::parse("[ipc]\ngroup = \"vpn\"\n").unwrap();
    assert_eq!(config.access.observe, BTreeSet::from([Who::Group("vpn".into())]));
    assert_eq!(config.access.admin, BTreeSet::from([Who::Root]));
}

#[test]
fn what_a_ticket_advertises_is_an_address_of_a_host() {
    let config =
        Config::parse("[listen]\nadvertise = [\"/dns4/gw.example.org/udp/443/quic-v1\", \"/ip6/::1/tcp/1\"]\n");
    assert_eq!(config.unwrap().advertise.len(), 2);
    let text = errors("[listen]\nadvertise = [\"gw.example.org\", \"/ip4/192.0.2.1/udp/1\"]\n");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("listen.advertise: ")), "{text}");
}

/// The rows of the documented keys: key, default, meaning, when it takes effect.
fn documented() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md")).unwrap();
    let rows =
        text.lines().skip_while(|line| !line.starts_with("| key |")).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn the_document_tells_every_key_and_no_other() {
    let mut known = Vec::new();
    Raw::keys("", &mut known);
    let sections = known.clone();
    known.retain(|key| !sections.iter().any(|other| other.starts_with(&format!("{key}."))));
    known.sort();
    let mut told: Vec<_> = documented().into_iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    told.sort();
    assert_eq!(told, known);
}

#[test]
fn the_document_tells_which_keys_wait_for_a_restart() {
    let waits = |row: &Vec<String>| row[3] == "restart";
    let mut told: Vec<_> =
        documented().into_iter().filter(waits).map(|row| row[0].trim_matches('`').to_owned()).collect();
    told.sort();
    let mut needed = show::NEEDS_RESTART.map(str::to_owned).to_vec();
    needed.sort();
    assert_eq!(told, needed);
}

#[test]
fn a_relay_is_named_by_an_address_and_its_peer_id() {
    let relay = format!("/dns4/relay.example.org/udp/41820/quic-v1/p2p/{A}");
    let config = Config::parse(&format!("[relay]\nuse = [\"{relay}\"]\nserve = true\n")).unwrap();
    assert_eq!((config.relays[0].to_string(), config.serve), (relay, Serve::Peers));
    assert_eq!(Config::parse("").unwrap().serve, Serve::Nobody);
    let text = errors("[relay]\nuse = [\"/dns4/relay.example.org/udp/41820/quic-v1\", \"relay\"]\n");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("relay.use: ")), "{text}");
}
