//! What the loops tell the control task: coalesced per peer, so that a loop never waits and nothing grows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use node::router::PeerSlot;
use node::time::Time;
use node::tunnel::{Report, Traffic};
use tokio::sync::Notify;

/// Reports that say something new at once (first frames, limits, probes) kept per peer between two drains.
const MAX_URGENT: usize = 64;

/// A mailbox of one place per peer and kind.
#[derive(Debug, Default)]
pub struct Reports {
    peers: Mutex<BTreeMap<PeerSlot, Pending>>,
    ready: Notify,
    /// The control task will look again by itself within [`Self::PAUSE`].
    expected: AtomicBool,
}

#[derive(Debug, Default)]
struct Pending {
    received: Option<Time>,
    content: Option<Time>,
    keepalive: Option<Time>,
    urgent: Vec<Report>,
}

impl Reports {
    /// How often the control task looks while packets flow.
    pub const PAUSE: Duration = Duration::from_millis(100);

    /// Waits until there is something to drain.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes everything. While this gives something, call it again after [`Self::PAUSE`]; once it gives nothing,
    /// [`Self::ready`] tells when to.
    pub fn drain(&self) -> Vec<(PeerSlot, Report)> {
        let pending = std::mem::take(&mut *self.lock());
        let mut out = Vec::new();
        for (slot, pending) in pending {
            let sent = |traffic| move |at| Report::Sent { at, traffic };
            let urgent = pending.urgent.into_iter();
            let received = pending.received.map(|at| Report::Received { at });
            let content = pending.content.map(sent(Traffic::Content));
            let keepalive = pending.keepalive.map(sent(Traffic::Keepalive));
            // What came in first: an answer may end the wait that a sent packet would begin.
            let rest = keepalive.into_iter().chain(content).chain(received);
            out.extend(urgent.chain(rest).map(|report| (slot, report)));
        }
        self.expected.store(!out.is_empty(), Ordering::Release);
        if out.is_empty() && !self.lock().is_empty() {
            // Something came in between: do not sleep on it.
            self.ready.notify_one();
        }
        out
    }

    pub(super) fn push(&self, slot: PeerSlot, report: Report) {
        let mut peers = self.lock();
        let pending = peers.entry(slot).or_default();
        let urgent = match report {
            Report::Received { at } => {
                pending.received = Some(at);
                false
            }
            Report::Sent { at, traffic: Traffic::Content } => {
                pending.content = Some(at);
                false
            }
            Report::Sent { at, traffic: Traffic::Keepalive } => {
                pending.keepalive = Some(at);
                false
            }
            Report::FirstFrame { .. }
            | Report::SoftLimit { .. }
            | Report::HardLimit { .. }
            | Report::ProbeReceived { .. }
            | Report::ProbeAcked { .. } => {
                if pending.urgent.len() < MAX_URGENT && !pending.urgent.contains(&report) {
                    pending.urgent.push(report);
                }
                true
            }
        };
        drop(peers);
        if urgent || !self.expected.swap(true, Ordering::AcqRel) {
            self.ready.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PeerSlot, Pending>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
