//! Relays that this host keeps a reservation with: what is lost is asked for again for ever. Pure, the time comes in.

use std::time::Duration;

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use node::time::Time;

use super::dialer::pause_after;

/// A place that was kept for so long makes up for the tries before.
const LASTING: Duration = Duration::from_secs(60);

/// Those of the configuration.
#[derive(Default)]
pub(super) struct Relays(Vec<Relay>);

struct Relay {
    id: PeerId,
    /// The relay's own address, with its PeerId.
    address: Multiaddr,
    listener: Option<ListenerId>,
    due: Option<Time>,
    /// Since when it keeps a place.
    granted: Option<Time>,
    failures: u32,
    /// Why it could not be reached.
    error: Option<String>,
}

impl Relays {
    /// Relays at these addresses, each with a PeerId; others are left out.
    pub(super) fn new(addresses: &[Multiaddr]) -> Self {
        let relays = addresses.iter().filter_map(|address| {
            let Some(Protocol::P2p(id)) = address.iter().last() else { return None };
            let (address, due) = (address.clone(), Some(Time::ZERO));
            Some(Relay { id, address, listener: None, due, granted: None, failures: 0, error: None })
        });
        Self(relays.collect())
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = PeerId> {
        self.0.iter().map(|relay| relay.id)
    }

    pub(super) fn contains(&self, id: &PeerId) -> bool {
        self.0.iter().any(|relay| relay.id == *id)
    }

    /// Asks those that are due for a reservation; `listen_on` may fail at once. Those that are not `ready` come later: the
    /// dialler is at them.
    pub(super) fn reserve<E: std::fmt::Display>(
        &mut self,
        now: Time,
        ready: impl Fn(&PeerId) -> bool,
        mut listen_on: impl FnMut(Multiaddr) -> Result<ListenerId, E>,
    ) {
        for relay in self.0.iter_mut().filter(|relay| relay.due.is_some_and(|due| due <= now)) {
            if !ready(&relay.id) {
                relay.due = Some(now + pause_after(0));
                continue;
            }
            match listen_on(relay.address.clone().with(Protocol::P2pCircuit)) {
                Ok(listener) => (relay.listener, relay.due) = (Some(listener), None),
                Err(error) => {
                    relay.error = Some(error.to_string());
                    relay.postpone(now);
                }
            }
        }
    }

    /// A connection to a relay stands: a reservation that waits for one need not wait longer.
    pub(super) fn connected(&mut self, id: &PeerId, now: Time) {
        for relay in self.0.iter_mut().filter(|relay| relay.id == *id && relay.listener.is_none()) {
            relay.due = Some(now);
        }
    }

    /// A relay granted a reservation, or a longer one.
    pub(super) fn granted(&mut self, id: &PeerId, now: Time) -> Option<&Multiaddr> {
        let relay = self.0.iter_mut().find(|relay| relay.id == *id)?;
        relay.granted.get_or_insert(now);
        relay.error = None;
        Some(&relay.address)
    }

    /// A relay could not be reached; the end of the listener follows.
    pub(super) fn not_reached(&mut self, id: &PeerId, error: &str) {
        if let Some(relay) = self.0.iter_mut().find(|relay| relay.id == *id) {
            relay.error = Some(error.to_owned());
        }
    }

    /// A reservation ended, or was refused. Gives the relay's address and what is known of the reason.
    pub(super) fn closed(&mut self, listener: ListenerId, now: Time) -> Option<(Multiaddr, Option<String>)> {
        let relay = self.0.iter_mut().find(|relay| relay.listener == Some(listener))?;
        relay.listener = None;
        relay.postpone(now);
        Some((relay.address.clone(), relay.error.take()))
    }

    /// The network changed: ask again now.
    pub(super) fn kick(&mut self, now: Time) {
        for relay in self.0.iter_mut().filter(|relay| relay.listener.is_none()) {
            (relay.failures, relay.due) = (0, Some(now));
        }
    }

    /// When somebody is due next.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.0.iter().filter_map(|relay| relay.due).min()
    }
}

impl Relay {
    /// One that grants and takes back is asked ever more rarely, like one that refuses.
    fn postpone(&mut self, now: Time) {
        let granted = self.granted.take();
        if granted.is_some_and(|since| now.saturating_since(since) >= LASTING) {
            self.failures = 0;
        }
        // Its connection made way for a newer one, perhaps.
        let at_once = granted.is_some() && self.failures == 0;
        self.due = Some(if at_once { now } else { now + pause_after(self.failures) });
        self.failures = self.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str = "/ip4/203.0.113.9/udp/1/quic-v1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_reservation_that_is_lost_is_asked_for_again_ever_more_rarely() {
        let mut relays = Relays::new(&[RELAY.parse().unwrap(), "/ip4/203.0.113.8/tcp/1".parse().unwrap()]);
        let id = relays.ids().next().unwrap();
        assert!(relays.ids().count() == 1 && relays.contains(&id), "one without a PeerId is none");
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let listener = ListenerId::next();
            let mut asked = Vec::new();
            relays.reserve(
                now,
                |_| true,
                |address| {
                    asked.push(address.to_string());
                    Ok::<_, String>(listener)
                },
            );
            assert_eq!(asked, [format!("{RELAY}/p2p-circuit")]);
            assert_eq!(relays.deadline(), None, "asked once");
            relays.not_reached(&id, "no answer");
            assert_eq!(relays.closed(listener, now), Some((RELAY.parse().unwrap(), Some("no answer".into()))));
            let next = relays.deadline().unwrap();
            pauses.push(next.saturating_since(now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        relays.kick(now);
        let listener = ListenerId::next();
        relays.reserve(now, |_| true, |_| Ok::<_, String>(listener));
        assert_eq!(relays.granted(&id, now), Some(&RELAY.parse().unwrap()));
        assert_eq!(relays.closed(listener, now), Some((RELAY.parse().unwrap(), None)));
        assert_eq!(relays.deadline(), Some(now), "one that was granted is asked for again at once");
    }

    #[test]
    fn a_place_that_is_taken_back_at_once_is_asked_for_ever_more_rarely_until_one_lasts() {
        let mut relays = Relays::new(&[RELAY.parse().unwrap()]);
        let id = relays.ids().next().unwrap();
        let mut now = at(0);
        let mut keep = |kept: u64| {
            let listener = ListenerId::next();
            relays.reserve(now, |_| true, |_| Ok::<_, String>(listener));
            relays.granted(&id, now);
            // It is made longer half-way.
            relays.granted(&id, now + Duration::from_secs(kept / 2));
            let end = now + Duration::from_secs(kept);
            relays.closed(listener, end);
            now = relays.deadline().unwrap();
            now.saturating_since(end).as_secs()
        };
        let pauses: Vec<_> = [0, 0, 1, 59, 0, 60, 0, 0].into_iter().map(&mut keep).collect();
        assert_eq!(pauses, [0, 2, 4, 8, 16, 0, 2, 4]);
    }

    #[test]
    fn a_relay_that_the_dialler_is_at_is_asked_when_it_is_connected() {
        let mut relays = Relays::new(&[RELAY.parse().unwrap()]);
        let id = relays.ids().next().unwrap();
        relays.reserve(at(0), |_| false, |_| Err("nobody asks"));
        assert_eq!(relays.deadline(), Some(at(1)));
        relays.connected(&id, at(0));
        let listener = ListenerId::next();
        relays.reserve(at(0), |_| true, |_| Ok::<_, String>(listener));
        relays.connected(&id, at(2));
        assert_eq!(relays.deadline(), None, "it is asked already");
    }
}
