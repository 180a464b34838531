//! sd_listen_fds(3): descriptors from 3 on, counted and named in the environment, for the process that it names.

use std::env;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use socket2::Socket;

const FIRST: RawFd = 3;

/// A copy of the descriptor called `name`.
pub(super) fn take(name: &str) -> io::Result<Option<OwnedFd>> {
    let variable = |name| env::var(name).unwrap_or_default();
    let found = place(name, [&variable("LISTEN_PID"), &variable("LISTEN_FDS"), &variable("LISTEN_FDNAMES")]);
    found.map(|place| copy(FIRST + place)).transpose()
}

pub(super) fn listens(socket: &Socket) -> bool {
    socket.is_listener().unwrap_or(false)
}

/// Which of the descriptors `name` is.
fn place(name: &str, [pid, count, names]: [&str; 3]) -> Option<RawFd> {
    if pid.parse() != Ok(std::process::id()) {
        return None;
    }
    let count = count.parse().ok()?;
    let place = RawFd::try_from(names.split(':').position(|given| given == name)?).ok()?;
    (place < count).then_some(place)
}

fn copy(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: `fcntl` may be asked about any number; one that is not open is an error.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, as was just seen, and nothing in this process closes it: the service manager gave it, and all
    // that is ever owned here are copies.
    unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descriptors_for_this_process_that_are_counted_and_named_are_taken() {
        let own = std::process::id().to_string();
        assert_eq!(place("Control", [&own, "1", "Control"]), Some(0));
        assert_eq!(place("Control", [&own, "2", "other:Control"]), Some(1));
        for told in [
            ["1", "1", "Control"],
            ["", "1", "Control"],
            [&own, "0", "Control"],
            [&own, "1", "other:Control"],
            [&own, "1", "other"],
            [&own, "1", ""],
            [&own, "-1", "Control"],
            [&own, "many", "Control"],
        ] {
            assert_eq!(place("Control", told), None, "{told:?}");
        }
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_an_error() {
        assert_eq!(copy(RawFd::MAX).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }
}
