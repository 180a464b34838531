use std::net::Ipv4Addr;

use data_encoding::HEXLOWER;

use super::*;
use crate::crypto::Identity;
use crate::pairing::{Joined, Joiner};
use crate::secret::{HeapStore, SecretKey32, SecretStore};

const DAY: u64 = 24 * 3600;
const START: u64 = 1_700_000_000;

/// Bytes that count up from one that is given.
struct Counting(u8);

impl RandomSource for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        for byte in out {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}

struct NoRandom;

impl RandomSource for NoRandom {
    fn fill(&mut self, _out: &mut [u8]) -> Result<(), RandomError> {
        Err(RandomError("none".into()))
    }
}

fn key(first: u8) -> PeerKey {
    let mut seed = [0; 32];
    Counting(first).fill(&mut seed).unwrap();
    Identity::from_seed(HeapStore.keep(SecretKey32::new(seed)).unwrap()).unwrap().public()
}

/// `pkA` and `pkB` of Appendix B; A's is the smaller.
fn a() -> PeerKey {
    key(0x40)
}

fn b() -> PeerKey {
    key(0x10)
}

/// Somebody else.
fn c() -> PeerKey {
    key(0x99)
}

fn after(seconds: u64) -> Now {
    Now { boot: Time::ZERO + Duration::from_secs(seconds), wall: START + seconds }
}

fn name(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

fn rules() -> Ipv4Rules {
    let own = Some(Ipv4Addr::new(10, 86, 0, 1));
    Ipv4Rules { range: "10.86.0.0/30".parse().unwrap(), own, taken: vec![], direct: vec![], outer: vec![] }
}

fn host() -> Host {
    Host { name: name("gateway"), ipv4: rules() }
}

fn stranger(key: PeerKey) -> Asker {
    Asker { key, standing: Standing::Stranger }
}

fn peer(key: PeerKey) -> Asker {
    Asker { key, standing: Standing::Peer }
}

const ADDRESS: [u8; 11] = [4, 203, 0, 113, 10, 0x91, 2, 0xa3, 0x5c, 0xcd, 3];

/// A with one ticket, and the ticket.
fn invited() -> (Inviter, Ticket) {
    let mut inviter = Inviter::restore(a(), vec![], after(0));
    let mut random = Script(vec![(0xe0..0xe8).collect(), (0xc0..0xd0).collect()]);
    let ticket = inviter.invite(after(0), DEFAULT_LIFETIME, &[ADDRESS.to_vec()], &mut random).unwrap();
    assert!(inviter.take_changed(), "a new ticket is written down");
    (inviter, ticket)
}

/// Gives each of its pieces once.
struct Script(Vec<Vec<u8>>);

impl RandomSource for Script {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), RandomError> {
        out.copy_from_slice(&self.0.remove(0));
        Ok(())
    }
}

fn join(ticket: &Ticket, joiner: PeerKey, nonce: u8) -> Joiner {
    Joiner::start(joiner, ticket, name("laptop"), None, &mut Counting(nonce)).unwrap()
}

fn ask(inviter: &mut Inviter, now: Now, asker: Asker, p1: &[u8]) -> Answer {
    inviter.answer(now, asker, p1, &host(), &mut Counting(0xa0))
}

fn accepted(answer: Answer) -> Accepted {
    let Answer::Accept(accepted) = answer else { panic!("accepted") };
    *accepted
}

fn refused(answer: Answer) -> Refusal {
    let Answer::Refuse(refusal) = answer else { panic!("refused") };
    refusal
}

fn read(joiner: &Joiner, answer: &[u8]) -> Result<Joined, PairFault> {
    joiner.read(answer, &Ipv4Rules { own: None, ..rules() })
}

fn state(inviter: &Inviter) -> &InvitationState {
    &inviter.invitations().next().unwrap().state
}

fn has_secret(inviter: &Inviter) -> bool {
    inviter.invitations().next().unwrap().secret.is_some()
}

