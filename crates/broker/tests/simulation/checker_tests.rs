//! Histories that the checker must accept, and one for each anomaly that it must find.

use std::collections::BTreeSet;

use crate::checker::check;
use crate::history::{FinalLog, History, Key, Op, Outcome, Process, Value, value};

const K: Key = (0, 1);
const G: &str = "g";

fn v(sequence: u32) -> Value {
    value(K, 1, sequence)
}

fn send(history: &mut History, sequence: u32, outcome: Outcome, offset: i64) {
    let began = history.now();
    history.record(1, began, Op::Send { key: K, value: v(sequence), outcome, offset });
}

fn acked(sequences: std::ops::Range<u32>) -> History {
    let mut history = History::new();
    for sequence in sequences {
        send(&mut history, sequence, Outcome::Ok, i64::from(sequence));
    }
    history
}

fn now(history: &mut History, process: Process, op: Op) {
    let began = history.now();
    history.record(process, began, op);
}

fn poll(history: &mut History, first: i64, sequences: &[u32]) {
    let records = (first..).zip(sequences).map(|(offset, sequence)| (offset, Some(v(*sequence)))).collect();
    now(history, 9, Op::Poll { key: K, records });
}

fn ends_as(history: &mut History, start: i64, values: &[Value]) {
    let records: Vec<_> = (start..).zip(values.iter().copied().map(Some)).collect();
    let end = start + i64::try_from(values.len()).expect("few");
    history.logs.insert(K, FinalLog { start, end, records });
}

fn kinds(history: &History) -> Vec<&'static str> {
    let kinds: BTreeSet<_> = check(history).into_iter().map(|anomaly| anomaly.kind).collect();
    kinds.into_iter().collect()
}

fn found(history: &History, expected: &[&str]) {
    assert_eq!(kinds(history), expected, "{:?}", check(history));
}

fn test(body: impl FnOnce()) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
    runtime.block_on(async { body() });
}

#[test]
fn what_was_acked_is_there_once_and_in_order() {
    test(|| {
        let mut history = acked(0..3);
        poll(&mut history, 0, &[0, 1, 2]);
        now(&mut history, 9, Op::End { key: K, offset: 3 });
        ends_as(&mut history, 0, &[v(0), v(1), v(2)]);
        found(&history, &[]);
    });
}

#[test]
fn an_unknown_outcome_may_be_there_or_not() {
    test(|| {
        let mut history = History::new();
        send(&mut history, 0, Outcome::Info, -1);
        send(&mut history, 1, Outcome::Info, -1);
        send(&mut history, 2, Outcome::Ok, 1);
        poll(&mut history, 0, &[1, 2]);
        ends_as(&mut history, 0, &[v(1), v(2)]);
        found(&history, &[]);
    });
}

#[test]
fn a_log_may_lose_its_beginning() {
    test(|| {
        let mut history = acked(0..3);
        now(&mut history, 9, Op::OutOfRange { key: K, offset: 0 });
        ends_as(&mut history, 2, &[v(2)]);
        found(&history, &[]);
    });
}

#[test]
fn a_lost_write_is_found_in_the_middle_and_at_the_end() {
    test(|| {
        let mut history = acked(0..3);
        ends_as(&mut history, 0, &[v(0), v(1)]);
        found(&history, &["lost-write"]);
        let mut history = History::new();
        send(&mut history, 0, Outcome::Info, -1);
        poll(&mut history, 0, &[0]);
        ends_as(&mut history, 0, &[]);
        found(&history, &["lost-write"]);
    });
}

#[test]
fn two_values_at_one_offset_are_found() {
    test(|| {
        let mut history = acked(0..1);
        send(&mut history, 1, Outcome::Ok, 0);
        found(&history, &["inconsistent-offsets", "zero-offset"]);
    });
}

