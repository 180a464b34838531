//! Whether the peer still hears us: probes, dead paths, keepalives (protocol.md 6.7).
//!
//! What arrives proves only the way towards us. So a probe goes out when content was sent into silence, and each few
//! seconds while content is sent at all; only its answer counts.

use std::time::Duration;

use super::{Traffic, TunnelLimits};
use crate::time::Time;

/// Probes that wait for an answer.
#[derive(Debug)]
struct Series {
    /// Each with the time when it left.
    sent: Vec<([u8; 8], Time)>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a probe and call [`Liveness::probed`].
    Probe,
    /// The path is dead.
    Dead,
    /// Send an empty frame.
    Keepalive,
}

#[derive(Debug)]
pub(super) struct Liveness {
    /// The first content that nothing authentic came after.
    silent_since: Option<Time>,
    /// The same, or when it was sent another way after that.
    unanswered: Option<Time>,
    /// Content was sent since the sending path was last proven.
    unproven: bool,
    /// It is to be proven without delay.
    check_now: bool,
    proven_at: Time,
    series: Option<Series>,
    dead: bool,
    /// A path was dead, and none has been proven since.
    unreached: bool,
    last_sent: Time,
    last_received: Option<Time>,
    round_trip: Option<Duration>,
}

impl Liveness {
    pub(super) const fn new(now: Time) -> Self {
        Self {
            silent_since: None,
            unanswered: None,
            unproven: false,
            check_now: false,
            proven_at: now,
            series: None,
            dead: false,
            unreached: false,
            last_sent: now,
            last_received: None,
            round_trip: None,
        }
    }

    /// A handshake proved the peer: begin anew. It says nothing about the way that frames go, so that a doubt stays.
    pub(super) fn restart(&mut self, now: Time) {
        let (last_received, round_trip) = (self.last_received, self.round_trip);
        let in_doubt = self.check_now || self.series.is_some();
        *self = Self { last_received, round_trip, ..Self::new(now) };
        if in_doubt {
            self.suspect();
        }
    }

    /// What is sent goes another way, of which nothing is known yet.
    pub(super) fn change_path(&mut self, now: Time) {
        let (silent_since, unreached, last_received) = (self.silent_since, self.unreached, self.last_received);
        // A peer that is silent, or was not reached the other way, is owed the same patience on this way, whether or not
        // there is more to send.
        let unanswered = (silent_since.is_some() || unreached).then_some(now);
        *self = Self { silent_since, unanswered, unreached, last_received, ..Self::new(now) };
    }

    /// The peer may be gone, or not be reached this way any more: it is probed at once, whether or not there is anything to
    /// send. Who only receives would never find out, and send answers into the void.
    pub(super) const fn suspect(&mut self) {
        (self.unproven, self.check_now) = (true, true);
    }

    pub(super) fn sent(&mut self, at: Time, traffic: Traffic) {
        self.last_sent = self.last_sent.max(at);
        match traffic {
            Traffic::Content => {
                self.silent_since.get_or_insert(at);
                self.unanswered.get_or_insert(at);
                self.unproven = true;
            }
            Traffic::Keepalive => {}
        }
    }

    pub(super) fn received(&mut self, at: Time) {
        self.last_received = self.last_received.max(Some(at));
        self.silent_since = None;
        self.unanswered = None;
    }

    pub(super) fn probed(&mut self, now: Time, token: [u8; 8]) {
        self.last_sent = now;
        self.check_now = false;
        self.series.get_or_insert(Series { sent: Vec::new() }).sent.push((token, now));
    }

    pub(super) fn acked(&mut self, token: [u8; 8], at: Time) {
        let Some(series) = &self.series else { return };
        let Some(&(_, sent)) = series.sent.iter().find(|(t, _)| *t == token) else { return };
        let sample = at.saturating_since(sent);
        self.round_trip = Some(self.round_trip.map_or(sample, |smoothed| (smoothed * 7 + sample) / 8));
        self.series = None;
        self.dead = false;
        self.unreached = false;
        self.unproven = false;
        self.proven_at = at;
    }