/// What the state folder gives back after a restart.
fn restarted(inviter: &Inviter, now: Now) -> Inviter {
    let copy = |kept: &Invitation| Invitation {
        id: kept.id,
        created: kept.created,
        expires: kept.expires,
        secret: kept.secret.as_ref().map(|secret| TicketSecret::new(*secret.expose())),
        state: kept.state.clone(),
    };
    Inviter::restore(a(), inviter.invitations().map(copy).collect(), now)
}

#[test]
fn the_exchange_of_appendix_b_byte_for_byte() {
    let (mut inviter, ticket) = invited();
    let text = "cryprq:AESUHOJP6EEVKEKHNLOIG2O3NXOJGNTFUEMXRXNBIBHOCBTMVFKZ3YHB4LR6JZPG47AMDQWDYTC4NR6IZHFMXTGNZ3HQ\
                CCYEZMAHCCURAKRVZTIDUYLPEII";
    assert_eq!(**ticket.encode(), *text);
    let joiner = join(&Ticket::parse(text).unwrap(), b(), 0x60);
    assert_eq!(
        HEXLOWER.encode(joiner.p1()),
        "0101e0e1e2e3e4e5e6e7606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f066c6170746f70000000000000\
         0000000049f3730f93d76b1a3c6910e300b6062dfce77295aa7fac7cdc1370354d17cd10"
    );
    let accepted = accepted(ask(&mut inviter, after(1), stranger(b()), joiner.p1()));
    assert_eq!(
        HEXLOWER.encode(&accepted.p2),
        "0201a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf0767617465776179010a560002010a56000134edf1\
         1be8703ea417bbf6f197107473b88ab535d9777c64546305819adfd742"
    );
    let joined = read(&joiner, &accepted.p2).unwrap();
    let psk = "ef89ead1e6ead54c2d55860bbd3e9b9be29982dc521e9d43c34798be46984f19";
    for (made, other, called) in [(&accepted.peer, b(), "laptop"), (&joined.peer, a(), "gateway")] {
        assert_eq!(HEXLOWER.encode(made.psk.expose()), psk);
        assert_eq!((made.key, made.name.as_str()), (other, called));
    }
    let allowed = |peer: &PairedPeer| peer.allowed_ips().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(allowed(&accepted.peer), ["fd63:7279:7072:20c9:f8b6:c000:5a5:a646/128", "10.86.0.2/32"]);
    assert_eq!(allowed(&joined.peer), ["fd63:7279:7072:d139:ba61:d38b:1415:4b9b/128", "10.86.0.1/32"]);
    assert_eq!((joined.granted, joined.uncounted.len()), (Some(Ipv4Addr::new(10, 86, 0, 2)), 0));
}

#[test]
fn every_byte_flipped_aborts_and_changes_nothing() {
    let (mut inviter, ticket) = invited();
    let joiner = join(&ticket, b(), 0x60);
    for at in 0..joiner.p1().len() {
        let mut flipped = joiner.p1().to_vec();
        flipped[at] ^= 1 << (at % 8);
        // Wrong MACs are counted, so each try meets a fresh ticket.
        let (mut fresh, _) = invited();
        let answer = ask(&mut fresh, after(1), stranger(b()), &flipped);
        assert!(!matches!(answer, Answer::Accept(_) | Answer::Again(_)), "byte {at} of P1");
        assert!(matches!(state(&fresh), InvitationState::Open { .. }) && has_secret(&fresh), "byte {at} of P1");
    }
    let p2 = accepted(ask(&mut inviter, after(1), stranger(b()), joiner.p1())).p2;
    for at in 0..p2.len() {
        let mut flipped = p2.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(read(&joiner, &flipped).is_err(), "byte {at} of P2");
    }
    for message in [joiner.p1(), &p2] {
        for length in 0..message.len() {
            assert!(read(&joiner, &message[..length]).is_err());
            let (mut fresh, _) = invited();
            let answer = ask(&mut fresh, after(1), stranger(b()), &message[..length]);
            assert!(matches!(answer, Answer::Silence(_)), "{length} bytes");
            assert_eq!(*state(&fresh), InvitationState::Open { wrong_macs: 0 });
        }
        let longer = [message, &[0]].concat();
        assert!(matches!(ask(&mut inviter, after(1), stranger(c()), &longer), Answer::Silence(_)));
    }
    assert!(read(&joiner, &p2).is_ok(), "the joiner is as it was");
}

