//! systemd-resolved, where this host's names are asked of it: all of them are asked at resolvers of one interface then.
//!
//! What reaches it over the system bus is the index of that interface, addresses, and one domain that never changes; the
//! bus is at a fixed place, whatever the environment says, and no answer is read but for refusals. What resolved was told
//! goes with the interface.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

pub use platform::{ask_at, ping, revert};

use crate::resolv_conf::name_servers;

/// What a `resolv.conf` names that leads to resolved.
const STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
/// The file that resolved keeps for that, which is not there before it ran.
const STUB_FILE: &str = "systemd/resolve/stub-resolv.conf";

/// Why resolved did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ResolvedError {
    /// There is no system bus, or nobody answers to its name.
    #[error("there is no systemd-resolved on the system bus: {0}")]
    Absent(String),
    /// It does not know an interface, or not yet.
    #[error("systemd-resolved does not know the interface")]
    NoLink,
    /// It says no.
    #[error("systemd-resolved refuses {call}: {error}")]
    Refused {
        /// What was asked for.
        call: &'static str,
        /// What it says.
        error: String,
    },
    /// It says nothing.
    #[error("systemd-resolved does not answer within {} s", .0.as_secs())]
    Silent(Duration),
}

/// Whether programs that read this `resolv.conf` ask resolved, and nobody else.
pub fn is_named_in(resolv_conf: &Path) -> bool {
    match name_servers(resolv_conf) {
        Ok(servers) => !servers.is_empty() && servers.iter().all(|server| *server == STUB),
        Err(_) => std::fs::read_link(resolv_conf).is_ok_and(|target| target.ends_with(STUB_FILE)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn resolved_is_named_by_its_stub_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        for (text, expected) in [
            ("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n", true),
            ("nameserver 127.0.0.53\nnameserver 192.0.2.53\n", false),
            ("nameserver 192.0.2.53\n", false),
            ("# nameserver 127.0.0.53\n", false),
            ("", false),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(is_named_in(&path), expected, "{text:?}");
        }
    }

    #[test]
    fn a_link_to_its_stub_names_it_before_it_ran_and_no_other_dangling_link_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        assert!(!is_named_in(&path), "there is no file");
        for (target, expected) in [
            ("../nowhere/systemd/resolve/stub-resolv.conf", true),
            ("../nowhere/systemd/resolve/resolv.conf", false),
            ("../nowhere/other-systemd/resolve/stub-resolv.conf", false),
        ] {
            symlink(target, &path).unwrap();
            assert_eq!(is_named_in(&path), expected, "{target}");
            fs::remove_file(&path).unwrap();
        }
    }
}
