//! `launch_activate_socket` of <launch.h> (macOS 10.10).

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use socket2::Socket;

unsafe extern "C" {
    fn launch_activate_socket(name: *const c_char, descriptors: *mut *mut c_int, count: *mut libc::size_t) -> c_int;
}

/// The first descriptor that launchd made for the entry `name` of `Sockets`.
pub(super) fn take(name: &str) -> io::Result<Option<OwnedFd>> {
    let name = CString::new(name)?;
    let (mut descriptors, mut count) = (std::ptr::null_mut(), 0);
    // SAFETY: the name ends with a zero, and both places to write to are ours and live through the call.
    let code = unsafe { launch_activate_socket(name.as_ptr(), &mut descriptors, &mut count) };
    match code {
        0 => {}
        // Not started by launchd; no such entry.
        libc::ESRCH | libc::ENOENT => return Ok(None),
        code => return Err(io::Error::from_raw_os_error(code)),
    }
    if descriptors.is_null() {
        return Ok(None);
    }
    // SAFETY: launchd wrote `count` open descriptors there, which are the caller's from now on.
    let mut taken = unsafe { std::slice::from_raw_parts(descriptors, count) }.iter().map(|&descriptor| {
        // SAFETY: as above; each is taken once.
        unsafe { OwnedFd::from_raw_fd(descriptor) }
    });
    let first = taken.next();
    taken.for_each(drop);
    // SAFETY: <launch.h> says that the caller frees the list, and nothing refers to it any more.
    unsafe { libc::free(descriptors.cast()) };
    Ok(first)
}

/// macOS cannot be asked; launchd makes nothing else of a `Sockets` entry than a listener, unless `SockPassive` says so.
pub(super) fn listens(_socket: &Socket) -> bool {
    true
}