#[test]
fn three_wrong_macs_burn_a_ticket_and_an_unknown_id_burns_nothing() {
    let (mut inviter, ticket) = invited();
    let wrong = Ticket { secret: TicketSecret::new([9; 16]), ..invited().1 };
    let unknown = Ticket { id: TicketId([9; 8]), ..invited().1 };
    for _ in 0..10 {
        let answer = ask(&mut inviter, after(1), stranger(c()), join(&unknown, c(), 1).p1());
        assert_eq!(refused(answer), Refusal::UnknownTicket);
    }
    assert!(!inviter.take_changed());
    for _ in 0..2 {
        let answer = ask(&mut inviter, after(1), stranger(c()), join(&wrong, c(), 1).p1());
        assert_eq!(refused(answer), Refusal::WrongSecret);
        assert!(inviter.take_changed());
    }
    let mut inviter = restarted(&inviter, after(2));
    let answer = ask(&mut inviter, after(2), stranger(c()), join(&wrong, c(), 1).p1());
    assert_eq!(refused(answer), Refusal::WrongSecret, "the count outlives a restart");
    assert_eq!(*state(&inviter), InvitationState::Burnt { at: START + 2 });
    assert!(!has_secret(&inviter));
    assert_eq!(refused(ask(&mut inviter, after(3), stranger(b()), join(&ticket, b(), 1).p1())), Refusal::Used);
}

#[test]
fn a_p1_made_for_others_is_a_wrong_secret() {
    let (mut inviter, ticket) = invited();
    // C took B's P1 off some wire.
    let answer = ask(&mut inviter, after(1), stranger(c()), join(&ticket, b(), 1).p1());
    assert_eq!(refused(answer), Refusal::WrongSecret);
}

#[test]
fn expiry_is_judged_on_the_boot_clock_and_after_a_restart_on_the_wall_clock() {
    let (mut inviter, ticket) = invited();
    let p1 = join(&ticket, b(), 1);
    let wall_set_on = Now { wall: START + 30 * DAY, ..after(599) };
    assert_eq!(inviter.deadline(), Some(after(600).boot));
    assert!(matches!(ask(&mut inviter, wall_set_on, stranger(b()), p1.p1()), Answer::Accept(_)));

    let (mut inviter, _) = invited();
    let wall_set_back = Now { wall: START - 1000, ..after(600) };
    assert_eq!(refused(ask(&mut inviter, wall_set_back, stranger(b()), p1.p1())), Refusal::Expired);
    assert!(!has_secret(&inviter) && inviter.take_changed());

    // The boot clock of another boot says nothing.
    let boot = Time::ZERO + Duration::from_secs(7);
    let (inviter, _) = invited();
    let mut again = restarted(&inviter, Now { boot, wall: START + 599 });
    assert!(matches!(state(&again), InvitationState::Open { .. }));
    let later = Now { boot: boot + Duration::from_secs(1), wall: 0 };
    assert_eq!(refused(ask(&mut again, later, stranger(b()), p1.p1())), Refusal::Expired);
    assert_eq!(*state(&restarted(&inviter, Now { boot, wall: START + 600 })), InvitationState::Expired);

    let mut set_back = restarted(&inviter, Now { boot, wall: START - 30 * DAY });
    let end = Now { boot: boot + DEFAULT_LIFETIME, wall: START - 30 * DAY };
    set_back.expire(end);
    assert_eq!(*state(&set_back), InvitationState::Expired, "a clock set back lengthens no life");
}

