//! Tests of `retention`: which of the oldest ranges go.

use super::*;

fn rows(of: &[(i64, TimestampMs)]) -> Vec<RangeRow> {
    let row = |(offset, (byte_len, max_timestamp)): (i64, &(i64, TimestampMs))| RangeRow {
        base_offset: offset,
        next_offset: offset + 1,
        leader_epoch: 0,
        object_key: String::new(),
        byte_start: 0,
        byte_len: *byte_len,
        checksum: 0,
        max_timestamp: *max_timestamp,
        object_bytes: 0,
    };
    (0..).zip(of).map(row).collect()
}

fn gone(of: &[(i64, TimestampMs)], age_max_ms: Option<i64>, bytes_max: Option<u64>) -> usize {
    let total = of.iter().map(|(bytes, _)| unsigned(*bytes)).sum();
    expired(&rows(of), Retention { deletes: true, age_max_ms, bytes_max }, 1_000, Some(total))
}

#[test]
fn by_time_the_oldest_go_up_to_the_first_that_stays() {
    assert_eq!(gone(&[(1, 0), (1, 99), (1, 100), (1, 0)], Some(900), None), 2, "100 is 900 ms ago, not more");
    assert_eq!(gone(&[(1, 0), (1, 0)], Some(900), None), 2, "all of them");
    assert_eq!(gone(&[(1, 500), (1, 0)], Some(900), None), 0);
    assert_eq!(gone(&[(1, 5_000)], Some(0), None), 0, "of the future");
    assert_eq!(gone(&[(1, 0)], None, None), 0);
}

#[test]
fn a_range_without_a_time_goes_with_what_comes_after_it() {
    assert_eq!(gone(&[(1, -1), (1, 0), (1, -1)], Some(900), None), 2);
    assert_eq!(gone(&[(1, -1), (1, 500)], Some(900), None), 0);
}

#[test]
fn by_size_the_oldest_go_while_enough_is_left_without_them() {
    assert_eq!(gone(&[(10, 0), (10, 0), (10, 0)], None, Some(20)), 1);
    assert_eq!(gone(&[(10, 0), (10, 0), (10, 0)], None, Some(21)), 0);
    assert_eq!(gone(&[(10, 0), (10, 0)], None, Some(0)), 2);
    assert_eq!(gone(&[(10, 0), (10, 0), (10, 999)], Some(900), Some(1)), 2, "one by time, one by size");
}

#[test]
fn a_log_that_was_not_counted_loses_nothing_by_size() {
    let retention = Retention { deletes: true, age_max_ms: None, bytes_max: Some(0) };
    assert_eq!(expired(&rows(&[(10, 0)]), retention, 1_000, None), 0);
}
