//! Received frames on their way from the stream readers to the receiving loop.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use node::drops::{DropCounters, DropReason};
use node::router::PeerSlot;

use crate::plane::PeerStats;

const MAX_BATCHES: usize = 64;

/// Frames of one peer, one after another in one buffer. A spare batch has no peer yet.
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

/// The bounded queue between all stream readers and one receiving loop. When it is full the oldest batch goes.
#[derive(Debug)]
pub struct Inbound {
    queue: Mutex<Queue>,
    ready: Condvar,
    drops: Arc<DropCounters>,
}

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<InboundBatch>,
    spare: Vec<InboundBatch>,
    woken: bool,
}

impl Inbound {
    /// An empty queue.
    pub fn new(drops: Arc<DropCounters>) -> Self {
        Self { queue: Mutex::default(), ready: Condvar::new(), drops }
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
        self.ready.notify_one();
        if let Some(dropped) = dropped {
            let drops = dropped.stats.as_ref().map_or(&*self.drops, |stats| stats.drops());
            drops.add(DropReason::InQueueFull, dropped.len() as u64);
        }
    }

    /// Waits for a batch; `None` when the loop was woken for something else.
    pub fn pop(&self) -> Option<InboundBatch> {
        let mut queue = self.lock();
        loop {
            if std::mem::take(&mut queue.woken) {
                return None;
            }
            if let Some(batch) = queue.batches.pop_front() {
                return Some(batch);
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives an opened batch back for reuse.
    pub fn recycle(&self, mut batch: InboundBatch) {
        batch.clear();
        let mut queue = self.lock();
        if queue.spare.len() < MAX_BATCHES {
            queue.spare.push(batch);
        }
    }

    /// Wakes a waiting [`Self::pop`].
    pub fn wake(&self) {
        self.lock().woken = true;
        self.ready.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
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
        let inbound = Inbound::new(Arc::clone(&drops));
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
        let inbound = Inbound::new(Arc::clone(&drops));
        inbound.push(InboundBatch { stats: Some(Arc::clone(&stats)), ..batch(&[1, 2, 3]) });
        (0..64).for_each(|mark| inbound.push(batch(&[mark])));
        assert_eq!((stats.drops().get(DropReason::InQueueFull), drops.total()), (3, 0));
    }

    #[test]
    fn a_waiting_loop_can_be_woken() {
        let inbound = Arc::new(Inbound::new(Arc::default()));
        let waiting = std::thread::spawn({
            let inbound = Arc::clone(&inbound);
            move || inbound.pop().is_none()
        });
        inbound.wake();
        assert!(waiting.join().unwrap());
    }
}
