//! One look at the state for everybody who watches, and each watcher's own memory of what it was told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cryprq_ipc_proto::message::{Event, EventBody, HostChange, PeerFields, Status, StatusChange};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use super::dispatch::status;
use super::stream::Timing;
use super::{Call, Caller};

/// However many begin to watch, there are at most so many looks in the time of one.
const AT_MOST: u32 = 4;

/// The state, looked at once for all watchers, and only while there are any.
#[derive(Clone)]
pub(super) struct States {
    latest: watch::Receiver<Option<Arc<Status>>>,
    wanted: Arc<Notify>,
    pace: Duration,
}

impl States {
    /// Begins to look; ends with the control task.
    pub(super) fn start(calls: mpsc::Sender<Call>, timing: Timing) -> Self {
        let (sender, latest) = watch::channel(None);
        let wanted = Arc::new(Notify::new());
        tokio::spawn(look(calls, timing.look, sender, Arc::clone(&wanted)));
        Self { latest, wanted, pace: timing.pace }
    }

    /// A watcher that was told nothing yet.
    pub(super) fn watch(&self) -> Watcher {
        let mut latest = self.latest.clone();
        latest.mark_unchanged();
        self.wanted.notify_one();
        Watcher { latest, told: None, pace: self.pace, seq: 0 }
    }
}

async fn look(
    calls: mpsc::Sender<Call>,
    every: Duration,
    sender: watch::Sender<Option<Arc<Status>>>,
    wanted: Arc<Notify>,
) {
    // The daemon's own question, which no rule is asked about.
    let nobody = Caller { credentials: None };
    loop {
        // One receiver is the one that watchers are cloned from.
        let watched = sender.receiver_count() > 1;
        tokio::select! {
            () = wanted.notified() => {}
            () = sleep(every), if watched => {}
        }
        let Ok(status) = status(&calls, &nobody).await else { return };
        sender.send_replace(Some(Arc::new(status)));
        sleep(every / AT_MOST).await;
    }
}

/// One watch.
pub(super) struct Watcher {
    latest: watch::Receiver<Option<Arc<Status>>>,
    /// The state that was told last, and when.
    told: Option<(Arc<Status>, Instant)>,
    pace: Duration,
    seq: u64,
}

impl Watcher {
    /// Waits for the next look at the state; false when there will be none, because the daemon stops.
    pub(super) async fn wait(&mut self) -> bool {
        self.latest.changed().await.is_ok()
    }

    /// What this watcher was not told yet: everything at first, then what changed. Measurements alone wait for the
    /// pace, and for company.
    pub(super) fn event(&mut self) -> Option<Event> {
        let now = self.latest.borrow_and_update().clone()?;
        let body = match &self.told {
            None => EventBody::State(Box::new(Status::clone(&now))),
            Some((told, at)) => {
                let change = StatusChange::between(told, &now);
                if change.is_empty() || !is_news(&change) && at.elapsed() < self.pace {
                    return None;
                }
                EventBody::Change(Box::new(change))
            }
        };
        self.told = Some((now, Instant::now()));
        self.seq += 1;
        Some(Event { seq: self.seq, body })
    }
}

/// Whether something else changed than what is measured and counted.
fn is_news(change: &StatusChange) -> bool {
    let StatusChange { host, peers, peers_added, peers_removed } = change;
    let host = HostChange { drops: None, ..host.clone() };
    let peer_has_news = |fields: &PeerFields| {
        let rest = PeerFields {
            // Mostly another round trip.
            path: None,
            last_authentic: None,
            last_authentic_ms: None,
            next_rotation_ms: None,
            rx_bytes: None,
            tx_bytes: None,
            rx_packets: None,
            tx_packets: None,
            rx_bps: None,
            tx_bps: None,
            drops: None,
            ..fields.clone()
        };
        rest != PeerFields::default()
    };
    host != HostChange::default()
        || !peers_added.is_empty()
        || !peers_removed.is_empty()
        || peers.iter().any(|peer| peer_has_news(&peer.fields))
}
