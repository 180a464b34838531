//! Received frames on their way to the receiving loop.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use node::drops::{DropCounters, DropReason};
use node::router::PeerSlot;
use node::time::Time;
use os::bell::{Bell, wait_readable};

use crate::plane::PeerStats;
use crate::quic::Reader;

const MAX_BATCHES: usize = 64;

/// Frames of one peer from a stream, one after another in one buffer. A spare batch has no peer yet.
#[derive(Debug, Default)]
pub struct InboundBatch {
    /// Whose stream they came from.
    pub slot: Option<PeerSlot>,
    /// Where that peer's drops are counted.
    pub stats: Option<Arc<PeerStats>>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl InboundBatch {
    /// Appends a frame.
    pub fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len());
    }

    /// How many frames it holds.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Where frame `number` lies in [`Self::arena`].
    pub fn range(&self, number: usize) -> Range<usize> {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[number]
    }

    /// All frames, one after another.
    pub fn arena(&self) -> &[u8] {
        &self.bytes
    }

    /// All frames, to be opened in place.
    pub fn arena_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn clear(&mut self) {
        (self.slot, self.stats) = (None, None);
        self.bytes.clear();
        self.ends.clear();
    }
}

/// What comes in: the bounded queue between all stream readers and one receiving loop, and the sockets that the loop
/// reads itself. When the queue is full the oldest batch goes.
pub struct Inbound {
    queue: Mutex<Queue>,
    bell: Bell,
    /// Whether the loop waits for the bell, or is about to.
    asleep: AtomicBool,
    drops: Arc<DropCounters>,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<InboundBatch>,
    spare: Vec<InboundBatch>,
    /// Sockets that the loop does not know yet.
    readers: Vec<Reader>,
    woken: bool,
}

impl Queue {
    fn is_quiet(&self) -> bool {
        self.batches.is_empty() && self.readers.is_empty() && !self.woken
    }
}

impl Inbound {
    /// An empty queue without a socket.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(drops: Arc<DropCounters>) -> io::Result<Self> {
        Ok(Self { queue: Mutex::default(), bell: Bell::new()?, asleep: AtomicBool::new(false), drops })
    }

    /// An empty batch for a reader to fill.
    pub fn spare(&self) -> InboundBatch {
        self.lock().spare.pop().unwrap_or_default()
    }

    /// Queues a batch.
    pub fn push(&self, batch: InboundBatch) {
        let mut queue = self.lock();
        let dropped = if queue.batches.len() >= MAX_BATCHES { queue.batches.pop_front() } else { None };
        queue.batches.push_back(batch);
        drop(queue);
        self.ring();
        if let Some(dropped) = dropped {
            let drops = dropped.stats.as_ref().map_or(&*self.drops, |stats| stats.drops());
            drops.add(DropReason::InQueueFull, dropped.len() as u64);
        }
    }

    /// Has the loop read a socket.
    pub fn attach(&self, reader: Reader) {
        self.lock().readers.push(reader);
        self.ring();
    }

    /// The oldest batch, if there is one.
    pub fn pop(&self) -> Option<InboundBatch> {
        self.lock().batches.pop_front()
    }

    /// Sockets that were attached since the last call.
    pub fn attached(&self) -> Vec<Reader> {
        std::mem::take(&mut self.lock().readers)
    }

    /// Waits until there is a batch, a new socket, something on one of `readers`, the rest of one is over, or
    /// [`Self::wake`] was called. None of `readers` may have something left from before.
    pub fn wait(&self, readers: &[Reader], clock: fn() -> Time) {
        // Before looking, so that whoever queues something afterwards rings.
        self.asleep.store(true, Ordering::SeqCst);
        let rung = !self.lock().is_quiet() || self.rung(readers, clock);
        self.asleep.store(false, Ordering::SeqCst);
        if rung {
            self.bell.silence();
            self.lock().woken = false;
        }
    }

    /// Waits for the bell and for sockets; whether it was the bell.
    fn rung(&self, readers: &[Reader], clock: fn() -> Time) -> bool {
        let rest = readers.iter().filter_map(Reader::rest).min().map(|rest| rest.saturating_since(clock()));
        let descriptors = std::iter::once(self.bell.as_fd()).chain(readers.iter().flat_map(Reader::awaited));
        let Ok(mut ready) = wait_readable(descriptors, rest) else {
            // An error shows again when the sockets are read.
            readers.iter().for_each(Reader::set_ready);
            return true;
        };
        let rung = ready.next() == Some(true);
        for reader in readers {
            if reader.awaited().zip(&mut ready).fold(false, |any, (_, ready)| any | ready) {
                reader.set_ready();
            }
        }
        rung
    }

    /// Gives an opened batch back for reuse.
    pub fn recycle(&self, mut batch: InboundBatch) {
        batch.clear();
        let mut queue = self.lock();
        if queue.spare.len() < MAX_BATCHES {
            queue.spare.push(batch);
        }
    }

    /// Ends a [`Self::wait`], now or next time.
    pub fn wake(&self) {
        self.lock().woken = true;
        self.ring();
    }

    fn ring(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.bell.ring();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(marks: &[u8]) -> InboundBatch {
        let mut batch = InboundBatch { slot: Some(PeerSlot(1)), ..InboundBatch::default() };
        marks.iter().for_each(|&mark| batch.push(&[mark; 3]));
        batch
    }

    #[test]
    fn frames_come_out_in_order_and_a_full_queue_drops_its_oldest_batch() {
        let drops = Arc::new(DropCounters::default());
        let inbound = Inbound::new(Arc::clone(&drops)).unwrap();
        for mark in 0..=64 {
            inbound.push(batch(&[mark, 100 + mark]));
        }
        assert_eq!(drops.get(DropReason::InQueueFull), 2);
        let batch = inbound.pop().unwrap();
        let seen: Vec<_> = (0..batch.len()).map(|number| &batch.arena()[batch.range(number)]).collect();
        assert_eq!(seen, [[1; 3], [101; 3]]);
    }

    #[test]
    fn what_is_dropped_of_a_known_peer_is_counted_with_it() {
        let (drops, stats) = (Arc::<DropCounters>::default(), Arc::<PeerStats>::default());
        let inbound = Inbound::new(Arc::clone(&drops)).unwrap();
        inbound.push(InboundBatch { stats: Some(Arc::clone(&stats)), ..batch(&[1, 2, 3]) });
        (0..64).for_each(|mark| inbound.push(batch(&[mark])));
        assert_eq!((stats.drops().get(DropReason::InQueueFull), drops.total()), (3, 0));
    }

    #[test]
    fn a_waiting_loop_hears_of_a_wake_of_a_batch_and_of_a_datagram() {
        let inbound = Arc::new(Inbound::new(Arc::default()).unwrap());
        let wait = |wake: &dyn Fn()| {
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| inbound.wait(&[], || Time::from_nanos(0)));
                wake();
                waiting.join().unwrap();
            });
        };
        wait(&|| inbound.wake());
        wait(&|| inbound.push(batch(&[1])));
        assert_eq!(inbound.pop().map(|batch| batch.len()), Some(1));
        inbound.wake();
        inbound.wait(&[], || Time::from_nanos(0));
    }
}
