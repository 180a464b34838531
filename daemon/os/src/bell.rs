//! Waking a thread that waits for descriptors.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use smallvec::SmallVec;

/// Rung by any thread, heard by the one that waits for it.
#[derive(Debug)]
pub struct Bell {
    heard: UnixStream,
    rung: UnixStream,
}

impl Bell {
    /// A silent bell.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let (heard, rung) = UnixStream::pair()?;
        heard.set_nonblocking(true)?;
        rung.set_nonblocking(true)?;
        Ok(Self { heard, rung })
    }

    /// Ends a wait for it, now or next time.
    pub fn ring(&self) {
        // A full buffer means that it rings already.
        let _ = (&self.rung).write(&[1]);
    }

    /// Forgets that it was rung.
    pub fn silence(&self) {
        let mut bytes = [0; 64];
        while (&self.heard).read(&mut bytes).is_ok_and(|read| read == bytes.len()) {}
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.heard.as_fd()
    }
}

/// Ends the waits of one thread, now and for ever.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Woken>);

#[derive(Debug)]
struct Woken {
    woken: AtomicBool,
    bell: Bell,
}

impl Waker {
    /// One that nobody has used.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Woken { woken: AtomicBool::new(false), bell: Bell::new()? })))
    }

    /// Wakes whoever waits.
    pub fn wake(&self) {
        self.0.woken.store(true, Ordering::Release);
        self.0.bell.ring();
    }

    /// Whether [`Self::wake`] was called.
    pub fn is_woken(&self) -> bool {
        self.0.woken.load(Ordering::Acquire)
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }
}

/// How many descriptors are waited for without taking memory: more than a daemon has, but for what it dials from ports of
/// their own.
const FEW: usize = 16;

/// Waits until one of the descriptors can be read, or has failed, or the time is over, if one is given: which of them, in
/// their order.
///
/// # Errors
/// The system's; a signal is none. `InvalidInput` where there is nothing to wait for.
pub fn wait_readable<'f>(
    descriptors: impl Iterator<Item = BorrowedFd<'f>>,
    longest: Option<Duration>,
) -> io::Result<impl Iterator<Item = bool>> {
    let mut descriptors: SmallVec<[_; FEW]> = descriptors.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    if descriptors.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Not below what is asked for: who waits for a time would ask again and again.
    let longest = longest.map(|longest| PollTimeout::try_from(longest.as_millis() + 1).unwrap_or(PollTimeout::MAX));
    wait(&mut descriptors, longest.unwrap_or(PollTimeout::NONE))?;
    Ok(descriptors.into_iter().map(|descriptor| descriptor.any() != Some(false)))
}

/// Waits until a descriptor takes more, or has failed, or the time is over; longer than a minute is a minute.
///
/// # Errors
/// The system's; a signal is none.
pub fn wait_writable(descriptor: BorrowedFd<'_>, longest: Duration) -> io::Result<()> {
    let milliseconds = u16::try_from(longest.as_millis()).unwrap_or(60_000);
    wait(&mut [PollFd::new(descriptor, PollFlags::POLLOUT)], milliseconds.into())
}

fn wait(descriptors: &mut [PollFd<'_>], longest: PollTimeout) -> io::Result<()> {
    match poll(descriptors, longest) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_ends_the_wait_until_it_is_silenced() {
        let (quiet, bell) = (Bell::new().unwrap(), Bell::new().unwrap());
        (0..200).for_each(|_| bell.ring());
        let which = |longest| {
            let descriptors = [quiet.as_fd(), bell.as_fd()].into_iter();
            wait_readable(descriptors, longest).unwrap().collect::<Vec<_>>()
        };
        for _ in 0..2 {
            assert_eq!(which(None), [false, true]);
        }
        bell.silence();
        assert_eq!(which(Some(Duration::ZERO)), [false, false], "the time is over");
        let mut left = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut left, PollTimeout::ZERO), Ok(0));
    }

    #[test]
    fn of_many_descriptors_each_is_told_apart() {
        let bells: Vec<_> = (0..3 * FEW).map(|_| Bell::new().unwrap()).collect();
        for count in [1, 2, FEW - 1, FEW, FEW + 1, 3 * FEW] {
            for rung in [0, count / 2, count - 1] {
                bells[rung].ring();
                let ready = wait_readable(bells[..count].iter().map(Bell::as_fd), None).unwrap();
                let ready: Vec<_> = ready.collect();
                assert_eq!(ready, (0..count).map(|at| at == rung).collect::<Vec<_>>());
                bells[rung].silence();
            }
        }
        let nothing = wait_readable(std::iter::empty(), None).map(drop);
        assert_eq!(nothing.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn more_rings_than_a_buffer_holds_block_nobody() {
        let bell = Bell::new().unwrap();
        (0..1_000_000).for_each(|_| bell.ring());
        bell.silence();
        assert!(wait_writable(bell.rung.as_fd(), Duration::from_secs(60)).is_ok());
    }
}
