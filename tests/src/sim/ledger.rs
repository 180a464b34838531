//! The reference model: every frame that was sealed, what the network did to it, and what must become of it.
//!
//! It knows keys by their receiver index and the moments when hosts chose, derived, installed and lost them, all seen
//! from outside the core. From these alone follows what a receiver has to do with a frame that arrives.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use node::drops::DropReason;
use node::epoch::WINDOW;
use node::time::Time;

/// A sealed frame's place in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameId(usize);

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A packet, and whether its addresses let it pass at the receiver.
    Packet(Vec<u8>, Passes),
    /// A keepalive.
    Empty,
    /// A probe's token.
    Probe([u8; 8]),
    /// A probe's token in its answer.
    ProbeAck([u8; 8]),
}

/// Whether the receiver's rules of 7.4 let a packet pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// They do.
    Yes,
    /// They do not.
    No,
}

/// A sealed frame.
pub struct Frame {
    /// Who sealed it.
    pub from: usize,
    /// Who can open it.
    pub to: usize,
    /// When.
    pub at: Time,
    /// The receiver's index.
    pub index: u32,
    /// Its counter.
    pub counter: u64,
    /// What it holds.
    pub content: Content,
    /// Its bytes.
    pub wire: Vec<u8>,
    /// Whether the peer was known to hold the key (6.6).
    pub confirmed: bool,
    opened: bool,
}

/// What a receiver did with a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was authentic and held this.
    Opened(Content),
    /// It was authentic, and its packet was dropped.
    Dropped(DropReason),
    /// It was refused.
    Refused(DropReason),
}

/// What a receiver has to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Open,
    Refuse(&'static str),
    /// The protocol allows both.
    Either(&'static str),
}

/// A receive key, as the outside sees it.
struct Key {
    peer: usize,
    chosen: Time,
    /// Which of the receiver's lives with this peer: it ends when all keys are erased.
    life: u32,
    derived: Option<Time>,
    hard: Duration,
    /// Its place among the keys of this life that were installed.
    installed: Option<usize>,
    /// It failed more often than it may.
    worn_out: bool,
    highest: Option<u64>,
    counters: BTreeSet<u64>,
}

/// One receiver's dealings with one peer.
#[derive(Default)]
struct Side {
    life: u32,
    installed: usize,
}

/// Numbers of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames with packets that were sealed.
    pub data_frames: u64,
    /// Packets that reached their host.
    pub delivered: u64,
    /// Intact copies that reached a host.
    pub arrivals: u64,
    /// Copies that were changed on their way, or made up.
    pub forgeries: u64,
    /// Intact frames that were not opened, by the protocol's reason.
    pub excused: BTreeMap<&'static str, u64>,
}

/// Everything that was sealed, and what became of it.
pub struct Ledger {
    frames: Vec<Frame>,
    keys: HashMap<(usize, u32), Key>,
    sides: BTreeMap<(usize, usize), Side>,
    /// The first eight bytes of every key stream.
    streams: HashSet<u64>,
    /// How long a key outlives the one that replaced it.
    previous_key: Duration,
    totals: Totals,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(previous_key: Duration) -> Self {
        Self {
            frames: Vec::new(),
            keys: HashMap::new(),
            sides: BTreeMap::new(),
            streams: HashSet::new(),
            previous_key,
            totals: Totals::default(),
        }
    }

