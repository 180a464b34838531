//! The contract between `cryprqd` and everything on the same host: what can be asked, by whom, and what is answered.
//!
//! The control socket speaks JSON lines, binary frames and HTTP, told apart by the first byte (`docs/ipc.md`). The
//! packet-tunnel extension speaks binary frames.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod apple;
pub mod codec;
pub mod error;
pub mod extension;
pub mod frame;
pub mod header;
pub mod hello;
pub mod incoming;
pub mod json;
pub mod launchd;
pub mod limits;
pub mod message;
mod netcheck;
pub mod packets;
pub mod paths;
pub mod prefix;
pub mod printable;
pub mod secret;
mod status;
pub mod verb;
mod watch;
