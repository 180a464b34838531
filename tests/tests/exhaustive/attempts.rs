//! Whole handshakes as steps: M3 or M4 lost or not, any frames lost, keys erased at any time.

use node::tunnel::{Base, Role};

use crate::peer::{self, Handshake, Names, Peer, Rules};
use crate::search::{Fault, Model};

/// Two peers between handshakes.
#[derive(Clone)]
pub(crate) struct Start {
    peers: [Peer; 2],
}

/// How far a handshake gets.
#[derive(Clone, Copy)]
enum Reach {
    M2,
    M3,
    M4,
}

impl Start {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { peers: [Peer::connected(Role::Initiator, rules), Peer::connected(Role::Responder, rules)] }
    }

    /// The state after two complete rotations by each side, in both orders, and all that follows from them.
    pub(crate) fn two_rotations_each(&self) -> Vec<Self> {
        [[0, 1, 0, 1], [1, 1, 0, 1]]
            .iter()
            .map(|order| {
                let mut state = self.clone();
                for &starter in order {
                    state.attempt(starter, Reach::M4).expect("rotations succeed");
                    state.frame(0);
                    state.frame(1);
                    state.peers.iter_mut().for_each(|peer| while peer.erase_superseded() {});
                }
                state
            })
            .collect()
    }

    fn fresh(&self) -> Handshake {
        self.peers[0].largest().max(self.peers[1].largest()) + 1
    }

    /// One handshake that `starter` starts, with the retries that REJECT 3 asks for.
    fn attempt(&mut self, starter: usize, reach: Reach) -> Result<(), Fault> {
        let made = self.fresh();
        let mut base = self.peers[starter].ring.chain().first_base();
        let named = loop {
            let Some(link) = self.peers[starter].ring.chain().get(base) else {
                return Err(format!("no common chain key: {:?}", self.peers));
            };
            let named = link.key;
            if self.peers[1 - starter].ring.chain().find(|&key| key == named).is_some() {
                break named;
            }
            base = match self.peers[starter].ring.after_unknown(base) {
                Base::Clear => return Err(format!("both chain keys are unknown: {:?}", self.peers)),
                next @ (Base::Newest | Base::Older) => next,
            };
        };
        let gone = || format!("the chain key went away: {made}");
        let epoch = self.peers[starter].reach_m3(Role::Initiator, Some(named), made)?.ok_or_else(gone)?;
        if matches!(reach, Reach::M3 | Reach::M4) {
            self.peers[1 - starter].reach_m3(Role::Responder, Some(named), made)?.ok_or_else(gone)?;
        }
        if matches!(reach, Reach::M4) {
            self.peers[starter].confirm(epoch);
        }
        Ok(())
    }

    /// A frame of `sender` arrives.
    fn frame(&mut self, sender: usize) {
        let opened = self.peers[sender].sends_on().and_then(|keys| self.peers[1 - sender].opens(keys));
        if let Some(epoch) = opened {
            self.peers[1 - sender].confirm(epoch);
        }
    }
}

impl Model for Start {
    fn code(&self) -> Vec<u8> {
        let mut names = Names::default();
        let mut out = Vec::with_capacity(64);
        self.peers.iter().for_each(|peer| peer.write(&mut names, &mut out));
        out
    }

    fn next(&self, found: &mut dyn FnMut(Result<Self, Fault>)) {
        for side in 0..2 {
            for reach in [Reach::M2, Reach::M3, Reach::M4] {
                let mut state = self.clone();
                found(state.attempt(side, reach).map(|()| state));
            }
            let mut state = self.clone();
            state.frame(side);
            found(Ok(state));
            let mut state = self.clone();
            if state.peers[side].erase_superseded() {
                found(Ok(state));
            }
        }
    }

    fn check(&self) -> Result<(), Fault> {
        peer::check(&self.peers)
    }
}
