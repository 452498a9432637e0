//! What happens to a log behind its end: its start moves forward, and rows are replaced by fewer ones.
//!
//! Both are background work of a partition's leader, checked partition by partition against its row, as a commit is. What
//! is deleted here decides what objects are still referred to: a segment that loses its last range is retired in the
//! same transaction.

use async_trait::async_trait;
use bytes::Bytes;
use segment::{LaneSequence, LeaderEpoch, Offset, OrganizationId, PartitionKey, SessionId, TimestampMs};

use crate::StoreError;

/// A partition's whole producer state as of an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotAt {
    /// First offset that is not in it: where a committed range begins, or the partition's `next_offset`.
    pub as_of_offset: Offset,
    /// The encoded state (see docs/format.md).
    pub snapshot: Bytes,
}

/// Moves a partition's log start forward.
#[derive(Clone, Debug)]
pub struct LogStartMove {
    /// Which partition.
    pub key: PartitionKey,
    /// The epoch of the caller's lease.
    pub leader_epoch: LeaderEpoch,
    /// First offset that stays.
    pub log_start_offset: Offset,
    /// Needed where ranges would go that no newer snapshot covers.
    pub snapshot: Option<SnapshotAt>,
}

/// What became of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogChangeOutcome {
    /// It happened.
    Done {
        /// Of a log start move: rows below the log start are left to delete, so call again.
        more: bool,
    },
    /// Nothing happened, and never will: the lease is not held under that epoch.
    NotLeader,
    /// Nothing happened, and never will: the topic is deleted.
    TopicDeleted,
    /// Nothing happened: the rows are not what the caller thought, or a snapshot that covers them is missing.
    Stale,
}

/// An object that a rewrite uploaded, and the rows that are to lie in it.
#[derive(Clone, Debug)]
pub struct SegmentRewrite {
    /// Number within the session, at least [`segment::REWRITE_SEQUENCE_BASE`].
    pub lane_sequence: LaneSequence,
    /// Its object key; names the session and the number (see `segment::key`).
    pub object_key: String,
    /// Owner of everything in it.
    pub organization: OrganizationId,
    /// Size of the object.
    pub object_bytes: i64,
    /// At most one per partition.
    pub replacements: Vec<RangesReplacement>,
}

/// Consecutive rows of one partition, and what they become.
#[derive(Clone, Debug)]
pub struct RangesReplacement {
    /// Which partition, of the object's organization.
    pub key: PartitionKey,
    /// The epoch of the caller's lease.
    pub leader_epoch: LeaderEpoch,
    /// Base offsets of the rows that go, ascending and without a hole.
    pub replaced: Vec<Offset>,
    /// What comes: consecutive, from the first offset of what goes to its end.
    pub ranges: Vec<NewRange>,
    /// Needed where rows would be replaced that no newer snapshot covers.
    pub snapshot: Option<SnapshotAt>,
}

/// A row as a rewrite makes it. It has no producer entries: a snapshot covers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRange {
    /// First offset.
    pub base_offset: Offset,
    /// First offset after it.
    pub next_offset: Offset,
    /// The epoch that its records carry.
    pub leader_epoch: LeaderEpoch,
    /// Where the range begins in the object.
    pub byte_start: i64,
    /// Its length in the object.
    pub byte_len: i64,
    /// CRC32C of the range's batch headers (see docs/format.md).
    pub checksum: u32,
    /// Greatest record timestamp in it.
    pub max_timestamp: TimestampMs,
}

/// How far a partition's log was compacted.
#[derive(Clone, Copy, Debug)]
pub struct CleanedLog {
    /// Which partition.
    pub key: PartitionKey,
    /// The epoch of the caller's lease.
    pub leader_epoch: LeaderEpoch,
    /// First offset that compaction has not reached.
    pub offset: Offset,
}

/// Transactions on logs behind their ends.
#[async_trait]
pub trait LogChanges: Send + Sync + 'static {
    /// Moves log starts (at most one per partition) and deletes the ranges that end at or below them, oldest first, at most
    /// `rows_max` in the whole call. `Fenced` if the session is not active. Each move is checked alone. One to or below the
    /// log start in force leaves it where it is and goes on deleting; one above `next_offset` is `Stale`. The epoch history is trimmed as
    /// Kafka does: of the entries at or below the log start the last one stays, and begins there.
    ///
    /// Ranges are deleted only below the newest producer snapshot, else the move is `Stale`. A snapshot that is given counts, and
    /// becomes the newest if it is newer; one as of an offset above `next_offset` makes the move `Stale`.
    ///
    /// Segments whose last range is deleted are retired: see `claim_unreferenced`.
    async fn move_log_starts(
        &self,
        session: SessionId,
        moves: &[LogStartMove],
        rows_max: u32,
    ) -> Result<Vec<LogChangeOutcome>, StoreError>;

    /// Lets ranges of a rewritten object take the place of others. `Fenced` if the session is not active. Each replacement is
    /// checked alone, against the partition's row (session, leader epoch, not deleted) and its ranges: it is `Stale` unless
    /// exactly these rows are there, one after the other, the new ones cover the same offsets, and a snapshot covers
    /// them (as for log start moves). So is one of rows that lie in an object of the same session with a higher number: it was planned
    /// before they came. The last range of a partition is never replaced: what commits build on stays.
    ///
    /// The object takes its slot as a commit's does, and may come again with further replacements, which its row then gets
    /// too. Where the slot is taken by another key, or nothing refers to the object any more, everything is `Stale`. If
    /// nothing was accepted and the slot was free, its row is retired at once, so that the object is garbage with a name;
    /// so are segments whose last range is replaced.
    ///
    /// A lost reply is settled by `resolve_commit`: `Failed` (nothing ever lies in it) or the ranges that do.
    async fn replace_ranges(
        &self,
        session: SessionId,
        rewrite: &SegmentRewrite,
    ) -> Result<Vec<LogChangeOutcome>, StoreError>;

    /// Notes how far logs were compacted (at most one note per partition), for their next leaders. Never goes back. A note of
    /// a partition that the session does not hold under that epoch, or of offsets it does not have, changes nothing. `Fenced` if the
    /// session is not active.
    async fn note_cleaned(&self, session: SessionId, logs: &[CleanedLog]) -> Result<(), StoreError>;
}