#[test]
fn what_is_over_is_remembered_for_a_day_and_until_the_tickets_expiry() {
    let (mut inviter, ticket) = invited();
    let p1 = join(&ticket, b(), 1);
    inviter.expire(after(600 + DAY - 1));
    assert_eq!(refused(ask(&mut inviter, after(600 + DAY - 1), stranger(b()), p1.p1())), Refusal::Expired);
    assert_eq!(inviter.deadline(), Some(after(600 + DAY).boot));
    assert!(inviter.admits_strangers() && restarted(&inviter, after(600 + DAY - 1)).admits_strangers());
    assert!(!restarted(&inviter, after(600 + DAY)).admits_strangers());
    inviter.take_changed();
    inviter.expire(after(600 + DAY));
    assert!(!inviter.admits_strangers() && inviter.take_changed());
    assert_eq!(inviter.deadline(), None);

    let mut inviter = Inviter::restore(a(), vec![], after(0));
    let ticket = inviter.invite(after(0), MAX_LIFETIME, &[ADDRESS.to_vec()], &mut Counting(1)).unwrap();
    accepted(ask(&mut inviter, after(5), stranger(b()), join(&ticket, b(), 1).p1()));
    inviter.complete(b());
    assert!(restarted(&inviter, after(7 * DAY - 1)).admits_strangers());
    inviter.expire(after(7 * DAY));
    assert!(!inviter.admits_strangers());
}

#[test]
fn the_first_to_join_gets_in_once_and_the_list_says_who_and_when() {
    let (mut inviter, ticket) = invited();
    // A thief copied the ticket and was first.
    accepted(ask(&mut inviter, after(5), stranger(c()), join(&ticket, c(), 1).p1()));
    assert_eq!(refused(ask(&mut inviter, after(6), stranger(b()), join(&ticket, b(), 2).p1())), Refusal::Used);
    let InvitationState::Used { by, at, .. } = state(&inviter) else { panic!("used") };
    assert_eq!((*by, *at), (c(), START + 5));
    inviter.complete(c());
    assert!(!has_secret(&inviter) && inviter.take_changed());
    assert_eq!(refused(ask(&mut inviter, after(7), stranger(b()), join(&ticket, b(), 3).p1())), Refusal::Used);
    let again = ask(&mut inviter, after(8), peer(c()), join(&ticket, c(), 1).p1());
    assert_eq!(refused(again), Refusal::Policy, "once complete the joiner is a peer like any other");
}

#[test]
fn a_joiner_whose_answer_was_lost_gets_the_same_one_also_from_a_restarted_inviter() {
    let (mut inviter, ticket) = invited();
    let joiner = join(&ticket, b(), 1);
    let p2 = accepted(ask(&mut inviter, after(5), stranger(b()), joiner.p1())).p2;
    let mut inviter = restarted(&inviter, after(6));
    // Long after the ticket's own time.
    let Answer::Again(again) = ask(&mut inviter, after(5000), peer(b()), joiner.p1()) else { panic!("again") };
    assert_eq!(again, p2);
    assert!(!inviter.take_changed());
    let unfinished: Vec<_> = inviter.unfinished().map(Result::unwrap).collect();
    let joined = read(&joiner, &p2).unwrap();
    assert!(unfinished[0].psk.ct_eq(&joined.peer.psk), "the new peer follows from what was written down");
    assert_eq!((unfinished[0].key, unfinished[0].ipv4), (b(), joined.granted));
    assert_eq!(unfinished[0].name.as_str(), "laptop");
}

