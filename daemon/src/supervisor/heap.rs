//! When memory that connections have used goes back to the system.

use std::time::Duration;

use node::time::Time;

/// Between two times. It is for a host with many peers, whose heap is large and full of holes after a storm of handshakes.
const PAUSE: Duration = Duration::from_secs(60);

/// Whether there is something to give back.
#[derive(Debug)]
pub(super) struct Heap {
    /// Connections came or went since the last time.
    used: bool,
    last: Time,
}

impl Heap {
    pub(super) const fn new(now: Time) -> Self {
        Self { used: false, last: now }
    }

    /// A connection came or went.
    pub(super) const fn used(&mut self) {
        self.used = true;
    }

    /// Gives back what is free, if that is due.
    pub(super) fn look(&mut self, now: Time) {
        if self.is_due(now) {
            os::heap::give_back();
        }
    }

    fn is_due(&mut self, now: Time) -> bool {
        let due = self.used && now.saturating_since(self.last) >= PAUSE;
        if due {
            *self = Self::new(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_a_while_after_connections_came_and_not_without() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let mut heap = Heap::new(at(0));
        assert!(!heap.is_due(at(100)), "nothing was used");
        heap.used();
        assert!(heap.is_due(at(101)));
        heap.used();
        assert!(!heap.is_due(at(102)) && heap.is_due(at(161)) && !heap.is_due(at(300)));
    }
}
