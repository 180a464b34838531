//! One extension, from its hello to its farewell.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::extension::{StopReason, TunnelSettings};
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::{FrameError, HEADER, Header};
use cryprq_ipc_proto::hello::{Hello, HelloAck, Refused, Role};
use net::plane::{Device, wake};
use nix::sys::socket::{setsockopt, sockopt::SndBuf};
use os::bell::Waker;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::outlet::{Flow, Outlet, Sink};
use super::seat::Seated;
use super::source::{Said, Source, Teller, said};
use super::{Door, Event};
use crate::ipc::frames::{BUILD, not_understood};

/// What an extension may say between two looks of ours.
const MAX_SAID: usize = 64;
/// The kernel's part of the queue to the extension, in bytes; macOS begins with 8 KiB.
const SEND_BUFFER: usize = 256 * 1024;
/// Far away, where nothing is waited for.
const NEVER: Duration = Duration::from_secs(1 << 30);

/// Why a conversation ended.
#[derive(Debug)]
enum End {
    /// The extension said so.
    Stop(StopReason),
    /// It closed the connection, or broke it.
    Left,
    /// It is told this and cut off.
    Fault(ErrorBody),
    /// The daemon ends; the extension is told that it need not wait for another, if so.
    Daemon(Option<StopReason>),
}

/// Converses until one side ends it.
pub(super) async fn converse(mut stream: UnixStream, mut door: Door) {
    let Some(seated) = greet(&mut stream, &door).await else { return };
    let end = match prepare(&mut stream, &mut door).await {
        Ok(pushed) => match attach(stream, &mut door, pushed, &seated).await {
            Ok(end) => end,
            Err(error) => return tracing::warn!(%error, "the extension cannot be served"),
        },
        Err(end) => {
            if let Some((id, frame)) = last_words(&end) {
                let _ = write(&mut stream, id, &frame).await;
            }
            // The seat has a handle of it, too.
            let _ = stream.into_std().and_then(|socket| socket.shutdown(Shutdown::Both));
            if let End::Daemon(_) = end {
                // The control task waits until this is said.
                leave(&door).await;
            }
            end
        }
    };
    match end {
        End::Stop(reason) => tracing::info!(?reason, "the extension stopped"),
        End::Left => tracing::info!("the extension left"),
        End::Fault(error) => tracing::warn!(%error, "the extension was cut off"),
        End::Daemon(_) => {}
    }
}

/// Reads the hello, takes the seat and answers; `None` when that ended it.
async fn greet(stream: &mut UnixStream, door: &Door) -> Option<Seated> {
    let (id, hello) = match timeout(door.timing.hello, read(stream)).await {
        Ok(Ok((header, body))) => (header.id, welcome(&header, &body)),
        Ok(Err(Unread::Foreign(error))) => (0, Err(not_understood(error))),
        Ok(Err(Unread::Left)) | Err(_) => return None,
    };
    let seated = match hello {
        Ok(ack) => match door.seat.take(stream, door.timing.farewell).await {
            Ok(seated) => Ok((ack, seated)),
            Err(error) => Err(Refused { error, older: None }),
        },
        Err(refused) => Err(refused),
    };
    match seated {
        Ok((ack, seated)) => write(stream, id, &Frame::HelloAck(ack)).await.ok().map(|()| seated),
        Err(refused) => {
            tracing::warn!(error = %refused.error, "an extension was refused");
            let _ = write(stream, id, &Frame::Refused(refused)).await;
            None
        }
    }
}

fn welcome(header: &Header, body: &[u8]) -> Result<HelloAck, Refused> {
    let refused = |code, message: &str| Refused { error: ErrorBody::new(code, message), older: None };
    let Frame::Hello(hello) = Frame::read(header, body).map_err(not_understood)? else {
        return Err(refused(ErrorCode::BadRequest, "the first frame is a hello"));
    };
    let Hello { role: Role::Extension, .. } = &hello else {
        return Err(refused(ErrorCode::Unsupported, "this socket is for the extension; requests go to control.sock"));
    };
    hello.answer(BUILD)
}

/// Settings that an extension was sent.
struct Pushed {
    number: u32,
    settings: TunnelSettings,
    in_force: bool,
}

