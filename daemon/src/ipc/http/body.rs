//! Bodies of answers: a text, or events as they come.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::ipc::stream::{Outlet, Outlook, outlook};

/// Events that may wait for the connection: one, and the last words.
const WAITING: usize = 2;

pub(super) enum Body {
    Text(Option<Bytes>),
    Events(mpsc::Receiver<Bytes>),
}

impl Body {
    /// A body of events, and where they go in.
    pub(super) fn events(socket: Arc<OwnedFd>, slow: Duration) -> (Events, Self) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Events { sender, socket, slow }, Self::Events(receiver))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut *self {
            Self::Text(text) => Poll::Ready(text.take()),
            Self::Events(events) => events.poll_recv(cx),
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// The other end of a body of events.
pub(super) struct Events {
    sender: mpsc::Sender<Bytes>,
    socket: Arc<OwnedFd>,
    slow: Duration,
}

impl Outlet for Events {
    fn outlook(&self) -> Outlook {
        if self.sender.is_closed() || outlook(&*self.socket) == Outlook::Gone {
            Outlook::Gone
        } else if self.sender.capacity() == WAITING {
            Outlook::Ready
        } else {
            Outlook::Behind
        }
    }

    async fn write(&mut self, bytes: Vec<u8>) -> bool {
        matches!(timeout(self.slow, self.sender.send(bytes.into())).await, Ok(Ok(())))
    }
}
