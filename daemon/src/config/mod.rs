//! `docs/config.md`: files → raw structs → one validated [`Config`], with all errors at once.

pub mod peer;
mod raw;
mod validate;

pub use peer::{PeerConfig, Psk};

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use net::swarm::Tcp;
use node::handshake::PaddingMode;

use raw::Raw;

/// A configuration that may be run.
#[derive(Debug)]
pub struct Config {
    /// Shown to other hosts.
    pub name: String,
    /// Identity, wishes, journal.
    pub state_dir: PathBuf,
    /// The range that our own IPv4 address is taken from.
    pub ipv4: Ipv4Net,
    /// Our own inner IPv4 address.
    pub address: OwnIpv4,
    /// Tunnel MTU in bytes.
    pub mtu: u16,
    /// Where inner packets come from.
    pub ingress: Ingress,
    /// The TUN interface's name.
    pub interface: String,
    /// UDP and TCP port; 0 for any.
    pub port: u16,
    /// Outer addresses to bind.
    pub listen: Vec<IpAddr>,
    /// Whether to listen on TCP.
    pub tcp: Tcp,
    /// Seconds until keys are rotated.
    pub rotation_seconds: u16,
    /// How we pad.
    pub padding: PaddingMode,
    /// The group of the control socket.
    pub group: String,
    /// Who may do what.
    pub access: Access,
    /// What goes into the log.
    pub log_level: String,
    /// Whether secrets must be locked into memory.
    pub memory: MemoryRule,
    /// The peers.
    pub peers: Vec<PeerConfig>,
}

/// Our own inner IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnIpv4 {
    /// The one that follows from our key.
    Derived,
    /// This one.
    Fixed(Ipv4Addr),
    /// None: IPv6 only.
    None,
}

/// Where inner packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// A TUN device of our own.
    Tun,
    /// Nowhere.
    None,
}

impl Ingress {
    /// The name in the configuration and in status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::None => "none",
        }
    }
}

/// What happens when secrets cannot be locked into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryRule {
    /// A warning.
    Warn,
    /// No start.
    Refuse,
}

/// Who may do what over the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who may look.
    pub observe: BTreeSet<Who>,
    /// Who may switch tunnels.
    pub operate: BTreeSet<Who>,
    /// Who may change peers.
    pub admin: BTreeSet<Who>,
}

/// A rule of [`Access`]. Root may always do everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The superuser.
    Root,
    /// A user by name.
    User(String),
    /// The members of a group.
    Group(String),
}

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigErrors(pub Vec<String>);

impl Config {
    /// Reads the file and the `*.toml` in `conf.d` beside it, in order of their names. A missing file is an empty one.
    ///
    /// # Errors
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        let mut raw = Raw::default();
        let mut errors = Vec::new();
        for path in std::iter::once(file.to_owned()).chain(drop_ins(file)) {
            match std::fs::read_to_string(&path) {
                Ok(text) => match toml::from_str::<Raw>(&text) {
                    Ok(next) => raw.merge(next),
                    Err(error) => errors.push(format!("{}: {}", path.display(), error.to_string().trim_end())),
                },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => errors.push(format!("{}: {error}", path.display())),
            }
        }
        if errors.is_empty() { validate::validate(raw) } else { Err(ConfigErrors(errors)) }
    }

    /// Reads one text, as [`Self::load`] reads a file.
    ///
    /// # Errors
    /// [`ConfigErrors`].
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let raw = toml::from_str(text).map_err(|error| ConfigErrors(vec![error.to_string().trim_end().to_owned()]))?;
        validate::validate(raw)
    }
}

fn drop_ins(file: &Path) -> Vec<PathBuf> {
    let folder = file.with_file_name("conf.d");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests;
