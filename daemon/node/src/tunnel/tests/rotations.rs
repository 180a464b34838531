//! Rotation without loss (protocol.md 8).

use super::*;
use crate::crypto::random_below;
use crate::epoch::Bound;

/// Sends a packet each way every 100 ms for `span` and demands that every one arrives.
fn run_under_load(pair: &mut Pair, span: Duration) {
    let end = pair.now + span;
    let mut sent = [Vec::new(), Vec::new()];
    while pair.now < end {
        for (side, numbers) in sent.iter_mut().enumerate() {
            numbers.push(pair.send(side).expect("a live tunnel has a key"));
        }
        pair.run(ms(100));
    }
    pair.run(ms(100));
    for (side, sent) in sent.iter().enumerate() {
        let missing: Vec<_> = sent.iter().filter(|n| !pair.sides[1 - side].delivered.contains(n)).collect();
        assert!(missing.is_empty(), "lost from side {side}: {missing:?}, {:?}", pair.sides[1 - side].drops);
        assert!(pair.sides[side].drops.is_empty(), "{:?}", pair.sides[side].drops);
    }
}

#[test]
fn the_smaller_key_rotates_at_90_to_95_percent_and_nothing_is_lost() {
    let mut pair = Pair::connected(Setup::default());
    let start = pair.now;
    run_under_load(&mut pair, secs(300));
    let at = pair.first_start(LEADER).unwrap().saturating_since(start);
    assert!(secs(269) < at && at < secs(286), "{at:?}");
    assert!(pair.sides[FOLLOWER].started.is_empty());
    assert_eq!(pair.handshakes(), [2, 2]);
    pair.assert_connected();
}

#[test]
fn the_larger_key_rotates_15_s_after_the_soft_limit_when_the_other_does_not() {
    let mut pair = Pair::connected(Setup::default());
    let start = pair.now;
    pair.mute[LEADER] = true;
    pair.run(secs(320));
    let at = pair.first_start(FOLLOWER).unwrap().saturating_since(start);
    assert!(secs(314) < at && at < secs(316), "{at:?}");
    assert_eq!(pair.handshakes(), [2, 2]);
    pair.assert_connected();
}

#[test]
fn previous_keys_go_60_s_after_the_peer_is_known_to_send_on_newer_ones() {
    let mut pair = Pair::connected(Setup::default());
    pair.input(LEADER, Input::Rotate);
    pair.run(ms(200));
    assert_eq!([0, 1].map(|side| pair.sides[side].openers.len()), [2, 2]);
    pair.run(secs(59));
    assert_eq!([0, 1].map(|side| pair.sides[side].openers.len()), [2, 2]);
    pair.run(secs(2));
    assert_eq!([0, 1].map(|side| pair.sides[side].openers.len()), [1, 1]);
    assert_eq!([0, 1].map(|side| pair.sides[side].removed), [1, 1]);
}

#[test]
fn of_two_rotations_that_cross_exactly_one_survives() {
    let mut pair = Pair::connected(Setup::default());
    for _ in 0..20 {
        let before = pair.handshakes();
        pair.input(LEADER, Input::Rotate);
        pair.input(FOLLOWER, Input::Rotate);
        run_under_load(&mut pair, secs(6));
        assert_eq!(pair.handshakes(), before.map(|n| n + 1));
        assert_eq!(pair.session(0), pair.session(1));
    }
}

#[test]
fn back_to_back_rotations_from_either_side_lose_nothing() {
    let mut setup = Setup::default();
    setup.limits.burst = 1000;
    let mut pair = Pair::connected(setup);
    for turn in 0..200 {
        pair.input(turn % 2, Input::Rotate);
        run_under_load(&mut pair, ms(300));
        assert!((0..2).all(|side| pair.sides[side].openers.len() <= MAX_EPOCHS));
    }
    assert_eq!(pair.handshakes(), [201, 201]);
}

#[test]
fn lost_messages_of_a_rotation_cost_no_packet_and_the_chain_goes_on() {
    for kind in 1..=4 {
        for starter in 0..2 {
            for count in 1..=3 {
                let mut pair = Pair::connected(Setup::default());
                pair.meddle = lose(kind, count);
                pair.input(starter, Input::Rotate);
                run_under_load(&mut pair, secs(60));
                assert!(pair.handshakes()[0] >= 2, "M{kind} lost {count} times");
                assert_eq!(pair.session(0), pair.session(1));
                for side in 0..2 {
                    assert!(!pair.saw(side, &TunnelEvent::ChainReset(ChainStart::PeerLost)));
                }
            }
        }
    }
}

#[test]
fn a_lost_m4_is_made_up_by_the_first_frame_of_the_epoch() {
    let mut pair = Pair::connected(Setup::default());
    pair.meddle = lose(4, 1);
    pair.input(FOLLOWER, Input::Rotate);
    pair.run(ms(200));
    assert_eq!(pair.handshakes(), [2, 2]);
    pair.assert_connected();
}

#[test]
fn a_lost_m4_and_lost_frames_are_made_up_by_the_next_handshake() {
    let mut pair = Pair::connected(Setup::default());
    pair.meddle = lose(4, 1);
    pair.frames_pass = false;
    pair.input(FOLLOWER, Input::Rotate);
    pair.run(ms(200));
    assert_eq!(pair.handshakes(), [2, 1], "the initiator stays on the older epoch");
    pair.frames_pass = true;
    let sent = pair.send(FOLLOWER).unwrap();
    pair.run(ms(20));
    assert!(pair.sides[LEADER].delivered.contains(&sent), "which is received on");
    pair.frames_pass = false;
    pair.run(secs(2));
    pair.frames_pass = true;
    assert_eq!(pair.handshakes(), [3, 3], "the next M2 confirms the epoch, and the next M4 the next one");
    pair.assert_connected();
}

