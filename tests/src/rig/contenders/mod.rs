//! What is measured: our daemon, the VPNs that a user would pick instead, the bare loop, and the cable itself.

mod bare;
mod cryprqd;
mod openvpn;
mod quincy;
mod relayed;
mod wireguard;

use bare::BareLoop;
pub use cryprqd::Cryprqd;
use openvpn::OpenVpn;
use quincy::Quincy;
use relayed::Relayed;
pub use wireguard::WIREGUARD_GO;
use wireguard::WireGuard;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use node::epoch::Cipher;

use super::site::{Cores, Side, Site};
use crate::lab::{Daemon, Process, ping, until, until_within};

/// How long one echo may take while a tunnel comes up.
const ECHO: Duration = Duration::from_millis(500);
/// How long a program may take to end by itself.
const FAREWELL: Duration = Duration::from_secs(2);

/// Something that carries packets between two hosts.
pub trait Contender {
    /// Its name in tables and on the command line.
    fn name(&self) -> &'static str;

    /// What it is compared as.
    fn role(&self) -> Role;

    /// Its version, or why it cannot be run and what mends that.
    fn available(&self) -> Available;

    /// Starts both ends.
    ///
    /// # Errors
    /// What did not start.
    fn start(&self, site: &Site) -> anyhow::Result<Running>;

    /// Two new hosts, and this between them, once packets pass.
    ///
    /// # Errors
    /// When there are no hosts, something does not start, or nothing passes; with what the programs said.
    fn up(&self, cores: Cores) -> anyhow::Result<(Site, Running)> {
        let site = Site::new(cores)?;
        let running = self.start(&site).with_context(|| site.logs())?;
        running.wait(&site)?;
        Ok((site, running))
    }
}

/// What a contender is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// No VPN at all.
    Ceiling,
    /// The least that a tunnel has to do, with a fixed key.
    Bare(Cipher),
    /// Our daemon.
    Own(Cipher),
    /// Our daemon where the network allows it less; reported without a bar.
    Fallback,
    /// What a user would pick instead.
    Rival,
}

/// Whether a contender can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Available {
    /// In this version.
    Yes(String),
    /// For this reason not.
    No(String),
}

/// Both ends of a contender. They end when this is dropped.
pub struct Running {
    /// Where the sides are reached through it.
    inner: [Ipv4Addr; 2],
    ends: Option<[End; 2]>,
    /// Who carries packets between them, where somebody does.
    between: Option<Box<Daemon>>,
}

/// One end.
enum End {
    /// A program.
    Program(Process),
    /// Our daemon.
    Daemon(Box<Daemon>),
}

impl Running {
    const fn new(inner: [Ipv4Addr; 2], ends: Option<[End; 2]>) -> Self {
        Self { inner, ends, between: None }
    }

    /// The address of a side inside.
    pub const fn inner(&self, side: Side) -> Ipv4Addr {
        self.inner[side as usize]
    }

    /// The process of each end; none without a VPN.
    pub fn pids(&self) -> Option<[u32; 2]> {
        let [a, b] = self.ends.as_ref()?;
        let pid = |end: &End| match end {
            End::Program(process) => Some(process.id()),
            End::Daemon(daemon) => daemon.pid(),
        };
        Some([pid(a)?, pid(b)?])
    }

    /// The processes of both ends and of what is between them.
    pub fn all_pids(&self) -> Vec<u32> {
        let between = self.between.as_ref().and_then(|daemon| daemon.pid());
        self.pids().into_iter().flatten().chain(between).collect()
    }

    /// Our daemon at a side, where it is one.
    pub fn daemon(&self, side: Side) -> Option<&Daemon> {
        match &self.ends.as_ref()?[side as usize] {
            End::Daemon(daemon) => Some(daemon),
            End::Program(_) => None,
        }
    }

    /// Waits until both sides reach each other.
    ///
    /// # Errors
    /// When they do not in time.
    pub fn wait(&self, site: &Site) -> anyhow::Result<()> {
        for side in Side::BOTH {
            let to = self.inner(side.other()).into();
            until("the far side answers", || ping(site.host(side), to, ECHO).is_ok()).with_context(|| site.logs())?;
        }
        Ok(())
    }
}

