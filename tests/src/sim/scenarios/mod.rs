//! Runs with one thing on their mind. Each takes a seed, which draws the identities (and so who leads), the packets and
//! the moments, and panics at the first thing that is not as it must be.

pub mod frames;
pub mod handshakes;
pub mod hosts;
pub mod secrets;

use std::time::Duration;

use node::tunnel::{Input, Role, TunnelEvent};

use super::{Setup, World, ms, secs};

/// A scenario with its name.
pub struct Scenario {
    /// The name of its test.
    pub name: &'static str,
    /// What happens.
    pub run: fn(u64),
}

macro_rules! scenarios {
    ($($module:ident::$name:ident,)*) => {
        /// All of them.
        pub const ALL: &[Scenario] = &[$(Scenario { name: stringify!($name), run: $module::$name },)*];
    };
}

scenarios! {
    handshakes::of_two_handshakes_that_cross_the_leaders_survives,
    handshakes::a_lost_message_of_a_rotation_costs_no_packet,
    handshakes::m4_alone_moves_the_initiator_to_the_new_key,
    handshakes::a_frame_alone_moves_the_initiator_to_the_new_key,
    handshakes::without_m4_and_frames_the_next_handshakes_tell,
    handshakes::either_side_rotates_in_turn_under_load,
    handshakes::the_leader_rotates_in_time_and_the_follower_stands_by,
    handshakes::a_first_contact_survives_the_loss_of_each_message,
    handshakes::a_peer_that_never_answers_is_not_stormed,
    hosts::hours_of_sleep_end_in_a_fresh_chained_epoch,
    hosts::a_restart_of_either_side_is_told_and_mended,
    hosts::a_dead_path_is_noticed_and_a_dead_connection_dialled_anew,
    hosts::a_required_chain_survives_everything_but_a_restart,
    hosts::different_psks_never_connect_and_equal_ones_do,
    hosts::forged_frames_keep_no_dead_peer_alive,
    hosts::three_hosts_keep_their_tunnels_apart,
    frames::the_window_is_as_wide_as_it_says,
    frames::a_key_past_its_hard_limit_seals_nothing_before_anybody_looks_at_the_clock,
    frames::frames_of_the_previous_key_are_opened_for_a_minute,
    frames::soft_limits_of_the_counters_rotate_and_hard_ones_end,
    frames::forgeries_rotate_at_the_soft_limit_and_end_the_epoch_at_the_hard_one,
    frames::no_key_outlives_its_hard_limit,
    frames::spoofed_sources_never_pass,
    secrets::a_handshake_that_fails_leaves_no_chain_key,
    secrets::erased_keys_leave_the_store,
    secrets::one_chain_key_is_left_after_a_quiet_rotation,
}

/// Sends a packet each way every `pause` for `span`.
fn load(world: &mut World, pause: Duration, span: Duration) {
    let end = world.now() + span;
    while world.now() < end {
        for (from, to) in world.pairs() {
            world.send_packets(from, to, 1);
        }
        world.run(pause);
    }
}

/// A connected pair whose buckets never run dry.
fn generous(seed: u64) -> World {
    let mut setup = Setup::pair(seed);
    setup.limits.burst = 10_000;
    World::connected(setup)
}

/// Every packet that was sent arrived.
fn assert_all_arrived(world: &mut World) {
    world.run(secs(1));
    let totals = world.totals();
    assert_eq!(totals.delivered, totals.data_frames, "packets are missing");
}

/// The sides of the handshakes that a host used since `from`.
fn roles(world: &World, host: usize, peer: usize, since: usize) -> Vec<Role> {
    let events = world.host(host).peer(peer).events.iter().skip(since);
    events
        .filter_map(|(_, event)| if let TunnelEvent::Rotated { role, .. } = event { Some(*role) } else { None })
        .collect()
}

fn events(world: &World, host: usize, peer: usize) -> usize {
    world.host(host).peer(peer).events.len()
}

fn rotate(world: &mut World, host: usize) {
    world.input(host, 1 - host, Input::Rotate);
}

/// Somewhere within one way of the network.
fn some_moment(world: &mut World) -> Duration {
    let way = world.setup.stream_delay;
    world.dice.up_to(way.max(ms(1)))
}
