//! Which way a peer's frames go: by datagrams to a validated endpoint, or by a stream (protocol.md 7.6;
//! docs/carriers.md, section 5).
//!
//! [`Paths`] stands beside a peer's [`Tunnel`](crate::tunnel::Tunnel) and is driven like it: [`Paths::handle`], then
//! [`Paths::poll_output`] until it is empty, and `handle(now, Input::Timeout)` at [`Paths::deadline`]. It starts on the
//! stream. Where datagrams may reach the peer it tries with probes under the tunnel's keys, and the first answer moves
//! the frames there. When what goes out is not answered any more, they go back to the stream, and it tries again.

pub mod candidates;
mod io;
mod mtu;
mod proposal;
mod trial;

pub use io::{Endpoint, Input, Output, Path};
pub use mtu::LEAST as LEAST_MTU;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::crypto::RandomSource;
use crate::receiver::Trust;
use crate::time::Time;
use crate::tunnel::ConnectionId;
use candidates::Exchange;
use mtu::PathMtu;
use proposal::{Cancelled, Proposal};
use trial::Trial;

/// Endpoints that answered once and are tried again without a connection.
const MAX_REMEMBERED: usize = 4;
/// How long they are.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How long nothing came by datagrams when the peer, heard by its stream, is believed to have given them up.
const QUIET: Duration = Duration::from_secs(1);

/// One peer's paths; the module says how to drive them.
pub struct Paths {
    random: Box<dyn RandomSource>,
    /// Whether there are keys to send with.
    live: bool,
    current: Path,
    tunnel_mtu: u16,
    /// Of the endpoint in use.
    mtu: Option<PathMtu>,
    /// What was last said of it.
    told_mtu: u16,
    /// Endpoints that take no packet of the least MTU, and until when they are left alone.
    narrow: Vec<(SocketAddr, Time)>,
    /// Where direct connections end, the newest last.
    connected: Vec<(ConnectionId, Endpoint)>,
    /// Endpoints that answered, with the time until which they are worth a try; the newest last.
    remembered: Vec<(Endpoint, Time)>,
    trials: Vec<Trial>,
    trust: Trust,
    proposal: Option<Proposal>,
    cancelled: Option<Cancelled>,
    exchange: Exchange,
    /// When the last pair of probes of a proposal left.
    proposed_at: Option<Time>,
    /// Which way the peer's frames came last, if that was another one than ours.
    astray: Option<Path>,
    /// When they last came the way that ours go, if they have since we use it.
    heard: Option<Time>,
    outputs: VecDeque<Output>,
}

impl Paths {
    /// On the stream, with nothing known.
    pub fn new(random: Box<dyn RandomSource>) -> Self {
        Self {
            random,
            live: false,
            current: Path::Stream,
            tunnel_mtu: LEAST_MTU,
            mtu: None,
            told_mtu: LEAST_MTU,
            narrow: Vec::new(),
            connected: Vec::new(),
            remembered: Vec::new(),
            trials: Vec::new(),
            trust: Trust::default(),
            proposal: None,
            cancelled: None,
            exchange: Exchange::default(),
            proposed_at: None,
            astray: None,
            heard: None,
            outputs: VecDeque::new(),
        }
    }

    /// Which way frames go.
    pub const fn current(&self) -> Path {
        self.current
    }

    /// Whether an answer that came this way proves the path that frames go.
    pub fn is_current(&self, via: Path) -> bool {
        self.current.is_same_way(via)
    }

