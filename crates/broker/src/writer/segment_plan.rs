//! One round of gathering: waiting batches of all partitions become segments, one per organization.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use metadata::{RangeCommit, SegmentCommit, SegmentRef};
use rand::Rng;
use rand::rngs::StdRng;
use segment::{
    LaneSequence, ObjectKey, ObjectPurpose, OrganizationId, ProducerBatch, RangeMeta, SegmentBuilder, SegmentIdentity,
    SessionId, TimestampMs, TopicId,
};
use uuid::Uuid;

use super::partition::Partition;
use super::partition_state::Gathered;
use super::pool::WriterPool;
use crate::limits::RANGES_PER_SNAPSHOT;

/// What names the segments of a session.
#[derive(Debug)]
pub(crate) struct LaneIdentity {
    pub(crate) cluster_id: Uuid,
    pub(crate) session: SessionId,
    pub(crate) next_sequence: LaneSequence,
    pub(crate) rng: StdRng,
}

impl LaneIdentity {
    fn next_key(&mut self, organization: OrganizationId) -> (LaneSequence, Arc<str>) {
        let lane_sequence = self.next_sequence;
        self.next_sequence += 1;
        let (session, unique) = (self.session, self.rng.random());
        let key = ObjectKey { organization, purpose: ObjectPurpose::Flush, session, lane_sequence, unique };
        (lane_sequence, key.to_string().into())
    }
}

/// A range on its way.
#[derive(Debug)]
pub(crate) struct PlannedRange {
    pub(crate) partition: Arc<Partition>,
    pub(crate) generation: u64,
    pub(crate) append_time: TimestampMs,
    pub(crate) meta: RangeMeta,
}

impl PlannedRange {
    /// Whether its partition's line did not fail since it was gathered.
    pub(crate) fn is_in_line(&self) -> bool {
        self.partition.state.lock().generation() == self.generation
    }
}

/// A segment on its way.
#[derive(Debug)]
pub(crate) struct PlannedSegment {
    pub(crate) lane_sequence: LaneSequence,
    pub(crate) object_key: Arc<str>,
    pub(crate) organization: OrganizationId,
    pub(crate) object_bytes: u64,
    /// Number of batches in it.
    pub(crate) batches: usize,
    /// The object as slices; taken by the upload.
    pub(crate) chunks: Vec<Bytes>,
    pub(crate) ranges: Vec<PlannedRange>,
}

struct OpenSegment {
    lane_sequence: LaneSequence,
    object_key: Arc<str>,
    identity: SegmentIdentity,
    ranges: Vec<(Arc<Partition>, Gathered)>,
}

/// Gathers what waits, up to about `bytes_max`, into one segment per organization.
pub(crate) fn gather(
    pool: &WriterPool,
    lane: &mut LaneIdentity,
    bytes_max: usize,
    committed_through: LaneSequence,
    now: TimestampMs,
) -> Vec<PlannedSegment> {
    let mut open: BTreeMap<OrganizationId, OpenSegment> = BTreeMap::new();
    let mut dirty = pool.take_dirty();
    let mut left = bytes_max;
    let mut unfinished = std::collections::VecDeque::new();
    while left > 0 {
        let Some(partition) = dirty.pop_front() else { break };
        let organization = partition.key.organization;
        let open_segment = |lane: &mut LaneIdentity| {
            let (lane_sequence, object_key) = lane.next_key(organization);
            let cluster_id = lane.cluster_id;
            let identity = SegmentIdentity {
                cluster_id,
                organization,
                session: lane.session,
                lane_sequence,
                committed_through,
                written_at: now,
            };
            OpenSegment { lane_sequence, object_key, identity, ranges: Vec::new() }
        };
        let gathered = partition
            .state
            .lock()
            .gather(left, || Arc::clone(&open.entry(organization).or_insert_with(|| open_segment(lane)).object_key));
        let Some(gathered) = gathered else { continue };
        left = left.saturating_sub(gathered.bytes);
        pool.gathered(gathered.bytes);
        if gathered.more {
            unfinished.push_back(Arc::clone(&partition));
        }
        if let Some(segment) = open.get_mut(&organization) {
            segment.ranges.push((partition, gathered));
        }
    }
    unfinished.append(&mut dirty);
    pool.put_back(unfinished);
    let mut segments: Vec<_> = open.into_iter().map(|(organization, segment)| segment.finish(organization)).collect();
    segments.sort_unstable_by_key(|segment| segment.lane_sequence); // I5
    segments
}

