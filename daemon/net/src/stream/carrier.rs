//! The sending side: a bounded queue that drops its oldest frames, drained by one task.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::AsyncWriteExt;
use libp2p::{PeerId, Stream};
use node::drops::DropReason;
use node::frame::FrameBatch;
use node::time::Time;
use tokio::sync::Notify;

use super::DATA;
use crate::plane::{Carrier, PeerStats};
use crate::swarm::Substreams;

/// Several reads of a device with segmentation offload, each of up to four super-packets; what waits is bounded by
/// [`MAX_WAIT`] as well.
const MAX_FRAMES: usize = 1024;
/// How long a frame may wait behind a writer that the network holds up.
const MAX_WAIT: Duration = Duration::from_millis(20);
const REOPEN_AFTER: Duration = Duration::from_millis(200);

/// Frames on a libp2p substream to one peer.
pub struct StreamCarrier {
    queue: Mutex<Queue>,
    ready: Notify,
    /// Another connection serves the peer better than that of the open substream.
    moved: Notify,
    stats: Arc<PeerStats>,
    clock: fn() -> Time,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Queued>,
    /// Buffers of frames that were sent, to be used again.
    spare: Vec<Vec<u8>>,
    open: bool,
}

struct Queued {
    at: Time,
    /// The frame behind its length.
    bytes: Vec<u8>,
}

impl StreamCarrier {
    /// A carrier whose frames go nowhere until the swarm drives it.
    pub fn new(stats: Arc<PeerStats>, clock: fn() -> Time) -> Self {
        Self { queue: Mutex::default(), ready: Notify::new(), moved: Notify::new(), stats, clock }
    }

    /// Where the peer's drops are counted.
    pub(crate) fn stats(&self) -> Arc<PeerStats> {
        Arc::clone(&self.stats)
    }

    /// Whether a connection to the peer stands; without one frames are dropped at once, those that wait too.
    pub(crate) fn set_open(&self, open: bool) {
        let mut queue = self.lock();
        queue.open = open;
        let dropped = if open { 0 } else { queue.frames.drain(..).count() };
        drop(queue);
        self.stats.drops().add(DropReason::OutNoPath, dropped as u64);
    }

    /// Goes on with a new substream: on the connection that is the best one by now.
    pub(crate) fn move_over(&self) {
        self.moved.notify_one();
    }

    /// Opens a substream whenever there is something to send, and writes all that is queued in one write.
    pub(crate) async fn run(self: Arc<Self>, peer: PeerId, substreams: Substreams) {
        let mut stream: Option<Stream> = None;
        let mut buffer = Vec::new();
        let mut held_up = false;
        loop {
            self.ready.notified().await;
            loop {
                let frames = self.take(&mut buffer, held_up);
                if frames == 0 {
                    break;
                }
                let started = (self.clock)();
                let written = loop {
                    // A connection that died holds its writer up until it is given up, much longer than a peer waits.
                    tokio::select! {
                        biased;
                        // The peer reads its newest substream alone; dropping the older one frees it there too. What was
                        // written to that may be lost, and what comes twice is dropped.
                        () = self.moved.notified() => stream = None,
                        written = write(&mut stream, peer, &substreams, &buffer) => break written,
                    }
                };
                if let Err(error) = written {
                    self.stats.drops().add(DropReason::OutNoPath, frames);
                    if let NotWritten::NotOpened = error {
                        tokio::time::sleep(REOPEN_AFTER).await;
                    }
                }
                held_up = (self.clock)().saturating_since(started) > MAX_WAIT;
            }
        }
    }

