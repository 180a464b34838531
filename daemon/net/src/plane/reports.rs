//! What the loops tell the control task: coalesced per peer, so that a loop never waits and nothing grows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use node::path::{Input as PathInput, Path};
use node::router::PeerSlot;
use node::time::Time;
use node::tunnel::{Report, Traffic};
use tokio::sync::Notify;

/// Reports that say something new at once (first frames, limits, probes) kept per peer between two drains.
const MAX_URGENT: usize = 64;

/// What the loops tell of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// For its tunnel.
    Tunnel(Report),
    /// Authentic frames came in.
    Received {
        /// When the last of them did.
        at: Time,
        /// Which way it came.
        via: Path,
    },
    /// The answer to a probe of ours came in.
    Acked {
        /// The probe's token.
        token: [u8; 8],
        /// When.
        at: Time,
        /// Which way it came.
        via: Path,
    },
    /// For its paths.
    Paths(PathInput),
}

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
    received: Option<(Time, Path)>,
    content: Option<Time>,
    keepalive: Option<Time>,
    moved: Option<News>,
    urgent: Vec<News>,
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
    pub fn drain(&self) -> Vec<(PeerSlot, News)> {
        let pending = std::mem::take(&mut *self.lock());
        let mut out = Vec::new();
        for (slot, pending) in pending {
            let Pending { received, content, keepalive, moved, urgent } = pending;
            let sent = |traffic| move |at| News::Tunnel(Report::Sent { at, traffic });
            // In the order of time: what came in ends the wait for an answer that a sent packet began, if it came later.
            let unanswered = content > received.map(|(at, _)| at);
            let received = received.map(|(at, via)| News::Received { at, via });
            let content = content.map(sent(Traffic::Content));
            let (before, after) = if unanswered { (None, content) } else { (content, None) };
            let sent_before = keepalive.map(sent(Traffic::Keepalive)).into_iter().chain(before);
            let rest = moved.into_iter().chain(sent_before).chain(received).chain(after);
            out.extend(urgent.into_iter().chain(rest).map(|news| (slot, news)));
        }
        self.expected.store(!out.is_empty(), Ordering::Release);
        if out.is_empty() && !self.lock().is_empty() {
            // Something came in between: do not sleep on it.
            self.ready.notify_one();
        }
        out
    }

    pub(super) fn tunnel(&self, slot: PeerSlot, report: Report) {
        self.push(slot, News::Tunnel(report));
    }

    pub(super) fn push(&self, slot: PeerSlot, news: News) {
        let mut peers = self.lock();
        let pending = peers.entry(slot).or_default();
        let urgent = match news {
            News::Received { at, via } => {
                pending.received = Some((at, via));
                false
            }
            News::Tunnel(Report::Sent { at, traffic: Traffic::Content }) => {
                pending.content = Some(at);
                false
            }
            News::Tunnel(Report::Sent { at, traffic: Traffic::Keepalive }) => {
                pending.keepalive = Some(at);
                false
            }
            // Each frame of a peer that moved has another counter: the last one counts.
            News::Paths(PathInput::Moved { .. }) => pending.moved.replace(news).is_none(),
            News::Tunnel(_) | News::Acked { .. } | News::Paths(_) => {
                let new = pending.urgent.len() < MAX_URGENT && !pending.urgent.contains(&news);
                if new {
                    pending.urgent.push(news);
                }
                new
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_after_the_last_arrival_is_told_after_it() {
        let reports = Reports::default();
        let at = Time::from_nanos;
        let sent = |nanos| News::Tunnel(Report::Sent { at: at(nanos), traffic: Traffic::Content });
        let received = |nanos| News::Received { at: at(nanos), via: Path::Stream };
        for (news, told) in [
            ([sent(1), received(2)], [sent(1), received(2)]),
            ([received(1), sent(2)], [received(1), sent(2)]),
            ([received(3), sent(2)], [sent(2), received(3)]),
            ([received(4), sent(4)], [sent(4), received(4)]),
        ] {
            news.into_iter().for_each(|news| reports.push(PeerSlot(1), news));
            assert_eq!(reports.drain(), told.map(|news| (PeerSlot(1), news)));
        }
    }
}
