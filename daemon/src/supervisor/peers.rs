//! Peers that come, change and go while the daemon runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::secret::SecretText;
use ipnet::IpNet;
use net::peer_id;
use node::crypto::AwsLcKem;
use node::handshake::{Capabilities, Params};
use node::router::PeerSlot;
use node::secret::{SecretKey32, StoredSecret};
use node::tunnel::{ChainRule, Input, Tunnel, TunnelConfig, Want};
use os::clock::boottime;
use os::random::SystemRandom;

use super::health::{Fault, News};
use super::peer::Peer;
use super::rates::Rates;
use super::{Interface, Supervisor};
use crate::config::peer::{check_name, read_address, read_prefix, read_psk};
use crate::config::{PeerConfig, Psk};
use crate::state_dir::{StateError, Wishes};

/// Where a peer stands; it stands in one place only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration.
    Config,
    /// In `peers.toml` of the state folder, where pairing and local callers put it.
    State,
}

/// What a caller says about a peer; what it does not say stays.
pub(super) struct PeerFields<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) addresses: Option<&'a Vec<String>>,
    pub(super) allowed_ips: Option<&'a Vec<String>>,
    /// `none` for no PSK.
    pub(super) psk: Option<&'a SecretText>,
    pub(super) require_chain: Option<bool>,
    pub(super) up: Option<bool>,
}

/// What becomes of a peer's PSK.
enum PskChange {
    Keep,
    Set(Option<Psk>),
}

pub(super) fn bad_request(field: &str, error: String) -> ErrorBody {
    ErrorBody::new(ErrorCode::BadRequest, format!("{field}: {error}"))
}

impl PeerFields<'_> {
    /// These fields over what `config` has.
    pub(super) fn over(&self, mut config: PeerConfig) -> Result<PeerConfig, ErrorBody> {
        if let Some(name) = self.name {
            check_name(name).map_err(|error| bad_request("name", error))?;
            name.clone_into(&mut config.name);
        }
        if let Some(addresses) = self.addresses {
            let read: Result<_, _> = addresses.iter().map(|text| read_address(text)).collect();
            config.addresses = read.map_err(|error| bad_request("addresses", error))?;
        }
        if let Some(prefixes) = self.allowed_ips {
            let read: Result<_, _> = prefixes.iter().map(|text| read_prefix(text)).collect();
            config.allowed_ips = read.map_err(|error| bad_request("allowed_ips", error))?;
        }
        match self.psk.map(SecretText::expose) {
            None => {}
            Some("none") => config.psk = None,
            Some(text) => config.psk = Some(read_psk(text.as_bytes()).map_err(|error| bad_request("psk", error))?),
        }
        if let Some(required) = self.require_chain {
            config.require_chain = if required { ChainRule::Required } else { ChainRule::Optional };
        }
        config.up = self.up.unwrap_or(config.up);
        Ok(config)
    }
}

