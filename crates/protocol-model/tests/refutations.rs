//! With all rules no state breaks an invariant; without any one of them some state breaks the invariant that it is for.

#![expect(clippy::print_stdout, clippy::panic, reason = "figures for people; a helper outside of a test function")]

use std::collections::BTreeSet;

use protocol_model::{Bounds, Protocol, Rules};
use stateright::{Checker, HasDiscoveries, Model};

/// One partition, plain producers, two agents: the core.
const CORE: Bounds = Bounds {
    agents: 2,
    partitions: 1,
    sessions: 3,
    attempts: 3,
    values: 3,
    epochs: 3,
    idempotent: false,
    garbage: false,
    hand_over: false,
};
/// An idempotent producer that sends again and again.
const IDEMPOTENT: Bounds = Bounds { idempotent: true, values: 2, attempts: 3, hand_over: true, ..CORE };
/// Garbage is collected at every moment.
const GARBAGE: Bounds = Bounds { garbage: true, values: 2, attempts: 2, ..CORE };
/// Segments of two partitions, of which one may be rejected; partitions are handed over.
const SHARED: Bounds = Bounds { partitions: 2, sessions: 2, values: 2, attempts: 2, hand_over: true, ..CORE };

/// Explores everything; returns how many states there are.
fn explore(name: &str, bounds: Bounds) -> usize {
    let checker = Protocol { rules: Rules::ALL, bounds }.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    println!("{name}: {} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.unique_state_count()
}

/// Some state must break this invariant.
fn refute(rules: Rules, bounds: Bounds, invariant: &'static str) {
    let found = HasDiscoveries::AnyOf(BTreeSet::from([invariant]));
    let checker = Protocol { rules, bounds }.checker().finish_when(found).spawn_bfs().join();
    let path = checker.discovery(invariant);
    let steps = path.unwrap_or_else(|| panic!("without the rule nothing breaks: {invariant}")).into_actions();
    println!("{invariant}: broken after {} steps: {steps:?}", steps.len());
}

const ACKED: &str = "acked values are in the log, at their offset";
const OBJECT: &str = "values in the log have their object";
const FAILED: &str = "what was told to have failed is not in the log";
const TWICE: &str = "no value is in the log twice";
const REFUSED: &str = "nobody is told out of order that is not";

#[test]
fn the_protocol_holds() {
    let states = explore("core", CORE)
        + explore("idempotent", IDEMPOTENT)
        + explore("garbage", GARBAGE)
        + explore("shared", SHARED);
    println!("{states} states in all");
    assert!(states >= 1_000_000, "only {states} states: the bounds say little");
}

/// Session, lease and offset back each other up: any one of them keeps a zombie out of a log that went on without it.
#[test]
fn a_commit_is_compared_with_something() {
    let none = Rules { session_checked: false, lease_compared: false, offset_compared: false, ..Rules::ALL };
    refute(none, CORE, ACKED);
}

/// What only the session can: once it is over, nothing of it commits, so its tombstones may go.
#[test]
fn a_commit_checks_its_session() {
    refute(Rules { session_checked: false, ..Rules::ALL }, GARBAGE, OBJECT);
}

#[test]
fn a_lost_reply_is_settled_by_a_tombstone() {
    refute(Rules { tombstones: false, ..Rules::ALL }, CORE, FAILED);
}

#[test]
fn nothing_is_acked_before_its_commit() {
    refute(Rules { ack_after_commit: false, ..Rules::ALL }, CORE, ACKED);
}

#[test]
fn an_outcome_that_stays_unknown_is_not_answered() {
    refute(Rules { unknown_unanswered: false, ..Rules::ALL }, CORE, FAILED);
}

#[test]
fn a_rejected_range_is_not_acked_with_the_rest() {
    refute(Rules { partial_rejection: false, ..Rules::ALL }, SHARED, ACKED);
}

#[test]
fn a_failed_line_takes_along_what_is_behind_it() {
    // The compare-and-set of the offset would refuse it too.
    refute(Rules { generations: false, offset_compared: false, ..Rules::ALL }, CORE, ACKED);
}

#[test]
fn a_hand_over_is_drained() {
    refute(Rules { drained_hand_over: false, ..Rules::ALL }, Bounds { hand_over: true, ..CORE }, FAILED);
}

#[test]
fn producers_are_rebuilt() {
    refute(Rules { producers_rebuilt: false, ..Rules::ALL }, IDEMPOTENT, TWICE);
}

#[test]
fn refusals_are_confirmed() {
    refute(Rules { refusals_confirmed: false, ..Rules::ALL }, IDEMPOTENT, REFUSED);
}

#[test]
fn garbage_is_claimed() {
    refute(Rules { claimed_garbage: false, ..Rules::ALL }, GARBAGE, OBJECT);
}

#[test]
fn tombstones_outlive_their_uploader() {
    refute(Rules { tombstones_kept: false, ..Rules::ALL }, GARBAGE, OBJECT);
}
