//! Two tunnels joined by a small network in memory, under virtual time.

mod chains;
mod changes;
mod connect;
mod failures;
mod liveness;
mod rotations;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::crypto::{AwsLcKem, Identity, RandomError};
use crate::drops::{DropCounters, DropReason};
use crate::epoch::{FrameSource, Opened, Opener, Outgoing, Sealer};
use crate::frame::{FrameBatch, FrameType};
use crate::handshake::{Capabilities, Forwarding, PaddingMode, Params, Tlv};
use crate::packet::Checksum;
use crate::path::Path;
use crate::secret::{HeapStore, SecretKey32, SecretStore};

/// The side with the smaller key.
const LEADER: usize = 0;
const FOLLOWER: usize = 1;
const LATENCY: Duration = Duration::from_millis(10);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A generator that is good enough for tests (SplitMix64).
struct Script(u64);

impl RandomSource for Script {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// The identities of both sides, the smaller key first.
fn identities() -> [Arc<Identity>; 2] {
    let of = |seed| Arc::new(Identity::from_seed(HeapStore.keep(SecretKey32::new([seed; 32])).unwrap()).unwrap());
    let (a, b) = (of(1), of(2));
    if a.public() < b.public() { [a, b] } else { [b, a] }
}

fn psk(byte: u8) -> StoredSecret {
    HeapStore.keep(SecretKey32::new([byte; 32])).unwrap()
}

#[derive(Clone)]
struct Setup {
    limits: TunnelLimits,
    rule: ChainRule,
    psk: Option<u8>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { limits: TunnelLimits::default(), rule: ChainRule::Optional, psk: None }
    }
}

impl Setup {
    fn tunnel(&self, side: usize, now: Time) -> Tunnel {
        let identities = identities();
        let config = TunnelConfig {
            identity: Arc::clone(&identities[side]),
            remote: identities[1 - side].public(),
            psk: self.psk.map(psk),
            require_chain: self.rule,
            params: Params {
                mtu: 1420,
                rotation_seconds: 300,
                padding: PaddingMode::default(),
                capabilities: Capabilities::default(),
            },
            tlvs: Vec::new(),
            limits: self.limits.clone(),
            kem: Arc::new(AwsLcKem),
            store: Arc::new(HeapStore),
            indices: Arc::new(IndexSpace::default()),
        };
        Tunnel::new(config, Box::new(Script(now.as_nanos() ^ side as u64)), now)
    }
}

struct Side {
    tunnel: Tunnel,
    openers: BTreeMap<u32, Opener>,
    sealer: Option<Arc<Sealer>>,
    events: Vec<TunnelEvent>,
    delivered: Vec<u32>,
    drops: Vec<DropReason>,
    needs: usize,
    /// Handshakes that this side started.
    started: Vec<Time>,
    removed: usize,
}

enum Item {
    Opened,
    Failed,
    Incoming,
    Message(Vec<u8>),
    Closed,
    Frame(Vec<u8>),
}

struct Flight {
    at: Time,
    to: usize,
    attempt: u64,
    connection: u64,
    item: Item,
}

/// What becomes of a handshake message.
enum Fate {
    Deliver,
    Lose,
}

type Meddler = Box<dyn FnMut(usize, &mut Vec<u8>) -> Fate>;

struct Pair {
    now: Time,
    setup: Setup,
    sides: [Side; 2],
    wire: Vec<Flight>,
    /// The connection that stands.
    connection: Option<u64>,
    connections: u64,
    /// Sees every handshake message, with its sender.
    meddle: Meddler,
    frames_pass: bool,
    /// Sides that sleep: no time-outs.
    asleep: [bool; 2],
    /// Sides that cannot open a substream.
    mute: [bool; 2],
    packets: u32,
}

impl Pair {
    fn new(setup: Setup) -> Self {
        let now = Time::ZERO + secs(1000);
        let side = |side| Side {
            tunnel: setup.tunnel(side, now),
            openers: BTreeMap::new(),
            sealer: None,
            events: Vec::new(),
            delivered: Vec::new(),
            drops: Vec::new(),
            needs: 0,
            started: Vec::new(),
            removed: 0,
        };
        let sides = [side(0), side(1)];
        let mut pair = Self {
            now,
            setup,
            sides,
            wire: Vec::new(),
            connection: None,
            connections: 0,
            meddle: Box::new(|_, _| Fate::Deliver),
            frames_pass: true,
            asleep: [false; 2],
            mute: [false; 2],
            packets: 0,
        };
        pair.input(0, Input::Wanted(Want::Up));
        pair.input(1, Input::Wanted(Want::Up));
        pair
    }

    /// Two sides that are connected, the leader having dialled.
    fn connected(setup: Setup) -> Self {
        let mut pair = Self::new(setup);
        pair.input(LEADER, Input::AcceptChainReset);
        pair.input(FOLLOWER, Input::AcceptChainReset);
        pair.connect(LEADER);
        pair.run(ms(500));
        pair.assert_connected();
        pair.forget_events();
        pair
    }

