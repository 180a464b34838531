//! Single messages as steps: in flight together, lost, late, with time-outs at any moment, collisions, REJECT 3 and 4.

use node::epoch::EpochId;
use node::tunnel::{Base, Progress, Rank, Role, Verdict, collide};

use crate::peer::{self, Handshake, Named, Names, Peer, Rules};
use crate::search::{Fault, Model};

/// The most messages in flight. A handshake has at most one at a time; what is more than one per side is left over
/// from handshakes that were given up.
const IN_FLIGHT: usize = 3;

/// Two peers and what is on its way between them.
#[derive(Clone)]
pub(crate) struct Start {
    peers: [Peer; 2],
    own: [Own; 2],
    answering: [Option<Answering>; 2],
    next_base: [Option<Base>; 2],
    wire: Vec<Message>,
    extra: Extra,
}

/// What happens beyond handshakes and their messages.
#[derive(Clone, Copy)]
pub(crate) struct Extra {
    /// Frames may be on their way for as long as handshakes.
    pub(crate) delayed_frames: bool,
    /// How many keys may still reach their hard limit; the other side's then goes at any time.
    pub(crate) hard_limits: u8,
    /// How often a peer may still lose its memory.
    pub(crate) restarts: u8,
    /// A peer did: a handshake may begin without a chain.
    pub(crate) restarted: bool,
    /// Handshakes, as bits, whose keys are past their limit or were lost by one side.
    pub(crate) over: u64,
}

impl Extra {
    /// Nothing does.
    pub(crate) const NONE: Self =
        Self { delayed_frames: false, hard_limits: 0, restarts: 0, restarted: false, over: 0 };

    const fn is_none(&self) -> bool {
        !self.delayed_frames && self.hard_limits == 0 && self.restarts == 0 && !self.restarted && self.over == 0
    }

    fn end(&mut self, handshake: Handshake) {
        self.over |= 1 << handshake;
    }

    const fn is_over(&self, handshake: Handshake) -> bool {
        self.over & 1 << handshake != 0
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    None,
    AwaitingM2 { handshake: Handshake, named: Named },
    AwaitingM4 { handshake: Handshake, epoch: EpochId },
}

#[derive(Clone, Copy)]
struct Answering {
    handshake: Handshake,
    named: Named,
}

#[derive(Clone, Copy)]
struct Message {
    to: usize,
    handshake: Handshake,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    M1 {
        named: Named,
    },
    M2,
    M3,
    M4,
    Unknown,
    Busy,
    /// A data frame.
    Frame,
}

/// Whether the token bucket has something left.
#[derive(Clone, Copy)]
enum Tokens {
    Some,
    None,
}

const RANKS: [Rank; 2] = [Rank::Leader, Rank::Follower];

impl Start {
    pub(crate) fn new(rules: Rules, extra: Extra) -> Self {
        Self {
            extra,
            peers: [Peer::connected(Role::Initiator, rules), Peer::connected(Role::Responder, rules)],
            own: [Own::None; 2],
            answering: [None; 2],
            next_base: [None; 2],
            wire: Vec::new(),
        }
    }

    fn fresh(&self) -> Handshake {
        let mut used = [false; 256];
        let mut mark = |handshake: Handshake| used[usize::from(handshake)] = true;
        for peer in &self.peers {
            peer.ring.epochs().iter().for_each(|epoch| mark(epoch.keys));
            peer.ring.chain().iter().for_each(|link| mark(link.key));
        }
        for own in self.own {
            match own {
                Own::None => {}
                Own::AwaitingM2 { handshake, named } => named.into_iter().chain([handshake]).for_each(&mut mark),
                Own::AwaitingM4 { handshake, .. } => mark(handshake),
            }
        }
        for answering in self.answering.iter().flatten() {
            answering.named.into_iter().chain([answering.handshake]).for_each(&mut mark);
        }
        for message in &self.wire {
            mark(message.handshake);
            if let Kind::M1 { named: Some(named) } = message.kind {
                mark(named);
            }
        }
        let free = used.iter().take(64).position(|used| !used).expect("a state names far fewer than 64 handshakes");
        u8::try_from(free).expect("a position below 64")
    }

