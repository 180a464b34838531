//! Epochs: the keys of one handshake at work (protocol.md 7).
//!
//! Per epoch there is one [`Sealer`] (key and atomic counter, for any sending loop) and one [`Opener`] (key and
//! replay window, owned by one receiving loop). Both share an [`EpochState`] with the control task, which can end
//! the epoch under them.

mod aead;
mod limits;
mod opener;
mod replay;
mod sealer;

pub use aead::{Aead, AeadFailed, AwsLcAead, Cipher, PortableAead};
pub use limits::{Bound, Limits};
pub use opener::{FrameSource, Opened, Opener};
pub use replay::{Replay, WINDOW};
pub use sealer::{Outgoing, Sealed, Sealer};

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Names an epoch of one tunnel; later epochs have larger numbers, and none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId(pub u64);

/// A limit of section 7.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit {
    /// Rotate now.
    Soft,
    /// Nothing is sealed or opened any more.
    Hard,
}

/// What the control task and the packet loops share about an epoch.
#[derive(Debug)]
pub struct EpochState {
    id: EpochId,
    dead: AtomicBool,
    soft_limit: AtomicBool,
    failed_opens: AtomicU64,
}

impl EpochState {
    /// A living epoch.
    pub const fn new(id: EpochId) -> Self {
        Self { id, dead: AtomicBool::new(false), soft_limit: AtomicBool::new(false), failed_opens: AtomicU64::new(0) }
    }

    /// Which epoch.
    pub const fn id(&self) -> EpochId {
        self.id
    }

    /// Ends the epoch: nothing is sealed or opened any more.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// Whether it was ended.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Whether a soft limit of messages, bytes or failed opens was reached: rotate now.
    pub fn soft_limit_reached(&self) -> bool {
        self.soft_limit.load(Ordering::Relaxed)
    }

    /// The hardest limit that was reached, if any.
    pub(crate) fn limit(&self) -> Option<Limit> {
        if self.is_dead() { Some(Limit::Hard) } else { self.soft_limit_reached().then_some(Limit::Soft) }
    }

    /// Notes a soft limit.
    pub(crate) fn note_soft_limit(&self) {
        self.soft_limit.store(true, Ordering::Relaxed);
    }
}
