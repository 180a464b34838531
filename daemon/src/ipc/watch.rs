//! One look at the state for everybody who watches, and each watcher's own memory of what it was told.

use std::sync::Arc;
use std::time::Duration;

use cryprq_ipc_proto::message::{Event, EventBody, Status, StatusChange};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use super::dispatch::status;
use super::{Call, Caller};

/// However many begin to watch, there are at most so many looks in the time of one.
const AT_MOST: u32 = 20;

/// The state, looked at once for all watchers, and only while there are any.
#[derive(Clone)]
pub(super) struct States {
    latest: watch::Receiver<Option<Arc<Status>>>,
    wanted: Arc<Notify>,
}

impl States {
    /// Begins to look, once every `pace`; ends with the control task.
    pub(super) fn start(calls: mpsc::Sender<Call>, pace: Duration) -> Self {
        let (sender, latest) = watch::channel(None);
        let wanted = Arc::new(Notify::new());
        tokio::spawn(look(calls, pace, sender, Arc::clone(&wanted)));
        Self { latest, wanted }
    }

    /// A watcher that was told nothing yet.
    pub(super) fn watch(&self) -> Watcher {
        let mut latest = self.latest.clone();
        latest.mark_unchanged();
        self.wanted.notify_one();
        Watcher { latest, told: None, seq: 0 }
    }
}

async fn look(
    calls: mpsc::Sender<Call>,
    pace: Duration,
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
            () = sleep(pace), if watched => {}
        }
        let Ok(status) = status(&calls, &nobody).await else { return };
        sender.send_replace(Some(Arc::new(status)));
        sleep(pace / AT_MOST).await;
    }
}

/// One watch.
pub(super) struct Watcher {
    latest: watch::Receiver<Option<Arc<Status>>>,
    told: Option<Arc<Status>>,
    seq: u64,
}

impl Watcher {
    /// Waits for the next look at the state; false when there will be none, because the daemon stops.
    pub(super) async fn wait(&mut self) -> bool {
        self.latest.changed().await.is_ok()
    }

    /// What this watcher was not told yet: everything at first, then what changed.
    pub(super) fn event(&mut self) -> Option<Event> {
        let now = self.latest.borrow_and_update().clone()?;
        let body = match &self.told {
            None => EventBody::State(Box::new(Status::clone(&now))),
            Some(told) => {
                let change = StatusChange::between(told, &now);
                if change.is_empty() {
                    return None;
                }
                EventBody::Change(Box::new(change))
            }
        };
        self.told = Some(now);
        self.seq += 1;
        Some(Event { seq: self.seq, body })
    }
}
