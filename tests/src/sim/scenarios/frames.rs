//! Data frames: windows, limits, previous keys, spoofed sources.

use std::time::Duration;

use node::drops::DropReason;
use node::epoch::{Bound, WINDOW};
use node::frame::FrameBatch;
use node::state::PeerState;
use node::tunnel::{CounterLimits, Input};

use super::{assert_all_arrived, generous, load, rotate};
use crate::sim::addressing::{MIN_PACKET, packet, spoofed_sources, v4, v6};
use crate::sim::ledger::FrameId;
use crate::sim::{Action, Fate, Setup, World, ms, secs};

/// Seals `count` packets that the network does not bring by itself.
fn hold_back(world: &mut World, count: usize) -> Vec<FrameId> {
    world.act(Action::Silence(0, 1, ms(1)));
    let packets: Vec<Vec<u8>> =
        (0..count).map(|i| packet(1_000_000 + i as u64, v4(0).into(), v4(1).into(), MIN_PACKET)).collect();
    let ids = packets.chunks(256).flat_map(|some| world.seal_packets(0, 1, some)).collect::<Vec<_>>();
    assert_eq!(ids.len(), count);
    ids
}

/// Frames that lag by all but one place of the window, by all, and by one more; and each of them again.
pub fn the_window_is_as_wide_as_it_says(seed: u64) {
    let window = usize::try_from(WINDOW).expect("a small number");
    let mut world = generous(seed);
    let frames = hold_back(&mut world, window + 3);
    world.run(ms(2));
    let newest = window + 2;
    let mut bring = |place: usize| {
        world.inject(1, Duration::ZERO, Some(frames[place]), None);
        world.run(ms(5));
        world.ledger().frame(frames[place]).was_opened()
    };
    assert!(bring(newest), "the newest");
    assert!(bring(newest - window + 1), "the last place inside");
    assert!(!bring(newest - window), "the first place outside");
    assert!(!bring(newest - window - 1) && !bring(0), "and all behind it");
    // The ledger refuses the second time.
    for place in [newest, newest - window + 1] {
        bring(place);
    }
    for place in (newest - window + 1..newest).step_by(61) {
        assert!(bring(place), "{place}");
        bring(place);
    }
}

/// A loop may wake before the tunnel does, with a packet and a key whose time is over.
pub fn a_key_past_its_hard_limit_seals_nothing_before_anybody_looks_at_the_clock(seed: u64) {
    let world = generous(seed);
    let (host, mut batch) = (&world.hosts[0], FrameBatch::new(4096));
    let sealer = host.peers[&1].sealer.clone().expect("the tunnel stands");
    let now = host.clock(world.now());
    assert_eq!(sealer.seal_empty(now, &mut batch), Ok(()));
    // The soft limit is 300 s for everybody here.
    assert_eq!(sealer.seal_empty(now + secs(450), &mut batch), Err(DropReason::OutKeyExpired));
}

/// A frame that a rotation overtakes is opened for as long as the previous key lives, and then the key goes.
pub fn frames_of_the_previous_key_are_opened_for_a_minute(seed: u64) {
    let mut world = generous(seed);
    let late = hold_back(&mut world, 3);
    rotate(&mut world, 0);
    world.run(secs(1));
    assert!(world.is_connected());
    for (after, frame) in [(secs(1), late[0]), (secs(57), late[1])] {
        world.run(after);
        world.inject(1, Duration::ZERO, Some(frame), None);
        world.run(ms(5));
        assert!(world.ledger().frame(frame).was_opened(), "{after:?}");
    }
    assert_eq!(world.status(1, 0).receive_keys, 2);
    world.run(secs(5));
    assert_eq!([world.status(0, 1).receive_keys, world.status(1, 0).receive_keys], [1; 2]);
    world.inject(1, Duration::ZERO, Some(late[2]), None);
    world.run(ms(5));
    assert!(!world.ledger().frame(late[2]).was_opened(), "its key is erased");
}

/// A pair with other limits of messages and failed opens.
fn limited(seed: u64, messages: Bound<u64>, failed_opens: Bound<u64>) -> World {
    let mut setup = Setup::pair(seed);
    setup.limits.burst = 10_000;
    setup.limits.counters = Some(CounterLimits { messages, bytes: FAR, failed_opens });
    World::connected(setup)
}

/// A limit that nothing reaches.
const FAR: Bound<u64> = Bound { soft: 1 << 30, hard: 1 << 31 };

