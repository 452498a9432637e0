//! Tests of `pacing`: who is waited for, and how long.

use super::*;

fn batch(collected_ms: i64) -> RecordBatchHeader {
    let record = segment::NewRecord { key: None, value: None, timestamp: 1_000, headers: Vec::new() };
    let batch = segment::encode_batch(&[record], None).expect("encodes");
    let header = RecordBatchHeader::parse(&batch).expect("parses");
    RecordBatchHeader { max_timestamp: header.base_timestamp + collected_ms, ..header }
}

/// A lane that has just answered `answered` batches.
fn answered(answered: usize, now: Instant) -> Pacing {
    let pacing = Pacing::new();
    flush(&pacing, answered, now);
    pacing
}

fn flush(pacing: &Pacing, answered: usize, now: Instant) {
    pacing.gathers(Some(now), now);
    pacing.begins();
    pacing.decides(1, answered, now);
}

#[test]
fn an_idle_lane_starts_at_once() {
    let (pacing, now) = (Pacing::new(), Instant::now());
    assert!(pacing.arrives(&batch(0)), "the lane is told");
    assert_eq!(pacing.start(now), Some(now));
}

#[test]
fn nothing_starts_beside_an_undecided_segment() {
    let (pacing, now) = (Pacing::new(), Instant::now());
    pacing.begins();
    pacing.begins();
    pacing.arrives(&batch(0));
    assert_eq!(pacing.start(now), None);
    pacing.decides(1, 1, now);
    assert_eq!(pacing.start(now), None);
    pacing.decides(1, 1, now);
    assert_eq!(pacing.start(now), Some(now));
}

#[test]
fn those_who_were_answered_are_waited_for_and_no_longer() {
    let now = Instant::now();
    let pacing = answered(3, now);
    assert!(pacing.arrives(&batch(9)), "the first tells the lane, which must plan");
    assert!(!pacing.arrives(&batch(9)));
    assert_eq!(pacing.start(now), Some(now + FLUSH_PATIENCE_MAX));
    assert!(pacing.arrives(&batch(9)), "all are back");
    assert_eq!(pacing.start(now), Some(now));
}

#[test]
fn the_least_patient_batch_says_how_long() {
    let now = Instant::now();
    let pacing = answered(9, now);
    for (collected, patience) in [(1_000, 4_000), (3, 3_000), (2_000, 3_000), (0, 500), (-5, 500)] {
        pacing.arrives(&batch(collected));
        assert_eq!(pacing.start(now), Some(now + Duration::from_micros(patience)), "{collected}");
    }
    pacing.gathers(Some(now), now);
    pacing.arrives(&batch(2));
    assert_eq!(pacing.start(now), Some(now + Duration::from_millis(2)), "what was gathered no longer counts");
}

#[test]
fn a_batch_that_comes_long_after_the_last_answer_waits_for_nobody() {
    let now = Instant::now();
    let pacing = answered(3, now);
    let later = now + Duration::from_secs(1);
    pacing.arrives(&batch(9));
    assert_eq!(pacing.start(later), Some(later));
}

#[test]
fn where_waiting_is_in_vain_nobody_is_waited_for_until_that_wears_off() {
    let now = Instant::now();
    let pacing = answered(4, now);
    let waits = |pacing: &Pacing| {
        pacing.arrives(&batch(9));
        let waits = pacing.start(now) != Some(now);
        flush(pacing, 4, now);
        waits
    };
    let pattern: Vec<_> = (0..30).map(|_| waits(&pacing)).collect();
    assert!(pattern[..4].iter().all(|waited| *waited), "{pattern:?}");
    assert!(pattern[4..17].iter().all(|waited| !waited), "{pattern:?}");
    assert!(pattern[17], "{pattern:?}");
    assert!(pattern[18..].iter().filter(|waited| **waited).count() <= 1, "still in vain: {pattern:?}");
}

#[test]
fn a_miss_now_and_then_does_no_harm() {
    let now = Instant::now();
    let pacing = answered(2, now);
    for round in 0..100 {
        pacing.arrives(&batch(9));
        assert_ne!(pacing.start(now), Some(now), "round {round}");
        if round % 5 != 0 {
            pacing.arrives(&batch(9));
        }
        flush(&pacing, 2, now);
    }
}

#[test]
fn producers_that_do_not_wait_for_answers_are_not_waited_for() {
    let mut now = Instant::now();
    let pacing = answered(4, now);
    let mut waits = Vec::new();
    for _ in 0..15 {
        for _ in 0..3 {
            pacing.arrives(&batch(0));
        }
        waits.push(pacing.start(now) != Some(now));
        // The fourth comes when it likes.
        pacing.arrives(&batch(0));
        let since = now;
        now += 2 * FLUSH_PATIENCE_MIN;
        pacing.gathers(Some(since), now);
        pacing.begins();
        pacing.decides(1, 4, now);
    }
    assert!(waits[..4].iter().all(|waited| *waited) && waits[4..].iter().all(|waited| !waited), "{waits:?}");
}
