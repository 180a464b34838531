//! From what is written to what may be run. Each error names the key and the fix.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;

use cryprq_ipc_proto::paths;
use ipnet::IpNet;
use net::peer_id;
use net::swarm::Tcp;
use node::handshake::{PaddingMode, ParamLimits};
use node::tunnel::ChainRule;

use super::peer::{Psk, check_name, read_address, read_prefix, read_psk};
use super::raw::{self, Raw};
use super::{Access, Config, ConfigErrors, Ingress, MemoryRule, OwnIpv4, PeerConfig, Who};

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const PSK_FILE_LIMIT: u64 = 256;

struct Checker(Vec<String>);

impl Checker {
    /// The value, or its default after noting what is wrong with it.
    fn check<T>(&mut self, key: &str, result: Result<T, String>, default: T) -> T {
        result.unwrap_or_else(|error| {
            self.0.push(format!("{key}: {error}"));
            default
        })
    }

    fn number(&mut self, key: &str, value: Option<i64>, allowed: std::ops::RangeInclusive<u16>, default: u16) -> u16 {
        let Some(value) = value else { return default };
        let number = u16::try_from(value).ok().filter(|number| allowed.contains(number));
        let error = || format!("{value} is out of bounds: choose {} to {}", allowed.start(), allowed.end());
        self.check(key, number.ok_or_else(error), default)
    }

    fn parsed<T: FromStr>(&mut self, key: &str, text: &str, form: &str, default: T) -> T {
        self.check(key, text.parse().map_err(|_| format!("'{text}' is not {form}")), default)
    }

    fn one_of<T: Copy>(&mut self, key: &str, value: Option<&str>, choices: &[(&str, T)], default: T) -> T {
        let Some(value) = value else { return default };
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let found = choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice);
        self.check(key, found.ok_or_else(|| format!("\"{value}\" is none of {}", names.join(", "))), default)
    }
}

pub(super) fn validate(raw: Raw) -> Result<Config, ConfigErrors> {
    let mut c = Checker(Vec::new());
    let limits = ParamLimits::default();
    let own_name = os::users::host_name().unwrap_or_else(|| "cryprq".into());
    let name = raw.node.name.unwrap_or(own_name);
    let name = c.check("node.name", check_name(&name).map(|()| name.clone()), String::new());
    let ipv4 = raw.network.ipv4.as_deref().unwrap_or("10.86.0.0/16");
    let padding = [("16", PaddingMode::Multiple16), ("buckets", PaddingMode::Buckets), ("full", PaddingMode::Full)];
    let ingress = [("tun", Ingress::Tun), ("none", Ingress::None)];
    let levels = LEVELS.map(|level| (level, level));
    let listen = raw.listen.addresses.unwrap_or_else(|| vec!["0.0.0.0".into(), "::".into()]);
    let access = raw.ipc.access.unwrap_or_default();
    let config = Config {
        name,
        state_dir: raw.node.state_dir.unwrap_or_else(|| paths::HERE.state.into()).into(),
        ipv4: c.parsed("network.ipv4", ipv4, "a range such as 10.86.0.0/16", Default::default()),
        address: own_ipv4(&mut c, raw.network.address.as_deref()),
        mtu: c.number("network.mtu", raw.network.mtu, limits.mtu, 1420),
        ingress: c.one_of("network.ingress", raw.network.ingress.as_deref(), &ingress, Ingress::Tun),
        interface: raw.network.interface.unwrap_or_else(|| "cryprq0".into()),
        port: c.number("listen.port", raw.listen.port, 0..=u16::MAX, 41820),
        listen: listen
            .iter()
            .filter_map(|text| {
                let parsed = text.parse().map_err(|_| format!("'{text}' is not an IP address"));
                c.check("listen.addresses", parsed.map(Some), None)
            })
            .collect(),
        tcp: if raw.listen.tcp.unwrap_or(true) { Tcp::Listen } else { Tcp::Off },
        rotation_seconds: c.number("rotation.seconds", raw.rotation.seconds, limits.rotation_seconds, 300),
        padding: c.one_of("rotation.padding", raw.rotation.padding.as_deref(), &padding, PaddingMode::Multiple16),
        group: raw.ipc.group.unwrap_or_else(|| "cryprq".into()),
        access: Access {
            observe: whos(&mut c, "ipc.access.observe", access.observe, "group:cryprq"),
            operate: whos(&mut c, "ipc.access.operate", access.operate, "group:cryprq"),
            admin: whos(&mut c, "ipc.access.admin", access.admin, "root"),
        },
        log_level: c.one_of("log.level", raw.log.level.as_deref(), &levels, "info").to_owned(),
        memory: if raw.memory.strict.unwrap_or(false) { MemoryRule::Refuse } else { MemoryRule::Warn },
        peers: raw.peer.into_iter().enumerate().filter_map(|(i, peer)| read_peer(&mut c, i, peer)).collect(),
    };
    check_peers(&mut c, &config.peers);
    if c.0.is_empty() { Ok(config) } else { Err(ConfigErrors(c.0)) }
}

