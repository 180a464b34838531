//! `docs/config.md`: files → raw structs → one validated [`Config`], with all errors at once.

pub mod peer;
mod raw;
mod show;
mod source;
mod validate;

pub use peer::{PeerConfig, Psk};
pub use show::Changes;
pub use source::ConfigError;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use net::Multiaddr;
use net::swarm::{Discovery, Serve, Tcp};
use node::handshake::PaddingMode;
use os::tun::TunOffload;
use os::udp::{Offload, UdpOptions};

use raw::Raw;
use source::{Reader, Value};

const DROP_INS: &str = "conf.d";
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
const PADDING: [(&str, PaddingMode); 3] =
    [("16", PaddingMode::Multiple16), ("buckets", PaddingMode::Buckets), ("full", PaddingMode::Full)];
/// The group of the control socket.
const GROUP: &str = if cfg!(target_os = "macos") { "_cryprq" } else { "cryprq" };

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
    /// Further addresses that tickets name.
    pub advertise: Vec<Multiaddr>,
    /// Seconds until keys are rotated.
    pub rotation_seconds: u16,
    /// How we pad.
    pub padding: PaddingMode,
    /// Relays to keep a reservation with, each with its PeerId.
    pub relays: Vec<Multiaddr>,
    /// Whether this host is a relay for its peers.
    pub serve: Serve,
    /// Whether peers are looked for on the same network.
    pub discovery: Discovery,
    /// The group of the control socket.
    pub group: String,
    /// Who may do what.
    pub access: Access,
    /// What goes into the log.
    pub log_level: String,
    /// Whether secrets must be locked into memory.
    pub memory: MemoryRule,
    /// What may carry frames.
    pub carrier: CarrierRule,
    /// Resolvers while all traffic goes through an exit; none for the exit itself.
    pub exit_dns: Vec<IpAddr>,
    /// What only Linux has.
    pub linux: LinuxConfig,
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
    /// The packet-tunnel extension, or whoever plays its part.
    Extension,
    /// Nowhere.
    None,
}

impl Ingress {
    const NAMES: [(&'static str, Self); 3] = [("tun", Self::Tun), ("extension", Self::Extension), ("none", Self::None)];
    /// On macOS the system gives interfaces to extensions only.
    const DEFAULT: Self = if cfg!(target_os = "macos") { Self::Extension } else { Self::Tun };

    /// The name in the configuration and in status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::Extension => "extension",
            Self::None => "none",
        }
    }
}

/// What may carry frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarrierRule {
    /// Datagrams where they pass, streams elsewhere.
    Auto,
    /// Streams only.
    Stream,
}

impl CarrierRule {
    const NAMES: [(&'static str, Self); 2] = [("auto", Self::Auto), ("stream", Self::Stream)];

    const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Stream => "stream",
        }
    }
}

/// What only Linux has. Each offload is used where the kernel offers it; switched off, the daemon does by itself what an
/// older kernel would leave to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinuxConfig {
    /// Marks the daemon's own UDP packets for policy routing; 0 for none.
    pub fwmark: u16,
    /// The routing table of an exit.
    pub table: u16,
    /// The priority of the first of the rules that lead there.
    pub rule_priority: u16,
    /// Super-packets and partial checksums on the TUN device.
    pub tun_offload: bool,
    /// Super-packets of UDP among them.
    pub tun_udp_offload: bool,
    /// Whether the kernel cuts runs of datagrams.
    pub udp_segmentation: bool,
    /// Whether the kernel merges datagrams into runs.
    pub udp_coalescing: bool,
}

impl LinuxConfig {
    /// How the TUN device is made.
    pub const fn tun_options(&self) -> TunOffload {
        match (self.tun_offload, self.tun_udp_offload) {
            (true, true) => TunOffload::Probe,
            (true, false) => TunOffload::ProbeTcp,
            (false, _) => TunOffload::Off,
        }
    }

    /// How UDP sockets are made.
    pub fn udp_options(&self) -> UdpOptions {
        let offload = |wanted| if wanted { Offload::IfOffered } else { Offload::Never };
        UdpOptions {
            mark: (self.fwmark != 0).then_some(self.fwmark.into()),
            interface: None,
            segmentation: offload(self.udp_segmentation),
            coalescing: offload(self.udp_coalescing),
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

/// Everything that is wrong with a configuration, in the order of its places.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    fn sorted(mut errors: Vec<ConfigError>) -> Self {
        ConfigError::sort(&mut errors);
        Self(errors)
    }
}

/// Whether files that others can change are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// They are refused: whoever can change them decides what the daemon does as root.
    Demanded,
    /// They are read, to be looked at only.
    Waived,
}

impl Config {
    /// Reads the file and the `*.toml` in `conf.d` beside it, in order of their names. A missing file is an empty one.
    /// A file or folder that others than root and we can change is refused.
    ///
    /// # Errors
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        Self::read(file, Trust::Demanded)
    }

    /// Reads a file that somebody wants to be checked, wherever it is.
    ///
    /// # Errors
    /// [`ConfigErrors`] with everything that is wrong.
    pub fn check(file: &Path) -> Result<Self, ConfigErrors> {
        if !file.exists() {
            return Err(ConfigErrors(vec![ConfigError::new(
                None,
                file.display().to_string(),
                "there is no such file",
            )]));
        }
        Self::read(file, Trust::Waived)
    }

    fn read(file: &Path, trust: Trust) -> Result<Self, ConfigErrors> {
        let (mut raw, mut errors) = (Raw::default(), Vec::new());
        let folder = file.with_file_name(DROP_INS);
        let folders = file.parent().filter(|parent| !parent.as_os_str().is_empty()).into_iter().chain([&*folder]);
        for folder in folders.filter(|folder| trust == Trust::Demanded && folder.exists()) {
            errors.extend(untrusted(folder));
        }
        for (order, path) in std::iter::once(file.to_owned()).chain(drop_ins(&folder)).enumerate() {
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    errors.push(ConfigError::new(None, path.display().to_string(), error.to_string()));
                    continue;
                }
            };
            if trust == Trust::Demanded {
                errors.extend(untrusted(&path));
            }
            let (next, more) = Reader::read::<Raw>(&text, order, &path.display().to_string());
            raw.merge(next);
            errors.extend(more);
        }
        validate::validate(raw, errors)
    }

    /// Reads one text, as [`Self::load`] reads a file.
    ///
    /// # Errors
    /// [`ConfigErrors`].
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let (raw, errors) = Reader::read::<Raw>(text, 0, "cryprq.toml");
        validate::validate(raw, errors)
    }
}

impl Default for Config {
    /// An empty file.
    fn default() -> Self {
        Self::parse("").expect("everything has a default")
    }
}

fn untrusted(path: &Path) -> Option<ConfigError> {
    let error = os::files::check_trusted(path).err()?;
    Some(ConfigError::new(None, "", error.to_string()))
}

fn drop_ins(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests;
