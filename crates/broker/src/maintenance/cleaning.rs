//! What compaction keeps, as plain functions on batches: of each key the last record, and tombstones (records without a value) until
//! their batch's delete horizon.
//!
//! Keys are remembered by a hash of 128 bits, with the offset of their last record, in a table that does not grow. If it is full, the
//! pass goes as far as it knows keys, and the next one goes on there.
//!
//! A tombstone gets its horizon in the pass that takes out what it deletes, all of which lies before it. So one that has a horizon
//! deletes nothing any more, and may go alone.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use segment::{
    Filtered, Offset, RecordBatchHeader, RecordCheckError, RecordView, TimestampMs, filter_records, visit_records,
};

/// Slots of the smallest table.
const SLOTS_MIN: usize = 1_024;

/// The last offset of each key.
#[derive(Debug)]
pub(super) struct LastOffsets {
    /// Keyed at random, so that nobody can make up keys that have the same hash.
    hasher: RandomState,
    slots: Vec<Slot>,
    used: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: [u64; 2],
    /// -1 = free.
    last: Offset,
}

impl LastOffsets {
    /// A table of at most so many bytes, for so many records.
    pub(super) fn new(bytes_max: usize, records: u64) -> Self {
        let most = bytes_max / size_of::<Slot>();
        let wanted = usize::try_from(records.saturating_mul(4) / 3).unwrap_or(usize::MAX);
        let slots = vec![Slot { hash: [0; 2], last: -1 }; wanted.min(most).max(SLOTS_MIN)];
        Self { hasher: RandomState::new(), slots, used: 0 }
    }

    /// Notes the records of these batches from `from` on. Returns the offset of the first for which there is no room, if there is one:
    /// none from there on are noted.
    pub(super) fn note(
        &mut self,
        batches: &[(RecordBatchHeader, Bytes)],
        from: Offset,
    ) -> Result<Option<Offset>, RecordCheckError> {
        let mut full_at = None;
        for (header, batch) in batches {
            visit_records(batch, header, |record| {
                let key = record.key.filter(|_| full_at.is_none() && record.offset >= from);
                if key.is_some_and(|key| !self.put(key, record.offset)) {
                    full_at = Some(record.offset);
                }
            })?;
        }
        Ok(full_at)
    }

    /// For a seeded bug: the last record of each key is one that has a later one.
    pub(super) fn pass_over_last(&mut self) {
        self.slots.iter_mut().filter(|slot| slot.last >= 0).for_each(|slot| slot.last += 1);
    }

    /// False: there is no room for another key.
    fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let at = self.place(hash);
        let is_new = self.slots[at].last < 0;
        // A free slot in ten ends every search.
        if is_new && self.used >= self.slots.len() / 10 * 9 {
            return false;
        }
        self.used += usize::from(is_new);
        self.slots[at] = Slot { hash, last: offset };
        true
    }

    fn last_of(&self, key: &[u8]) -> Option<Offset> {
        Some(self.slots[self.place(self.hash(key))].last).filter(|last| *last >= 0)
    }

    /// Where the hash is, or would be.
    fn place(&self, hash: [u64; 2]) -> usize {
        let len = self.slots.len();
        let mut at = usize::try_from(hash[0] % len as u64).unwrap_or(0);
        while self.slots[at].last >= 0 && self.slots[at].hash != hash {
            at = (at + 1) % len;
        }
        at
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.hasher.hash_one((0_u8, key)), self.hasher.hash_one((1_u8, key))]
    }
}

/// What a pass goes by.
#[derive(Debug)]
pub(super) struct Cleaner {
    pub(super) last_offsets: LastOffsets,
    /// Records from this offset on stay: their keys are not known.
    pub(super) known_to: Offset,
    pub(super) now: TimestampMs,
    /// `delete.retention.ms`.
    pub(super) delete_retention_ms: i64,
}

/// What is left of the batches of a range.
#[derive(Debug, Default)]
pub(super) struct Cleaned {
    pub(super) batches: Vec<(RecordBatchHeader, Bytes)>,
    /// Whether they are not what they were.
    pub(super) is_changed: bool,
    pub(super) records_removed: u64,
}

impl Cleaner {
    /// Takes out what is not to be kept. A batch of which all goes, goes too: what it said of its producer is in a snapshot.
    pub(super) fn clean(&self, batches: &[(RecordBatchHeader, Bytes)]) -> Result<Cleaned, RecordCheckError> {
        let mut cleaned = Cleaned { batches: Vec::with_capacity(batches.len()), ..Cleaned::default() };
        for (header, batch) in batches {
            let left = self.clean_batch(header, batch)?;
            // One without records stands for a range that has no other: that is no change.
            cleaned.is_changed |= left != Filtered::Whole && header.record_count > 0;
            let count = match left {
                Filtered::Whole => {
                    cleaned.batches.push((*header, batch.clone()));
                    header.record_count
                }
                Filtered::Part(left, bytes) => {
                    cleaned.batches.push((left, bytes));
                    left.record_count
                }
                Filtered::Nothing => 0,
            };
            cleaned.records_removed += u64::try_from(header.record_count - count).unwrap_or(0);
        }
        Ok(cleaned)
    }

    fn clean_batch(&self, header: &RecordBatchHeader, batch: &Bytes) -> Result<Filtered, RecordCheckError> {
        if header.base_offset >= self.known_to {
            return Ok(Filtered::Whole);
        }
        // Not before what its last tombstones delete is gone.
        let horizon =
            (header.next_offset() <= self.known_to).then(|| self.now.saturating_add(self.delete_retention_ms));
        let keeps_tombstones = header.delete_horizon().is_none_or(|horizon| self.now < horizon);
        let keep = |record: &RecordView<'_>| {
            // Records without a key are from before the topic was compacted: they go, as in Kafka.
            let is_last =
                record.key.is_some_and(|key| self.last_offsets.last_of(key).is_none_or(|last| record.offset >= last));
            is_last && (record.has_value || keeps_tombstones)
        };
        filter_records(batch, header, horizon, keep)
    }
}

#[cfg(test)]
#[path = "cleaning_tests.rs"]
mod tests;
