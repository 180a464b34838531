//! The exhaustive search of protocol.md 8, over the product's own transition functions.
//!
//! Two peers hold a [`node::tunnel::Keyring`] each, with the number of a handshake in the place of its keys. The
//! search visits every state that they can reach, by whole attempts or by single messages, and demands in each that
//!
//! * what either peer sends is sent on an epoch that the other can open,
//! * both hold a common chain key,
//! * three receive keys are enough.
//!
//! Frames may be lost at will, and a key that may be erased may be erased at once. A search that cannot fail proves
//! nothing, so the same one is run with a rule left out, and must find a fault then.

mod attempts;
mod messages;
mod peer;
mod search;

use std::collections::BTreeSet;

use messages::Extra;
use peer::Rules;
use search::Outcome;

#[test]
fn whole_attempts_close_without_a_fault() {
    let Outcome { states, fault } = search::run(attempts::Start::new(Rules::All), usize::MAX);
    println!("whole attempts: {states} states");
    assert_eq!(fault, None);
    assert!(states > 100, "the search went nowhere: {states} states");
}

#[test]
fn whole_attempts_without_learning_find_a_fault() {
    let Outcome { states, fault } = search::run(attempts::Start::new(Rules::NoLearning), 1_000_000);
    println!("without learning: a fault after {states} states: {fault:?}");
    assert!(fault.is_some());
}

#[test]
fn whole_attempts_with_a_previous_key_erased_early_find_a_fault() {
    let Outcome { fault, .. } = search::run(attempts::Start::new(Rules::EraseEarly), 1_000_000);
    assert!(fault.is_some());
}

#[test]
fn single_messages_close_without_a_fault() {
    let Outcome { states, fault } = search::run(messages::Start::new(Rules::All, Extra::NONE), usize::MAX);
    println!("single messages: {states} states");
    assert_eq!(fault, None);
    assert!(states > 10_000, "the search went nowhere: {states} states");
}

#[test]
fn single_messages_without_learning_find_a_fault() {
    let Outcome { states, fault } = search::run(messages::Start::new(Rules::NoLearning, Extra::NONE), 1_000_000);
    println!("without learning: a fault after {states} states: {fault:?}");
    assert!(fault.is_some());
}

/// Frames that are late, keys at their hard limit, and a peer that loses its memory: too many states to visit all. In
/// each of those visited the peers also find back to a common epoch once nothing is lost any more.
#[test]
fn single_messages_with_all_that_happens_besides_find_no_fault() {
    let extra = Extra { delayed_frames: true, hard_limits: 2, restarts: 1, ..Extra::NONE };
    let Outcome { states, fault } = search::run(messages::Start::new(Rules::All, extra), 2_000_000);
    println!("with late frames, hard limits and restarts: {states} states");
    assert_eq!(fault, None);
    assert!(states >= 2_000_000, "the search ended after {states} states");
}

/// Names of states must not depend on how they were reached.
#[test]
fn two_ways_to_the_same_state_are_one_state() {
    let start = attempts::Start::new(Rules::All);
    let codes: BTreeSet<_> = start.two_rotations_each().iter().map(search::Model::code).collect();
    assert_eq!(codes.len(), 1);
}
