//! Tests of `producer_state`.

use proptest::prelude::*;

use super::*;

fn header(producer_id: ProducerId, producer_epoch: ProducerEpoch, base_sequence: i32, count: i32) -> RecordBatchHeader {
    RecordBatchHeader {
        base_offset: 0,
        batch_length: 0,
        partition_leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id,
        producer_epoch,
        base_sequence,
        record_count: count,
    }
}

/// Commits a batch at an offset.
fn commit(state: &mut ProducerState, header: &RecordBatchHeader, offset: Offset) {
    state.apply_committed(remember(header, offset, offset));
}

#[test]
fn an_unknown_producer_may_start_anywhere() {
    let state = ProducerState::default();
    assert_eq!(state.check(&header(5, 3, 0, 1)), SequenceVerdict::Next);
    assert_eq!(state.check(&header(5, 0, 77, 1)), SequenceVerdict::Next);
}

#[test]
fn a_known_producer_goes_on_where_it_was() {
    let mut state = ProducerState::default();
    commit(&mut state, &header(5, 0, 10, 3), 0);
    assert_eq!(state.check(&header(5, 0, 13, 1)), SequenceVerdict::Next);
    assert_eq!(state.check(&header(5, 0, 14, 1)), SequenceVerdict::OutOfOrder { expected: 13 });
    assert_eq!(state.check(&header(5, 0, 11, 1)), SequenceVerdict::OutOfOrder { expected: 13 }, "part of a batch");
    assert_eq!(state.check(&header(6, 0, 99, 1)), SequenceVerdict::Next, "another producer");
}

#[test]
fn the_last_five_batches_are_recognised_and_no_more() {
    let mut state = ProducerState::default();
    for sequence in 0..7 {
        commit(&mut state, &header(5, 0, sequence, 1), i64::from(sequence) + 100);
    }
    for sequence in 0..7 {
        match state.check(&header(5, 0, sequence, 1)) {
            SequenceVerdict::Duplicate(batch) => assert_eq!(batch.base_offset, i64::from(sequence) + 100),
            other => assert_eq!((other, sequence < 2), (SequenceVerdict::OutOfOrder { expected: 7 }, true)),
        }
    }
    assert_eq!(state.check(&header(5, 0, 6, 2)), SequenceVerdict::OutOfOrder { expected: 7 }, "not the same batch");
}

#[test]
fn a_newer_epoch_starts_at_zero_and_fences_the_older() {
    let mut state = ProducerState::default();
    commit(&mut state, &header(5, 1, 0, 1), 0);
    assert_eq!(state.check(&header(5, 0, 1, 1)), SequenceVerdict::FencedEpoch);
    assert_eq!(state.check(&header(5, 2, 1, 1)), SequenceVerdict::OutOfOrder { expected: 0 });
    assert_eq!(state.check(&header(5, 2, 0, 1)), SequenceVerdict::Next, "not the duplicate of epoch 1");
    commit(&mut state, &header(5, 2, 0, 1), 1);
    assert_eq!(state.check(&header(5, 1, 0, 1)), SequenceVerdict::FencedEpoch, "not even a duplicate");
}

#[test]
fn sequences_wrap_to_zero() {
    let mut state = ProducerState::default();
    commit(&mut state, &header(5, 0, i32::MAX, 1), 0);
    assert_eq!(state.check(&header(5, 0, 0, 1)), SequenceVerdict::Next);
    let across = header(5, 0, i32::MAX - 1, 4);
    assert_eq!(across.last_sequence(), 1);
    commit(&mut state, &across, 1);
    assert_eq!(state.check(&header(5, 0, 2, 1)), SequenceVerdict::Next);
    assert!(matches!(state.check(&across), SequenceVerdict::Duplicate(_)));
}

#[test]
fn what_is_in_line_counts_until_it_is_dropped() {
    let mut state = ProducerState::default();
    commit(&mut state, &header(5, 0, 0, 1), 0);
    for sequence in 1..4 {
        let next = header(5, 0, sequence, 1);
        assert_eq!(state.check(&next), SequenceVerdict::Next);
        state.push_pending(remember(&next, i64::from(sequence), 0));
        assert!(matches!(state.check(&next), SequenceVerdict::Duplicate(_)));
    }
    commit(&mut state, &header(5, 0, 1, 1), 1);
    assert!(matches!(state.check(&header(5, 0, 3, 1)), SequenceVerdict::Duplicate(_)), "still in line");
    let failed = [2, 3].map(|sequence| header(5, 0, sequence, 1));
    state.drop_pending(failed.iter().map(|header| (header, 0)));
    assert_eq!(state.check(&header(5, 0, 2, 1)), SequenceVerdict::Next);
    assert!(matches!(state.check(&header(5, 0, 1, 1)), SequenceVerdict::Duplicate(_)), "that one is committed");
}

#[test]
fn an_epoch_in_line_fences_at_once_and_not_after_it_failed() {
    let mut state = ProducerState::default();
    commit(&mut state, &header(5, 0, 0, 1), 0);
    state.push_pending(remember(&header(5, 1, 0, 1), 1, 0));
    assert_eq!(state.check(&header(5, 0, 1, 1)), SequenceVerdict::FencedEpoch);
    state.drop_pending([(&header(5, 1, 0, 1), 0)].into_iter());
    assert_eq!(state.check(&header(5, 0, 1, 1)), SequenceVerdict::Next);
}

