//! From what is written to what may be run. Each error names its place, the key and the fix.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use cryprq_ipc_proto::paths;
use ipnet::{IpNet, Ipv4Net};
use net::peer_id;
use net::swarm::{Discovery, Serve, Tcp};
use node::handshake::{PaddingMode, ParamLimits};
use node::tunnel::ChainRule;

use super::peer::{
    Psk, check_name, read_address, read_direct_address, read_peer_address, read_prefix, read_psk, read_relay_address,
};
use super::raw::{self, List, Raw};
use super::source::{ConfigError, Located, Place};
use super::{
    Access, CarrierRule, Config, ConfigErrors, GROUP, Ingress, LEVELS, LinuxConfig, MemoryRule, OwnIpv4, PADDING,
    PeerConfig, Who,
};

const DEFAULT_RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 86, 0, 0), 16);
/// "cr": a mark that no other program is likely to use.
const FWMARK: u16 = 0x6372;
/// The routing table of an exit has the same number; those of the system are below it.
const TABLE: u16 = FWMARK;
const TABLES: std::ops::RangeInclusive<u16> = 256..=u16::MAX;
/// Before the rules of other tunnels, which begin at 5210, and of the system, which begin at 32766.
const RULE_PRIORITY: u16 = 5208;
const RULE_PRIORITIES: std::ops::RangeInclusive<u16> = 1..=32_000;
const PSK_FILE_LIMIT: u64 = 256;
/// `IFNAMSIZ` of Linux without its zero.
const MAX_INTERFACE: usize = 15;

struct Checker(Vec<ConfigError>);

impl Checker {
    fn complain(&mut self, place: &Place, key: &str, text: impl Into<String>) {
        self.0.push(ConfigError::new(Some(place), key, text));
    }

    /// The value that `read` makes of what stands there; `None` when nothing does, or after noting what is wrong.
    fn text<T>(
        &mut self,
        key: &str,
        written: Option<Located<String>>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Located { value, place } = written?;
        read(&value).map_err(|error| self.complain(&place, key, error)).ok()
    }

    /// [`Self::text`] for each element of a list.
    fn list<T>(
        &mut self,
        key: &str,
        written: Option<Located<List>>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        Some(written?.value.into_iter().filter_map(|element| self.text(key, Some(element), &read)).collect())
    }

    fn number(
        &mut self,
        key: &str,
        written: Option<Located<i64>>,
        allowed: std::ops::RangeInclusive<u16>,
        default: u16,
    ) -> u16 {
        let Some(Located { value, place }) = written else { return default };
        let number = u16::try_from(value).ok().filter(|number| allowed.contains(number));
        number.unwrap_or_else(|| {
            let (least, most) = (allowed.start(), allowed.end());
            self.complain(&place, key, format!("{value} is out of bounds: choose {least} to {most}"));
            default
        })
    }

    fn one_of<T: Copy>(&mut self, key: &str, written: Option<Located<String>>, choices: &[(&str, T)], default: T) -> T {
        let choice = self.text(key, written, |value| {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            let found = choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice);
            found.ok_or_else(|| format!("\"{}\" is none of {}", value.escape_debug(), names.join(", ")))
        });
        choice.unwrap_or(default)
    }
}

/// What stands in a section, or an empty one.
fn section<T: Default>(written: Option<Located<T>>) -> T {
    written.map(|section| section.value).unwrap_or_default()
}

