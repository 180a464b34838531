//! The core in a simulated network: see `cryprq_tests::sim`.

use std::collections::BTreeMap;

use cryprq_tests::sim::random::{self, DATA_FRAMES, ROTATIONS};
use cryprq_tests::sim::runner::{run_seeds, wanted_seed};
use cryprq_tests::sim::scenarios::{self, frames, handshakes, hosts, secrets};

/// Networks drawn at random.
const RUNS: u64 = 2000;
/// Seeds of each scenario.
const SEEDS: u64 = 12;

#[test]
fn in_any_network_nothing_is_lost_that_the_network_did_not_lose() {
    if let Some(seed) = wanted_seed() {
        println!("{:?}", random::run(seed, true));
        return;
    }
    let runs = run_seeds("in_any_network", 0, RUNS, |seed| random::run(seed, false));
    let mut excused: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut frames, mut delivered, mut arrivals, mut forgeries, mut rotations) = (0, 0, 0, 0, 0);
    for run in &runs {
        assert!(run.totals.data_frames >= DATA_FRAMES && run.rotations >= ROTATIONS, "{run:?}");
        frames += run.totals.data_frames;
        delivered += run.totals.delivered;
        arrivals += run.totals.arrivals;
        forgeries += run.totals.forgeries;
        rotations += run.rotations;
        for (&why, &count) in &run.totals.excused {
            *excused.entry(why).or_default() += count;
        }
    }
    let converged = runs.iter().map(|run| run.converged).max().unwrap_or_default();
    println!("{} runs: {frames} data frames, {delivered} delivered, {rotations} rotations", runs.len());
    println!("{arrivals} intact arrivals, {forgeries} forged; slowest convergence {converged:?}");
    println!("not opened, with a reason: {excused:#?}");
}

#[test]
fn a_seed_reproduces_everything() {
    for seed in [1, 2, 3, 4] {
        assert_eq!(random::run(seed, false), random::run(seed, false), "seed {seed}");
    }
}

fn seeds(name: &str, scenario: fn(u64)) {
    match wanted_seed() {
        Some(seed) => scenario(seed),
        None => _ = run_seeds(name, 0, SEEDS, scenario),
    }
}

#[test]
fn every_scenario_is_run() {
    let here = include_str!("simulation.rs");
    for scenario in scenarios::ALL {
        assert!(here.contains(&format!("\nfn {}() {{", scenario.name)), "{} has no test", scenario.name);
    }
}

#[test]
fn of_two_handshakes_that_cross_the_leaders_survives() {
    seeds(
        "of_two_handshakes_that_cross_the_leaders_survives",
        handshakes::of_two_handshakes_that_cross_the_leaders_survives,
    );
}

#[test]
fn a_lost_message_of_a_rotation_costs_no_packet() {
    seeds("a_lost_message_of_a_rotation_costs_no_packet", handshakes::a_lost_message_of_a_rotation_costs_no_packet);
}

#[test]
fn m4_alone_moves_the_initiator_to_the_new_key() {
    seeds("m4_alone_moves_the_initiator_to_the_new_key", handshakes::m4_alone_moves_the_initiator_to_the_new_key);
}

#[test]
fn a_frame_alone_moves_the_initiator_to_the_new_key() {
    seeds(
        "a_frame_alone_moves_the_initiator_to_the_new_key",
        handshakes::a_frame_alone_moves_the_initiator_to_the_new_key,
    );
}

#[test]
fn without_m4_and_frames_the_next_handshakes_tell() {
    seeds("without_m4_and_frames_the_next_handshakes_tell", handshakes::without_m4_and_frames_the_next_handshakes_tell);
}

#[test]
fn either_side_rotates_in_turn_under_load() {
    seeds("either_side_rotates_in_turn_under_load", handshakes::either_side_rotates_in_turn_under_load);
}

#[test]
fn the_leader_rotates_in_time_and_the_follower_stands_by() {
    seeds(
        "the_leader_rotates_in_time_and_the_follower_stands_by",
        handshakes::the_leader_rotates_in_time_and_the_follower_stands_by,
    );
}

#[test]
fn a_first_contact_survives_the_loss_of_each_message() {
    seeds(
        "a_first_contact_survives_the_loss_of_each_message",
        handshakes::a_first_contact_survives_the_loss_of_each_message,
    );
}

