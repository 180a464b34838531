//! Handshake streams on connections: ordered and reliable until something breaks.

use std::collections::BTreeMap;
use std::time::Duration;

use node::time::Time;
use node::tunnel::{AttemptId, Close, ConnectionId, Dialled, Input, Want};

use super::seeded::{Drawn, last_drawn};
use super::world::{Event, World};
use super::{ms, secs};

/// What becomes of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Deliver,
    /// It arrives later than its like.
    Delay(Duration),
    /// It is lost, and its stream with it; nobody is told.
    Vanish,
    /// It is lost, its stream with it, and both ends learn that.
    Reset,
    /// It is lost with the whole connection, and both ends learn that.
    Disconnect,
}

/// Sees every handshake message on its way (sender, receiver, bytes) and decides.
pub(super) type Meddler = Box<dyn FnMut(usize, usize, &mut Vec<u8>) -> Fate>;

/// A handshake message as it left, and the secrets that went into it.
#[derive(Clone)]
pub struct Recorded {
    /// When it left.
    pub at: Time,
    /// Who sent it.
    pub from: usize,
    /// To whom.
    pub to: usize,
    /// The message.
    pub bytes: Vec<u8>,
    /// What its sender had drawn last.
    pub drawn: Drawn,
}

/// What comes out of a stream.
pub(super) enum Arriving {
    Opened,
    Failed,
    Incoming,
    Message(Vec<u8>),
    Closed,
}

#[derive(Default)]
pub(super) struct Streams {
    connections: BTreeMap<u64, Connection>,
    streams: BTreeMap<u64, Stream>,
    /// By host, peer and the number that the host knows the stream by.
    by_attempt: BTreeMap<(usize, usize, AttemptId), u64>,
    next: u64,
    /// What a host sent on streams that the network does not know: somebody else plays its peer.
    pub(super) foreign: Vec<(AttemptId, Vec<u8>)>,
}

struct Connection {
    dialler: usize,
    other: usize,
    /// Nothing passes any more.
    broken: bool,
    /// Who believes that it stands.
    up: [bool; 2],
}

struct Stream {
    connection: u64,
    ends: [usize; 2],
    /// By end; the peer's is known once the stream arrived there.
    attempts: [Option<AttemptId>; 2],
    /// The latest arrival at each end: a stream does not reorder.
    latest: [Time; 2],
    /// What is on its way to this end is lost.
    lost: [bool; 2],
}

impl Stream {
    fn end(&self, host: usize) -> usize {
        usize::from(self.ends[1] == host)
    }
}

impl Connection {
    fn end(&self, host: usize) -> usize {
        usize::from(self.other == host)
    }

    const fn hosts(&self) -> [usize; 2] {
        [self.dialler, self.other]
    }
}

impl World {
    /// Decides about handshake messages from now on.
    pub fn meddle(&mut self, meddler: impl FnMut(usize, usize, &mut Vec<u8>) -> Fate + 'static) {
        self.meddler = Some(Box::new(meddler));
    }

    /// Lets handshake messages pass again.
    pub fn stop_meddling(&mut self) {
        self.meddler = None;
    }

    /// Somebody plays `peer`, whose transport he has broken: he opens a handshake stream to `host`, or goes on with one,
    /// and says this. Gives what the host says to him.
    pub fn speak_as(&mut self, peer: usize, host: usize, attempt: AttemptId, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        self.note_message(peer, host, &bytes);
        if bytes.first() == Some(&1) {
            let connection = ConnectionId(u64::MAX);
            self.input(host, peer, Input::IncomingStream { connection, attempt });
        }
        self.input(host, peer, Input::Message { attempt, bytes });
        self.streams.foreign.drain(..).filter(|&(on, _)| on == attempt).map(|(_, bytes)| bytes).collect()
    }

    /// Somebody who plays `peer` holds the key behind an index that he chose in its name.
    pub fn holds_key_as(&mut self, peer: usize, host: usize, index: u32) {
        self.ledger.derived(peer, index, self.now, self.setup.hard_limit(peer, host));
        self.ledger.installed(peer, index);
    }

