//! Failed handshakes leave the live epoch alone (protocol.md 6.7).

use super::*;
use crate::handshake::reject_message;

/// Answers every M1 with this REJECT.
fn rejecting(code: RejectCode) -> Meddler {
    Box::new(move |_, bytes| {
        if bytes[0] == 2 {
            *bytes = reject_message(code);
        }
        Fate::Deliver
    })
}

/// Pauses between the handshakes that a side started, in seconds.
fn pauses(pair: &Pair, side: usize) -> Vec<f64> {
    pair.sides[side].started.windows(2).map(|w| w[1].saturating_since(w[0]).as_secs_f64()).collect()
}

#[test]
fn refusals_that_need_a_person_show_and_pause_five_minutes() {
    for code in [RejectCode::Version, RejectCode::Suite, RejectCode::Policy] {
        let mut pair = Pair::new(Setup::default());
        pair.mute[FOLLOWER] = true;
        pair.meddle = rejecting(code);
        pair.connect(LEADER);
        pair.run(secs(900));
        assert_eq!(pair.state(LEADER), PeerState::Refused(code));
        assert!(pair.saw(LEADER, &TunnelEvent::Rejected(code)));
        let pauses = pauses(&pair, LEADER);
        assert!(pauses.len() >= 2 && pauses.iter().all(|p| (239.0..361.0).contains(p)), "{pauses:?}");
    }
}

#[test]
fn a_refused_rotation_pauses_30_s_while_the_epoch_carries_on() {
    for code in [RejectCode::Version, RejectCode::Suite, RejectCode::Policy] {
        let mut pair = Pair::connected(Setup::default());
        let session = pair.session(0);
        pair.meddle = rejecting(code);
        pair.input(LEADER, Input::Rotate);
        pair.run(secs(100));
        assert_eq!(pair.session(0), session);
        pair.assert_connected();
        let pauses = pauses(&pair, LEADER);
        assert!(pauses.len() >= 2 && pauses.iter().all(|p| (23.0..37.0).contains(p)), "{pauses:?}");
        pair.meddle = Box::new(|_, _| Fate::Deliver);
        pair.run(secs(40));
        assert_ne!(pair.session(0), session, "and is made up when the reason is gone");
        pair.assert_connected();
    }
}

#[test]
fn busy_counts_as_a_time_out() {
    let mut pair = Pair::connected(Setup::default());
    pair.meddle = rejecting(RejectCode::Busy);
    pair.input(LEADER, Input::Rotate);
    pair.run(secs(60));
    let pauses = pauses(&pair, LEADER);
    let expected = [1.0, 2.0, 4.0, 8.0, 16.0];
    assert!(pauses.len() >= 4, "{pauses:?}");
    assert!(pauses.iter().zip(expected).all(|(p, e)| (e * 0.8..e * 1.2 + 0.2).contains(p)), "{pauses:?}");
    assert_eq!(pair.state(LEADER), PeerState::Connected);
}

#[test]
fn more_handshakes_than_the_bucket_holds_are_answered_busy() {
    let mut pair = Pair::connected(Setup::default());
    for _ in 0..4 {
        pair.input(LEADER, Input::Rotate);
        pair.run(ms(100));
    }
    assert_eq!(pair.handshakes(), [5, 5]);
    pair.input(LEADER, Input::Rotate);
    pair.run(ms(100));
    assert_eq!(pair.failures(LEADER), [("busy", 1)]);
    pair.run(secs(10));
    assert_eq!(pair.handshakes(), [6, 6]);
    pair.assert_connected();
}

#[test]
fn one_side_with_a_psk_and_one_without_refuse_each_other_and_make_up_when_it_is_mended() {
    let mut pair = Pair::new(Setup::default());
    pair.input(FOLLOWER, Input::PskChanged(Some(psk(7))));
    pair.connect(LEADER);
    pair.run(secs(3));
    assert_eq!(pair.state(LEADER), PeerState::Refused(RejectCode::Policy));
    pair.input(LEADER, Input::PskChanged(Some(psk(7))));
    pair.run(secs(2));
    pair.assert_connected();
}

#[test]
fn different_psks_never_connect() {
    let mut pair = Pair::new(Setup::default());
    pair.input(LEADER, Input::PskChanged(Some(psk(7))));
    pair.input(FOLLOWER, Input::PskChanged(Some(psk(8))));
    pair.connect(LEADER);
    pair.run(secs(60));
    assert_eq!([pair.state(0), pair.state(1)], [PeerState::Connecting; 2]);
    assert!(pair.failures(LEADER).iter().any(|&(name, count)| name == "decrypt" && count > 2));
}

#[test]
fn a_changed_psk_rotates_at_once() {
    let mut pair = Pair::connected(Setup { psk: Some(1), ..Setup::default() });
    let before = pair.session(0);
    pair.input(LEADER, Input::PskChanged(Some(psk(2))));
    pair.input(FOLLOWER, Input::PskChanged(Some(psk(2))));
    pair.run(secs(6));
    assert_ne!(pair.session(0), before);
    pair.assert_connected();
}

#[test]
fn failures_are_counted_each_and_told_at_most_once_in_ten_seconds() {
    let mut pair = Pair::connected(Setup::default());
    pair.meddle = rejecting(RejectCode::Busy);
    for _ in 0..5 {
        pair.input(LEADER, Input::Rotate);
        pair.run(secs(1));
    }
    let told = |e: &&TunnelEvent| matches!(e, TunnelEvent::HandshakeFailed { .. });
    assert_eq!(pair.sides[LEADER].events.iter().filter(told).count(), 1);
    assert!(pair.failures(LEADER).iter().any(|&(name, count)| name == "busy" && count >= 5));
}

/// Flips one bit of one byte of each message in turn; what fails must leave the live epoch as it was.
#[test]
fn every_byte_of_m1_to_m4_flipped_ends_the_handshake_and_leaves_the_live_epoch_alone() {
    // With a chain required, REJECT 3 for a chain id that was changed on its way starts no other handshake.
    let mut setup = Setup { rule: ChainRule::Required, ..Setup::default() };
    setup.limits.burst = 100_000;
    for (kind, length) in [(1, 1272), (2, 1240), (3, 88), (4, 24)] {
        let mut pair = Pair::connected(setup.clone());
        for at in 0..length {
            let before = (pair.session(0), pair.session(1));
            assert_eq!(before.0, before.1);
            let mut flipped = false;
            pair.meddle = Box::new(move |_, bytes| {
                if bytes[0] == kind && !flipped {
                    assert_eq!(bytes.len(), length);
                    bytes[at] ^= 1 << (at % 8);
                    flipped = true;
                }
                Fate::Deliver
            });
            pair.frames_pass = false;
            pair.input(LEADER, Input::Rotate);
            pair.run(ms(79));
            let own_failures: u64 = pair.failures(LEADER).iter().map(|f| f.1).sum();
            assert_eq!(own_failures, at as u64 + 1, "byte {at} of M{kind}");
            pair.frames_pass = true;
            let now = (pair.session(0), pair.session(1));
            assert_eq!(now.0, before.0, "byte {at} of M{kind}: the initiator stays where it was");
            if kind < 4 {
                assert_eq!(now.1, before.1, "byte {at} of M{kind}: the responder stays where it was");
            }
            pair.assert_data_flows();
            // Whatever was left half done is made up.
            pair.meddle = Box::new(|_, _| Fate::Deliver);
            pair.input(LEADER, Input::Rotate);
            pair.run(ms(100));
            pair.assert_connected();
        }
    }
}
