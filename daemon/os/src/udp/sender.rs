//! Sending from tokio tasks, which wait for room.

use std::io;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Transmit, UdpSocket};

/// A socket whose send buffer tasks can wait for. What is received is none of its business.
#[derive(Debug)]
pub struct UdpSender(AsyncFd<Arc<UdpSocket>>);

impl UdpSender {
    /// Registers the socket at the current tokio runtime; there must be one.
    ///
    /// # Errors
    /// When the runtime cannot watch one more descriptor.
    pub fn new(socket: Arc<UdpSocket>) -> io::Result<Self> {
        // SAFETY: the descriptor is the socket's, always the same one, and open while the `Arc` in the result lives.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::WRITABLE) };
        Ok(Self(registered?))
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<UdpSocket> {
        self.0.get_ref()
    }

    /// Sends a run like [`UdpSocket::send`]; after `WouldBlock`, [`Self::writable`] tells when to try again.
    ///
    /// # Errors
    /// As [`UdpSocket::send`].
    pub fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<usize> {
        self.0.try_io(Interest::WRITABLE, |socket| socket.send(transmit))
    }

    /// Waits until the send buffer has room, or may have.
    ///
    /// # Errors
    /// When the runtime ends.
    pub async fn writable(&self) -> io::Result<()> {
        self.0.writable().await.map(drop)
    }
}
