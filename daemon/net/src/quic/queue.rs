//! QUIC packets on their way from the reading thread to quinn.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use futures::task::AtomicWaker;
use node::drops::{DropCounters, DropReason};
use os::udp::Arrival;

/// Packets that may wait. Under load QUIC loses what comes then and sends it again.
pub(super) const MAX_PACKETS: usize = 4096;
/// Buffers kept for reuse.
const MAX_SPARE: usize = 32;
/// The longest packet: what we tell peers that we take.
pub(super) const MAX_PACKET: usize = 1472;
/// Packets in a run: what each of quinn's buffers holds.
pub(super) const MAX_RUN: usize = 16;
const MAX_RUN_BYTES: usize = MAX_RUN * MAX_PACKET;

/// A bounded queue; when it is full the newest packet goes.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    waker: AtomicWaker,
    drops: Arc<DropCounters>,
}

#[derive(Debug, Default)]
struct Inner {
    runs: VecDeque<Run>,
    /// Packets of all runs.
    packets: usize,
    spare: Vec<Vec<u8>>,
}

/// Packets that came alike: each but the last has the length of the arrival's stride.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) arrival: Arrival,
    pub(super) bytes: Vec<u8>,
}

impl Run {
    /// Whether a packet may be appended.
    fn takes(&self, arrival: Arrival, packet: &[u8]) -> bool {
        self.arrival == arrival
            && self.bytes.len().is_multiple_of(arrival.stride)
            && self.bytes.len() + packet.len() <= MAX_RUN_BYTES
    }

    fn packets(&self) -> usize {
        self.bytes.len().div_ceil(self.arrival.stride)
    }
}

impl Queue {
    pub(super) fn new(drops: Arc<DropCounters>) -> Self {
        Self { inner: Mutex::default(), waker: AtomicWaker::new(), drops }
    }

    /// Queues a copy of a packet, which is no longer than the arrival's stride; [`Self::wake`] tells quinn of it.
    pub(super) fn push(&self, arrival: Arrival, packet: &[u8]) {
        if packet.len() > MAX_PACKET {
            return self.drops.count(DropReason::QuicLength);
        }
        let mut inner = self.lock();
        if inner.packets >= MAX_PACKETS {
            drop(inner);
            return self.drops.count(DropReason::QuicQueueFull);
        }
        inner.packets += 1;
        if let Some(run) = inner.runs.back_mut().filter(|run| run.takes(arrival, packet)) {
            return run.bytes.extend_from_slice(packet);
        }
        let mut bytes = inner.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(packet);
        inner.runs.push_back(Run { arrival, bytes });
    }

    /// Tells quinn that there are packets.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Hands up to `most` runs to `take`, oldest first; how many there were. Without any the task of `cx` is woken when
    /// some come.
    pub(super) fn drain(&self, cx: &Context<'_>, most: usize, mut take: impl FnMut(usize, &Run)) -> usize {
        // Before looking, so that what comes afterwards wakes the task.
        self.waker.register(cx.waker());
        let mut inner = self.lock();
        let count = inner.runs.len().min(most);
        for index in 0..count {
            let Some(mut run) = inner.runs.pop_front() else { break };
            inner.packets -= run.packets();
            take(index, &run);
            if inner.spare.len() < MAX_SPARE {
                run.bytes.clear();
                inner.spare.push(run.bytes);
            }
        }
        count
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;
    use os::udp::Ecn;

    use super::*;

    fn arrival(stride: usize) -> Arrival {
        Arrival { from: "192.0.2.1:7".parse().unwrap(), to: None, ecn: Ecn::Off, stride }
    }

    fn runs(queue: &Queue) -> Vec<Vec<u8>> {
        let (waker, mut seen) = (noop_waker(), Vec::new());
        while queue.drain(&Context::from_waker(&waker), 3, |_, run| seen.push(run.bytes.clone())) > 0 {}
        seen
    }

    #[test]
    fn what_does_not_fit_is_counted_and_what_was_first_comes_first() {
        let drops = Arc::new(DropCounters::default());
        let queue = Queue::new(Arc::clone(&drops));
        for round in 1..=2 {
            let sent: Vec<[u8; 4]> = (0..MAX_PACKETS as u32).map(u32::to_le_bytes).collect();
            sent.iter().for_each(|packet| queue.push(arrival(4), packet));
            queue.push(arrival(4), b"more");
            assert_eq!(drops.snapshot(), [(DropReason::QuicQueueFull, round)]);
            assert_eq!(runs(&queue).concat(), sent.concat());
        }
    }

    #[test]
    fn packets_that_came_alike_make_runs_that_fit_quinns_buffers() {
        let queue = Queue::new(Arc::default());
        (0..MAX_RUN + 1).for_each(|_| queue.push(arrival(MAX_PACKET), &[1; MAX_PACKET]));
        queue.push(arrival(MAX_PACKET), &[2; 9]);
        queue.push(arrival(MAX_PACKET), &[3; MAX_PACKET]);
        queue.push(Arrival { ecn: Ecn::Congested, ..arrival(MAX_PACKET) }, &[4; MAX_PACKET]);
        let lengths: Vec<_> = runs(&queue).iter().map(Vec::len).collect();
        assert_eq!(lengths, [MAX_RUN_BYTES, MAX_PACKET + 9, MAX_PACKET, MAX_PACKET]);
    }

    #[test]
    fn a_packet_longer_than_announced_is_counted() {
        let drops = Arc::new(DropCounters::default());
        Queue::new(Arc::clone(&drops)).push(arrival(MAX_PACKET + 1), &[0x40; MAX_PACKET + 1]);
        assert_eq!(drops.snapshot(), [(DropReason::QuicLength, 1)]);
    }
}
