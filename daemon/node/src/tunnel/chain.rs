//! The chain keys of one peer: at most two, the one named by the latest handshake that reached M3 and its result
//! (protocol.md 8). Generic over the key, so that the exhaustive search runs the very code of the product.

use super::Role;
use crate::epoch::EpochId;

/// Which chain key a handshake is based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// The result of the latest handshake that reached M3.
    Newest,
    /// The one that the latest handshake was based on.
    Older,
    /// None: the chain flag is clear.
    Clear,
}

/// A chain key and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link<C> {
    /// The key.
    pub key: C,
    /// The epoch whose handshake gave it.
    pub epoch: EpochId,
    /// Our side of that handshake.
    pub role: Role,
    /// Whether it stands for no chain yet: we started its handshake without a base, and it was never confirmed (6.7).
    pub provisional: bool,
}

/// The one or two chain keys held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChainPair<C> {
    newest: Option<Link<C>>,
    older: Option<Link<C>>,
}

impl<C> Default for ChainPair<C> {
    fn default() -> Self {
        Self { newest: None, older: None }
    }
}

impl<C> ChainPair<C> {
    /// The key that `base` stands for.
    pub const fn get(&self, base: Base) -> Option<&Link<C>> {
        match base {
            Base::Newest => self.newest.as_ref(),
            Base::Older => self.older.as_ref(),
            Base::Clear => None,
        }
    }

    /// What the key that satisfies `is` stands for.
    pub fn find(&self, is: impl Fn(&C) -> bool) -> Option<Base> {
        [Base::Newest, Base::Older].into_iter().find(|&base| self.get(base).is_some_and(|link| is(&link.key)))
    }

    /// All keys, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Link<C>> {
        self.newest.iter().chain(&self.older)
    }

    /// Whether none is held.
    pub const fn is_empty(&self) -> bool {
        self.newest.is_none()
    }

    /// Whether no chain stands: none is held, or only the key of an unchained epoch that was never confirmed.
    pub fn stands_for_none(&self) -> bool {
        self.newest.as_ref().is_none_or(|link| link.provisional)
    }

    /// What M1 names first.
    pub const fn first_base(&self) -> Base {
        if self.newest.is_some() { Base::Newest } else { Base::Clear }
    }

    /// What M1 names after REJECT 3 has answered `refused`. The key of an unchained epoch that was never confirmed
    /// counts as none, and is forgotten here.
    pub fn after_unknown(&mut self, refused: Base) -> Base {
        match refused {
            Base::Newest if self.older.is_some() => Base::Older,
            Base::Newest | Base::Older | Base::Clear => {
                if self.newest.as_ref().is_some_and(|link| link.provisional) {
                    self.newest = None;
                }
                Base::Clear
            }
        }
    }

    /// The pair of a handshake that reached M3: its base and its result.
    pub(super) fn replace(&mut self, base: Base, result: Link<C>) {
        let older = match base {
            Base::Newest => self.newest.take(),
            Base::Older => self.older.take(),
            Base::Clear => None,
        };
        *self = Self { newest: Some(result), older };
    }

    /// The epoch is confirmed (as initiator), or its first frame was opened: the peer holds its chain key.
    pub(super) fn settle(&mut self, epoch: EpochId) {
        if let Some(link) = self.newest.as_mut().filter(|link| link.epoch == epoch) {
            link.provisional = false;
            self.older = None;
        }
    }

    /// Erases both.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
