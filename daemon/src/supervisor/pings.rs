//! `ping`: a round trip inside the tunnel, by a probe with a token of its own.

use std::time::Duration;

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use cryprq_ipc_proto::message::Reply;
use net::peer_id;
use node::crypto::RandomSource;
use node::router::PeerSlot;
use node::time::Time;
use os::clock::boottime;
use os::random::SystemRandom;
use tokio::sync::oneshot;

use super::Supervisor;

/// How long a ping waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pings on their way at one time: as many as there may be callers.
const MOST: usize = 64;

/// An answer that comes later.
pub(super) type Later = oneshot::Receiver<Result<Reply, ErrorBody>>;

struct Ping {
    slot: PeerSlot,
    peer: String,
    token: [u8; 8],
    sent: Time,
    reply: oneshot::Sender<Result<Reply, ErrorBody>>,
}

/// Pings on their way.
#[derive(Default)]
pub(super) struct Pings(Vec<Ping>);

impl Pings {
    /// A probe's answer came in; those of the tunnel's own probes are passed over.
    pub(super) fn answered(&mut self, slot: PeerSlot, token: [u8; 8], at: Time) {
        let Some(found) = self.0.iter().position(|ping| ping.slot == slot && ping.token == token) else { return };
        let Ping { peer, sent, reply, .. } = self.0.swap_remove(found);
        let rtt_ms = at.saturating_since(sent).as_secs_f64() * 1000.0;
        // Who asked may have left.
        let _ = reply.send(Ok(Reply::Ping { peer, rtt_ms }));
    }

    /// Answers those that waited long enough.
    pub(super) fn expire(&mut self, now: Time) {
        let over = self.0.extract_if(.., |ping| ping.sent + PATIENCE <= now || ping.reply.is_closed());
        for ping in over {
            let message = format!("no answer within {} s", PATIENCE.as_secs());
            let _ = ping.reply.send(Err(ErrorBody::new(ErrorCode::TimedOut, message)));
        }
    }

    /// Answers those to a peer that is gone.
    pub(super) fn end(&mut self, slot: PeerSlot) {
        for ping in self.0.extract_if(.., |ping| ping.slot == slot) {
            let _ = ping.reply.send(Err(ErrorBody::new(ErrorCode::NotConnected, "the peer was removed")));
        }
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.0.iter().map(|ping| ping.sent + PATIENCE).min()
    }
}

impl Supervisor {
    /// Sends a probe; the answer comes with the peer's.
    pub(super) fn ping(&mut self, name: &str) -> Result<Later, ErrorBody> {
        let slots = self.named(Some(name))?;
        let found = slots.first().and_then(|slot| self.peers.get(slot).map(|peer| (*slot, peer)));
        let (slot, peer) = found.ok_or_else(|| ErrorBody::new(ErrorCode::UnknownPeer, "no such peer"))?;
        let status = peer.tunnel.status(boottime());
        if status.epoch.is_none() {
            let message = format!("peer {} is {}", peer.config.name, status.state.name());
            let hint = format!("cryprq up {0}; cryprq status says more", peer.config.name);
            return Err(ErrorBody::new(ErrorCode::NotConnected, message).hint(hint));
        }
        if self.pings.0.len() >= MOST {
            return Err(ErrorBody::new(ErrorCode::Busy, format!("{MOST} pings are on their way")));
        }
        let mut token = [0; 8];
        SystemRandom.fill(&mut token).map_err(|error| ErrorBody::new(ErrorCode::Internal, error.to_string()))?;
        let (reply, later) = oneshot::channel();
        let peer = peer_id::format(peer.config.key);
        self.pings.0.push(Ping { slot, peer, token, sent: boottime(), reply });
        self.plane.send_probe(slot, token);
        Ok(later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: PeerSlot = PeerSlot(3);

    fn at(milliseconds: u64) -> Time {
        Time::ZERO + Duration::from_millis(milliseconds)
    }

    fn ping(pings: &mut Pings, token: u8) -> Later {
        let (reply, later) = oneshot::channel();
        pings.0.push(Ping { slot: SLOT, peer: "p".into(), token: [token; 8], sent: at(1000), reply });
        later
    }

    #[test]
    fn each_ping_is_answered_by_its_own_token_and_its_own_peer() {
        let mut pings = Pings::default();
        let (mut first, mut second) = (ping(&mut pings, 1), ping(&mut pings, 2));
        pings.answered(SLOT, [9; 8], at(1001));
        pings.answered(PeerSlot(4), [2; 8], at(1001));
        pings.answered(SLOT, [2; 8], at(1012));
        assert_eq!(second.try_recv().unwrap(), Ok(Reply::Ping { peer: "p".into(), rtt_ms: 12.0 }));
        assert!(first.try_recv().is_err());
        pings.answered(SLOT, [2; 8], at(1013));
        assert_eq!(pings.deadline(), Some(at(6000)));
    }

    #[test]
    fn a_ping_times_out_and_one_whose_peer_is_removed_is_told_so() {
        let mut pings = Pings::default();
        let mut late = ping(&mut pings, 1);
        pings.expire(at(5999));
        assert!(late.try_recv().is_err());
        pings.expire(at(6000));
        assert_eq!(late.try_recv().unwrap().unwrap_err().code, ErrorCode::TimedOut);
        let mut removed = ping(&mut pings, 2);
        pings.end(SLOT);
        assert_eq!(removed.try_recv().unwrap().unwrap_err().code, ErrorCode::NotConnected);
        drop(ping(&mut pings, 3));
        pings.expire(at(1001));
        assert_eq!(pings.deadline(), None, "who asked has left");
    }
}
