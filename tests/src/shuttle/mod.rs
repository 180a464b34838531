//! The reference shuttle: plays the packet-tunnel extension's part on Linux, with an interface of its own.
//!
//! One thread reads the interface for as long as the shuttle lives, and drops what no daemon takes; the calling thread
//! reads the daemon and comes back to it when it went away. What an extension does is what this does, in the same order
//! and with the same frames (`docs/ipc.md`).

mod interface;
mod link;

pub use interface::{Interface, MARK};
pub use link::{Link, NoLink};

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cryprq_ipc_proto::error::ErrorBody;
use cryprq_ipc_proto::extension::StopReason;
use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::header::Kind;
use cryprq_ipc_proto::packets::{Gather, Packets};
use os::tun::{PacketBatch, Tun, TunConfig, TunOffload};

/// The first pause before the daemon is tried again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How a shuttle is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The daemon's packet socket.
    pub socket: PathBuf,
    /// The name of the interface to make.
    pub interface: String,
    /// How long to look for a daemon before giving up.
    pub patience: Duration,
}

/// Why a shuttle ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The daemon said so.
    Stopped(StopReason),
    /// The daemon refused, or cut off, with this.
    Refused(ErrorBody),
    /// No daemon was there for so long.
    NoDaemon,
    /// The system ended it.
    System,
}

/// What can be said to the daemon from another thread.
#[derive(Clone, Default)]
pub struct Remote(Arc<Shared>);

#[derive(Default)]
struct Shared {
    link: Mutex<Option<Link>>,
    /// Packets of the interface that no daemon took.
    lost: AtomicU64,
    ended: AtomicBool,
}

impl Remote {
    /// Says something to the daemon, if one is there.
    ///
    /// # Errors
    /// When there is none, or it takes nothing.
    pub fn say(&self, frame: &Frame<'_>) -> io::Result<()> {
        self.with(|link| link.send(0, frame))
    }

    /// Ends the shuttle, as the system ends an extension: the daemon is told, and closes the connection.
    pub fn end(&self) {
        self.0.ended.store(true, Ordering::Relaxed);
        // A daemon that is away need not be told.
        let _ = self.say(&Frame::Stop(StopReason::System));
    }

    fn is_ended(&self) -> bool {
        self.0.ended.load(Ordering::Relaxed)
    }

    /// Packets of the interface that no daemon took.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    fn with(&self, work: impl FnOnce(&mut Link) -> io::Result<()>) -> io::Result<()> {
        match &mut *self.0.link.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(link) => work(link),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes a frame; after a part of one nothing may follow.
    fn send(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let sent = self.with(|link| link.write_all(parts));
        if sent.is_err() {
            self.set(None);
        }
        sent
    }

    fn set(&self, link: Option<Link>) {
        *self.0.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }
}

/// Makes the interface and shuttles until the daemon ends it, or is away for too long. `tell` hears what happens, one
/// word a time: `attached`, `settings`, `away`.
///
/// # Errors
/// When there can be no interface.
pub fn run(options: &Options, remote: &Remote, mut tell: impl FnMut(&str)) -> anyhow::Result<Ending> {
    let tun = Tun::open(&TunConfig { name: options.interface.clone(), offload: TunOffload::Off })?;
    let mut interface = Interface::new(&options.interface)?;
    let (sink, reader) = (tun.try_clone()?, remote.clone());
    std::thread::spawn(move || pump_up(tun, &reader));
    let ending = Shuttle { sink, interface: &mut interface, remote, tell: &mut tell }.run(options)?;
    interface.undo()?;
    Ok(ending)
}

