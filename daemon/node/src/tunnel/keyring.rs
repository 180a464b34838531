//! Which keys of one peer live: the transition rules of protocol.md 8 without time-outs, messages or cryptography.
//!
//! Generic over what an epoch (`K`) and a chain key (`C`) are, so that the exhaustive search in `tests/` runs the very
//! code of the product with numbers in their place.

use super::Role;
use super::chain::{Base, ChainPair, Link};
use crate::epoch::EpochId;
use crate::time::Time;

/// The most receive keys. A handshake that we answer has none before M3: its frames are dropped (6.6).
pub const MAX_EPOCHS: usize = 3;

/// One receive key, and the send key that goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch<K> {
    /// Its name.
    pub id: EpochId,
    /// Our side of its handshake.
    pub role: Role,
    /// Whether the peer is known to hold it, so that we may send on it.
    pub confirmed: bool,
    /// Whether a later handshake without a chain showed that one side lost it: never sent on, first to go.
    pub lost: bool,
    /// When the peer was known to send on a newer epoch.
    pub superseded: Option<Time>,
    /// The keys.
    pub keys: K,
}

/// A handshake's result: the epoch's keys and its chain key.
pub struct Made<K, C> {
    /// The epoch's keys.
    pub keys: K,
    /// The chain key that it gave.
    pub chain: C,
}

/// More epochs than [`MAX_EPOCHS`], and none that may go. The search shows that the rules never come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The epochs and chain keys shared with one peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keyring<K, C> {
    /// Oldest first.
    epochs: Vec<Epoch<K>>,
    /// The newest epoch that the peer is known to send on.
    known: Option<EpochId>,
    chain: ChainPair<C>,
    next: u64,
}

impl<K, C> Default for Keyring<K, C> {
    fn default() -> Self {
        Self { epochs: Vec::new(), known: None, chain: ChainPair::default(), next: 0 }
    }
}

impl<K, C> Keyring<K, C> {
    /// A name for an epoch in the making.
    pub const fn next_id(&mut self) -> EpochId {
        self.next += 1;
        EpochId(self.next)
    }

    /// What a handshake under `base` proves, once M2 (as initiator) or M3 (as responder) is verified. Call
    /// [`Self::add`] next. Gives the epochs whose keys are to be erased.
    ///
    /// * As initiator, under a chain key whose epoch we started: the peer verified that epoch's M3, so it is confirmed
    ///   and the peer sends on it.
    /// * As responder: the peer sends on the chain key's epoch or a newer one.
    /// * Under the older key: the newest epoch never reached the peer.
    /// * Without a chain: one side lost everything.
    pub fn learn(&mut self, now: Time, role: Role, base: Base) -> Vec<Epoch<K>> {
        let proven = self.chain.get(base).filter(|link| role == Role::Responder || link.role == Role::Initiator);
        if let Some(id) = proven.map(|link| link.epoch) {
            self.note_known(now, id);
        }
        match base {
            Base::Newest => Vec::new(),
            Base::Older => {
                let unreached = self.chain.get(Base::Newest).map(|link| link.epoch);
                self.erase(|epoch| Some(epoch.id) == unreached)
            }
            Base::Clear => {
                self.epochs.iter_mut().for_each(|epoch| epoch.lost = true);
                Vec::new()
            }
        }
    }

    /// A handshake under `base` reached M3: receive on its epoch, as responder send on it too, and hold the base and
    /// the new chain key. As initiator send M3 afterwards, as responder M4. Gives the epoch that had to go for it.
    ///
    /// # Errors
    /// [`Full`]: abandon the handshake.
    pub fn add(&mut self, role: Role, base: Base, id: EpochId, made: Made<K, C>) -> Result<Option<Epoch<K>>, Full> {
        debug_assert!(self.epochs.last().is_none_or(|last| last.id < id), "epochs join in the order of their names");
        let erased = self.make_room()?;
        let Made { keys, chain } = made;
        let provisional = base == Base::Clear && role == Role::Initiator;
        self.chain.replace(base, Link { key: chain, epoch: id, role, provisional });
        // M3 proves that the peer holds the epoch, M2 does not.
        let confirmed = role == Role::Responder;
        self.epochs.push(Epoch { id, role, confirmed, lost: false, superseded: None, keys });
        Ok(erased)
    }

    /// M4 of `id`, or a frame on it, was opened: the peer sends on it.
    pub fn confirmed(&mut self, now: Time, id: EpochId) {
        if self.epochs.iter().any(|epoch| epoch.id == id) {
            self.note_known(now, id);
        }
    }

    /// Erases every epoch that `gone` says is over.
    pub fn erase(&mut self, gone: impl Fn(&Epoch<K>) -> bool) -> Vec<Epoch<K>> {
        self.epochs.extract_if(.., |epoch| gone(epoch)).collect()
    }

    /// Erases all epochs; the chain keys stay.
    pub fn erase_epochs(&mut self) -> Vec<Epoch<K>> {
        self.known = None;
        std::mem::take(&mut self.epochs)
    }

    /// Erases the chain keys.
    pub fn erase_chain(&mut self) {
        self.chain.clear();
    }

    /// What M1 names after REJECT 3 has answered `refused`.
    pub fn after_unknown(&mut self, refused: Base) -> Base {
        self.chain.after_unknown(refused)
    }

    /// The epoch to send on: the newest that is confirmed.
    pub fn sending(&self) -> Option<&Epoch<K>> {
        self.epochs.iter().rev().find(|epoch| epoch.confirmed && !epoch.lost)
    }

    /// The epochs, oldest first.
    pub fn epochs(&self) -> &[Epoch<K>] {
        &self.epochs
    }

    /// The epochs, oldest first, to change their keys.
    pub fn epochs_mut(&mut self) -> impl Iterator<Item = &mut Epoch<K>> {
        self.epochs.iter_mut()
    }

    /// The newest epoch that the peer is known to send on.
    pub const fn known(&self) -> Option<EpochId> {
        self.known
    }

    /// The chain keys.
    pub const fn chain(&self) -> &ChainPair<C> {
        &self.chain
    }

    fn note_known(&mut self, now: Time, id: EpochId) {
        self.chain.settle(id);
        if self.known.is_some_and(|known| known >= id) {
            return;
        }
        self.known = Some(id);
        for epoch in &mut self.epochs {
            if epoch.id < id {
                epoch.superseded.get_or_insert(now);
            }
            epoch.confirmed |= epoch.id == id;
        }
    }

    /// When a fourth key is needed, a lost one goes, else the oldest of those older than the newest known.
    fn make_room(&mut self) -> Result<Option<Epoch<K>>, Full> {
        if self.epochs.len() < MAX_EPOCHS {
            return Ok(None);
        }
        let lost = self.epochs.iter().position(|epoch| epoch.lost);
        let oldest = self.epochs.iter().position(|epoch| self.known.is_some_and(|known| epoch.id < known));
        lost.or(oldest).map(|at| Some(self.epochs.remove(at))).ok_or(Full)
    }
}
