//! The configuration is read again: all of it is taken over, or nothing.

use std::collections::BTreeMap;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::Reply;
use node::peer_key::PeerKey;
use node::router::PeerSlot;
use node::tunnel::Input;

use super::health::Fault;
use super::peers::{check_beside, check_own, internal};
use super::revision::{PskChange, Revision};
use super::{Origin, OwnAddresses, Supervisor};
use crate::config::{Changes, Config, PeerConfig};
use crate::service;

impl Supervisor {
    /// Reads the configuration again and takes it over.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing has changed then.
    pub(super) async fn reload(&mut self) -> Result<Reply, ErrorBody> {
        service::reloading();
        let result = match Config::load(&self.config_file) {
            Ok(new) => self.take_over(new).await,
            Err(errors) => Err(ErrorBody::new(ErrorCode::InvalidConfig, errors.to_string().replace('\n', "; "))),
        };
        service::ready();
        match result {
            Ok(Changes { now, at_restart }) => {
                self.health.clear(Fault::ConfigRefused, "");
                let (changed, needs_restart) = (now.len(), at_restart.len());
                tracing::info!(changed, needs_restart, "the configuration was read again");
                Ok(Reply::Reloaded { changed: now, needs_restart: at_restart })
            }
            Err(error) => {
                let text = format!("the configuration is refused and the old one stays: {}", error.message);
                let hint = "mend it, check it with 'sudo cryprqd --check-config', and reload it";
                self.health.note(Fault::ConfigRefused, "", text, hint);
                tracing::error!("the configuration is refused and the old one stays: see cryprq status");
                Err(error)
            }
        }
    }

    /// The configuration in force.
    pub(super) fn shown_config(&self) -> String {
        let peers = self.peers.values().filter(|peer| peer.origin == Origin::Config);
        self.config.to_toml(peers.map(|peer| &peer.config))
    }

    /// Takes over a configuration that was read; gives what has changed.
    pub(super) async fn take_over(&mut self, mut new: Config) -> Result<Changes, ErrorBody> {
        let refused = |text: String| ErrorBody::new(ErrorCode::InvalidConfig, text);
        self.surroundings.check_range(new.ipv4).map_err(refused)?;
        let mut changes = self.config.changes(&new);
        new.keep_until_restart(&self.config);
        let granted = self.state.own_ipv4().map_err(internal)?;
        let own = OwnAddresses::new(&new, self.identity.public(), granted);
        let peers = std::mem::take(&mut new.peers);
        for peer in &peers {
            check_own(peer, self.identity.public(), &own)?;
            for kept in self.peers.values().filter(|kept| kept.origin == Origin::State) {
                check_beside(peer, &kept.config, kept.origin)?;
            }
        }
        let mut revision = self.compare(peers)?;
        revision.own = Some(own);
        changes.now.extend(self.told(&revision));
        self.revise(revision).await.map_err(internal)?;
        self.follow(new, &changes).await;
        Ok(changes)
    }

    /// What is to become of the peers of the configuration.
    fn compare(&self, written: Vec<PeerConfig>) -> Result<Revision, ErrorBody> {
        let mut written: BTreeMap<PeerKey, PeerConfig> = written.into_iter().map(|peer| (peer.key, peer)).collect();
        let mut revision = Revision::default();
        for (slot, peer) in self.peers.iter().filter(|(_, peer)| peer.origin == Origin::Config) {
            let Some(mut new) = written.remove(&peer.config.key) else {
                revision.gone.insert(*slot);
                continue;
            };
            let psk = new.psk.take();
            let kept = self.keep(psk.as_ref()).map_err(internal)?;
            let same_psk = match (&peer.psk, &kept) {
                (None, None) => true,
                (Some(old), Some(new)) => old.ct_eq(new),
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !same_psk {
                revision.changed.push((*slot, new, PskChange::Set(psk)));
            } else if !new.is_like(&peer.config) {
                revision.changed.push((*slot, new, PskChange::Keep));
            }
        }
        revision.fresh = written.into_values().map(|peer| (peer, Origin::Config)).collect();
        Ok(revision)
    }

    /// The peers that change, by their names before.
    fn told(&self, revision: &Revision) -> Vec<String> {
        let name = |slot: &PeerSlot| self.peers.get(slot).map(|peer| peer.config.name.clone());
        let changed = revision.changed.iter().map(|(slot, ..)| slot);
        let old = changed.chain(&revision.gone).filter_map(name);
        let fresh = revision.fresh.iter().map(|(config, _)| config.name.clone());
        old.chain(fresh).map(|name| format!("peer {name}")).collect()
    }

    /// Takes over what cannot fail.
    async fn follow(&mut self, new: Config, changes: &Changes) {
        let changed = |key: &str| changes.now.iter().any(|changed| changed == key);
        self.config = new;
        self.authority.set_access(self.config.access.clone());
        if changed("log.level") {
            self.log.configure(&self.config.log_level);
        }
        if changed("rotation.seconds") || changed("rotation.padding") {
            let params = self.params();
            let slots: Vec<_> = self.peers.keys().copied().collect();
            for slot in slots {
                self.feed(slot, Input::ParamsChanged(params)).await;
            }
        }
    }
}
