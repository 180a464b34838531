//! The clock, the queue of what happens next, and what a daemon does with its tunnel's outputs.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use node::frame::FrameBatch;
use node::state::PeerState;
use node::time::Time;
use node::tunnel::{ChainStart, Input, MAX_EPOCHS, Output, Report, TunnelEvent, TunnelStatus, Want};

use super::chaos::Action;
use super::dice::Dice;
use super::host::{Host, Peer, Setup, slot};
use super::ledger::{FrameId, Ledger, Totals};
use super::link::LinkShape;
use super::streams::{Arriving, Meddler, Recorded, Streams};

/// Something that is due at a time.
pub(super) enum Event {
    /// A datagram arrives; `bytes` are those of `frame` unless they were changed or made up.
    Datagram {
        claimed: usize,
        to: usize,
        frame: Option<FrameId>,
        bytes: Option<Vec<u8>>,
        origin: Origin,
    },
    /// A tunnel's timer.
    Timer {
        host: usize,
        peer: usize,
    },
    /// A host stops sleeping.
    Wake {
        host: usize,
    },
    /// Something comes out of a handshake stream.
    Stream {
        stream: u64,
        to: usize,
        what: Arriving,
    },
    /// A host learns that a connection stands, or is gone.
    ConnectionUp {
        connection: u64,
        host: usize,
    },
    ConnectionDown {
        connection: u64,
        host: usize,
    },
    /// A host dials another.
    Dial {
        host: usize,
        peer: usize,
        incarnation: u32,
    },
    /// The packet loops tell their tunnel something.
    Report {
        host: usize,
        peer: usize,
        incarnation: u32,
        report: Report,
    },
    /// Packets of an application.
    Packets {
        from: usize,
        to: usize,
        count: usize,
    },
    /// An application that goes on sending until the end.
    Traffic {
        from: usize,
        to: usize,
        pause: Duration,
        end: Time,
    },
    /// Something that goes wrong.
    Chaos {
        action: Action,
        generation: u32,
    },
}

/// Whether the carrier vouches for where a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// As the setup's carrier does for a peer.
    Carrier,
    /// It came by UDP from anywhere.
    Anywhere,
}

struct Scheduled {
    at: Time,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A network of hosts on virtual time.
pub struct World {
    /// What it is made of.
    pub setup: Setup,
    pub(super) now: Time,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    /// All choices.
    pub dice: Dice,
    pub(super) hosts: Vec<Host>,
    pub(super) links: BTreeMap<(usize, usize), LinkShape>,
    /// Pairs between which nothing passes, the smaller number first, with the end of that.
    pub(super) partitions: BTreeMap<(usize, usize), Time>,
    /// Directions in which no datagram passes, with the end of that.
    pub(super) silences: BTreeMap<(usize, usize), Time>,
    /// How often everything was mended.
    pub(super) plans: u32,
    pub(super) streams: Streams,
    pub(super) ledger: Ledger,
    pub(super) meddler: Option<Meddler>,
    pub(super) batch: FrameBatch,
    pub(super) packets: u64,
    /// Keeps applications busy while handshakes are on their way.
    pub(super) busy_handshakes: usize,
    /// Every handshake message, if somebody wants to know.
    pub transcript: Option<Vec<Recorded>>,
    /// Whether to print what happens.
    pub trace: bool,
}

impl World {
    /// Hosts that all want each other and have not met.
    pub fn new(setup: Setup) -> Self {
        let mut dice = Dice::new(setup.seed);
        let now = Time::ZERO + super::secs(1000);
        let hosts: Vec<Host> = (0..setup.hosts.len()).map(|number| Host::new(number, &setup, &mut dice)).collect();
        let pairs = || (0..hosts.len()).flat_map(|a| (0..hosts.len()).filter(move |&b| a != b).map(move |b| (a, b)));
        let mut world = Self {
            now,
            queue: BinaryHeap::new(),
            order: 0,
            dice,
            links: pairs().map(|pair| (pair, setup.link.clone())).collect(),
            partitions: BTreeMap::new(),
            silences: BTreeMap::new(),
            plans: 0,
            streams: Streams::default(),
            ledger: Ledger::new(setup.limits.previous_key),
            meddler: None,
            batch: FrameBatch::new(256 * 1024),
            packets: 0,
            busy_handshakes: 0,
            transcript: None,
            trace: false,
            hosts,
            setup,
        };
        for host in 0..world.hosts.len() {
            world.start_host(host);
        }
        world
    }