#[test]
fn a_joiner_that_lost_its_state_gets_a_new_answer_and_another_psk() {
    let (mut inviter, ticket) = invited();
    let first = join(&ticket, b(), 1);
    let before = accepted(ask(&mut inviter, after(5), stranger(b()), first.p1()));
    let second = join(&ticket, b(), 2);
    let answer = inviter.answer(after(9), peer(b()), second.p1(), &host(), &mut Counting(0x33));
    let renewed = accepted(answer);
    assert!(!renewed.peer.psk.ct_eq(&before.peer.psk));
    assert!(read(&second, &renewed.p2).unwrap().peer.psk.ct_eq(&renewed.peer.psk));
    let InvitationState::Used { at, .. } = state(&inviter) else { panic!("used") };
    assert_eq!(*at, START + 5, "it was used when it was used first");
    let wrong = Ticket { secret: TicketSecret::new([9; 16]), ..invited().1 };
    for _ in 0..5 {
        assert_eq!(refused(ask(&mut inviter, after(11), peer(b()), join(&wrong, b(), 3).p1())), Refusal::WrongSecret);
    }
    assert!(matches!(state(&inviter), InvitationState::Used { .. }), "a used ticket does not burn");
}

#[test]
fn an_acceptance_that_could_not_be_written_down_is_taken_back() {
    let (mut inviter, ticket) = invited();
    let failed = accepted(ask(&mut inviter, after(5), stranger(c()), join(&ticket, c(), 1).p1()));
    inviter.take_changed();
    inviter.undo(failed);
    assert!(inviter.take_changed(), "it may be on disk already");
    assert_eq!(*state(&inviter), InvitationState::Open { wrong_macs: 0 });
    accepted(ask(&mut inviter, after(6), stranger(b()), join(&ticket, b(), 1).p1()));
}

#[test]
fn a_peer_gets_policy_whatever_it_asks() {
    let (mut inviter, ticket) = invited();
    let unknown = Ticket { id: TicketId([9; 8]), ..invited().1 };
    let wrong = Ticket { secret: TicketSecret::new([9; 16]), ..invited().1 };
    for ticket in [&ticket, &unknown, &wrong] {
        assert_eq!(refused(ask(&mut inviter, after(1), peer(b()), join(ticket, b(), 1).p1())), Refusal::Policy);
    }
    assert_eq!(*state(&inviter), InvitationState::Open { wrong_macs: 0 });
    assert_eq!(refused(ask(&mut inviter, after(601), peer(b()), join(&ticket, b(), 1).p1())), Refusal::Policy);
}

#[test]
fn of_two_that_join_each_other_the_smaller_key_goes_on_and_the_other_answers() {
    let (mut smaller, ticket) = invited();
    let joining = |key| Asker { key, standing: Standing::Joining };
    assert!(a() < b());
    assert_eq!(refused(ask(&mut smaller, after(1), joining(b()), join(&ticket, b(), 1).p1())), Refusal::Policy);
    let mut larger = Inviter::restore(b(), vec![], after(0));
    let ticket = larger.invite(after(0), DEFAULT_LIFETIME, &[ADDRESS.to_vec()], &mut Counting(1)).unwrap();
    accepted(ask(&mut larger, after(1), joining(a()), join(&ticket, a(), 1).p1()));
}

#[test]
fn a_cancelled_ticket_lets_nobody_in_and_a_used_one_cannot_be_cancelled() {
    let (mut inviter, ticket) = invited();
    assert_eq!(inviter.cancel(after(1), TicketId([9; 8])), Err(CancelError::Unknown));
    inviter.cancel(after(1), ticket.id).unwrap();
    assert!(!has_secret(&inviter) && inviter.take_changed());
    assert_eq!(refused(ask(&mut inviter, after(2), stranger(b()), join(&ticket, b(), 1).p1())), Refusal::Expired);
    assert_eq!(*state(&inviter), InvitationState::Cancelled { at: START + 1 });
    inviter.cancel(after(3), ticket.id).unwrap();
    assert!(!inviter.take_changed(), "it is over already");

    let (mut inviter, ticket) = invited();
    accepted(ask(&mut inviter, after(1), stranger(b()), join(&ticket, b(), 1).p1()));
    assert_eq!(inviter.cancel(after(2), ticket.id), Err(CancelError::Used(b())));
}