    fn send(&mut self, to: usize, handshake: Handshake, kind: Kind) {
        self.wire.push(Message { to, handshake, kind });
    }

    /// Starts a handshake; an unfinished one of the other side ends.
    fn start(&mut self, side: usize) -> Result<(), Fault> {
        let chain = self.peers[side].ring.chain();
        let named = match self.next_base[side].take() {
            Some(Base::Clear) => None,
            Some(base @ (Base::Newest | Base::Older)) => chain.get(base).or_else(|| chain.get(chain.first_base())),
            None => chain.get(chain.first_base()),
        }
        .map(|link| link.key);
        if named.is_none() && !self.extra.restarted {
            return Err(format!("no chain key: {:?}", self.peers));
        }
        let handshake = self.fresh();
        self.extra.over &= !(1 << handshake);
        self.answering[side] = None;
        self.own[side] = Own::AwaitingM2 { handshake, named };
        self.send(1 - side, handshake, Kind::M1 { named });
        Ok(())
    }

    fn deliver(&mut self, at: usize, tokens: Tokens) -> Result<(), Fault> {
        let Message { to, handshake, kind } = self.wire.remove(at);
        match (kind, self.own[to]) {
            (Kind::M1 { named }, own) => self.read_m1(to, own, handshake, named, tokens),
            (Kind::M3, _) => self.read_m3(to, handshake)?,
            (Kind::M2, Own::AwaitingM2 { handshake: own, named }) if own == handshake => {
                self.own[to] = match self.peers[to].reach_m3(Role::Initiator, named, handshake)? {
                    None => Own::None,
                    Some(epoch) => {
                        self.next_base[to] = None;
                        self.send(1 - to, handshake, Kind::M3);
                        Own::AwaitingM4 { handshake, epoch }
                    }
                };
            }
            (Kind::M4, Own::AwaitingM4 { handshake: own, epoch }) if own == handshake => {
                self.peers[to].confirm(epoch);
                self.own[to] = Own::None;
            }
            (Kind::Busy, Own::AwaitingM2 { handshake: own, .. }) if own == handshake => self.give_up(to),
            (Kind::Unknown, Own::AwaitingM2 { handshake: own, named }) if own == handshake => {
                self.own[to] = Own::None;
                let refused = named.and_then(|named| self.peers[to].ring.chain().find(|&key| key == named));
                if let Some(refused) = refused {
                    let next = self.peers[to].ring.after_unknown(refused);
                    if next == Base::Clear && !self.extra.restarted {
                        return Err(format!("both chain keys are unknown: {:?}", self.peers));
                    }
                    self.next_base[to] = Some(next);
                }
            }
            (Kind::Frame, _) => self.open(to, handshake),
            // From a handshake that was given up.
            (Kind::M2 | Kind::M4 | Kind::Busy | Kind::Unknown, _) => {}
        }
        Ok(())
    }

    fn read_m1(&mut self, to: usize, own: Own, handshake: Handshake, named: Named, tokens: Tokens) {
        let progress = match own {
            Own::None => Progress::Unsent,
            Own::AwaitingM2 { .. } => Progress::AwaitingM2,
            Own::AwaitingM4 { .. } => Progress::AwaitingM4,
        };
        if collide(progress, RANKS[to]) == Verdict::Busy || matches!(tokens, Tokens::None) {
            return self.send(1 - to, handshake, Kind::Busy);
        }
        self.answering[to] = None;
        if named.is_some_and(|named| self.peers[to].ring.chain().find(|&key| key == named).is_none()) {
            return self.send(1 - to, handshake, Kind::Unknown);
        }
        self.own[to] = Own::None;
        self.answering[to] = Some(Answering { handshake, named });
        self.send(1 - to, handshake, Kind::M2);
    }

