//! What an administrator changes while a tunnel runs.

use super::*;

#[test]
fn changed_parameters_wait_for_the_next_handshake() {
    let mut pair = Pair::connected(Setup::default());
    let params =
        Params { mtu: 1300, rotation_seconds: 60, padding: PaddingMode::Full, capabilities: Capabilities::default() };
    pair.input(FOLLOWER, Input::ParamsChanged(params));
    let epoch = |pair: &Pair| pair.sides[LEADER].tunnel.status(pair.now).epoch.unwrap();
    assert_eq!(epoch(&pair).mtu, 1420);
    pair.input(LEADER, Input::Rotate);
    pair.run(ms(300));
    pair.assert_connected();
    let now = epoch(&pair);
    assert_eq!(now.mtu, 1300);
    assert!(now.next_rotation <= secs(60), "{:?}", now.next_rotation);
}

#[test]
fn what_a_peer_forwards_is_known_from_the_next_handshake_on() {
    let mut pair = Pair::connected(Setup::default());
    let forwarding = |pair: &Pair, side: usize| pair.sides[side].tunnel.status(pair.now).epoch.unwrap().forwarding;
    let ipv4 = Forwarding { ipv4: true, ipv6: false };
    pair.input(FOLLOWER, Input::TlvsChanged(vec![Tlv::Forwarding(ipv4)]));
    assert_eq!(forwarding(&pair, LEADER), None);
    pair.input(FOLLOWER, Input::Rotate);
    pair.run(ms(300));
    pair.assert_connected();
    assert_eq!((forwarding(&pair, LEADER), forwarding(&pair, FOLLOWER)), (Some(ipv4), None));
}

#[test]
fn a_chain_that_is_required_from_now_on_is_missed_at_the_next_restart() {
    let mut pair = Pair::connected(Setup::default());
    pair.input(LEADER, Input::ChainRuleChanged(ChainRule::Required));
    pair.run(secs(1));
    pair.assert_connected();
    pair.restart(FOLLOWER);
    pair.connect(LEADER);
    pair.run(secs(40));
    assert_eq!(pair.state(FOLLOWER), PeerState::Refused(RejectCode::Policy));
    assert!(pair.failures(LEADER).iter().any(|&(name, _)| name == "chain_required_here"));
    pair.input(LEADER, Input::ChainRuleChanged(ChainRule::Optional));
    pair.run(secs(1));
    pair.assert_connected();
}

#[test]
fn a_rule_that_stays_the_same_disturbs_nothing() {
    let mut pair = Pair::connected(Setup::default());
    pair.input(LEADER, Input::Rotate);
    pair.input(LEADER, Input::ChainRuleChanged(ChainRule::Optional));
    pair.run(ms(300));
    assert_eq!((pair.handshakes(), pair.failures(LEADER)), ([2, 2], vec![]));
}