    /// What is due at `now`, one thing at a time.
    pub(super) fn due(&mut self, now: Time, limits: &TunnelLimits) -> Option<Due> {
        if self.probe_time(limits).is_some_and(|at| at <= now) {
            let unanswered = self.series.as_ref().map_or(0, |series| series.sent.len());
            if u32::try_from(unanswered).is_ok_and(|n| n < limits.probes) {
                return Some(Due::Probe);
            }
            self.dead = true;
            self.unreached = true;
            return Some(Due::Dead);
        }
        if self.last_sent + limits.keepalive <= now {
            self.last_sent = now;
            return Some(Due::Keepalive);
        }
        None
    }

    /// When [`Self::due`] has something next.
    pub(super) fn deadline(&self, limits: &TunnelLimits) -> Time {
        let keepalive = self.last_sent + limits.keepalive;
        self.probe_time(limits).map_or(keepalive, |probe| probe.min(keepalive))
    }

    /// When the silence makes the peer count as stalled.
    pub(super) fn stalled_at(&self, limits: &TunnelLimits) -> Option<Time> {
        self.silent_since.map(|since| since + limits.stalled)
    }

    /// Whether probes went unanswered and nothing has proven a path since, be it that one or another.
    pub(super) const fn is_dead(&self) -> bool {
        self.unreached
    }