#[test]
fn one_value_at_two_offsets_is_found_unless_it_was_sent_again_without_idempotence() {
    test(|| {
        let mut history = History::new();
        send(&mut history, 0, Outcome::Info, -1);
        send(&mut history, 0, Outcome::Ok, 1);
        poll(&mut history, 0, &[0, 0]);
        found(&history, &[]);
        history.idempotent.insert(1);
        found(&history, &["duplicate"]);
    });
}

#[test]
fn a_failed_write_that_is_read_is_found() {
    test(|| {
        let mut history = History::new();
        send(&mut history, 0, Outcome::Fail, -1);
        poll(&mut history, 0, &[0]);
        found(&history, &["aborted-read"]);
    });
}

#[test]
fn a_consumer_that_skips_or_goes_back_is_found() {
    test(|| {
        let mut history = acked(0..3);
        poll(&mut history, 0, &[0]);
        poll(&mut history, 2, &[2]);
        found(&history, &["poll-skip"]);
        poll(&mut history, 1, &[1]);
        found(&history, &["nonmonotonic-poll", "poll-skip"]);
        let mut history = acked(0..3);
        poll(&mut history, 0, &[0, 1, 2]);
        now(&mut history, 9, Op::Assign { key: K, offset: 1 });
        poll(&mut history, 1, &[1]);
        found(&history, &[]);
    });
}

#[test]
fn a_later_send_at_a_lower_offset_is_found() {
    test(|| {
        let mut history = History::new();
        send(&mut history, 0, Outcome::Ok, 1);
        send(&mut history, 1, Outcome::Ok, 0);
        found(&history, &["nonmonotonic-send"]);
        let mut history = acked(0..2);
        let other = value(K, 2, 0);
        now(&mut history, 2, Op::Send { key: K, value: other, outcome: Outcome::Info, offset: -1 });
        now(&mut history, 9, Op::Poll { key: K, records: vec![(0, Some(other))] });
        let found = kinds(&history);
        assert!(found.contains(&"nonmonotonic-send"), "{found:?}");
    });
}

#[test]
fn foreign_damaged_and_unsent_values_are_found() {
    test(|| {
        let mut history = History::new();
        now(
            &mut history,
            9,
            Op::Poll { key: K, records: vec![(0, None), (1, Some(value((0, 2), 1, 0))), (2, Some(v(7)))] },
        );
        found(&history, &["corrupt", "phantom", "wrong-key"]);
    });
}

#[test]
fn an_end_below_what_is_known_is_found() {
    test(|| {
        let mut history = acked(0..2);
        now(&mut history, 9, Op::End { key: K, offset: 1 });
        found(&history, &["high-watermark-regress"]);
        let mut history = History::new();
        now(&mut history, 9, Op::HighWatermark { key: K, offset: 5 });
        now(&mut history, 9, Op::End { key: K, offset: 4 });
        found(&history, &["high-watermark-regress"]);
    });
}

#[test]
fn a_hole_is_found() {
    test(|| {
        let mut history = acked(0..1);
        send(&mut history, 1, Outcome::Ok, 2);
        ends_as(&mut history, 0, &[v(0)]);
        let log = history.logs.get_mut(&K).expect("just put");
        log.records.push((2, Some(v(1))));
        log.end = 3;
        found(&history, &["density"]);
    });
}

/// Of three values the first and the last have one key.
fn compacted() -> History {
    let mut history = acked(0..3);
    history.compacted.insert(K.0);
    history
}

fn ends_with(history: &mut History, records: &[(i64, u32)], end: i64) {
    let records = records.iter().map(|(offset, sequence)| (*offset, Some(v(*sequence)))).collect();
    history.logs.insert(K, FinalLog { start: 0, end, records });
}

#[test]
fn what_has_a_later_value_may_be_compacted() {
    test(|| {
        let mut history = compacted();
        poll(&mut history, 1, &[1, 2]);
        now(&mut history, 8, Op::Assign { key: K, offset: 0 });
        now(&mut history, 8, Op::Poll { key: K, records: vec![(1, Some(v(1))), (2, Some(v(2)))] });
        ends_with(&mut history, &[(1, 1), (2, 2)], 3);
        found(&history, &[]);
        ends_with(&mut history, &[(0, 0), (1, 1), (2, 2)], 3);
        found(&history, &[]);
    });
}

