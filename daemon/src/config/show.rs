//! A configuration as TOML again, and what is different in another one.

use std::collections::BTreeMap;

use net::peer_id;
use net::swarm::{Discovery, Serve, Tcp};
use node::tunnel::ChainRule;
use toml::{Table, Value};

use super::{Config, MemoryRule, OwnIpv4, PADDING, PeerConfig, Who};

/// What takes a restart: what is made once, before everything else.
pub(super) const NEEDS_RESTART: [&str; 21] = [
    "carrier",
    "linux.fwmark",
    "linux.table",
    "linux.rule_priority",
    "linux.tun_offload",
    "linux.tun_udp_offload",
    "linux.udp_segmentation",
    "linux.udp_coalescing",
    "node.state_dir",
    "network.ipv4",
    "network.mtu",
    "network.ingress",
    "network.interface",
    "listen.port",
    "listen.addresses",
    "listen.tcp",
    "ipc.group",
    "memory.strict",
    "relay.use",
    "relay.serve",
    "discovery.mdns",
];

/// Keys that have other values in a new configuration; those of peers not among them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys whose new values can be taken over.
    pub now: Vec<String>,
    /// Keys whose new values wait for a restart.
    pub at_restart: Vec<String>,
}

impl Config {
    /// The configuration with all its keys, without secrets. Reading it gives the same configuration.
    /// The peers are named apart: those of a running daemon have other owners.
    pub fn to_toml<'p>(&self, peers: impl IntoIterator<Item = &'p PeerConfig>) -> String {
        let mut table = self.table();
        let peers: Vec<Value> = peers.into_iter().map(|peer| Value::Table(peer_table(peer))).collect();
        if !peers.is_empty() {
            table.insert("peer".into(), peers.into());
        }
        table.to_string()
    }

    /// What is different in `new`.
    pub fn changes(&self, new: &Self) -> Changes {
        let (before, after) = (flat(&self.table(), ""), flat(&new.table(), ""));
        let keys = before.keys().chain(after.keys()).collect::<std::collections::BTreeSet<_>>();
        let changed = keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned();
        let (at_restart, now) = changed.partition(|key| NEEDS_RESTART.contains(&key.as_str()));
        Changes { now, at_restart }
    }

    /// Keeps the values of `old` where new ones wait for a restart.
    pub fn keep_until_restart(&mut self, old: &Self) {
        self.state_dir.clone_from(&old.state_dir);
        (self.ipv4, self.mtu, self.ingress) = (old.ipv4, old.mtu, old.ingress);
        self.interface.clone_from(&old.interface);
        (self.port, self.tcp) = (old.port, old.tcp);
        self.listen.clone_from(&old.listen);
        self.group.clone_from(&old.group);
        self.relays.clone_from(&old.relays);
        (self.memory, self.serve, self.discovery) = (old.memory, old.serve, old.discovery);
        (self.carrier, self.linux) = (old.carrier, old.linux);
    }

    fn table(&self) -> Table {
        let padding = PADDING.iter().find(|(_, mode)| *mode == self.padding).map_or("", |(name, _)| name);
        let mut network = table([
            ("ipv4", self.ipv4.to_string().into()),
            ("mtu", i64::from(self.mtu).into()),
            ("ingress", self.ingress.name().into()),
            ("interface", self.interface.clone().into()),
        ]);
        match self.address {
            OwnIpv4::Derived => {}
            OwnIpv4::Fixed(address) => _ = network.insert("address".into(), address.to_string().into()),
            OwnIpv4::None => _ = network.insert("address".into(), "none".into()),
        }
        let access = table([
            ("observe", list(&self.access.observe)),
            ("operate", list(&self.access.operate)),
            ("admin", list(&self.access.admin)),
        ]);
        let state_dir = self.state_dir.display().to_string();
        table([
            ("node", table([("name", self.name.clone().into()), ("state_dir", state_dir.into())]).into()),
            ("network", network.into()),
            (
                "listen",
                table([
                    ("port", i64::from(self.port).into()),
                    ("addresses", list(&self.listen)),
                    ("tcp", (self.tcp == Tcp::Listen).into()),
                    ("advertise", list(&self.advertise)),
                ])
                .into(),
            ),
            (
                "rotation",
                table([("seconds", i64::from(self.rotation_seconds).into()), ("padding", padding.into())]).into(),
            ),
            ("discovery", table([("mdns", (self.discovery == Discovery::Mdns).into())]).into()),
            ("relay", table([("use", list(&self.relays)), ("serve", (self.serve == Serve::Peers).into())]).into()),
            ("ipc", table([("group", self.group.clone().into()), ("access", access.into())]).into()),
            ("log", table([("level", self.log_level.clone().into())]).into()),
            ("memory", table([("strict", (self.memory == MemoryRule::Refuse).into())]).into()),
            ("carrier", self.carrier.name().into()),
            ("exit", table([("dns", list(&self.exit_dns))]).into()),
            (
                "linux",
                table([
                    ("fwmark", i64::from(self.linux.fwmark).into()),
                    ("table", i64::from(self.linux.table).into()),
                    ("rule_priority", i64::from(self.linux.rule_priority).into()),
                    ("tun_offload", self.linux.tun_offload.into()),
                    ("tun_udp_offload", self.linux.tun_udp_offload.into()),
                    ("udp_segmentation", self.linux.udp_segmentation.into()),
                    ("udp_coalescing", self.linux.udp_coalescing.into()),
                ])
                .into(),
            ),
        ])
    }
}

