//! Waiting for room to send, from tokio tasks.

use std::io;
use std::os::fd::AsFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::UdpSocket;

impl UdpSocket {
    /// Waits until the send buffer has room, or may have; there must be a tokio runtime.
    ///
    /// The runtime watches the socket only meanwhile: one that is watched wakes it each time that a datagram has left,
    /// whoever sent it, and bulk data would wake it thousands of times a second.
    ///
    /// # Errors
    /// When the process has no descriptor left, or the runtime ends.
    pub async fn writable(&self) -> io::Result<()> {
        // Another descriptor of the same socket, since several tasks may wait.
        let another = self.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor is owned by what it is registered as, always the same one, and open while that lives.
        let watched =
            unsafe { AsyncFd::register_with_interest(another, Interest::WRITABLE) }.map_err(io::Error::from)?;
        watched.writable().await.map(drop)
    }
}
