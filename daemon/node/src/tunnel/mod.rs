//! One peer's tunnel: a state machine without I/O (protocol.md 6.6, 6.7 and 8).
//!
//! [`Tunnel`] is owned by one task. It is told what happened by [`Tunnel::handle`]; after each call the owner drains
//! [`Tunnel::poll_output`] until it is empty, does what it says in that order, and calls `handle(now, Input::Timeout)`
//! at [`Tunnel::deadline`] or later. Nothing in it fails: a fault ends one handshake and becomes an event and a
//! counter, and a failed rotation never touches the epoch that works.
//!
//! * [`keyring`](Keyring) says which receive keys and chain keys live, and on which epoch to send: the rules of
//!   section 8 alone, over any kind of key, so that an exhaustive search can run them.
//! * `rotation` says who starts a handshake and when, who survives a collision, and how long failures pause.
//! * `attempts` holds the handshakes in flight; `initiating` and `responding` are their two sides.
//! * `liveness` probes a silent peer and keeps an idle path open.
//! * `settle` brings everything that depends on time up to date after each input.
//!
//! The packet loops get an epoch's [`Opener`](crate::epoch::Opener) by [`Output::Install`] and the
//! [`Sealer`](crate::epoch::Sealer) to use by [`Output::SendWith`]. As initiator the opener is installed before M3
//! leaves, as responder once M3 is verified and before M4 leaves. Frames that come earlier, from an initiator that is
//! not proven yet, find no key and are dropped (the second way that 6.6 allows), so nothing is concluded from them.

mod attempts;
mod chain;
mod config;
mod indices;
mod initiating;
mod io;
mod keyring;
mod liveness;
mod responding;
mod rotation;
mod settle;

pub use chain::{Base, ChainPair, Link};
pub use config::{AesRule, ChainRule, CounterLimits, TunnelConfig, TunnelLimits};
pub use indices::{IndexLease, IndexSpace};
pub use io::{
    AttemptId, ChainStart, Close, ConnectionId, Dialled, EpochStatus, HandshakeFault, Input, Output, Report, Role,
    Traffic, TunnelEvent, TunnelStatus, Want,
};
pub use keyring::{Epoch, Full, Keyring, MAX_EPOCHS, Made};
pub use rotation::{Progress, Rank, Verdict, collide};

use std::collections::{BTreeMap, VecDeque};

use attempts::{Answering, EpochKeys, Incoming, Own};
use liveness::Liveness;
use rotation::{Backoff, Bucket};

use crate::crypto::RandomSource;
use crate::epoch::EpochId;
use crate::handshake::{ChainKey, RejectCode};
use crate::peer_key::PeerKey;
use crate::secret::StoredSecret;
use crate::state::PeerState;
use crate::time::Time;

/// One peer's state machine; the module says how to drive it.
pub struct Tunnel {
    config: TunnelConfig,
    random: Box<dyn RandomSource>,
    rank: Rank,
    want: Want,
    keyring: Keyring<EpochKeys, ChainKey>,
    own: Option<Own>,
    answering: Option<Answering>,
    incoming: Vec<Incoming>,
    /// The preferred one comes last: the newest that answers.
    connections: Vec<(ConnectionId, Dialled)>,
    last_attempt: u64,
    /// The epoch that the loops were told to send on, and whether it was confirmed then.
    sending: Option<(EpochId, Confirmed)>,
    rotate_at: Option<Time>,
    /// When to start while no epoch is live or the path is dead.
    start_at: Time,
    /// New keys are wanted as soon as the pauses allow, until there are some: a command, a soft limit, a failure, or
    /// the answer to REJECT 3.
    urgent: bool,
    /// What the next M1 names; decided by REJECT 3.
    next_base: Option<Base>,
    backoff: Backoff,
    refused: Option<RejectCode>,
    bucket: Bucket,
    liveness: Liveness,
    /// Until when one chain reset is accepted.
    armed_until: Option<Time>,
    state: PeerState,
    outputs: VecDeque<Output>,
    handshakes: u64,
    failures: BTreeMap<&'static str, u64>,
    last_failure_event: Option<Time>,
}