    /// Takes note of what happened. Drain [`Self::poll_output`] afterwards.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            // What the packet loops tell late of keys that are gone. A try that begins without keys would be due for ever.
            late if !self.live && late.is_of_frames() => {}
            Input::Timeout => {}
            Input::Live { mtu } => self.on_live(now, mtu),
            Input::NotLive => self.on_not_live(),
            Input::Connected { connection, endpoint } => {
                self.connected.retain(|(known, _)| *known != connection);
                self.connected.push((connection, endpoint));
                // A new connection is news, however often the address was tried in vain.
                self.trials.retain(|trial| trial.endpoint.remote != endpoint.remote);
            }
            Input::Disconnected { connection } => self.connected.retain(|(known, _)| *known != connection),
            Input::Heard { via } => self.on_heard(now, via),
            Input::Moved { from, epoch, counter } => self.on_moved(now, from, epoch, counter),
            Input::Stayed => self.on_stayed(now),
            Input::Acked { token, from } => self.on_acked(now, token, from),
            Input::Dead => self.on_dead(now),
            Input::Sending => self.confirm_mtu(now),
            Input::NetworkChanged => {
                self.narrow.clear();
                self.try_anew();
            }
            Input::SeenElsewhere => self.try_anew(),
        }
        self.settle(now);
    }

    /// The next thing to do; `None` when everything was said.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() {
            // An idle peer holds no room for what a busy moment needed.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When to call [`Self::handle`] with `Input::Timeout`, at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let trials = self.trials.iter().map(|trial| trial.next);
        let forget = self.remembered.iter().map(|&(_, until)| until);
        let forget = forget.chain(self.narrow.iter().map(|&(_, until)| until));
        let mtu = self.mtu.as_ref().and_then(PathMtu::deadline);
        trials
            .chain(forget)
            .chain(self.proposal.as_ref().map(Proposal::expires))
            .chain(mtu)
            .chain(self.exchange.deadline())
            .min()
    }

    /// A first epoch: nothing is known of where the peer is now, so frames begin on the stream.
    fn on_live(&mut self, now: Time, mtu: u16) {
        if self.tunnel_mtu != mtu {
            self.tunnel_mtu = mtu;
            self.mtu = self.mtu.is_some().then(|| PathMtu::new(mtu, now));
        }
        if !self.live {
            self.live = true;
            // The peer may have been restarted, and knows as little as we do.
            self.leave();
        }
    }

    fn on_not_live(&mut self) {
        self.live = false;
        self.trials.clear();
        self.mtu = None;
    }

    fn try_anew(&mut self) {
        self.trials.clear();
        self.exchange.end();
    }

    fn on_heard(&mut self, now: Time, via: Path) {
        if self.is_current(via) {
            self.astray = None;
            self.heard = Some(now);
            return self.on_endpoint_heard(now);
        }
        if via == Path::Stream && self.heard.is_some_and(|heard| now.saturating_since(heard) >= QUIET) {
            // It found out that nothing passes, be it one way only; both ways are needed to find that out.
            return self.on_dead(now);
        }
        if !self.astray.is_some_and(|astray| astray.is_same_way(via)) {
            // Perhaps the peer knows that our way does not reach it (6.7).
            self.astray = Some(via);
            self.outputs.push_back(Output::CheckPath);
        }
    }

    fn on_acked(&mut self, now: Time, token: [u8; 8], from: Endpoint) {
        if self.mtu_acked(now, token, from) {
            return;
        }
        let tried = self.trials.iter().find(|trial| trial.is_answered_by(token, from)).map(|trial| trial.endpoint);
        let moved = self.proposal.as_ref().filter(|proposal| proposal.is_answered_by(token, from));
        if moved.is_some() {
            // It may not know itself that it did, behind a NAT.
            self.outputs.push_back(Output::TellCandidates);
        }
        if let Some(endpoint) = tried.or(moved.map(|proposal| proposal.endpoint)) {
            self.enter(now, endpoint);
        }
    }

    /// The endpoint is validated: frames go there, and are expected from there.
    fn enter(&mut self, now: Time, endpoint: Endpoint) {
        self.trials.clear();
        self.proposal = None;
        self.cancelled = None;
        self.remembered.retain(|(known, _)| known.remote != endpoint.remote);
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.remove(0);
        }
        self.remembered.push((endpoint, now + REMEMBERED));
        self.set_trust(Trust { endpoint: Some(endpoint.remote), proposed: None });
        self.mtu = Some(PathMtu::new(self.tunnel_mtu, now));
        self.use_path(Path::Datagrams(endpoint));
    }

    /// What goes out is not answered.
    fn on_dead(&mut self, now: Time) {
        if let Path::Datagrams(endpoint) = self.current {
            self.leave();
            self.trials.push(Trial::again(endpoint, now));
        }
    }

    fn leave(&mut self) {
        self.trials.clear();
        self.proposal = None;
        self.mtu = None;
        self.set_trust(Trust::default());
        self.use_path(Path::Stream);
    }

    fn use_path(&mut self, path: Path) {
        if self.current != path {
            self.current = path;
            (self.astray, self.heard) = (None, None);
            self.outputs.push_back(Output::Use(path));
        }
    }

    fn set_trust(&mut self, trust: Trust) {
        if self.trust != trust {
            self.trust = trust;
            self.outputs.push_back(Output::Trust(trust));
        }
    }

    fn settle(&mut self, now: Time) {
        if let Path::Datagrams(endpoint) = self.current {
            // What works now is worth a try for as long after it stopped.
            self.remembered.iter_mut().filter(|(known, _)| *known == endpoint).for_each(|(_, until)| {
                *until = now + REMEMBERED;
            });
        }
        self.remembered.retain(|&(_, until)| now < until);
        self.narrow.retain(|&(_, until)| now < until);
        self.expire_proposal(now);
        self.probe_mtu(now);
        self.try_endpoints(now);
        self.tell_candidates(now);
    }

    /// Whether datagrams to an address are worth a try.
    fn is_wide(&self, remote: SocketAddr) -> bool {
        !self.narrow.iter().any(|&(narrow, _)| narrow == remote)
    }

    /// Sends the shortest probe.
    fn probe(&mut self, to: Endpoint) -> Option<[u8; 8]> {
        self.probe_of(to, None)
    }

    /// Sends a probe of a size. Fails only without randomness; then nothing is sent, as if it had been lost.
    fn probe_of(&mut self, to: Endpoint, size: Option<u16>) -> Option<[u8; 8]> {
        let mut token = [0; 8];
        self.random.fill(&mut token).ok()?;
        self.outputs.push_back(Output::Probe { token, to, size });
        Some(token)
    }
}

#[cfg(test)]
mod tests;
