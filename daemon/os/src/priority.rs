//! How urgent the program's work is.

use std::io;

/// How far it is ahead of ordinary work (nice(2)). The kernel's own network code runs before any program; a packet that
/// waits for the program that it is for is late for nothing.
#[cfg(target_os = "linux")]
const NICE: libc::c_int = -5;

/// Puts the calling thread, and those that it starts from now on, ahead of ordinary work. It takes a right that root has
/// (`CAP_SYS_NICE`).
///
/// # Errors
/// When the system refuses: the threads run like any others then, or as whoever started the program wants it.
#[cfg(target_os = "linux")]
pub fn go_ahead() -> io::Result<()> {
    // SAFETY: it takes no memory, and 0 is the calling thread.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// On macOS launchd decides, by the `ProcessType` of its file.
///
/// # Errors
/// Never.
#[cfg(target_os = "macos")]
pub fn go_ahead() -> io::Result<()> {
    Ok(())
}
