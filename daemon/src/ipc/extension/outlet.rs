//! Packets and orders to the extension: what it does not take at once waits in a bounded queue.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cryprq_ipc_proto::frame::Frame;
use cryprq_ipc_proto::packets::Gather;
use net::plane::PacketSink;
use node::drops::{DropCounters, DropReason};
use tokio::sync::Notify;

/// The most bytes of packet frames that wait.
pub(super) const MAX_WAITING: usize = 512 * 1024;
/// The most other frames that wait.
const MAX_ORDERS: usize = 16;
/// Buffers that are kept for reuse.
const MAX_SPARE: usize = 8;

/// Whether the extension wants packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Open,
    Paused,
}

/// The writing end, shared by the receiving loop and the conversation.
pub(super) struct Outlet {
    socket: Arc<UnixStream>,
    queue: Mutex<Queue>,
    /// Something waits.
    behind: Notify,
    /// For packets that waited in vain; whose they were is not known any more.
    drops: Arc<DropCounters>,
}

struct Queue {
    flow: Flow,
    /// The connection takes nothing any more.
    broken: bool,
    /// The rest of a frame whose beginning is written.
    begun: VecDeque<u8>,
    orders: VecDeque<Vec<u8>>,
    packets: VecDeque<Waiting>,
    /// The bytes of `packets`.
    bytes: usize,
    spare: Vec<Vec<u8>>,
}

/// A packet frame that waits.
struct Waiting {
    frame: Vec<u8>,
    packets: u64,
}

impl Outlet {
    /// Writes to `socket`, which does not block.
    pub(super) fn new(socket: Arc<UnixStream>, drops: Arc<DropCounters>) -> Self {
        let queue = Queue {
            flow: Flow::Open,
            broken: false,
            begun: VecDeque::new(),
            orders: VecDeque::new(),
            packets: VecDeque::new(),
            bytes: 0,
            spare: Vec::new(),
        };
        Self { socket, queue: Mutex::new(queue), behind: Notify::new(), drops }
    }

    /// Opens or closes the flow of packets. What waits when it is closed is dropped and counted.
    pub(super) fn set_flow(&self, flow: Flow) {
        let mut queue = self.lock();
        queue.flow = flow;
        if flow == Flow::Paused {
            while let Some(packets) = queue.drop_oldest() {
                self.drops.add(DropReason::ExtensionAway, packets);
            }
        }
    }

    /// Sends a frame before all packets that wait; whether there was room for it.
    pub(super) fn order(&self, id: u32, frame: &Frame<'_>) -> bool {
        let Ok(bytes) = frame.write(id) else { return false };
        let mut queue = self.lock();
        if queue.broken || queue.orders.len() >= MAX_ORDERS {
            return false;
        }
        queue.orders.push_back(bytes);
        self.advance(&mut queue);
        true
    }

    /// Completes when something waits.
    pub(super) async fn behind(&self) {
        self.behind.notified().await;
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// `WouldBlock` when the extension takes no more now; otherwise the connection is over.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.lock().flush(&self.socket)
    }