    fn read_m3(&mut self, to: usize, handshake: Handshake) -> Result<(), Fault> {
        let Some(answering) = self.answering[to].filter(|answering| answering.handshake == handshake) else {
            return Ok(());
        };
        self.answering[to] = None;
        if self.peers[to].reach_m3(Role::Responder, answering.named, handshake)?.is_some() {
            self.next_base[to] = None;
            self.send(1 - to, handshake, Kind::M4);
        }
        Ok(())
    }

    /// A time-out of the own handshake, or the like.
    fn give_up(&mut self, side: usize) {
        self.own[side] = Own::None;
        self.next_base[side] = None;
    }

    /// A frame of `sender` arrives.
    fn frame(&mut self, sender: usize) {
        if let Some(keys) = self.peers[sender].sends_on() {
            self.open(1 - sender, keys);
        }
    }

    fn open(&mut self, to: usize, keys: Handshake) {
        let Some(opened) = self.peers[to].opens(keys) else { return };
        self.peers[to].confirm(opened);
        if matches!(self.own[to], Own::AwaitingM4 { epoch, .. } if epoch == opened) {
            self.own[to] = Own::None;
        }
    }

    /// A frame of `sender` stays on its way.
    fn delay_frame(&mut self, sender: usize) -> bool {
        let to = 1 - sender;
        let alone = !self.wire.iter().any(|message| message.to == to && message.kind == Kind::Frame);
        let keys = self.peers[sender].sends_on().filter(|_| alone && self.extra.delayed_frames);
        keys.into_iter().for_each(|keys| self.send(to, keys, Kind::Frame));
        keys.is_some()
    }

    /// The oldest key of a side reaches its hard limit; `false` if none may.
    fn reach_limit(&mut self, side: usize) -> bool {
        let oldest = self.peers[side].ring.epochs().first().map(|epoch| epoch.keys);
        let Some(oldest) = oldest.filter(|&keys| self.extra.is_over(keys) || self.extra.hard_limits > 0) else {
            return false;
        };
        if !self.extra.is_over(oldest) {
            self.extra.hard_limits -= 1;
            self.extra.end(oldest);
        }
        self.peers[side].erase_oldest();
        true
    }

    /// A side loses its memory, and all connections with it.
    fn restart(&mut self, side: usize) {
        self.extra.restarts -= 1;
        self.extra.restarted = true;
        for epoch in self.peers[side].ring.epochs() {
            self.extra.end(epoch.keys);
        }
        self.peers[side].restart();
        (self.own, self.answering) = ([Own::None; 2], [None; 2]);
        self.next_base = [None; 2];
        self.wire.retain(|message| message.kind == Kind::Frame);
    }

    /// Whether both sides meet on one epoch, which both can open, once nothing is lost any more.
    fn recovers(&self) -> Result<(), Fault> {
        let mut state = self.clone();
        (state.own, state.answering) = ([Own::None; 2], [None; 2]);
        state.wire.clear();
        // Newest, older, none.
        for _ in 0..3 {
            state.start(0)?;
            while !state.wire.is_empty() {
                state.deliver(0, Tokens::Some)?;
            }
            let [a, b] = [0, 1].map(|side| state.peers[side].sends_on());
            if a.is_some() && a == b && state.peers.iter().all(|peer| a.and_then(|keys| peer.opens(keys)).is_some()) {
                return Ok(());
            }
        }
        Err(format!("no way back to a common epoch: {:?} after {:?}", state.peers, self.peers))
    }

