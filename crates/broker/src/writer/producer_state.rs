//! What a partition remembers of its idempotent producers, and the verdict on the next batch.
//!
//! The committed part is a function of the committed log: it is rebuilt from the newest snapshot and the ranges after
//! it. The pending part lies over it and holds what has its place in line; it is dropped as a whole when the line
//! fails. Checks run against the pending part, so a producer may pipeline. Of a producer whose batches failed in line, the
//! first of them must come again before any later one is taken.
//!
//! Invariant I4: an entry's batches ascend by offset, are of one epoch, and are at most [`BATCHES_KEPT`].

use std::collections::{BTreeMap, VecDeque};

use segment::{Offset, ProducerBatch, ProducerEpoch, ProducerId, RecordBatchHeader, TimestampMs};

use crate::limits::PRODUCER_ID_EXPIRATION_MS;

/// How many of a producer's last batches can be recognised again, as Kafka's.
const BATCHES_KEPT: usize = 5;

/// What becomes of a batch with a producer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SequenceVerdict {
    /// It is the next one.
    Next,
    /// It is this earlier batch again.
    Duplicate(ProducerBatch),
    /// A newer epoch has written.
    FencedEpoch,
    /// Not the sequence that follows.
    OutOfOrder {
        /// What would have followed.
        expected: i32,
    },
    /// It was sent behind a batch that failed here and has not come again: it fails like that one. "Out of order" would make
    /// the producer bump its epoch, and send again what it does not know to be written.
    BehindFailure,
}

#[derive(Clone, Debug, Default)]
struct ProducerEntry {
    epoch: ProducerEpoch,
    batches: VecDeque<ProducerBatch>,
}

impl ProducerEntry {
    fn push(&mut self, batch: ProducerBatch) {
        if batch.producer_epoch != self.epoch {
            self.batches.clear();
            self.epoch = batch.producer_epoch;
        }
        debug_assert!(self.batches.back().is_none_or(|last| last.last_offset < batch.base_offset), "I4");
        self.batches.push_back(batch);
        if self.batches.len() > BATCHES_KEPT {
            self.batches.pop_front();
        }
    }

    fn check(&self, header: &RecordBatchHeader) -> SequenceVerdict {
        if header.producer_epoch < self.epoch {
            return SequenceVerdict::FencedEpoch;
        }
        let again = |batch: &&ProducerBatch| {
            batch.producer_epoch == header.producer_epoch
                && batch.base_sequence == header.base_sequence
                && batch.last_sequence == header.last_sequence()
        };
        if let Some(batch) = self.batches.iter().find(again) {
            return SequenceVerdict::Duplicate(*batch);
        }
        let expected = match self.batches.back() {
            Some(last) if header.producer_epoch == self.epoch => next_sequence(last.last_sequence),
            _ => 0,
        };
        if header.base_sequence == expected { SequenceVerdict::Next } else { SequenceVerdict::OutOfOrder { expected } }
    }
}

/// Sequences wrap from 2^31-1 to 0.
fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

#[derive(Debug)]
struct PendingEntry {
    entry: ProducerEntry,
    in_flight: usize,
}

/// The first batch of a producer that failed in line, and must be the next one to come.
#[derive(Clone, Debug)]
struct Interruption {
    epoch: ProducerEpoch,
    base_sequence: i32,
    timestamp: TimestampMs,
}

/// Producers whose batches failed in line, until the first of them has come again.
#[derive(Debug, Default)]
pub(crate) struct Interrupted(BTreeMap<ProducerId, Interruption>);

impl Interrupted {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets producers that have not written since `now` less Kafka's `producer.id.expiration.ms`.
    pub(crate) fn expire(&mut self, now: TimestampMs) {
        let oldest = now.saturating_sub(PRODUCER_ID_EXPIRATION_MS);
        self.0.retain(|_, failed| failed.timestamp >= oldest);
    }
}

/// Producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct ProducerState {
    committed: BTreeMap<ProducerId, ProducerEntry>,
    pending: BTreeMap<ProducerId, PendingEntry>,
    interrupted: Interrupted,
}

impl ProducerState {
    /// Applies a batch of the committed log (ascending by offset).
    pub(crate) fn apply_committed(&mut self, batch: ProducerBatch) {
        self.committed.entry(batch.producer_id).or_default().push(batch);
        if let Some(pending) = self.pending.get_mut(&batch.producer_id) {
            pending.in_flight -= 1;
            if pending.in_flight == 0 {
                self.pending.remove(&batch.producer_id);
            }
        }
    }