impl Supervisor {
    /// Adds a peer. One of the state folder is on the disk when this returns, and connects if it is wanted.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn add_peer(&mut self, config: PeerConfig, origin: Origin) -> Result<PeerSlot, ErrorBody> {
        self.check_peer(&config, None)?;
        let slot = self.enter(config, origin, None).await.map_err(internal)?;
        let mut result = self.set_router().await;
        if result.is_ok() && origin == Origin::State {
            result = self.save_peers(None).map_err(Into::into);
        }
        if let Err(error) = result {
            self.leave(slot).await;
            // What could be set is set; the peer that made it fail is gone from it.
            let _ = self.set_router().await;
            return Err(internal(error));
        }
        if let Some(want) = self.peers.get(&slot).map(Peer::wanted) {
            self.set_wanted(slot, want).await;
        }
        Ok(slot)
    }

    pub(super) async fn set_peer(&mut self, name: &str, fields: &PeerFields<'_>) -> Result<(), ErrorBody> {
        let (slot, old) = self.changeable(name)?;
        let mut new = fields.over(old)?;
        let psk = if fields.psk.is_some() { PskChange::Set(new.psk.take()) } else { PskChange::Keep };
        self.change(slot, new, psk).await
    }

    /// Removes a peer of the state folder. When this returns its keys, chain keys, PSK and queued packets are erased.
    pub(super) async fn remove_peer(&mut self, name: &str) -> Result<(), ErrorBody> {
        let (slot, _) = self.changeable(name)?;
        self.save_peers(Some(slot)).map_err(internal)?;
        self.leave(slot).await;
        self.set_router().await.map_err(|error| {
            ErrorBody::new(ErrorCode::Internal, format!("the peer is removed, but a route of it stays: {error:#}"))
        })?;
        if let Err(error) = self.save_wishes() {
            tracing::warn!(%error, "the wishes are not kept");
        }
        Ok(())
    }

    /// One peer that local callers may change, without its PSK.
    fn changeable(&self, name: &str) -> Result<(PeerSlot, PeerConfig), ErrorBody> {
        let slots = self.named(Some(name))?;
        let found = slots.first().and_then(|slot| self.peers.get(slot).map(|peer| (*slot, peer)));
        let (slot, peer) = found.ok_or_else(|| ErrorBody::new(ErrorCode::UnknownPeer, "no such peer"))?;
        match peer.origin {
            Origin::State => Ok((slot, peer.config.without_psk())),
            Origin::Config => {
                let message = format!("peer {} stands in the configuration file", peer.config.name);
                let hint = "change it there, then run 'sudo cryprq config reload'";
                Err(ErrorBody::new(ErrorCode::InvalidConfig, message).hint(hint))
            }
        }
    }

    /// Puts `new` in the place of what a peer is.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    async fn change(&mut self, slot: PeerSlot, new: PeerConfig, psk: PskChange) -> Result<(), ErrorBody> {
        self.check_peer(&new, Some(slot))?;
        let (ours, the_tunnels) = match psk {
            PskChange::Keep => (None, None),
            PskChange::Set(psk) => {
                let kept = || self.keep(psk.as_ref()).map(Some).map_err(internal);
                (kept()?, kept()?)
            }
        };
        let Some(peer) = self.peers.get_mut(&slot) else { return Ok(()) };
        let old = std::mem::replace(&mut peer.config, new);
        let old_psk = ours.map(|psk| std::mem::replace(&mut peer.psk, psk));
        let origin = peer.origin;
        let mut result = self.set_router().await;
        if result.is_ok() && origin == Origin::State {
            result = self.save_peers(None).map_err(Into::into);
        }
        if let Err(error) = result {
            if let Some(peer) = self.peers.get_mut(&slot) {
                peer.config = old;
                if let Some(psk) = old_psk {
                    peer.psk = psk;
                }
            }
            let _ = self.set_router().await;
            return Err(internal(error));
        }
        if let Some(psk) = the_tunnels {
            self.feed(slot, Input::PskChanged(psk)).await;
        }
        self.follow(slot, &old).await;
        Ok(())
    }

    /// Brings tunnel and dialler in line with a changed configuration.
    async fn follow(&mut self, slot: PeerSlot, old: &PeerConfig) {
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        let (key, rule) = (peer.config.key, peer.config.require_chain);
        if peer.config.up != old.up {
            // The newest word about the start is the configuration's.
            peer.wish = None;
            if let Err(error) = self.save_wishes() {
                tracing::warn!(%error, "the wishes are not kept");
            }
        }
        self.feed(slot, Input::ChainRuleChanged(rule)).await;
        let Some(peer) = self.peers.get(&slot) else { return };
        if peer.want == Want::Up && peer.config.addresses != old.addresses {
            self.net.dial(key, peer.config.addresses.clone()).await;
        }
    }

    /// Whether `config` may stand beside the other peers, in the place of `slot` or as a new one.
    pub(super) fn check_peer(&self, config: &PeerConfig, slot: Option<PeerSlot>) -> Result<(), ErrorBody> {
        let name = &config.name;
        let taken = |message: String| ErrorBody::new(ErrorCode::AlreadyExists, message);
        if config.key == self.identity.public() {
            let message = format!("peer {name} is this host itself");
            return Err(ErrorBody::new(ErrorCode::InvalidConfig, message).hint("use the PeerId of the other host"));
        }
        // A name that is another host's PeerId would be taken for that host.
        if peer_id::parse(name).is_ok_and(|key| key != config.key) {
            return Err(ErrorBody::new(ErrorCode::InvalidConfig, format!("peer {name}: the name is another's PeerId")));
        }
        if let Some(own) = self.own.all().map(IpNet::from).find(|own| config.allowed_ips.contains(own)) {
            let message = format!("peer {name}, allowed_ips: {own} is this host's own address");
            return Err(ErrorBody::new(ErrorCode::InvalidConfig, message));
        }
        for (_, other) in self.peers.iter().filter(|(other, _)| Some(**other) != slot) {
            if other.config.key == config.key {
                let place = other.origin.place();
                return Err(taken(format!(
                    "peer {name} is peer {} already, which stands in {place}",
                    other.config.name
                ))
                .hint("a peer stands in the configuration file or in the state folder, once"));
            }
            if other.config.name == *name {
                return Err(taken(format!("another peer is called {name}")).hint("choose another name"));
            }
            let theirs = |prefix: &IpNet| other.config.allowed_ips.iter().any(|other| other.trunc() == *prefix);
            if let Some(prefix) = config.allowed_ips.iter().map(IpNet::trunc).find(theirs) {
                let message =
                    format!("peer {name}, allowed_ips: {prefix} belongs to peer {} already", other.config.name);
                return Err(taken(message).hint("a prefix belongs to one peer; the longest one wins"));
            }
        }
        Ok(())
    }

    /// Enters a peer, of which nothing is wanted yet. The router does not know it yet either.
    pub(super) async fn enter(
        &mut self,
        mut config: PeerConfig,
        origin: Origin,
        wish: Option<Want>,
    ) -> anyhow::Result<PeerSlot> {
        let psk = config.psk.take();
        let tunnel = TunnelConfig {
            identity: Arc::clone(&self.identity),
            remote: config.key,
            psk: self.keep(psk.as_ref())?,
            require_chain: config.require_chain,
            params: self.params(),
            tlvs: Vec::new(),
            limits: self.limits.clone(),
            kem: Arc::new(AwsLcKem),
            store: Arc::clone(&self.store),
            indices: Arc::clone(&self.indices),
        };
        let psk = self.keep(psk.as_ref())?;
        let slot = PeerSlot(self.next_slot);
        self.next_slot = self.next_slot.checked_add(1).context("no peer can be added before a restart")?;
        let carrier = self.net.allow(config.key, slot).await;
        let stats = self.plane.add_peer(slot, carrier);
        let tunnel = Tunnel::new(tunnel, Box::new(SystemRandom), boottime());
        self.slots.insert(config.key, slot);
        let peer = Peer {
            config,
            origin,
            psk,
            tunnel,
            stats,
            want: Want::Down,
            wish,
            connections: BTreeMap::new(),
            round_trip: None,
            rates: Rates::new(boottime()),
            chain_resets: 0,
        };
        self.peers.insert(slot, peer);
        Ok(slot)
    }

    /// Takes a peer out. When this returns nothing of it is read any more and its secrets are erased; the router still
    /// knows it.
    async fn leave(&mut self, slot: PeerSlot) {
        let Some(key) = self.peers.get(&slot).map(|peer| peer.config.key) else { return };
        self.net.disallow(key).await;
        self.feed(slot, Input::Wanted(Want::Down)).await;
        self.feed(slot, Input::EraseAll).await;
        self.slots.remove(&key);
        // The tunnel goes before the loops are asked: it holds the key to send with.
        self.peers.remove(&slot);
        self.plane.remove_peer(slot);
        self.pings.end(slot);
        self.absolve(key);
    }

    fn keep(&self, psk: Option<&Psk>) -> anyhow::Result<Option<StoredSecret>> {
        Ok(psk.map(|psk| self.store.keep(SecretKey32::new(*psk.expose()))).transpose()?)
    }

    fn params(&self) -> Params {
        Params {
            mtu: self.config.mtu,
            rotation_seconds: self.config.rotation_seconds,
            padding: self.config.padding,
            capabilities: Capabilities {
                aes_hardware: has_aes(),
                partial_checksums: self.interface.as_ref().is_some_and(Interface::takes_partial_checksums),
            },
        }
    }

    /// Writes `peers.toml`, without one peer.
    fn save_peers(&mut self, except: Option<PeerSlot>) -> Result<(), StateError> {
        let kept = self.peers.iter().filter(|(slot, peer)| Some(**slot) != except && peer.origin == Origin::State);
        let kept = kept.map(|(_, peer)| (&peer.config, peer.psk.as_ref().map(StoredSecret::expose)));
        let result = self.state.set_peers(kept);
        self.saved("peers.toml", result)
    }

    /// Writes `wishes.toml`.
    pub(super) fn save_wishes(&mut self) -> Result<(), StateError> {
        let wishes = self.peers.values().filter_map(|peer| Some((peer.config.key, peer.wish?)));
        let result = self.state.set_wishes(&wishes.collect::<Wishes>());
        self.saved("wishes.toml", result)
    }

    /// Notes whether the state folder takes what is written.
    fn saved(&mut self, file: &'static str, result: Result<(), StateError>) -> Result<(), StateError> {
        match &result {
            // One file that is written shows that the others can be.
            Ok(()) => {
                self.health.clear(Fault::StateNotSaved, "");
                self.health.clear(Fault::StateDamaged, file);
            }
            Err(error) => {
                let hint = "make room on the disk of the state folder, or mend its rights";
                if self.health.note(Fault::StateNotSaved, "", error.to_string(), hint) == News::New {
                    tracing::error!(file, "the state folder takes nothing");
                }
            }
        }
        result
    }
}

impl Origin {
    /// Where that is, for a person.
    const fn place(self) -> &'static str {
        match self {
            Self::Config => "the configuration file",
            Self::State => "the state folder",
        }
    }
}

fn internal(error: impl Into<anyhow::Error>) -> ErrorBody {
    ErrorBody::new(ErrorCode::Internal, format!("nothing was changed: {:#}", error.into()))
}

/// Whether the processor has AES and carry-less multiplication in hardware.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