    /// Hosts that are connected, number 0 having dialled the others, with chain resets accepted where they have to be.
    pub fn connected(setup: Setup) -> Self {
        let mut world = Self::new(setup);
        for (host, peer) in world.pairs() {
            world.input(host, peer, Input::AcceptChainReset);
        }
        world.run(super::secs(5));
        world.assert_connected();
        world
    }

    /// Every ordered pair of hosts.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        self.links.keys().copied().collect()
    }

    /// The network's time.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// A host.
    pub fn host(&self, host: usize) -> &Host {
        &self.hosts[host]
    }

    /// What was sent, and what became of it.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The numbers of the run.
    pub const fn totals(&self) -> &Totals {
        self.ledger.totals()
    }

    /// A tunnel's status.
    pub fn status(&self, host: usize, peer: usize) -> TunnelStatus {
        let host = &self.hosts[host];
        host.peers[&peer].status(host.clock(self.now))
    }

    /// A tunnel's state.
    pub fn state(&self, host: usize, peer: usize) -> PeerState {
        self.status(host, peer).state
    }

    /// The first bytes of the session that a host sends on.
    pub fn session(&self, host: usize, peer: usize) -> Option<[u8; 8]> {
        self.status(host, peer).epoch.map(|epoch| epoch.session)
    }

    /// Whether every pair is connected, and on one epoch in both directions.
    pub fn is_connected(&self) -> bool {
        self.pairs()
            .into_iter()
            .all(|(a, b)| self.state(a, b) == PeerState::Connected && self.session(a, b) == self.session(b, a))
    }

    /// Demands that [`Self::is_connected`] and that packets pass every way.
    ///
    /// # Panics
    /// When they do not.
    pub fn assert_connected(&mut self) {
        for (a, b) in self.pairs() {
            assert_eq!(self.state(a, b), PeerState::Connected, "host {a} to host {b}");
            assert_eq!(self.session(a, b), self.session(b, a), "hosts {a} and {b} send on two epochs");
        }
        let before = self.totals().delivered;
        let spoofing = std::mem::take(&mut self.setup.spoofing);
        for (a, b) in self.pairs() {
            self.send_packets(a, b, 1);
        }
        self.setup.spoofing = spoofing;
        let way = self.links.values().map(|link| link.delay + link.jitter).max().unwrap_or_default();
        self.run(way + super::ms(1));
        let delivered = self.totals().delivered - before;
        assert!(delivered >= self.pairs().len() as u64, "of a packet each way only {delivered} arrived");
    }

    /// Whether a tunnel said that its peer had lost the chain.
    pub fn saw_chain_loss(&self, host: usize, peer: usize) -> bool {
        let lost = TunnelEvent::ChainReset(ChainStart::PeerLost);
        self.hosts[host].peers[&peer].events.iter().any(|(_, event)| *event == lost)
    }

    /// Which of two hosts has the smaller key and so leads.
    pub fn leader(&self, a: usize, b: usize) -> usize {
        if self.hosts[a].identity.public() < self.hosts[b].identity.public() { a } else { b }
    }

