//! `cryprqd`: configuration, the control task that owns everything, the control socket.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod config;
pub mod ipc;
pub mod logging;
pub mod names;
pub mod run;
pub mod service;
pub mod state_dir;
pub mod supervisor;
pub mod system;
