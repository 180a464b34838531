//! What a daemon that holds keys does before its first thread (protocol.md 9).

use std::io;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};

/// Removes what could leak keys: core dumps, debuggers, key logs, loose file modes; and makes a panic abort without
/// printing what it carried.
///
/// Call it first in `main`, before any thread runs.
///
/// # Errors
/// When the system refuses to forbid core dumps or debuggers.
pub fn at_start() -> io::Result<()> {
    // SAFETY: the caller runs no other thread yet, so nobody reads the environment at the same time.
    unsafe { std::env::remove_var("SSLKEYLOGFILE") };
    umask(Mode::from_bits_truncate(0o077));
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    forbid_debuggers()?;
    std::panic::set_hook(Box::new(|info| {
        // The payload may hold anything; the place is enough to find the fault.
        match info.location() {
            Some(place) => eprintln!("cryprqd: internal fault at {place}: stopping; the next start cleans up"),
            None => eprintln!("cryprqd: internal fault: stopping; the next start cleans up"),
        }
        std::process::abort();
    }));
    Ok(())
}

#[cfg(target_os = "linux")]
fn forbid_debuggers() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::prctl::set_no_new_privs()?;
    Ok(())
}

#[cfg(target_os = "macos")]
fn forbid_debuggers() -> io::Result<()> {
    // SAFETY: PT_DENY_ATTACH takes no address and no data; it only marks this process.
    match unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, std::ptr::null_mut(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives up every capability but CAP_NET_ADMIN (the TUN device, its addresses and routes). Files that belong to root
/// stay ours by ownership. Threads that start later inherit the reduced set, so call it before any starts.
///
/// Nothing is asked of the kernel where a service manager left no more than that: its filter may forbid the question.
///
/// # Errors
/// When the kernel refuses.
#[cfg(target_os = "linux")]
pub fn drop_capabilities() -> io::Result<()> {
    use caps::{CapSet, Capability, CapsHashSet};
    let keep: CapsHashSet = [Capability::CAP_NET_ADMIN].into_iter().collect();
    let held = caps::read(None, CapSet::Permitted).map_err(io::Error::other)?;
    let kept: CapsHashSet = held.intersection(&keep).copied().collect();
    caps::clear(None, CapSet::Ambient).map_err(io::Error::other)?;
    for (set, wanted) in
        [(CapSet::Effective, &kept), (CapSet::Permitted, &kept), (CapSet::Inheritable, &CapsHashSet::new())]
    {
        if caps::read(None, set).map_err(io::Error::other)? != *wanted {
            caps::set(None, set, wanted).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// macOS has no capabilities; the hardened runtime is the installer's.
///
/// # Errors
/// Never.
#[cfg(target_os = "macos")]
pub fn drop_capabilities() -> io::Result<()> {
    Ok(())
}