impl PeerConfig {
    /// Whether everything but the PSK is the same.
    pub fn is_like(&self, other: &Self) -> bool {
        peer_table(self) == peer_table(other)
    }
}

fn peer_table(peer: &PeerConfig) -> Table {
    let mut shown = table([
        ("id", peer_id::format(peer.key).into()),
        ("name", peer.name.clone().into()),
        ("addresses", list(&peer.addresses)),
        ("allowed_ips", list(&peer.allowed_ips)),
        ("require_chain", (peer.require_chain == ChainRule::Required).into()),
        ("up", peer.up.into()),
        ("forward", peer.forward.into()),
    ]);
    if let Some(file) = &peer.psk_file {
        shown.insert("psk_file".into(), file.display().to_string().into());
    }
    shown
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> Value {
    values.into_iter().map(|value| Value::String(value.to_string())).collect::<Vec<_>>().into()
}

/// Every key with its whole path.
fn flat(table: &Table, prefix: &str) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value.as_table() {
            Some(inner) => out.extend(flat(inner, &format!("{key}."))),
            None => _ = out.insert(key, value.clone()),
        }
    }
    out
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => f.write_str("root"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"carrier = "stream"

[discovery]
mdns = true

[exit]
dns = ["192.0.2.53", "2001:db8::53"]

[ipc]
group = "vpn"

[ipc.access]
admin = ["root", "user:ada"]
observe = ["group:vpn"]
operate = ["group:staff", "group:vpn"]

[linux]
fwmark = 7
rule_priority = 99
table = 300
tun_offload = false
tun_udp_offload = false
udp_coalescing = false
udp_segmentation = false

[listen]
addresses = ["192.0.2.1"]
advertise = ["/dns4/gw.example.org/udp/41820/quic-v1"]
port = 4000
tcp = false

[log]
level = "debug"

[memory]
strict = true

[network]
address = "10.9.0.7"
ingress = "none"
interface = "vpn0"
ipv4 = "10.9.0.0/16"
mtu = 1300

[node]
name = "host"
state_dir = "/srv/cryprq"

[[peer]]
addresses = ["/ip4/203.0.113.1/udp/41820/quic-v1"]
allowed_ips = ["10.9.0.1/32"]
forward = true
id = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
name = "gateway"
require_chain = true
up = false

[relay]
serve = true
use = ["/ip4/203.0.113.9/udp/41820/quic-v1/p2p/12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X"]

[rotation]
padding = "full"
seconds = 600
"#;

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        let shown = |text: &str| {
            let config = Config::parse(text).unwrap();
            config.to_toml(&config.peers)
        };
        assert_eq!(shown(FULL), FULL);
        let default = shown("");
        assert_eq!(shown(&default), default);
        assert!(shown("[network]\naddress = \"none\"\n").contains("address = \"none\""));
    }

    #[test]
    fn every_key_is_told_when_it_changes_and_those_that_wait_are_kept() {
        let (old, mut new) = (Config::parse("").unwrap(), Config::parse(FULL).unwrap());
        let Changes { now, at_restart } = old.changes(&new);
        assert_eq!(
            now,
            [
                "exit.dns",
                "ipc.access.admin",
                "ipc.access.observe",
                "ipc.access.operate",
                "listen.advertise",
                "log.level",
                "network.address",
                "node.name",
                "rotation.padding",
                "rotation.seconds",
            ]
        );
        let mut needed = NEEDS_RESTART.map(str::to_owned).to_vec();
        needed.sort();
        assert_eq!(at_restart, needed);
        new.keep_until_restart(&old);
        assert_eq!(old.changes(&new), Changes { now, at_restart: Vec::new() });
        assert_eq!(old.changes(&old), Changes::default());
    }
}
