//! `SO_PEERCRED` and `SO_PEERGROUPS`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::Credentials;

const MAX_GROUPS: usize = 65_536;

pub(super) fn of(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let peer = getsockopt(&socket, PeerCredentials)?;
    // A socket that nobody connected has pid 0 and, in some kernels, uid 0: no caller, and so no rights.
    if peer.pid() == 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the kernel names no caller"));
    }
    Ok(Credentials { uid: peer.uid(), gid: peer.gid(), groups: groups(socket)? })
}

fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut length = libc::socklen_t::try_from(size_of_val(groups.as_slice())).unwrap_or(libc::socklen_t::MAX);
        // SAFETY: the buffer is writable for `length` bytes, `length` is a valid in-out pointer, and both outlive the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result == 0 {
            groups.truncate(length as usize / size_of::<libc::gid_t>());
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || groups.len() >= MAX_GROUPS {
            return Err(error);
        }
        groups.resize(groups.len() * 4, 0);
    }
}
