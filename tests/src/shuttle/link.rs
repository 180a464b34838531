//! A connection to the daemon's packet socket.

use std::io::{self, IoSlice, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{FrameError, Header, Kind};
use cryprq_ipc_proto::hello::{Hello, Role};
use cryprq_ipc_proto::incoming::Incoming;

/// How long a daemon may take to greet, and to take what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon that greeted.
pub struct Link {
    stream: UnixStream,
    /// What it said.
    pub incoming: Incoming,
}

/// Why there is no link.
#[derive(Debug)]
pub enum NoLink {
    /// Nobody is there; somebody may be later.
    Absent(io::Error),
    /// Who is there does not want us.
    Refused(ErrorBody),
}

impl From<io::Error> for NoLink {
    fn from(error: io::Error) -> Self {
        Self::Absent(error)
    }
}

impl From<FrameError> for NoLink {
    fn from(error: FrameError) -> Self {
        Self::Refused(error.into())
    }
}

impl Link {
    /// Connects and greets as an extension of this version.
    ///
    /// # Errors
    /// [`NoLink`].
    pub fn open(socket: &Path) -> Result<Self, NoLink> {
        Self::open_with(socket, &Hello::new("shuttle", Role::Extension))
    }

    /// Connects and greets in these words.
    ///
    /// # Errors
    /// [`NoLink`].
    pub fn open_with(socket: &Path, hello: &Hello) -> Result<Self, NoLink> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut link = Self { stream, incoming: Incoming::default() };
        link.send(0, &Frame::Hello(hello.clone()))?;
        let (header, body) = link.frame()?;
        let frame = Frame::read(&header, &link.incoming.memory()[body])?;
        if let Frame::Refused(refused) = frame {
            return Err(NoLink::Refused(refused.error));
        }
        if header.kind != Kind::HelloAck {
            return Err(NoLink::Refused(ErrorBody::new(ErrorCode::BadRequest, "the daemon does not greet")));
        }
        link.stream.set_read_timeout(None)?;
        Ok(link)
    }

    /// The next frame: its header, and where its body lies in the memory of [`Self::incoming`].
    ///
    /// # Errors
    /// [`NoLink`].
    pub fn frame(&mut self) -> Result<(Header, Range<usize>), NoLink> {
        loop {
            match self.incoming.frame()? {
                Some(frame) => return Ok(frame),
                None if self.fill()? => {}
                None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            }
        }
    }

    /// Reads once; whether the daemon is still there.
    ///
    /// # Errors
    /// The system's.
    pub fn fill(&mut self) -> io::Result<bool> {
        let read = self.stream.read(self.incoming.room())?;
        self.incoming.filled(read);
        Ok(read > 0)
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// When the daemon does not take it.
    pub fn send(&mut self, id: u32, frame: &Frame<'_>) -> io::Result<()> {
        let bytes = frame.write(id).map_err(io::Error::other)?;
        self.stream.write_all(&bytes)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the daemon does not take them.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one frame from its parts.
    ///
    /// # Errors
    /// When the daemon does not take it.
    pub fn write_all(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !parts.is_empty() {
            match self.stream.write_vectored(parts) {
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Another handle, to write with.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn writer(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, incoming: Incoming::default() })
    }
}
