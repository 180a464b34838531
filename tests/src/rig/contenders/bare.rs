//! The bare loop: a TUN and a socket with offload on both, a fixed key, no handshake. It is not part of this
//! repository; whoever measures names a program that takes these arguments:
//! `TUN-NAME BIND-IP:PORT PEER-IP:PORT chacha|aes offload`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use node::epoch::Cipher;

use super::{Available, Contender, End, Programs, Role, Running};
use crate::rig::site::{Segments, Side, Site};

const DEVICE: &str = "bare0";
const PORT: u16 = 7000;

/// The bare loop with one cipher.
#[derive(Debug)]
pub(super) struct BareLoop {
    program: Option<PathBuf>,
    cipher: Cipher,
}

impl BareLoop {
    /// With this cipher.
    pub(super) fn new(programs: &Programs, cipher: Cipher) -> Self {
        Self { program: programs.bare_loop.clone(), cipher }
    }
}

impl Contender for BareLoop {
    fn name(&self) -> &'static str {
        match self.cipher {
            Cipher::ChaCha20Poly1305 => "bare-chacha",
            Cipher::Aes256Gcm => "bare-aes",
        }
    }

    fn role(&self) -> Role {
        Role::Bare(self.cipher)
    }

    fn available(&self) -> Available {
        match &self.program {
            Some(program) if program.is_file() => Available::Yes("fixed key, no handshake".to_owned()),
            Some(program) => Available::No(format!("{} is no program", program.display())),
            None => Available::No("none was given: --bare-loop PROGRAM".to_owned()),
        }
    }

    fn start(&self, site: &Site) -> anyhow::Result<Running> {
        let program = self.program.as_ref().context("no bare loop was given")?;
        let cipher = match self.cipher {
            Cipher::ChaCha20Poly1305 => "chacha",
            Cipher::Aes256Gcm => "aes",
        };
        let start = |side: Side| {
            let mut command = Command::new(program);
            let [own, other] = [side, side.other()].map(|side| format!("{}:{PORT}", side.outer()));
            command.args([DEVICE, &own, &other, cipher, "offload"]);
            site.start(side, side.name(), command).map(End::Program)
        };
        let ends = [start(Side::A)?, start(Side::B)?];
        for side in Side::BOTH {
            site.configure(side, DEVICE, Segments::OneSend)?;
        }
        Ok(Running::new(Side::BOTH.map(Side::inner), Some(ends)))
    }
}
