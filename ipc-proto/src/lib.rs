//! The contract between `cryprqd` and everything on the same host: what can be asked, by whom, and what is answered.
//!
//! The control socket speaks JSON lines: one request object a line, one reply object a line (`docs/ipc.md`).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod error;
pub mod json;
pub mod limits;
pub mod message;
pub mod paths;
pub mod secret;
pub mod verb;
