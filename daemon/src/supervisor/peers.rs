//! Peers that local callers add, change and remove while the daemon runs.

use std::net::Ipv4Addr;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::secret::SecretText;
use ipnet::IpNet;
use net::peer_id;
use node::peer_key::PeerKey;
use node::router::PeerSlot;
use node::tunnel::ChainRule;

use super::revision::{PskChange, Revision};
use super::{OwnAddresses, Supervisor};
use crate::config::peer::{check_name, read_peer_address, read_prefix, read_psk};
use crate::config::{OwnIpv4, PeerConfig};

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
    pub(super) forward: Option<bool>,
}

pub(super) fn bad_request(field: &str, error: String) -> ErrorBody {
    ErrorBody::new(ErrorCode::BadRequest, format!("{field}: {error}"))
}

/// What failed on our side, before it changed anything.
pub(super) fn internal(error: impl Into<anyhow::Error>) -> ErrorBody {
    ErrorBody::new(ErrorCode::Internal, format!("nothing was changed: {:#}", error.into()))
}

impl PeerFields<'_> {
    /// These fields over what `config` has.
    pub(super) fn over(&self, mut config: PeerConfig) -> Result<PeerConfig, ErrorBody> {
        if let Some(name) = self.name {
            check_name(name).map_err(|error| bad_request("name", error))?;
            name.clone_into(&mut config.name);
        }
        if let Some(addresses) = self.addresses {
            let read: Result<_, _> = addresses.iter().map(|text| read_peer_address(text, config.key)).collect();
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
        config.forward = self.forward.unwrap_or(config.forward);
        config.check_forward().map_err(|error| bad_request("forward", error))?;
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
        let revision = Revision { fresh: vec![(config, origin)], ..Revision::default() };
        let slots = self.revise(revision).await.map_err(internal)?;
        slots.first().copied().ok_or_else(|| ErrorBody::new(ErrorCode::Internal, "the peer has no place"))
    }

    pub(super) async fn set_peer(&mut self, name: &str, fields: &PeerFields<'_>) -> Result<(), ErrorBody> {
        let (slot, old) = self.changeable(name)?;
        let mut new = fields.over(old)?;
        self.check_peer(&new, Some(slot))?;
        let psk = if fields.psk.is_some() { PskChange::Set(new.psk.take()) } else { PskChange::Keep };
        if fields.psk.is_some() {
            // What pairing agreed on does not count any more.
            self.end_pairing(new.key).await;
        }
        let revision = Revision { changed: vec![(slot, new, psk)], ..Revision::default() };
        self.revise(revision).await.map(drop).map_err(internal)
    }

    /// Removes a peer of the state folder. When this returns its keys, chain keys, PSK and queued packets are erased.
    pub(super) async fn remove_peer(&mut self, name: &str) -> Result<(), ErrorBody> {
        let (slot, config) = self.changeable(name)?;
        // First, or the next start would finish a pairing that is not complete, and have the peer again.
        self.end_pairing(config.key).await;
        let revision = Revision { gone: [slot].into(), ..Revision::default() };
        self.revise(revision).await.map(drop).map_err(internal)
    }

    /// Takes over an IPv4 address that another host granted, now and at the next start; `None` goes back to our own.
    ///
    /// # Errors
    /// When the configuration names the address, or it cannot be kept or set; nothing has changed then.
    pub async fn set_own_ipv4(&mut self, granted: Option<Ipv4Addr>) -> Result<(), ErrorBody> {
        if self.config.address != OwnIpv4::Derived {
            let message = "network.address in the configuration decides about this host's IPv4 address";
            return Err(ErrorBody::new(ErrorCode::InvalidConfig, message));
        }
        let before = self.state.own_ipv4().map_err(internal)?;
        self.state.set_own_ipv4(granted).map_err(internal)?;
        let own = Some(OwnAddresses::new(&self.config, self.identity.public(), granted));
        if let Err(error) = self.revise(Revision { own, ..Revision::default() }).await {
            // The file that was replaced a moment ago can be replaced again, or the next start tries once more.
            let _ = self.state.set_own_ipv4(before);
            return Err(internal(error));
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

    /// Whether `config` may stand beside the other peers, in the place of `slot` or as a new one.
    pub(super) fn check_peer(&self, config: &PeerConfig, slot: Option<PeerSlot>) -> Result<(), ErrorBody> {
        check_own(config, self.identity.public(), &self.own)?;
        let mut others = self.peers.iter().filter(|(other, _)| Some(**other) != slot);
        others.try_for_each(|(_, other)| check_beside(config, &other.config, other.origin))
    }
}

/// Whether a peer can be told from this host.
pub(super) fn check_own(config: &PeerConfig, key: PeerKey, own: &OwnAddresses) -> Result<(), ErrorBody> {
    let name = &config.name;
    let refused = |message: String| ErrorBody::new(ErrorCode::InvalidConfig, message);
    if config.key == key {
        let error = refused(format!("peer {name} is this host itself"));
        return Err(error.hint("use the PeerId of the other host"));
    }
    // A name that is another host's PeerId would be taken for that host.
    if peer_id::parse(name).is_ok_and(|key| key != config.key) {
        return Err(refused(format!("peer {name}: the name is another's PeerId")));
    }
    match own.all().map(IpNet::from).find(|own| config.allowed_ips.contains(own)) {
        Some(own) => Err(refused(format!("peer {name}, allowed_ips: {own} is this host's own address"))),
        None => Ok(()),
    }
}

/// Whether two peers can be told from each other.
pub(super) fn check_beside(config: &PeerConfig, other: &PeerConfig, origin: Origin) -> Result<(), ErrorBody> {
    let (name, its) = (&config.name, &other.name);
    let taken = |message: String| ErrorBody::new(ErrorCode::AlreadyExists, message);
    if other.key == config.key {
        let error = taken(format!("peer {name} is peer {its} already, which stands in {}", origin.place()));
        return Err(error.hint("a peer stands in the configuration file or in the state folder, once"));
    }
    if its == name {
        return Err(taken(format!("another peer is called {name}")).hint("choose another name"));
    }
    let theirs = |prefix: &IpNet| other.allowed_ips.iter().any(|other| other.trunc() == *prefix);
    match config.allowed_ips.iter().map(IpNet::trunc).find(theirs) {
        Some(prefix) => {
            let error = taken(format!("peer {name}, allowed_ips: {prefix} belongs to peer {its} already"));
            Err(error.hint("a prefix belongs to one peer; the longest one wins"))
        }
        None => Ok(()),
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
