//! The harness shows that it can see: each seeded bug is caught within its budget, and without it the same seeds are clean.
//!
//! The one of the connections to PostgreSQL is caught by metadata/tests/stores/seeded_bug.rs.

use std::collections::BTreeSet;

use crate::seeds::{Bug, run};

/// Seeds until a bug must be caught. Each is a minute.
const BUDGET: u64 = 20;
/// The same for one that shows only in a moment: between a fence and the fenced one's next renewal; where two segments of a lane are
/// committed at once.
const BUDGET_OF_A_MOMENT: u64 = 100;

fn is_caught(bug: Bug) {
    is_caught_within(BUDGET, bug);
}

fn is_caught_within(budget: u64, bug: Bug) {
    let mut simulated_ms = 0;
    for seed in 1..=budget {
        let ran = run(seed, Some(bug));
        simulated_ms += ran.counts.simulated_ms;
        if ran.anomalies.is_empty() {
            let clean = run(seed, None);
            assert!(clean.anomalies.is_empty(), "without the bug, seed {seed}: {:?}", clean.anomalies);
            continue;
        }
        let kinds: BTreeSet<_> = ran.anomalies.iter().map(|anomaly| anomaly.kind).collect();
        eprintln!("{bug:?}: seed {seed}, {} s: {kinds:?}", simulated_ms / 1_000);
        let clean = run(seed, None);
        assert!(clean.anomalies.is_empty(), "without the bug, seed {seed}: {:?}", clean.anomalies);
        return;
    }
    unreachable!("{bug:?} was not caught in {budget} seeds");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn no_epoch_check_is_caught() {
    is_caught(Bug::OfStore(metadata::SeededBug::NoEpochCheck));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn an_ambiguous_commit_resolved_by_a_look_up_is_caught() {
    is_caught(Bug::OfStore(metadata::SeededBug::LookUpInsteadOfTombstone));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn garbage_without_a_claim_is_caught() {
    is_caught(Bug::OfStore(metadata::SeededBug::GarbageWithoutClaim));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn an_ack_before_the_commit_is_caught() {
    is_caught(Bug::OfBroker(broker::SeededBug::AckBeforeCommit));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn no_dedupe_is_caught() {
    is_caught(Bug::OfBroker(broker::SeededBug::NoDedupe));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn out_of_range_from_a_cache_is_caught() {
    is_caught_within(BUDGET_OF_A_MOMENT, Bug::OfBroker(broker::SeededBug::OutOfRangeFromCache));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn a_high_watermark_before_the_commit_is_caught() {
    is_caught(Bug::OfBroker(broker::SeededBug::HighWatermarkBeforeCommit));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn a_reordered_lane_is_caught() {
    is_caught_within(BUDGET_OF_A_MOMENT, Bug::OfBroker(broker::SeededBug::LaneReorder));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn a_sequence_that_advances_on_failure_is_caught() {
    is_caught(Bug::OfBroker(broker::SeededBug::SequenceAdvancedOnFailure));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "slow without optimization")]
fn a_compaction_that_takes_out_the_last_record_of_a_key_is_caught() {
    is_caught(Bug::OfBroker(broker::SeededBug::LastOfKeyCompacted));
}
