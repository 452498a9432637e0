//! Readers, followers, and what leaders say of a log.

use protocol_model::reads::{Bounds, Reads, Rules};

use crate::{assert_at_least, explore, is_long, refute};

/// A consumer, two leaders, a rewrite.
const COLD: Bounds =
    Bounds { values: 4, epochs: 2, rewrites: 2, recent: 1, moves: false, follows: false, asks: false, reads: true };
/// A log that is cut while it is read.
const CUT: Bounds = Bounds { values: 2, epochs: 2, rewrites: 0, moves: true, ..COLD };
/// A consumer that reads from a follower as well.
const FOLLOWED: Bounds = Bounds { values: 3, epochs: 2, rewrites: 0, follows: true, ..COLD };
/// Nobody reads; leaders say where the log begins and ends.
const ENDS: Bounds = Bounds { asks: true, reads: false, ..CUT };

const SKIPPED: &str = "no consumer passes over a value without a word";
const TWICE: &str = "no consumer gets a value twice";
const RANGE: &str = "nobody is told out of range that is not";
const END: &str = "the end that is told does not go back";
const BEGINNING: &str = "the beginning that is told does not go back";
const KNOWN: &str = "the leader knows where the log begins";
const FOLLOWER: &str = "what a follower knows does not go back";

fn without(rules: Rules, bounds: Bounds, invariant: &'static str) {
    refute(Reads { rules, bounds }, invariant);
}

#[test]
fn reads_hold() {
    let all = |name, bounds| explore(name, Reads { rules: Rules::ALL, bounds });
    let mut states = all("reads, rewrite", COLD)
        + all("reads, log starts", CUT)
        + all("reads, follower", FOLLOWED)
        + all("reads, ends", ENDS);
    if is_long() {
        states += all("reads, follower and rewrite", Bounds { rewrites: 1, ..FOLLOWED })
            + all("reads, rewrite and log starts", Bounds { values: 3, rewrites: 1, moves: true, ..COLD })
            + all("reads, ends under three epochs", Bounds { values: 3, epochs: 3, ..ENDS });
    }
    assert_at_least(100_000, states);
}

#[test]
fn what_is_gone_is_planned_again() {
    without(Rules { gone_is_planned_again: false, ..Rules::ALL }, COLD, SKIPPED);
}

#[test]
fn a_plan_begins_at_the_offset() {
    without(Rules { plans_begin_at_the_offset: false, ..Rules::ALL }, CUT, SKIPPED);
}

#[test]
fn a_plan_goes_on_where_it_ends() {
    without(Rules { plans_go_on_where_they_end: false, ..Rules::ALL }, COLD, TWICE);
}

#[test]
fn told_rows_follow_one_another() {
    without(Rules { told_rows_follow: false, ..Rules::ALL }, FOLLOWED, SKIPPED);
}

#[test]
fn old_news_are_ignored() {
    without(Rules { older_news_ignored: false, ..Rules::ALL }, FOLLOWED, FOLLOWER);
}

#[test]
fn a_follower_never_says_out_of_range() {
    without(Rules { followers_never_judge: false, ..Rules::ALL }, FOLLOWED, RANGE);
}

#[test]
fn out_of_range_is_confirmed() {
    without(Rules { out_of_range_confirmed: false, ..Rules::ALL }, COLD, RANGE);
}

#[test]
fn ends_are_confirmed() {
    without(Rules { ends_confirmed: false, ..Rules::ALL }, ENDS, END);
}

#[test]
fn only_the_leader_moves_the_log_start() {
    without(Rules { moves_compared: false, ..Rules::ALL }, ENDS, KNOWN);
}

#[test]
fn memory_follows_the_database() {
    without(Rules { memory_follows: false, ..Rules::ALL }, ENDS, BEGINNING);
    without(Rules { memory_follows: false, ..Rules::ALL }, CUT, RANGE);
}