/// Checks what was read; `errors` are what reading found.
pub(super) fn validate(raw: Raw, errors: Vec<ConfigError>) -> Result<Config, ConfigErrors> {
    let mut c = Checker(errors);
    let limits = ParamLimits::default();
    let (node, network, listen) = (section(raw.node), section(raw.network), section(raw.listen));
    let (rotation, relay, ipc) = (section(raw.rotation), section(raw.relay), section(raw.ipc));
    let (log, memory, linux) = (section(raw.log), section(raw.memory), section(raw.linux));
    let (discovery, exit) = (section(raw.discovery), section(raw.exit));
    let unless_off = |written: Option<Located<bool>>| written.is_none_or(|on| on.value);
    let access = section(ipc.access);
    let own_name = || os::users::host_name().unwrap_or_else(|| "cryprq".into());
    let group = c.text("ipc.group", ipc.group, group).unwrap_or_else(|| GROUP.into());
    let everywhere = || vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let config = Config {
        name: c.text("node.name", node.name, name).unwrap_or_else(own_name),
        state_dir: c.text("node.state_dir", node.state_dir, folder).unwrap_or_else(|| paths::HERE.state.into()),
        ipv4: c.text("network.ipv4", network.ipv4, range).unwrap_or(DEFAULT_RANGE),
        address: c.text("network.address", network.address, own_ipv4).unwrap_or(OwnIpv4::Derived),
        mtu: c.number("network.mtu", network.mtu, limits.mtu, 1420),
        ingress: c.one_of("network.ingress", network.ingress, &Ingress::NAMES, Ingress::DEFAULT),
        interface: c.text("network.interface", network.interface, interface).unwrap_or_else(|| "cryprq0".into()),
        port: c.number("listen.port", listen.port, 0..=u16::MAX, 41820),
        listen: c.list("listen.addresses", listen.addresses, outer).unwrap_or_else(everywhere),
        tcp: if unless_off(listen.tcp) { Tcp::Listen } else { Tcp::Off },
        advertise: c.list("listen.advertise", listen.advertise, read_direct_address).unwrap_or_default(),
        rotation_seconds: c.number("rotation.seconds", rotation.seconds, limits.rotation_seconds, 300),
        padding: c.one_of("rotation.padding", rotation.padding, &PADDING, PaddingMode::Multiple16),
        relays: c.list("relay.use", relay.r#use, read_relay_address).unwrap_or_default(),
        serve: if relay.serve.is_some_and(|serve| serve.value) { Serve::Peers } else { Serve::Nobody },
        discovery: if discovery.mdns.is_some_and(|mdns| mdns.value) { Discovery::Mdns } else { Discovery::Off },
        access: Access {
            observe: whos(&mut c, "ipc.access.observe", access.observe, Who::Group(group.clone())),
            operate: whos(&mut c, "ipc.access.operate", access.operate, Who::Group(group.clone())),
            admin: whos(&mut c, "ipc.access.admin", access.admin, Who::Root),
        },
        group,
        log_level: c.one_of("log.level", log.level, &LEVELS.map(|level| (level, level)), "info").into(),
        memory: if memory.strict.is_some_and(|strict| strict.value) { MemoryRule::Refuse } else { MemoryRule::Warn },
        carrier: c.one_of("carrier", raw.carrier, &CarrierRule::NAMES, CarrierRule::Auto),
        exit_dns: c.list("exit.dns", exit.dns, resolver).unwrap_or_default(),
        linux: LinuxConfig {
            fwmark: c.number("linux.fwmark", linux.fwmark, 0..=u16::MAX, FWMARK),
            table: c.number("linux.table", linux.table, TABLES, TABLE),
            rule_priority: c.number("linux.rule_priority", linux.rule_priority, RULE_PRIORITIES, RULE_PRIORITY),
            tun_offload: unless_off(linux.tun_offload),
            tun_udp_offload: unless_off(linux.tun_udp_offload),
            udp_segmentation: unless_off(linux.udp_segmentation),
            udp_coalescing: unless_off(linux.udp_coalescing),
        },
        peers: peers(&mut c, raw.peer.map(|peers| peers.value.0).unwrap_or_default()),
    };
    if c.0.is_empty() { Ok(config) } else { Err(ConfigErrors::sorted(c.0)) }
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

fn folder(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if path.is_absolute() { Ok(path.to_owned()) } else { Err("a folder is named from the root, as /var/lib is".into()) }
}

fn range(text: &str) -> Result<Ipv4Net, String> {
    let range: Ipv4Net =
        text.parse().map_err(|_| format!("'{}' is no range such as 10.86.0.0/16", text.escape_debug()))?;
    if range.prefix_len() > 30 {
        return Err(format!("{range} has no room for two hosts"));
    }
    Ok(range.trunc())
}

fn own_ipv4(text: &str) -> Result<OwnIpv4, String> {
    if text == "none" {
        return Ok(OwnIpv4::None);
    }
    let address: Ipv4Addr =
        text.parse().map_err(|_| format!("'{}' is neither an IPv4 address nor \"none\"", text.escape_debug()))?;
    let special = address.is_unspecified() || address.is_loopback() || address.is_link_local();
    if special || address.is_multicast() || address.is_broadcast() {
        return Err(format!("{address} is no address for a host"));
    }
    Ok(OwnIpv4::Fixed(address))
}

fn interface(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%' | '"' | '\'' | '\\');
    if (1..=MAX_INTERFACE).contains(&text.len()) && text.chars().all(allowed) && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err(format!("an interface's name has 1 to {MAX_INTERFACE} letters and digits"))
    }
}

fn outer(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("'{}' is no IP address", text.escape_debug()))
}

