//! What a watch tells: the full state, then what changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::{Decode, Encode, numbered};
use crate::status::{Addresses, ExitStatus, HealthItem, Obstacle, PathStatus, PeerStatus, Status};

/// One line or frame of a watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// Counts up by one from 1 on each watch.
    pub seq: u64,
    /// What it tells.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What an [`Event`] tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventBody {
    /// Everything, always the first event.
    State(Box<Status>),
    /// What changed since the event before.
    Change(Box<StatusChange>),
}

numbered! {
    EventBody { 1 State(status), 2 Change(change), }
}

/// What changed since the event before. What is absent stayed as it was; lists are told anew as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StatusChange {
    /// Of this host itself.
    #[serde(flatten)]
    pub host: HostChange,
    /// Of peers that were there before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerChange>,
    /// New peers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers_added: Vec<PeerStatus>,
    /// The PeerIds of those that are no peers any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers_removed: Vec<String>,
}

/// What changed of one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PeerChange {
    /// Its PeerId.
    pub id: String,
    /// Its new values.
    #[serde(flatten)]
    pub fields: PeerFields,
}

macro_rules! changes {
    ($(#[$doc:meta])* $change:ident of $whole:ident without $besides:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Encode, Decode)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub struct $change {
            $(
                #[doc = concat!("The new `", stringify!($field), "`.")]
                #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
                pub $field: Option<$type>,
            )*
        }

        impl $change {
            fn between(old: &$whole, new: &$whole) -> Self {
                let $whole { $besides: _, $($field),* } = new;
                Self { $($field: (old.$field != *$field).then(|| Clone::clone($field)),)* }
            }

            fn apply(self, whole: &mut $whole) {
                $(if let Some(new) = self.$field { whole.$field = new; })*
            }
        }
    };
}

changes! {
    /// What changed of this host itself.
    HostChange of Status without peers {
        version: String,
        peer_id: String,
        name: String,
        addresses: Addresses,
        state: String,
        since: String,
        ingress: String,
        listen: Vec<String>,
        health: Vec<HealthItem>,
        drops: BTreeMap<String, u64>,
        exit: Option<ExitStatus>,
    }
}

changes! {
    /// New values of a peer.
    PeerFields of PeerStatus without id {
        name: String,
        state: String,
        path: Option<PathStatus>,
        obstacle: Option<Obstacle>,
        cipher: Option<String>,
        last_authentic: Option<String>,
        last_authentic_ms: Option<u64>,
        handshake_at: Option<String>,
        next_rotation_ms: Option<u64>,
        rotations: u64,
        rx_bytes: u64,
        tx_bytes: u64,
        rx_packets: u64,
        tx_packets: u64,
        rx_bps: u64,
        tx_bps: u64,
        drops: BTreeMap<String, u64>,
        allowed_ips: Vec<String>,
        psk: bool,
        forward: bool,
        chain_resets: u64,
        failures: BTreeMap<String, u64>,
    }
}

/// For values that may be null: null is a new value, and only an absent key is none.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

impl StatusChange {
    /// What is other in `new` than in `old`.
    pub fn between(old: &Status, new: &Status) -> Self {
        let known = |id: &str| old.peers.iter().find(|peer| peer.id == id);
        let (stayed, added): (Vec<_>, Vec<_>) = new.peers.iter().partition(|peer| known(&peer.id).is_some());
        let changed = stayed.into_iter().filter_map(|peer| {
            let fields = PeerFields::between(known(&peer.id)?, peer);
            (fields != PeerFields::default()).then(|| PeerChange { id: peer.id.clone(), fields })
        });
        let removed = old.peers.iter().filter(|old| new.peers.iter().all(|new| new.id != old.id));
        Self {
            host: HostChange::between(old, new),
            peers: changed.collect(),
            peers_added: added.into_iter().cloned().collect(),
            peers_removed: removed.map(|peer| peer.id.clone()).collect(),
        }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Makes of the state before the change the one after it; the order of peers may differ from the daemon's.
    pub fn apply(self, status: &mut Status) {
        self.host.apply(status);
        status.peers.retain(|peer| !self.peers_removed.contains(&peer.id));
        for change in self.peers {
            if let Some(peer) = status.peers.iter_mut().find(|peer| peer.id == change.id) {
                change.fields.apply(peer);
            }
        }
        status.peers.extend(self.peers_added);
    }
}
