//! Who is at the other end of a local socket, by the kernel's word. Never a look-up by pid: pids are reused.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

use std::io;
use std::os::fd::AsFd;

/// The identity of a local caller at the moment it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Credentials {
    /// Whether the caller belonged to a group.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// Asks the kernel who connected.
///
/// # Errors
/// When the kernel does not say; the caller then has no rights.
pub fn of(socket: &impl AsFd) -> io::Result<Credentials> {
    #[cfg(target_os = "linux")]
    return linux::of(socket.as_fd());
    #[cfg(target_os = "macos")]
    return macos::of(socket.as_fd());
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_caller_is_who_the_kernel_says() {
        let (a, _b) = UnixStream::pair().unwrap();
        let caller = of(&a).unwrap();
        assert_eq!(caller.uid, crate::users::effective_uid());
        assert!(caller.in_group(nix::unistd::getegid().as_raw()));
    }

    #[test]
    fn attack_02_unreadable_credentials_are_an_error_and_not_root() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(of(&file).is_err());
    }
}