/// Pushes the first settings and waits until they are in force.
async fn prepare(stream: &mut UnixStream, door: &mut Door) -> Result<Pushed, End> {
    const FIRST: u32 = 1;
    let settings = door.orders.borrow_and_update().settings.clone();
    // Settings that change meanwhile are for later, so this look at the orders does not count as one.
    let mut ending = door.orders.clone();
    let ending = ending.wait_for(|orders| orders.stop.is_some());
    write(stream, FIRST, &Frame::TunnelSettings(settings.clone())).await.map_err(|_| End::Left)?;
    let read = tokio::select! {
        biased;
        ended = ending => return Err(End::Daemon(ended.ok().and_then(|orders| orders.stop))),
        read = timeout(door.timing.ready, read(stream)) => read,
    };
    let (header, body) = match read {
        Ok(Ok(frame)) => frame,
        Ok(Err(Unread::Foreign(error))) => return Err(End::Fault(error.into())),
        Ok(Err(Unread::Left)) => return Err(End::Left),
        Err(_) => return Err(End::Fault(not_ready())),
    };
    match said(header.id, Frame::read(&header, &body)) {
        Said::Ready(FIRST) => Ok(Pushed { number: FIRST, settings, in_force: true }),
        Said::Stop(reason) => Err(End::Stop(reason)),
        Said::Garbage(error) => Err(End::Fault(error.into())),
        Said::Ready(_) | Said::Pause | Said::Resume | Said::Unexpected | Said::TooMuch | Said::Left => {
            Err(End::Fault(unexpected()))
        }
    }
}

fn not_ready() -> ErrorBody {
    ErrorBody::new(ErrorCode::TimedOut, "the settings were not put in force in time")
}

fn unexpected() -> ErrorBody {
    ErrorBody::new(ErrorCode::BadRequest, "an extension does not say that here")
}

/// Gives the socket to the packet loops, and takes it back when the conversation is over.
async fn attach(stream: UnixStream, door: &mut Door, pushed: Pushed, _seated: &Seated) -> io::Result<End> {
    let socket = Arc::new(stream.into_std()?);
    // A smaller buffer costs speed and nothing else.
    let _ = setsockopt(&*socket, SndBuf, &SEND_BUFFER);
    let outlet = Arc::new(Outlet::new(Arc::clone(&socket), Arc::clone(&door.drops)));
    let (tell, told) = Teller::new(MAX_SAID)?;
    let waker = Waker::new()?;
    let source = Box::new(Source::new(Arc::clone(&socket), tell, waker.clone(), Sink::new(Arc::clone(&outlet))));
    let device = Device { source, sink: Box::new(Sink::new(Arc::clone(&outlet))), wake: wake(waker) };
    if door.events.send(Event::Attached(device, pushed.settings.clone())).await.is_err() {
        return Ok(End::Daemon(None));
    }
    let end = Talk { door, outlet: &outlet, told, pushed, asleep: false, due: None }.run(&socket).await;
    if let Some((id, frame)) = last_words(&end) {
        outlet.order(id, &frame);
    }
    // Both loops see it, if they should look once more.
    let _ = socket.shutdown(Shutdown::Both);
    leave(door).await;
    Ok(end)
}

/// Tells the control task that the extension left, and waits until it has seen that.
async fn leave(door: &Door) {
    let (done, detached) = oneshot::channel();
    if door.events.send(Event::Detached(done)).await.is_ok() {
        let _ = detached.await;
    }
}

fn last_words(end: &End) -> Option<(u32, Frame<'static>)> {
    match end {
        End::Fault(error) => Some((0, Frame::Error(error.clone()))),
        End::Daemon(Some(reason)) => Some((0, Frame::Stop(*reason))),
        End::Daemon(None) | End::Stop(_) | End::Left => None,
    }
}

/// The conversation of an extension that is attached.
struct Talk<'d> {
    door: &'d mut Door,
    outlet: &'d Outlet,
    told: mpsc::Receiver<Said>,
    /// The last settings that were pushed.
    pushed: Pushed,
    /// Whether the extension is paused: a machine that sleeps puts nothing in force.
    asleep: bool,
    /// When they have to be in force, while they are not.
    due: Option<Instant>,
}

