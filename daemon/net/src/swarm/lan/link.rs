//! One of this host's addresses, and the network behind it on which peers are looked for.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ipnet::Ipv4Net;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::{Instant, Sleep};

use super::message::{self, Message};

/// Where multicast DNS is spoken.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);
/// Pauses between questions: the first, which doubles up to the last.
const FIRST: Duration = Duration::from_millis(500);
const LAST: Duration = Duration::from_secs(300);
/// Nobody has us say the same thing more often (RFC 6762, section 6).
const ANSWERS: Duration = Duration::from_secs(1);
/// Longer messages are not read: libp2p's own have room for a dozen addresses in so many bytes.
const LENGTH: usize = 4096;
/// What waits for the socket at most: a question and an answer.
const WAITING: usize = 2;

pub(super) struct Link {
    net: Ipv4Net,
    socket: UdpSocket,
    outgoing: VecDeque<Vec<u8>>,
    pause: Duration,
    /// When the next question is asked.
    ask: Pin<Box<Sleep>>,
    answered: Option<Instant>,
    buffer: Vec<u8>,
}

impl Link {
    /// # Errors
    /// What the system refuses.
    pub(super) fn open(net: Ipv4Net) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // Others on this host may listen there too.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, GROUP.port()).into())?;
        socket.join_multicast_v4(GROUP.ip(), &net.addr())?;
        socket.set_multicast_if_v4(&net.addr())?;
        socket.set_multicast_loop_v4(true)?;
        socket.set_multicast_ttl_v4(255)?;
        Ok(Self {
            net,
            socket: UdpSocket::from_std(socket.into())?,
            outgoing: VecDeque::new(),
            pause: FIRST,
            ask: Box::pin(tokio::time::sleep(Duration::ZERO)),
            answered: None,
            buffer: vec![0; LENGTH],
        })
    }

    /// Answers a question, unless that was just done: everybody heard it.
    pub(super) fn answer(&mut self, answer: impl FnOnce() -> Option<Vec<u8>>) {
        if self.answered.is_some_and(|at| at.elapsed() < ANSWERS) {
            return;
        }
        self.answered = Some(Instant::now());
        if let Some(answer) = answer() {
            self.send(answer);
        }
    }

    /// Asks when it is time to, and sends what waits.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) {
        while self.ask.as_mut().poll(cx).is_ready() {
            self.ask.as_mut().reset(Instant::now() + self.pause);
            self.pause = (self.pause * 2).min(LAST);
            if let Some(question) = message::question() {
                self.send(question);
            }
        }
        while let Some(message) = self.outgoing.front() {
            let Poll::Ready(sent) = self.socket.poll_send_to(cx, message, GROUP.into()) else { return };
            if let Err(error) = sent {
                // As if it had been lost: another one follows.
                tracing::debug!(address = %self.net.addr(), %error, "peers are not asked for");
            }
            self.outgoing.pop_front();
        }
    }

    /// The next message, or `None` for something else. Whoever is not on this network is not heard.
    pub(super) fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        match ready!(self.socket.poll_recv_from(cx, &mut buffer)) {
            Ok(SocketAddr::V4(from)) if self.net.contains(from.ip()) => {
                Poll::Ready(Message::read(buffer.filled(), *from.ip()))
            }
            Ok(_) => Poll::Ready(None),
            Err(error) => {
                tracing::debug!(address = %self.net.addr(), %error, "peers are not heard");
                Poll::Ready(None)
            }
        }
    }

    fn send(&mut self, message: Vec<u8>) {
        if self.outgoing.len() < WAITING {
            self.outgoing.push_back(message);
        }
    }
}
