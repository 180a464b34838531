//! A whole run drawn from a seed: a network, its traffic, and what goes wrong in it.

use std::time::Duration;

use node::handshake::PaddingMode;
use node::tunnel::{ChainRule, Input};

use super::chaos::Action;
use super::dice::Dice;
use super::host::{HostSetup, Setup, Via};
use super::ledger::Totals;
use super::link::LinkShape;
use super::world::World;
use super::{ms, secs};

/// Data frames that a run sends at least.
pub const DATA_FRAMES: u64 = 1000;
/// Rotations that a run goes through at least.
pub const ROTATIONS: usize = 3;
/// What convergence may take once everything is mended: an attempt that is still waiting for its time-out, the longest
/// pause after it, and a connection that is still believed in.
const CONVERGES_WITHIN: Duration = secs(120);
/// The same after a refusal, which pauses 5 min ± 20 %.
const CONVERGES_AFTER_REFUSAL: Duration = secs(480);

/// What one run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The ledger's numbers.
    pub totals: Totals,
    /// Epochs that followed another one, at the host that has the most of them.
    pub rotations: usize,
    /// The virtual time of the whole run.
    pub span: Duration,
    /// The virtual time from the mending to the connection.
    pub converged: Duration,
    /// A hash of everything that was sealed, and of when.
    pub fingerprint: u64,
}

/// How bad it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// Bad links and broken streams, but no host loses a key: no chain may be lost either.
    Network,
    /// Hosts restart, sleep, erase keys and change their minds too.
    Hosts,
}

/// Runs the network of a seed to its end.
///
/// # Panics
/// At the first thing that is not as it must be.
pub fn run(seed: u64, trace: bool) -> Summary {
    let mut dice = Dice::new(seed ^ 0x7261_6e64_6f6d);
    let mood = if dice.chance(0.5) { Mood::Network } else { Mood::Hosts };
    let setup = setup(seed, mood, &mut dice);
    let required = setup.hosts[0].require_chain == ChainRule::Required;
    let mut world = World::new(setup);
    world.trace = trace;
    world.busy_handshakes = 3;
    let start = world.now();
    for (host, peer) in world.pairs() {
        world.input(host, peer, Input::AcceptChainReset);
    }
    for (from, to) in world.pairs() {
        world.links.insert((from, to), LinkShape::random(&mut dice));
    }
    if required {
        // Nothing may go wrong before the one reset that was accepted is used up.
        let faults = std::mem::take(&mut world.setup.message_faults);
        world.run(secs(5));
        world.setup.message_faults = faults;
    }
    let rotation = world.setup.rotation(0, 1);
    let span = rotation * 5;
    let pairs = u32::try_from(world.pairs().len()).unwrap_or(1);
    // On average enough for the least number of frames: every tenth packet is the first of a batch, and some are
    // dropped because the tunnel is down.
    let pause = span * pairs / 900;
    for (from, to) in world.pairs() {
        world.traffic(from, to, pause, span);
    }
    for _ in 0..4 + dice.below(12) {
        let action = action(&world, mood, &mut dice, span);
        let after = dice.up_to(span);
        world.plan(after, action);
    }
    world.run(span);
    finish(world, mood, start)
}

fn setup(seed: u64, mood: Mood, dice: &mut Dice) -> Setup {
    let hosts = if dice.chance(0.15) { 3 } else { 2 };
    let rotation = *dice.pick(&[5, 10, 20, 60, 300]);
    let psk = dice.chance(0.3).then(|| dice.bytes());
    let require_chain =
        if mood == Mood::Network && dice.chance(0.2) { ChainRule::Required } else { ChainRule::Optional };
    let mut setup = Setup::pair(seed).with_rotation(rotation);
    setup.hosts = (0..hosts)
        .map(|_| HostSetup {
            rotation_seconds: rotation + u16::try_from(dice.below(3)).unwrap_or(0),
            mtu: *dice.pick(&[1420, 1380, 9000]),
            padding: *dice.pick(&[PaddingMode::Multiple16, PaddingMode::Multiple16, PaddingMode::Buckets]),
            aes: dice.chance(0.5),
            require_chain,
            psk,
        })
        .collect();
    // Many rotations in a short time need more handshakes than the bucket of the protocol grants.
    setup.limits.burst = *dice.pick(&[5, 5, 100]);
    if rotation < 60 {
        setup.limits.follower = secs(2);
    }
    if rotation < 60 && dice.chance(0.5) {
        // A previous key goes before the next rotation, as with the times of the protocol.
        setup.limits.previous_key = secs(rotation.into()) / 5 + secs(1);
    }
    setup.via = *dice.pick(&[Via::Udp, Via::Stream]);
    setup.stream_delay = dice.between(ms(1), ms(200));
    setup.stream_jitter = dice.up_to(setup.stream_delay);
    setup.lateness = *dice.pick(&[Duration::ZERO, ms(5), ms(200)]);
    setup.report_delay = *dice.pick(&[Duration::ZERO, ms(5), ms(100)]);
    setup.message_faults = *dice.pick(&[0.0, 0.05, 0.3]);
    setup.stream_failures = *dice.pick(&[0.0, 0.1]);
    setup.spoofing = *dice.pick(&[0.0, 0.1]);
    setup
}