    fn connect(&mut self, dialler: usize) {
        self.connections += 1;
        self.connection = Some(self.connections);
        let connection = ConnectionId(self.connections);
        self.input(dialler, Input::ConnectionUp { connection, dialled: Dialled::ByUs });
        self.input(1 - dialler, Input::ConnectionUp { connection, dialled: Dialled::ByPeer });
    }

    fn disconnect(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        self.wire.retain(|flight| matches!(flight.item, Item::Frame(_)));
        for side in 0..2 {
            self.input(side, Input::ConnectionDown { connection: ConnectionId(connection) });
        }
    }

    /// A side loses its memory.
    fn restart(&mut self, side: usize) {
        self.disconnect();
        self.sides[side].tunnel = self.setup.tunnel(side, self.now + ms(1));
        self.sides[side].openers.clear();
        self.sides[side].sealer = None;
        self.input(side, Input::Wanted(Want::Up));
    }

    fn input(&mut self, side: usize, input: Input) {
        self.sides[side].tunnel.handle(self.now, input);
        while let Some(output) = self.sides[side].tunnel.poll_output() {
            self.output(side, output);
        }
        let deadline = self.sides[side].tunnel.deadline();
        assert!(deadline.is_none_or(|at| at > self.now), "a deadline that has passed was not acted on");
    }

    fn output(&mut self, side: usize, output: Output) {
        match output {
            Output::OpenStream { connection, attempt } => {
                self.sides[side].started.push(self.now);
                if self.mute[side] {
                    return self.fly(LATENCY, side, attempt.0, connection.0, Item::Failed);
                }
                self.fly(LATENCY, side, attempt.0, connection.0, Item::Opened);
                self.fly(LATENCY, 1 - side, attempt.0 + 1, connection.0, Item::Incoming);
            }
            Output::Send { attempt, mut bytes } => {
                if let Fate::Deliver = (self.meddle)(side, &mut bytes) {
                    self.fly(LATENCY, 1 - side, attempt.0 ^ 1, 0, Item::Message(bytes));
                }
            }
            Output::CloseStream { attempt, how: _ } => self.fly(LATENCY, 1 - side, attempt.0 ^ 1, 0, Item::Closed),
            Output::Install { opener } => {
                let before = self.sides[side].openers.insert(opener.index().get(), *opener);
                assert!(before.is_none(), "an index was used twice");
            }
            Output::Remove { index } => {
                let opener = self.sides[side].openers.remove(&index.get()).expect("what is removed was installed");
                assert!(opener.state().is_dead());
                self.sides[side].removed += 1;
            }
            Output::SendWith(sealer) => self.sides[side].sealer = sealer,
            Output::SendEmpty => {
                self.seal(side, |sealer, now, out| sealer.seal_empty(now, out));
            }
            Output::SendProbe { token } => {
                self.seal(side, |sealer, now, out| sealer.seal_probe(now, token, out));
            }
            Output::SendProbeAck { token, via: _ } => {
                self.seal(side, |sealer, now, out| sealer.seal_probe_ack(now, token, out));
            }
            Output::NeedConnection => self.sides[side].needs += 1,
            Output::PathDead => {}
            Output::Event(event) => self.sides[side].events.push(event),
        }
    }

    fn seal(
        &mut self,
        side: usize,
        seal: impl FnOnce(&Sealer, Time, &mut FrameBatch) -> Result<(), DropReason>,
    ) -> bool {
        let Some(sealer) = self.sides[side].sealer.clone() else { return false };
        let mut out = FrameBatch::new(4096);
        if seal(&sealer, self.now, &mut out).is_err() {
            return false;
        }
        if self.frames_pass {
            let frames: Vec<_> = out.frames().map(<[u8]>::to_vec).collect();
            frames.into_iter().for_each(|frame| self.fly(LATENCY, 1 - side, 0, 0, Item::Frame(frame)));
        }
        true
    }

    /// Sends a packet with a number of its own; whether there was a key to seal it with.
    fn send(&mut self, side: usize) -> Option<u32> {
        self.packets += 1;
        let number = self.packets;
        let mut packet = vec![0x45, 0, 0, 24];
        packet.resize(20, 0);
        packet.extend(number.to_be_bytes());
        let sealed = self.seal(side, |sealer, now, out| {
            let outgoing = Outgoing { packet: &packet, checksum: Checksum::Complete };
            sealer.seal_batch(now, &[outgoing], out, &DropCounters::default()).map(drop)
        });
        if sealed {
            self.input(side, Input::Report(Report::Sent { at: self.now, traffic: Traffic::Content }));
        }
        sealed.then_some(number)
    }

