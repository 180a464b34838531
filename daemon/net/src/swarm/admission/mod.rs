//! Who may connect, and who may speak what (protocol.md 10).
//!
//! * [`Gate`] bounds what comes in by TCP and relays until it has shown whose it is, and then lets members in, and guests
//!   as far as pairing needs it: strangers while a ticket is kept, and the inviter that we join. It carries
//!   `/cryprq/pair/1`, the only protocol that a guest's connection has.
//! * [`MembersOnly`] keeps every other protocol off the connections of guests, and all but what a relay needs off those of
//!   relays that are no peers.
//!
//! A connection stays what it was when it was made: who becomes a member by pairing connects anew.

mod boxed;
mod gate;
mod handler;
mod members;
mod pending;

pub use gate::Guests;
pub(super) use gate::{Gate, GateEvent, Opened};
pub(super) use members::{Circle, Members, MembersOnly};
pub(super) use pending::MAX_PENDING;
