//! Every decision about a partition that this agent writes, as plain functions on plain state.
//!
//! A batch that is accepted gets its offset here and waits in `line` until its segment commit is decided; the line is
//! in offset order, its first `gathered` batches are in segments on their way. Nothing here awaits, locks or
//! reads a clock.
//!
//! Invariants: I1 the line is contiguous from the high watermark to `end`; I2 only a commit moves the high watermark,
//! and only forward; I3 a failure of any part of the line fails all of it (`generation` rises), so that no
//! later batch can commit across the hole.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use metadata::LeaseRow;
use segment::{LeaderEpoch, Offset, PlacedBatch, ProducerBatch, RecordBatchHeader, TimestampMs};
use tokio::sync::oneshot;

use super::producer_state::{Interrupted, ProducerState, SequenceVerdict, remember};
use crate::append::{AppendError, Appended, Receipt};
use crate::memory_budget::MemoryPermit;
use crate::seeded_bugs::SeededBug;

/// Where an append's answer goes.
pub(crate) type Answer = oneshot::Sender<Result<Appended, AppendError>>;

/// A checked batch that asks for a place in line.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Its bytes as they came.
    pub(crate) batch: Bytes,
    /// Its header as it came.
    pub(crate) header: RecordBatchHeader,
    /// Conditional append.
    pub(crate) expected_base_offset: Option<Offset>,
    /// Stamp it with the append time.
    pub(crate) log_append_time: bool,
    /// Memory it holds until it is decided.
    pub(crate) permit: Option<Arc<MemoryPermit>>,
}

/// What an answer says when the batch it hangs on commits.
#[derive(Debug)]
enum OnCommit {
    /// The batch itself.
    Written,
    /// The same batch, sent again while the first was in line.
    Duplicate,
    /// A refusal that was decided against batches in line: true only if they commit.
    Refused(AppendError),
}

/// A numbered batch whose commit is not decided.
#[derive(Debug)]
struct InLine {
    header: RecordBatchHeader,
    placed: PlacedBatch,
    append_time: TimestampMs,
    log_append_time: Option<TimestampMs>,
    answers: Vec<(OnCommit, Answer)>,
    _permit: Option<Arc<MemoryPermit>>,
}

/// What `place` made of a candidate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// In line at this offset; the partition has this many bytes more to flush.
    InLine {
        /// Its base offset, if it commits.
        base_offset: Offset,
        /// Size of the batch.
        bytes: usize,
    },
    /// Its answer hangs on batches in line (a duplicate of one, or a refusal that depends on them).
    Waits(Option<Offset>),
    /// Answered: a duplicate of what is committed, or the partition is closed.
    Answered,
    /// Refused by what is committed, and not answered: the lease is to be confirmed first.
    Refused(AppendError),
}

/// Batches taken for a segment: one range.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// Generation they belong to.
    pub(crate) generation: u64,
    /// Epoch they were numbered under.
    pub(crate) leader_epoch: LeaderEpoch,
    /// Object of the range before, empty if none.
    pub(crate) predecessor: Arc<str>,
    /// The batches as stored, with their headers as stored.
    pub(crate) batches: Vec<(RecordBatchHeader, PlacedBatch)>,
    /// Greatest append time among them.
    pub(crate) append_time: TimestampMs,
    /// Size of the batches.
    pub(crate) bytes: usize,
    /// More batches wait.
    pub(crate) more: bool,
}

/// Answers to be sent once the partition's lock is released.
#[derive(Debug, Default)]
pub(crate) struct Answers(Vec<(Answer, Result<Appended, AppendError>)>);

impl Answers {
    /// Sends them, in offset order. A receiver that is gone does not matter.
    pub(crate) fn send(self) {
        for (answer, result) in self.0 {
            let _ = answer.send(result);
        }
    }
}

/// A batch that is committed and can be read.
#[derive(Clone, Debug)]
pub(crate) struct CommittedBatch {
    /// Its header as stored.
    pub(crate) header: RecordBatchHeader,
    /// Its bytes as stored.
    pub(crate) placed: PlacedBatch,
}

