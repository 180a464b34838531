//! What must not be seen outside of the tunnel, and the search for it.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use cryprq_tests::lab::Seen;

const CANARY: usize = 64;
/// The file holds its canary this often, so that at least one lies within one packet.
const EVERY: usize = 16 * 1024;

/// Both ends' inner addresses.
#[derive(Clone, Copy)]
pub(crate) struct Inner {
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Ipv6Addr,
}

/// A file, its URL, and every name that betrays them.
pub(crate) struct Secrets {
    /// The path of the URL; it holds 64 random characters.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    wanted: Vec<(&'static str, Vec<u8>)>,
}

impl Secrets {
    /// A file of random bytes, and what two hosts say about it.
    pub(crate) fn new(length: usize, own: Inner, other: Inner) -> Result<Self> {
        let (mut body, mut canary, mut name) = (vec![0; length], [0; CANARY], [0; CANARY / 2]);
        for bytes in [&mut body[..], &mut canary, &mut name] {
            aws_lc_rs::rand::fill(bytes).ok().context("no randomness")?;
        }
        for place in (0..=length - CANARY).step_by(EVERY) {
            body[place..place + CANARY].copy_from_slice(&canary);
        }
        let name = data_encoding::HEXLOWER.encode(&name);
        let wanted = vec![
            ("the file", canary.to_vec()),
            ("the URL", name.clone().into_bytes()),
            // As they stand in an IPv4 header; four bytes alone occur by chance.
            ("the inner IPv4 addresses", [own.ipv4.octets(), other.ipv4.octets()].concat()),
            ("the inner IPv6 addresses", [own.ipv6.octets(), other.ipv6.octets()].concat()),
        ];
        Ok(Self { path: format!("/{name}/file"), body, wanted })
    }

    /// What the capture shows.
    ///
    /// # Errors
    /// An empty capture proves nothing.
    pub(crate) fn found_in(&self, seen: &Seen) -> Result<Vec<&'static str>> {
        ensure!(seen.frames > 0, "the capture is empty");
        Ok(self.wanted.iter().filter(|(_, bytes)| seen.holds(bytes)).map(|(name, _)| *name).collect())
    }

    /// How many things are searched for.
    pub(crate) fn number(&self) -> usize {
        self.wanted.len()
    }
}