fn action(world: &World, mood: Mood, dice: &mut Dice, span: Duration) -> Action {
    let pairs = world.pairs();
    let &(host, peer) = dice.pick(&pairs);
    let some_time = |dice: &mut Dice| {
        let most = *dice.pick(&[secs(2), secs(20), span / 2]);
        dice.up_to(most)
    };
    let kinds = match mood {
        Mood::Network => 10,
        Mood::Hosts => 16,
    };
    match dice.below(kinds) {
        0 => Action::Rotate(host, peer),
        1 | 2 => Action::RotateBoth(host, peer),
        3 => Action::Reconnect(host, peer),
        4 => Action::Disconnect(host, peer, *dice.pick(&[Duration::ZERO, secs(1), secs(15)])),
        5 => Action::Connect(host, peer),
        6 => Action::Partition(host, peer, some_time(dice)),
        7 => Action::Silence(host, peer, some_time(dice)),
        8 => Action::Reshape(host, peer, LinkShape::random(dice)),
        9 => Action::Attack(host),
        10 | 11 => Action::Restart(host),
        12 => Action::Sleep(host, if dice.chance(0.3) { secs(8 * 3600) } else { some_time(dice) }),
        13 => Action::Erase(host, peer),
        14 => Action::Unwant(host, peer, some_time(dice)),
        _ => Action::ChangePsk(host, peer, dice.bytes(), dice.up_to(secs(3))),
    }
}

/// Mends everything, and demands that all is well then.
fn finish(mut world: World, mood: Mood, start: node::time::Time) -> Summary {
    world.heal();
    let healed = world.now();
    let connected = world.run_until(CONVERGES_WITHIN, World::is_connected)
        || (was_refused(&world) && world.run_until(CONVERGES_AFTER_REFUSAL, World::is_connected));
    let states: Vec<_> = world.pairs().into_iter().map(|(a, b)| (a, b, world.state(a, b))).collect();
    assert!(connected, "not connected again: {states:?}");
    let converged = world.now().saturating_since(healed);
    // What a run lacks because tunnels were down for long is made up.
    while world.totals().data_frames < DATA_FRAMES || rotations(&world) < ROTATIONS {
        let (from, to) = *world.dice.pick(&[(0, 1), (1, 0)]);
        world.act(Action::Rotate(from, to));
        for _ in 0..60 {
            world.send_packets(from, to, 1);
            world.send_packets(to, from, 1);
            world.run(ms(50));
        }
        world.run(secs(5));
    }
    assert!(world.run_until(CONVERGES_WITHIN, World::is_connected), "not connected in a perfect network");
    world.assert_connected();
    if mood == Mood::Network {
        for (host, peer) in world.pairs() {
            assert!(
                !world.saw_chain_loss(host, peer),
                "host {host} says that host {peer} lost a chain that nobody lost"
            );
        }
    }
    Summary {
        totals: world.totals().clone(),
        rotations: rotations(&world),
        span: world.now().saturating_since(start),
        converged,
        fingerprint: fingerprint(&world),
    }
}

fn was_refused(world: &World) -> bool {
    let refused = |(a, b): (usize, usize)| matches!(world.state(a, b), node::state::PeerState::Refused(_));
    world.pairs().into_iter().any(refused)
}

fn rotations(world: &World) -> usize {
    world.pairs().into_iter().map(|(a, b)| world.host(a).peer(b).rotations()).max().unwrap_or(0).saturating_sub(1)
}

/// FNV-1a over every frame and its time.
fn fingerprint(world: &World) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for (_, frame) in world.ledger().frames() {
        let at = frame.at.as_nanos().to_le_bytes();
        for &byte in frame.wire.iter().chain(&at) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
