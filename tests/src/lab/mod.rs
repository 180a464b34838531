//! Hosts on one machine: network namespaces joined by virtual cables, each with a daemon of its own, and what is done
//! with them: ping, HTTP, numbered packets, captures.
//!
//! Namespaces are entered by threads, so nothing here needs `ip`; children inherit the namespaces of the thread that
//! starts them.

mod capture;
mod circuit;
mod daemon;
mod echo;
mod flow;
mod host;
mod http;
mod iperf;
mod lying_relay;
mod mirror;
mod nat;
mod pair;
mod ping;
mod process;
mod shuttle;
mod told;
mod transfer;
mod usage;
mod wire;

pub use capture::{Capture, Seen};
pub use circuit::Tamper;
pub use daemon::{Daemon, Identity, Peering, programs, until, until_within};
pub use echo::echo;
pub use flow::{Flow, Tally};
pub(crate) use host::netlink;
pub use host::{Host, PROGRAMS};
pub use http::{Download, Server, digest, fetch};
pub use iperf::{iperf3, iperf3_server};
pub use lying_relay::{AfterGrant, Asked, Circuit, Lies, LyingRelay};
pub use mirror::Mirror;
pub use nat::{Internet, Nat, Router};
pub use pair::{Pair, carrier, go_by_carrier, goes_by_carrier};
pub use ping::ping;
pub use process::{Process, clean_up_when_interrupted};
pub use shuttle::{SHUTTLED, Shuttle};
pub use told::{Told, lines};
pub use transfer::{Transfer, pattern};
pub use usage::{cpu, from_ticks, memory};
pub use wire::{Beyond, SPARE, WIRE, join, join_beyond, join_by_spare, switch};
