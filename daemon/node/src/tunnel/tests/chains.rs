//! Chain keys, restarts and `require_chain` (protocol.md 6.7).

use super::*;
use crate::handshake::reject_message;

fn required() -> Setup {
    Setup { rule: ChainRule::Required, ..Setup::default() }
}

#[test]
fn after_a_restart_of_either_side_the_chain_starts_anew_and_both_sides_say_so() {
    for restarted in 0..2 {
        for dialler in 0..2 {
            let mut pair = Pair::connected(Setup::default());
            pair.restart(restarted);
            pair.connect(dialler);
            pair.run(ms(1300));
            pair.assert_connected();
            assert!(pair.saw(restarted, &TunnelEvent::ChainReset(ChainStart::First)));
            assert!(pair.saw(1 - restarted, &TunnelEvent::ChainReset(ChainStart::PeerLost)));
        }
    }
}

#[test]
fn a_chain_key_that_the_peer_lost_is_followed_by_the_other_and_then_by_none_at_once() {
    let mut pair = Pair::connected(Setup::default());
    // The pair of chain keys is full: M4 and the frames of the latest epoch are lost.
    pair.input(LEADER, Input::Rotate);
    pair.run(ms(200));
    pair.meddle = lose(4, 1);
    pair.frames_pass = false;
    pair.input(LEADER, Input::Rotate);
    pair.run(ms(100));
    assert_eq!(pair.sides[LEADER].tunnel.keyring.chain().iter().count(), 2);
    pair.restart(FOLLOWER);
    // Not before: a frame of the latest epoch would confirm it.
    pair.frames_pass = true;
    pair.forget_events();
    pair.connect(LEADER);
    pair.input(LEADER, Input::Rotate);
    pair.run(ms(300));
    assert_eq!(pair.sides[LEADER].started.len(), 3, "newest, older, none");
    assert!(pair.saw(LEADER, &TunnelEvent::ChainReset(ChainStart::PeerLost)));
    assert!(pair.saw(FOLLOWER, &TunnelEvent::ChainReset(ChainStart::First)));
    pair.assert_connected();
}

#[test]
fn a_rotation_resets_no_chain() {
    let mut pair = Pair::connected(Setup::default());
    for side in [0, 1, 1, 0] {
        pair.input(side, Input::Rotate);
        pair.run(ms(300));
    }
    assert_eq!(pair.handshakes(), [5, 5]);
    let reset = |e: &TunnelEvent| matches!(e, TunnelEvent::ChainReset(_));
    assert!(!pair.sides.iter().any(|side| side.events.iter().any(reset)));
    for side in 0..2 {
        assert_eq!(pair.sides[side].tunnel.keyring.chain().iter().count(), 1);
    }
}

#[test]
fn a_required_chain_stops_first_contact_until_a_reset_is_accepted_on_both_sides() {
    let mut pair = Pair::new(required());
    pair.connect(LEADER);
    pair.run(secs(5));
    assert_eq!(pair.state(LEADER), PeerState::Refused(RejectCode::Policy));
    assert_eq!(pair.failures(LEADER), [("chain_required_here", 1)]);
    pair.input(LEADER, Input::AcceptChainReset);
    pair.run(ms(300));
    assert_eq!(pair.failures(FOLLOWER).iter().find(|(name, _)| *name == "chain_required").map(|f| f.1), Some(1));
    assert_eq!(pair.state(LEADER), PeerState::Refused(RejectCode::Policy));
    pair.input(FOLLOWER, Input::AcceptChainReset);
    pair.run(secs(2));
    pair.assert_connected();
    for side in 0..2 {
        assert_eq!(pair.sides[side].tunnel.status(pair.now).chain_reset_armed, None, "used up");
        assert!(pair.saw(side, &TunnelEvent::ChainReset(ChainStart::First)));
    }
}

#[test]
fn an_accepted_chain_reset_stands_for_ten_minutes() {
    let mut pair = Pair::new(required());
    pair.input(0, Input::AcceptChainReset);
    pair.input(1, Input::AcceptChainReset);
    pair.run(secs(601));
    pair.connect(LEADER);
    pair.run(secs(2));
    assert_eq!(pair.state(LEADER), PeerState::Refused(RejectCode::Policy));
}