#[test]
fn another_version_is_told_and_another_message_is_not_answered() {
    let (mut inviter, ticket) = invited();
    let mut p1 = join(&ticket, b(), 1).p1().to_vec();
    p1[1] = 2;
    assert_eq!(refused(ask(&mut inviter, after(1), stranger(b()), &p1)), Refusal::Version);
    p1[0] = 2;
    assert!(matches!(ask(&mut inviter, after(1), stranger(b()), &p1), Answer::Silence(PairFault::Type(2))));
}

#[test]
fn no_randomness_no_pairing() {
    let (mut inviter, ticket) = invited();
    let p1 = join(&ticket, b(), 1);
    let answer = inviter.answer(after(1), stranger(b()), p1.p1(), &host(), &mut NoRandom);
    assert!(matches!(answer, Answer::Silence(PairFault::Random(_))));
    assert_eq!(*state(&inviter), InvitationState::Open { wrong_macs: 0 });
    let made = inviter.invite(after(1), DEFAULT_LIFETIME, &[ADDRESS.to_vec()], &mut NoRandom).map(drop);
    assert!(matches!(made, Err(InviteError::Random(_))));
}

#[test]
fn tickets_are_bounded_in_number_and_life() {
    let mut inviter = Inviter::restore(a(), vec![], after(0));
    let mut random = Counting(0);
    let mut invite =
        |lifetime, addresses: &[Vec<u8>]| inviter.invite(after(0), lifetime, addresses, &mut random).map(drop);
    let second = Duration::from_secs(1);
    assert_eq!(invite(Duration::ZERO, &[ADDRESS.to_vec()]), Err(InviteError::Lifetime));
    assert_eq!(invite(MAX_LIFETIME + second, &[ADDRESS.to_vec()]), Err(InviteError::Lifetime));
    assert_eq!(invite(second, &[]), Err(InviteError::NoAddress));
    for _ in 0..10 {
        invite(second, &[ADDRESS.to_vec()]).unwrap();
    }
    // Ids of the counting source repeat after 256 bytes, so the rest is told apart by hand.
    while inviter.kept.len() < MAX_TICKETS {
        let id = TicketId((inviter.kept.len() as u64 + 1000).to_be_bytes());
        let invitation =
            Invitation { id, created: 0, expires: 0, secret: None, state: InvitationState::Cancelled { at: 0 } };
        let at = after(9).boot;
        inviter.kept.insert(id, Kept { invitation, expires: at, forget_at: at });
    }
    let made = inviter.invite(after(0), second, &[ADDRESS.to_vec()], &mut Counting(7)).map(drop);
    assert_eq!(made, Err(InviteError::TooMany));
}

#[test]
fn an_offered_address_that_is_taken_leaves_the_pair_on_ipv6() {
    let (mut inviter, ticket) = invited();
    let offered = Some(Ipv4Addr::new(10, 86, 0, 1));
    let joiner = Joiner::start(b(), &ticket, name(""), offered, &mut Counting(1)).unwrap();
    let accepted = accepted(ask(&mut inviter, after(1), stranger(b()), joiner.p1()));
    assert_eq!((accepted.peer.ipv4, accepted.peer.allowed_ips().len()), (None, 1));
    assert!(accepted.uncounted.is_some());
    let own = Ipv4Rules { own: offered, ..rules() };
    let joined = joiner.read(&accepted.p2, &own).unwrap();
    assert_eq!((joined.granted, joined.peer.ipv4), (None, None));
    let told: Vec<_> = joined.uncounted.iter().map(ToString::to_string).collect();
    assert!(told[0].contains("cannot use it") && told[1].contains("this host's own"), "{told:?}");
}