/// Whether the peer is known to hold the epoch that we send on; it may not be only on the very first (6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirmed {
    Yes,
    NotYet,
}

impl Tunnel {
    /// A tunnel that is not wanted yet.
    pub fn new(config: TunnelConfig, random: Box<dyn RandomSource>, now: Time) -> Self {
        Self {
            rank: Rank::of(config.identity.public(), config.remote),
            bucket: Bucket::full(now, &config.limits),
            config,
            random,
            want: Want::Down,
            keyring: Keyring::default(),
            own: None,
            answering: None,
            incoming: Vec::new(),
            connections: Vec::new(),
            last_attempt: 0,
            sending: None,
            rotate_at: None,
            start_at: now,
            urgent: false,
            next_base: None,
            backoff: Backoff::default(),
            refused: None,
            liveness: Liveness::new(now),
            armed_until: None,
            state: PeerState::Idle,
            outputs: VecDeque::new(),
            handshakes: 0,
            failures: BTreeMap::new(),
            last_failure_event: None,
        }
    }

    /// Takes note of what happened. Drain [`Self::poll_output`] afterwards.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::Timeout => {}
            Input::Wanted(want) => self.on_wanted(now, want),
            Input::ConnectionUp { connection, dialled } => self.on_connection_up(now, connection, dialled),
            Input::ConnectionDown { connection } => self.on_connection_down(now, connection),
            Input::StreamOpened { attempt } => self.send_m1(now, attempt),
            Input::StreamFailed { attempt } | Input::StreamClosed { attempt } => self.on_stream_gone(now, attempt),
            Input::IncomingStream { connection, attempt } => self.on_incoming(now, connection, attempt),
            Input::Message { attempt, bytes } => self.on_message(now, attempt, &bytes),
            Input::Report(report) => self.on_report(now, report),
            Input::Rotate => self.start_now(),
            Input::Reconnect => self.on_reconnect(),
            Input::PathChanged => self.liveness.change_path(now),
            Input::CheckPath => self.liveness.suspect(),
            Input::AcceptChainReset => self.on_chain_reset_accepted(now),
            Input::PskChanged(psk) => self.on_psk_changed(psk),
            Input::ChainRuleChanged(rule) => self.on_chain_rule_changed(rule),
            Input::ParamsChanged(params) => self.config.params = params,
            Input::TlvsChanged(tlvs) => self.config.tlvs = tlvs,
            Input::EraseAll => self.erase_all(now),
        }
        self.settle(now);
    }

    /// The next thing to do; `None` when everything was said.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // An idle tunnel holds no room for what a busy moment needed.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// The peer.
    pub const fn remote(&self) -> PeerKey {
        self.config.remote
    }

    fn on_wanted(&mut self, now: Time, want: Want) {
        if self.want == want {
            return;
        }
        self.want = want;
        match want {
            Want::Up => {
                self.clear_backoff();
                self.delay_start(now);
                self.liveness.restart(now);
                self.need_connection_if_none();
            }
            Want::Down => {
                self.end_attempts();
                self.erase_epochs();
                self.urgent = false;
            }
        }
    }

    fn on_connection_up(&mut self, now: Time, connection: ConnectionId, dialled: Dialled) {
        self.connections.retain(|&(known, _)| known != connection);
        self.connections.push((connection, dialled));
        if self.refused.is_none() {
            self.backoff.reset();
        }
        self.delay_start(now);
    }

    fn on_connection_down(&mut self, now: Time, connection: ConnectionId) {
        self.connections.retain(|&(known, _)| known != connection);
        self.incoming.retain(|stream| stream.connection != connection);
        if self.own.as_ref().is_some_and(|own| own.connection == connection) {
            self.fail_own(now, HandshakeFault::StreamLost);
        }
        if self.answering.as_ref().is_some_and(|answering| answering.connection == connection) {
            self.fail_answering(now, HandshakeFault::StreamLost);
        }
        if self.connections.is_empty() {
            // Frames may go on without a connection, unless the peer ended it because it left.
            self.liveness.suspect();
        }
        self.need_connection_if_none();
    }

    fn on_stream_gone(&mut self, now: Time, attempt: AttemptId) {
        self.incoming.retain(|stream| stream.attempt != attempt);
        if self.own.as_ref().is_some_and(|own| own.attempt == attempt) {
            self.fail_own(now, HandshakeFault::StreamLost);
        } else if self.answering.as_ref().is_some_and(|answering| answering.attempt == attempt) {
            self.fail_answering(now, HandshakeFault::StreamLost);
        }
    }

    /// What belongs to no attempt in flight is dropped: it comes from an older one.
    fn on_message(&mut self, now: Time, attempt: AttemptId, bytes: &[u8]) {
        if let Some(at) = self.incoming.iter().position(|stream| stream.attempt == attempt) {
            let stream = self.incoming.remove(at);
            self.read_m1(now, stream, bytes);
        } else if self.own.as_ref().is_some_and(|own| own.attempt == attempt) {
            self.read_answer(now, bytes);
        } else if self.answering.as_ref().is_some_and(|answering| answering.attempt == attempt) {
            self.read_m3(now, bytes);
        }
    }

    fn on_report(&mut self, now: Time, report: Report) {
        match report {
            Report::FirstFrame { epoch } => {
                self.liveness.received(now);
                self.keyring.confirmed(now, epoch);
            }
            // The epoch's state says so, and `settle` sees it: it rotates, or erases an epoch that is dead.
            Report::SoftLimit { epoch: _ } | Report::HardLimit { epoch: _ } => {}
            Report::Received { at } => self.liveness.received(at),
            Report::Sent { at, traffic } => self.liveness.sent(at, traffic),
            Report::ProbeReceived { token, via } => {
                if self.sending.is_some() {
                    self.outputs.push_back(Output::SendProbeAck { token, via });
                }
            }
            Report::ProbeAcked { token, at } => {
                self.liveness.received(at);
                self.liveness.acked(token, at);
            }
        }
    }

    /// A handshake at once, whatever pause was due.
    fn start_now(&mut self) {
        self.clear_backoff();
        self.urgent = true;
    }

    fn on_reconnect(&mut self) {
        self.abandon_own();
        self.start_now();
        self.need_connection_if_none();
    }

    fn on_chain_reset_accepted(&mut self, now: Time) {
        self.armed_until = Some(now + self.config.limits.chain_reset);
        self.clear_backoff();
    }

    /// The old keys carry on until a handshake with the new PSK replaces them, or until their hard limit.
    fn on_psk_changed(&mut self, psk: Option<StoredSecret>) {
        self.end_attempts();
        self.config.psk = psk;
        self.start_now();
    }

    /// What is in flight was begun under the other rule: it ends, and pauses that the other rule brought are over.
    fn on_chain_rule_changed(&mut self, rule: ChainRule) {
        if self.config.require_chain != rule {
            self.config.require_chain = rule;
            self.end_attempts();
            self.clear_backoff();
        }
    }

    fn erase_all(&mut self, now: Time) {
        self.end_attempts();
        self.erase_epochs();
        self.keyring.erase_chain();
        self.next_base = None;
        self.armed_until = None;
        self.delay_start(now);
    }

    fn clear_backoff(&mut self) {
        self.backoff.reset();
        self.refused = None;
    }

    /// Who dialled starts at once, the other side a little later (6.7).
    fn delay_start(&mut self, now: Time) {
        self.start_at = match self.connections.last() {
            Some((_, Dialled::ByUs)) | None => now,
            Some((_, Dialled::ByPeer)) => now + self.config.limits.dialled_wait,
        };
    }

    fn need_connection_if_none(&mut self) {
        if self.want == Want::Up && self.connections.is_empty() {
            self.outputs.push_back(Output::NeedConnection);
        }
    }

    fn event(&mut self, event: TunnelEvent) {
        self.outputs.push_back(Output::Event(event));
    }
}

impl Drop for Tunnel {
    /// Whatever the loops still hold seals and opens nothing any more.
    fn drop(&mut self) {
        self.keyring.epochs().iter().for_each(|epoch| epoch.keys.state.kill());
    }
}

#[cfg(test)]
mod tests;
