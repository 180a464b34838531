//! A change of the table of peers: all of it comes into force, or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use net::peer_id;
use net::plane::PeerStats;
use node::crypto::AwsLcKem;
use node::handshake::{Capabilities, Params};
use node::path::Paths;
use node::router::PeerSlot;
use node::secret::{SecretKey32, StoredSecret};
use node::tunnel::{AesRule, Input, Tunnel, TunnelConfig, Want};
use os::clock::boottime;
use os::processor::has_aes;
use os::random::SystemRandom;

use super::candidates::Sight;
use super::health::{Fault, News};
use super::peer::Peer;
use super::rates::Rates;
use super::{Interface, Origin, OwnAddresses, Supervisor};
use crate::config::{PeerConfig, Psk};
use crate::state_dir::{StateError, Wishes};

/// What is to become of the peers, and of our own addresses.
#[derive(Default)]
pub(super) struct Revision {
    pub(super) fresh: Vec<(PeerConfig, Origin)>,
    pub(super) changed: Vec<(PeerSlot, PeerConfig, PskChange)>,
    pub(super) gone: BTreeSet<PeerSlot>,
    pub(super) own: Option<OwnAddresses>,
}

/// What becomes of a peer's PSK.
pub(super) enum PskChange {
    Keep,
    Set(Option<Psk>),
}

/// What was done so far, to be completed or taken back.
#[derive(Default)]
struct Done {
    fresh: Vec<PeerSlot>,
    changed: Vec<Changed>,
    own: Option<OwnAddresses>,
}

struct Changed {
    slot: PeerSlot,
    before: PeerConfig,
    /// The PSK before, and the one that the tunnel is to have.
    psk: Option<(Option<StoredSecret>, Option<StoredSecret>)>,
}

