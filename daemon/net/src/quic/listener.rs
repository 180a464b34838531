//! A listener: handshakes that come in, and addresses that come and go.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use if_watch::IfEvent;
use if_watch::tokio::IfWatcher;
use libp2p::core::transport::ListenerId;
use quinn::{Endpoint, Incoming};

use super::Error;
use super::bound::Bound;

/// How long until interfaces are watched again after the system's news of them broke off.
const WATCH_AGAIN: Duration = Duration::from_secs(5);

/// What happened at a listener.
pub(super) enum Happening {
    /// It can be reached here.
    Up(SocketAddr),
    /// And here no more.
    Down(SocketAddr),
    /// The first packet of a handshake, and where we listen for it.
    Incoming(Box<Incoming>, SocketAddr),
    /// Its addresses are not known for a while.
    Blind(Error),
    /// Its socket's endpoint is gone.
    Ended(Bound),
}

pub(super) struct Listener {
    pub(super) id: ListenerId,
    pub(super) bound: Bound,
    accept: BoxFuture<'static, Option<Incoming>>,
    addresses: Addresses,
    known: BTreeSet<IpAddr>,
    closed: bool,
    waker: Option<Waker>,
}

/// Where the addresses of a listener come from.
enum Addresses {
    /// It is bound to one.
    Fixed,
    /// It is bound to all that the host has.
    Watched(Box<IfWatcher>),
    /// To be watched again.
    Pausing(Pin<Box<tokio::time::Sleep>>),
}

impl Listener {
    pub(super) fn new(id: ListenerId, bound: Bound) -> Result<Self, Error> {
        let addresses = if bound.socket.address().ip().is_unspecified() {
            Addresses::Watched(Box::new(IfWatcher::new().map_err(Error::Interfaces)?))
        } else {
            Addresses::Fixed
        };
        let accept = accept(&bound.endpoint);
        Ok(Self { id, bound, accept, addresses, known: BTreeSet::new(), closed: false, waker: None })
    }

    /// Whether it listens on this socket.
    pub(super) fn uses(&self, bound: &Bound) -> bool {
        !self.closed && Arc::ptr_eq(&self.bound.socket, &bound.socket)
    }

    /// Ends the listener, unless it ended before; its connections live on.
    pub(super) fn close(&mut self) -> bool {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        !std::mem::replace(&mut self.closed, true)
    }

    fn poll_addresses(&mut self, cx: &mut Context<'_>) -> Poll<Happening> {
        let own = self.bound.socket.address();
        loop {
            match &mut self.addresses {
                Addresses::Fixed => {
                    return if self.known.insert(own.ip()) { Poll::Ready(Happening::Up(own)) } else { Poll::Pending };
                }
                Addresses::Watched(watcher) => match ready!(watcher.poll_if_event(cx)) {
                    Ok(IfEvent::Up(net)) => {
                        if net.addr().is_ipv4() == own.is_ipv4() && self.known.insert(net.addr()) {
                            return Poll::Ready(Happening::Up(SocketAddr::new(net.addr(), own.port())));
                        }
                    }
                    Ok(IfEvent::Down(net)) => {
                        if self.known.remove(&net.addr()) {
                            return Poll::Ready(Happening::Down(SocketAddr::new(net.addr(), own.port())));
                        }
                    }
                    // A watcher that failed once fails for ever.
                    Err(error) => return Poll::Ready(self.pause(error)),
                },
                Addresses::Pausing(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    match IfWatcher::new() {
                        Ok(watcher) => self.addresses = Addresses::Watched(Box::new(watcher)),
                        Err(error) => return Poll::Ready(self.pause(error)),
                    }
                }
            }
        }
    }

    fn pause(&mut self, error: io::Error) -> Happening {
        self.addresses = Addresses::Pausing(Box::pin(tokio::time::sleep(WATCH_AGAIN)));
        Happening::Blind(Error::Interfaces(error))
    }
}

fn accept(endpoint: &Endpoint) -> BoxFuture<'static, Option<Incoming>> {
    let endpoint = endpoint.clone();
    async move { endpoint.accept().await }.boxed()
}

impl Stream for Listener {
    type Item = (ListenerId, Happening);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.closed {
            return Poll::Ready(None);
        }
        if let Poll::Ready(happening) = self.poll_addresses(cx) {
            return Poll::Ready(Some((self.id, happening)));
        }
        if let Poll::Ready(incoming) = self.accept.poll_unpin(cx) {
            let happening = match incoming {
                Some(incoming) => {
                    self.accept = accept(&self.bound.endpoint);
                    Happening::Incoming(Box::new(incoming), self.bound.socket.address())
                }
                None => {
                    self.closed = true;
                    Happening::Ended(self.bound.clone())
                }
            };
            return Poll::Ready(Some((self.id, happening)));
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
