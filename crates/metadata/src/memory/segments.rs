//! Segment commits, their resolution, and the reads over ranges in the in-memory model.

use std::collections::{BTreeMap, btree_map::Entry};

use async_trait::async_trait;
use segment::{LaneSequence, Offset, PartitionKey, SessionId, TimestampMs};

use super::{MemoryStore, Range, Segment, Slot, State};
use crate::{
    Claim, CommitOutcome, CommittedRange, FoundObject, LastSegment, ProducerHistory, RangeCommit, RangeOutcome,
    RangeRow, Resolution, SNAPSHOTS_KEPT, SegmentCommit, SegmentRef, Segments, StoreError,
};

#[async_trait]
impl Segments for MemoryStore {
    async fn commit_segments(
        &self,
        session: SessionId,
        segments: &[SegmentCommit],
    ) -> Result<CommitOutcome, StoreError> {
        self.run_commit_of(session, |state| {
            state.require_active(session)?;
            let segments = segments.iter().map(|segment| state.commit_segment(session, segment)).collect();
            Ok(CommitOutcome { segments })
        })
    }

    async fn resolve_commit(&self, session: SessionId, segments: &[SegmentRef]) -> Result<Vec<Resolution>, StoreError> {
        self.run_commit_of(session, |state| {
            state.require_active(session)?;
            Ok(segments.iter().map(|segment| state.resolve_segment(session, segment)).collect())
        })
    }

    async fn claim_objects(&self, session: SessionId, objects: &[FoundObject]) -> Result<Vec<Claim>, StoreError> {
        let mut state = self.begin()?;
        state.require_active(session)?;
        Ok(objects.iter().map(|object| state.claim(object)).collect())
    }

    async fn claim_unreferenced(&self, session: SessionId, limit: u32) -> Result<Vec<String>, StoreError> {
        let mut state = self.begin()?;
        state.require_active(session)?;
        let is_garbage = |slot: &Slot| match state.segments.get(slot) {
            Some(segment) if segment.tombstone => !state.is_active(slot.0),
            Some(_) => !state.has_ranges(*slot),
            None => false,
        };
        let garbage = state.object_keys.iter().filter(|(_, slot)| is_garbage(slot)).take(limit as usize);
        let garbage: Vec<(String, Slot)> = garbage.map(|(key, slot)| (key.clone(), *slot)).collect();
        for (_, slot) in &garbage {
            state.bury(*slot);
        }
        Ok(garbage.into_iter().map(|(key, _)| key).collect())
    }

    async fn forget_tombstones(&self, session: SessionId, object_keys: &[String]) -> Result<u64, StoreError> {
        let mut state = self.begin()?;
        state.require_active(session)?;
        let mut gone = 0;
        for key in object_keys {
            let Some(slot) = state.object_keys.get(key).copied() else { continue };
            let is_tombstone = state.segments.get(&slot).is_some_and(|segment| segment.tombstone);
            if is_tombstone && !state.is_active(slot.0) {
                state.segments.remove(&slot);
                state.object_keys.remove(key);
                gone += 1;
            }
        }
        Ok(gone)
    }

    async fn ranges_from(&self, key: PartitionKey, from: Offset, limit: u32) -> Result<Vec<RangeRow>, StoreError> {
        let state = self.begin()?;
        Ok(state.ranges_after(key, from).take(limit as usize).cloned().collect())
    }

    async fn range_at_timestamp(
        &self,
        key: PartitionKey,
        from: Offset,
        timestamp: TimestampMs,
    ) -> Result<Option<RangeRow>, StoreError> {
        let state = self.begin()?;
        Ok(state.ranges_after(key, from).find(|range| range.max_timestamp >= timestamp).cloned())
    }

    async fn range_of_max_timestamp(&self, key: PartitionKey, from: Offset) -> Result<Option<RangeRow>, StoreError> {
        let state = self.begin()?;
        let mut best: Option<&RangeRow> = None;
        for range in state.ranges_after(key, from) {
            if best.is_none_or(|best| range.max_timestamp > best.max_timestamp) {
                best = Some(range);
            }
        }
        Ok(best.cloned())
    }

    async fn producer_history(&self, key: PartitionKey) -> Result<ProducerHistory, StoreError> {
        let state = self.begin()?;
        let newest = state.snapshots.range((key, 0)..=(key, Offset::MAX)).next_back();
        let snapshot = newest.map(|((_, as_of), bytes)| (*as_of, bytes.clone()));
        let since = snapshot.as_ref().map_or(0, |(as_of, _)| *as_of);
        let mut history = ProducerHistory { snapshot, ..ProducerHistory::default() };
        for (_, range) in state.ranges.range((key, since)..=(key, Offset::MAX)) {
            history.ranges_since_snapshot += 1;
            if !range.producers.is_empty() {
                history.entries.push(range.producers.clone());
            }
        }
        Ok(history)
    }

    async fn last_segments(&self) -> Result<Vec<LastSegment>, StoreError> {
        let state = self.begin()?;
        let mut last: BTreeMap<SessionId, LaneSequence> = BTreeMap::new();
        for ((session, lane_sequence, _), segment) in &state.segments {
            if !segment.tombstone {
                last.insert(*session, *lane_sequence);
            }
        }
        for (session, row) in state.sessions.iter().filter(|(_, row)| row.last_collected >= 0) {
            let known = last.entry(*session).or_insert(row.last_collected);
            *known = (*known).max(row.last_collected);
        }
        Ok(last.into_iter().map(|(session, lane_sequence)| LastSegment { session, lane_sequence }).collect())
    }
}

