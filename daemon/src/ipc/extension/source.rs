//! Packets from the extension, as the sending loop reads them.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use cryprq_ipc_proto::extension::StopReason;
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{FrameError, Kind};
use cryprq_ipc_proto::incoming::Incoming;
use cryprq_ipc_proto::packets::Packets;
use net::plane::{PacketSink, PacketSource};
use os::bell::{Waker, wait_readable};
use os::tun::{Entry, LentPackets};
use tokio::sync::mpsc;

use super::outlet::Sink;

/// A batch with as many packets takes no further frame.
const ENOUGH: usize = 256;

/// What an extension says besides packets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Settings of this number are in force.
    Ready(u32),
    /// Its machine goes to sleep.
    Pause,
    /// Its machine is awake.
    Resume,
    /// It ends.
    Stop(StopReason),
    /// A frame that is none of an extension's.
    Unexpected,
    /// Bytes that are no frame.
    Garbage(FrameError),
    /// More than anybody hears.
    TooMuch,
    /// It closed the connection.
    Left,
}

impl Said {
    /// Whether nothing can follow.
    const fn is_last(&self) -> bool {
        match self {
            Self::Ready(_) | Self::Pause | Self::Resume => false,
            Self::Stop(_) | Self::Unexpected | Self::Garbage(_) | Self::TooMuch | Self::Left => true,
        }
    }
}

/// Where what an extension says goes: a bounded queue, with a place kept for the last word.
pub(super) struct Teller {
    queue: mpsc::Sender<Said>,
    last: mpsc::OwnedPermit<Said>,
}

impl Teller {
    /// With room for `most` before anybody listens, and who listens.
    pub(super) fn new(most: usize) -> io::Result<(Self, mpsc::Receiver<Said>)> {
        let (queue, told) = mpsc::channel(most + 1);
        let last = queue.clone().try_reserve_owned().map_err(io::Error::other)?;
        Ok((Self { queue, last }, told))
    }

    /// Tells it; gives back what tells more, if more can follow.
    fn tell(self, said: Said) -> Option<Self> {
        if said.is_last() {
            drop(self.last.send(said));
            return None;
        }
        match self.queue.try_send(said) {
            Ok(()) => Some(self),
            Err(_) => {
                drop(self.last.send(Said::TooMuch));
                None
            }
        }
    }
}

/// What a frame that holds no packets says.
pub(super) fn said(id: u32, frame: Result<Frame<'_>, FrameError>) -> Said {
    match frame {
        Ok(Frame::Ready) => Said::Ready(id),
        Ok(Frame::Pause) => Said::Pause,
        Ok(Frame::Resume) => Said::Resume,
        Ok(Frame::Stop(reason)) => Said::Stop(reason),
        Ok(
            Frame::Hello(_)
            | Frame::HelloAck(_)
            | Frame::Refused(_)
            | Frame::Request(_)
            | Frame::Reply(_)
            | Frame::Event(_)
            | Frame::Error(_)
            | Frame::TunnelSettings(_)
            | Frame::Packets(_),
        ) => Said::Unexpected,
        Err(error) => Said::Garbage(error),
    }
}

/// Reads the socket until nothing more can come from it.
pub(super) struct Source {
    socket: Arc<UnixStream>,
    incoming: Incoming,
    entries: Vec<Entry>,
    /// Where everything but packets goes; `None` once it is over.
    said: Option<Teller>,
    waker: Waker,
    /// The way back.
    sink: Sink,
}

impl Source {
    /// Reads `socket`, which does not block.
    pub(super) fn new(socket: Arc<UnixStream>, said: Teller, waker: Waker, sink: Sink) -> Self {
        let entries = Vec::with_capacity(2 * ENOUGH);
        Self { socket, incoming: Incoming::default(), entries, said: Some(said), waker, sink }
    }

    /// Enters the packets of the frames that are there, and passes on what else is.
    fn take(&mut self) {
        while self.said.is_some() && self.entries.len() < ENOUGH {
            let (header, body) = match self.incoming.frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => return self.tell(Said::Garbage(error)),
            };
            let bytes = &self.incoming.memory()[body.clone()];
            if header.kind != Kind::Packets {
                let told = said(header.id, Frame::read(&header, bytes));
                self.tell(told);
                continue;
            }
            match Packets::read(bytes) {
                Ok(packets) => self.entries.extend(packets.ranges(body.start).map(Entry::whole)),
                Err(error) => return self.tell(Said::Garbage(error)),
            }
        }
    }

    fn tell(&mut self, said: Said) {
        self.said = self.said.take().and_then(|teller| teller.tell(said));
    }

    /// Waits for bytes and reads them once.
    fn fill(&mut self) -> io::Result<()> {
        while self.said.is_some() {
            match (&*self.socket).read(self.incoming.room()) {
                Ok(0) => self.tell(Said::Left),
                Ok(length) => {
                    self.incoming.filled(length);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drop(wait_readable([self.socket.as_fd(), self.waker.as_fd()].into_iter(), None)?);
                    self.check()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.tell(Said::Left),
            }
        }
        // Another device follows; until then nothing comes.
        while !self.waker.is_woken() {
            drop(wait_readable(std::iter::once(self.waker.as_fd()), None)?);
        }
        self.check()
    }

    fn check(&self) -> io::Result<()> {
        if self.waker.is_woken() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

impl PacketSource for Source {
    fn read_batch(&mut self) -> io::Result<LentPackets<'_>> {
        self.check()?;
        self.entries.clear();
        loop {
            self.take();
            if !self.entries.is_empty() {
                return Ok(LentPackets::new(self.incoming.memory_mut(), &self.entries));
            }
            self.fill()?;
        }
    }

    fn answer(&mut self, packet: &[u8]) -> io::Result<()> {
        self.sink.write(packet)
    }
}
