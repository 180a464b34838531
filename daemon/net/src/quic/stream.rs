//! A bidirectional QUIC stream as a substream of libp2p.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use quinn::{RecvStream, SendStream, VarInt};

/// A substream. Dropping it with something written and not flushed resets it, so that the peer does not take what came for
/// all. What was flushed was meant: some protocols of libp2p end with that and a drop.
#[derive(Debug)]
pub struct Stream {
    send: SendStream,
    receive: RecvStream,
    flushed: bool,
    /// How closing ended, once it did: libp2p may close twice.
    closed: Option<Result<(), io::ErrorKind>>,
}

impl Stream {
    pub(super) fn new((send, receive): (SendStream, RecvStream)) -> Self {
        Self { send, receive, flushed: false, closed: None }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // quinn ends what it is not told to reset.
        if self.closed.is_none() && !self.flushed {
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
        self.flushed = false;
        AsyncWrite::poll_write(Pin::new(&mut self.send), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = std::task::ready!(AsyncWrite::poll_flush(Pin::new(&mut self.send), cx));
        self.flushed = flushed.is_ok();
        Poll::Ready(flushed)
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