    /// The verdict on a batch, against what is in line. A producer nobody remembers may start anywhere (KIP-360).
    pub(crate) fn check(&self, header: &RecordBatchHeader) -> SequenceVerdict {
        let id = header.producer_id;
        let entry = self.pending.get(&id).map(|pending| &pending.entry).or_else(|| self.committed.get(&id));
        let verdict = entry.map_or(SequenceVerdict::Next, |entry| entry.check(header));
        let is_behind = |failed: &Interruption| {
            failed.epoch == header.producer_epoch && failed.base_sequence != header.base_sequence
        };
        match (verdict, self.interrupted.0.get(&id)) {
            (SequenceVerdict::Next | SequenceVerdict::OutOfOrder { .. }, Some(failed)) if is_behind(failed) => {
                SequenceVerdict::BehindFailure
            }
            _ => verdict,
        }
    }

    /// Puts a batch in line after its check.
    pub(crate) fn push_pending(&mut self, batch: ProducerBatch) {
        self.interrupted.0.remove(&batch.producer_id);
        let committed = &self.committed;
        let pending = self.pending.entry(batch.producer_id).or_insert_with(|| PendingEntry {
            entry: committed.get(&batch.producer_id).cloned().unwrap_or_default(),
            in_flight: 0,
        });
        pending.entry.push(batch);
        pending.in_flight += 1;
    }

    /// Forgets everything in line, `failed` in its order.
    pub(crate) fn drop_pending<'a>(&mut self, failed: impl Iterator<Item = (&'a RecordBatchHeader, TimestampMs)>) {
        self.pending.clear();
        for (header, timestamp) in failed.filter(|(header, _)| header.has_producer()) {
            let first = Interruption { epoch: header.producer_epoch, base_sequence: header.base_sequence, timestamp };
            let known = self.interrupted.0.entry(header.producer_id).or_insert_with(|| first.clone());
            if known.epoch < first.epoch {
                *known = first;
            }
        }
    }

    /// Forgets producers that have not written since `now` less Kafka's `producer.id.expiration.ms`.
    pub(crate) fn expire(&mut self, now: TimestampMs) {
        let oldest = now.saturating_sub(PRODUCER_ID_EXPIRATION_MS);
        self.committed.retain(|_, entry| entry.batches.back().is_some_and(|last| last.timestamp >= oldest));
        self.interrupted.expire(now);
    }

    /// What the next one to lead the partition should know.
    pub(crate) fn take_interrupted(&mut self) -> Interrupted {
        std::mem::take(&mut self.interrupted)
    }

    /// Goes on where the partition was given up, once the committed state is known: of a producer that wrote elsewhere
    /// meanwhile nothing is left to wait for.
    pub(crate) fn inherit(&mut self, interrupted: Interrupted) {
        self.interrupted = interrupted;
        self.interrupted.0.retain(|id, failed| match self.committed.get(id) {
            None => true,
            Some(entry) if entry.epoch == failed.epoch => {
                entry.batches.back().is_some_and(|last| next_sequence(last.last_sequence) == failed.base_sequence)
            }
            Some(entry) => entry.epoch < failed.epoch && failed.base_sequence == 0,
        });
    }

    /// The committed state followed by `entries`, as a snapshot: ascending by offset.
    pub(crate) fn snapshot_with(&self, entries: &[ProducerBatch]) -> Vec<ProducerBatch> {
        let mut state = self.committed.clone();
        for batch in entries {
            state.entry(batch.producer_id).or_default().push(*batch);
        }
        let mut batches: Vec<_> = state.into_values().flat_map(|entry| entry.batches).collect();
        batches.sort_unstable_by_key(|batch| batch.base_offset);
        batches
    }
}

/// What is remembered of a batch.
pub(crate) fn remember(header: &RecordBatchHeader, base_offset: Offset, timestamp: TimestampMs) -> ProducerBatch {
    ProducerBatch {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        last_sequence: header.last_sequence(),
        base_offset,
        last_offset: base_offset + Offset::from(header.last_offset_delta),
        timestamp,
    }
}

#[cfg(test)]
#[path = "producer_state_tests.rs"]
mod tests;