impl State {
    /// A segment takes its slot and its object key, or, where either is taken, has no effect at all.
    fn commit_segment(&mut self, session: SessionId, segment: &SegmentCommit) -> Vec<RangeOutcome> {
        let slot = (session, segment.lane_sequence, segment.organization);
        if self.segments.contains_key(&slot) || self.object_keys.contains_key(&segment.object_key) {
            return vec![RangeOutcome::OffsetMismatch; segment.ranges.len()];
        }
        self.segments.insert(slot, Segment { tombstone: false });
        self.object_keys.insert(segment.object_key.clone(), slot);
        segment.ranges.iter().map(|range| self.commit_range(session, segment, range)).collect()
    }

    /// The compare-and-set of one partition, and the rows that come with it.
    fn commit_range(&mut self, session: SessionId, segment: &SegmentCommit, range: &RangeCommit) -> RangeOutcome {
        let Some(partition) = self.partitions.get_mut(&range.key).filter(|p| !p.deleted) else {
            return RangeOutcome::TopicDeleted;
        };
        if partition.session != Some(session) || partition.leader_epoch != range.leader_epoch {
            return RangeOutcome::NotLeader;
        }
        if partition.next_offset != range.base_offset {
            return RangeOutcome::OffsetMismatch;
        }
        partition.next_offset = range.next_offset;
        partition.last_append_time = partition.last_append_time.max(range.append_time);
        let row = RangeRow {
            base_offset: range.base_offset,
            next_offset: range.next_offset,
            leader_epoch: range.leader_epoch,
            object_key: segment.object_key.clone(),
            byte_start: range.byte_start,
            byte_len: range.byte_len,
            checksum: range.checksum,
            max_timestamp: range.max_timestamp,
            object_bytes: segment.object_bytes,
        };
        let row = Range { row, session, lane_sequence: segment.lane_sequence, producers: range.producers.clone() };
        self.ranges.insert((range.key, range.base_offset), row);
        if let Some(snapshot) = &range.snapshot {
            self.snapshots.insert((range.key, range.next_offset), snapshot.clone());
            self.drop_old_snapshots(range.key);
        }
        RangeOutcome::Accepted
    }

    fn drop_old_snapshots(&mut self, key: PartitionKey) {
        let newest_first = self.snapshots.range((key, 0)..=(key, Offset::MAX)).rev().map(|(id, _)| *id);
        for old in newest_first.skip(SNAPSHOTS_KEPT).collect::<Vec<_>>() {
            self.snapshots.remove(&old);
        }
    }

    /// Puts a tombstone where nothing is, and reads what is there otherwise. A slot that another object took can
    /// never be this object's, so that is a failure too.
    fn resolve_segment(&mut self, session: SessionId, segment: &SegmentRef) -> Resolution {
        let own_slot = (session, segment.lane_sequence, segment.organization);
        let Some(slot) = self.object_keys.get(&segment.object_key).copied() else {
            if let Entry::Vacant(free) = self.segments.entry(own_slot) {
                free.insert(Segment { tombstone: true });
                self.object_keys.insert(segment.object_key.clone(), own_slot);
            }
            return Resolution::Failed;
        };
        if self.segments.get(&slot).is_none_or(|found| found.tombstone) {
            return Resolution::Failed;
        }
        let in_slot =
            |key: &PartitionKey, range: &Range| (range.session, range.lane_sequence, key.organization) == slot;
        let found = self.ranges.iter().filter(|((key, _), range)| in_slot(key, range));
        Resolution::Committed(found.map(|((key, base), _)| CommittedRange { key: *key, base_offset: *base }).collect())
    }

    /// See `claim_objects`.
    fn claim(&mut self, object: &FoundObject) -> Claim {
        if !self.sessions.contains_key(&object.session) {
            return Claim::UnknownSession;
        }
        let own_slot = (object.session, object.lane_sequence, object.organization);
        let Some(slot) = self.object_keys.get(&object.object_key).copied() else {
            if let Entry::Vacant(free) = self.segments.entry(own_slot) {
                free.insert(Segment { tombstone: true });
                self.object_keys.insert(object.object_key.clone(), own_slot);
            }
            return Claim::Garbage;
        };
        if self.has_ranges(slot) {
            return Claim::Referenced;
        }
        self.bury(slot);
        Claim::Garbage
    }

    fn has_ranges(&self, slot: Slot) -> bool {
        self.ranges.iter().any(|((key, _), range)| (range.session, range.lane_sequence, key.organization) == slot)
    }

    /// Turns a segment into a tombstone, but remembers that its session committed it.
    fn bury(&mut self, slot: Slot) {
        let Some(segment) = self.segments.get_mut(&slot) else { return };
        if !std::mem::replace(&mut segment.tombstone, true)
            && let Some(session) = self.sessions.get_mut(&slot.0)
        {
            session.last_collected = session.last_collected.max(slot.1);
        }
    }

    /// Ranges of a partition that end after `from`, ascending.
    fn ranges_after(&self, key: PartitionKey, from: Offset) -> impl Iterator<Item = &RangeRow> {
        let all = self.ranges.range((key, 0)..=(key, Offset::MAX));
        all.map(|(_, range)| &range.row).filter(move |range| range.next_offset > from)
    }
}
