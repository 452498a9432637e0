//! Sessions, leases, segment commits, hand-over and orphans.

use protocol_model::commits::{Bounds, Protocol, Rules};

use crate::{assert_at_least, explore, is_long, refute};

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

fn without(rules: Rules, bounds: Bounds, invariant: &'static str) {
    refute(Protocol { rules, bounds }, invariant);
}

const ACKED: &str = "acked values are in the log, at their offset";
const OBJECT: &str = "values in the log have their object";
const FAILED: &str = "what was told to have failed is not in the log";
const TWICE: &str = "no value is in the log twice";
const REFUSED: &str = "nobody is told out of order that is not";

#[test]
fn commits_hold() {
    let all = |name, bounds| explore(name, Protocol { rules: Rules::ALL, bounds });
    let mut states = all("commits, core", CORE)
        + all("commits, idempotent", IDEMPOTENT)
        + all("commits, garbage", GARBAGE)
        + all("commits, shared", SHARED);
    if is_long() {
        states += all("commits, shared, a third session", Bounds { sessions: 3, ..SHARED });
    }
    assert_at_least(1_000_000, states);
}

/// Session, lease and offset back each other up: any one of them keeps a zombie out of a log that went on without it.
#[test]
fn a_commit_is_compared_with_something() {
    let none = Rules { session_checked: false, lease_compared: false, offset_compared: false, ..Rules::ALL };
    without(none, CORE, ACKED);
}

/// What only the session can: once it is over, nothing of it commits, so its tombstones may go.
#[test]
fn a_commit_checks_its_session() {
    without(Rules { session_checked: false, ..Rules::ALL }, GARBAGE, OBJECT);
}

#[test]
fn a_lost_reply_is_settled_by_a_tombstone() {
    without(Rules { tombstones: false, ..Rules::ALL }, CORE, FAILED);
}

#[test]
fn nothing_is_acked_before_its_commit() {
    without(Rules { ack_after_commit: false, ..Rules::ALL }, CORE, ACKED);
}

#[test]
fn an_outcome_that_stays_unknown_is_not_answered() {
    without(Rules { unknown_unanswered: false, ..Rules::ALL }, CORE, FAILED);
}

#[test]
fn a_rejected_range_is_not_acked_with_the_rest() {
    without(Rules { partial_rejection: false, ..Rules::ALL }, SHARED, ACKED);
}

#[test]
fn a_failed_line_takes_along_what_is_behind_it() {
    // The compare-and-set of the offset would refuse it too.
    without(Rules { generations: false, offset_compared: false, ..Rules::ALL }, CORE, ACKED);
}

#[test]
fn a_hand_over_is_drained() {
    without(Rules { drained_hand_over: false, ..Rules::ALL }, Bounds { hand_over: true, ..CORE }, FAILED);
}

#[test]
fn producers_are_rebuilt() {
    without(Rules { producers_rebuilt: false, ..Rules::ALL }, IDEMPOTENT, TWICE);
}

#[test]
fn refusals_are_confirmed() {
    without(Rules { refusals_confirmed: false, ..Rules::ALL }, IDEMPOTENT, REFUSED);
}

#[test]
fn garbage_is_claimed() {
    without(Rules { claimed_garbage: false, ..Rules::ALL }, GARBAGE, OBJECT);
}

#[test]
fn tombstones_outlive_their_uploader() {
    without(Rules { tombstones_kept: false, ..Rules::ALL }, GARBAGE, OBJECT);
}