    fn fly(&mut self, delay: Duration, to: usize, attempt: u64, connection: u64, item: Item) {
        self.wire.push(Flight { at: self.now + delay, to, attempt, connection, item });
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let flight = self.wire.iter().enumerate().min_by_key(|(_, flight)| flight.at).map(|(i, f)| (f.at, i));
            let timer = (0..2)
                .filter(|&side| !self.asleep[side])
                .filter_map(|side| self.sides[side].tunnel.deadline().map(|at| (at, side)))
                .min();
            match (flight, timer) {
                (Some((at, i)), _) if at <= end && timer.is_none_or(|(t, _)| at <= t) => {
                    self.now = self.now.max(at);
                    let flight = self.wire.remove(i);
                    self.arrive(flight);
                }
                (_, Some((at, side))) if at <= end => {
                    self.now = self.now.max(at);
                    self.input(side, Input::Timeout);
                }
                (Some(_) | None, Some(_) | None) => break,
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, flight: Flight) {
        let Flight { to, attempt, connection, item, .. } = flight;
        let attempt = AttemptId(attempt);
        match item {
            Item::Opened => self.input(to, Input::StreamOpened { attempt }),
            Item::Failed => self.input(to, Input::StreamFailed { attempt }),
            Item::Incoming => {
                self.input(to, Input::IncomingStream { connection: ConnectionId(connection), attempt });
            }
            Item::Message(bytes) => self.input(to, Input::Message { attempt, bytes }),
            Item::Closed => self.input(to, Input::StreamClosed { attempt }),
            Item::Frame(frame) => self.receive(to, frame),
        }
    }

    fn receive(&mut self, to: usize, mut frame: Vec<u8>) {
        let now = self.now;
        let index = u32::from_le_bytes(frame[4..8].try_into().unwrap());
        let kind = FrameType::from_byte(frame[0]).unwrap();
        let side = &mut self.sides[to];
        let Some(opener) = side.openers.get_mut(&index) else {
            return side.drops.push(DropReason::FrameUnknownIndex);
        };
        let (first, epoch) = (opener.is_unused(), opener.epoch());
        let mut reports = vec![Report::Received { at: now }];
        match opener.open(now, kind, &mut frame, FrameSource::Stream) {
            Ok(Opened::Packet(packet, _)) => {
                side.delivered.push(u32::from_be_bytes(packet[20..24].try_into().unwrap()));
            }
            Ok(Opened::Empty) => {}
            Ok(Opened::Probe(token)) => reports.push(Report::ProbeReceived { token, via: Path::Stream }),
            Ok(Opened::ProbeAck(token)) => reports.push(Report::ProbeAcked { token, at: now }),
            Err(reason) => return side.drops.push(reason),
        }
        if first {
            reports.insert(0, Report::FirstFrame { epoch });
        }
        reports.into_iter().for_each(|report| self.input(to, Input::Report(report)));
    }

    /// Sends one packet each way and demands that both arrive.
    fn assert_data_flows(&mut self) {
        let sent = [0, 1].map(|side| (side, self.send(side).expect("a live tunnel has a key")));
        self.run(LATENCY + ms(1));
        for (side, number) in sent {
            let Side { delivered, drops, .. } = &self.sides[1 - side];
            assert!(delivered.contains(&number), "side {side}'s packet is lost: {drops:?}");
        }
    }

    fn assert_connected(&mut self) {
        assert_eq!([self.state(0), self.state(1)], [PeerState::Connected; 2]);
        assert_eq!(self.session(0), self.session(1), "both send on the same epoch");
        self.assert_data_flows();
    }

    fn state(&self, side: usize) -> PeerState {
        self.sides[side].tunnel.status(self.now).state
    }

    fn session(&self, side: usize) -> Option<[u8; 8]> {
        self.sides[side].tunnel.status(self.now).epoch.map(|epoch| epoch.session)
    }

    fn handshakes(&self) -> [u64; 2] {
        [0, 1].map(|side| self.sides[side].tunnel.status(self.now).handshakes)
    }

    fn failures(&self, side: usize) -> Vec<(&'static str, u64)> {
        self.sides[side].tunnel.status(self.now).failures
    }

    fn forget_events(&mut self) {
        for side in &mut self.sides {
            side.events.clear();
            side.started.clear();
            side.needs = 0;
            side.drops.clear();
        }
    }

    fn saw(&self, side: usize, event: &TunnelEvent) -> bool {
        self.sides[side].events.contains(event)
    }

    /// How long ago a side started its first handshake since the events were forgotten.
    fn first_start(&self, side: usize) -> Option<Time> {
        self.sides[side].started.first().copied()
    }
}

/// Loses the first `count` messages of a type.
fn lose(kind: u8, mut count: usize) -> Meddler {
    Box::new(move |_, bytes| {
        if bytes[0] == kind && count > 0 {
            count -= 1;
            return Fate::Lose;
        }
        Fate::Deliver
    })
}