#[test]
fn a_required_chain_survives_rotations_and_lost_messages_but_no_restart() {
    let mut pair = Pair::connected(required());
    for kind in [2, 3, 4] {
        pair.meddle = lose(kind, 1);
        pair.input(LEADER, Input::Rotate);
        pair.run(secs(30));
        pair.assert_connected();
    }
    pair.restart(FOLLOWER);
    pair.connect(FOLLOWER);
    pair.run(secs(5));
    assert_eq!(pair.state(FOLLOWER), PeerState::Refused(RejectCode::Policy));
    pair.input(FOLLOWER, Input::AcceptChainReset);
    pair.run(secs(1));
    assert_eq!(pair.state(FOLLOWER), PeerState::Refused(RejectCode::Policy), "the other side holds out");
    pair.input(LEADER, Input::AcceptChainReset);
    pair.input(FOLLOWER, Input::Reconnect);
    pair.run(secs(1));
    pair.assert_connected();
}

#[test]
fn an_armed_reset_is_used_up_only_when_the_unchained_epoch_is_confirmed() {
    let mut pair = Pair::new(required());
    pair.input(0, Input::AcceptChainReset);
    pair.input(1, Input::AcceptChainReset);
    pair.meddle = lose(3, 1);
    pair.connect(LEADER);
    pair.run(secs(1));
    for side in 0..2 {
        assert!(pair.sides[side].tunnel.status(pair.now).chain_reset_armed.is_some());
    }
    // The chain key of the unconfirmed epoch is unknown to the peer, and counts as none.
    pair.run(secs(30));
    pair.assert_connected();
    assert!((0..2).all(|side| pair.sides[side].tunnel.status(pair.now).chain_reset_armed.is_none()));
}

#[test]
fn a_first_contact_whose_m3_is_lost_is_no_loss_of_a_chain_whoever_starts_the_next() {
    for next in [LEADER, FOLLOWER] {
        let mut pair = Pair::new(Setup::default());
        pair.meddle = lose(3, 1);
        pair.connect(LEADER);
        pair.run(ms(100));
        pair.mute[1 - next] = true;
        pair.run(secs(30));
        pair.assert_connected();
        for side in 0..2 {
            assert!(pair.saw(side, &TunnelEvent::ChainReset(ChainStart::First)));
            assert!(!pair.saw(side, &TunnelEvent::ChainReset(ChainStart::PeerLost)), "side {next} started");
        }
    }
}

#[test]
fn reject_3_of_an_unchained_handshake_is_a_failure_like_any_other() {
    let mut pair = Pair::new(Setup::default());
    pair.meddle = Box::new(|_, bytes| {
        if bytes[0] == 2 {
            *bytes = reject_message(RejectCode::ChainUnknown);
        }
        Fate::Deliver
    });
    pair.connect(LEADER);
    pair.run(secs(20));
    let starts = pair.sides[LEADER].started.len();
    assert!((4..=7).contains(&starts), "pauses of 1, 2, 4, 8 s: {starts}");
}

#[test]
fn erasing_everything_leaves_no_key_and_the_next_handshake_starts_a_chain() {
    let mut pair = Pair::connected(Setup::default());
    pair.input(FOLLOWER, Input::Rotate);
    pair.run(ms(200));
    let sealer = pair.sides[LEADER].sealer.clone().unwrap();
    pair.input(LEADER, Input::EraseAll);
    assert!(pair.sides[LEADER].openers.is_empty() && pair.sides[LEADER].sealer.is_none());
    assert!(sealer.state().is_dead());
    assert!(pair.sides[LEADER].tunnel.keyring.chain().is_empty());
    pair.run(secs(2));
    pair.assert_connected();
    assert!(pair.saw(FOLLOWER, &TunnelEvent::ChainReset(ChainStart::PeerLost)));
}

#[test]
fn a_dropped_tunnel_leaves_nothing_that_seals_or_opens() {
    let mut pair = Pair::connected(Setup::default());
    let sealer = pair.sides[LEADER].sealer.clone().unwrap();
    pair.sides[LEADER].tunnel = Setup::default().tunnel(LEADER, pair.now);
    assert!(sealer.state().is_dead());
    assert!(pair.sides[LEADER].openers.values().all(|opener| opener.state().is_dead()));
}
