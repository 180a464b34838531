//! What goes wrong.

use std::time::Duration;

use node::secret::SecretKey32;
use node::tunnel::{Input, Want};

use super::ledger::FrameId;
use super::link::{LinkShape, corrupt};
use super::secs;
use super::world::{Event, World};

/// Something that happens to the network or to a host.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A host is told to make new keys.
    Rotate(usize, usize),
    /// Both hosts are, at nearly the same time.
    RotateBoth(usize, usize),
    /// A host is told to forget its pauses and begin anew.
    Reconnect(usize, usize),
    /// All connections between two hosts break; both learn it within the time.
    Disconnect(usize, usize, Duration),
    /// Another connection comes into being.
    Connect(usize, usize),
    /// Nothing passes between two hosts for some time.
    Partition(usize, usize, Duration),
    /// No datagram passes from one host to another for some time.
    Silence(usize, usize, Duration),
    /// A link changes.
    Reshape(usize, usize, LinkShape),
    /// A host loses its memory.
    Restart(usize),
    /// A host sleeps.
    Sleep(usize, Duration),
    /// A host erases all keys that it shares with another.
    Erase(usize, usize),
    /// A host does not want another for some time.
    Unwant(usize, usize, Duration),
    /// A host wants another.
    Want(usize, usize),
    /// Two hosts get another PSK, one after the other.
    ChangePsk(usize, usize, [u8; 32], Duration),
    /// A host gets another PSK for another.
    SetPsk(usize, usize, [u8; 32]),
    /// Somebody sends frames again that he saw, and others that he made up.
    Attack(usize),
}

impl World {
    /// Lets something happen after a time.
    pub fn plan(&mut self, after: Duration, action: Action) {
        let generation = self.plans;
        self.schedule(after, Event::Chaos { action, generation });
    }

    /// Something that was planned is due. What was planned before everything was mended is void, unless it mends too. A
    /// PSK does not: mending makes the two of a pair equal, and one that was on its way would part them again.
    pub(super) fn on_plan(&mut self, action: Action, generation: u32) {
        let (host, mends) = match action {
            Action::Want(host, _) => (Some(host), true),
            Action::SetPsk(host, ..) => (Some(host), false),
            Action::Rotate(..)
            | Action::RotateBoth(..)
            | Action::Reconnect(..)
            | Action::Disconnect(..)
            | Action::Connect(..)
            | Action::Partition(..)
            | Action::Silence(..)
            | Action::Reshape(..)
            | Action::Restart(_)
            | Action::Sleep(..)
            | Action::Erase(..)
            | Action::Unwant(..)
            | Action::ChangePsk(..)
            | Action::Attack(_) => (None, false),
        };
        match host.and_then(|host| self.hosts[host].asleep_until) {
            Some(wake) => self.schedule_at(wake, Event::Chaos { action, generation }),
            None if mends || generation == self.plans => self.act(action),
            None => {}
        }
    }

    /// Lets something happen.
    pub fn act(&mut self, action: Action) {
        if self.trace {
            eprintln!("{:?} {action:?}", self.now);
        }
        match action {
            Action::Rotate(host, peer) => self.tell(host, peer, Input::Rotate),
            Action::RotateBoth(a, b) => {
                self.tell(a, b, Input::Rotate);
                let after = self.dice.up_to(self.setup.stream_delay * 2);
                self.plan(after, Action::Rotate(b, a));
            }
            Action::Reconnect(host, peer) => self.tell(host, peer, Input::Reconnect),
            Action::Disconnect(a, b, notice) => self.disconnect(a, b, notice),
            Action::Connect(a, b) => {
                if !self.is_partitioned(a, b) && [a, b].iter().all(|&host| self.hosts[host].asleep_until.is_none()) {
                    self.connect(a, b);
                }
            }
            Action::Partition(a, b, span) => self.partition(a, b, span),
            Action::Silence(from, to, span) => {
                let end = self.now + span;
                self.silences.entry((from, to)).and_modify(|before| *before = end.max(*before)).or_insert(end);
            }
            Action::Reshape(from, to, shape) => _ = self.links.insert((from, to), shape),
            Action::Restart(host) => self.restart(host),
            Action::Sleep(host, span) => self.sleep(host, span),
            Action::Erase(host, peer) => self.tell(host, peer, Input::EraseAll),
            Action::Unwant(host, peer, span) => {
                self.tell(host, peer, Input::Wanted(Want::Down));
                self.plan(span, Action::Want(host, peer));
            }
            Action::Want(host, peer) => self.tell(host, peer, Input::Wanted(Want::Up)),
            Action::ChangePsk(a, b, psk, between) => {
                self.plan(Duration::ZERO, Action::SetPsk(a, b, psk));
                self.plan(between, Action::SetPsk(b, a, psk));
            }
            Action::SetPsk(host, peer, psk) => {
                self.hosts[host].psks.insert(peer, psk);
                let kept = self.hosts[host].secrets.keep(SecretKey32::new(psk)).expect("the store has room");
                self.tell(host, peer, Input::PskChanged(Some(kept)));
            }
            Action::Attack(host) => self.attack(host),
        }
    }