#[test]
fn a_peer_that_never_answers_is_not_stormed() {
    seeds("a_peer_that_never_answers_is_not_stormed", handshakes::a_peer_that_never_answers_is_not_stormed);
}

#[test]
fn hours_of_sleep_end_in_a_fresh_chained_epoch() {
    seeds("hours_of_sleep_end_in_a_fresh_chained_epoch", hosts::hours_of_sleep_end_in_a_fresh_chained_epoch);
}

#[test]
fn a_restart_of_either_side_is_told_and_mended() {
    seeds("a_restart_of_either_side_is_told_and_mended", hosts::a_restart_of_either_side_is_told_and_mended);
}

#[test]
fn a_dead_path_is_noticed_and_a_dead_connection_dialled_anew() {
    seeds(
        "a_dead_path_is_noticed_and_a_dead_connection_dialled_anew",
        hosts::a_dead_path_is_noticed_and_a_dead_connection_dialled_anew,
    );
}

#[test]
fn a_required_chain_survives_everything_but_a_restart() {
    seeds(
        "a_required_chain_survives_everything_but_a_restart",
        hosts::a_required_chain_survives_everything_but_a_restart,
    );
}

#[test]
fn different_psks_never_connect_and_equal_ones_do() {
    seeds("different_psks_never_connect_and_equal_ones_do", hosts::different_psks_never_connect_and_equal_ones_do);
}

#[test]
fn forged_frames_keep_no_dead_peer_alive() {
    seeds("forged_frames_keep_no_dead_peer_alive", hosts::forged_frames_keep_no_dead_peer_alive);
}

#[test]
fn three_hosts_keep_their_tunnels_apart() {
    seeds("three_hosts_keep_their_tunnels_apart", hosts::three_hosts_keep_their_tunnels_apart);
}

#[test]
fn the_window_is_as_wide_as_it_says() {
    seeds("the_window_is_as_wide_as_it_says", frames::the_window_is_as_wide_as_it_says);
}

#[test]
fn frames_of_the_previous_key_are_opened_for_a_minute() {
    seeds(
        "frames_of_the_previous_key_are_opened_for_a_minute",
        frames::frames_of_the_previous_key_are_opened_for_a_minute,
    );
}

#[test]
fn soft_limits_of_the_counters_rotate_and_hard_ones_end() {
    seeds(
        "soft_limits_of_the_counters_rotate_and_hard_ones_end",
        frames::soft_limits_of_the_counters_rotate_and_hard_ones_end,
    );
}

#[test]
fn forgeries_rotate_at_the_soft_limit_and_end_the_epoch_at_the_hard_one() {
    seeds(
        "forgeries_rotate_at_the_soft_limit_and_end_the_epoch_at_the_hard_one",
        frames::forgeries_rotate_at_the_soft_limit_and_end_the_epoch_at_the_hard_one,
    );
}

#[test]
fn no_key_outlives_its_hard_limit() {
    seeds("no_key_outlives_its_hard_limit", frames::no_key_outlives_its_hard_limit);
}

#[test]
fn spoofed_sources_never_pass() {
    seeds("spoofed_sources_never_pass", frames::spoofed_sources_never_pass);
}

#[test]
fn a_handshake_that_fails_leaves_no_chain_key() {
    seeds("a_handshake_that_fails_leaves_no_chain_key", secrets::a_handshake_that_fails_leaves_no_chain_key);
}

#[test]
fn erased_keys_leave_the_store() {
    seeds("erased_keys_leave_the_store", secrets::erased_keys_leave_the_store);
}

#[test]
fn one_chain_key_is_left_after_a_quiet_rotation() {
    seeds("one_chain_key_is_left_after_a_quiet_rotation", secrets::one_chain_key_is_left_after_a_quiet_rotation);
}

#[test]
fn a_key_past_its_hard_limit_seals_nothing_before_anybody_looks_at_the_clock() {
    seeds(
        "a_key_past_its_hard_limit_seals_nothing_before_anybody_looks_at_the_clock",
        frames::a_key_past_its_hard_limit_seals_nothing_before_anybody_looks_at_the_clock,
    );
}
