//! Holes in NATs: the side that plays the listener opens its own and waits for the other to come in.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use libp2p::PeerId;
use node::crypto::RandomSource;
use node::frame::{PUNCH, PUNCH_LEN};
use os::random::SystemRandom;
use os::udp::{Ecn, Transmit, UdpSocket};
use tokio::sync::oneshot;

use super::Connection;

/// Pauses between two frames, in milliseconds: at random, so that two hosts do not keep missing each other.
const PAUSES: std::ops::Range<u64> = 10..200;

/// Who is waited for. It is the peer that counts and not where it comes from: behind some NATs it comes from another
/// port than anybody could know. A peer of which several addresses are known is waited for several times.
#[derive(Default)]
pub(super) struct Punches(HashMap<PeerId, Vec<oneshot::Sender<Connection>>>);

impl Punches {
    /// Waits for a peer.
    pub(super) fn wait_for(&mut self, peer: PeerId) -> oneshot::Receiver<Connection> {
        let (sender, receiver) = oneshot::channel();
        self.0.entry(peer).or_default().push(sender);
        receiver
    }

    /// Whether anybody is waited for.
    pub(super) fn any(&mut self) -> bool {
        self.0.retain(|_, waiting| {
            waiting.retain(|sender| !sender.is_closed());
            !waiting.is_empty()
        });
        !self.0.is_empty()
    }

    /// Hands a connection over to who waits for its peer; gives it back if nobody does. Once libp2p has it, it gives the
    /// other waits up.
    pub(super) fn hand_over(&mut self, peer: &PeerId, mut connection: Connection) -> Option<Connection> {
        while let Some(waiting) = self.0.get_mut(peer).and_then(Vec::pop) {
            match waiting.send(connection) {
                Ok(()) => return None,
                Err(back) => connection = back,
            }
        }
        Some(connection)
    }
}

/// Sends punch frames (protocol.md 7.1) for ever.
pub(super) async fn punch(socket: &UdpSocket, to: SocketAddr) -> std::convert::Infallible {
    loop {
        let mut frame = [0; PUNCH_LEN];
        // Nothing hangs on these bytes but that frames look like each other; without randomness they are zero.
        let _ = SystemRandom.fill(&mut frame);
        frame[0] = PUNCH;
        // One that is refused is one that is lost: the next may pass.
        let _ = socket.send(&Transmit { to, from: None, ecn: Ecn::Off, bytes: &frame, stride: PUNCH_LEN });
        let pause = PAUSES.start + u64::from(frame[1]) * (PAUSES.end - PAUSES.start) / 256;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}