/// One partition that this agent leads.
#[derive(Debug)]
pub(crate) struct PartitionState {
    leader_epoch: LeaderEpoch,
    log_start_offset: Offset,
    high_watermark: Offset,
    end: Offset,
    generation: u64,
    line: VecDeque<InLine>,
    gathered: usize,
    producers: ProducerState,
    /// Of an earlier time as leader, until the producers are loaded.
    inherited: Interrupted,
    ranges_since_snapshot: u32,
    /// Greatest append time given out; stamps never go below it.
    append_time: TimestampMs,
    committed_append_time: TimestampMs,
    /// Object of the last range that was gathered, and of the last that was committed.
    last_object: Arc<str>,
    committed_object: Arc<str>,
    /// Why a line failed last.
    last_failure: AppendError,
    /// Set when the partition can no longer be written here; every later append gets it.
    closed: Option<AppendError>,
    /// See `is_paused`.
    paused: bool,
    pub(crate) seeded_bug: Option<SeededBug>,
}

impl PartitionState {
    /// The state right after an acquisition; producers are loaded before the first append. `inherited` is what was left when
    /// this agent led the partition before.
    pub(crate) fn new(lease: &LeaseRow, inherited: Interrupted) -> Self {
        let last_object: Arc<str> = lease.last_object.as_str().into();
        Self {
            leader_epoch: lease.leader_epoch,
            log_start_offset: lease.log_start_offset,
            high_watermark: lease.next_offset,
            end: lease.next_offset,
            generation: 0,
            line: VecDeque::new(),
            gathered: 0,
            producers: ProducerState::default(),
            inherited,
            ranges_since_snapshot: 0,
            append_time: lease.last_append_time,
            committed_append_time: lease.last_append_time,
            last_object: Arc::clone(&last_object),
            committed_object: last_object,
            last_failure: AppendError::NotLeader,
            closed: None,
            paused: false,
            seeded_bug: None,
        }
    }