    /// Gives an input, unless the host sleeps and nobody sits before it.
    fn tell(&mut self, host: usize, peer: usize, input: Input) {
        if self.hosts[host].asleep_until.is_none() {
            self.input(host, peer, input);
        }
    }

    fn partition(&mut self, a: usize, b: usize, span: Duration) {
        let end = self.now + span;
        let pair = (a.min(b), a.max(b));
        self.partitions.entry(pair).and_modify(|before| *before = end.max(*before)).or_insert(end);
        // The transport gives a silent connection up after some time.
        let patience = self.dice.between(secs(10), secs(30));
        if span > patience {
            self.plan(patience, Action::Disconnect(a, b, secs(10)));
        }
    }

    /// A host loses its memory and starts anew.
    pub fn restart(&mut self, host: usize) {
        let notice = *self.dice.pick(&[Duration::ZERO, secs(1), secs(20)]);
        self.forget_connections(host, notice);
        let fallen = &mut self.hosts[host];
        fallen.incarnation += 1;
        fallen.receiver = Default::default();
        fallen.indices = Default::default();
        fallen.asleep_until = None;
        self.start_host(host);
    }

    /// A host sleeps: no timer, no network, no loops.
    pub fn sleep(&mut self, host: usize, span: Duration) {
        let wake = self.now + span;
        self.hosts[host].asleep_until = self.hosts[host].asleep_until.max(Some(wake));
        self.schedule_at(wake, Event::Wake { host });
        if span > secs(20) {
            for peer in (0..self.hosts.len()).filter(|&peer| peer != host) {
                self.disconnect(host, peer, secs(30));
            }
        }
    }

    /// All keys that a host holds of another have failed too often by now.
    pub fn wear_out(&mut self, host: usize, peer: usize) {
        let indices: Vec<u32> = self.hosts[host].peers[&peer].installed.keys().copied().collect();
        indices.into_iter().for_each(|index| self.ledger.worn_out(host, index));
    }

    /// A host has a PSK that was given to its tunnel by other means.
    pub fn note_psk(&mut self, host: usize, peer: usize, psk: [u8; 32]) {
        self.hosts[host].psks.insert(peer, psk);
    }

    /// A host's clock is set back, against its contract.
    pub fn set_clock_back(&mut self, host: usize, span: Duration) {
        self.hosts[host].origin = self.hosts[host].origin.saturating_sub(span);
        for peer in self.hosts[host].peers.values_mut() {
            peer.timer = None;
        }
    }

    /// Replays, reflects, splices and invents frames at a host.
    fn attack(&mut self, host: usize) {
        let seen = self.ledger.len();
        if seen == 0 {
            return;
        }
        for _ in 0..8 {
            let [one, other] = [(); 2].map(|()| self.captured(seen));
            let wire = self.ledger.frame(one).wire.clone();
            let changed = match self.dice.below(5) {
                0 | 1 => None,
                2 => Some(corrupt(&mut self.dice, &wire)),
                3 => {
                    let other = &self.ledger.frame(other).wire;
                    let spliced = [&wire[..16], &other[16..]].concat();
                    (spliced != wire && spliced != *other).then_some(spliced)
                }
                _ => {
                    let mut bumped = wire.clone();
                    bumped[8] = bumped[8].wrapping_add(1);
                    Some(bumped)
                }
            };
            let after = self.dice.up_to(secs(1));
            self.inject(host, after, changed.is_none().then_some(one), changed);
        }
    }

    /// A frame that was sealed lately, or any other.
    fn captured(&mut self, seen: usize) -> FrameId {
        let back = if self.dice.chance(0.7) { seen.min(200) } else { seen };
        self.ledger.nth(seen - 1 - self.dice.below(back))
    }

    /// Mends everything: perfect links, nobody sleeps any more, everybody is wanted, and nothing that was planned
    /// happens.
    pub fn heal(&mut self) {
        self.plans += 1;
        self.setup.message_faults = 0.0;
        self.setup.stream_failures = 0.0;
        self.meddler = None;
        self.partitions.clear();
        self.silences.clear();
        self.links.values_mut().for_each(|link| *link = LinkShape::perfect(link.delay));
        if let Some(wake) = self.hosts.iter().filter_map(|host| host.asleep_until).max() {
            self.run(wake.saturating_since(self.now));
        }
        for (host, peer) in self.pairs() {
            self.act(Action::Want(host, peer));
            let [ours, theirs] = [(host, peer), (peer, host)].map(|(at, with)| self.hosts[at].psks.get(&with).copied());
            if let (Some(ours), true) = (ours, ours != theirs) {
                self.act(Action::SetPsk(peer, host, ours));
            }
        }
    }
}
