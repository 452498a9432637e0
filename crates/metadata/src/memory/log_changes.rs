//! Log starts and replaced ranges in the in-memory model.

use async_trait::async_trait;
use bytes::Bytes;
use segment::{Offset, PartitionKey, SessionId, TimestampMs};

use super::{Kind, MemoryStore, Range, Slot, State};
use crate::{
    CleanedLog, LogChangeOutcome, LogChanges, LogStartMove, NewRange, RangeRow, RangesReplacement, SegmentRewrite,
    SnapshotAt, StoreError,
    log_changes::{Covered, FoundRow, LogRow},
};

#[async_trait]
impl LogChanges for MemoryStore {
    async fn move_log_starts(
        &self,
        session: SessionId,
        moves: &[LogStartMove],
        rows_max: u32,
    ) -> Result<Vec<LogChangeOutcome>, StoreError> {
        let now = (self.clock)();
        self.run_commit(|state| {
            state.require_active(session)?;
            let mut left = rows_max as usize;
            let outcomes = moves.iter().map(|moved| state.move_log_start(session, moved, &mut left, now));
            Ok(outcomes.map(|outcome| outcome.unwrap_or_else(|refused| refused)).collect())
        })
    }

    async fn replace_ranges(
        &self,
        session: SessionId,
        rewrite: &SegmentRewrite,
    ) -> Result<Vec<LogChangeOutcome>, StoreError> {
        let now = (self.clock)();
        self.run_commit(|state| {
            state.require_active(session)?;
            let slot = (session, rewrite.lane_sequence, rewrite.organization);
            state.take_slot(slot, &rewrite.object_key, Kind::Committed, now);
            let found = state.segments.get(&slot);
            if found.is_none_or(|found| found.object_key != rewrite.object_key || found.kind != Kind::Committed) {
                return Ok(vec![LogChangeOutcome::Stale; rewrite.replacements.len()]);
            }
            let outcomes =
                rewrite.replacements.iter().map(|replacement| state.replace(slot, rewrite, replacement, now));
            let outcomes = outcomes.map(|outcome| outcome.unwrap_or_else(|refused| refused)).collect();
            state.retire_empty([slot], now);
            Ok(outcomes)
        })
    }

    async fn note_cleaned(&self, session: SessionId, logs: &[CleanedLog]) -> Result<(), StoreError> {
        self.run_commit(|state| {
            state.require_active(session)?;
            for log in logs {
                let partition = state.partitions.get_mut(&log.key);
                let partition = partition.filter(|row| row.is_led(session, log.leader_epoch));
                if let Some(partition) = partition.filter(|row| log.offset <= row.next_offset) {
                    partition.cleaned_offset = partition.cleaned_offset.max(log.offset);
                }
            }
            Ok(())
        })
    }
}

impl State {
    /// What a change sees of a partition; `None` if it is gone.
    fn log_row(&self, session: SessionId, key: PartitionKey) -> Option<LogRow> {
        let partition = self.partitions.get(&key).filter(|partition| !partition.deleted)?;
        Some(LogRow {
            is_held: partition.session == Some(session),
            leader_epoch: partition.leader_epoch,
            next_offset: partition.next_offset,
            log_start_offset: partition.log_start_offset,
            snapshot_at: self.snapshots.range((key, 0)..=(key, Offset::MAX)).next_back().map(|((_, at), _)| *at),
        })
    }

    fn move_log_start(
        &mut self,
        session: SessionId,
        moved: &LogStartMove,
        left: &mut usize,
        now: TimestampMs,
    ) -> Result<LogChangeOutcome, LogChangeOutcome> {
        let plan = moved.check(self.log_row(session, moved.key))?;
        let (key, log_start) = (moved.key, plan.log_start_offset);
        let all =
            self.ranges.range((key, 0)..(key, log_start)).map(|((_, base), range)| (*base, range.row.next_offset));
        let below: Vec<_> = all.filter(|(_, next)| *next <= log_start).collect();
        if !plan.allows(below.last().map(|(_, next)| *next)) {
            return Err(LogChangeOutcome::Stale);
        }
        self.keep_snapshot(key, plan.covered, moved.snapshot.as_ref());
        if let Some(partition) = self.partitions.get_mut(&key) {
            partition.log_start_offset = log_start;
        }
        self.trim_epochs(key, log_start);
        let more = below.len() > *left;
        let deleted = below.into_iter().take(*left).filter_map(|(base, _)| self.ranges.remove(&(key, base)));
        let slots: Vec<Slot> = deleted.map(|range| range.slot).collect();
        *left -= slots.len();
        self.retire_empty(slots, now);
        Ok(LogChangeOutcome::Done { more })
    }

    /// Of the entries at or below the log start the last one stays, and begins there.
    fn trim_epochs(&mut self, key: PartitionKey, log_start: Offset) {
        let old: Vec<Offset> = self.leader_epochs.range((key, 0)..=(key, log_start)).map(|((_, at), _)| *at).collect();
        let removed = old.into_iter().filter_map(|at| self.leader_epochs.remove(&(key, at))).last();
        if let Some(leader_epoch) = removed {
            self.leader_epochs.insert((key, log_start), leader_epoch);
        }
    }

    fn keep_snapshot(&mut self, key: PartitionKey, covered: Covered, given: Option<&SnapshotAt>) {
        if let Some(SnapshotAt { as_of_offset, snapshot }) = given.filter(|_| covered.is_new) {
            self.insert_snapshot(key, *as_of_offset, snapshot.clone());
        }
    }

    fn replace(
        &mut self,
        slot: Slot,
        rewrite: &SegmentRewrite,
        replacement: &RangesReplacement,
        now: TimestampMs,
    ) -> Result<LogChangeOutcome, LogChangeOutcome> {
        let RangesReplacement { key, replaced, ranges, snapshot, .. } = replacement;
        let found = replaced.iter().filter_map(|base| self.ranges.get(&(*key, *base)));
        let found: Vec<_> = found.map(found_row).collect();
        let covered = replacement.check(slot, self.log_row(slot.0, *key), &found)?;
        self.keep_snapshot(*key, covered, snapshot.as_ref());
        let gone: Vec<Range> = found.iter().filter_map(|row| self.ranges.remove(&(*key, row.extent.0))).collect();
        for range in ranges {
            let row = new_row(range, rewrite);
            self.ranges.insert((*key, range.base_offset), Range { row, slot, producers: Bytes::new() });
        }
        self.retire_empty(gone.into_iter().map(|range| range.slot), now);
        Ok(LogChangeOutcome::Done { more: false })
    }
}

fn found_row(range: &Range) -> FoundRow {
    let (session, lane_sequence, _) = range.slot;
    FoundRow { extent: (range.row.base_offset, range.row.next_offset), session, lane_sequence }
}

fn new_row(range: &NewRange, rewrite: &SegmentRewrite) -> RangeRow {
    RangeRow {
        base_offset: range.base_offset,
        next_offset: range.next_offset,
        leader_epoch: range.leader_epoch,
        object_key: rewrite.object_key.clone(),
        byte_start: range.byte_start,
        byte_len: range.byte_len,
        checksum: range.checksum,
        max_timestamp: range.max_timestamp,
        object_bytes: rewrite.object_bytes,
    }
}
