//! Our daemon.

use anyhow::{Context, ensure};
use node::epoch::Cipher;

use super::{Available, Contender, End, Role, Running};
use crate::lab::{Daemon, Identity, Peering, programs, until};
use crate::rig::site::{Side, Site};

/// The daemon that takes its limits from its environment, and the variable.
const LAB: &str = "cryprqd-lab";
const VARIABLE: &str = "CRYPRQD_LAB";

/// Our daemon with one cipher.
#[derive(Debug)]
pub struct Cryprqd {
    cipher: Cipher,
    limits: Limits,
    carrier: Carrier,
}

/// What carries the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Datagrams,
    Tcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limits {
    Protocol,
    /// Any number of rotations is answered.
    Eager,
}

impl Cryprqd {
    /// With this cipher: AES-256-GCM is what the shipped daemon agrees on with itself on hardware that has it, and one
    /// that does not announce it agrees on the other.
    pub const fn new(cipher: Cipher) -> Self {
        Self { cipher, limits: Limits::Protocol, carrier: Carrier::Datagrams }
    }

    /// With the cipher of this machine, and answering any number of rotations.
    pub const fn eager() -> Self {
        Self { cipher: Cipher::Aes256Gcm, limits: Limits::Eager, carrier: Carrier::Datagrams }
    }

    /// With the cipher of this machine, where UDP does not pass: frames go on a stream of a TCP connection.
    pub const fn over_tcp() -> Self {
        Self { cipher: Cipher::Aes256Gcm, limits: Limits::Protocol, carrier: Carrier::Tcp }
    }
}

impl Contender for Cryprqd {
    fn name(&self) -> &'static str {
        match (self.carrier, self.cipher) {
            (Carrier::Datagrams, Cipher::ChaCha20Poly1305) => "cryprqd-chacha",
            (Carrier::Datagrams, Cipher::Aes256Gcm) => "cryprqd-aes",
            (Carrier::Tcp, Cipher::ChaCha20Poly1305 | Cipher::Aes256Gcm) => "cryprqd-tcp",
        }
    }

    fn role(&self) -> Role {
        match self.carrier {
            Carrier::Datagrams => Role::Own(self.cipher),
            Carrier::Tcp => Role::Fallback,
        }
    }

    fn available(&self) -> Available {
        match programs() {
            Ok(_) => Available::Yes(concat!("cryprqd ", env!("CARGO_PKG_VERSION")).to_owned()),
            Err(error) => Available::No(format!("{error:#}")),
        }
    }

    fn start(&self, site: &Site) -> anyhow::Result<Running> {
        let ids = [Identity::new(1)?, Identity::new(2)?];
        let address = match self.carrier {
            Carrier::Datagrams => format!("/ip4/{}/udp/41820/quic-v1", Side::B.outer()),
            Carrier::Tcp => format!("/ip4/{}/tcp/41820", Side::B.outer()),
        };
        let start = |side: Side| -> anyhow::Result<Daemon> {
            let (own, other) = (&ids[side as usize], &ids[side.other() as usize]);
            let dialled = [address.as_str()];
            let addresses = match side {
                Side::A => &dialled[..],
                Side::B => &[],
            };
            let peering = [Peering { peer: other, name: side.other().name(), addresses }];
            let daemon = Daemon::new(site.host(side), site.folder().join(side.name()), own, &peering)?;
            let mut daemon = daemon.env("CRYPRQ_LOG", "info");
            daemon = match (self.limits, self.cipher) {
                (Limits::Eager, _) => daemon.run_by(LAB).env(VARIABLE, "eager"),
                (Limits::Protocol, Cipher::ChaCha20Poly1305) => daemon.run_by(LAB).env(VARIABLE, "chacha"),
                (Limits::Protocol, Cipher::Aes256Gcm) => daemon,
            };
            match self.carrier {
                Carrier::Datagrams => {}
                Carrier::Tcp => daemon.prefix("carrier = \"stream\"\n")?,
            }
            daemon.start()?;
            Ok(daemon)
        };
        let daemons = [start(Side::A)?, start(Side::B)?];
        for daemon in &daemons {
            daemon.wait_connected()?;
            // Frames begin on the stream, and move once a probe was answered.
            let kind = match self.carrier {
                Carrier::Datagrams => "udp",
                Carrier::Tcp => "stream",
            };
            until("frames go where they should", || daemon.peer().is_ok_and(|peer| peer["path"]["kind"] == kind))?;
        }
        let agreed = daemons[0].peer()?["cipher"].as_str().context("no cipher is told")?.to_owned();
        ensure!(
            self.limits == Limits::Eager || agreed == self.cipher.name(),
            "the daemons agreed on {agreed}: this processor has no {} in hardware",
            self.cipher.name()
        );
        let ends = daemons.map(|daemon| End::Daemon(Box::new(daemon)));
        Ok(Running::new(ids.map(|id| id.ipv4), Some(ends)))
    }
}
