//! Tests of `partition_state`.

use std::collections::VecDeque;

use proptest::prelude::*;
use segment::{NewRecord, OrganizationId, PartitionKey, TopicId, encode_batch};
use tokio::sync::oneshot::Receiver;

use super::*;

type Fate = Receiver<Result<Appended, AppendError>>;
type Sequence = (i64, i16, i32);

fn lease(next_offset: Offset) -> LeaseRow {
    LeaseRow {
        key: PartitionKey {
            organization: OrganizationId::DEFAULT,
            topic_id: TopicId(uuid::Uuid::from_u128(1)),
            partition: 0,
        },
        leader_epoch: 3,
        next_offset,
        log_start_offset: 0,
        last_append_time: 1_000,
        last_object: "before".to_owned(),
        cleaned_offset: 0,
    }
}

fn candidate(records: usize, producer: Option<Sequence>) -> Candidate {
    let record = NewRecord { key: None, value: Some(Bytes::from_static(b"value")), timestamp: 5, headers: Vec::new() };
    let batch = encode_batch(&vec![record; records], producer).expect("encodes");
    let header = RecordBatchHeader::parse(&batch).expect("parses");
    Candidate { batch, header, expected_base_offset: None, log_append_time: false, permit: None }
}

fn place(state: &mut PartitionState, candidate: Candidate, now: TimestampMs) -> (Placed, Fate) {
    let (answer, fate) = oneshot::channel();
    (state.place(candidate, now, answer), fate)
}

fn put(state: &mut PartitionState, records: usize, producer: Option<Sequence>) -> Fate {
    let (placed, fate) = place(state, candidate(records, producer), 2_000);
    assert!(matches!(placed, Placed::InLine { .. }), "{placed:?}");
    fate
}

fn gather_all(state: &mut PartitionState) -> Gathered {
    state.gather(usize::MAX, || "object".into()).expect("something waits")
}

fn commit_to(state: &mut PartitionState, next_offset: Offset) -> Vec<CommittedBatch> {
    let (batches, answers) = state.commit(next_offset, &"object".into(), false);
    answers.send();
    batches
}

fn base_offset(mut fate: Fate) -> Offset {
    fate.try_recv().expect("answered").expect("acked").base_offset
}

#[test]
fn offsets_go_on_from_the_lease_and_count_records() {
    let mut state = PartitionState::new(&lease(10), Interrupted::default());
    let fates = [put(&mut state, 3, None), put(&mut state, 1, None), put(&mut state, 2, None)];
    assert_eq!((state.high_watermark(), state.end), (10, 16));
    let gathered = gather_all(&mut state);
    assert_eq!(gathered.batches.iter().map(|(header, _)| header.base_offset).collect::<Vec<_>>(), [10, 13, 14]);
    assert!(gathered.batches.iter().all(|(header, _)| header.partition_leader_epoch == 3));
    assert_eq!((&*gathered.predecessor, gathered.append_time, gathered.more), ("before", 2_000, false));
    assert_eq!(commit_to(&mut state, 16).len(), 3);
    assert_eq!(fates.map(base_offset), [10, 13, 14]);
    assert_eq!(state.high_watermark(), 16);
}

#[test]
fn a_range_that_is_committed_alone_answers_only_its_batches() {
    let mut state = PartitionState::new(&lease(0), Interrupted::default());
    let (first, mut second) = (put(&mut state, 1, None), put(&mut state, 1, None));
    let one = candidate(1, None).header.total_bytes();
    let gathered = state.gather(one, || "one".into()).expect("waits");
    assert_eq!((gathered.batches.len(), gathered.more), (1, true));
    assert!(state.has_waiting());
    let next = state.gather(1, || "two".into()).expect("at least one batch, however small the bound");
    assert_eq!((next.batches.len(), &*next.predecessor), (1, "one"));
    assert!(!state.has_waiting() && state.gather(one, || unreachable!("nothing waits")).is_none());
    commit_to(&mut state, 1);
    assert_eq!(base_offset(first), 0);
    assert!(second.try_recv().is_err(), "not decided yet");
    commit_to(&mut state, 2);
    assert_eq!(base_offset(second), 1);
}