fn resolver(text: &str) -> Result<IpAddr, String> {
    let address = outer(text)?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(format!("{address} is no address of a resolver"));
    }
    Ok(address)
}

fn group(text: &str) -> Result<String, String> {
    if is_account(text) { Ok(text.to_owned()) } else { Err("it is no name of a group".into()) }
}

fn whos(c: &mut Checker, key: &str, rules: Option<Located<List>>, default: Who) -> BTreeSet<Who> {
    let who = |rule: &str| match rule.split_once(':') {
        None if rule == "root" => Ok(Who::Root),
        Some(("user", name)) if is_account(name) => Ok(Who::User(name.to_owned())),
        Some(("group", name)) if is_account(name) => Ok(Who::Group(name.to_owned())),
        None | Some(_) => Err(format!("'{}' is none of root, user:NAME, group:NAME", rule.escape_debug())),
    };
    c.list(key, rules, who).map_or_else(|| BTreeSet::from([default]), BTreeSet::from_iter)
}

/// Whether a user or a group can be called so.
fn is_account(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@'))
}

fn peers(c: &mut Checker, written: Vec<(raw::Peer, Place)>) -> Vec<PeerConfig> {
    let mut read: Vec<(PeerConfig, Place)> = Vec::new();
    for (number, (peer, place)) in (1..).zip(written) {
        if let Some(peer) = peer_of(c, number, peer, &place) {
            read.push((peer, place));
        }
    }
    check_peers(c, &read);
    read.into_iter().map(|(peer, _)| peer).collect()
}

fn peer_of(c: &mut Checker, number: usize, peer: raw::Peer, place: &Place) -> Option<PeerConfig> {
    let label =
        peer.name.as_ref().map_or_else(|| format!("number {number}"), |name| name.value.escape_debug().to_string());
    let at = |key: &str| format!("peer {label}, {key}");
    if peer.id.is_none() {
        c.complain(place, &format!("peer {label}"), "it has no id: see 'cryprq status' on the other host");
    }
    let id = peer.id.as_ref().map(|id| id.value.clone());
    let key = c.text(&at("id"), peer.id, |text| peer_id::parse(text).map_err(|error| error.to_string()));
    let name = c.text(&at("name"), peer.name, name);
    let address = |text: &str| key.map_or_else(|| read_address(text), |key| read_peer_address(text, key));
    Some(PeerConfig {
        addresses: c.list(&at("addresses"), peer.addresses, address).unwrap_or_default(),
        allowed_ips: c.list(&at("allowed_ips"), peer.allowed_ips, read_prefix).unwrap_or_default(),
        psk_file: peer.psk_file.as_ref().map(|file| PathBuf::from(&file.value)),
        psk: c.text(&at("psk_file"), peer.psk_file, |file| read_psk_file(Path::new(file))),
        require_chain: match peer.require_chain {
            Some(Located { value: true, .. }) => ChainRule::Required,
            Some(_) | None => ChainRule::Optional,
        },
        up: peer.up.is_none_or(|up| up.value),
        forward: peer.forward.is_some_and(|forward| forward.value),
        key: key?,
        name: name.or(id)?,
    })
}

fn read_psk_file(path: &Path) -> Result<Psk, String> {
    let text = os::files::read_secret(path, PSK_FILE_LIMIT).map_err(|error| error.to_string())?;
    read_psk(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn check_peers(c: &mut Checker, peers: &[(PeerConfig, Place)]) {
    let (mut keys, mut names) = (BTreeMap::new(), BTreeSet::new());
    let mut prefixes: BTreeMap<IpNet, &str> = BTreeMap::new();
    for (peer, place) in peers {
        let label = format!("peer {}", peer.name);
        if let Some(other) = keys.insert(peer.key, &peer.name) {
            c.complain(place, &label, format!("the same id as peer {other}"));
        }
        if let Err(error) = peer.check_forward() {
            c.complain(place, &format!("{label}, forward"), error);
        }
        if !names.insert(&peer.name) {
            c.complain(place, &label, "the name stands twice");
        }
        for prefix in peer.allowed_ips.iter().map(IpNet::trunc) {
            if let Some(other) = prefixes.insert(prefix, &peer.name).filter(|other| *other != peer.name) {
                c.complain(
                    place,
                    &format!("{label}, allowed_ips"),
                    format!("{prefix} belongs to peer {other} already"),
                );
            }
        }
    }
}
