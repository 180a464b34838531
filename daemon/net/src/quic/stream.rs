//! A bidirectional QUIC stream as a substream of libp2p.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use quinn::{RecvStream, SendStream, VarInt};

/// A substream. Dropping it before it was closed resets it, so that the peer does not take what came for all.
#[derive(Debug)]
pub struct Stream {
    send: SendStream,
    receive: RecvStream,
    /// How closing ended, once it did: libp2p may close twice.
    closed: Option<Result<(), io::ErrorKind>>,
}

impl Stream {
    pub(super) fn new((send, receive): (SendStream, RecvStream)) -> Self {
        Self { send, receive, closed: None }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.closed.is_none() {
            // An error means that there is nothing to reset any more.
            let _ = self.send.reset(VarInt::from_u32(0));
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        AsyncRead::poll_read(Pin::new(&mut self.receive), cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.send), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(closed) = self.closed {
            return Poll::Ready(closed.map_err(Into::into));
        }
        let closed = std::task::ready!(AsyncWrite::poll_close(Pin::new(&mut self.send), cx));
        self.closed = Some(closed.as_ref().copied().map_err(io::Error::kind));
        Poll::Ready(closed)
    }
}