#[test]
fn a_failure_takes_back_everything_in_line_and_nothing_that_is_committed() {
    let mut state = PartitionState::new(&lease(0), Interrupted::default());
    put(&mut state, 1, Some((5, 0, 0)));
    gather_all(&mut state);
    commit_to(&mut state, 1);
    let lost = [put(&mut state, 1, Some((5, 0, 1))), put(&mut state, 1, Some((5, 0, 2)))];
    state.gather(1, || "lost".into()).expect("waits");
    let generation = state.generation();
    let (waiting, answers) = state.fail(&AppendError::StoreGaveUp);
    assert_eq!(waiting, candidate(1, None).header.total_bytes(), "only the second still waited to be gathered");
    answers.send();
    for mut fate in lost {
        assert!(matches!(fate.try_recv(), Ok(Err(AppendError::StoreGaveUp))));
    }
    assert_eq!((state.generation(), state.end, state.high_watermark()), (generation + 1, 1, 1));
    let again = put(&mut state, 1, Some((5, 0, 1)));
    let gathered = gather_all(&mut state);
    assert_eq!((gathered.generation, &*gathered.predecessor), (generation + 1, "object"), "the chain leaves it out");
    commit_to(&mut state, 2);
    assert_eq!(base_offset(again), 1);
}

#[test]
fn a_closed_partition_refuses_with_the_reason_it_was_closed_for() {
    let mut state = PartitionState::new(&lease(0), Interrupted::default());
    let mut fate = put(&mut state, 1, None);
    state.close(AppendError::UnknownTopic).1.send();
    assert!(matches!(fate.try_recv(), Ok(Err(AppendError::UnknownTopic))));
    let (placed, mut late) = place(&mut state, candidate(1, None), 0);
    assert_eq!(placed, Placed::Answered);
    assert!(matches!(late.try_recv(), Ok(Err(AppendError::UnknownTopic))));
    assert!(!state.has_waiting());
}

#[test]
fn a_refusal_waits_for_the_line_and_hears_its_failure_instead() {
    for fails in [false, true] {
        let mut state = PartitionState::new(&lease(0), Interrupted::default());
        put(&mut state, 1, Some((5, 0, 0)));
        let (placed, mut gap) = place(&mut state, candidate(1, Some((5, 0, 7))), 0);
        assert_eq!(placed, Placed::Waits(None));
        assert!(gap.try_recv().is_err());
        gather_all(&mut state);
        if fails {
            state.fail(&AppendError::NotLeader).1.send();
            assert!(matches!(gap.try_recv(), Ok(Err(AppendError::NotLeader))));
        } else {
            commit_to(&mut state, 1);
            assert!(matches!(gap.try_recv(), Ok(Err(AppendError::OutOfOrderSequence { got: 7, expected: 1 }))));
        }
        let (placed, _) = place(&mut state, candidate(1, Some((5, 0, 7))), 0);
        let known = AppendError::OutOfOrderSequence { got: 7, expected: 1 };
        assert_eq!(placed == Placed::Refused(known), !fails, "nothing in line: known at once, or not known at all");
    }
}

#[test]
fn a_duplicate_is_answered_with_its_batch_or_at_once() {
    let mut state = PartitionState::new(&lease(0), Interrupted::default());
    let first = put(&mut state, 2, Some((5, 0, 0)));
    put(&mut state, 1, None);
    let (placed, mut pending) = place(&mut state, candidate(2, Some((5, 0, 0))), 0);
    assert_eq!(placed, Placed::Waits(Some(0)));
    gather_all(&mut state);
    commit_to(&mut state, 3);
    assert_eq!(base_offset(first), 0);
    let pending = pending.try_recv().expect("answered").expect("acked");
    assert!(pending.duplicate && pending.receipt.is_some());
    let (placed, mut late) = place(&mut state, candidate(2, Some((5, 0, 0))), 0);
    assert_eq!(placed, Placed::Answered);
    let late = late.try_recv().expect("answered").expect("acked");
    assert_eq!((late.base_offset, late.duplicate, late.receipt), (0, true, None));
}

#[test]
fn a_batch_in_line_is_a_duplicate_only_until_the_line_fails() {
    let mut state = PartitionState::new(&lease(0), Interrupted::default());
    put(&mut state, 1, Some((5, 0, 0)));
    state.fail(&AppendError::StoreGaveUp).1.send();
    let (placed, _) = place(&mut state, candidate(1, Some((5, 0, 0))), 0);
    assert!(matches!(placed, Placed::InLine { base_offset: 0, .. }));
}

#[test]
fn a_conditional_append_counts_what_is_in_line() {
    let mut state = PartitionState::new(&lease(4), Interrupted::default());
    put(&mut state, 2, None);
    let conditional = |expected| Candidate { expected_base_offset: Some(expected), ..candidate(1, None) };
    assert_eq!(place(&mut state, conditional(4), 0).0, Placed::Waits(None));
    assert!(matches!(place(&mut state, conditional(6), 0).0, Placed::InLine { base_offset: 6, .. }));
}

