//! The joiner's side: one P1 per ticket, and what its answer makes.

use std::net::Ipv4Addr;

use super::PairedPeer;
use super::introduction::{HostName, Introduction};
use super::ipv4::{Ipv4Fault, Ipv4Rules, Uncounted};
use super::ticket::{Ticket, TicketId, TicketSecret};
use super::wire::{P1, P2, Pair, PairFault, PairKey};
use crate::crypto::{RandomError, RandomSource};
use crate::peer_key::PeerKey;

/// One join: the P1 that is sent, and sent again as often as need be.
///
/// The owner writes secret and P1 to disk with the new peer before its first handshake, keeps them until that is
/// complete, and sends P1 again after a handshake that failed.
pub struct Joiner {
    pair: Pair,
    id: TicketId,
    secret: TicketSecret,
    offered: Option<Ipv4Addr>,
    p1: Vec<u8>,
}

/// What the inviter's answer makes.
pub struct Joined {
    /// The inviter as a peer.
    pub peer: PairedPeer,
    /// The address that a joiner without one is granted.
    pub granted: Option<Ipv4Addr>,
    /// Which addresses do not count, and why.
    pub uncounted: Vec<Uncounted>,
}

/// A join that cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The ticket is this host's own.
    #[error("this ticket was made by this very host: use it on another one")]
    Own,
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl Joiner {
    /// Makes P1. `offered` is our inner IPv4 address; without one the inviter is asked for it.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn start(
        own: PeerKey,
        ticket: &Ticket,
        name: HostName,
        offered: Option<Ipv4Addr>,
        random: &mut dyn RandomSource,
    ) -> Result<Self, JoinError> {
        if ticket.inviter == own {
            return Err(JoinError::Own);
        }
        let mut nonce = [0; 32];
        random.fill(&mut nonce)?;
        let pair = Pair { inviter: ticket.inviter, joiner: own };
        let secret = TicketSecret::new(*ticket.secret.expose());
        let offer = Introduction { name, ipv4: offered, ipv4_self: None };
        let p1 = P1::write(&PairKey::new(&secret), pair, ticket.id, &nonce, &offer);
        Ok(Self { pair, id: ticket.id, secret, offered, p1 })
    }

    /// A join that an earlier run wrote down.
    ///
    /// # Errors
    /// [`PairFault`] when P1 was not made with this secret.
    pub fn restore(own: PeerKey, inviter: PeerKey, secret: TicketSecret, p1: Vec<u8>) -> Result<Self, PairFault> {
        let pair = Pair { inviter, joiner: own };
        let read = P1::read(&p1)?;
        let (id, offered) = (read.id, read.open(&PairKey::new(&secret), pair)?.ipv4);
        Ok(Self { pair, id, secret, offered, p1 })
    }

    /// Whom it joins.
    pub const fn inviter(&self) -> PeerKey {
        self.pair.inviter
    }

    /// By which ticket.
    pub const fn ticket(&self) -> TicketId {
        self.id
    }

    /// The ticket's secret, for the state folder.
    pub const fn secret(&self) -> &TicketSecret {
        &self.secret
    }

    /// The message to send, the same each time.
    pub fn p1(&self) -> &[u8] {
        &self.p1
    }

    /// Reads the inviter's answer.
    ///
    /// # Errors
    /// [`PairFault`]; nothing changed then, and P1 may be sent again.
    pub fn read(&self, answer: &[u8], rules: &Ipv4Rules) -> Result<Joined, PairFault> {
        let key = PairKey::new(&self.secret);
        let p2 = P2::open(answer, &key, self.pair, &self.p1)?;
        let psk = key.psk(self.pair, &p2.nonce, P1::read(&self.p1)?.nonce);
        let Introduction { name, ipv4, ipv4_self } = p2.grant;
        let mut uncounted = Vec::new();
        let mut count = |checked: Option<Result<Ipv4Addr, Uncounted>>| match checked? {
            Ok(address) => Some(address),
            Err(because) => {
                uncounted.push(because);
                None
            }
        };
        let granted = count(self.granted(ipv4, rules));
        let theirs = count(ipv4_self.map(|address| match rules.check(address) {
            Ok(()) if granted == Some(address) => Err(Uncounted { address, why: Ipv4Fault::Own }),
            Ok(()) => Ok(address),
            Err(because) => Err(because),
        }));
        let peer = PairedPeer { key: self.pair.inviter, name, ipv4: theirs, psk };
        Ok(Joined { peer, granted, uncounted })
    }

    /// The address to take, if the grant says so: one that differs from the offer is ignored.
    fn granted(&self, grant: Option<Ipv4Addr>, rules: &Ipv4Rules) -> Option<Result<Ipv4Addr, Uncounted>> {
        match (self.offered, grant) {
            (Some(offered), Some(address)) if offered == address => None,
            (Some(_), Some(address)) => Some(Err(Uncounted { address, why: Ipv4Fault::Differs })),
            (Some(address), None) => Some(Err(Uncounted { address, why: Ipv4Fault::NotGranted })),
            (None, Some(address)) => Some(rules.check_granted(address).map(|()| address)),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Zeros;

    impl RandomSource for Zeros {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
            out.fill(0);
            Ok(())
        }
    }

    fn key(byte: u8) -> PeerKey {
        PeerKey::from_bytes([byte; 32]).unwrap()
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn ticket() -> Ticket {
        Ticket::new(key(0x41), TicketId([1; 8]), TicketSecret::new([2; 16]), &[vec![4, 192, 0, 2, 1]])
    }

    fn joiner(offered: Option<Ipv4Addr>) -> Joiner {
        Joiner::start(key(0x42), &ticket(), HostName::new("laptop").unwrap(), offered, &mut Zeros).unwrap()
    }

    fn rules(own: Option<Ipv4Addr>) -> Ipv4Rules {
        Ipv4Rules { range: "10.86.0.0/16".parse().unwrap(), own, taken: vec![], direct: vec![], outer: vec![] }
    }

    /// The inviter's answer with this grant.
    fn answered(joiner: &Joiner, ipv4: Option<Ipv4Addr>, ipv4_self: Option<Ipv4Addr>) -> Vec<u8> {
        let grant = Introduction { name: HostName::new("gateway").unwrap(), ipv4, ipv4_self };
        P2::write(&PairKey::new(&joiner.secret), joiner.pair, joiner.p1(), &[3; 32], &grant)
    }

    #[test]
    fn a_host_does_not_join_itself() {
        let name = HostName::new("laptop").unwrap();
        let own = Joiner::start(key(0x41), &ticket(), name, None, &mut Zeros).map(drop);
        assert_eq!(own, Err(JoinError::Own));
    }

    #[test]
    fn a_refusal_is_read_by_its_number() {
        for refusal in super::super::Refusal::ALL {
            let read = joiner(None).read(&refusal.message(), &rules(None)).map(drop);
            assert_eq!(read, Err(PairFault::Refused(refusal)));
        }
        let read = joiner(None).read(&[0x0f, 1, 7, 1], &rules(None)).map(drop);
        assert_eq!(read, Err(PairFault::RefusedUnknown(0x107)));
    }

    #[test]
    fn a_host_without_an_address_takes_the_one_granted_if_it_counts() {
        let joiner = joiner(None);
        let own_place = ip("10.86.9.9");
        let mut rules = rules(Some(own_place));
        let read = |rules: &Ipv4Rules, ipv4, theirs| joiner.read(&answered(&joiner, ipv4, theirs), rules).unwrap();
        let joined = read(&rules, Some(own_place), Some(ip("10.86.0.1")));
        assert_eq!((joined.granted, joined.peer.ipv4), (Some(own_place), Some(ip("10.86.0.1"))), "its own, granted");
        rules.direct.push("10.86.0.0/24".parse().unwrap());
        let joined = read(&rules, Some(ip("10.86.0.2")), Some(ip("10.86.0.1")));
        assert_eq!((joined.granted, joined.peer.ipv4, joined.uncounted.len()), (None, None, 2));
        let joined = read(&rules, Some(ip("10.86.1.2")), Some(ip("10.86.1.2")));
        assert_eq!((joined.granted, joined.peer.ipv4), (Some(ip("10.86.1.2")), None), "both cannot have it");
        let joined = read(&rules, None, None);
        assert_eq!((joined.granted, joined.peer.ipv4, joined.uncounted.len()), (None, None, 0));
    }

    #[test]
    fn a_grant_that_differs_from_the_offer_is_ignored() {
        let own = ip("10.86.5.5");
        let joiner = joiner(Some(own));
        let read = |ipv4| joiner.read(&answered(&joiner, ipv4, Some(ip("10.86.0.1"))), &rules(Some(own))).unwrap();
        let agreed = read(Some(own));
        assert_eq!((agreed.granted, agreed.uncounted.len()), (None, 0));
        let differs = read(Some(ip("10.86.5.6")));
        assert_eq!((differs.granted, differs.uncounted[0].why), (None, Ipv4Fault::Differs));
        assert_eq!(differs.peer.ipv4, Some(ip("10.86.0.1")), "the inviter's own counts all the same");
    }

    #[test]
    fn a_join_is_restored_from_what_was_written_down() {
        let first = joiner(Some(ip("10.86.5.5")));
        let secret = || TicketSecret::new([2; 16]);
        let again = Joiner::restore(key(0x42), key(0x41), secret(), first.p1().to_vec()).unwrap();
        assert_eq!((again.inviter(), again.ticket(), again.offered), (key(0x41), TicketId([1; 8]), first.offered));
        let p2 = answered(&first, None, None);
        let rules = rules(None);
        assert!(again.read(&p2, &rules).unwrap().peer.psk.ct_eq(&first.read(&p2, &rules).unwrap().peer.psk));
        let other = Joiner::restore(key(0x42), key(0x43), secret(), first.p1().to_vec()).map(drop);
        assert_eq!(other, Err(PairFault::Mac), "it was made for another inviter");
    }
}
