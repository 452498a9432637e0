//! Segment commits, their resolution, and the reads over ranges in the in-memory model.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use async_trait::async_trait;
use bytes::Bytes;
use segment::{LaneSequence, Offset, PartitionKey, REWRITE_SEQUENCE_BASE, SessionId, TimestampMs};

use super::{FailPoint, Kind, MemoryStore, Range, Segment, Slot, State};
use crate::{
    Claim, CommitOutcome, CommittedRange, FoundObject, LastSegment, ProducerHistory, RangeCommit, RangeOutcome,
    RangeRow, Resolution, SNAPSHOTS_KEPT, SeededBug, SegmentCommit, SegmentRef, Segments, StoreError,
};

#[async_trait]
impl Segments for MemoryStore {
    async fn commit_segments(
        &self,
        session: SessionId,
        segments: &[SegmentCommit],
    ) -> Result<CommitOutcome, StoreError> {
        let now = (self.clock)();
        self.hold_up(session, segments);
        self.run_commit_of(session, |state| state.commit_segments(session, segments, now))
    }

    async fn resolve_commit(&self, session: SessionId, segments: &[SegmentRef]) -> Result<Vec<Resolution>, StoreError> {
        let now = (self.clock)();
        self.run_commit_of(session, |state| {
            state.require_active(session)?;
            Ok(segments.iter().map(|segment| state.resolve_segment(session, segment, now)).collect())
        })
    }

    async fn claim_objects(&self, session: SessionId, objects: &[FoundObject]) -> Result<Vec<Claim>, StoreError> {
        let now = (self.clock)();
        let mut state = self.begin()?;
        state.require_active(session)?;
        Ok(objects.iter().map(|object| state.claim(object, now)).collect())
    }

    async fn claim_unreferenced(
        &self,
        session: SessionId,
        older_than_ms: i64,
        limit: u32,
    ) -> Result<Vec<FoundObject>, StoreError> {
        let retired_until = (self.clock)().saturating_sub(older_than_ms);
        let state = self.begin()?;
        state.require_active(session)?;
        let is_garbage = |slot: &Slot, segment: &Segment| match segment.kind {
            Kind::Committed => false,
            Kind::Retired => segment.since <= retired_until,
            Kind::Tombstone => !state.is_active(slot.0),
        };
        let mut garbage: Vec<_> = state.segments.iter().filter(|(slot, segment)| is_garbage(slot, segment)).collect();
        garbage.sort_by_key(|(slot, segment)| (segment.kind == Kind::Tombstone, segment.since, **slot));
        let found = |(slot, segment): (&Slot, &Segment)| FoundObject {
            session: slot.0,
            lane_sequence: slot.1,
            organization: slot.2,
            object_key: segment.object_key.clone(),
        };
        Ok(garbage.into_iter().take(limit as usize).map(found).collect())
    }

