//! Segments: the commit that makes records exist, its resolution when the reply is lost, and the reads that plan
//! a fetch.

use async_trait::async_trait;
use bytes::Bytes;
use segment::{LaneSequence, LeaderEpoch, Offset, OrganizationId, PartitionKey, SessionId, TimestampMs};

use crate::StoreError;

/// One object to commit, all its ranges of one organization.
#[derive(Clone, Debug)]
pub struct SegmentCommit {
    /// Number within the session.
    pub lane_sequence: LaneSequence,
    /// Its object key; names the session and the lane sequence (see `segment::key`).
    pub object_key: String,
    /// Owner of everything in it.
    pub organization: OrganizationId,
    /// Size of the object.
    pub object_bytes: i64,
    /// Its ranges, at most one per partition.
    pub ranges: Vec<RangeCommit>,
}

/// One partition's part of a segment.
#[derive(Clone, Debug)]
pub struct RangeCommit {
    /// Which partition.
    pub key: PartitionKey,
    /// The epoch under which the offsets were given out.
    pub leader_epoch: LeaderEpoch,
    /// First offset: must equal the partition's `next_offset`.
    pub base_offset: Offset,
    /// First offset after it.
    pub next_offset: Offset,
    /// Where the range begins in the object.
    pub byte_start: i64,
    /// Its length in the object.
    pub byte_len: i64,
    /// CRC32C of the range's batch headers (see docs/format.md).
    pub checksum: u32,
    /// Greatest record timestamp in it.
    pub max_timestamp: TimestampMs,
    /// The broker's clock when it was written; becomes the partition's `last_append_time` (which never goes down).
    pub append_time: TimestampMs,
    /// Encoded producer entries of its idempotent batches (`segment::producer_entries`), empty if none.
    pub producers: Bytes,
    /// A producer-state snapshot as of `next_offset`, when it is time for one.
    pub snapshot: Option<Bytes>,
}

/// What became of one range of a commit that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOutcome {
    /// Committed.
    Accepted,
    /// Definitely not, and never: the topic is deleted.
    TopicDeleted,
    /// Definitely not, and never: the lease is not held under that epoch.
    NotLeader,
    /// Definitely not, and never: `next_offset` is not the range's base offset.
    OffsetMismatch,
    /// Definitely not by this call, and never after: the slot of its segment, or its key, is taken.
    SlotTaken,
}

/// Outcomes in the order of the request: per segment, per range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOutcome {
    /// One inner vector per segment.
    pub segments: Vec<Vec<RangeOutcome>>,
}

/// What a segment whose commit lost its reply turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A tombstone holds its key (put there by this call or an earlier one): it never commits.
    Failed,
    /// It committed; these of its partitions succeeded.
    Committed(Vec<CommittedRange>),
}

/// A range that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedRange {
    /// Which partition.
    pub key: PartitionKey,
    /// Its first offset.
    pub base_offset: Offset,
}

/// Names a segment for resolution.
#[derive(Clone, Debug)]
pub struct SegmentRef {
    /// Number within the session.
    pub lane_sequence: LaneSequence,
    /// Its object key.
    pub object_key: String,
    /// Its owner.
    pub organization: OrganizationId,
}

/// An object found in the bucket, as its key names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundObject {
    /// The session that uploaded it.
    pub session: SessionId,
    /// The slot it was for.
    pub lane_sequence: LaneSequence,
    /// Its owner.
    pub organization: OrganizationId,
    /// Its key.
    pub object_key: String,
}

/// What holds an object's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A segment that has ranges: the object is data.
    Referenced,
    /// It had ranges, or was refused all of them: nothing refers to it, but somebody may still be reading. Leave it to
    /// `claim_unreferenced`, which knows for how long.
    Retired,
    /// It never commits: a tombstone holds its slot, put there by this call or an earlier one, or another key does. The
    /// object may be deleted.
    Garbage,
    /// The database does not know the session in its key: it may be the wrong database. Delete nothing.
    UnknownSession,
}

/// A range as a fetch plan sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRow {
    /// First offset.
    pub base_offset: Offset,
    /// First offset after it.
    pub next_offset: Offset,
    /// Epoch it was written under.
    pub leader_epoch: LeaderEpoch,
    /// The object that holds it.
    pub object_key: String,
    /// Where it begins in the object.
    pub byte_start: i64,
    /// Its length in bytes.
    pub byte_len: i64,
    /// CRC32C of its batch headers.
    pub checksum: u32,
    /// Greatest record timestamp in it.
    pub max_timestamp: TimestampMs,
    /// Size of its object.
    pub object_bytes: i64,
}