    fn then(&self, found: &mut dyn FnMut(Result<Self, Fault>), step: impl FnOnce(&mut Self) -> Result<(), Fault>) {
        let mut state = self.clone();
        found(step(&mut state).map(|()| state));
    }
}

impl Model for Start {
    fn code(&self) -> Vec<u8> {
        let mut names = Names::default();
        let mut out = Vec::with_capacity(96);
        self.peers.iter().for_each(|peer| peer.write(&mut names, &mut out));
        for side in 0..2 {
            match self.own[side] {
                Own::None => out.push(0),
                Own::AwaitingM2 { handshake, named } => out.extend([1, names.maybe(named), names.of(handshake)]),
                // Its epoch is the one with the keys of this handshake, or gone.
                Own::AwaitingM4 { handshake, .. } => out.extend([2, names.of(handshake)]),
            }
            match self.answering[side] {
                None => out.push(0),
                Some(Answering { handshake, named }) => out.extend([1, names.maybe(named), names.of(handshake)]),
            }
            out.push(match self.next_base[side] {
                None => 0,
                Some(Base::Newest) => 1,
                Some(Base::Older) => 2,
                Some(Base::Clear) => 3,
            });
        }
        let mut wire: Vec<(u8, &Message)> =
            self.wire.iter().map(|message| (names.known(message.handshake), message)).collect();
        wire.sort_by_key(|(name, message)| (message.to, kind_code(message.kind, &names), *name));
        for (_, message) in wire {
            let [kind, named] = kind_code(message.kind, &names);
            let side = if message.to == 0 { 0 } else { 1 };
            out.extend([0xe0 | side, kind, named, names.of(message.handshake)]);
        }
        let over = (0..64).filter(|&handshake| self.extra.is_over(handshake) && names.known(handshake) != 0xff);
        let over = over.fold(0u64, |over, handshake| over | 1 << names.known(handshake));
        out.extend(over.to_le_bytes());
        out.extend([self.extra.hard_limits, self.extra.restarts, u8::from(self.extra.restarted)]);
        out
    }

    fn next(&self, found: &mut dyn FnMut(Result<Self, Fault>)) {
        for side in 0..2 {
            if self.own[side] == Own::None {
                if self.wire.len() < IN_FLIGHT {
                    self.then(found, |state| state.start(side));
                }
            } else {
                self.then(found, |state| {
                    state.give_up(side);
                    Ok(())
                });
            }
            if self.answering[side].is_some() {
                self.then(found, |state| {
                    state.answering[side] = None;
                    Ok(())
                });
            }
            self.then(found, |state| {
                state.frame(side);
                Ok(())
            });
            let mut state = self.clone();
            if state.peers[side].erase_superseded() {
                found(Ok(state));
            }
            let mut state = self.clone();
            if state.delay_frame(side) {
                found(Ok(state));
            }
            let mut state = self.clone();
            if state.reach_limit(side) {
                found(Ok(state));
            }
            if self.extra.restarts > 0 {
                self.then(found, |state| {
                    state.restart(side);
                    Ok(())
                });
            }
        }
        for at in 0..self.wire.len() {
            self.then(found, |state| {
                state.wire.remove(at);
                Ok(())
            });
            self.then(found, |state| state.deliver(at, Tokens::Some));
            if matches!(self.wire[at].kind, Kind::M1 { .. }) {
                self.then(found, |state| state.deliver(at, Tokens::None));
            }
        }
    }

    fn check(&self) -> Result<(), Fault> {
        if self.extra.is_none() {
            return peer::check(&self.peers);
        }
        peer::check_frames(&self.peers, |keys| self.extra.is_over(keys))?;
        if !self.extra.restarted {
            peer::check_chain(&self.peers)?;
        }
        self.recovers()
    }
}

fn kind_code(kind: Kind, names: &Names) -> [u8; 2] {
    match kind {
        Kind::M1 { named } => [1, named.map_or(0xfe, |named| names.known(named))],
        Kind::M2 => [2, 0],
        Kind::M3 => [3, 0],
        Kind::M4 => [4, 0],
        Kind::Unknown => [5, 0],
        Kind::Busy => [6, 0],
        Kind::Frame => [7, 0],
    }
}
