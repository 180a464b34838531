//! Trying endpoints that may work.

use std::time::Duration;

use super::{Endpoint, Path, Paths, candidates};
use crate::time::Time;

/// The first pauses between two probes of one endpoint; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest, and so how long until a way that works again is found.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The pause before an endpoint that just died is tried again.
const AFTER_DEATH: Duration = Duration::from_secs(1);
/// Probes whose answer still counts.
const MAX_TOKENS: usize = 8;

/// Probes to one endpoint until it answers.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) endpoint: Endpoint,
    tokens: Vec<[u8; 8]>,
    pub(super) next: Time,
    pause: Duration,
    /// How many probes are left for an address that only the peer says is its own.
    left: Option<u8>,
}

impl Trial {
    fn at_once(endpoint: Endpoint, now: Time) -> Self {
        Self { endpoint, tokens: Vec::new(), next: now, pause: FIRST_PAUSE, left: None }
    }

    /// A trial of an address that the peer names.
    pub(super) fn of_candidate(endpoint: Endpoint, now: Time) -> Self {
        Self { left: Some(candidates::PROBES), ..Self::at_once(endpoint, now) }
    }

    /// A trial of an endpoint that worked until now.
    pub(super) fn again(endpoint: Endpoint, now: Time) -> Self {
        Self { endpoint, tokens: Vec::new(), next: now + AFTER_DEATH, pause: AFTER_DEATH, left: None }
    }

    /// Whether this is an answer, and from where it was asked for.
    pub(super) fn is_answered_by(&self, token: [u8; 8], from: Endpoint) -> bool {
        self.endpoint.remote == from.remote && self.tokens.contains(&token)
    }
}

impl Paths {
    /// On the stream each endpoint that may work is probed; on datagrams none is.
    pub(super) fn try_endpoints(&mut self, now: Time) {
        if !self.live || self.current != Path::Stream {
            return;
        }
        let connected = self.connected.iter().map(|&(_, endpoint)| endpoint);
        let remembered = self.remembered.iter().map(|&(endpoint, _)| endpoint);
        let worth = connected.chain(remembered).filter(|endpoint| self.is_wide(endpoint.remote));
        let worth: Vec<Endpoint> = worth.collect();
        self.trials.retain(|trial| {
            let known = || worth.iter().any(|endpoint| endpoint.remote == trial.endpoint.remote);
            // The last answer may be on its way until the next probe would be due.
            trial.left.is_some_and(|left| left > 0 || now < trial.next) || known()
        });
        for endpoint in worth {
            if !self.trials.iter().any(|trial| trial.endpoint.remote == endpoint.remote) {
                self.trials.push(Trial::at_once(endpoint, now));
            }
        }
        for number in 0..self.trials.len() {
            let Trial { endpoint, next, left, .. } = self.trials[number];
            if next > now {
                continue;
            }
            self.trials[number].left = left.map(|left| left.saturating_sub(1));
            let token = self.probe(endpoint);
            let trial = &mut self.trials[number];
            if let Some(token) = token {
                if trial.tokens.len() >= MAX_TOKENS {
                    trial.tokens.remove(0);
                }
                trial.tokens.push(token);
            }
            trial.next = now + trial.pause;
            trial.pause = (trial.pause * 2).min(LONGEST_PAUSE);
        }
    }
}
