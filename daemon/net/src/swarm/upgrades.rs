//! To a direct connection by QUIC, from a relay or from TCP. Pure, the time comes in.
//!
//! DCUtR tries when a relayed connection begins, and then no more; so another is made ever more rarely: soon after the
//! first, when addresses are known that were not then, later because routers change. Once a direct connection has stood
//! for a while the relayed one is given back: a relay has places for few.

use std::collections::BTreeMap;
use std::time::Duration;

use libp2p::PeerId;
use node::time::Time;

/// Pauses before the attempts; the last one repeats. The first is longer than the three tries of DCUtR.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(40), Duration::from_secs(120), Duration::from_secs(600), Duration::from_secs(1800)];
/// The first pause when DCUtR could not even begin, as when one side does not know its own address yet.
const SOON: Duration = Duration::from_secs(3);
/// How long a relayed connection stands by beside a direct one.
const STAND_BY: Duration = Duration::from_secs(60);

/// What is to be done for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Let DCUtR try for a direct connection by QUIC.
    Try,
    /// End the relayed one.
    Release,
}

/// Peers that we connected to in a way that is not the best.
#[derive(Default)]
pub(super) struct Upgrades(BTreeMap<PeerId, Stage>);

enum Stage {
    /// A relay or TCP carries it.
    Lacking { due: Time, attempts: usize },
    /// A direct connection does, and a relayed one stands by.
    StandingBy { due: Time },
}

impl Stage {
    fn first(now: Time) -> Self {
        Self::Lacking { due: now + PAUSES[0], attempts: 0 }
    }

    const fn due(&self) -> Time {
        match self {
            Self::Lacking { due, .. } | Self::StandingBy { due } => *due,
        }
    }
}

impl Upgrades {
    /// The first attempt ended before it began.
    pub(super) fn not_begun(&mut self, peer: &PeerId, now: Time) {
        if let Some(Stage::Lacking { due, attempts: 0 }) = self.0.get_mut(peer) {
            *due = now + SOON;
        }
    }

    /// A peer is connected by a relay or by TCP, as before or now.
    pub(super) fn lacking(&mut self, peer: PeerId, now: Time) {
        let stage = self.0.entry(peer).or_insert_with(|| Stage::first(now));
        if let Stage::StandingBy { .. } = stage {
            *stage = Stage::first(now);
        }
    }

    /// A peer is connected directly, and by a relay too.
    pub(super) fn doubly(&mut self, peer: PeerId, now: Time) {
        let stage = self.0.entry(peer).or_insert(Stage::StandingBy { due: now + STAND_BY });
        if let Stage::Lacking { .. } = stage {
            *stage = Stage::StandingBy { due: now + STAND_BY };
        }
    }

    /// Nothing is to be done for a peer.
    pub(super) fn settled(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// The network changed: whatever did not work may work now, and what worked may not.
    pub(super) fn kick(&mut self, now: Time) {
        for stage in self.0.values_mut() {
            *stage = match stage {
                Stage::Lacking { .. } => Stage::first(now),
                Stage::StandingBy { .. } => Stage::StandingBy { due: now + STAND_BY },
            };
        }
    }

    /// What is to be done now.
    pub(super) fn due(&mut self, now: Time) -> Vec<(PeerId, Step)> {
        let due = self.0.iter_mut().filter(|(_, stage)| stage.due() <= now);
        due.map(|(peer, stage)| match stage {
            Stage::Lacking { due, attempts } => {
                *attempts += 1;
                *due = now + PAUSES[(*attempts).min(PAUSES.len() - 1)];
                (*peer, Step::Try)
            }
            Stage::StandingBy { due } => {
                // Its end is told; until then it is not ended again and again.
                *due = now + STAND_BY;
                (*peer, Step::Release)
            }
        })
        .collect()
    }

    /// When there is something to do next.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.0.values().map(Stage::due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer_and_a_change_of_network_begins_anew() {
        let (mut upgrades, peer) = (Upgrades::default(), PeerId::random());
        let mut now = Time::ZERO;
        upgrades.lacking(peer, now);
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let next = upgrades.deadline().unwrap();
            pauses.push(next.saturating_since(now).as_secs());
            assert!(upgrades.due(now).is_empty());
            now = next;
            assert_eq!(upgrades.due(now), [(peer, Step::Try)]);
            upgrades.lacking(peer, now);
        }
        assert_eq!(pauses, [40, 120, 600, 1800, 1800]);
        upgrades.kick(now);
        assert_eq!(upgrades.deadline(), Some(now + PAUSES[0]));
        upgrades.not_begun(&peer, now);
        assert_eq!(upgrades.deadline(), Some(now + SOON));
        upgrades.due(now + SOON);
        upgrades.not_begun(&peer, now + SOON);
        assert_eq!(upgrades.deadline(), Some(now + SOON + PAUSES[1]), "once");
        upgrades.settled(&peer);
        assert_eq!(upgrades.deadline(), None);
    }

    #[test]
    fn a_circuit_is_given_back_once_a_direct_connection_has_stood_for_a_minute() {
        let (mut upgrades, peer) = (Upgrades::default(), PeerId::random());
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        upgrades.lacking(peer, at(0));
        upgrades.doubly(peer, at(10));
        upgrades.doubly(peer, at(45));
        assert_eq!(upgrades.deadline(), Some(at(70)));
        // The direct one was lost meanwhile, and came again.
        upgrades.lacking(peer, at(50));
        assert_eq!(upgrades.deadline(), Some(at(90)), "tries begin anew");
        upgrades.doubly(peer, at(60));
        assert_eq!(upgrades.due(at(120)), [(peer, Step::Release)]);
        assert!(upgrades.due(at(121)).is_empty());
    }
}
