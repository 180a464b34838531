//! The first epoch (protocol.md 6.6 and 6.7).

use super::*;

#[test]
fn the_side_that_dialled_starts_at_once_whoever_has_the_smaller_key() {
    for dialler in [LEADER, FOLLOWER] {
        let mut pair = Pair::new(Setup::default());
        let dialled_at = pair.now;
        pair.connect(dialler);
        pair.run(ms(200));
        pair.assert_connected();
        assert_eq!(pair.sides[dialler].started, [dialled_at]);
        assert!(pair.sides[1 - dialler].started.is_empty());
        assert_eq!(pair.handshakes(), [1, 1]);
        for side in 0..2 {
            assert!(pair.saw(side, &TunnelEvent::ChainReset(ChainStart::First)));
        }
    }
}

#[test]
fn the_side_that_was_dialled_starts_after_a_second_when_the_other_does_not() {
    let mut pair = Pair::new(Setup::default());
    let dialled_at = pair.now;
    pair.mute[LEADER] = true;
    pair.connect(LEADER);
    pair.run(ms(1040));
    assert_eq!(pair.sides[FOLLOWER].started, [dialled_at + secs(1)]);
}

#[test]
fn the_initiator_sends_after_one_round_trip_and_the_responder_delivers_nothing_before_m3() {
    let mut pair = Pair::new(Setup::default());
    pair.meddle = lose(3, 1);
    pair.connect(LEADER);
    pair.run(ms(45));
    assert!(pair.sides[LEADER].sealer.is_some(), "after M3 left");
    assert_eq!(pair.state(LEADER), PeerState::Connecting, "but the epoch is not live");
    assert!(pair.send(LEADER).is_some());
    pair.run(ms(100));
    assert_eq!(pair.sides[FOLLOWER].drops, [DropReason::FrameUnknownIndex]);
    assert!(pair.sides[FOLLOWER].delivered.is_empty() && pair.state(FOLLOWER) == PeerState::Connecting);
    pair.run(secs(10));
    assert!(pair.handshakes()[LEADER] <= 1);
    pair.run(secs(15));
    pair.assert_connected();
}

#[test]
fn an_unconfirmed_first_epoch_is_not_sent_on_once_its_attempt_ends() {
    let mut pair = Pair::new(Setup::default());
    pair.meddle = lose(3, usize::MAX);
    pair.connect(LEADER);
    pair.run(ms(45));
    assert!(pair.sides[LEADER].sealer.is_some());
    pair.disconnect();
    assert!(pair.sides[LEADER].sealer.is_none() && pair.send(LEADER).is_none());
}

#[test]
fn a_connection_is_asked_for_when_there_is_none() {
    let mut pair = Pair::new(Setup::default());
    assert_eq!([pair.sides[0].needs, pair.sides[1].needs], [1, 1]);
    pair.connect(LEADER);
    pair.run(ms(200));
    pair.forget_events();
    pair.disconnect();
    assert_eq!([pair.sides[0].needs, pair.sides[1].needs], [1, 1]);
    pair.assert_data_flows();
}

#[test]
fn an_attempt_whose_connection_is_gone_is_over_and_the_next_connection_starts_another() {
    let mut pair = Pair::new(Setup::default());
    pair.meddle = lose(2, 1);
    pair.connect(LEADER);
    pair.run(ms(100));
    pair.disconnect();
    assert_eq!(pair.failures(LEADER), [("stream_lost", 1)]);
    assert_eq!(pair.failures(FOLLOWER), [("stream_lost", 1)]);
    pair.connect(FOLLOWER);
    pair.run(ms(200));
    pair.assert_connected();
}

#[test]
fn a_tunnel_that_is_not_wanted_answers_busy_and_keeps_its_chain() {
    let mut pair = Pair::connected(Setup::default());
    pair.input(FOLLOWER, Input::Wanted(Want::Down));
    assert!(pair.send(FOLLOWER).is_none() && pair.sides[FOLLOWER].openers.is_empty());
    pair.input(LEADER, Input::Rotate);
    pair.run(ms(200));
    assert_eq!(pair.failures(LEADER), [("busy", 1)]);
    assert_eq!(pair.state(FOLLOWER), PeerState::Idle);
    pair.input(FOLLOWER, Input::Wanted(Want::Up));
    pair.run(secs(5));
    pair.assert_connected();
    assert!(!pair.saw(LEADER, &TunnelEvent::ChainReset(ChainStart::PeerLost)), "the chain went on");
}

#[test]
fn what_an_attempt_that_is_over_still_brings_is_dropped() {
    let mut pair = Pair::connected(Setup::default());
    let before = pair.session(0);
    for side in 0..2 {
        for attempt in [0, 1, 2, 3, 777, 778] {
            for kind in 0..=15 {
                let attempt = AttemptId(attempt);
                pair.input(side, Input::Message { attempt, bytes: vec![kind; 88] });
                pair.input(side, Input::StreamClosed { attempt });
                pair.input(side, Input::StreamOpened { attempt });
                pair.input(side, Input::StreamFailed { attempt });
            }
        }
    }
    assert_eq!((pair.session(0), pair.failures(0).len() + pair.failures(1).len()), (before, 0));
    pair.assert_connected();
}

#[test]
fn streams_that_never_bring_m1_are_bounded_and_time_out() {
    let mut pair = Pair::connected(Setup::default());
    for i in 0..20 {
        let connection = ConnectionId(pair.connections);
        pair.input(LEADER, Input::IncomingStream { connection, attempt: AttemptId(1001 + 2 * i) });
    }
    assert_eq!(pair.sides[LEADER].tunnel.incoming.len(), 4);
    pair.run(secs(11));
    assert!(pair.sides[LEADER].tunnel.incoming.is_empty());
    pair.assert_connected();
}

#[test]
fn a_connection_that_does_not_answer_gives_way_to_another() {
    let mut pair = Pair::new(Setup::default());
    pair.mute[FOLLOWER] = true;
    for connection in [1, 2] {
        let connection = ConnectionId(connection);
        pair.input(LEADER, Input::ConnectionUp { connection, dialled: Dialled::ByUs });
    }
    let mut used = Vec::new();
    for _ in 0..4 {
        used.push(pair.sides[LEADER].tunnel.own.as_ref().unwrap().connection.0);
        pair.meddle = Box::new(|_, _| Fate::Lose);
        pair.run(secs(10));
        let pause = pair.sides[LEADER].tunnel.deadline().unwrap();
        pair.run(pause.saturating_since(pair.now));
    }
    assert_eq!(used, [1, 2, 1, 2]);
}
