//! What the fuzz targets run: each reads bytes as the product does, and checks what must hold whatever they are.
//!
//! `tests/fuzz` feeds them from libFuzzer; `tests/tests/corpus.rs` replays the committed corpora in every test run.

#[cfg(feature = "daemon")]
mod config;
mod demux;
mod frames;
mod handshake;
mod local;
mod pairing;

/// What became of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reader took them.
    Accepted,
    /// The reader named what is wrong with them.
    Refused,
}

impl<T, E> From<Result<T, E>> for Outcome {
    fn from(result: Result<T, E>) -> Self {
        if result.is_ok() { Self::Accepted } else { Self::Refused }
    }
}

/// A reader of bytes that come from outside.
pub struct Target {
    /// Its name: of the corpus folder and of the program in `tests/fuzz`.
    pub name: &'static str,
    /// Reads once. It panics when something does not hold that must.
    pub run: fn(&[u8]) -> Outcome,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "m1", run: handshake::m1 },
    Target { name: "m2", run: handshake::m2 },
    Target { name: "m3", run: handshake::m3 },
    Target { name: "m4", run: handshake::m4 },
    Target { name: "tlv", run: handshake::tlv },
    Target { name: "demux", run: demux::demux },
    Target { name: "frame", run: frames::frame },
    Target { name: "inner_ip", run: frames::inner_ip },
    Target { name: "ticket", run: pairing::ticket },
    Target { name: "pair", run: pairing::pair },
    Target { name: "ipc_frame", run: local::ipc_frame },
    Target { name: "json_line", run: local::json_line },
    #[cfg(feature = "daemon")]
    Target { name: "config", run: config::config },
];

/// Runs the target of this name.
///
/// # Panics
/// When there is none, or when what must hold does not.
pub fn run(name: &str, bytes: &[u8]) -> Outcome {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.run)(bytes)
}
