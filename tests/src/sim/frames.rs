//! Data frames: what the packet loops do with packets and datagrams.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use node::drops::DropReason;
use node::epoch::{Outgoing, Sealer};
use node::frame::FrameBatch;
use node::packet::Checksum;
use node::path::Path;
use node::receiver::{Arrival, Content as Inner, Origin as NodeOrigin, Trust};
use node::router::Inward;
use node::time::Time;
use node::tunnel::{Report, Traffic};

use super::addressing::{elsewhere, outer, owner, packet, spoofed_sources, v4, v6};
use super::host::{Via, slot};
use super::ledger::{Content, Frame, FrameId, Outcome, Passes};
use super::world::{Event, Origin, World};

impl World {
    /// An application on `from` sends `count` packets to `to`, most of them honest ones.
    pub fn send_packets(&mut self, from: usize, to: usize, count: usize) {
        if self.hosts[from].asleep_until.is_some() {
            return;
        }
        let packets: Vec<Vec<u8>> = (0..count).map(|_| self.make_packet(from, to)).collect();
        for packet in &packets {
            let routed = self.hosts[from].router.outbound(packet);
            assert_eq!(routed, Ok(slot(to)), "host {from} sends a packet for host {to} elsewhere");
        }
        self.seal_packets(from, to, &packets);
    }

    fn make_packet(&mut self, from: usize, to: usize) -> Vec<u8> {
        self.packets += 1;
        let dice = &mut self.dice;
        let (mut source, mut destination) = if dice.chance(0.5) {
            (IpAddr::from(v4(from)), IpAddr::from(v4(to)))
        } else {
            (v6(from).into(), v6(to).into())
        };
        if dice.chance(self.setup.spoofing) {
            source = *dice.pick(&spoofed_sources(from, to));
            destination = if source.is_ipv4() { v4(to).into() } else { v6(to).into() };
        }
        let length = if dice.chance(0.9) { 64 + dice.below(100) } else { 64 + dice.below(1300) };
        packet(self.packets, source, destination, length)
    }

    /// Seals packets with the present key and sends them. Without a key they are dropped: the tunnel is down.
    pub fn seal_packets(&mut self, from: usize, to: usize, packets: &[Vec<u8>]) -> Vec<FrameId> {
        let Some(sealer) = self.hosts[from].peers[&to].sealer.clone() else {
            self.hosts[from].drops.add(DropReason::OutPeerDown, packets.len() as u64);
            return Vec::new();
        };
        let outgoing: Vec<Outgoing<'_>> =
            packets.iter().map(|packet| Outgoing { packet, checksum: Checksum::Complete }).collect();
        let now = self.hosts[from].clock(self.now);
        let soft = sealer.state().soft_limit_reached();
        self.batch.clear();
        let sealed = sealer.seal_batch(now, &outgoing, &mut self.batch, &self.hosts[from].drops);
        let mut ids = Vec::new();
        match sealed {
            Ok(sealed) => {
                assert_eq!((sealed.taken, sealed.frames), (packets.len(), packets.len()), "the batch has room");
                let contents =
                    packets.iter().map(|packet| Content::Packet(packet.clone(), passes(self, from, to, packet)));
                ids = self.send_batch(from, to, &sealer, contents.collect());
            }
            Err(reason) => {
                self.hosts[from].drops.add(reason, packets.len() as u64);
                self.report(from, to, Report::HardLimit { epoch: sealer.epoch() });
            }
        }
        if !soft && sealer.state().soft_limit_reached() {
            self.report(from, to, Report::SoftLimit { epoch: sealer.epoch() });
        }
        if !ids.is_empty() {
            self.report(from, to, Report::Sent { at: now, traffic: Traffic::Content });
        }
        ids
    }

    pub(super) fn send_empty(&mut self, from: usize, to: usize) {
        self.send_one(from, to, Content::Empty, Sealer::seal_empty);
    }

    pub(super) fn send_probe(&mut self, from: usize, to: usize, token: [u8; 8]) {
        self.send_one(from, to, Content::Probe(token), |sealer, now, out| sealer.seal_probe(now, token, out));
    }