impl Talk<'_> {
    async fn run(mut self, socket: &StdStream) -> End {
        let catching_up = catch_up(self.outlet, socket);
        tokio::pin!(catching_up);
        loop {
            let due = self.due.unwrap_or_else(|| Instant::now() + NEVER);
            let next = tokio::select! {
                said = self.told.recv() => self.hear(said).await,
                changed = self.door.orders.changed() => match changed {
                    Ok(()) => self.obey(),
                    Err(_) => Err(End::Daemon(None)),
                },
                _ = &mut catching_up => Err(End::Left),
                () = sleep_until(due) => Err(End::Fault(not_ready())),
            };
            if let Err(end) = next {
                return end;
            }
        }
    }

    async fn hear(&mut self, said: Option<Said>) -> Result<(), End> {
        match said {
            Some(Said::Ready(number)) if number == self.pushed.number && !self.pushed.in_force => {
                (self.due, self.pushed.in_force) = (None, true);
                let in_force = Event::InForce(self.pushed.settings.clone());
                self.door.events.send(in_force).await.map_err(|_| End::Daemon(None))
            }
            Some(Said::Ready(_)) => Ok(()),
            Some(Said::Pause) => {
                self.outlet.set_flow(Flow::Paused);
                (self.asleep, self.due) = (true, None);
                Ok(())
            }
            Some(Said::Resume) => {
                self.outlet.set_flow(Flow::Open);
                if std::mem::take(&mut self.asleep) && !self.pushed.in_force {
                    self.due = Some(Instant::now() + self.door.timing.ready);
                }
                Ok(())
            }
            Some(Said::Stop(reason)) => Err(End::Stop(reason)),
            Some(Said::Unexpected) => Err(End::Fault(unexpected())),
            Some(Said::Garbage(error)) => Err(End::Fault(error.into())),
            Some(Said::Left) => Err(End::Left),
            Some(Said::TooMuch) => Err(End::Fault(ErrorBody::new(ErrorCode::Busy, "more was said than can be heard"))),
            // The packet loops ended, perhaps before what the daemon says was seen.
            None => Err(End::Daemon(self.door.orders.borrow().stop)),
        }
    }

    /// Pushes what changed.
    fn obey(&mut self) -> Result<(), End> {
        let orders = self.door.orders.borrow_and_update().clone();
        if orders.stop.is_some() {
            return Err(End::Daemon(orders.stop));
        }
        let number = self.pushed.number.wrapping_add(1);
        self.pushed = Pushed { number, settings: orders.settings, in_force: false };
        if !self.outlet.order(self.pushed.number, &Frame::TunnelSettings(self.pushed.settings.clone())) {
            return Err(End::Fault(ErrorBody::new(ErrorCode::Busy, "the extension does not read")));
        }
        self.due = (!self.asleep).then(|| Instant::now() + self.door.timing.ready);
        Ok(())
    }
}

/// Writes what waits, whenever there is room; ends with the connection.
pub(super) async fn catch_up(outlet: &Outlet, socket: &StdStream) -> io::Result<()> {
    loop {
        outlet.behind().await;
        // A handle of its own, and only for as long: the runtime is woken by whatever comes in on one that it has.
        let waiting = UnixStream::from_std(socket.try_clone()?)?;
        loop {
            waiting.writable().await?;
            match waiting.try_io(Interest::WRITABLE, || outlet.flush()) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Why there is no frame.
enum Unread {
    Foreign(FrameError),
    Left,
}

/// The next frame, and no byte of what follows it: that is for the packet loops.
async fn read(stream: &mut UnixStream) -> Result<(Header, Vec<u8>), Unread> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await.map_err(|_| Unread::Left)?;
    let header = Header::read(&header).map_err(Unread::Foreign)?;
    let mut body = vec![0; header.length];
    stream.read_exact(&mut body).await.map_err(|_| Unread::Left)?;
    Ok((header, body))
}

async fn write(stream: &mut UnixStream, id: u32, frame: &Frame<'_>) -> io::Result<()> {
    let bytes = frame.write(id).map_err(io::Error::other)?;
    // Whoever does not take the few bytes of a greeting is not there.
    timeout(Duration::from_secs(10), stream.write_all(&bytes)).await?
}