    /// Takes over what the committed log says of its producers.
    pub(crate) fn restore_producers(
        &mut self,
        batches: impl Iterator<Item = ProducerBatch>,
        ranges_since_snapshot: u32,
    ) {
        // What is committed beyond our end is of a leader after us: nothing of ours commits any more, and we do not know it yet.
        let ours = batches.filter(|batch| batch.last_offset < self.high_watermark);
        let producers = &mut self.producers;
        ours.for_each(|batch| producers.apply_committed(batch));
        self.producers.inherit(std::mem::take(&mut self.inherited));
        self.ranges_since_snapshot = ranges_since_snapshot;
    }

    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// First offset after everything in line.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    pub(crate) fn log_start_offset(&self) -> Offset {
        self.log_start_offset
    }

    /// What was below is deleted. Never goes backwards, nor beyond what is committed.
    pub(crate) fn start_at(&mut self, offset: Offset) {
        self.log_start_offset = self.log_start_offset.max(offset.min(self.high_watermark));
    }

    /// What the committed log says of its producers, as of the high watermark. They were loaded before.
    pub(crate) fn snapshot(&self) -> (Offset, Vec<ProducerBatch>) {
        (self.high_watermark, self.producers.snapshot_with(&[]))
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether nothing is in line: all that was placed is decided.
    pub(crate) fn is_idle(&self) -> bool {
        self.line.is_empty()
    }

    /// Whether new batches must wait: the partition is being handed over.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused && self.closed.is_none()
    }

    /// Lets new batches wait, or go on.
    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether any batch waits to be gathered.
    pub(crate) fn has_waiting(&self) -> bool {
        self.line.len() > self.gathered
    }

    /// Gives a checked batch its place in line, or its answer.
    pub(crate) fn place(&mut self, candidate: Candidate, now: TimestampMs, answer: Answer) -> Placed {
        if let Some(error) = &self.closed {
            let _ = answer.send(Err(error.clone()));
            return Placed::Answered;
        }
        if candidate.header.has_producer() {
            match self.producers.check(&candidate.header) {
                SequenceVerdict::Next => {}
                SequenceVerdict::Duplicate(first) => {
                    return self.answer_duplicate(first, candidate.log_append_time, answer);
                }
                SequenceVerdict::BehindFailure => {
                    let _ = answer.send(Err(self.last_failure.clone()));
                    return Placed::Answered;
                }
                SequenceVerdict::FencedEpoch => return self.refuse(AppendError::InvalidProducerEpoch, answer),
                SequenceVerdict::OutOfOrder { expected } => {
                    let got = candidate.header.base_sequence;
                    return self.refuse(AppendError::OutOfOrderSequence { got, expected }, answer);
                }
            }
        }
        if let Some(expected) = candidate.expected_base_offset.filter(|expected| *expected != self.end) {
            return self.refuse(AppendError::UnexpectedOffset { expected, end: self.end }, answer);
        }
        self.push(candidate, now, answer)
    }

    fn push(&mut self, candidate: Candidate, now: TimestampMs, answer: Answer) -> Placed {
        let base_offset = self.end;
        self.append_time = self.append_time.max(now);
        let log_append_time = candidate.log_append_time.then_some(self.append_time);
        let (placed, header) =
            segment::place(&candidate.batch, &candidate.header, base_offset, self.leader_epoch, log_append_time);
        if header.has_producer() {
            self.producers.push_pending(remember(&header, base_offset, self.append_time));
        }
        self.end = header.next_offset();
        let bytes = header.total_bytes();
        self.line.push_back(InLine {
            header,
            placed,
            append_time: self.append_time,
            log_append_time,
            answers: vec![(OnCommit::Written, answer)],
            _permit: candidate.permit,
        });
        Placed::InLine { base_offset, bytes }
    }

    /// A duplicate of a committed batch is answered now, one of a batch in line shares its fate.
    fn answer_duplicate(&mut self, first: ProducerBatch, log_append_time: bool, answer: Answer) -> Placed {
        let position = self.line.partition_point(|in_line| in_line.header.base_offset < first.base_offset);
        match self.line.get_mut(position).filter(|in_line| in_line.header.base_offset == first.base_offset) {
            Some(in_line) => {
                in_line.answers.push((OnCommit::Duplicate, answer));
                Placed::Waits(Some(first.base_offset))
            }
            None => {
                let _ = answer.send(Ok(Appended {
                    base_offset: first.base_offset,
                    log_append_time: log_append_time.then_some(first.timestamp),
                    log_start_offset: self.log_start_offset,
                    duplicate: true,
                    receipt: None,
                }));
                Placed::Answered
            }
        }
    }

    /// A refusal waits for the batches in line: if they fail, the client must hear that, not this.
    fn refuse(&mut self, error: AppendError, answer: Answer) -> Placed {
        match self.line.back_mut() {
            Some(last) => {
                last.answers.push((OnCommit::Refused(error), answer));
                Placed::Waits(None)
            }
            None => Placed::Refused(error),
        }
    }

    /// Takes waiting batches for a segment, up to `bytes_max` but at least one; `None` if none waits.
    /// `object_key` names the segment and is asked only if there is something for it.
    pub(crate) fn gather(&mut self, bytes_max: usize, object_key: impl FnOnce() -> Arc<str>) -> Option<Gathered> {
        let mut gathered = Gathered {
            generation: self.generation,
            leader_epoch: self.leader_epoch,
            predecessor: Arc::clone(&self.last_object),
            batches: Vec::new(),
            append_time: -1,
            bytes: 0,
            more: false,
        };
        while let Some(in_line) = self.line.get(self.gathered) {
            let bytes = in_line.header.total_bytes();
            if !gathered.batches.is_empty() && gathered.bytes + bytes > bytes_max {
                gathered.more = true;
                break;
            }
            gathered.batches.push((in_line.header, in_line.placed.clone()));
            gathered.append_time = gathered.append_time.max(in_line.append_time);
            gathered.bytes += bytes;
            self.gathered += 1;
        }
        if gathered.batches.is_empty() {
            return None;
        }
        self.last_object = object_key();
        Some(gathered)
    }

    /// A snapshot for a range about to commit, when it is time for one.
    pub(crate) fn snapshot_due(&self, entries: &[ProducerBatch], ranges_max: u32) -> Option<Vec<ProducerBatch>> {
        (self.ranges_since_snapshot + 1 >= ranges_max).then(|| self.producers.snapshot_with(entries))
    }

    /// The range that ends at `next_offset` is committed: the high watermark moves, its batches are answered.
    pub(crate) fn commit(
        &mut self,
        next_offset: Offset,
        object_key: &Arc<str>,
        with_snapshot: bool,
    ) -> (Vec<CommittedBatch>, Answers) {
        assert!(
            next_offset > self.high_watermark && next_offset <= self.end,
            "I2: a commit moves the high watermark forward within the line"
        );
        let mut committed = Vec::new();
        let mut answers = Answers::default();
        while self.line.front().is_some_and(|first| first.header.base_offset < next_offset) {
            let Some(in_line) = self.line.pop_front() else { break };
            self.gathered -= 1;
            self.committed_append_time = in_line.append_time;
            if in_line.header.has_producer() {
                self.producers.apply_committed(remember(
                    &in_line.header,
                    in_line.header.base_offset,
                    in_line.append_time,
                ));
            }
            self.answer_committed(&in_line.header, in_line.log_append_time, in_line.answers, object_key, &mut answers);
            committed.push(CommittedBatch { header: in_line.header, placed: in_line.placed });
        }
        self.high_watermark = next_offset;
        self.committed_object = Arc::clone(object_key);
        self.ranges_since_snapshot = if with_snapshot { 0 } else { self.ranges_since_snapshot + 1 };
        (committed, answers)
    }

    fn answer_committed(
        &self,
        header: &RecordBatchHeader,
        log_append_time: Option<TimestampMs>,
        waiting: Vec<(OnCommit, Answer)>,
        object_key: &Arc<str>,
        answers: &mut Answers,
    ) {
        for (on_commit, answer) in waiting {
            let appended = |duplicate| Appended {
                base_offset: header.base_offset,
                log_append_time,
                log_start_offset: self.log_start_offset,
                duplicate,
                receipt: Some(Receipt {
                    leader_epoch: header.partition_leader_epoch,
                    object_key: Arc::clone(object_key),
                    checksum: header.crc,
                }),
            };
            let result = match on_commit {
                OnCommit::Written => Ok(appended(false)),
                OnCommit::Duplicate => Ok(appended(true)),
                OnCommit::Refused(error) => Err(error),
            };
            answers.0.push((answer, result));
        }
    }

    /// Fails the whole line with one answer and goes back to what is committed; returns the bytes that no longer wait
    /// to be gathered.
    pub(crate) fn fail(&mut self, error: &AppendError) -> (usize, Answers) {
        let waiting = self.line.iter().skip(self.gathered).map(|in_line| in_line.header.total_bytes()).sum();
        if self.seeded_bug != Some(SeededBug::SequenceAdvancedOnFailure) {
            self.producers.drop_pending(self.line.iter().map(|in_line| (&in_line.header, in_line.append_time)));
        }
        self.last_failure = error.clone();
        let mut answers = Answers::default();
        for in_line in self.line.drain(..) {
            answers.0.extend(in_line.answers.into_iter().map(|(_, answer)| (answer, Err(error.clone()))));
        }
        self.generation += 1;
        self.gathered = 0;
        self.end = self.high_watermark;
        self.append_time = self.committed_append_time;
        self.last_object = Arc::clone(&self.committed_object);
        (waiting, answers)
    }

    /// Fails the line and refuses every later append with the same answer.
    pub(crate) fn close(&mut self, error: AppendError) -> (usize, Answers) {
        let failed = self.fail(&error);
        self.closed = Some(error);
        failed
    }

    /// What the next time as leader should know of producers, once this one is closed.
    pub(crate) fn take_interrupted(&mut self) -> Interrupted {
        // Never loaded: no producer was heard, and what was inherited still holds.
        match self.inherited.is_empty() {
            true => self.producers.take_interrupted(),
            false => std::mem::take(&mut self.inherited),
        }
    }

    /// Forgets producers that expired.
    pub(crate) fn expire_producers(&mut self, now: TimestampMs) {
        self.producers.expire(now);
        self.inherited.expire(now);
    }
}

#[cfg(test)]
#[path = "partition_state_tests.rs"]
mod tests;
