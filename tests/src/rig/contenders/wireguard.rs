//! WireGuard in user space: wireguard-go and boringtun. Both are told what to do over the socket that the WireGuard
//! project calls its cross-platform userspace interface.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::{Context, ensure};
use data_encoding::HEXLOWER;

use super::quincy::Keys;
use super::{Available, Contender, End, Programs, Role, Running};
use crate::lab::until;
use crate::rig::site::{Segments, Side, Site};

/// The name of the one that the bars are set against.
pub const WIREGUARD_GO: &str = "wireguard-go";
const BORINGTUN: &str = "boringtun";
const PORT: u16 = 51_820;

/// One implementation.
#[derive(Debug)]
pub(super) struct WireGuard {
    programs: Programs,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Go,
    Boringtun,
}

impl WireGuard {
    /// Both implementations.
    pub(super) fn both(programs: &Programs) -> [Self; 2] {
        [Kind::Go, Kind::Boringtun].map(|kind| Self { programs: programs.clone(), kind })
    }

    fn command(&self, device: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(self.programs.find(self.kind.program()).context("the program is gone")?);
        match self.kind {
            Kind::Go => {
                command.args(["-f", device]).env("WG_PROCESS_FOREGROUND", "1").env("LOG_LEVEL", "error");
            }
            Kind::Boringtun => {
                command.args([device, "--foreground", "--disable-drop-privileges", "--verbosity", "error"]);
            }
        }
        Ok(command)
    }
}

impl Kind {
    const fn program(self) -> &'static str {
        match self {
            Self::Go => "wireguard-go",
            Self::Boringtun => "boringtun-cli",
        }
    }
}

impl Contender for WireGuard {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Go => WIREGUARD_GO,
            Kind::Boringtun => BORINGTUN,
        }
    }

    fn role(&self) -> Role {
        Role::Rival
    }

    fn available(&self) -> Available {
        let mend = match self.kind {
            Kind::Go => "apt-get install wireguard-go",
            Kind::Boringtun => "cargo install boringtun-cli",
        };
        self.programs.version(self.kind.program(), mend)
    }

    fn start(&self, site: &Site) -> anyhow::Result<Running> {
        // The sockets of all hosts lie in one folder.
        let device = |side: Side| format!("wg{}{}", side.name(), std::process::id());
        let keys = [Keys::new()?, Keys::new()?];
        let start = |side: Side| site.start(side, side.name(), self.command(&device(side))?).map(End::Program);
        let ends = [start(Side::A)?, start(Side::B)?];
        for side in Side::BOTH {
            let (own, other) = (&keys[side as usize], &keys[side.other() as usize]);
            let wishes = format!(
                "set=1\nprivate_key={}\nlisten_port={PORT}\npublic_key={}\nendpoint={}:{PORT}\nallowed_ip={}/32\n\n",
                HEXLOWER.encode(&own.private),
                HEXLOWER.encode(&other.public),
                side.other().outer(),
                side.other().inner()
            );
            tell(&device(side), &wishes)?;
            site.configure(side, &device(side), Segments::Any)?;
        }
        Ok(Running::new(Side::BOTH.map(Side::inner), Some(ends)))
    }
}

fn tell(device: &str, wishes: &str) -> anyhow::Result<()> {
    let socket = format!("/var/run/wireguard/{device}.sock");
    let mut stream = None;
    until("the WireGuard program listens", || {
        stream = UnixStream::connect(&socket).ok();
        stream.is_some()
    })?;
    let mut stream = stream.context("no socket")?;
    stream.write_all(wishes.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.trim() == "errno=0", "the WireGuard program refused: {}", answer.trim());
    Ok(())
}