    /// Writes what can be written now, and sees to the rest.
    fn advance(&self, queue: &mut Queue) {
        match queue.flush(&self.socket) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.behind.notify_one(),
            Err(_) => queue.broken = true,
        }
    }

    /// Writes packets from where they lie, by one `writev` a frame.
    fn send(&self, gather: &mut Gather, packets: &[Range<usize>], arena: &[u8], drops: &DropCounters) {
        let mut queue = self.lock();
        if !queue.is_clear() {
            self.advance(&mut queue);
        }
        let mut rest = packets;
        while !rest.is_empty() {
            if queue.broken || queue.flow == Flow::Paused {
                return drops.add(DropReason::ExtensionAway, rest.len() as u64);
            }
            let mut slices = [IoSlice::new(&[]); Gather::SLICES];
            let bytes = rest.iter().map(|at| &arena[at.clone()]);
            // An opened packet has a header, and so a length that fits.
            let Ok((slices, taken)) = gather.frame(bytes, &mut slices) else { return };
            let written = if queue.is_clear() { write_vectored(&self.socket, slices) } else { Ok(0) };
            match written {
                Ok(0) => {
                    queue.wait(slices, taken as u64);
                    self.behind.notify_one();
                }
                Ok(written) => {
                    if queue.begin(slices, written) {
                        self.behind.notify_one();
                    }
                }
                Err(_) => {
                    queue.broken = true;
                    continue;
                }
            }
            while queue.bytes > MAX_WAITING {
                let dropped = queue.drop_oldest().unwrap_or_default();
                self.drops.add(DropReason::ExtensionBehind, dropped);
            }
            rest = &rest[taken..];
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_clear(&self) -> bool {
        self.begun.is_empty() && self.orders.is_empty() && self.packets.is_empty()
    }

    /// Keeps what was not written of a frame; whether there was anything.
    fn begin(&mut self, slices: &mut [IoSlice<'_>], written: usize) -> bool {
        let mut slices = slices;
        IoSlice::advance_slices(&mut slices, written);
        slices.iter().for_each(|slice| self.begun.extend(slice.iter()));
        !self.begun.is_empty()
    }

    /// Puts a frame of packets last.
    fn wait(&mut self, slices: &[IoSlice<'_>], packets: u64) {
        let mut frame = self.spare.pop().unwrap_or_default();
        frame.clear();
        slices.iter().for_each(|slice| frame.extend_from_slice(slice));
        self.bytes += frame.len();
        self.packets.push_back(Waiting { frame, packets });
    }

    /// Takes out the oldest frame of packets; gives how many it held.
    fn drop_oldest(&mut self) -> Option<u64> {
        let Waiting { frame, packets } = self.packets.pop_front()?;
        self.bytes -= frame.len();
        self.keep(frame);
        Some(packets)
    }

    fn keep(&mut self, frame: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(frame);
        }
    }

    /// Writes the frame that was begun, then orders, then packets.
    fn flush(&mut self, socket: &UnixStream) -> io::Result<()> {
        loop {
            while !self.begun.is_empty() {
                let (front, back) = self.begun.as_slices();
                match write_vectored(socket, &[IoSlice::new(front), IoSlice::new(back)])? {
                    0 => return Err(io::ErrorKind::WouldBlock.into()),
                    written => drop(self.begun.drain(..written)),
                }
            }
            if let Some(frame) = self.orders.pop_front() {
                self.begun.extend(frame);
            } else if let Some(Waiting { frame, .. }) = self.packets.pop_front() {
                self.bytes -= frame.len();
                self.begun.extend(&frame);
                self.keep(frame);
            } else {
                return Ok(());
            }
        }
    }
}

/// How many bytes the socket took: 0 when it takes none now.
fn write_vectored(mut socket: &UnixStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        match socket.write_vectored(slices) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The receiving loop's end.
pub(super) struct Sink {
    outlet: Arc<Outlet>,
    gather: Gather,
}

impl Sink {
    pub(super) fn new(outlet: Arc<Outlet>) -> Self {
        Self { outlet, gather: Gather::default() }
    }
}

impl PacketSink for Sink {
    fn write(&mut self, packet: &[u8]) -> io::Result<()> {
        let drops = DropCounters::default();
        self.write_many(std::slice::from_ref(&(0..packet.len())), packet, &drops);
        if drops.total() == 0 { Ok(()) } else { Err(io::ErrorKind::NotConnected.into()) }
    }

    fn takes(&self) -> usize {
        Gather::PACKETS
    }

    fn write_many(&mut self, packets: &[Range<usize>], arena: &[u8], drops: &DropCounters) {
        self.outlet.send(&mut self.gather, packets, arena, drops);
    }
}

/// The receiving loop's end while there is no extension.
pub(super) struct Absent;

impl PacketSink for Absent {
    fn takes(&self) -> usize {
        Gather::PACKETS
    }

    fn write_many(&mut self, packets: &[Range<usize>], _arena: &[u8], drops: &DropCounters) {
        drops.add(DropReason::ExtensionAway, packets.len() as u64);
    }
}