#[test]
fn the_last_value_of_a_key_that_is_lost_is_found() {
    test(|| {
        let mut history = compacted();
        ends_with(&mut history, &[(0, 0), (2, 2)], 3);
        found(&history, &["lost-write"]);
        ends_with(&mut history, &[(1, 1)], 3);
        found(&history, &["density", "lost-write"]);
        ends_with(&mut history, &[(0, 2), (1, 1), (2, 2)], 3);
        let kinds = kinds(&history);
        assert!(kinds.contains(&"inconsistent-offsets"), "another value in its place: {kinds:?}");
    });
}

#[test]
fn a_consumer_skips_only_what_has_a_later_value_by_then() {
    test(|| {
        let reads = |history: &mut History, offset| {
            now(history, 8, Op::Assign { key: K, offset: 0 });
            now(history, 8, Op::Poll { key: K, records: vec![(offset, Some(v(u32::try_from(offset).expect("few"))))] });
        };
        let mut history = compacted();
        reads(&mut history, 1);
        found(&history, &[]);
        reads(&mut history, 2);
        found(&history, &["poll-skip"]);
        let mut history = acked(0..2);
        history.compacted.insert(K.0);
        reads(&mut history, 1);
        send(&mut history, 2, Outcome::Ok, 2);
        found(&history, &["poll-skip"]);
    });
}

#[test]
fn an_older_value_after_a_newer_one_is_found() {
    test(|| {
        let mut history = compacted();
        poll(&mut history, 2, &[2]);
        now(&mut history, 9, Op::Assign { key: K, offset: 0 });
        poll(&mut history, 0, &[0, 1]);
        found(&history, &[]);
        poll(&mut history, 2, &[2, 0]);
        let kinds = kinds(&history);
        assert!(kinds.contains(&"older-value"), "{kinds:?}");
    });
}

#[test]
fn out_of_range_of_what_is_there_is_found() {
    test(|| {
        let mut history = acked(0..3);
        now(&mut history, 9, Op::OutOfRange { key: K, offset: 2 });
        found(&history, &["false-out-of-range"]);
        let mut history = acked(0..3);
        now(&mut history, 9, Op::OutOfRange { key: K, offset: 4 });
        found(&history, &[]);
    });
}

#[test]
fn two_owners_are_found() {
    test(|| {
        let own = |generation| Op::Own { group: G, generation, keys: BTreeSet::from([K]) };
        let mut history = History::new();
        now(&mut history, 1, own(Some(1)));
        now(&mut history, 2, own(Some(2)));
        found(&history, &[]);
        now(&mut history, 3, own(Some(2)));
        found(&history, &["group-overlap"]);
        let mut history = History::new();
        now(&mut history, 1, own(None));
        now(&mut history, 1, Op::Own { group: G, generation: None, keys: BTreeSet::new() });
        now(&mut history, 2, own(None));
        found(&history, &[]);
        now(&mut history, 1, own(None));
        found(&history, &["group-overlap"]);
    });
}

#[test]
fn an_offset_past_the_end_or_going_back_is_found() {
    test(|| {
        let commit = |offset, outcome| Op::Commit { group: G, key: K, offset, outcome };
        let mut history = acked(0..3);
        now(&mut history, 1, commit(1, Outcome::Ok));
        now(&mut history, 1, commit(3, Outcome::Info));
        now(&mut history, 1, commit(3, Outcome::Fail));
        now(&mut history, 2, Op::Committed { group: G, key: K, offset: 1 });
        found(&history, &[]);
        now(&mut history, 2, Op::Committed { group: G, key: K, offset: -1 });
        found(&history, &["committed-regress"]);
        now(&mut history, 2, commit(4, Outcome::Ok));
        found(&history, &["committed-beyond-end", "committed-regress"]);
    });
}
