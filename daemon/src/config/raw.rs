//! The file as it is written; every key may be absent.

use toml::de::DeValue;

use super::source::{Located, Place, Reader, Value};

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $field: Option<Located<$type>>,)*
        }

        impl Value for $name {
            const FORM: &'static str = "a section";

            fn read(value: &DeValue<'_>, at: &mut Reader<'_>, key: &str) -> Option<Self> {
                let table = value.as_table()?;
                at.check_keys(table, key, &[$(key_of(stringify!($field))),*]);
                Some(Self { $($field: at.get(table, key, key_of(stringify!($field))),)* })
            }

            fn merge(&mut self, later: Self) {
                $(merge(&mut self.$field, later.$field);)*
            }

            fn keys(prefix: &str, into: &mut Vec<String>) {
                $(
                    let key = format!("{prefix}{}", key_of(stringify!($field)));
                    <$type>::keys(&format!("{key}."), into);
                    into.push(key);
                )*
            }
        }
    };
}

/// How the key of a field is written: some are words of Rust.
fn key_of(field: &'static str) -> &'static str {
    field.trim_start_matches("r#")
}

fn merge<T: Value>(earlier: &mut Option<Located<T>>, later: Option<Located<T>>) {
    match (earlier, later) {
        (_, None) => {}
        (Some(earlier), Some(later)) => {
            earlier.value.merge(later.value);
            earlier.place = later.place;
        }
        (nothing, later) => *nothing = later,
    }
}

section!(Raw {
    node: Node,
    network: Network,
    listen: Listen,
    rotation: Rotation,
    relay: Relay,
    discovery: Discovery,
    ipc: Ipc,
    log: Log,
    memory: Memory,
    carrier: String,
    exit: Exit,
    linux: Linux,
    peer: Peers,
});

section!(Node { name: String, state_dir: String });
section!(Network { ipv4: String, address: String, mtu: i64, ingress: String, interface: String });
section!(Listen { port: i64, addresses: List, tcp: bool, advertise: List });
section!(Rotation { seconds: i64, padding: String });
section!(Discovery { mdns: bool });
section!(Relay { r#use: List, serve: bool });
section!(Ipc { group: String, access: Access });
section!(Access { observe: List, operate: List, admin: List });
section!(Log { level: String });
section!(Memory { strict: bool });
section!(Exit { dns: List });
section!(Linux {
    fwmark: i64,
    table: i64,
    rule_priority: i64,
    tun_offload: bool,
    tun_udp_offload: bool,
    udp_segmentation: bool,
    udp_coalescing: bool,
});
section!(Peer {
    id: String,
    name: String,
    addresses: List,
    allowed_ips: List,
    psk_file: String,
    require_chain: bool,
    up: bool,
    forward: bool,
});

pub(super) type List = Vec<Located<String>>;

/// Every file may add peers.
#[derive(Debug, Default)]
pub(super) struct Peers(pub(super) Vec<(Peer, Place)>);

impl Value for Peers {
    const FORM: &'static str = "a list of [[peer]] sections";

    fn read(value: &DeValue<'_>, at: &mut Reader<'_>, key: &str) -> Option<Self> {
        let peers = value.as_array()?.iter().filter_map(|peer| at.value(peer, key));
        Some(Self(peers.map(|peer| (peer.value, peer.place)).collect()))
    }

    fn merge(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    fn keys(prefix: &str, into: &mut Vec<String>) {
        Peer::keys(prefix, into);
    }
}