    pub(super) fn send_probe_ack(&mut self, from: usize, to: usize, token: [u8; 8]) {
        self.send_one(from, to, Content::ProbeAck(token), |sealer, now, out| sealer.seal_probe_ack(now, token, out));
    }

    fn send_one(
        &mut self,
        from: usize,
        to: usize,
        content: Content,
        seal: impl FnOnce(&Sealer, Time, &mut FrameBatch) -> Result<(), DropReason>,
    ) {
        let Some(sealer) = self.hosts[from].peers[&to].sealer.clone() else { return };
        let now = self.hosts[from].clock(self.now);
        self.batch.clear();
        match seal(&sealer, now, &mut self.batch) {
            Ok(()) => _ = self.send_batch(from, to, &sealer, vec![content]),
            Err(reason) => self.hosts[from].drops.count(reason),
        }
    }

    /// Enters what was sealed and hands it to the link.
    fn send_batch(&mut self, from: usize, to: usize, sealer: &Arc<Sealer>, contents: Vec<Content>) -> Vec<FrameId> {
        let confirmed = self.hosts[from].peers[&to].confirmed == Some(sealer.epoch());
        let wires: Vec<Vec<u8>> = self.batch.frames().map(<[u8]>::to_vec).collect();
        assert_eq!(wires.len(), contents.len());
        let mut ids = Vec::with_capacity(wires.len());
        for (wire, content) in wires.into_iter().zip(contents) {
            let frame = Frame::new(from, to, self.now, content, wire, confirmed);
            self.check_key_age(&frame);
            let id = self.ledger.sealed(frame);
            ids.push(id);
            let silent = self.silences.get(&(from, to)).is_some_and(|&end| end > self.now);
            if silent || self.is_partitioned(from, to) {
                continue;
            }
            let copies = self.links[&(from, to)].carry(&mut self.dice, &self.ledger.frame(id).wire);
            for (delay, bytes) in copies {
                let frame = bytes.is_none().then_some(id);
                self.schedule(delay, Event::Datagram { claimed: from, to, frame, bytes, origin: Origin::Carrier });
            }
        }
        ids
    }

    /// The key that seals is, seen from the one that opens, not past its limit either: they are one key. What the two
    /// hosts may differ in is the time of a handshake.
    fn check_key_age(&self, frame: &Frame) {
        let end = self.ledger.end_of(frame.to, frame.index);
        let slack = self.setup.limits.handshake;
        let late = end.is_some_and(|end| self.now >= end + slack);
        assert!(!late, "host {} seals with a key past its hard limit", frame.from);
    }

    /// Brings bytes to a host that nobody sent, or that were sent before.
    pub fn inject(&mut self, to: usize, after: Duration, frame: Option<FrameId>, bytes: Option<Vec<u8>>) {
        self.schedule(after, Event::Datagram { claimed: to, to, frame, bytes, origin: Origin::Anywhere });
    }

    pub(super) fn arrive(
        &mut self,
        claimed: usize,
        to: usize,
        frame: Option<FrameId>,
        bytes: Option<Vec<u8>>,
        origin: Origin,
    ) {
        // A host that sleeps has no network.
        if self.hosts[to].asleep_until.is_some() {
            return;
        }
        let mut bytes = match (frame, bytes) {
            (_, Some(bytes)) => bytes,
            (Some(id), None) => self.ledger.frame(id).wire.clone(),
            (None, None) => return,
        };
        let origin = match (origin, self.setup.via) {
            (Origin::Carrier, Via::Stream) => NodeOrigin::Stream(slot(claimed)),
            (Origin::Carrier, Via::Udp) => NodeOrigin::Udp(outer(claimed)),
            (Origin::Anywhere, Via::Stream | Via::Udp) => NodeOrigin::Udp(elsewhere()),
        };
        self.receive(to, frame, &mut bytes, origin);
    }