#[test]
fn a_soft_limit_of_the_counters_rotates_at_once_on_either_side() {
    for side in 0..2 {
        let mut pair = Pair::connected(Setup::default());
        let sealer = Arc::clone(pair.sides[side].sealer.as_ref().unwrap());
        sealer.state().note_soft_limit();
        let report = || Input::Report(Report::SoftLimit { epoch: sealer.epoch() });
        pair.input(side, report());
        run_under_load(&mut pair, secs(1));
        assert_eq!(pair.handshakes(), [2, 2]);
        pair.input(side, report());
        run_under_load(&mut pair, secs(1));
        assert_eq!(pair.handshakes(), [2, 2], "a limit of an epoch that was left changes nothing");
    }
}

#[test]
fn a_soft_limit_that_only_the_receiving_side_saw_rotates_without_a_report() {
    let mut setup = Setup::default();
    let never = Bound { soft: 1 << 60, hard: 1 << 61 };
    let failed_opens = Bound { soft: 3, hard: 1000 };
    setup.limits.counters = Some(CounterLimits { messages: never, bytes: never, failed_opens });
    for side in 0..2 {
        let mut pair = Pair::connected(setup.clone());
        let index = *pair.sides[side].openers.keys().next().unwrap();
        let mut forged = [&[0x10, 0, 0, 0][..], &index.to_le_bytes(), &1000u64.to_le_bytes()].concat();
        forged.resize(64, 0);
        (0..3).for_each(|_| pair.receive(side, forged.clone()));
        assert_eq!(pair.sides[side].drops, [DropReason::FrameForged; 3]);
        pair.forget_events();
        run_under_load(&mut pair, secs(1));
        assert_eq!(pair.handshakes(), [2, 2]);
    }
}

#[test]
fn without_a_rotation_the_tunnel_is_down_at_the_hard_limit_and_never_uses_an_older_key() {
    let mut pair = Pair::connected(Setup::default());
    let ended = pair.sides[LEADER].sealer.clone().unwrap();
    pair.meddle = Box::new(|_, _| Fate::Lose);
    pair.run(secs(449) - ms(600));
    assert!(pair.send(LEADER).is_some());
    pair.run(secs(2));
    for side in 0..2 {
        assert_eq!(pair.state(side), PeerState::Connecting);
        assert!(pair.send(side).is_none() && pair.sides[side].openers.is_empty());
        assert!(pair.saw(side, &TunnelEvent::KeysExpired));
    }
    assert!(ended.state().is_dead(), "what a loop still holds seals nothing");
    pair.meddle = Box::new(|_, _| Fate::Deliver);
    pair.run(secs(60));
    pair.assert_connected();
}

#[test]
fn an_epoch_that_hits_its_hard_limit_ends_though_a_previous_one_is_still_held() {
    let mut pair = Pair::connected(Setup::default());
    pair.input(LEADER, Input::Rotate);
    pair.run(ms(200));
    let sealer = pair.sides[LEADER].sealer.clone().unwrap();
    pair.meddle = Box::new(|_, _| Fate::Lose);
    sealer.state().kill();
    pair.input(LEADER, Input::Report(Report::HardLimit { epoch: sealer.epoch() }));
    assert!(!pair.sides[LEADER].openers.is_empty(), "the previous receive key is still there");
    assert!(pair.send(LEADER).is_none() && pair.state(LEADER) == PeerState::Connecting);
}

#[test]
fn hours_of_sleep_leave_no_key_and_end_in_a_fresh_chained_epoch() {
    let mut pair = Pair::connected(Setup::default());
    pair.asleep = [true; 2];
    pair.run(secs(8 * 3600));
    pair.asleep = [false; 2];
    let sealed = pair.send(LEADER);
    assert!(sealed.is_none(), "a key past its age seals nothing, even before anybody looked at the clock");
    pair.run(secs(5));
    pair.assert_connected();
    assert!(!pair.saw(LEADER, &TunnelEvent::ChainReset(ChainStart::PeerLost)));
}

#[test]
fn nothing_is_lost_whatever_handshake_messages_are() {
    let mut setup = Setup::default();
    setup.limits.burst = 1000;
    for seed in 0..60 {
        let mut pair = Pair::connected(setup.clone());
        let mut random = Script(seed);
        let mut losses = Script(!seed);
        pair.meddle =
            Box::new(move |_, _| if random_below(&mut losses, 10).unwrap() < 3 { Fate::Lose } else { Fate::Deliver });
        for _ in 0..40 {
            let side = usize::try_from(random_below(&mut random, 2).unwrap()).unwrap();
            pair.input(side, Input::Rotate);
            run_under_load(&mut pair, ms(50 + random_below(&mut random, 3000).unwrap()));
        }
        pair.meddle = Box::new(|_, _| Fate::Deliver);
        run_under_load(&mut pair, secs(60));
        pair.assert_connected();
        let reset = |e: &TunnelEvent| matches!(e, TunnelEvent::ChainReset(_));
        assert!(!pair.sides.iter().any(|side| side.events.iter().any(reset)), "seed {seed}");
    }
}