impl OpenSegment {
    /// Ranges lie in the order of their keys, as those who read several of them, and the tables of metadata, have them.
    fn finish(mut self, organization: OrganizationId) -> PlannedSegment {
        self.ranges.sort_unstable_by_key(|(partition, _)| partition.key);
        let mut builder = SegmentBuilder::new(self.identity);
        let mut batches = 0;
        for (partition, gathered) in &mut self.ranges {
            builder.begin_range(partition.key, gathered.leader_epoch, gathered.predecessor.to_string());
            batches += gathered.batches.len();
            for (header, placed) in std::mem::take(&mut gathered.batches) {
                builder.push(placed, &header);
            }
        }
        let finished = builder.finish();
        assert_eq!(finished.ranges.len(), self.ranges.len(), "every gathered partition has its range");
        let planned = |((partition, gathered), meta): ((Arc<Partition>, Gathered), RangeMeta)| PlannedRange {
            partition,
            generation: gathered.generation,
            append_time: gathered.append_time,
            meta,
        };
        PlannedSegment {
            lane_sequence: self.lane_sequence,
            object_key: self.object_key,
            organization,
            object_bytes: finished.object_bytes,
            batches,
            chunks: finished.chunks,
            ranges: self.ranges.into_iter().zip(finished.ranges).map(planned).collect(),
        }
    }
}

impl PlannedSegment {
    /// Leaves out ranges whose partition failed since they were gathered; they were answered then.
    pub(crate) fn drop_failed_ranges(&mut self) {
        self.ranges.retain(PlannedRange::is_in_line);
    }

    /// Whose bytes it holds. Topics repeat, unless their partitions were gathered one after the other.
    pub(crate) fn topic_bytes(&self) -> Vec<(TopicId, u64)> {
        let mut topics: Vec<(TopicId, u64)> = Vec::new();
        for PlannedRange { meta, .. } in &self.ranges {
            match topics.last_mut().filter(|(topic, _)| *topic == meta.key.topic_id) {
                Some((_, bytes)) => *bytes += meta.byte_len,
                None => topics.push((meta.key.topic_id, meta.byte_len)),
            }
        }
        topics
    }

    /// How a lost reply is resolved.
    pub(crate) fn reference(&self) -> SegmentRef {
        SegmentRef {
            lane_sequence: self.lane_sequence,
            object_key: self.object_key.to_string(),
            organization: self.organization,
        }
    }

    /// What is to be committed. `snapshot_for` says whether a partition may get a producer snapshot in this commit.
    pub(crate) fn to_commit(&self, mut snapshot_for: impl FnMut(&PlannedRange) -> bool) -> SegmentCommit {
        let ranges = self.ranges.iter().map(|range| range.to_commit(snapshot_for(range))).collect();
        SegmentCommit {
            lane_sequence: self.lane_sequence,
            object_key: self.object_key.to_string(),
            organization: self.organization,
            object_bytes: to_i64(self.object_bytes),
            ranges,
        }
    }
}

impl PlannedRange {
    fn to_commit(&self, snapshot_allowed: bool) -> RangeCommit {
        let producers = self.producers();
        let snapshot = snapshot_allowed.then(|| self.snapshot(&producers)).flatten();
        RangeCommit {
            key: self.meta.key,
            leader_epoch: self.meta.leader_epoch,
            base_offset: self.meta.base_offset,
            next_offset: self.meta.next_offset,
            byte_start: to_i64(self.meta.byte_start),
            byte_len: to_i64(self.meta.byte_len),
            checksum: self.meta.checksum,
            max_timestamp: self.meta.max_timestamp,
            append_time: self.append_time,
            producers: segment::encode_producer_entries(&producers),
            snapshot,
        }
    }

    /// The range's producer entries as metadata keeps them: with the time of the append, by which a producer expires,
    /// where the object's footer has the records' own time (it may be years old).
    #[expect(clippy::expect_used, reason = "the builder encoded these bytes a moment ago")]
    fn producers(&self) -> Vec<ProducerBatch> {
        let mut entries = segment::decode_producer_entries(&self.meta.producers).expect("what was encoded decodes");
        entries.iter_mut().for_each(|entry| entry.timestamp = self.append_time);
        entries
    }

    /// A producer snapshot as of this range's end, if one is due.
    fn snapshot(&self, producers: &[ProducerBatch]) -> Option<Bytes> {
        let snapshot = self.partition.state.lock().snapshot_due(producers, RANGES_PER_SNAPSHOT)?;
        Some(segment::encode_producer_entries(&snapshot))
    }
}

fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