    pub(super) fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    pub(super) fn schedule_at(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at: at.max(self.now), order: self.order, event }));
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.queue.peek().is_some_and(|Reverse(next)| next.at <= end) {
            let Some(Reverse(next)) = self.queue.pop() else { break };
            self.now = self.now.max(next.at);
            self.happen(next.event);
        }
        self.now = end;
    }

    /// Lets time pass until `done`, at most for `limit`; whether it came to that.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while self.now < end {
            if done(self) {
                return true;
            }
            self.run(super::ms(100).min(end.saturating_since(self.now)));
        }
        done(self)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Datagram { claimed, to, frame, bytes, origin } => self.arrive(claimed, to, frame, bytes, origin),
            Event::Timer { host, peer } => self.on_timer(host, peer),
            Event::Wake { host } => self.on_wake(host),
            Event::Stream { stream, to, what } => self.on_stream(stream, to, what),
            Event::ConnectionUp { connection, host } => self.on_connection_up(connection, host),
            Event::ConnectionDown { connection, host } => self.on_connection_down(connection, host),
            Event::Dial { host, peer, incarnation } => self.on_dial(host, peer, incarnation),
            Event::Report { host, peer, incarnation, report } => {
                if self.hosts[host].incarnation == incarnation {
                    if let Some(wake) = self.hosts[host].asleep_until {
                        return self.schedule_at(wake, Event::Report { host, peer, incarnation, report });
                    }
                    self.input(host, peer, Input::Report(report));
                }
            }
            Event::Packets { from, to, count } => self.send_packets(from, to, count),
            Event::Traffic { from, to, pause, end } => self.on_traffic(from, to, pause, end),
            Event::Chaos { action, generation } => self.on_plan(action, generation),
        }
    }

    /// Gives a tunnel an input and does what it says.
    ///
    /// # Panics
    /// When the tunnel breaks its contract.
    pub fn input(&mut self, host: usize, peer: usize, input: Input) {
        match &input {
            Input::Wanted(want) => {
                self.hosts[host].peer_mut(peer).want = *want;
                if *want == Want::Down {
                    self.ledger.erased(host, peer);
                }
            }
            Input::EraseAll => self.ledger.erased(host, peer),
            Input::Timeout
            | Input::PathChanged
            | Input::CheckPath
            | Input::ConnectionUp { .. }
            | Input::ConnectionDown { .. }
            | Input::StreamOpened { .. }
            | Input::StreamFailed { .. }
            | Input::IncomingStream { .. }
            | Input::Message { .. }
            | Input::StreamClosed { .. }
            | Input::Report(_)
            | Input::Rotate
            | Input::Reconnect
            | Input::AcceptChainReset
            | Input::PskChanged(_)
            | Input::ChainRuleChanged(_)
            | Input::ParamsChanged(_)
            | Input::TlvsChanged(_) => {}
        }
        let now = self.hosts[host].clock(self.now);
        self.hosts[host].peer_mut(peer).tunnel.handle(now, input);
        while let Some(output) = self.hosts[host].peer_mut(peer).tunnel.poll_output() {
            self.output(host, peer, output);
        }
        self.check_tunnel(host, peer);
        self.set_timer(host, peer);
    }

    fn output(&mut self, host: usize, peer: usize, output: Output) {
        match output {
            Output::OpenStream { connection, attempt } => self.open_stream(host, peer, connection.0, attempt),
            Output::Send { attempt, bytes } => self.send_message(host, peer, attempt, bytes),
            Output::CloseStream { attempt, how } => self.close_stream(host, peer, attempt, how),
            Output::Install { opener } => {
                let index = opener.index().get();
                self.ledger.derived(host, index, self.now, self.setup.hard_limit(host, peer));
                self.ledger.installed(host, index);
                let before = self.hosts[host].peer_mut(peer).installed.insert(index, opener.epoch());
                assert!(before.is_none(), "an index was used twice");
                self.hosts[host].receiver.install(slot(peer), *opener);
            }
            Output::Remove { index } => {
                let host = &mut self.hosts[host];
                let dead = host.receiver.state(index).is_some_and(|state| state.is_dead());
                assert!(dead, "a key is taken from the loops before it is marked dead");
                assert!(host.receiver.remove(index), "what is removed was installed");
                host.peer_mut(peer).installed.remove(&index.get());
            }
            Output::SendWith(sealer) => {
                let peer = self.hosts[host].peer_mut(peer);
                if let Some(sealer) = &sealer {
                    let epoch = sealer.epoch();
                    assert!(peer.newest.is_none_or(|newest| newest <= epoch), "host {host} goes back to an older key");
                    peer.newest = Some(epoch);
                }
                peer.sealer = sealer;
            }
            Output::SendEmpty => self.send_empty(host, peer),
            Output::SendProbe { token } => self.send_probe(host, peer, token),
            Output::SendProbeAck { token, via: _ } => self.send_probe_ack(host, peer, token),
            Output::NeedConnection => self.need_connection(host, peer),
            Output::PathDead => {}
            Output::Event(event) => self.on_event(host, peer, event),
        }
    }

    fn on_event(&mut self, host: usize, peer: usize, event: TunnelEvent) {
        if self.trace {
            eprintln!("{:?} host {host} about host {peer}: {event:?}", self.now);
        }
        let now = self.now;
        let peer = self.hosts[host].peer_mut(peer);
        if let TunnelEvent::Rotated { epoch, .. } = &event {
            peer.confirmed = Some(*epoch);
        }
        peer.events.push((now, event));
    }

    /// What holds after every input.
    fn check_tunnel(&self, at: usize, with: usize) {
        let host = &self.hosts[at];
        let peer = &host.peers[&with];
        let now = host.clock(self.now);
        let deadline = peer.tunnel.deadline();
        assert!(deadline.is_none_or(|deadline| deadline > now), "a deadline that has passed was not acted on");
        assert!(peer.installed.len() <= MAX_EPOCHS, "host {at} holds {} keys of host {with}", peer.installed.len());
        for &index in peer.installed.keys() {
            let end = self.ledger.end_of(at, index).expect("an installed key was derived");
            assert!(self.now < end, "host {at} holds a key of host {with} past its hard limit");
        }
        if peer.sealer.is_some() {
            assert_eq!(peer.want, Want::Up, "host {at} sends to host {with}, whom nobody wants");
        }
        // Three keys, one of our own handshake, and one of the peer's that waits for M3.
        let most = host.peers.len() * (MAX_EPOCHS + 2);
        assert!(host.indices.len() <= most, "host {at} leaks receiver indices: {} are leased", host.indices.len());
    }

    fn set_timer(&mut self, host: usize, peer: usize) {
        let Some(deadline) = self.hosts[host].peers[&peer].tunnel.deadline() else { return };
        let now = self.hosts[host].clock(self.now);
        let late = self.dice.up_to(self.setup.lateness);
        let at = self.now + deadline.saturating_since(now) + late;
        let peer_state = self.hosts[host].peer_mut(peer);
        if peer_state.timer.is_none_or(|timer| at < timer) {
            peer_state.timer = Some(at);
            self.schedule_at(at, Event::Timer { host, peer });
        }
    }

    fn on_timer(&mut self, host: usize, peer: usize) {
        if let Some(wake) = self.hosts[host].asleep_until {
            let late = self.dice.up_to(self.setup.lateness);
            return self.schedule_at(wake + late, Event::Timer { host, peer });
        }
        let now = self.hosts[host].clock(self.now);
        let state = self.hosts[host].peer_mut(peer);
        if state.timer.is_none_or(|timer| timer > self.now) {
            // Another timer was set for an earlier time, and this one is of no use any more.
            return;
        }
        state.timer = None;
        if state.tunnel.deadline().is_some_and(|deadline| deadline <= now) {
            self.input(host, peer, Input::Timeout);
        } else {
            self.set_timer(host, peer);
        }
    }

    fn on_wake(&mut self, host: usize) {
        if self.hosts[host].asleep_until.is_some_and(|wake| wake <= self.now) {
            self.hosts[host].asleep_until = None;
        }
    }

    /// Fresh tunnels for a host that wants all others.
    pub(super) fn start_host(&mut self, host: usize) {
        for peer in (0..self.hosts.len()).filter(|&peer| peer != host) {
            let fresh = Peer::new(&self.hosts, [host, peer], &self.setup, self.now);
            let events = self.hosts[host].peers.insert(peer, fresh).map(|old| (old.events, old.started));
            if let Some((events, started)) = events {
                let peer = self.hosts[host].peer_mut(peer);
                (peer.events, peer.started) = (events, started);
            }
            self.ledger.erased(host, peer);
        }
        for peer in (0..self.hosts.len()).filter(|&peer| peer != host) {
            self.input(host, peer, Input::Wanted(Want::Up));
        }
    }
}
