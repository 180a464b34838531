//! A simulated network of hosts that run the product's core: real tunnels, receivers, routers and sealers on virtual
//! time, joined by lossy links and by streams that break.
//!
//! One number reproduces a run: every delay, loss, key and packet is drawn from its seed. A small reference model, the
//! [`ledger`], knows what was sent and what the network did to it, and stops the run at the first frame that the core
//! treats differently from `docs/protocol.md`:
//!
//! * nothing is delivered twice, nothing that nobody sent, and nothing whose source is not the sender's;
//! * what the network brings is opened, unless one of the protocol's own reasons speaks against it;
//! * no nonce is used twice under one key, no key is older than its hard limit, and nobody goes back to an older one;
//! * a peer has at most three receive keys, and no receiver index is leaked.
//!
//! [`world`] is the clock and the queue of what happens next; [`host`] is what the daemon is to its core; `streams`
//! carries handshakes and `frames` data; [`chaos`] is what goes wrong, and [`random`] a whole run of it.
//! [`scenarios`] are runs with one thing on their mind.

pub mod addressing;
pub mod chaos;
pub mod dice;
mod frames;
pub mod host;
pub mod ledger;
pub mod link;
pub mod quick;
pub mod random;
pub mod runner;
pub mod scenarios;
pub mod seeded;
mod streams;
pub mod world;

pub use chaos::Action;
pub use host::{HostSetup, Setup, Via};
pub use link::LinkShape;
pub use streams::{Fate, Recorded};
pub use world::World;

use std::time::Duration;

/// Milliseconds.
pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Seconds.
pub const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}
