//! One connection, and how long its client may keep us waiting.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::Event;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Sleep, sleep, timeout};

use super::watch::Watcher;

/// Times of all connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// How long a client may be silent.
    pub(super) idle: Duration,
    /// How long a client may take to finish a request that it began, or to take an answer.
    pub(super) slow: Duration,
    /// The time between two looks at the state, while anybody watches.
    pub(super) look: Duration,
    /// The time between two events of a watch that tell nothing but measurements.
    pub(super) pace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            slow: Duration::from_secs(10),
            look: Duration::from_millis(200),
            pace: Duration::from_secs(1),
        }
    }
}

/// A client's connection.
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    pub(super) timing: Timing,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, timing: Timing) -> Self {
        Self { stream: BufReader::new(stream), timing }
    }

    /// Waits for the first byte of the next request and leaves it where it is; `None` when the client is silent for
    /// too long, or gone.
    pub(super) async fn first_byte(&mut self) -> Option<u8> {
        timeout(self.timing.idle, self.stream.fill_buf()).await.ok()?.ok()?.first().copied()
    }

    /// Up to the next line break, which is taken too, or the end.
    pub(super) async fn line(&mut self, limit: usize) -> Line {
        let stream = &mut self.stream;
        let rest = async {
            let mut line = Vec::new();
            loop {
                let Ok(bytes) = stream.fill_buf().await else { return Line::End };
                if bytes.is_empty() {
                    return if line.is_empty() { Line::End } else { Line::Whole(line) };
                }
                let end = bytes.iter().position(|&byte| byte == b'\n');
                let taken = end.unwrap_or(bytes.len());
                if line.len() + taken > limit {
                    return Line::TooLong;
                }
                line.extend_from_slice(&bytes[..taken]);
                stream.consume(taken + usize::from(end.is_some()));
                if end.is_some() {
                    return Line::Whole(line);
                }
            }
        };
        timeout(self.timing.slow, rest).await.unwrap_or(Line::End)
    }

    /// Fills `bytes`; whether they came in time.
    pub(super) async fn read(&mut self, bytes: &mut [u8]) -> bool {
        matches!(timeout(self.timing.slow, self.stream.read_exact(bytes)).await, Ok(Ok(_)))
    }

    /// Both directions, for what brings a protocol of its own, and a second handle on the socket to look at.
    pub(super) fn into_parts(self) -> io::Result<(Patient, OwnedFd)> {
        let socket = self.stream.get_ref().as_fd().try_clone_to_owned()?;
        Ok((Patient { stream: self.stream, slow: self.timing.slow, stalled: None }, socket))
    }
}

/// What [`Connection::line`] found.
pub(super) enum Line {
    Whole(Vec<u8>),
    TooLong,
    End,
}

/// Whether a client takes what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// There is room.
    Ready,
    /// It has not taken much of what it was sent before.
    Behind,
    /// It left.
    Gone,
}

/// Where the events of a watch go.
pub(super) trait Outlet {
    fn outlook(&self) -> Outlook;

    /// Whether the client took it in time.
    fn write(&mut self, bytes: Vec<u8>) -> impl Future<Output = bool> + Send;
}

impl Outlet for Connection {
    fn outlook(&self) -> Outlook {
        outlook(self.stream.get_ref())
    }

    async fn write(&mut self, bytes: Vec<u8>) -> bool {
        matches!(timeout(self.timing.slow, self.stream.get_mut().write_all(&bytes)).await, Ok(Ok(())))
    }
}

/// The kernel's word, for tokio remembers that a socket was writable once.
pub(super) fn outlook(socket: &impl AsFd) -> Outlook {
    let mut socket = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut socket, PollTimeout::ZERO).ok().and_then(|_| socket[0].revents()) {
        Some(found) if found.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) => Outlook::Gone,
        Some(found) if found.contains(PollFlags::POLLOUT) => Outlook::Ready,
        Some(_) => Outlook::Behind,
        None => Outlook::Gone,
    }
}

/// What a watch sends next: an event, or the last words.
pub(super) enum Words {
    More(Vec<u8>),
    Last(Vec<u8>),
}

/// Tells a watch's events until the client leaves, or is cut off with a reason because it does not take them.
///
/// Nothing is queued for a client that is behind: what changes in the meantime is told as one change.
pub(super) async fn tell(
    mut watcher: Watcher,
    outlet: &mut impl Outlet,
    slow: Duration,
    encode: impl Fn(&Result<Event, ErrorBody>) -> Words,
) {
    let mut behind = None;
    loop {
        let event = if !watcher.wait().await {
            Err(ErrorBody::new(ErrorCode::NotRunning, "the daemon is stopping"))
        } else {
            match outlet.outlook() {
                Outlook::Gone => return,
                Outlook::Behind if behind.get_or_insert_with(Instant::now).elapsed() < slow => continue,
                Outlook::Behind => {
                    tracing::debug!("a watch was cut off: its client does not read");
                    Err(ErrorBody::new(ErrorCode::Busy, "cut off: the events were not read").hint("watch again"))
                }
                Outlook::Ready => {
                    behind = None;
                    let Some(event) = watcher.event() else { continue };
                    Ok(event)
                }
            }
        };
        match encode(&event) {
            Words::More(bytes) => {
                if !outlet.write(bytes).await {
                    return;
                }
            }
            Words::Last(bytes) => {
                outlet.write(bytes).await;
                return;
            }
        }
    }
}

/// A connection on which a write that does not get on ends in an error.
pub(super) struct Patient {
    stream: BufReader<UnixStream>,
    slow: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn watched<T>(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.slow)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, bytes)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watched(cx, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(cx);
        self.watched(cx, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watched(cx, progress)
    }
}
