//! Hosts that sleep, restart, die and change their minds.

use node::handshake::RejectCode;
use node::state::PeerState;
use node::tunnel::{ChainRule, ChainStart, Input, TunnelEvent};

use super::handshakes::lose;
use super::{generous, load, rotate};
use crate::sim::{Action, Fate, Setup, World, ms, secs};

/// Eight hours of sleep of either host or both. What an application sends at the very moment of waking, before a timer
/// had its turn, is not sealed with a key that is eight hours old.
pub fn hours_of_sleep_end_in_a_fresh_chained_epoch(seed: u64) {
    for sleepers in [&[0][..], &[1], &[0, 1]] {
        let mut setup = Setup::pair(seed);
        setup.lateness = ms(200);
        let mut world = World::connected(setup);
        let before = world.session(0, 1);
        for &host in sleepers {
            world.sleep(host, secs(8 * 3600));
        }
        world.run(secs(8 * 3600));
        for (from, to) in world.pairs() {
            let sent = world.ledger().len();
            world.send_packets(from, to, 1);
            assert_eq!(world.ledger().len(), sent, "sealed with a key past its age");
        }
        let connected = world.run_until(secs(90), World::is_connected);
        assert!(connected && world.session(0, 1) != before);
        world.assert_connected();
        assert!(!world.saw_chain_loss(0, 1) && !world.saw_chain_loss(1, 0), "chain keys outlive sleep");
    }
}

/// A host that lost its memory begins anew, and the other says that a chain was lost.
pub fn a_restart_of_either_side_is_told_and_mended(seed: u64) {
    for restarted in 0..2 {
        let mut world = generous(seed);
        let other = 1 - restarted;
        world.restart(restarted);
        world.traffic(other, restarted, ms(100), secs(30));
        assert!(world.run_until(secs(60), World::is_connected));
        world.assert_connected();
        assert!(world.saw_chain_loss(other, restarted), "the side that holds the chain says so");
        assert!(!world.saw_chain_loss(restarted, other));
        let first = (TunnelEvent::ChainReset(ChainStart::First), 2);
        let events = world.host(restarted).peer(other).events.iter();
        assert_eq!(events.filter(|(_, event)| *event == first.0).count(), first.1, "before and after");
    }
}

/// Silence on a path whose connection works costs a handshake; where that does not work either, a new connection.
pub fn a_dead_path_is_noticed_and_a_dead_connection_dialled_anew(seed: u64) {
    let mut world = generous(seed);
    let started = world.host(0).peer(1).started.len();
    world.act(Action::Silence(0, 1, secs(3)));
    world.act(Action::Silence(1, 0, secs(3)));
    let sent = world.now();
    world.send_packets(0, 1, 1);
    assert!(world.run_until(secs(4), |world| world.host(0).peer(1).started.len() > started));
    let noticed = world.host(0).peer(1).started[started].saturating_since(sent);
    assert!(ms(1200) <= noticed && noticed < ms(2500), "at most 1 s of silence, and three probes: {noticed:?}");
    world.run(secs(10));
    world.assert_connected();

    let started = world.host(0).peer(1).started.len();
    world.act(Action::Partition(0, 1, secs(45)));
    world.traffic(0, 1, ms(200), secs(60));
    assert!(world.run_until(secs(10), |world| world.state(0, 1) == PeerState::Stalled));
    assert!(world.run_until(secs(150), World::is_connected));
    assert!(world.host(0).peer(1).started.len() > started);
    world.assert_connected();
    assert!(!world.saw_chain_loss(0, 1) && !world.saw_chain_loss(1, 0));
}

/// `require_chain`: losses, sleep and partitions leave the chain; a restart needs an administrator on both sides.
pub fn a_required_chain_survives_everything_but_a_restart(seed: u64) {
    let mut setup = Setup::pair(seed);
    setup.hosts.iter_mut().for_each(|host| host.require_chain = ChainRule::Required);
    let mut world = World::connected(setup);
    for kind in 2..=4 {
        lose(&mut world, kind, 1);
        rotate(&mut world, usize::from(kind % 2));
        load(&mut world, secs(1), secs(40));
        assert!(world.is_connected(), "M{kind} lost");
    }
    world.act(Action::Partition(0, 1, secs(600)));
    world.run(secs(600));
    assert!(world.run_until(secs(150), World::is_connected), "all epochs ended, the chain did not");
    let (restarted, other) = if seed.is_multiple_of(2) { (0, 1) } else { (1, 0) };
    world.restart(restarted);
    load(&mut world, secs(1), secs(60));
    assert_eq!(world.state(restarted, other), PeerState::Refused(RejectCode::Policy));
    world.input(restarted, other, Input::AcceptChainReset);
    load(&mut world, secs(1), secs(60));
    assert!(!world.is_connected(), "the other side holds out");
    world.input(other, restarted, Input::AcceptChainReset);
    world.input(restarted, other, Input::Reconnect);
    assert!(world.run_until(secs(20), World::is_connected));
    world.assert_connected();
    assert!(world.saw_chain_loss(other, restarted));
}

