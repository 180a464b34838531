//! How soon a thread gets the processor.

use std::io;

/// Has the calling thread run soon when there is work for it, as a thread that packets wait for should.
///
/// On Linux it asks for turns that are a little shorter than those of others (sched(7), `sched_runtime` of an ordinary
/// thread; since 6.12, earlier kernels know of none): whoever has one of theirs lets it in. What it gets in all is its share
/// and no more, unlike with a nice value. On macOS it takes the class of work that a user waits for.
///
/// # Errors
/// When the system refuses: it runs like any other then.
#[cfg(target_os = "linux")]
pub fn run_soon() -> io::Result<()> {
    let mut attributes = attributes()?;
    // Whoever started the program may want its threads to run by another rule.
    if attributes.sched_policy != libc::SCHED_OTHER as u32 || attributes.sched_runtime == 0 {
        return Ok(());
    }
    // How much shorter matters little: with 0.5 instead of 1.2 of 1.4 ms less passes, and waits as long.
    attributes.sched_runtime -= attributes.sched_runtime / 8;
    // SAFETY: it reads `attributes`, which says its own length; 0 is the calling thread.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The same on macOS.
///
/// # Errors
/// When the system refuses: it runs like any other then.
#[cfg(target_os = "macos")]
pub fn run_soon() -> io::Result<()> {
    // SAFETY: it takes no memory and concerns the calling thread.
    match unsafe { libc::pthread_set_qos_class_self_np(libc::qos_class_t::QOS_CLASS_USER_INTERACTIVE, 0) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// What the kernel says of the calling thread.
#[cfg(target_os = "linux")]
fn attributes() -> io::Result<libc::sched_attr> {
    // SAFETY: all-zero bytes are a valid `sched_attr`.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    let length = size_of_val(&attributes);
    // SAFETY: it writes `length` bytes at most, which `attributes` has.
    match unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, length, 0) } {
        0 => Ok(attributes),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_to_run_soon_has_short_turns_and_is_the_same_otherwise() {
        std::thread::spawn(|| {
            let before = attributes().unwrap();
            run_soon().unwrap();
            let after = attributes().unwrap();
            let shorter = after.sched_runtime < before.sched_runtime;
            assert!(shorter || before.sched_runtime == 0, "a kernel that has turns gives shorter ones");
            assert_eq!((before.sched_policy, before.sched_nice), (after.sched_policy, after.sched_nice));
        })
        .join()
        .unwrap();
    }
}
