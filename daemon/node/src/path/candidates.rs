//! Where peers tell each other that datagrams may reach them (protocol.md 7.7).
//!
//! While frames go by a stream, both sides tell each other their addresses, and each probes those of the other a few
//! times. Both do so at about the same time, so the probes open the way through NATs for one another.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Endpoint, Output, Path, Paths, Trial};
use crate::handshake::{MAX_ENDPOINTS, Tlv, TlvError, read_all, write_all};
use crate::time::Time;

/// How many probes an address gets that has not answered (6.3: 0x80).
pub(super) const PROBES: u8 = 5;
/// When the first message leaves after there is no other way than the stream: what is known is tried before.
const FIRST: Duration = Duration::from_secs(1);
/// The pauses after it: this one, and each twice the one before, up to the longest.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// At most one message leaves, and one that comes is acted on, in this time.
const BETWEEN: Duration = Duration::from_secs(2);

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Where the sender may be reached.
    pub addresses: Vec<SocketAddr>,
    /// Where the sender sees the receiver's datagrams come from.
    pub observed: Option<SocketAddr>,
}

impl Candidates {
    /// The message; addresses past the eighth are left out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let addresses = self.addresses.iter().take(MAX_ENDPOINTS).map(|&address| Tlv::UdpEndpoint(address));
        let tlvs: Vec<_> = addresses.chain(self.observed.map(Tlv::Observed)).collect();
        // Nine of them are far below the 512 bytes of the limit.
        write_all(&tlvs).unwrap_or_default()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// As for the extensions of a handshake (6.3).
    pub fn from_bytes(message: &[u8]) -> Result<Self, TlvError> {
        let mut candidates = Self::default();
        for tlv in read_all(message)? {
            match tlv {
                Tlv::UdpEndpoint(address) => candidates.addresses.push(address),
                Tlv::Observed(address) => candidates.observed = Some(address),
                Tlv::Forwarding(_) => {}
            }
        }
        Ok(candidates)
    }
}

/// When candidates are told, and when some were last taken.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    next: Option<Time>,
    pause: Duration,
    told_at: Option<Time>,
    taken_at: Option<Time>,
}

impl Exchange {
    /// Only the stream is left, or this host's addresses are others now.
    pub(super) fn begin(&mut self, now: Time) {
        (self.next, self.pause) = (Some(now + FIRST), PAUSE);
    }

    pub(super) fn end(&mut self) {
        self.next = None;
    }

    pub(super) const fn deadline(&self) -> Option<Time> {
        self.next
    }

    /// Whether a message is due.
    fn is_due(&mut self, now: Time) -> bool {
        if self.next.is_none_or(|next| now < next) {
            return false;
        }
        self.next = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.may_tell(now)
    }

    fn may_tell(&mut self, now: Time) -> bool {
        let may = self.told_at.is_none_or(|at| now >= at + BETWEEN);
        if may {
            self.told_at = Some(now);
        }
        may
    }
}

impl Paths {
    /// The peer names addresses where datagrams may reach it; the caller has left out what must not be tried (7.7). They
    /// are tried, and ours are told in return. Drain [`Self::poll_output`] afterwards.
    pub fn take_candidates(&mut self, now: Time, candidates: &[SocketAddr]) {
        if !self.live || self.exchange.taken_at.is_some_and(|at| now < at + BETWEEN) {
            return;
        }
        self.exchange.taken_at = Some(now);
        if self.current == Path::Stream {
            for &remote in candidates.iter().take(MAX_ENDPOINTS) {
                if self.is_wide(remote) && !self.trials.iter().any(|trial| trial.endpoint.remote == remote) {
                    self.trials.push(Trial::of_candidate(Endpoint { remote, local: None }, now));
                }
            }
        }
        if self.exchange.may_tell(now) {
            self.outputs.push_back(Output::TellCandidates);
        }
        self.settle(now);
    }

    pub(super) fn tell_candidates(&mut self, now: Time) {
        let wanted = self.live && self.current == Path::Stream && self.narrow.is_empty();
        if !wanted {
            self.exchange.end();
        } else if self.exchange.deadline().is_none() {
            self.exchange.begin(now);
        }
        if self.exchange.is_due(now) {
            self.outputs.push_back(Output::TellCandidates);
        }
    }
}
