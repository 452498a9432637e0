//! Tests of `list_offsets`.

use super::*;

const HISTORY: [(LeaderEpoch, Offset); 3] = [(2, 0), (5, 10), (7, 10)];

#[test]
fn an_epoch_ends_where_the_next_begins() {
    assert_eq!(end_of_epoch(&HISTORY, 2, 40), (2, 10));
    assert_eq!(end_of_epoch(&HISTORY, 5, 40), (5, 10), "nothing was written under it");
}

#[test]
fn the_newest_epoch_ends_at_the_high_watermark() {
    assert_eq!(end_of_epoch(&HISTORY, 7, 40), (7, 40));
    assert_eq!(end_of_epoch(&HISTORY, 99, 40), (7, 40));
}

#[test]
fn an_epoch_between_two_is_answered_with_the_lower() {
    assert_eq!(end_of_epoch(&HISTORY, 3, 40), (2, 10));
    assert_eq!(end_of_epoch(&HISTORY, 6, 40), (5, 10));
}

#[test]
fn an_epoch_below_all_has_no_end() {
    assert_eq!(end_of_epoch(&HISTORY, 1, 40), (-1, -1));
    assert_eq!(end_of_epoch(&[], 1, 40), (-1, -1));
}