/// What a partition's producer state is rebuilt from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerHistory {
    /// The newest snapshot, with the offset it is as of.
    pub snapshot: Option<(Offset, Bytes)>,
    /// Non-empty producer entries of the ranges after it, ascending by offset.
    pub entries: Vec<Bytes>,
    /// Number of ranges after the snapshot (entries or not): when it passes 1,000, write the next one.
    pub ranges_since_snapshot: u32,
}

/// The highest segment a session committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSegment {
    /// The session.
    pub session: SessionId,
    /// Its highest committed lane sequence.
    pub lane_sequence: LaneSequence,
}

/// Transactions on segments and their ranges.
#[async_trait]
pub trait Segments: Send + Sync + 'static {
    /// Commits segments of one session in order, in one transaction. `Fenced` if the session is not active (nothing
    /// happened). Each range is a compare-and-set on its partition's row (session, leader epoch, `next_offset`, not
    /// deleted); one that fails is rejected alone. A segment whose ranges were all rejected still gets its row, retired (so
    /// that its object is garbage with a name). A segment whose slot is taken, by a tombstone or by whatever: all its ranges
    /// are `SlotTaken`. Within a call a later segment sees the effects of an earlier one. Durable when it returns.
    async fn commit_segments(
        &self,
        session: SessionId,
        segments: &[SegmentCommit],
    ) -> Result<CommitOutcome, StoreError>;

    /// Settles segments whose commit lost its reply: inserts a tombstone in each slot; a conflict means the row
    /// that is there tells, and another key there that this one never commits. Of an object that came in several parts
    /// (`replace_ranges`) it tells of all. `Fenced` if the session is not active: the outcome stays unknown to this agent.
    async fn resolve_commit(&self, session: SessionId, segments: &[SegmentRef]) -> Result<Vec<Resolution>, StoreError>;

    /// Claims objects for garbage collection, in one transaction: each slot without a row gets a tombstone, so
    /// that a commit of it that is still under way is refused. A key whose session is unknown gets nothing. `Fenced` if
    /// `session`, which asks, is not active.
    async fn claim_objects(&self, session: SessionId, objects: &[FoundObject]) -> Result<Vec<Claim>, StoreError>;

    /// At most `limit` objects that nothing refers to and nothing ever will, which were not forgotten yet: segments that were
    /// retired at least `older_than_ms` ago, by the database's clock (they lost their last range, or all were
    /// rejected), the oldest first, then tombstones of sessions that are over. The objects may be deleted. `Fenced`
    /// if `session` is not active.
    async fn claim_unreferenced(
        &self,
        session: SessionId,
        older_than_ms: i64,
        limit: u32,
    ) -> Result<Vec<FoundObject>, StoreError>;

    /// These objects are gone: removes their rows, of retired segments at once (what was decided once is not tried
    /// again), of tombstones only where the session that would have committed them is no longer active. A retired one of a
    /// rewrite, whose parts may still come, becomes a tombstone as long as its session is active. Returns how many were
    /// forgotten in one of these ways. `Fenced` if `session` is not active.
    async fn forget_objects(&self, session: SessionId, objects: &[FoundObject]) -> Result<u64, StoreError>;

    /// Ranges of a partition that end after `from`, ascending, at most `limit`.
    async fn ranges_from(&self, key: PartitionKey, from: Offset, limit: u32) -> Result<Vec<RangeRow>, StoreError>;

    /// The first range (by offset) at or after `from` whose greatest timestamp is at least `timestamp`.
    async fn range_at_timestamp(
        &self,
        key: PartitionKey,
        from: Offset,
        timestamp: TimestampMs,
    ) -> Result<Option<RangeRow>, StoreError>;

    /// The first range (by offset) that has the greatest timestamp of the partition, among those that end after `from`.
    async fn range_of_max_timestamp(&self, key: PartitionKey, from: Offset) -> Result<Option<RangeRow>, StoreError>;

    /// What the partition's producer state is rebuilt from.
    async fn producer_history(&self, key: PartitionKey) -> Result<ProducerHistory, StoreError>;

    /// For every session that committed any segment of its lane (rewrites do not count), the highest lane sequence (for the
    /// bucket's own note of it). What was collected since counts too.
    async fn last_segments(&self) -> Result<Vec<LastSegment>, StoreError>;
}