impl Drop for Running {
    /// Asks before it kills, so that a program takes its control socket with it.
    fn drop(&mut self) {
        for end in self.ends.iter_mut().flatten() {
            match end {
                End::Program(process) if process.signal(Signal::SIGTERM).is_ok() => {
                    let _ = until_within("it ends", FAREWELL, || process.ended().is_some());
                }
                End::Program(_) | End::Daemon(_) => {}
            }
        }
    }
}

/// Where programs are looked for.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// The folder that `cargo install --root` was given.
    pub installed: Option<PathBuf>,
    /// The bare loop.
    pub bare_loop: Option<PathBuf>,
}

impl Programs {
    /// A program by name: the installed one, else one of the system.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let system = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        let installed = self.installed.iter().map(|root| root.join("bin"));
        installed.chain(system).map(|folder| folder.join(name)).find(|program| program.is_file())
    }

    /// Name and version of a program: as it was installed, else as it says itself.
    fn version(&self, name: &str, mend: &str) -> Available {
        let Some(program) = self.find(name) else { return Available::No(format!("there is no {name}: {mend}")) };
        let list = self.installed.as_ref().and_then(|root| std::fs::read_to_string(root.join(".crates.toml")).ok());
        let version = list.as_deref().and_then(|list| installed(list, name)).or_else(|| told(&program));
        Available::Yes(version.unwrap_or_else(|| name.to_owned()))
    }
}

/// What cargo's list of installed packages says of one.
fn installed(list: &str, name: &str) -> Option<String> {
    let line = list.lines().find_map(|line| line.strip_prefix('"')?.strip_prefix(name)?.strip_prefix(' '))?;
    Some(format!("{name} {}", line.split_whitespace().next()?))
}

/// What a program says of itself: name and version come first.
fn told(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let words: Vec<&str> = text.lines().next()?.split_whitespace().take(2).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// The cable without a VPN.
#[derive(Debug)]
pub struct Raw;

impl Contender for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn role(&self) -> Role {
        Role::Ceiling
    }

    fn available(&self) -> Available {
        Available::Yes("virtual cable, no VPN".to_owned())
    }

    fn start(&self, _site: &Site) -> anyhow::Result<Running> {
        Ok(Running::new(Side::BOTH.map(Side::outer), None))
    }
}

/// All of them, in the order of the table.
pub fn all(programs: &Programs) -> Vec<Box<dyn Contender>> {
    let ciphers = [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm];
    let mut all: Vec<Box<dyn Contender>> = vec![Box::new(Raw)];
    all.extend(ciphers.map(|cipher| Box::new(BareLoop::new(programs, cipher)) as Box<dyn Contender>));
    all.extend(ciphers.map(|cipher| Box::new(Cryprqd::new(cipher)) as Box<dyn Contender>));
    all.push(Box::new(Cryprqd::over_tcp()));
    all.push(Box::new(Relayed));
    all.extend(WireGuard::both(programs).map(|one| Box::new(one) as Box<dyn Contender>));
    all.extend(Quincy::both(programs).map(|one| Box::new(one) as Box<dyn Contender>));
    all.extend(OpenVpn::both(programs).map(|one| Box::new(one) as Box<dyn Contender>));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_package_is_the_one_that_cargo_installed() {
        let list = "[v1]\n\"quincy-server 3.1.0 (registry+https://example.org)\" = [\"quincy-server\"]\n";
        assert_eq!(installed(list, "quincy-server").as_deref(), Some("quincy-server 3.1.0"));
        assert_eq!(installed(list, "quincy"), None);
    }

    #[test]
    fn what_is_not_there_is_told_with_what_mends_it() {
        let programs = Programs { installed: Some("/nonexistent".into()), bare_loop: None };
        let mend = "apt-get install it";
        assert_eq!(programs.version("no-such-vpn", mend), Available::No(format!("there is no no-such-vpn: {mend}")));
        let missing: Vec<_> =
            all(&programs).iter().filter(|one| one.name().starts_with("bare")).map(|one| one.available()).collect();
        assert!(missing.iter().all(|what| matches!(what, Available::No(reason) if reason.contains("--bare-loop"))));
    }
}