    async fn forget_objects(&self, session: SessionId, objects: &[FoundObject]) -> Result<u64, StoreError> {
        let mut state = self.begin()?;
        state.require_active(session)?;
        Ok(objects.iter().map(|object| u64::from(state.forget(object))).sum())
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
            if segment.kind != Kind::Tombstone && *lane_sequence < REWRITE_SEQUENCE_BASE {
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

impl MemoryStore {
    /// Keeps a commit whose turn it is to land late.
    fn hold_up(&self, session: SessionId, segments: &[SegmentCommit]) {
        let mut faults = self.faults.lock();
        if faults.next.front() == Some(&FailPoint::LandsLate) && !faults.unavailable {
            faults.late.push((session, segments.to_vec()));
        }
    }
}

impl State {
    /// See `commit_segments` of the trait.
    pub(super) fn commit_segments(
        &mut self,
        session: SessionId,
        segments: &[SegmentCommit],
        now: TimestampMs,
    ) -> Result<CommitOutcome, StoreError> {
        if !self.has(SeededBug::NoEpochCheck) {
            self.require_active(session)?;
        }
        let segments = segments.iter().map(|segment| self.commit_segment(session, segment, now)).collect();
        Ok(CommitOutcome { segments })
    }

    /// A segment takes its slot or, where that is taken, has no effect at all.
    fn commit_segment(&mut self, session: SessionId, segment: &SegmentCommit, now: TimestampMs) -> Vec<RangeOutcome> {
        let slot = (session, segment.lane_sequence, segment.organization);
        if !self.take_slot(slot, &segment.object_key, Kind::Committed, now) {
            return vec![RangeOutcome::SlotTaken; segment.ranges.len()];
        }
        let outcomes: Vec<_> = segment.ranges.iter().map(|range| self.commit_range(slot, segment, range)).collect();
        if !outcomes.contains(&RangeOutcome::Accepted) {
            self.retire_empty([slot], now);
        }
        outcomes
    }

    /// Puts a row where none is; whether it did.
    pub(super) fn take_slot(&mut self, slot: Slot, object_key: &str, kind: Kind, now: TimestampMs) -> bool {
        let Entry::Vacant(free) = self.segments.entry(slot) else { return false };
        free.insert(Segment { object_key: object_key.to_owned(), kind, since: now });
        true
    }

    /// Retires those of these segments that have no range.
    pub(super) fn retire_empty(&mut self, slots: impl IntoIterator<Item = Slot>, now: TimestampMs) {
        for slot in slots.into_iter().collect::<BTreeSet<_>>() {
            let is_empty = !self.ranges.values().any(|range| range.slot == slot);
            if let Some(segment) =
                self.segments.get_mut(&slot).filter(|found| is_empty && found.kind == Kind::Committed)
            {
                (segment.kind, segment.since) = (Kind::Retired, now);
            }
        }
    }

    /// The compare-and-set of one partition, and the rows that come with it.
    fn commit_range(&mut self, slot: Slot, segment: &SegmentCommit, range: &RangeCommit) -> RangeOutcome {
        let checks_epoch = !self.has(SeededBug::NoEpochCheck);
        let Some(partition) = self.partitions.get_mut(&range.key).filter(|p| !p.deleted) else {
            return RangeOutcome::TopicDeleted;
        };
        if checks_epoch && (partition.session != Some(slot.0) || partition.leader_epoch != range.leader_epoch) {
            return RangeOutcome::NotLeader;
        }
        if partition.next_offset != range.base_offset {
            return RangeOutcome::OffsetMismatch;
        }
        partition.next_offset = range.next_offset;
        partition.last_append_time = partition.last_append_time.max(range.append_time);
        partition.last_segment = Some(slot);
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
        let row = Range { row, slot, producers: range.producers.clone() };
        self.ranges.insert((range.key, range.base_offset), row);
        if let Some(snapshot) = &range.snapshot {
            self.insert_snapshot(range.key, range.next_offset, snapshot.clone());
        }
        RangeOutcome::Accepted
    }

    /// And drops those that it makes superfluous.
    pub(super) fn insert_snapshot(&mut self, key: PartitionKey, as_of_offset: Offset, snapshot: Bytes) {
        self.snapshots.insert((key, as_of_offset), snapshot);
        let newest_first = self.snapshots.range((key, 0)..=(key, Offset::MAX)).rev().map(|(id, _)| *id);
        for old in newest_first.skip(SNAPSHOTS_KEPT).collect::<Vec<_>>() {
            self.snapshots.remove(&old);
        }
    }

    /// Puts a tombstone where nothing is, and reads what is there otherwise. A slot that another object took can
    /// never be this object's, so that is a failure too.
    fn resolve_segment(&mut self, session: SessionId, segment: &SegmentRef, now: TimestampMs) -> Resolution {
        let slot = (session, segment.lane_sequence, segment.organization);
        if !self.has(SeededBug::LookUpInsteadOfTombstone) {
            self.take_slot(slot, &segment.object_key, Kind::Tombstone, now);
        }
        let committed = |found: &&Segment| found.object_key == segment.object_key && found.kind != Kind::Tombstone;
        if self.segments.get(&slot).filter(committed).is_none() {
            return Resolution::Failed;
        }
        let found = self.ranges.iter().filter(|(_, range)| range.slot == slot);
        Resolution::Committed(found.map(|((key, base), _)| CommittedRange { key: *key, base_offset: *base }).collect())
    }

    /// See `claim_objects`.
    fn claim(&mut self, object: &FoundObject, now: TimestampMs) -> Claim {
        if !self.sessions.contains_key(&object.session) {
            return Claim::UnknownSession;
        }
        let slot = (object.session, object.lane_sequence, object.organization);
        if !self.has(SeededBug::GarbageWithoutClaim) {
            self.take_slot(slot, &object.object_key, Kind::Tombstone, now);
        }
        match self.segments.get(&slot).filter(|found| found.object_key == object.object_key).map(|found| found.kind) {
            Some(Kind::Committed) => Claim::Referenced,
            Some(Kind::Retired) => Claim::Retired,
            Some(Kind::Tombstone) | None => Claim::Garbage,
        }
    }

    /// See `forget_objects`.
    fn forget(&mut self, object: &FoundObject) -> bool {
        let slot = (object.session, object.lane_sequence, object.organization);
        let (lives, is_rewrite) = (self.is_active(slot.0), slot.1 >= REWRITE_SEQUENCE_BASE);
        let found = self.segments.get_mut(&slot).filter(|found| found.object_key == object.object_key);
        let Some(found) = found else { return false };
        match found.kind {
            Kind::Retired if is_rewrite && lives => {
                found.kind = Kind::Tombstone;
                return true;
            }
            Kind::Retired => {}
            Kind::Tombstone if !lives => {}
            Kind::Tombstone | Kind::Committed => return false,
        }
        let is_retired = self.segments.remove(&slot).is_some_and(|segment| segment.kind == Kind::Retired);
        if let Some(session) = self.sessions.get_mut(&slot.0).filter(|_| is_retired && !is_rewrite) {
            session.last_collected = session.last_collected.max(slot.1);
        }
        true
    }

    /// Ranges of a partition that end after `from`, ascending.
    fn ranges_after(&self, key: PartitionKey, from: Offset) -> impl Iterator<Item = &RangeRow> {
        let all = self.ranges.range((key, 0)..=(key, Offset::MAX));
        all.map(|(_, range)| &range.row).filter(move |range| range.next_offset > from)
    }
}
