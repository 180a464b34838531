//! What the operating system does for the daemon: the TUN device, the UDP socket, addresses and routes, who is calling,
//! locked memory, start-up hardening, files that are never half written, and the journal of changes to undo.
//!
//! This is the only crate with `unsafe` code and with `cfg(target_os)`. Each module compiles on Linux and on macOS; what
//! macOS does another way (the TUN belongs to the packet-tunnel extension there) answers `Unsupported`.

#![warn(missing_docs)]

pub mod activation;
pub mod bell;
pub mod clock;
pub mod files;
pub mod firewall;
pub mod harden;
pub mod heap;
pub mod journal;
pub mod memory;
pub mod network;
pub mod peercred;
pub mod processor;
pub mod random;
pub mod resolv_conf;
pub mod resolved;
pub mod sockets;
pub mod sysctl;
pub mod tun;
pub mod udp;
pub mod users;
pub mod xpc;