    /// The number of connections that both ends believe in.
    pub fn connections(&self, a: usize, b: usize) -> usize {
        let stands =
            |c: &&Connection| c.up == [true; 2] && !c.broken && c.hosts().contains(&a) && c.hosts().contains(&b);
        self.streams.connections.values().filter(stands).count()
    }

    pub(super) fn need_connection(&mut self, host: usize, peer: usize) {
        let incarnation = self.hosts[host].incarnation;
        let state = self.hosts[host].peer_mut(peer);
        if !std::mem::replace(&mut state.dialling, true) {
            let after = ms(10) + self.dice.up_to(ms(300));
            self.schedule(after, Event::Dial { host, peer, incarnation });
        }
    }

    pub(super) fn on_dial(&mut self, host: usize, peer: usize, incarnation: u32) {
        if self.hosts[host].incarnation != incarnation {
            return;
        }
        let asleep = self.hosts[host].asleep_until.is_some() || self.hosts[peer].asleep_until.is_some();
        if asleep || self.is_partitioned(host, peer) {
            let after = secs(1) + self.dice.up_to(secs(4));
            return self.schedule(after, Event::Dial { host, peer, incarnation });
        }
        self.hosts[host].peer_mut(peer).dialling = false;
        if self.hosts[host].peers[&peer].want == Want::Up {
            self.connect(host, peer);
        }
    }

    /// A connection that `dialler` opened stands.
    pub fn connect(&mut self, dialler: usize, other: usize) {
        self.streams.next += 1;
        let connection = self.streams.next;
        self.streams.connections.insert(connection, Connection { dialler, other, broken: false, up: [false; 2] });
        let delay = self.setup.stream_delay;
        self.schedule(delay, Event::ConnectionUp { connection, host: other });
        self.schedule(delay * 2, Event::ConnectionUp { connection, host: dialler });
    }

    pub(super) fn on_connection_up(&mut self, connection: u64, host: usize) {
        let Some(stands) = self.streams.connections.get_mut(&connection) else { return };
        let end = stands.end(host);
        let (peer, dialled) = if end == 0 { (stands.other, Dialled::ByUs) } else { (stands.dialler, Dialled::ByPeer) };
        if stands.broken {
            // The dial failed, and is tried again.
            if dialled == Dialled::ByUs && self.hosts[host].peers[&peer].connections.is_empty() {
                self.need_connection(host, peer);
            }
            return;
        }
        stands.up[end] = true;
        let connection = ConnectionId(connection);
        self.hosts[host].peer_mut(peer).connections.push(connection);
        self.input(host, peer, Input::ConnectionUp { connection, dialled });
    }

    /// Breaks every connection between two hosts; each end learns it within `notice`.
    pub fn disconnect(&mut self, a: usize, b: usize, notice: Duration) {
        let between = |c: &&mut Connection| !c.broken && c.hosts().contains(&a) && c.hosts().contains(&b);
        let broken: Vec<u64> = self
            .streams
            .connections
            .iter_mut()
            .filter(|(_, c)| between(c))
            .map(|(&connection, stands)| {
                stands.broken = true;
                connection
            })
            .collect();
        for connection in broken {
            for host in [a, b] {
                let after = self.dice.up_to(notice);
                self.schedule(after, Event::ConnectionDown { connection, host });
            }
        }
    }

    pub(super) fn on_connection_down(&mut self, connection: u64, host: usize) {
        if let Some(wake) = self.hosts[host].asleep_until {
            return self.schedule_at(wake, Event::ConnectionDown { connection, host });
        }
        let Some(stands) = self.streams.connections.get_mut(&connection) else { return };
        let end = stands.end(host);
        let peer = stands.hosts()[1 - end];
        if std::mem::replace(&mut stands.up[end], false) {
            let connection = ConnectionId(connection);
            self.hosts[host].peer_mut(peer).connections.retain(|&known| known != connection);
            self.input(host, peer, Input::ConnectionDown { connection });
        }
    }

