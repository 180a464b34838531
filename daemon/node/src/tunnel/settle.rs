//! After each input: what time has brought, which key to send with, what the peer's state is.

use super::attempts::{EpochKeys, Stage};
use super::liveness::Due;
use super::rotation::rotation_time;
use super::{Close, Confirmed, Epoch, EpochStatus, HandshakeFault, Output, Tunnel, TunnelEvent, TunnelStatus, Want};
use crate::epoch::EpochId;
use crate::handshake::Tlv;
use crate::state::PeerState;
use crate::time::Time;

impl Tunnel {
    pub(super) fn settle(&mut self, now: Time) {
        self.expire(now);
        self.time_out(now);
        self.finish_own();
        self.choose_sealer(now);
        self.notice_soft_limit();
        self.check_path(now);
        self.start_if_due(now);
        self.update_state(now);
    }

    /// When to call [`Tunnel::handle`] with `Input::Timeout`, at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let limits = &self.config.limits;
        let attempts = [self.own.as_ref().map(|own| own.deadline), self.answering.as_ref().map(|a| a.deadline)];
        let streams = self.incoming.iter().map(|stream| stream.deadline);
        let epochs = self.keyring.epochs().iter().map(|epoch| self.end_of(epoch));
        let path = self.is_live().then(|| self.liveness.deadline(limits));
        let stalls = self.liveness.stalled_at(limits).filter(|_| self.state == PeerState::Connected);
        let single = [self.start_time(), path, stalls, self.armed_until];
        attempts.into_iter().chain(single).flatten().chain(streams).chain(epochs).min()
    }

    /// What the tunnel looks like.
    pub fn status(&self, now: Time) -> TunnelStatus {
        TunnelStatus {
            state: self.state,
            epoch: self.live_epoch().map(|epoch| self.epoch_status(now, epoch)),
            last_received: self.liveness.last_received(),
            round_trip: self.liveness.round_trip(),
            handshakes: self.handshakes,
            failures: self.failures.iter().map(|(&name, &count)| (name, count)).collect(),
            receive_keys: self.keyring.epochs().len(),
            chained: !self.keyring.chain().is_empty(),
            chain_reset_armed: self.armed_until.map(|until| until.saturating_since(now)),
        }
    }

    fn epoch_status(&self, now: Time, epoch: &Epoch<EpochKeys>) -> EpochStatus {
        EpochStatus {
            epoch: epoch.id,
            session: epoch.keys.session,
            cipher: epoch.keys.negotiated.cipher,
            mtu: epoch.keys.negotiated.mtu,
            forwarding: epoch.keys.remote_tlvs.iter().find_map(|tlv| match tlv {
                Tlv::Forwarding(forwarding) => Some(*forwarding),
                Tlv::UdpEndpoint(_) | Tlv::Observed(_) => None,
            }),
            age: now.saturating_since(epoch.keys.derived_at),
            next_rotation: self.rotate_at.map_or_else(Default::default, |at| at.saturating_since(now)),
            expires: epoch.keys.expires().saturating_since(now),
        }
    }

    /// Whether an epoch that the peer is known to hold carries what we send.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.sending, Some((_, Confirmed::Yes)))
    }

    fn live_epoch(&self) -> Option<&Epoch<EpochKeys>> {
        let (id, confirmed) = self.sending?;
        self.keyring.epochs().iter().find(|epoch| epoch.id == id && confirmed == Confirmed::Yes)
    }

    /// When an epoch's keys are erased: its hard limit, or some time after the peer sends on a newer one.
    fn end_of(&self, epoch: &Epoch<EpochKeys>) -> Time {
        let hard = epoch.keys.expires();
        epoch.superseded.map_or(hard, |since| hard.min(since + self.config.limits.previous_key))
    }

    fn expire(&mut self, now: Time) {
        self.armed_until = self.armed_until.filter(|&until| now < until);
        let over: Vec<EpochId> = self
            .keyring
            .epochs()
            .iter()
            .filter(|epoch| epoch.keys.state.is_dead() || self.end_of(epoch) <= now)
            .map(|epoch| epoch.id)
            .collect();
        if !over.is_empty() {
            let erased = self.keyring.erase(|epoch| over.contains(&epoch.id));
            self.remove_all(erased);
        }
    }

    fn time_out(&mut self, now: Time) {
        if let Some(own) = self.own.as_ref().filter(|own| own.deadline <= now) {
            let unanswered = !matches!(own.stage, Stage::AwaitingM4 { .. });
            let connection = own.connection;
            if unanswered && (!self.is_live() || self.liveness.is_dead()) {
                self.outputs.push_back(Output::NeedConnection);
            }
            // The next attempt takes another connection, if there is one.
            self.connections.sort_by_key(|&(id, _)| id != connection);
            self.fail_own(now, HandshakeFault::TimedOut);
        }
        if self.answering.as_ref().is_some_and(|answering| answering.deadline <= now) {
            self.fail_answering(now, HandshakeFault::TimedOut);
        }
        while let Some(stream) = self.incoming.first().filter(|stream| stream.deadline <= now) {
            let attempt = stream.attempt;
            self.incoming.remove(0);
            self.close(attempt, Close::Reset);
        }
    }

    /// Our handshake is done once its epoch is confirmed: by M4, by the first frame, or learned.
    fn finish_own(&mut self) {
        let Some(Stage::AwaitingM4 { epoch, .. }) = self.own.as_ref().map(|own| &own.stage) else { return };
        let epoch = *epoch;
        let confirmed = self.keyring.epochs().iter().any(|e| e.id == epoch && e.confirmed);
        if confirmed && let Some(own) = self.own.take() {
            self.close(own.attempt, Close::Finish);
        }
    }

    /// The newest confirmed epoch; before the first one, that of a handshake whose M3 is sent (6.6).
    fn choose_sealer(&mut self, now: Time) {
        // An epoch that was left once has no sealer any more: never an older key.
        let confirmed = self.keyring.sending().filter(|epoch| epoch.keys.sealer.is_some()).map(|epoch| epoch.id);
        let unconfirmed = match self.own.as_ref().map(|own| &own.stage) {
            Some(Stage::AwaitingM4 { epoch, .. }) => Some((*epoch, Confirmed::NotYet)),
            Some(Stage::Opening | Stage::AwaitingM2 { .. }) | None => None,
        };
        let chosen = confirmed.map(|id| (id, Confirmed::Yes)).or(unconfirmed);
        if chosen == self.sending {
            return;
        }
        let before = std::mem::replace(&mut self.sending, chosen);
        if before.map(|(id, _)| id) != chosen.map(|(id, _)| id) {
            let sealer = chosen.and_then(|(id, _)| {
                self.keyring.epochs().iter().find(|epoch| epoch.id == id).and_then(|epoch| epoch.keys.sealer.clone())
            });
            self.outputs.push_back(Output::SendWith(sealer));
        }
        match chosen {
            Some((id, Confirmed::Yes)) => self.on_new_epoch(now, id),
            Some((_, Confirmed::NotYet)) => {}
            None => self.on_down(now, before),
        }
    }

    fn on_new_epoch(&mut self, now: Time, id: EpochId) {
        self.outputs.push_back(Output::SendEmpty);
        self.keyring.epochs_mut().filter(|epoch| epoch.id < id).for_each(|epoch| epoch.keys.sealer = None);
        self.handshakes += 1;
        self.urgent = false;
        self.clear_backoff();
        self.liveness.restart(now);
        let Some(epoch) = self.live_epoch() else { return };
        let (keys, role) = (&epoch.keys, epoch.role);
        let (derived_at, soft, start) = (keys.derived_at, keys.limits.age.soft, keys.start);
        let rotated = TunnelEvent::Rotated {
            epoch: id,
            role,
            session: keys.session,
            cipher: keys.negotiated.cipher,
            mtu: keys.negotiated.mtu,
            remote_tlvs: keys.remote_tlvs.clone(),
        };
        self.event(rotated);
        self.rotate_at = Some(rotation_time(self.rank, derived_at, soft, &self.config.limits, &mut *self.random));
        if let Some(start) = start {
            self.armed_until = None;
            self.event(TunnelEvent::ChainReset(start));
        }
    }

    /// Either loop notes a soft limit in the epoch's state. The report of it only wakes us, so that none that is lost in
    /// a full mailbox costs a rotation.
    fn notice_soft_limit(&mut self) {
        self.urgent |= self.live_epoch().is_some_and(|epoch| epoch.keys.state.soft_limit_reached());
    }

    fn on_down(&mut self, now: Time, before: Option<(EpochId, Confirmed)>) {
        self.rotate_at = None;
        if before.is_some_and(|(_, confirmed)| confirmed == Confirmed::Yes) && self.want == Want::Up {
            self.event(TunnelEvent::KeysExpired);
            self.delay_start(now);
        }
    }

    fn check_path(&mut self, now: Time) {
        while self.is_live() {
            match self.liveness.due(now, &self.config.limits) {
                None => return,
                Some(Due::Keepalive) => self.outputs.push_back(Output::SendEmpty),
                Some(Due::Probe) => {
                    let mut token = [0; 8];
                    // Without randomness the probe is as good as lost: it counts, and nothing is sent.
                    if self.random.fill(&mut token).is_ok() {
                        self.outputs.push_back(Output::SendProbe { token });
                    }
                    self.liveness.probed(now, token);
                }
                Some(Due::Dead) => {
                    self.outputs.push_back(Output::PathDead);
                    self.event(TunnelEvent::PathDead);
                    self.start_at = now;
                    if self.refused.is_none() {
                        self.backoff.reset();
                    }
                    self.need_connection_if_none();
                }
            }
        }
    }

    fn start_if_due(&mut self, now: Time) {
        if self.start_time().is_some_and(|at| at <= now)
            && let Some(&(connection, _)) = self.connections.last()
        {
            self.start(now, connection);
        }
    }

    /// When we start a handshake, as things stand.
    fn start_time(&self) -> Option<Time> {
        let free = self.want == Want::Up && self.own.is_none() && self.answering.is_none();
        if !free || self.connections.is_empty() {
            return None;
        }
        let wanted = if self.urgent {
            Some(Time::ZERO)
        } else if !self.is_live() || self.liveness.is_dead() {
            Some(self.start_at)
        } else {
            self.rotate_at
        };
        wanted.map(|at| self.backoff.until().map_or(at, |pause| at.max(pause)))
    }

    fn update_state(&mut self, now: Time) {
        let silent = self.liveness.stalled_at(&self.config.limits).is_some_and(|at| at <= now);
        let state = match self.want {
            Want::Down => PeerState::Idle,
            Want::Up if self.is_live() && (silent || self.liveness.is_dead()) => PeerState::Stalled,
            Want::Up if self.is_live() => PeerState::Connected,
            Want::Up => self.refused.map_or(PeerState::Connecting, PeerState::Refused),
        };
        if state != self.state {
            self.state = state;
            self.event(TunnelEvent::StateChanged(state));
        }
    }
}