    /// Moves the queued frames into `buffer`, except stale ones of a writer that was held up; how many there are.
    fn take(&self, buffer: &mut Vec<u8>, held_up: bool) -> u64 {
        buffer.clear();
        let now = (self.clock)();
        let mut queue = self.lock();
        let (mut taken, mut stale) = (0, 0);
        while let Some(mut frame) = queue.frames.pop_front() {
            if held_up && now.saturating_since(frame.at) > MAX_WAIT {
                stale += 1;
            } else {
                buffer.extend_from_slice(&frame.bytes);
                taken += 1;
            }
            frame.bytes.clear();
            queue.spare.push(frame.bytes);
        }
        drop(queue);
        self.stats.drops().add(DropReason::OutStale, stale);
        taken
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why frames could not be written.
enum NotWritten {
    /// There is no substream.
    NotOpened,
    /// It broke.
    Broken,
}

/// Writes to the open substream, or to one that is opened now.
async fn write(
    stream: &mut Option<Stream>,
    peer: PeerId,
    substreams: &Substreams,
    bytes: &[u8],
) -> Result<(), NotWritten> {
    let mut open = match stream.take() {
        Some(open) => open,
        None => substreams.open(peer, DATA).await.map_err(|_| NotWritten::NotOpened)?,
    };
    open.write_all(bytes).await.map_err(|_| NotWritten::Broken)?;
    open.flush().await.map_err(|_| NotWritten::Broken)?;
    *stream = Some(open);
    Ok(())
}

impl Carrier for StreamCarrier {
    fn send(&self, frames: &FrameBatch) {
        let at = (self.clock)();
        let mut dropped = 0;
        let mut queue = self.lock();
        if !queue.open {
            drop(queue);
            self.stats.drops().add(DropReason::OutNoPath, frames.len() as u64);
            return;
        }
        for frame in frames.frames() {
            let Ok(length) = u16::try_from(frame.len()) else {
                dropped += 1;
                continue;
            };
            let mut bytes = queue.spare.pop().unwrap_or_default();
            if queue.frames.len() >= MAX_FRAMES {
                queue.frames.pop_front();
                dropped += 1;
            }
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(frame);
            queue.frames.push_back(Queued { at, bytes });
        }
        drop(queue);
        self.stats.drops().add(DropReason::OutQueueFull, dropped);
        self.ready.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use node::epoch::{Cipher, EpochId, EpochState, Limits, Sealer};
    use node::handshake::{Negotiated, PaddingMode, ReceiverIndex};
    use node::secret::SecretKey32;

    use super::*;

    static NOW: AtomicU64 = AtomicU64::new(0);

    fn clock() -> Time {
        Time::from_nanos(NOW.load(Ordering::Relaxed))
    }

    fn frames(count: usize) -> FrameBatch {
        let negotiated = Negotiated {
            mtu: 1420,
            rotation: Duration::from_secs(300),
            padding: PaddingMode::Multiple16,
            cipher: Cipher::ChaCha20Poly1305,
            partial_checksums: false,
        };
        let limits = Limits::standard(negotiated.cipher, negotiated.rotation);
        let index = ReceiverIndex::new(1).unwrap();
        let state = Arc::new(EpochState::new(EpochId(1)));
        let sealer = Sealer::new(&SecretKey32::new([1; 32]), index, &negotiated, limits, Time::ZERO, state);
        let mut batch = FrameBatch::new(1 << 16);
        for _ in 0..count {
            sealer.seal_empty(Time::ZERO, &mut batch).unwrap();
        }
        batch
    }

    #[test]
    fn a_full_queue_drops_its_oldest_and_a_slow_network_what_is_stale() {
        let stats = Arc::new(PeerStats::default());
        let (carrier, drops) = (StreamCarrier::new(Arc::clone(&stats), clock), stats.drops());
        carrier.send(&frames(3));
        assert_eq!(drops.get(DropReason::OutNoPath), 3, "no connection, no queue");
        carrier.set_open(true);
        carrier.send(&frames(MAX_FRAMES + 4));
        assert_eq!(drops.get(DropReason::OutQueueFull), 4);
        let mut buffer = Vec::new();
        assert_eq!(carrier.take(&mut buffer, false), MAX_FRAMES as u64);
        assert_eq!(buffer.len(), MAX_FRAMES * (2 + 48));
        // The first frame left is the fifth that was sealed.
        assert_eq!((buffer[0], buffer[1], buffer[10]), (48, 0, 4));

        carrier.send(&frames(2));
        NOW.store(21_000_000, Ordering::Relaxed);
        carrier.send(&frames(1));
        assert_eq!(carrier.take(&mut buffer, true), 1);
        assert_eq!((buffer.len(), drops.get(DropReason::OutStale)), (50, 2));
        assert_eq!(carrier.take(&mut buffer, true), 0);
        carrier.send(&frames(4));
        carrier.set_open(false);
        assert_eq!(drops.get(DropReason::OutNoPath), 3 + 4, "what waits when the connection goes");
    }
}