    pub(super) const fn last_received(&self) -> Option<Time> {
        self.last_received
    }

    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// When the next probe leaves, or the last one counts as unanswered.
    fn probe_time(&self, limits: &TunnelLimits) -> Option<Time> {
        if self.dead {
            return None;
        }
        if let Some(&(_, last)) = self.series.as_ref().and_then(|series| series.sent.last()) {
            return Some(last + limits.probe_interval);
        }
        let patience = limits.silence.max(self.round_trip.unwrap_or_default() * 3);
        let silence = self.unanswered.map(|since| since + patience);
        let pause = if self.check_now { Duration::ZERO } else { limits.sending_check };
        let check = self.unproven.then(|| self.proven_at + pause);
        silence.into_iter().chain(check).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    fn probes_until_dead(liveness: &mut Liveness, limits: &TunnelLimits, keep_receiving: bool) -> Vec<u64> {
        let mut times = Vec::new();
        for now in 0..20_000 {
            if keep_receiving {
                liveness.received(ms(now));
                liveness.sent(ms(now), Traffic::Content);
            }
            match liveness.due(ms(now), limits) {
                Some(Due::Probe) => {
                    liveness.probed(ms(now), [0; 8]);
                    times.push(now);
                }
                Some(Due::Dead) => {
                    times.push(now);
                    return times;
                }
                Some(Due::Keepalive) | None => {}
            }
        }
        times
    }

    #[test]
    fn silence_of_a_second_is_probed_each_400_ms_and_three_unanswered_make_the_path_dead() {
        let limits = TunnelLimits::default();
        let mut liveness = Liveness::new(ms(0));
        liveness.sent(ms(100), Traffic::Content);
        assert_eq!(probes_until_dead(&mut liveness, &limits, false), [1100, 1500, 1900, 2300]);
        assert!(liveness.is_dead() && liveness.due(ms(3000), &limits).is_none());
    }

    #[test]
    fn patience_is_three_round_trips_where_that_is_longer() {
        let limits = TunnelLimits::default();
        let mut liveness = Liveness::new(ms(0));
        liveness.probed(ms(0), [1; 8]);
        liveness.acked([1; 8], ms(700));
        liveness.sent(ms(1000), Traffic::Content);
        assert_eq!(liveness.due(ms(3099), &limits), None);
        assert_eq!(liveness.due(ms(3100), &limits), Some(Due::Probe));
    }

    #[test]
    fn what_arrives_does_not_prove_the_way_out() {
        let limits = TunnelLimits::default();
        let mut liveness = Liveness::new(ms(0));
        assert_eq!(probes_until_dead(&mut liveness, &limits, true), [5000, 5400, 5800, 6200]);
    }

    #[test]
    fn an_answer_proves_the_path_and_one_of_another_token_does_not() {
        let limits = TunnelLimits::default();
        let mut liveness = Liveness::new(ms(0));
        liveness.sent(ms(0), Traffic::Content);
        assert_eq!(liveness.due(ms(1000), &limits), Some(Due::Probe));
        liveness.probed(ms(1000), [1; 8]);
        liveness.acked([2; 8], ms(1100));
        assert_eq!(liveness.due(ms(1500), &limits), Some(Due::Probe));
        liveness.probed(ms(1500), [3; 8]);
        liveness.received(ms(1510));
        liveness.acked([1; 8], ms(1510));
        assert_eq!(liveness.deadline(&limits), ms(1500) + limits.keepalive);
        assert_eq!(liveness.round_trip(), Some(Duration::from_millis(510)));
    }

    #[test]
    fn a_path_that_is_in_doubt_is_probed_once() {
        let limits = TunnelLimits::default();
        let mut liveness = Liveness::new(ms(0));
        liveness.suspect();
        assert_eq!(liveness.due(ms(20), &limits), Some(Due::Probe));
        liveness.probed(ms(20), [1; 8]);
        liveness.acked([1; 8], ms(30));
        liveness.sent(ms(40), Traffic::Content);
        assert_eq!(liveness.due(ms(900), &limits), None, "one doubt, one probe");
    }

    #[test]
    fn a_peer_that_was_not_reached_one_way_counts_as_reached_the_other_way_once_it_answers_there() {
        let limits = TunnelLimits::default();
        let mut liveness = Liveness::new(ms(0));
        liveness.sent(ms(0), Traffic::Content);
        // It was heard after that, so that nothing but the probes tells that it is gone.
        liveness.received(ms(10));
        assert_eq!(probes_until_dead(&mut liveness, &limits, false).len(), 4);
        liveness.change_path(ms(8000));
        assert!(liveness.is_dead(), "nothing is known of the other way");
        assert_eq!(liveness.due(ms(8999), &limits), None);
        assert_eq!(liveness.due(ms(9000), &limits), Some(Due::Probe), "though there is nothing to send");
        liveness.probed(ms(9000), [1; 8]);
        liveness.acked([1; 8], ms(9010));
        assert!(!liveness.is_dead());
    }

    #[test]
    fn a_peer_that_may_be_gone_is_probed_though_nothing_is_sent() {
        let limits = TunnelLimits::default();
        let mut liveness = Liveness::new(ms(0));
        liveness.suspect();
        assert_eq!(probes_until_dead(&mut liveness, &limits, false), [0, 400, 800, 1200]);
        assert!(liveness.is_dead());
    }

    #[test]
    fn a_handshake_leaves_a_doubt_about_the_path() {
        let limits = TunnelLimits::default();
        let mut liveness = Liveness::new(ms(0));
        liveness.suspect();
        liveness.restart(ms(10));
        assert_eq!(liveness.due(ms(10), &limits), Some(Due::Probe));
        liveness.probed(ms(10), [1; 8]);
        liveness.restart(ms(200));
        assert_eq!(liveness.due(ms(200), &limits), Some(Due::Probe), "the first one was not answered");
        liveness.probed(ms(200), [2; 8]);
        liveness.acked([2; 8], ms(210));
        liveness.restart(ms(220));
        assert_eq!(liveness.due(ms(1000), &limits), None, "there was no doubt");
    }

    #[test]
    fn another_path_is_judged_anew() {
        let limits = TunnelLimits::default();
        let mut liveness = Liveness::new(ms(0));
        liveness.sent(ms(0), Traffic::Content);
        probes_until_dead(&mut liveness, &limits, false);
        liveness.change_path(ms(3000));
        assert!(liveness.round_trip().is_none());
        assert_eq!(liveness.due(ms(3999), &limits), None);
        assert_eq!(liveness.due(ms(4000), &limits), Some(Due::Probe), "though there was nothing more to send");
        assert_eq!(liveness.stalled_at(&limits), Some(ms(3000)), "the peer has been silent all the time");
    }

    #[test]
    fn an_idle_path_is_kept_open_and_never_probed() {
        let limits = TunnelLimits::default();
        let mut liveness = Liveness::new(ms(0));
        let due: Vec<_> = (0..60_000).filter_map(|t| liveness.due(ms(t), &limits).map(|due| (t, due))).collect();
        assert_eq!(due, [(20_000, Due::Keepalive), (40_000, Due::Keepalive)]);
    }
}
