//! Topics are made, deleted, and made again.

use protocol_model::topics::{Bounds, Rules, Topics};

use crate::{assert_at_least, explore, is_long, refute};

/// A topic, and another one of its name.
const CORE: Bounds = Bounds { topics: 2, requests: 3, values: 1, epochs: 3, offsets: false, others: false };
/// Topics of several names, which are made at the same time.
const OTHERS: Bounds = Bounds { topics: 3, values: 0, epochs: 0, others: true, ..CORE };
/// A group that reads whatever has the name.
const OFFSETS: Bounds = Bounds { epochs: 2, offsets: true, ..CORE };

const DELETED: &str = "a deleted topic is not written to";
const OTHER: &str = "no value is in another topic";
const UNIQUE: &str = "a name has one topic";
const YOUNGER: &str = "no topic is deleted that is younger than the request";
const EPOCHS: &str = "the epochs of a name rise";
const VERSION: &str = "who knows a version knows every change up to it";
const NAME: &str = "who knows every change finds the topic by its name";
const GARBAGE: &str = "an object without a row is known to be garbage";
const ROWS: &str = "rows belong to a topic";
const END: &str = "no group is beyond the end of its topic";

fn without(rules: Rules, bounds: Bounds, invariant: &'static str) {
    refute(Topics { rules, bounds }, invariant);
}

#[test]
fn topics_hold() {
    let all = |name, bounds| explore(name, Topics { rules: Rules::ALL, bounds });
    let mut states = all("topics, core", CORE) + all("topics, offsets", OFFSETS) + all("topics, names", OTHERS);
    if is_long() {
        states += all("topics, two values", Bounds { values: 2, epochs: 2, ..CORE });
    }
    assert_at_least(100_000, states);
}

#[test]
fn versions_are_in_order() {
    without(Rules { versions_in_order: false, ..Rules::ALL }, OTHERS, VERSION);
}

#[test]
fn a_name_has_one_topic() {
    without(Rules { names_unique: false, ..Rules::ALL }, CORE, UNIQUE);
}

/// A new topic's epochs are other ones than those of the topic before it: that alone keeps its leaders out.
#[test]
fn rows_belong_to_an_id() {
    without(Rules { rows_by_id: false, epochs_above_the_floor: false, ..Rules::ALL }, CORE, OTHER);
}

#[test]
fn epochs_go_on_from_topic_to_topic() {
    without(Rules { epochs_above_the_floor: false, ..Rules::ALL }, CORE, EPOCHS);
}

#[test]
fn the_mark_is_compared() {
    without(Rules { mark_compared: false, ..Rules::ALL }, CORE, DELETED);
}

/// A deletion takes the leases so that they show who leads; the mark alone keeps commits out.
#[test]
fn the_mark_stands_in_for_the_leases() {
    explore("topics, leases stay", Topics { rules: Rules { leases_taken: false, ..Rules::ALL }, bounds: CORE });
}

#[test]
fn a_topic_is_deleted_by_its_id() {
    without(Rules { deleted_by_id: false, ..Rules::ALL }, CORE, YOUNGER);
}

#[test]
fn a_name_is_left_to_its_new_topic() {
    without(Rules { name_left: false, ..Rules::ALL }, CORE, NAME);
}

#[test]
fn a_purge_retires() {
    without(Rules { purge_retires: false, ..Rules::ALL }, CORE, GARBAGE);
}

#[test]
fn a_purge_takes_the_topic_last() {
    without(Rules { topic_goes_last: false, ..Rules::ALL }, CORE, ROWS);
}

#[test]
fn offsets_belong_to_an_id() {
    without(Rules { offsets_by_id: false, ..Rules::ALL }, OFFSETS, END);
}