    /// A host that lost its memory knows none of its connections; the others learn it within `notice`.
    pub(super) fn forget_connections(&mut self, host: usize, notice: Duration) {
        let mut lost = Vec::new();
        for (&connection, stands) in &mut self.streams.connections {
            if stands.hosts().contains(&host) && !stands.broken {
                stands.broken = true;
                let end = stands.end(host);
                stands.up[end] = false;
                lost.push((connection, stands.hosts()[1 - end]));
            }
        }
        for (connection, host) in lost {
            let after = self.dice.up_to(notice);
            self.schedule(after, Event::ConnectionDown { connection, host });
        }
        self.streams.by_attempt.retain(|&(at, ..), _| at != host);
    }

    pub(super) fn open_stream(&mut self, host: usize, peer: usize, connection: u64, attempt: AttemptId) {
        let now = self.now;
        self.hosts[host].peer_mut(peer).started.push(now);
        self.streams.next += 1;
        let stream = self.streams.next;
        let lost = self.streams.connections.get(&connection).is_none_or(|stands| stands.broken);
        self.streams.streams.insert(
            stream,
            Stream {
                connection,
                ends: [host, peer],
                attempts: [Some(attempt), None],
                latest: [now; 2],
                lost: [lost; 2],
            },
        );
        self.streams.by_attempt.insert((host, peer, attempt), stream);
        if self.dice.chance(self.setup.stream_failures) {
            return self.bring(stream, host, Arriving::Failed, Duration::ZERO);
        }
        self.bring(stream, peer, Arriving::Incoming, Duration::ZERO);
        let delay = self.setup.stream_delay;
        self.bring(stream, host, Arriving::Opened, delay);
    }

    pub(super) fn send_message(&mut self, host: usize, peer: usize, attempt: AttemptId, mut bytes: Vec<u8>) {
        self.note_message(host, peer, &bytes);
        let drawn = last_drawn(&self.hosts[host].peers[&peer].tape);
        if let Some(transcript) = &mut self.transcript {
            transcript.push(Recorded { at: self.now, from: host, to: peer, bytes: bytes.clone(), drawn });
        }
        let Some(&stream) = self.streams.by_attempt.get(&(host, peer, attempt)) else {
            return self.streams.foreign.push((attempt, bytes));
        };
        let fate = self.meddler.as_mut().map_or(Fate::Deliver, |meddle| meddle(host, peer, &mut bytes));
        let fate = if fate == Fate::Deliver { self.random_fate() } else { fate };
        if self.trace {
            eprintln!("{:?} host {host} to host {peer}: M{} on {attempt:?}: {fate:?}", self.now, bytes[0]);
        }
        match fate {
            Fate::Deliver => self.bring(stream, peer, Arriving::Message(bytes), Duration::ZERO),
            Fate::Delay(delay) => self.bring(stream, peer, Arriving::Message(bytes), delay),
            Fate::Vanish => self.lose(stream),
            Fate::Reset => {
                self.lose(stream);
                for host in [host, peer] {
                    let after = self.dice.up_to(secs(2));
                    self.schedule(after, Event::Stream { stream, to: host, what: Arriving::Closed });
                }
            }
            Fate::Disconnect => self.disconnect(host, peer, secs(2)),
        }
    }

    fn random_fate(&mut self) -> Fate {
        if self.setup.message_faults == 0.0 || !self.dice.chance(self.setup.message_faults) {
            return Fate::Deliver;
        }
        match self.dice.below(6) {
            0 | 1 => Fate::Vanish,
            2 => Fate::Reset,
            3 => Fate::Disconnect,
            _ => Fate::Delay(self.dice.up_to(secs(15))),
        }
    }