#[test]
fn behind_a_batch_that_failed_nothing_is_taken_before_it_came_again() {
    for known in [true, false] {
        let mut state = ProducerState::default();
        if known {
            commit(&mut state, &header(5, 0, 6, 1), 0);
        }
        let sent: Vec<_> = (7..10).map(|sequence| header(5, 0, sequence, 1)).collect();
        for (offset, batch) in (1..).zip(&sent[..2]) {
            state.push_pending(remember(batch, offset, 0));
        }
        state.drop_pending(sent[..2].iter().map(|batch| (batch, 0)));
        assert_eq!(state.check(&sent[2]), SequenceVerdict::BehindFailure, "known: {known}");
        assert_eq!(state.check(&sent[1]), SequenceVerdict::BehindFailure, "known: {known}");
        assert_eq!(state.check(&header(5, 1, 0, 1)), SequenceVerdict::Next, "it gave up and bumped its epoch");
        for (offset, batch) in (1..).zip(&sent) {
            assert_eq!(state.check(batch), SequenceVerdict::Next, "known: {known}");
            state.push_pending(remember(batch, offset, 0));
        }
        assert_eq!(state.check(&header(5, 0, 11, 1)), SequenceVerdict::OutOfOrder { expected: 10 });
    }
}

/// A partition that is given up with a failed line, and led again by the same agent after `meanwhile` was committed.
fn led_again(meanwhile: &[RecordBatchHeader]) -> ProducerState {
    let mut first = ProducerState::default();
    commit(&mut first, &header(5, 0, 6, 1), 0);
    first.push_pending(remember(&header(5, 0, 7, 1), 1, 0));
    first.drop_pending([(&header(5, 0, 7, 1), 0)].into_iter());
    let mut again = ProducerState::default();
    commit(&mut again, &header(5, 0, 6, 1), 0);
    (1..).zip(meanwhile).for_each(|(offset, header)| commit(&mut again, header, offset));
    again.inherit(first.take_interrupted());
    again
}

#[test]
fn a_failed_batch_is_waited_for_over_another_acquisition() {
    let state = led_again(&[]);
    assert_eq!(state.check(&header(5, 0, 8, 1)), SequenceVerdict::BehindFailure, "it was on its way");
    assert_eq!(state.check(&header(5, 0, 7, 1)), SequenceVerdict::Next);
}

#[test]
fn a_producer_that_wrote_elsewhere_meanwhile_is_not_waited_for() {
    let state = led_again(&[header(5, 0, 7, 1), header(5, 0, 8, 1)]);
    assert_eq!(state.check(&header(5, 0, 9, 1)), SequenceVerdict::Next);
    assert_eq!(state.check(&header(5, 0, 10, 1)), SequenceVerdict::OutOfOrder { expected: 9 });
    let state = led_again(&[header(5, 1, 0, 1)]);
    assert_eq!(state.check(&header(5, 1, 1, 1)), SequenceVerdict::Next);
}

#[test]
fn a_producer_expires_by_its_last_append() {
    let mut state = ProducerState::default();
    state.apply_committed(remember(&header(5, 0, 0, 1), 0, 1_000));
    state.apply_committed(remember(&header(5, 0, 1, 1), 1, 2_000));
    state.expire(2_000 + PRODUCER_ID_EXPIRATION_MS);
    assert!(matches!(state.check(&header(5, 0, 0, 1)), SequenceVerdict::Duplicate(_)));
    state.expire(2_001 + PRODUCER_ID_EXPIRATION_MS);
    assert_eq!(state.check(&header(5, 0, 9, 1)), SequenceVerdict::Next, "nobody remembers it");
}

proptest! {
    /// Any split of a log into a snapshot, with the entries it comes with, and what follows gives the same state.
    #[test]
    fn a_snapshot_and_the_batches_after_it_are_the_whole_log(
        log in proptest::collection::vec((0..4_i64, 0..3_i16, 1..4_i32), 0..60),
        cut in 0..60_usize,
        with in 0..5_usize,
    ) {
        let mut epochs = [0_i16; 4];
        let mut sequences = [0_i32; 4];
        let mut entries = Vec::new();
        for (offset, (id, rise, count)) in (0_i64..).step_by(4).zip(log) {
            let index = usize::try_from(id).expect("small");
            if rise == 2 {
                epochs[index] += 1;
                sequences[index] = 0;
            }
            entries.push(remember(&header(id, epochs[index], sequences[index], count), offset, offset));
            sequences[index] += count;
        }
        let cut = cut.min(entries.len());
        let with = cut.saturating_sub(with);
        let (mut whole, mut first, mut second) = (ProducerState::default(), ProducerState::default(), ProducerState::default());
        entries.iter().for_each(|entry| whole.apply_committed(*entry));
        entries[..with].iter().for_each(|entry| first.apply_committed(*entry));
        let snapshot = first.snapshot_with(&entries[with..cut]);
        snapshot.iter().chain(&entries[cut..]).for_each(|entry| second.apply_committed(*entry));
        prop_assert_eq!(whole.snapshot_with(&[]), second.snapshot_with(&[]));
    }
}
