//! Coordinators of groups.

use protocol_model::groups::{Bounds, Groups, Rules};

use crate::{assert_at_least, explore, is_long, refute};

/// Commits from outside, with a take-over.
const OFFSETS: Bounds = Bounds { sessions: 2, epochs: 2, writes: 3, commits: 2, generations: 0, fetches: true };
/// Generations.
const MEMBERS: Bounds = Bounds { sessions: 2, epochs: 2, writes: 2, commits: 1, generations: 2, fetches: false };

const DURABLE: &str = "what was acked or told of offsets is durable";
const OLD: &str = "no fetch is older than what was acked or told before it";
const MEMBER: &str = "a generation has one member";
const GENERATION: &str = "no commit of an older generation counts";
const COUNT: &str = "who has the count knows the rows";

fn without(rules: Rules, bounds: Bounds, invariant: &'static str) {
    refute(Groups { rules, bounds }, invariant);
}

#[test]
fn groups_hold() {
    let all = |name, bounds| explore(name, Groups { rules: Rules::ALL, bounds });
    let mut states = all("groups, offsets", OFFSETS) + all("groups, members", MEMBERS);
    if is_long() {
        states += all("groups, a third session", Bounds { sessions: 3, epochs: 3, ..OFFSETS })
            + all("groups, a third write", Bounds { writes: 3, ..MEMBERS });
    }
    assert_at_least(100_000, states);
}

/// A session that is over writes nothing that matters: its rows are read after the lease went to another.
#[test]
fn the_lease_stands_in_for_the_session() {
    let rules = Rules { session_checked: false, ..Rules::ALL };
    explore("groups, session not checked", Groups { rules, bounds: OFFSETS });
}

#[test]
fn writes_compare_the_lease() {
    without(Rules { lease_compared: false, ..Rules::ALL }, OFFSETS, OLD);
}

#[test]
fn writes_compare_the_count() {
    without(Rules { sequence_compared: false, ..Rules::ALL }, OFFSETS, DURABLE);
}

#[test]
fn the_count_is_read_first() {
    without(Rules { sequence_read_first: false, ..Rules::ALL }, OFFSETS, COUNT);
}

#[test]
fn nothing_is_answered_before_the_rows_are_read() {
    without(Rules { loaded_before_serving: false, ..Rules::ALL }, OFFSETS, OLD);
}

#[test]
fn answers_wait_until_they_are_durable() {
    without(Rules { answers_wait: false, ..Rules::ALL }, OFFSETS, DURABLE);
    without(Rules { answers_wait: false, ..Rules::ALL }, MEMBERS, MEMBER);
}

#[test]
fn reads_wait_for_what_they_saw() {
    without(Rules { reads_wait: false, ..Rules::ALL }, OFFSETS, DURABLE);
}

#[test]
fn whoever_lost_a_write_reads_again() {
    without(Rules { loaded_when_lost: false, ..Rules::ALL }, OFFSETS, DURABLE);
}

#[test]
fn fetches_are_confirmed() {
    without(Rules { fetches_confirmed: false, ..Rules::ALL }, OFFSETS, OLD);
}

#[test]
fn commits_are_of_the_groups_generation() {
    without(Rules { generations_compared: false, ..Rules::ALL }, MEMBERS, GENERATION);
}
