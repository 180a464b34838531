use std::cell::Cell;

use super::*;

thread_local! {
    /// Each test has its own thread, and so its own time.
    static NOW: Cell<Time> = const { Cell::new(Time::ZERO) };
}

fn clock() -> Time {
    NOW.get()
}

fn at(seconds: u64) {
    NOW.set(Time::ZERO + Duration::from_secs(seconds));
}

struct Test {
    gate: Gate,
    drops: Arc<DropCounters>,
    last: usize,
}

impl Test {
    fn new(guests: Guests) -> Self {
        let drops = Arc::new(DropCounters::default());
        let mut gate = Gate::new(Members::default(), Arc::clone(&drops), clock);
        gate.set_guests(guests);
        Self { gate, drops, last: 0 }
    }

    fn id(&mut self) -> ConnectionId {
        self.last += 1;
        ConnectionId::new_unchecked(self.last)
    }

    /// A connection begins to come in, which says nothing yet; `None` if it is refused.
    fn begin(&mut self, local: &str, from: &str) -> Option<ConnectionId> {
        let (id, local, from) = (self.id(), local.parse().unwrap(), from.parse().unwrap());
        self.gate.handle_pending_inbound_connection(id, &local, &from).ok().map(|()| id)
    }

    /// How many of these may begin to come in.
    fn begun<'a>(&mut self, local: &str, from: impl IntoIterator<Item = &'a String>) -> usize {
        from.into_iter().filter(|from| self.begin(local, from).is_some()).count()
    }

    /// A connection ends before anything came of it.
    fn fail(&mut self, connection_id: ConnectionId) {
        let (nothing, error) = (Multiaddr::empty(), libp2p::swarm::ListenError::Aborted);
        self.gate.on_swarm_event(FromSwarm::ListenFailure(libp2p::swarm::behaviour::ListenFailure {
            local_addr: &nothing,
            send_back_addr: &nothing,
            error: &error,
            connection_id,
            peer_id: None,
        }));
    }

    /// A connection comes in; `None` if it is refused.
    fn connect(&mut self, peer: PeerId, from: &str) -> Option<ConnectionId> {
        let (id, from) = (self.id(), from.parse().unwrap());
        self.gate.handle_established_inbound_connection(id, peer, &Multiaddr::empty(), &from).ok().map(|_| id)
    }

    /// A stranger from a source of its own.
    fn guest(&mut self, number: u8) -> Option<ConnectionId> {
        self.connect(PeerId::random(), &format!("/ip4/192.0.2.{number}/udp/1/quic-v1"))
    }

    /// A connection goes out.
    fn dial(&mut self, peer: PeerId) -> Result<ConnectionId, ConnectionDenied> {
        let (id, address) = (self.id(), Multiaddr::empty());
        self.gate.handle_pending_outbound_connection(id, Some(peer), &[], Endpoint::Dialer)?;
        let (role, port) = (Endpoint::Dialer, PortUse::Reuse);
        self.gate.handle_established_outbound_connection(id, peer, &address, role, port).map(|_| id)
    }

    /// The connections that were closed since the last look.
    fn closed(&mut self) -> Vec<ConnectionId> {
        let close = |action| {
            let ToSwarm::CloseConnection { connection: CloseConnection::One(id), .. } = action else {
                panic!("nothing but closed connections");
            };
            id
        };
        self.gate.actions.drain(..).map(close).collect()
    }

    fn remembered(&self) -> usize {
        self.gate.visits.len()
    }
}

#[test]
fn strangers_come_in_only_while_a_ticket_is_kept() {
    let mut test = Test::new(Guests::Refuse);
    assert_eq!(test.guest(1), None);
    test.gate.set_guests(Guests::Admit);
    let guest = test.guest(1).unwrap();
    assert!(test.gate.is_visit(guest));
    test.gate.set_guests(Guests::Refuse);
    assert_eq!(test.closed(), [guest]);
    assert!(test.gate.is_visit(guest), "it never becomes a member's, whatever comes first");
    assert_eq!(test.guest(1), None);
}

#[test]
fn members_are_no_guests_and_fill_no_places() {
    let mut test = Test::new(Guests::Refuse);
    let member = PeerId::random();
    test.gate.admit(member);
    for _ in 0..20 {
        let id = test.connect(member, "/ip4/192.0.2.1/udp/1/quic-v1").unwrap();
        assert!(!test.gate.is_visit(id));
    }
    assert!(test.dial(member).is_ok());
    test.gate.expel(member);
    assert_eq!(test.connect(member, "/ip4/192.0.2.1/udp/1/quic-v1"), None);
    assert!(test.dial(member).is_err());
}

#[test]
fn a_ninth_stranger_displaces_the_oldest_that_said_nothing() {
    let mut test = Test::new(Guests::Admit);
    let mut guests = Vec::new();
    for number in 1..=8 {
        at(u64::from(number));
        guests.push(test.guest(number).unwrap());
    }
    test.gate.asked(guests[0]);
    assert!(test.guest(9).is_some());
    assert_eq!(test.closed(), [guests[1]], "the oldest has spoken, the second has not");
    for &guest in &guests[2..] {
        test.gate.asked(guest);
    }
    // The ninth is the only silent one left.
    assert!(test.guest(10).is_some());
    assert_eq!(test.closed().len(), 1);
    let tenth = ConnectionId::new_unchecked(test.last);
    test.gate.asked(tenth);
    assert_eq!(test.guest(11), None, "all are being answered");
    assert!(test.closed().is_empty());
}