/// What is in a partition's row, as far as a change of its log is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogRow {
    /// Whether the caller's session holds the lease.
    pub(crate) is_held: bool,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) next_offset: Offset,
    pub(crate) log_start_offset: Offset,
    /// The newest snapshot's.
    pub(crate) snapshot_at: Option<Offset>,
}

impl LogRow {
    /// The snapshot that is to be inserted, if the one given is newer than all there are, and the offset that snapshots then
    /// cover; `None` if it is of a future that the partition does not have.
    pub(crate) fn covered(&self, given: Option<&SnapshotAt>) -> Option<Covered> {
        let given_at = given.map(|given| given.as_of_offset);
        if given_at.is_some_and(|at| at > self.next_offset) {
            return None;
        }
        Some(Covered { up_to: given_at.max(self.snapshot_at), is_new: given_at > self.snapshot_at })
    }

    /// Why a change under this epoch is refused, if it is. `row` is `None` where there is none, or its topic is deleted.
    pub(crate) fn of_leader(row: Option<Self>, leader_epoch: LeaderEpoch) -> Result<Self, LogChangeOutcome> {
        let row = row.ok_or(LogChangeOutcome::TopicDeleted)?;
        if row.is_held && row.leader_epoch == leader_epoch { Ok(row) } else { Err(LogChangeOutcome::NotLeader) }
    }
}

/// How far a partition's ranges may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covered {
    /// Ranges that end here or below are in a snapshot.
    pub(crate) up_to: Option<Offset>,
    /// Whether the snapshot that was given is the newest.
    pub(crate) is_new: bool,
}

impl LogStartMove {
    /// What is to be done on this row, if anything; the ranges are not looked at yet.
    pub(crate) fn check(&self, row: Option<LogRow>) -> Result<LogStartPlan, LogChangeOutcome> {
        let row = LogRow::of_leader(row, self.leader_epoch)?;
        let covered = row.covered(self.snapshot.as_ref()).filter(|_| self.log_start_offset <= row.next_offset);
        let covered = covered.ok_or(LogChangeOutcome::Stale)?;
        let is_higher = self.log_start_offset > row.log_start_offset;
        Ok(LogStartPlan { log_start_offset: self.log_start_offset.max(row.log_start_offset), is_higher, covered })
    }
}

/// A log start move that its partition's row allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogStartPlan {
    /// The log start from now on.
    pub(crate) log_start_offset: Offset,
    /// Whether it was lower.
    pub(crate) is_higher: bool,
    pub(crate) covered: Covered,
}

impl LogStartPlan {
    /// Whether ranges up to this end may be deleted; `None` if there are none.
    pub(crate) fn allows(&self, deleted_up_to: Option<Offset>) -> bool {
        deleted_up_to <= self.covered.up_to
    }
}

/// A row that is to be replaced, as it is found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundRow {
    /// Base and next offset.
    pub(crate) extent: (Offset, Offset),
    /// The segment that it is in.
    pub(crate) session: SessionId,
    pub(crate) lane_sequence: LaneSequence,
}

impl RangesReplacement {
    /// Whether it may happen: by an object in this slot, on this row, with `found`, those of its rows that exist.
    pub(crate) fn check(
        &self,
        (session, lane_sequence, organization): (SessionId, LaneSequence, OrganizationId),
        row: Option<LogRow>,
        found: &[FoundRow],
    ) -> Result<Covered, LogChangeOutcome> {
        let row = LogRow::of_leader(row, self.leader_epoch)?;
        let covered = row.covered(self.snapshot.as_ref()).ok_or(LogChangeOutcome::Stale)?;
        let extents: Vec<_> = found.iter().map(|found| found.extent).collect();
        let same_rows = extents.iter().map(|(base, _)| base).eq(&self.replaced);
        let end = extents.last().map(|(_, next)| *next).filter(|next| *next < row.next_offset);
        let new: Vec<_> = self.ranges.iter().map(|range| (range.base_offset, range.next_offset)).collect();
        // One that comes late would bring back what a later one of its leader left out.
        let is_overtaken = found.iter().any(|row| row.session == session && row.lane_sequence > lane_sequence);
        let is_same = self.key.organization == organization
            && same_rows
            && !is_overtaken
            && extent(&extents).is_some_and(|extent| Some(extent) == self::extent(&new));
        // `None`, of no row at all or of the partition's last one, is not below anything.
        let is_covered = end.is_some() && end <= covered.up_to;
        if is_same && is_covered { Ok(covered) } else { Err(LogChangeOutcome::Stale) }
    }
}

/// First offset and end of ranges that follow one another; `None` if they do not, or there are none.
fn extent(ranges: &[(Offset, Offset)]) -> Option<(Offset, Offset)> {
    let follow = ranges.windows(2).all(|pair| pair[0].1 == pair[1].0) && ranges.iter().all(|(base, next)| base < next);
    Some((ranges.first()?.0, ranges.last()?.1)).filter(|_| follow)
}