    /// The run's numbers so far.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// A frame.
    pub fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[id.0]
    }

    /// How many were sealed.
    pub const fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none was.
    pub const fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// A frame by its place in the order in which they were sealed.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn nth(&self, place: usize) -> FrameId {
        assert!(place < self.frames.len(), "only {} frames were sealed", self.frames.len());
        FrameId(place)
    }

    /// All frames, in the order in which they were sealed.
    pub fn frames(&self) -> impl Iterator<Item = (FrameId, &Frame)> {
        self.frames.iter().enumerate().map(|(at, frame)| (FrameId(at), frame))
    }

    /// `host` chose `index` for a key that it shares with `peer`, in its M1 or M2.
    pub fn chosen(&mut self, host: usize, peer: usize, index: u32, now: Time) {
        let life = self.side(host, peer).life;
        let key = Key {
            peer,
            chosen: now,
            life,
            derived: None,
            hard: Duration::MAX,
            installed: None,
            worn_out: false,
            highest: None,
            counters: BTreeSet::new(),
        };
        // An index that is free again may be chosen again; what it stood for is over then.
        self.keys.insert((host, index), key);
    }

    /// `host` derived the key behind `index`, which may be used for `hard`.
    pub fn derived(&mut self, host: usize, index: u32, now: Time, hard: Duration) {
        let key = self.keys.get_mut(&(host, index)).expect("an index is chosen before its key is derived");
        key.derived.get_or_insert(now);
        key.hard = hard;
    }

    /// `host` can open frames of the key behind `index` from now on.
    pub fn installed(&mut self, host: usize, index: u32) {
        let key = self.keys.get_mut(&(host, index)).expect("an index is chosen before its key is installed");
        let side = self.sides.entry((host, key.peer)).or_default();
        assert_eq!(key.installed, None, "host {host} installed the key behind {index:#x} twice");
        assert_eq!(key.life, side.life, "host {host} installed a key of a life that is over");
        key.installed = Some(side.installed);
        side.installed += 1;
    }

    /// `host` lost or erased all keys that it shares with `peer`.
    pub fn erased(&mut self, host: usize, peer: usize) {
        let side = self.side(host, peer);
        *side = Side { life: side.life + 1, installed: 0 };
    }

    /// The key behind `index` failed more often than it may.
    pub fn worn_out(&mut self, host: usize, index: u32) {
        if let Some(key) = self.keys.get_mut(&(host, index)) {
            key.worn_out = true;
        }
    }

    /// When the key behind `index` must be gone at `host`.
    pub fn end_of(&self, host: usize, index: u32) -> Option<Time> {
        let key = self.keys.get(&(host, index))?;
        key.derived.map(|derived| derived + key.hard)
    }

    /// A frame was sealed.
    ///
    /// # Panics
    /// When its nonce was used before, when its packet shows, or when the receiver cannot know the key yet.
    pub fn sealed(&mut self, frame: Frame) -> FrameId {
        let text: &[u8] = match &frame.content {
            Content::Packet(packet, _) => {
                self.totals.data_frames += 1;
                packet
            }
            Content::Empty => &[0; 16],
            Content::Probe(token) | Content::ProbeAck(token) => token,
        };
        self.check_stream(&frame, text);
        let key = self.keys.get(&(frame.to, frame.index));
        let key = key.unwrap_or_else(|| panic!("a frame to host {} with an index that it never chose", frame.to));
        assert_eq!(key.peer, frame.from, "a frame with the index of another peer");
        let gone = key.life != self.sides.get(&(frame.to, frame.from)).map_or(0, |side| side.life);
        assert!(
            gone || key.installed.is_some() || !frame.confirmed,
            "host {} sends on a key that host {} does not hold yet",
            frame.from,
            frame.to
        );
        self.frames.push(frame);
        FrameId(self.frames.len() - 1)
    }

    /// No key and nonce give the same stream twice, and nothing of the text shows.
    fn check_stream(&mut self, frame: &Frame, text: &[u8]) {
        let words = |bytes: &[u8]| -> Vec<u64> {
            bytes.chunks_exact(8).map(|w| w.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))).collect()
        };
        let stream: Vec<u64> = words(text).iter().zip(words(&frame.wire[16..])).map(|(t, sealed)| t ^ sealed).collect();
        assert!(stream.iter().all(|&word| word != 0), "host {} sent in clear", frame.from);
        assert!(
            self.streams.insert(stream[0]),
            "host {} used a nonce twice: counter {} of index {:#x}",
            frame.from,
            frame.counter,
            frame.index
        );
    }

    /// An intact copy of a frame reached `to`, which did this with it.
    ///
    /// # Panics
    /// When the protocol says otherwise.
    pub fn judge(&mut self, id: FrameId, to: usize, now: Time, outcome: &Outcome) {
        self.totals.arrivals += 1;
        let expected = self.expected(id, to, now);
        let frame = &mut self.frames[id.0];
        let (Frame { from, to: meant, at, index, counter, .. }, age) = (&*frame, now.saturating_since(frame.at));
        let story = format!(
            "frame {counter} of index {index:#x} from host {from} to host {meant}, sent at {at:?}, arrived at host {to} \
             after {age:?}: {outcome:?}"
        );
        match (expected, outcome) {
            (Expected::Open, Outcome::Refused(_)) => panic!("a frame is lost that the network brought: {story}"),
            (Expected::Refuse(why), Outcome::Opened(_) | Outcome::Dropped(_)) => {
                panic!("a frame was opened though {why}: {story}")
            }
            (Expected::Refuse(why) | Expected::Either(why), Outcome::Refused(_)) => {
                *self.totals.excused.entry(why).or_default() += 1;
            }
            (Expected::Open | Expected::Either(_), Outcome::Opened(content)) => {
                assert_eq!(*content, frame.content, "a frame holds something else than was sent: {story}");
                if let Content::Packet(_, passes) = &frame.content {
                    assert_eq!(*passes, Passes::Yes, "a packet got past the rules of 7.4: {story}");
                    self.totals.delivered += 1;
                }
                self.note_opened(id);
            }
            (Expected::Open | Expected::Either(_), Outcome::Dropped(reason)) => {
                let forbidden = matches!(&frame.content, Content::Packet(_, Passes::No));
                assert!(forbidden, "a good packet was dropped as {reason:?}: {story}");
                self.note_opened(id);
            }
        }
    }

    /// Something reached a host that no peer of it sealed like that.
    ///
    /// # Panics
    /// When it was opened.
    pub fn judge_forgery(&mut self, to: usize, outcome: &Outcome) {
        self.totals.forgeries += 1;
        assert!(matches!(outcome, Outcome::Refused(_)), "host {to} opened what nobody sealed: {outcome:?}");
    }

    fn expected(&self, id: FrameId, to: usize, now: Time) -> Expected {
        let frame = self.frame(id);
        if frame.to != to {
            return Expected::Refuse("it was for another host");
        }
        let Some(key) = self.keys.get(&(to, frame.index)) else { return Expected::Refuse("nobody chose its index") };
        if frame.at < key.chosen {
            return Expected::Refuse("its index stands for another key by now");
        }
        let side = self.sides.get(&(to, frame.from));
        if side.is_some_and(|side| side.life != key.life) {
            return Expected::Refuse("all keys were erased");
        }
        if frame.opened {
            return Expected::Refuse("it was opened before");
        }
        if key.highest.is_some_and(|highest| highest.saturating_sub(frame.counter) >= WINDOW) {
            return Expected::Refuse("it is behind the window");
        }
        if key.derived.is_some_and(|derived| now.saturating_since(derived) >= key.hard) {
            return Expected::Refuse("its key is past the hard limit");
        }
        if key.worn_out {
            return Expected::Refuse("its key failed too often");
        }
        let Some(installed) = key.installed else {
            return Expected::Refuse("it overtook the proof of the sender's identity");
        };
        if now.saturating_since(frame.at) >= self.previous_key {
            return Expected::Either("its sender may have left the key for longer than the receiver keeps it");
        }
        if side.is_some_and(|side| side.installed - installed > 3) {
            return Expected::Either("three newer keys have come since");
        }
        Expected::Open
    }

    fn note_opened(&mut self, id: FrameId) {
        let frame = &mut self.frames[id.0];
        frame.opened = true;
        if let Some(key) = self.keys.get_mut(&(frame.to, frame.index)) {
            assert!(key.counters.insert(frame.counter), "counter {} was opened twice", frame.counter);
            key.highest = key.highest.max(Some(frame.counter));
        }
    }

    fn side(&mut self, host: usize, peer: usize) -> &mut Side {
        self.sides.entry((host, peer)).or_default()
    }
}

impl Frame {
    /// A frame that was just sealed, with its header read.
    ///
    /// # Panics
    /// When it is shorter than a header.
    pub fn new(from: usize, to: usize, at: Time, content: Content, wire: Vec<u8>, confirmed: bool) -> Self {
        let word =
            |range: std::ops::Range<usize>| -> [u8; 4] { wire[range].try_into().expect("a range of four bytes") };
        let index = u32::from_le_bytes(word(4..8));
        let counter = u64::from(u32::from_le_bytes(word(8..12))) | u64::from(u32::from_le_bytes(word(12..16))) << 32;
        Self { from, to, at, index, counter, content, wire, confirmed, opened: false }
    }

    /// Whether its receiver opened it.
    pub const fn was_opened(&self) -> bool {
        self.opened
    }
}
