//! Dead peers (protocol.md 6.7).

use super::*;

#[test]
fn a_dead_peer_is_probed_and_then_a_handshake_starts_on_the_connection_that_stands() {
    let mut pair = Pair::connected(Setup::default());
    pair.frames_pass = false;
    let sent_at = pair.now;
    pair.send(LEADER).unwrap();
    pair.run(ms(2199));
    assert!(pair.sides[LEADER].started.is_empty());
    assert_eq!(pair.state(LEADER), PeerState::Connected);
    pair.run(ms(2));
    assert_eq!(pair.sides[LEADER].started, [sent_at + ms(2200)], "1 s of silence and three probes 400 ms apart");
    assert!(pair.saw(LEADER, &TunnelEvent::PathDead));
    pair.run(ms(100));
    assert_eq!(pair.handshakes(), [2, 2]);
    assert_eq!(pair.state(LEADER), PeerState::Connected, "the handshake proves the peer");
}

#[test]
fn a_dead_peer_without_a_connection_is_dialled() {
    let mut pair = Pair::connected(Setup::default());
    pair.disconnect();
    pair.forget_events();
    pair.frames_pass = false;
    pair.send(LEADER).unwrap();
    pair.run(ms(2501));
    assert_eq!(pair.sides[LEADER].needs, 1);
    assert_eq!(pair.state(LEADER), PeerState::Stalled);
    pair.frames_pass = true;
    pair.connect(LEADER);
    pair.run(ms(200));
    pair.assert_connected();
}

#[test]
fn a_peer_that_answers_no_handshake_either_is_dialled_anew() {
    let mut pair = Pair::connected(Setup::default());
    pair.frames_pass = false;
    pair.meddle = Box::new(|_, _| Fate::Lose);
    pair.send(LEADER).unwrap();
    pair.run(secs(14));
    assert_eq!(pair.sides[LEADER].needs, 1, "when the handshake on the old connection timed out");
}

#[test]
fn a_peer_that_answers_probes_is_alive_though_it_sends_nothing_itself() {
    let mut pair = Pair::connected(Setup::default());
    for _ in 0..300 {
        pair.send(LEADER).unwrap();
        pair.run(ms(100));
    }
    assert!(!pair.saw(LEADER, &TunnelEvent::PathDead) && pair.sides[LEADER].started.is_empty());
    assert_eq!(pair.state(LEADER), PeerState::Connected);
    assert_eq!(pair.sides[LEADER].tunnel.status(pair.now).round_trip, Some(LATENCY * 2));
}

#[test]
fn a_peer_is_stalled_after_three_seconds_without_an_answer() {
    let mut setup = Setup::default();
    setup.limits.silence = secs(60);
    let mut pair = Pair::connected(setup);
    pair.frames_pass = false;
    pair.send(LEADER).unwrap();
    pair.run(ms(2999));
    assert_eq!(pair.state(LEADER), PeerState::Connected);
    pair.run(ms(2));
    assert_eq!(pair.state(LEADER), PeerState::Stalled);
    pair.frames_pass = true;
    pair.send(FOLLOWER).unwrap();
    pair.run(ms(20));
    assert_eq!(pair.state(LEADER), PeerState::Connected);
}

#[test]
fn an_idle_tunnel_sends_one_empty_frame_each_20_s_each_way_and_nothing_else() {
    let mut pair = Pair::connected(Setup::default());
    pair.run(secs(100));
    assert!(pair.sides.iter().all(|side| side.events.is_empty() && side.started.is_empty() && side.drops.is_empty()));
    let heard = pair.sides[LEADER].tunnel.status(pair.now).last_received.unwrap();
    assert!(pair.now.saturating_since(heard) <= secs(21));
}

#[test]
fn a_connection_lost_and_found_leaves_the_live_epoch_alone() {
    let mut pair = Pair::connected(Setup::default());
    let session = pair.session(0);
    pair.disconnect();
    pair.run(secs(5));
    pair.assert_data_flows();
    pair.connect(FOLLOWER);
    pair.run(secs(5));
    assert_eq!(pair.session(0), session);
    pair.assert_connected();
}