    /// Opens a frame as the receiving loop does, and has the ledger judge. `frame` says which one it is, if its bytes
    /// are as they were sealed.
    pub fn receive(&mut self, to: usize, frame: Option<FrameId>, bytes: &mut [u8], origin: NodeOrigin) -> Outcome {
        let outcome = self.open(to, bytes, origin);
        match frame {
            Some(id) => self.ledger.judge(id, to, self.now, &outcome),
            None => self.ledger.judge_forgery(to, &outcome),
        }
        outcome
    }

    /// Opens a frame as the receiving loop does.
    pub fn open(&mut self, to: usize, bytes: &mut [u8], origin: NodeOrigin) -> Outcome {
        let everybody = 0..self.hosts.len();
        let host = &mut self.hosts[to];
        let now = host.clock(self.now);
        if let NodeOrigin::Udp(from) = origin
            && let Some(peer) = everybody.into_iter().find(|&peer| outer(peer) == from)
        {
            // Where hosts are is not simulated here: their addresses are known.
            host.receiver.set_trust(slot(peer), Trust { endpoint: Some(from), proposed: None });
        }
        let received = match host.receiver.receive(now, bytes, origin, &mut Inward::new(&host.router)) {
            Ok(received) => received,
            Err(reason) => {
                host.drops.count(reason);
                self.report_limits(to);
                return Outcome::Refused(reason);
            }
        };
        let from = received.slot.0 as usize;
        let first = (received.arrival == Arrival::First).then_some(Report::FirstFrame { epoch: received.epoch });
        let mut probe = None;
        let outcome = match received.content {
            Ok(Inner::Packet(packet, _)) => Outcome::Opened(Content::Packet(packet.to_vec(), Passes::Yes)),
            Ok(Inner::Empty) => Outcome::Opened(Content::Empty),
            Ok(Inner::Probe(token)) => {
                probe = Some(Report::ProbeReceived { token, via: Path::Stream });
                Outcome::Opened(Content::Probe(token))
            }
            Ok(Inner::ProbeAck(token)) => {
                probe = Some(Report::ProbeAcked { token, at: now });
                Outcome::Opened(Content::ProbeAck(token))
            }
            Err(reason) => {
                host.drops.count(reason);
                Outcome::Dropped(reason)
            }
        };
        for report in first.into_iter().chain([Report::Received { at: now }]).chain(probe) {
            self.report(to, from, report);
        }
        self.report_limits(to);
        outcome
    }

    fn report_limits(&mut self, to: usize) {
        let reached: Vec<_> = self.hosts[to].receiver.limits_reached().collect();
        for (slot, report) in reached {
            self.report(to, slot.0 as usize, report);
        }
    }

    fn report(&mut self, host: usize, peer: usize, report: Report) {
        let incarnation = self.hosts[host].incarnation;
        let after = self.dice.up_to(self.setup.report_delay);
        self.schedule(after, Event::Report { host, peer, incarnation, report });
    }

    /// Has an application on `from` send to `to` until `span` is over, a packet each `pause` on average.
    pub fn traffic(&mut self, from: usize, to: usize, pause: Duration, span: Duration) {
        let end = self.now + span;
        self.schedule(Duration::ZERO, Event::Traffic { from, to, pause, end });
    }

    pub(super) fn on_traffic(&mut self, from: usize, to: usize, pause: Duration, end: Time) {
        if self.now >= end {
            return;
        }
        // Mostly single packets, sometimes a batch.
        let count = if self.dice.chance(0.1) { 1 + self.dice.below(16) } else { 1 };
        self.send_packets(from, to, count);
        let next = self.dice.up_to(pause * 2);
        self.schedule(next, Event::Traffic { from, to, pause, end });
    }
}

/// By a search of all AllowedIPs: whether the receiver has to let a packet of `from` pass.
fn passes(world: &World, from: usize, to: usize, bytes: &[u8]) -> Passes {
    let Some((source, destination)) = node::packet::addresses(bytes) else { return Passes::No };
    let others = (0..world.hosts.len()).filter(|&peer| peer != to);
    let theirs = owner(others, source) == Some(from);
    let ours = [IpAddr::from(v4(to)), v6(to).into()];
    if theirs && ours.contains(&destination) && !ours.contains(&source) { Passes::Yes } else { Passes::No }
}
