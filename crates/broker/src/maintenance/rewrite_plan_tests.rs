//! Tests of `rewrite_plan`: which rows become fewer, and that nothing is written again and again.

use proptest::prelude::*;

use super::*;

const MIB: i64 = 1 << 20;

fn rows(bytes: &[i64]) -> Vec<RangeRow> {
    let row = |(offset, byte_len): (i64, &i64)| RangeRow {
        base_offset: offset,
        next_offset: offset + 1,
        leader_epoch: 0,
        object_key: format!("o{offset}"),
        byte_start: 0,
        byte_len: *byte_len,
        checksum: 0,
        max_timestamp: 0,
        object_bytes: 0,
    };
    (0..).zip(bytes).map(row).collect()
}

/// Offsets of each run, with its successor.
fn planned(bytes: &[i64]) -> Vec<(Vec<i64>, String)> {
    let offsets = |run: &Run| run.rows.iter().map(|row| row.base_offset).collect();
    runs(rows(bytes)).iter().map(|run| (offsets(run), run.successor.clone())).collect()
}

#[test]
fn the_last_row_stays_and_names_what_follows() {
    assert_eq!(planned(&[1, 1, 1]), [(vec![0, 1], "o2".to_owned())]);
    assert_eq!(planned(&[1, 1]), []);
    assert_eq!(planned(&[]), []);
}

#[test]
fn large_rows_stay_and_end_a_run() {
    let found = planned(&[1, 1, 2 * MIB, 4 * MIB, 1, 1, 1]);
    assert_eq!(found, [(vec![0, 1], "o2".to_owned()), (vec![4, 5], "o6".to_owned())]);
    assert_eq!(planned(&[2 * MIB - 1, 2 * MIB - 1, 1]).len(), 1);
    assert_eq!(planned(&[1, 3 * MIB, 1, 3 * MIB, 1]), [], "one row does not become fewer");
}

#[test]
fn a_row_larger_than_all_that_follow_it_stays_out() {
    assert_eq!(planned(&[9, 4, 4, 1]), [(vec![1, 2], "o3".to_owned())]);
    assert_eq!(planned(&[8, 4, 4, 1]), [(vec![0, 1, 2], "o3".to_owned())]);
    let found = planned(&[5, 5, 99, 4, 4, 1]);
    assert_eq!(found, [(vec![0, 1], "o2".to_owned()), (vec![3, 4], "o5".to_owned())]);
}

#[test]
fn the_next_look_begins_with_the_small_rows_at_the_end() {
    assert_eq!(tail_start(&rows(&[1, 3 * MIB, 1, 1, 1])), Some(2));
    assert_eq!(tail_start(&rows(&[1, 3 * MIB, 1])), Some(2));
    assert_eq!(tail_start(&rows(&[1, 1, 3 * MIB])), Some(0));
    assert_eq!(tail_start(&[]), None);
}

/// What a rewrite makes of a run.
fn merged(run: &Run) -> Vec<i64> {
    let mut out: Vec<i64> = Vec::new();
    for row in &run.rows {
        match out.last_mut() {
            Some(last) if unsigned(*last + row.byte_len) <= RANGE_BYTES_MAX => *last += row.byte_len,
            _ => out.push(row.byte_len),
        }
    }
    out
}

#[test]
fn ranges_near_each_other_are_read_together() {
    let at = |object_key: &str, byte_start: i64, byte_len: i64| RangeRow {
        object_key: object_key.to_owned(),
        byte_start,
        byte_len,
        ..rows(&[0]).remove(0)
    };
    let far = 100 + 64 * 1024;
    let rows = [at("b", 8, 10), at("a", 50, 50), at("a", 0, 50), at("a", far, 1), at("a", far + 1 + 65 * 1024, 7)];
    let found: Vec<_> = spans(rows.iter()).into_iter().map(|s| (s.object_key, s.bytes, s.rows.len())).collect();
    let far = u64::try_from(far).expect("positive");
    assert_eq!(found, [("a", 0..far + 1, 3), ("a", far + 1 + 65 * 1024..far + 8 + 65 * 1024, 1), ("b", 8..18, 1)]);
    let rows = [at("a", 0, 5 * MIB), at("a", 5 * MIB, 5 * MIB), at("a", 10 * MIB, 1)];
    assert_eq!(spans(rows.iter()).len(), 2, "bounded");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_often_it_is_looked_at_a_byte_is_written_few_times(
        sizes in proptest::collection::vec(1..200_000i64, 100..1_500),
        step in 20..300usize,
    ) {
        let (mut log, mut written): (Vec<i64>, i64) = (Vec::new(), 0);
        for new in sizes.chunks(step) {
            log.extend(new);
            let mut after: Vec<i64> = Vec::new();
            let mut next = 0;
            for run in runs(rows(&log)) {
                let base = usize::try_from(run.rows[0].base_offset).expect("small");
                after.extend(&log[next..base]);
                after.extend(merged(&run));
                written += run.rows.iter().map(|row| row.byte_len).sum::<i64>();
                next = base + run.rows.len();
            }
            after.extend(&log[next..]);
            log = after;
        }
        let total: i64 = sizes.iter().sum();
        prop_assert_eq!(log.iter().sum::<i64>(), total);
        // Doubling from the smallest look to a range that is small no more.
        let times = written / total;
        prop_assert!(times <= 12, "{times} times");
        let rows_max = usize::try_from(total / MIB).expect("small") + step + 24;
        prop_assert!(log.len() <= rows_max, "{} rows for {} MiB", log.len(), total / MIB);
    }
}
