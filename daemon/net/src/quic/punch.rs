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

use super::{Connection, Error};

/// Pauses between two frames, in milliseconds: at random, so that two hosts do not keep missing each other.
const PAUSES: std::ops::Range<u64> = 10..200;

/// Who is waited for. It is the peer that counts and not where it comes from: behind some NATs it comes from another
/// port than anybody could know.
#[derive(Default)]
pub(super) struct Punches(HashMap<PeerId, oneshot::Sender<Connection>>);

impl Punches {
    /// Waits for a peer; one wait at a time.
    pub(super) fn wait_for(&mut self, peer: PeerId) -> Result<oneshot::Receiver<Connection>, Error> {
        if self.any() && self.0.contains_key(&peer) {
            return Err(Error::Punching(peer));
        }
        let (sender, receiver) = oneshot::channel();
        self.0.insert(peer, sender);
        Ok(receiver)
    }

    /// Whether anybody is waited for.
    pub(super) fn any(&mut self) -> bool {
        self.0.retain(|_, waiting| !waiting.is_closed());
        !self.0.is_empty()
    }

    /// Hands a connection over to who waits for its peer; gives it back if nobody does.
    pub(super) fn hand_over(&mut self, peer: &PeerId, connection: Connection) -> Option<Connection> {
        match self.0.remove(peer) {
            Some(waiting) => waiting.send(connection).err(),
            None => Some(connection),
        }
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