/// A PSK is always mixed in, and two that differ have nothing in common.
pub fn different_psks_never_connect_and_equal_ones_do(seed: u64) {
    let mut setup = Setup::pair(seed);
    setup.hosts[0].psk = Some([1; 32]);
    setup.hosts[1].psk = Some([2; 32]);
    let mut world = World::new(setup);
    load(&mut world, secs(1), secs(100));
    assert_eq!([world.state(0, 1), world.state(1, 0)], [PeerState::Connecting; 2]);
    assert_eq!(world.totals().delivered, 0);
    world.act(Action::SetPsk(1, 0, [1; 32]));
    assert!(world.run_until(secs(60), World::is_connected));
    world.assert_connected();
    // A change on both sides makes new keys, and no packet is lost for it.
    let (before, sent) = (world.session(0, 1), world.totals().data_frames - world.totals().delivered);
    world.act(Action::ChangePsk(0, 1, [3; 32], ms(50)));
    load(&mut world, ms(50), secs(20));
    assert!(world.is_connected() && world.session(0, 1) != before);
    world.run(secs(1));
    assert_eq!(world.totals().data_frames - world.totals().delivered, sent);
}

/// Somebody replays and forges frames of a host that died: it counts as dead all the same.
pub fn forged_frames_keep_no_dead_peer_alive(seed: u64) {
    let mut world = generous(seed);
    load(&mut world, ms(20), secs(1));
    let seen = world.ledger().len();
    world.act(Action::Partition(0, 1, secs(60)));
    world.meddle(|_, _, _| Fate::Vanish);
    for _ in 0..100 {
        world.send_packets(0, 1, 1);
        let at = world.dice.below(seen);
        let id = world.ledger().nth(at);
        if world.ledger().frame(id).was_opened() {
            world.inject(0, ms(1), Some(id), None);
            let mut bytes = world.ledger().frame(id).wire.clone();
            bytes[9] ^= 0x40;
            world.inject(0, ms(2), None, Some(bytes));
        }
        world.run(ms(50));
    }
    assert_eq!(world.state(0, 1), PeerState::Stalled);
}

/// Three hosts in a mesh: what one pair goes through is nothing to the others.
pub fn three_hosts_keep_their_tunnels_apart(seed: u64) {
    let mut setup = Setup::pair(seed);
    setup.hosts = vec![Default::default(); 3];
    setup.limits.burst = 10_000;
    setup.spoofing = 0.2;
    let mut world = World::connected(setup);
    let apart = [world.session(1, 2), world.session(0, 2)];
    world.setup.spoofing = 0.2;
    for _ in 0..5 {
        world.act(Action::RotateBoth(0, 1));
        load(&mut world, ms(50), secs(4));
        world.act(Action::Attack(2));
    }
    assert_eq!([world.session(1, 2), world.session(0, 2)], apart);
    world.restart(0);
    load(&mut world, ms(50), secs(5));
    assert_eq!(world.session(1, 2), apart[0]);
    assert!(world.run_until(secs(60), World::is_connected));
    world.assert_connected();
    assert!(!world.saw_chain_loss(1, 2) && !world.saw_chain_loss(2, 1));
    assert_all_arrived_but_spoofed(&world);
}

fn assert_all_arrived_but_spoofed(world: &World) {
    use crate::sim::ledger::{Content, Passes};
    let passed = world
        .ledger()
        .frames()
        .filter(|(_, frame)| frame.was_opened() && matches!(frame.content, Content::Packet(_, Passes::Yes)));
    assert_eq!(passed.count() as u64, world.totals().delivered);
    let unopened = world.ledger().frames().filter(|(_, frame)| (frame.from, frame.to) == (1, 2) && !frame.was_opened());
    assert!(unopened.count() <= 4, "hosts 1 and 2 lost what nobody touched");
    assert_eq!(world.host(1).peer(2).rotations(), 1);
}
