//! The file as it is written; every key may be absent.

use serde::Deserialize;

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $name {
            $(pub(super) $field: Option<$type>,)*
        }

        impl $name {
            /// What `later` says wins.
            fn merge(&mut self, later: Self) {
                $(if later.$field.is_some() { self.$field = later.$field; })*
            }
        }
    };
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) node: Node,
    pub(super) network: Network,
    pub(super) listen: Listen,
    pub(super) rotation: Rotation,
    pub(super) ipc: Ipc,
    pub(super) log: Log,
    pub(super) memory: Memory,
    pub(super) peer: Vec<Peer>,
}

impl Raw {
    pub(super) fn merge(&mut self, later: Self) {
        self.node.merge(later.node);
        self.network.merge(later.network);
        self.listen.merge(later.listen);
        self.rotation.merge(later.rotation);
        self.ipc.merge(later.ipc);
        self.log.merge(later.log);
        self.memory.merge(later.memory);
        self.peer.extend(later.peer);
    }
}

section!(Node { name: String, state_dir: String });
section!(Network { ipv4: String, address: String, mtu: i64, ingress: String, interface: String });
section!(Listen { port: i64, addresses: Vec<String>, tcp: bool, });
section!(Rotation { seconds: i64, padding: String });
section!(Ipc { group: String, access: Access });
section!(Log { level: String });
section!(Memory { strict: bool });

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Access {
    pub(super) observe: Option<Vec<String>>,
    pub(super) operate: Option<Vec<String>>,
    pub(super) admin: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    pub(super) id: String,
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) addresses: Vec<String>,
    #[serde(default)]
    pub(super) allowed_ips: Vec<String>,
    pub(super) psk_file: Option<String>,
    #[serde(default)]
    pub(super) require_chain: bool,
    pub(super) up: Option<bool>,
}
