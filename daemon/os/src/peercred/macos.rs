//! `LOCAL_PEERCRED`.

use std::io;
use std::os::fd::BorrowedFd;

use nix::sys::socket::{getsockopt, sockopt::LocalPeerCred};

use super::Credentials;

pub(super) fn of(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let peer = getsockopt(&socket, LocalPeerCred)?;
    let groups: Vec<u32> = peer.groups().to_vec();
    let gid = *groups.first().ok_or_else(|| io::Error::other("the kernel names no group"))?;
    Ok(Credentials { uid: peer.uid(), gid, groups })
}