#[test]
fn append_times_never_go_back_and_a_failure_gives_them_back() {
    let mut state = PartitionState::new(&lease(0), Interrupted::default());
    let stamped = || Candidate { log_append_time: true, ..candidate(1, None) };
    let stamp = |state: &mut PartitionState, now| {
        let (_, mut fate) = place(state, stamped(), now);
        gather_all(state);
        commit_to(state, state.end);
        fate.try_recv().expect("answered").expect("acked").log_append_time
    };
    assert_eq!(stamp(&mut state, 500), Some(1_000), "not below the last one of the former leader");
    assert_eq!(stamp(&mut state, 3_000), Some(3_000));
    assert_eq!(stamp(&mut state, 2_000), Some(3_000));
    place(&mut state, stamped(), 9_000);
    state.fail(&AppendError::StoreGaveUp).1.send();
    assert_eq!(stamp(&mut state, 4_000), Some(4_000));
}

#[test]
fn memory_is_held_from_the_place_to_the_decision() {
    let budget = crate::MemoryBudget::new(10);
    for fails in [false, true] {
        let mut state = PartitionState::new(&lease(0), Interrupted::default());
        let permit = budget.try_acquire(10).map(Arc::new);
        assert!(permit.is_some());
        place(&mut state, Candidate { permit, ..candidate(1, None) }, 0);
        gather_all(&mut state);
        assert!(budget.try_acquire(1).is_none());
        let (_batches, _answers) = match fails {
            true => (Vec::new(), state.fail(&AppendError::StoreGaveUp).1),
            false => state.commit(1, &"object".into(), false),
        };
        assert!(budget.try_acquire(10).is_some(), "given back at the decision, before anyone is answered");
    }
}

#[test]
fn a_snapshot_is_due_after_so_many_ranges_and_holds_the_range_it_comes_with() {
    let mut state = PartitionState::new(&lease(0), Interrupted::default());
    for sequence in 0..4 {
        put(&mut state, 1, Some((5, 0, sequence)));
        let gathered = gather_all(&mut state);
        let entries: Vec<_> =
            gathered.batches.iter().map(|(header, _)| remember(header, header.base_offset, 2_000)).collect();
        let snapshot = state.snapshot_due(&entries, 3);
        assert_eq!(snapshot.is_some(), sequence == 2, "after {sequence}");
        let with_snapshot = snapshot.is_some();
        if let Some(snapshot) = snapshot {
            assert_eq!(snapshot.iter().map(|batch| batch.base_sequence).collect::<Vec<_>>(), [0, 1, 2]);
        }
        state.commit(i64::from(sequence) + 1, &"object".into(), with_snapshot).1.send();
    }
    state.restore_producers(std::iter::empty(), 2);
    assert!(state.snapshot_due(&[], 3).is_some(), "counted on from what was there at the acquisition");
}

#[test]
fn what_a_later_leader_committed_is_not_remembered() {
    let mut state = PartitionState::new(&lease(1), Interrupted::default());
    let batch = |sequence: i32| segment::ProducerBatch {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence: sequence,
        last_sequence: sequence,
        base_offset: sequence.into(),
        last_offset: sequence.into(),
        timestamp: 1,
    };
    // Read after the lease was lost, which this agent has not heard yet: offset 1 is its end, and another's record.
    state.restore_producers([batch(0), batch(1)].into_iter(), 0);
    assert_eq!(state.producers.snapshot_with(&[]), [batch(0)]);
}

/// One step of a random run.
#[derive(Clone, Debug)]
enum Step {
    /// A batch of `records`; of producer `producer` (0 = not idempotent) `ahead` of its next sequence.
    Place {
        records: usize,
        producer: i64,
        ahead: i32,
    },
    NewEpoch {
        producer: usize,
    },
    Gather {
        bytes_max: usize,
    },
    CommitOldest,
    Fail,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = (1..4_usize, 0..4_i64, prop_oneof![8 => Just(0), 2 => -4..0, 1 => 1..3])
        .prop_map(|(records, producer, ahead)| Step::Place { records, producer, ahead });
    let step = prop_oneof![
        12 => place,
        1 => (0..4_usize).prop_map(|producer| Step::NewEpoch { producer }),
        4 => (1..400_usize).prop_map(|bytes_max| Step::Gather { bytes_max }),
        4 => Just(Step::CommitOldest),
        1 => Just(Step::Fail),
    ];
    proptest::collection::vec(step, 1..150)
}