/// Counters rotate when they say so, without a loss; where no handshake gets through, the hard limit ends the epoch, and
/// nobody goes back to the previous key, which is still there.
pub fn soft_limits_of_the_counters_rotate_and_hard_ones_end(seed: u64) {
    let mut world = limited(seed, Bound { soft: 100, hard: 1000 }, FAR);
    load(&mut world, ms(10), secs(10));
    let rotations = world.host(0).peer(1).rotations();
    assert!((9..=13).contains(&rotations), "a thousand packets in epochs of a hundred: {rotations}");
    assert_all_arrived(&mut world);

    rotate(&mut world, 0);
    world.run(secs(1));
    assert_eq!(world.status(0, 1).receive_keys, 3, "the previous keys are there");
    world.meddle(|_, _, bytes| if bytes[0] == 1 { Fate::Vanish } else { Fate::Deliver });
    for _ in 0..1200 {
        world.send_packets(0, 1, 1);
        world.run(ms(1));
    }
    world.run(secs(1));
    assert_eq!(world.state(0, 1), PeerState::Connecting, "the epoch ended");
    let sent = world.ledger().len();
    world.send_packets(0, 1, 1);
    assert_eq!(world.ledger().len(), sent, "no older key");
    world.heal();
    assert!(world.run_until(secs(60), World::is_connected));
    world.assert_connected();
}

/// Forgeries past the soft limit make new keys, though only the receiving loop has seen them; past the hard one, where no
/// handshake gets through, they end the epoch.
pub fn forgeries_rotate_at_the_soft_limit_and_end_the_epoch_at_the_hard_one(seed: u64) {
    let mut world = limited(seed, FAR, Bound { soft: 50, hard: 500 });
    let forge = |world: &mut World, count: usize| {
        world.send_packets(0, 1, 1);
        let id = world.ledger().nth(world.ledger().len() - 1);
        let mut forged = world.ledger().frame(id).wire.clone();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        world.act(Action::Silence(0, 1, ms(1)));
        for _ in 0..count {
            world.inject(1, ms(1), None, Some(forged.clone()));
        }
        // Counters that were opened already do not get as far as the tag.
        world.run(ms(5));
    };
    let before = world.session(1, 0);
    forge(&mut world, 49);
    load(&mut world, ms(50), secs(2));
    assert_eq!(world.session(1, 0), before, "one is missing");
    forge(&mut world, 1);
    load(&mut world, ms(50), secs(2));
    assert_ne!(world.session(1, 0), before);
    world.assert_connected();

    world.meddle(|_, _, bytes| if bytes[0] == 1 { Fate::Vanish } else { Fate::Deliver });
    let before = world.session(1, 0);
    for _ in 0..9 {
        forge(&mut world, 50);
    }
    load(&mut world, ms(50), secs(2));
    assert_eq!(world.session(1, 0), before, "it carries on as long as it may");
    world.wear_out(1, 0);
    forge(&mut world, 50);
    load(&mut world, ms(50), secs(2));
    assert_eq!(world.state(1, 0), PeerState::Connecting);
    world.heal();
    assert!(world.run_until(secs(60), World::is_connected));
}

/// Without a handshake an epoch ends at its hard limit: no seal, no open, no key. What is late by then is not opened.
pub fn no_key_outlives_its_hard_limit(seed: u64) {
    let mut setup = Setup::pair(seed);
    // A timer that is late must not lengthen a key's life.
    setup.lateness = secs(3);
    let mut world = World::connected(setup);
    let start = world.now();
    world.meddle(|_, _, _| Fate::Vanish);
    load(&mut world, ms(500), secs(435));
    assert_eq!([world.state(0, 1), world.state(1, 0)], [PeerState::Connected; 2]);
    // The ledger knows the limit to the nanosecond, and judges every frame around it.
    load(&mut world, ms(5), secs(8));
    let late = hold_back(&mut world, 1);
    assert!(world.now().saturating_since(start) < secs(450));
    load(&mut world, ms(5), secs(8));
    world.inject(1, Duration::ZERO, Some(late[0]), None);
    world.run(secs(4));
    assert_eq!([world.state(0, 1), world.state(1, 0)], [PeerState::Connecting; 2]);
    assert_eq!([world.status(0, 1).receive_keys, world.status(1, 0).receive_keys], [0; 2]);
    let sent = world.ledger().len();
    load(&mut world, ms(100), secs(1));
    assert_eq!(world.ledger().len(), sent, "there is no key");
    world.stop_meddling();
    assert!(world.run_until(secs(60), World::is_connected));
    world.assert_connected();
}

/// Every source that is not the sender's is dropped behind the tag, and the next good packet passes.
pub fn spoofed_sources_never_pass(seed: u64) {
    let mut world = generous(seed);
    for (from, to) in world.pairs() {
        for (number, source) in (0..).zip(spoofed_sources(from, to)) {
            let destination = if source.is_ipv4() { v4(to).into() } else { v6(to).into() };
            let before = world.totals().delivered;
            let spoofed = packet(2_000_000 + number + (from as u64) * 100, source, destination, 100);
            let sent = world.seal_packets(from, to, &[spoofed]);
            world.run(ms(20));
            assert!(world.ledger().frame(sent[0]).was_opened(), "it is authentic");
            assert_eq!(world.totals().delivered, before, "{source} passed");
        }
    }
    world.input(0, 1, Input::Rotate);
    world.run(secs(1));
    world.assert_connected();
}