    /// What the ledger learns from M1 and M2: the index that the sender chose, and when R derived its keys.
    fn note_message(&mut self, host: usize, peer: usize, bytes: &[u8]) {
        let index = bytes.get(4..8).and_then(|index| <[u8; 4]>::try_from(index).ok()).map(u32::from_le_bytes);
        match (bytes.first(), index) {
            (Some(1), Some(index)) => self.ledger.chosen(host, peer, index, self.now),
            (Some(2), Some(index)) => {
                self.ledger.chosen(host, peer, index, self.now);
                self.ledger.derived(host, index, self.now, self.setup.hard_limit(host, peer));
            }
            (Some(_) | None, _) => {}
        }
        for (from, to) in [(host, peer), (peer, host)] {
            for _ in 0..self.busy_handshakes {
                let after = self.dice.up_to(self.setup.stream_delay * 4);
                self.schedule(after, Event::Packets { from, to, count: 1 });
            }
        }
    }

    pub(super) fn close_stream(&mut self, host: usize, peer: usize, attempt: AttemptId, how: Close) {
        let Some(stream) = self.streams.by_attempt.remove(&(host, peer, attempt)) else { return };
        if how == Close::Reset && self.dice.chance(0.5) {
            // A reset overtakes what was sent before.
            if let Some(reset) = self.streams.streams.get_mut(&stream) {
                let end = reset.end(peer);
                reset.lost[end] = true;
            }
            let delay = self.setup.stream_delay;
            return self.schedule(delay, Event::Stream { stream, to: peer, what: Arriving::Closed });
        }
        self.bring(stream, peer, Arriving::Closed, Duration::ZERO);
    }

    fn lose(&mut self, stream: u64) {
        if let Some(stream) = self.streams.streams.get_mut(&stream) {
            stream.lost = [true; 2];
        }
    }

    /// Brings something to one end of a stream, behind what is on its way already.
    fn bring(&mut self, stream: u64, to: usize, what: Arriving, extra: Duration) {
        let jitter = self.dice.up_to(self.setup.stream_jitter);
        let at = self.now + self.setup.stream_delay + jitter + extra;
        let Some(on) = self.streams.streams.get_mut(&stream) else { return };
        let end = on.end(to);
        on.latest[end] = on.latest[end].max(at);
        let at = on.latest[end];
        self.schedule_at(at, Event::Stream { stream, to, what });
    }

    pub(super) fn on_stream(&mut self, stream: u64, to: usize, what: Arriving) {
        if let Some(wake) = self.hosts[to].asleep_until {
            return self.schedule_at(wake, Event::Stream { stream, to, what });
        }
        let Some(on) = self.streams.streams.get_mut(&stream) else { return };
        let end = on.end(to);
        let peer = on.ends[1 - end];
        let Some(connection) = self.streams.connections.get(&on.connection) else { return };
        let knows = connection.up[connection.end(to)];
        // A reset is told even where everything else is lost.
        let told = matches!(what, Arriving::Closed);
        if !knows || connection.broken || (on.lost[end] && !told) {
            return;
        }
        if let Some(end_of_partition) = self.partitions.get(&(to.min(peer), to.max(peer))).copied() {
            // The transport sends it again until it gets through.
            if end_of_partition > self.now {
                let after = end_of_partition.saturating_since(self.now) + self.dice.up_to(secs(1));
                return self.schedule(after, Event::Stream { stream, to, what });
            }
        }
        if let Arriving::Incoming = what {
            let state = self.hosts[to].peer_mut(peer);
            let attempt = AttemptId(state.next_incoming);
            state.next_incoming += 2;
            on.attempts[end] = Some(attempt);
            self.streams.by_attempt.insert((to, peer, attempt), stream);
            let connection = ConnectionId(on.connection);
            return self.input(to, peer, Input::IncomingStream { connection, attempt });
        }
        let Some(attempt) = on.attempts[end] else { return };
        let input = match what {
            Arriving::Opened => Input::StreamOpened { attempt },
            Arriving::Failed => Input::StreamFailed { attempt },
            Arriving::Message(bytes) => Input::Message { attempt, bytes },
            Arriving::Closed | Arriving::Incoming => Input::StreamClosed { attempt },
        };
        self.input(to, peer, input);
    }

    pub(super) fn is_partitioned(&self, a: usize, b: usize) -> bool {
        self.partitions.get(&(a.min(b), a.max(b))).is_some_and(|&end| end > self.now)
    }
}