/// What a run should look like, kept beside the state.
#[derive(Default)]
struct Model {
    /// Ends of the ranges on their way.
    ranges: VecDeque<Offset>,
    log: Vec<RecordBatchHeader>,
    epochs: [i16; 4],
    fates: Vec<(Placed, Fate)>,
}

impl Model {
    fn step(&mut self, state: &mut PartitionState, step: &Step) {
        match step {
            Step::Place { records, producer, ahead } => {
                let index = usize::try_from(*producer).expect("small");
                let epoch = self.epochs[index];
                let next = match state.producers.check(&candidate(1, Some((*producer, epoch, i32::MAX))).header) {
                    SequenceVerdict::OutOfOrder { expected } => expected,
                    _ => 0,
                };
                let sequence = (*producer > 0).then_some((*producer, epoch, (next + ahead).max(0)));
                let placed = place(state, candidate(*records, sequence), 2_000);
                self.fates.push(placed);
            }
            Step::NewEpoch { producer } => self.epochs[*producer] += 1,
            Step::Gather { bytes_max } => {
                if let Some(gathered) = state.gather(*bytes_max, || "object".into()) {
                    assert_eq!(gathered.generation, state.generation());
                    self.ranges.extend(gathered.batches.last().map(|(header, _)| header.next_offset()));
                }
            }
            Step::CommitOldest => {
                if let Some(next_offset) = self.ranges.pop_front() {
                    self.log.extend(commit_to(state, next_offset).iter().map(|batch| batch.header));
                }
            }
            Step::Fail => {
                let before = (state.high_watermark(), state.generation());
                state.fail(&AppendError::StoreGaveUp).1.send();
                assert_eq!((state.high_watermark(), state.generation()), (before.0, before.1 + 1), "I3");
                assert!(state.line.is_empty() && state.end == before.0, "I3");
                self.ranges.clear();
            }
        }
    }

    fn check(&self, state: &PartitionState) {
        let mut offset = state.high_watermark;
        for in_line in &state.line {
            assert_eq!(in_line.header.base_offset, offset, "I1");
            offset = in_line.header.next_offset();
        }
        assert_eq!(offset, state.end, "I1");
        assert!(state.gathered <= state.line.len());
        assert_eq!(self.log.last().map_or(0, RecordBatchHeader::next_offset), state.high_watermark, "I2");
        let mut replayed = ProducerState::default();
        for header in self.log.iter().filter(|header| header.has_producer()) {
            replayed.apply_committed(remember(header, header.base_offset, 2_000));
        }
        let live = state.producers.snapshot_with(&[]);
        assert_eq!(live, replayed.snapshot_with(&[]), "committed producers are a function of the committed log");
        let bytes = segment::encode_producer_entries(&live);
        let mut restored = PartitionState::new(&lease(state.high_watermark), Interrupted::default());
        let entries = segment::decode_producer_entries(&bytes).expect("decodes");
        restored.restore_producers(entries.into_iter(), 0);
        assert_eq!(restored.producers.snapshot_with(&[]), live, "a snapshot is the whole of it");
    }

    /// Each answer is what the log says.
    fn settle(self, state: &mut PartitionState) {
        state.fail(&AppendError::StoreGaveUp).1.send();
        let mut dense = 0;
        for header in &self.log {
            assert_eq!(header.base_offset, dense, "dense");
            dense = header.next_offset();
        }
        let mut written = 0;
        for (placed, mut fate) in self.fates {
            if matches!(placed, Placed::Refused(_)) {
                continue; // answered by who asks for the lease first
            }
            match fate.try_recv().expect("everyone is answered") {
                Ok(appended) => {
                    assert!(self.log.iter().any(|header| header.base_offset == appended.base_offset));
                    written += usize::from(!appended.duplicate);
                }
                Err(AppendError::StoreGaveUp) => {}
                Err(_) => assert!(!matches!(placed, Placed::InLine { .. })),
            }
        }
        assert_eq!(written, self.log.len(), "each batch of the log was acked once as written");
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_line_is_whole_and_producers_follow_the_log(steps in steps()) {
        let mut state = PartitionState::new(&lease(0), Interrupted::default());
        let mut model = Model::default();
        for step in &steps {
            model.step(&mut state, step);
            model.check(&state);
        }
        model.settle(&mut state);
    }
}
