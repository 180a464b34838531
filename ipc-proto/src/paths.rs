//! Where things are: one constant each, printed by `cryprq paths`.

use std::path::{Path, PathBuf};

/// The control socket's name in the runtime folder.
pub const CONTROL_SOCKET: &str = "control.sock";
/// The name of the packet socket beside it.
pub const TUN_SOCKET: &str = "tun.sock";

/// The places of one system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Sockets; emptied at boot.
    pub runtime: &'static str,
    /// The configuration file.
    pub config: &'static str,
    /// Identity, peers and wishes.
    pub state: &'static str,
}

/// Linux.
pub const LINUX: Paths = Paths { runtime: "/run/cryprq", config: "/etc/cryprq/cryprq.toml", state: "/var/lib/cryprq" };

/// macOS.
pub const MACOS: Paths = Paths {
    runtime: "/var/run/cryprq",
    config: "/Library/Application Support/CrypRQ/cryprq.toml",
    state: "/Library/Application Support/CrypRQ/state",
};

/// This system's.
pub const HERE: Paths = if cfg!(target_os = "macos") { MACOS } else { LINUX };

impl Paths {
    /// The control socket.
    pub fn control_socket(&self) -> PathBuf {
        Path::new(self.runtime).join(CONTROL_SOCKET)
    }

    /// The packet socket.
    pub fn tun_socket(&self) -> PathBuf {
        Path::new(self.runtime).join(TUN_SOCKET)
    }
}
