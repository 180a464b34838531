//! What a relay says of the place that it keeps for us is a stranger's word: libp2p would compute with any time that it
//! names, which can overflow or come round after round without a pause, and listen at any address.
//!
//! libp2p hands no stream to its handlers but its own, so the answer is read one layer below: on its way out of the
//! connection.

mod answer;

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::{AsyncRead, AsyncWrite};
use libp2p::Multiaddr;
use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::multiaddr::Protocol;

use answer::Answer;

/// What is read at a time while an answer is looked for.
const CHUNK: usize = 512;

/// A connection on which places are asked for.
pub(super) struct Connection<M> {
    muxer: M,
    /// Where the other end is, with its PeerId.
    remote: Multiaddr,
}

/// One of its streams.
pub(super) struct Stream<S> {
    stream: S,
    remote: Multiaddr,
    answer: Answer,
    /// What came and was not read yet.
    ready: Vec<u8>,
}

impl<M> Connection<M> {
    pub(super) fn new((peer, muxer): (PeerId, M), endpoint: &ConnectedPoint) -> (PeerId, Self) {
        let mut remote = endpoint.get_remote_address().clone();
        if !matches!(remote.iter().last(), Some(Protocol::P2p(_))) {
            remote.push(Protocol::P2p(peer));
        }
        (peer, Self { muxer, remote })
    }

    fn stream<S>(&self, stream: S, answer: Answer) -> Stream<S> {
        Stream { stream, remote: self.remote.clone(), answer, ready: Vec::new() }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Connection<M>
where
    M::Substream: Unpin,
{
    type Substream = Stream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let stream = ready!(Pin::new(&mut self.muxer).poll_inbound(cx))?;
        // Nobody answers on a stream that it opened.
        Poll::Ready(Ok(self.stream(stream, Answer::None)))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, M::Error>> {
        let stream = ready!(Pin::new(&mut self.muxer).poll_outbound(cx))?;
        Poll::Ready(Ok(self.stream(stream, Answer::awaited())))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        Pin::new(&mut self.muxer).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.muxer).poll(cx)
    }
}

impl<S: AsyncRead + Unpin> Stream<S> {
    /// Reads until something may be passed on, or the end.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ready.is_empty() && !matches!(self.answer, Answer::None) {
            let mut chunk = [0; CHUNK];
            let length = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut chunk))?;
            if length == 0 {
                self.answer = Answer::None;
            } else {
                self.ready = self.answer.take(&chunk[..length], unix_time(), &self.remote)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(cx))?;
        if self.ready.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, out);
        }
        let length = self.ready.len().min(out.len());
        out[..length].copy_from_slice(&self.ready[..length]);
        self.ready.drain(..length);
        Poll::Ready(Ok(length))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(cx))?;
        if self.ready.is_empty() {
            return Pin::new(&mut self.stream).poll_read_vectored(cx, out);
        }
        match out.iter_mut().find(|part| !part.is_empty()) {
            Some(part) => self.poll_read(cx, part),
            None => Poll::Ready(Ok(0)),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// The clock that libp2p compares with.
fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
