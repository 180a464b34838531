//! What the service manager is told. Only systemd listens; launchd looks at the process alone.

use std::time::Duration;

use node::time::Time;
use sd_notify::NotifyState;

/// The daemon serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is being read; [`ready`] follows.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The daemon is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Where nobody listens nothing is missed.
    let _ = sd_notify::notify(states);
}

/// The service manager's patience with a control task that hangs (`WatchdogSec`).
#[derive(Debug)]
pub struct Watchdog {
    pace: Duration,
    due: Time,
}

impl Watchdog {
    /// The watchdog, if the service manager keeps one.
    pub fn start(now: Time) -> Option<Self> {
        let patience = sd_notify::watchdog_enabled()?;
        Some(Self { pace: patience / 2, due: now })
    }

    /// When it wants to hear of us.
    pub const fn deadline(&self) -> Time {
        self.due
    }

    /// Lets it hear of us, if it is time.
    pub fn feed(&mut self, now: Time) {
        if self.due <= now {
            tell(&[NotifyState::Watchdog]);
            self.due = now + self.pace;
        }
    }
}