impl Supervisor {
    /// Brings a revision into force; gives the slots of the fresh peers. Peers of the state folder are on the disk when
    /// this returns, and of those that are gone every secret is erased.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub(super) async fn revise(&mut self, revision: Revision) -> anyhow::Result<Vec<PeerSlot>> {
        let gone = revision.gone.clone();
        let mut done = Done::default();
        if let Err(error) = self.try_to_revise(revision, &mut done).await {
            self.take_back(done).await;
            return Err(error);
        }
        Ok(self.complete(done, gone).await)
    }

    /// What can fail, in the order in which it is easily taken back.
    async fn try_to_revise(&mut self, revision: Revision, done: &mut Done) -> anyhow::Result<()> {
        let Revision { fresh, changed, gone, own } = revision;
        let touched = changed.iter().map(|(slot, ..)| slot).chain(&gone).filter_map(|slot| self.peers.get(slot));
        let kept = fresh.iter().map(|(_, origin)| *origin).chain(touched.map(|peer| peer.origin));
        let save = kept.into_iter().any(|origin| origin == Origin::State);
        for (config, origin) in fresh {
            done.fresh.push(self.enter(config, origin, None).await?);
        }
        for (slot, config, psk) in changed {
            self.exchange(slot, config, psk, done)?;
        }
        if let Some(own) = own.filter(|own| *own != self.own) {
            done.own = Some(std::mem::replace(&mut self.own, own));
            self.readdress(done.own).await?;
        }
        self.revise_router(&gone).await?;
        if save {
            self.save_peers(&gone)?;
        }
        Ok(())
    }

    fn exchange(&mut self, slot: PeerSlot, new: PeerConfig, psk: PskChange, done: &mut Done) -> anyhow::Result<()> {
        let kept = match psk {
            PskChange::Keep => None,
            PskChange::Set(psk) => Some((self.keep(psk.as_ref())?, self.keep(psk.as_ref())?)),
        };
        let Some(peer) = self.peers.get_mut(&slot) else { return Ok(()) };
        let before = std::mem::replace(&mut peer.config, new);
        let psk = kept.map(|(ours, the_tunnels)| (std::mem::replace(&mut peer.psk, ours), the_tunnels));
        done.changed.push(Changed { slot, before, psk });
        Ok(())
    }

    async fn take_back(&mut self, done: Done) {
        let Done { fresh, changed, own } = done;
        for Changed { slot, before, psk } in changed {
            if let Some(peer) = self.peers.get_mut(&slot) {
                peer.config = before;
                if let Some((before, _)) = psk {
                    peer.psk = before;
                }
            }
        }
        for slot in fresh {
            self.leave(slot).await;
        }
        let mut result = Ok(());
        if let Some(own) = own {
            let tried = std::mem::replace(&mut self.own, own);
            result = self.readdress(Some(tried)).await;
        }
        let result = result.and(self.set_router(&BTreeSet::new()).await);
        if let Err(error) = result {
            tracing::debug!(%error, "what was begun could not be taken back as a whole");
        }
    }

    async fn complete(&mut self, done: Done, gone: BTreeSet<PeerSlot>) -> Vec<PeerSlot> {
        for &slot in &gone {
            self.leave(slot).await;
        }
        let mut wishes_changed = !gone.is_empty();
        for Changed { slot, before, psk } in done.changed {
            if let Some((_, psk)) = psk {
                self.feed(slot, Input::PskChanged(psk)).await;
            }
            let Some(peer) = self.peers.get_mut(&slot) else { continue };
            let rule = peer.config.require_chain;
            if peer.config.up != before.up {
                // The newest word about the start is the configuration's.
                wishes_changed |= peer.wish.take().is_some();
            }
            let moved = peer.want == Want::Up && peer.config.addresses != before.addresses;
            if let Some(peer) = self.peers.get(&slot).filter(|_| moved) {
                self.dial(peer).await;
            }
            self.feed(slot, Input::ChainRuleChanged(rule)).await;
        }
        if !gone.is_empty() {
            let _ = self.save_addresses();
        }
        if wishes_changed {
            // A failure is told by a health item; the wish of a peer that is gone does no harm.
            let _ = self.save_wishes();
        }
        for &slot in &done.fresh {
            if let Some(want) = self.peers.get(&slot).map(Peer::wanted) {
                self.set_wanted(slot, want).await;
            }
        }
        done.fresh
    }

    async fn readdress(&mut self, before: Option<OwnAddresses>) -> anyhow::Result<()> {
        match (&mut self.interface, before) {
            (Some(interface), Some(before)) => interface.set_ipv4(before.ipv4, self.own.ipv4).await,
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
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
        tracing::debug!(peer = slot.0, id = peer_id::format(config.key), name = config.name, "a peer");
        let stats = Arc::new(PeerStats::default());
        let carrier = self.net.allow(config.key, slot, Arc::clone(&stats)).await;
        self.plane.add_peer(slot, carrier, Arc::clone(&stats));
        let tunnel = Tunnel::new(tunnel, Box::new(SystemRandom), boottime());
        let paths = Paths::new(Box::new(SystemRandom));
        self.slots.insert(config.key, slot);
        let peer = Peer {
            config,
            origin,
            psk,
            tunnel,
            paths,
            stats,
            want: Want::Down,
            wish,
            connections: BTreeMap::new(),
            round_trip: None,
            sight: Sight::default(),
            not_reached: None,
            not_punched: None,
            rates: Rates::new(boottime()),
            chain_resets: 0,
            told: Vec::new(),
        };
        self.peers.insert(slot, peer);
        self.renew_deadline(slot);
        Ok(slot)
    }

    /// Takes a peer out. When this returns nothing of it is read any more, and its keys, chain keys, PSK and queued
    /// packets are erased.
    async fn leave(&mut self, slot: PeerSlot) {
        let Some(key) = self.peers.get(&slot).map(|peer| peer.config.key) else { return };
        self.net.disallow(key).await;
        self.feed(slot, Input::Wanted(Want::Down)).await;
        self.feed(slot, Input::EraseAll).await;
        self.slots.remove(&key);
        // The tunnel goes before the loops are asked: it holds the key to send with.
        self.peers.remove(&slot);
        self.renew_deadline(slot);
        self.plane.remove_peer(slot);
        self.pings.end(slot);
        self.reached.forget(key);
        // What cannot be undone is in the journal.
        let _ = self.end_exit(&[key]).await;
        self.absolve(key);
    }

    pub(super) fn keep(&self, psk: Option<&Psk>) -> anyhow::Result<Option<StoredSecret>> {
        Ok(psk.map(|psk| self.store.keep(SecretKey32::new(*psk.expose()))).transpose()?)
    }

    /// What all tunnels announce.
    pub(super) fn params(&self) -> Params {
        Params {
            mtu: self.config.mtu,
            rotation_seconds: self.config.rotation_seconds,
            padding: self.config.padding,
            capabilities: Capabilities {
                aes_hardware: self.limits.aes == AesRule::InHardware && has_aes(),
                partial_checksums: self.interface.as_ref().is_some_and(Interface::takes_partial_checksums),
            },
        }
    }

    /// Writes `peers.toml`, without some.
    fn save_peers(&mut self, except: &BTreeSet<PeerSlot>) -> Result<(), StateError> {
        let kept = self.peers.iter().filter(|(slot, peer)| !except.contains(slot) && peer.origin == Origin::State);
        let kept = kept.map(|(_, peer)| (&peer.config, peer.psk.as_ref().map(StoredSecret::expose)));
        let result = self.state.set_peers(kept);
        self.saved("peers.toml", result)
    }

    /// Writes `wishes.toml`.
    pub(super) fn save_wishes(&mut self) -> Result<(), StateError> {
        let wishes = self.peers.values().filter_map(|peer| Some((peer.config.key, peer.wish?)));
        let result = self.state.set_wishes(&wishes.collect::<Wishes>(), self.exit.chosen());
        self.saved("wishes.toml", result)
    }

    /// Notes whether the state folder takes what is written.
    pub(super) fn saved(&mut self, file: &'static str, result: Result<(), StateError>) -> Result<(), StateError> {
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