impl Shuttle<'_> {
    fn run(&mut self, options: &Options) -> anyhow::Result<Ending> {
        let (mut pause, mut alone_since) = (FIRST_PAUSE, Instant::now());
        while !self.remote.is_ended() {
            match Link::open(&options.socket) {
                Ok(link) => {
                    (self.tell)("attached");
                    if let Some(ending) = self.converse(link)? {
                        return Ok(ending);
                    }
                    (self.tell)("away");
                    (pause, alone_since) = (FIRST_PAUSE, Instant::now());
                }
                Err(NoLink::Refused(error)) => return Ok(Ending::Refused(error)),
                Err(NoLink::Absent(_)) if alone_since.elapsed() >= options.patience => return Ok(Ending::NoDaemon),
                Err(NoLink::Absent(_)) => {}
            }
            if !self.remote.is_ended() {
                std::thread::sleep(pause);
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        Ok(Ending::System)
    }
}

/// From the interface to the daemon: one `writev` a batch, from where the packets were read.
fn pump_up(mut tun: Tun, remote: &Remote) {
    let (mut batch, mut gather) = (PacketBatch::default(), Gather::default());
    while tun.read_batch(&mut batch).is_ok() {
        let mut sent = 0;
        while sent < batch.len() {
            let mut slices = [IoSlice::new(&[]); Gather::SLICES];
            let Ok((slices, taken)) = gather.frame(batch.packets().skip(sent), &mut slices) else { break };
            if remote.send(slices).is_err() {
                remote.0.lost.fetch_add(taken as u64, Ordering::Relaxed);
            }
            sent += taken;
        }
    }
}

struct Shuttle<'s> {
    sink: Tun,
    interface: &'s mut Interface,
    remote: &'s Remote,
    tell: &'s mut dyn FnMut(&str),
}

impl Shuttle<'_> {
    /// Until this daemon goes away (`None`), or says that it is over.
    fn converse(&mut self, mut link: Link) -> anyhow::Result<Option<Ending>> {
        let mut ready = false;
        let ending = loop {
            // Settings may have come with the greeting.
            if let Some(ending) = self.take(&mut link, &mut ready)? {
                break Some(ending);
            }
            if !link.fill().unwrap_or(false) {
                break None;
            }
        };
        self.remote.set(None);
        Ok(ending)
    }

    /// Works off the frames that are there.
    fn take(&mut self, link: &mut Link, ready: &mut bool) -> anyhow::Result<Option<Ending>> {
        loop {
            let (header, body) = match link.incoming.frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(Ending::Refused(error.into()))),
            };
            let body = &link.incoming.memory()[body];
            if header.kind == Kind::Packets {
                match Packets::read(body) {
                    // What the interface does not take is lost, as on any wire.
                    Ok(packets) => packets.iter().for_each(|packet| _ = self.sink.write(packet)),
                    Err(error) => return Ok(Some(Ending::Refused(error.into()))),
                }
                continue;
            }
            match Frame::read(&header, body) {
                Ok(Frame::TunnelSettings(settings)) => {
                    self.interface.apply(&settings)?;
                    let said = if *ready {
                        self.remote.with(|link| link.send(header.id, &Frame::Ready))
                    } else {
                        link.send(header.id, &Frame::Ready)
                    };
                    if said.is_ok() && !std::mem::replace(ready, true) {
                        // From here on the other thread writes too, and never before Ready.
                        self.remote.set(Some(link.writer()?));
                    }
                    if said.is_ok() {
                        (self.tell)("settings");
                    }
                }
                Ok(Frame::Stop(reason)) => return Ok(Some(Ending::Stopped(reason))),
                Ok(Frame::Error(error)) => return Ok(Some(Ending::Refused(error))),
                Ok(
                    Frame::Hello(_)
                    | Frame::HelloAck(_)
                    | Frame::Refused(_)
                    | Frame::Request(_)
                    | Frame::Reply(_)
                    | Frame::Event(_)
                    | Frame::Ready
                    | Frame::Packets(_)
                    | Frame::Pause
                    | Frame::Resume,
                ) => {
                    let error = ErrorBody::new(
                        cryprq_ipc_proto::error::ErrorCode::BadRequest,
                        "the daemon says what only others say",
                    );
                    return Ok(Some(Ending::Refused(error)));
                }
                Err(error) => return Ok(Some(Ending::Refused(error.into()))),
            }
        }
    }
}