fn own_ipv4(c: &mut Checker, address: Option<&str>) -> OwnIpv4 {
    match address {
        None => OwnIpv4::Derived,
        Some("none") => OwnIpv4::None,
        Some(text) => {
            let parsed = text
                .parse()
                .map(OwnIpv4::Fixed)
                .map_err(|_| format!("'{text}' is neither an IPv4 address nor \"none\""));
            c.check("network.address", parsed, OwnIpv4::Derived)
        }
    }
}

fn whos(c: &mut Checker, key: &str, rules: Option<Vec<String>>, default: &str) -> BTreeSet<Who> {
    let rules = rules.unwrap_or_else(|| vec![default.to_owned()]);
    let who = |rule: &str| match rule.split_once(':') {
        None if rule == "root" => Ok(Who::Root),
        Some(("user", name)) if !name.is_empty() => Ok(Who::User(name.to_owned())),
        Some(("group", name)) if !name.is_empty() => Ok(Who::Group(name.to_owned())),
        None | Some(_) => Err(format!("'{rule}' is none of root, user:NAME, group:NAME")),
    };
    rules.iter().filter_map(|rule| c.check(key, who(rule).map(Some), None)).collect()
}

fn read_peer(c: &mut Checker, index: usize, peer: raw::Peer) -> Option<PeerConfig> {
    let label = peer.name.clone().unwrap_or_else(|| format!("number {}", index + 1));
    let at = |key: &str| format!("peer {label}, {key}");
    let key = c.check(&at("id"), peer_id::parse(&peer.id).map(Some).map_err(|error| error.to_string()), None);
    let name = peer.name.unwrap_or_else(|| peer.id.clone());
    c.check(&at("name"), check_name(&name), ());
    let mut addresses = Vec::new();
    for text in &peer.addresses {
        addresses.extend(c.check(&at("addresses"), read_address(text).map(Some), None));
    }
    let mut allowed_ips: Vec<IpNet> = Vec::new();
    for text in &peer.allowed_ips {
        allowed_ips.extend(c.check(&at("allowed_ips"), read_prefix(text).map(Some), None));
    }
    let psk = peer.psk_file.and_then(|file| c.check(&at("psk_file"), read_psk_file(Path::new(&file)).map(Some), None));
    let require_chain = if peer.require_chain { ChainRule::Required } else { ChainRule::Optional };
    Some(PeerConfig { key: key?, name, addresses, allowed_ips, psk, require_chain, up: peer.up.unwrap_or(true) })
}

fn read_psk_file(path: &Path) -> Result<Psk, String> {
    let text = os::files::read_secret(path, PSK_FILE_LIMIT).map_err(|error| error.to_string())?;
    read_psk(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn check_peers(c: &mut Checker, peers: &[PeerConfig]) {
    let mut keys = BTreeMap::new();
    let mut names = BTreeMap::new();
    let mut prefixes: BTreeMap<IpNet, &str> = BTreeMap::new();
    for peer in peers {
        if let Some(other) = keys.insert(peer.key, &peer.name) {
            c.0.push(format!("peer {}: the same id as peer {other}", peer.name));
        }
        if names.insert(&peer.name, ()).is_some() {
            c.0.push(format!("peer {}: the name stands twice", peer.name));
        }
        for prefix in peer.allowed_ips.iter().map(IpNet::trunc) {
            if let Some(other) = prefixes.insert(prefix, &peer.name).filter(|other| *other != peer.name) {
                c.0.push(format!("peer {}, allowed_ips: {prefix} belongs to peer {other} already", peer.name));
            }
        }
    }
}
