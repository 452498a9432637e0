//! Rows are swapped, cut and purged; objects are deleted.

use protocol_model::swaps::{Bounds, Keys, Rules, Swaps};

use crate::{assert_at_least, explore, is_long, refute};

/// One rewrite of both partitions, log starts, and a topic that is deleted.
const CORE: Bounds =
    Bounds { flushes: 2, flushed: 2, rewrites: 1, epochs: 2, keys: None, garbage: true, moves: true, deletes: true };
/// Two rewrites, which meet.
const TWO: Bounds = Bounds { flushes: 3, flushed: 3, rewrites: 2, moves: false, deletes: false, ..CORE };
/// Compactions and a rewrite of one partition, of a key that is deleted.
const MARKER: Bounds = Bounds {
    flushes: 3,
    flushed: 3,
    rewrites: 3,
    epochs: 1,
    keys: Some(Keys { of: [0, 0, 1, 1], marker: Some(1) }),
    garbage: false,
    moves: false,
    deletes: false,
};
/// A key whose second value may not be committed yet.
const KEYS: Bounds = Bounds { keys: Some(Keys { of: [0, 1, 0, 1], marker: None }), flushed: 2, rewrites: 1, ..MARKER };

const WHOLE: &str = "rows follow one another, from the log start or below it to the end";
const OBJECT: &str = "rows have their object";
const READ: &str = "values can be read, but for those with a successor";
const DELETED: &str = "what was deleted does not come back";
const PRODUCERS: &str = "what producers wrote is known, from rows or from a snapshot";
const GARBAGE: &str = "a segment without rows is known to be garbage";

fn without(rules: Rules, bounds: Bounds, invariant: &'static str) {
    refute(Swaps { rules, bounds }, invariant);
}

#[test]
fn swaps_hold() {
    let all = |name, bounds| explore(name, Swaps { rules: Rules::ALL, bounds });
    let mut states = all("swaps, core", CORE) + all("swaps, a deleted key", MARKER) + all("swaps, keys", KEYS);
    if is_long() {
        states += all("swaps, three rows", Bounds { flushes: 3, flushed: 3, ..CORE }) + all("swaps, two rewrites", TWO);
    }
    assert_at_least(100_000, states);
}

/// The same of a leader that is none any more.
#[test]
fn a_swap_compares_the_lease() {
    without(Rules { lease_compared: false, ..Rules::ALL }, Bounds { epochs: 2, ..MARKER }, DELETED);
}

#[test]
fn rows_are_compared() {
    without(Rules { rows_compared: false, ..Rules::ALL }, CORE, WHOLE);
}

/// Rows are compared by their offsets: what was planned before a compaction would bring back what that dropped.
#[test]
fn a_leader_does_one_job_after_the_other() {
    without(Rules { one_job_at_a_time: false, ..Rules::ALL }, MARKER, DELETED);
}

/// What is sent by a session that is over would find its tombstone gone.
#[test]
fn a_swap_checks_its_session() {
    without(Rules { session_checked: false, ..Rules::ALL }, CORE, OBJECT);
}

/// The second part of a rewrite whose first part is gone again, with its row.
#[test]
fn the_slot_of_a_rewrite_is_kept() {
    without(Rules { slots_kept: false, ..Rules::ALL }, CORE, OBJECT);
}

/// Else it could happen when what was planned after it is done.
#[test]
fn a_lost_reply_is_settled_by_a_tombstone() {
    without(Rules { tombstones_set: false, ..Rules::ALL }, MARKER, DELETED);
}

#[test]
fn a_tombstone_keeps_rows_away() {
    without(Rules { tombstones_respected: false, ..Rules::ALL }, CORE, OBJECT);
}

#[test]
fn a_retired_segment_gets_no_rows() {
    without(Rules { retired_for_good: false, ..Rules::ALL }, CORE, OBJECT);
}

#[test]
fn a_segment_is_retired_with_its_last_row() {
    without(Rules { retired_with_the_last: false, ..Rules::ALL }, CORE, GARBAGE);
}

#[test]
fn a_segment_is_not_retired_before() {
    without(Rules { retired_when_empty: false, ..Rules::ALL }, CORE, OBJECT);
}

#[test]
fn rows_are_deleted_whole() {
    without(Rules { whole_rows: false, ..Rules::ALL }, TWO_WITH_MOVES, READ);
}

const TWO_WITH_MOVES: Bounds = Bounds { moves: true, ..TWO };

#[test]
fn producers_are_in_a_snapshot() {
    without(Rules { snapshot_covers: false, ..Rules::ALL }, CORE, PRODUCERS);
}

#[test]
fn only_what_is_committed_succeeds() {
    without(Rules { successor_committed: false, ..Rules::ALL }, KEYS, READ);
}
