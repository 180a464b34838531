//! One peer's keys, by the product's rules.

use node::epoch::EpochId;
use node::time::Time;
use node::tunnel::{Base, Full, Keyring, Made, Role};

use crate::search::Fault;

/// The number of a handshake; it stands for the keys that it makes.
pub(crate) type Handshake = u8;

/// The chain key that M1 names; `None` with the chain flag clear.
pub(crate) type Named = Option<Handshake>;

/// Which of the product's rules hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rules {
    /// All.
    All,
    /// Nothing is learned from the chain keys that handshakes name.
    NoLearning,
    /// A previous receive key goes as soon as a newer epoch is confirmed, though the peer may still send on it.
    EraseEarly,
}

/// One peer.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) ring: Keyring<Handshake, Handshake>,
    rules: Rules,
}

/// Time stands still: a key that may be erased later may as well be erased now.
const NOW: Time = Time::ZERO;

impl Peer {
    /// A peer that shares the confirmed epoch of handshake 0 with the other.
    pub(crate) fn connected(role: Role, rules: Rules) -> Self {
        let mut peer = Self { ring: Keyring::default(), rules };
        let id = peer.ring.next_id();
        let made = Made { keys: 0, chain: 0 };
        assert!(matches!(peer.ring.add(role, Base::Clear, id, made), Ok(None)));
        peer.ring.confirmed(NOW, id);
        peer
    }

    /// A peer that has lost its memory.
    pub(crate) fn restart(&mut self) {
        self.ring = Keyring::default();
    }

    /// M2 (as initiator) or M3 (as responder) of a handshake verified; `None` if the chain key is gone by now.
    pub(crate) fn reach_m3(&mut self, role: Role, named: Named, made: Handshake) -> Result<Option<EpochId>, Fault> {
        let base = match named {
            None => Some(Base::Clear),
            Some(named) => self.ring.chain().find(|&key| key == named),
        };
        let Some(base) = base else { return Ok(None) };
        if self.rules != Rules::NoLearning {
            self.ring.learn(NOW, role, base);
        }
        let id = self.ring.next_id();
        match self.ring.add(role, base, id, Made { keys: made, chain: made }) {
            Ok(_) => Ok(Some(id)),
            Err(Full) => Err(format!("a fourth receive key is needed and none may go: {self:?}")),
        }
    }

    /// M4 or a frame of an epoch was opened.
    pub(crate) fn confirm(&mut self, id: EpochId) {
        self.ring.confirmed(NOW, id);
    }

    /// Erases the oldest key that the peer is known to have left; `true` if there was one.
    pub(crate) fn erase_superseded(&mut self) -> bool {
        let sending = self.ring.sending().map(|epoch| epoch.id);
        let early = self.rules == Rules::EraseEarly;
        let superseded = self
            .ring
            .epochs()
            .iter()
            .find(|e| e.superseded.is_some() || (early && sending.is_some_and(|newest| e.id < newest)))
            .map(|epoch| epoch.id);
        !self.ring.erase(|epoch| Some(epoch.id) == superseded).is_empty()
    }

    /// Erases the oldest key, as at its hard limit, and gives its handshake.
    pub(crate) fn erase_oldest(&mut self) -> Option<Handshake> {
        let oldest = self.ring.epochs().first().map(|epoch| epoch.id);
        self.ring.erase(|epoch| Some(epoch.id) == oldest).first().map(|epoch| epoch.keys)
    }

    /// The handshake whose keys it sends with.
    pub(crate) fn sends_on(&self) -> Option<Handshake> {
        self.ring.sending().map(|epoch| epoch.keys)
    }

    /// The epoch that opens frames of a handshake's keys.
    pub(crate) fn opens(&self, handshake: Handshake) -> Option<EpochId> {
        self.ring.epochs().iter().find(|epoch| epoch.keys == handshake).map(|epoch| epoch.id)
    }

    /// The largest number in use.
    pub(crate) fn largest(&self) -> Handshake {
        let epochs = self.ring.epochs().iter().map(|epoch| epoch.keys);
        epochs.chain(self.ring.chain().iter().map(|link| link.key)).max().unwrap_or(0)
    }

    /// The keys and chain keys with numbers by order of appearance.
    pub(crate) fn write(&self, names: &mut Names, out: &mut Vec<u8>) {
        let mut ids: Vec<EpochId> = self.ring.epochs().iter().map(|epoch| epoch.id).collect();
        ids.extend(self.ring.chain().iter().map(|link| link.epoch).chain(self.ring.known()));
        ids.sort_unstable();
        ids.dedup();
        let rank = |id: EpochId| u8::try_from(ids.binary_search(&id).unwrap_or(0xff)).unwrap_or(0xff);
        out.push(0xf0 | u8::try_from(self.ring.epochs().len()).unwrap_or(0xf));
        for epoch in self.ring.epochs() {
            let flags =
                u8::from(epoch.confirmed) | u8::from(epoch.lost) << 1 | u8::from(epoch.superseded.is_some()) << 2;
            out.extend([names.of(epoch.keys), rank(epoch.id), flags, role(epoch.role)]);
        }
        out.push(self.ring.known().map_or(0xff, rank));
        for link in self.ring.chain().iter() {
            out.extend([names.of(link.key), rank(link.epoch), role(link.role), u8::from(link.provisional)]);
        }
        out.push(0xfe);
    }
}

fn role(role: Role) -> u8 {
    match role {
        Role::Initiator => 0,
        Role::Responder => 1,
    }
}

/// What holds between two peers at any time.
pub(crate) fn check(peers: &[Peer; 2]) -> Result<(), Fault> {
    if let Some(sender) = peers.iter().find(|peer| peer.sends_on().is_none()) {
        return Err(format!("a peer has no key to send with: {sender:?}"));
    }
    check_frames(peers, |_| false)?;
    check_chain(peers)
}

/// What is sent can be opened, but for keys that are `over`.
pub(crate) fn check_frames(peers: &[Peer; 2], over: impl Fn(Handshake) -> bool) -> Result<(), Fault> {
    for (sender, receiver) in [(&peers[0], &peers[1]), (&peers[1], &peers[0])] {
        if sender.sends_on().is_some_and(|keys| receiver.opens(keys).is_none() && !over(keys)) {
            return Err(format!("a frame cannot be opened: {sender:?} -> {receiver:?}"));
        }
    }
    Ok(())
}

/// Both hold a common chain key.
pub(crate) fn check_chain(peers: &[Peer; 2]) -> Result<(), Fault> {
    let common = peers[0].ring.chain().iter().any(|link| peers[1].ring.chain().find(|&key| key == link.key).is_some());
    if common { Ok(()) } else { Err(format!("no common chain key: {peers:?}")) }
}

/// Numbers of handshakes by order of appearance.
pub(crate) struct Names([u8; 256], u8);

impl Default for Names {
    fn default() -> Self {
        Self([0xff; 256], 0)
    }
}

impl Names {
    /// The name of a handshake, new if it was not seen before.
    pub(crate) fn of(&mut self, handshake: Handshake) -> u8 {
        let name = &mut self.0[usize::from(handshake)];
        if *name == 0xff {
            *name = self.1;
            self.1 += 1;
        }
        *name
    }

    /// The name of a chain key, or that there is none.
    pub(crate) fn maybe(&mut self, named: Named) -> u8 {
        named.map_or(0xfe, |named| self.of(named))
    }

    /// The name of a handshake, if it was seen.
    pub(crate) fn known(&self, handshake: Handshake) -> u8 {
        self.0[usize::from(handshake)]
    }
}