#[test]
fn one_source_has_two_places_whatever_it_calls_itself() {
    for same in [
        ["/ip4/192.0.2.1/udp/1/quic-v1", "/ip4/192.0.2.1/udp/2/quic-v1", "/ip4/192.0.2.1/tcp/3"],
        ["/ip6/2001:db8::1/tcp/1", "/ip6/2001:db8::2/tcp/2", "/ip6/2001:db8:0:0:ffff::3/udp/3/quic-v1"],
        ["/ip4/192.0.2.1/tcp/1", "/ip6/::ffff:192.0.2.1/tcp/2", "/ip6/::ffff:c000:201/tcp/3"],
    ] {
        let mut test = Test::new(Guests::Admit);
        let came = same.map(|from| test.connect(PeerId::random(), from));
        assert!(came[0].is_some() && came[1].is_some() && came[2].is_none(), "{same:?}");
        assert!(test.connect(PeerId::random(), "/ip6/2001:db8:0:1::1/tcp/1").is_some(), "another source");
    }
}

#[test]
fn a_stranger_that_says_nothing_is_seen_off_after_ten_seconds_and_one_that_spoke_later() {
    let mut test = Test::new(Guests::Admit);
    at(0);
    let (silent, spoke) = (test.guest(1).unwrap(), test.guest(2).unwrap());
    at(9);
    test.gate.asked(spoke);
    test.gate.expire();
    assert!(test.closed().is_empty());
    assert_eq!(test.gate.deadline(), Some(Time::ZERO + Duration::from_secs(10)));
    at(10);
    test.gate.expire();
    assert_eq!(test.closed(), [silent]);
    at(19);
    test.gate.expire();
    assert_eq!(test.closed(), [spoke]);
    assert_eq!(test.gate.deadline(), None);
}

#[test]
fn the_inviter_that_we_join_may_be_dialled_and_nobody_else() {
    let mut test = Test::new(Guests::Refuse);
    let (inviter, other) = (PeerId::random(), PeerId::random());
    test.gate.set_inviter(Some(inviter));
    assert!(test.dial(other).is_err());
    let visit = test.dial(inviter).unwrap();
    assert!(test.gate.is_visit(visit));
    assert_eq!(test.connect(inviter, "/ip4/192.0.2.1/tcp/1"), None, "it has no business to dial us");
    test.gate.set_inviter(Some(other));
    assert_eq!(test.closed(), [visit]);
    assert!(test.dial(inviter).is_err());
}

#[test]
fn a_place_is_free_again_when_its_connection_is_gone_or_was_refused_by_others() {
    let mut test = Test::new(Guests::Admit);
    let guest = test.guest(1).unwrap();
    test.fail(guest);
    assert_eq!(test.remembered(), 0);
}

const OWN: &str = "/ip4/198.51.100.1/tcp/1";
const CIRCUIT: &str =
    "/ip4/203.0.113.9/udp/1/quic-v1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit";

#[test]
fn of_one_source_eight_connections_may_say_nothing_and_of_all_64() {
    let mut test = Test::new(Guests::Refuse);
    let house: Vec<_> = (1..20).map(|port| format!("/ip4/192.0.2.1/tcp/{port}")).collect();
    let network: Vec<_> = (1..20).map(|host| format!("/ip6/2001:db8::{host}/tcp/1")).collect();
    let others: Vec<_> = (1..200).map(|host| format!("/ip4/203.0.113.{host}/tcp/1")).collect();
    assert_eq!([test.begun(OWN, &house), test.begun(OWN, &network)], [8, 8]);
    // Whoever a relay says they are.
    let strangers: Vec<_> = (1..20).map(|_| format!("/p2p/{}", PeerId::random())).collect();
    assert_eq!(test.begun(CIRCUIT, &strangers), 8);
    assert_eq!(test.begun(OWN, &others), 40);
    assert_eq!(test.drops.get(DropReason::ConnectionsLimited), 11 + 11 + 11 + 159);
    let quic: Vec<_> = (1..200).map(|port| format!("/ip4/192.0.2.1/udp/{port}/quic-v1")).collect();
    assert_eq!(test.begun("/ip4/198.51.100.1/udp/1/quic-v1", &quic), 199, "they were counted before");
}

#[test]
fn a_connection_that_shows_whose_it_is_or_ends_makes_room_for_another() {
    let mut test = Test::new(Guests::Refuse);
    let member = PeerId::random();
    test.gate.admit(member);
    let from = "/ip4/192.0.2.1/tcp/1";
    let begun: Vec<_> = (0..8).map(|_| test.begin(OWN, from).unwrap()).collect();
    assert_eq!(test.begin(OWN, from), None);
    test.fail(begun[0]);
    assert!(test.begin(OWN, from).is_some() && test.begin(OWN, from).is_none());
    let from: Multiaddr = from.parse().unwrap();
    for (connection, peer) in [(begun[1], member), (begun[2], PeerId::random())] {
        // Also of a stranger, who is told that it may not.
        let _ = test.gate.handle_established_inbound_connection(connection, peer, &Multiaddr::empty(), &from);
        assert!(test.begin(OWN, "/ip4/192.0.2.1/tcp/1").is_some());
    }
}
