//! The segment commit: the hot path, and the transaction everything else rests on.
//!
//! It runs on the connection that is called directly ([`direct`](super::direct)). Per segment: take its slot, then for each
//! range compare-and-set the partition's row and insert the range; a range that is refused is refused alone, and asked why. All of
//! it is one transaction with one sync.

use rusqlite::{CachedStatement, Connection, params};
use segment::{Offset, PartitionKey, SessionId};

use super::{
    database_clock,
    direct::{execute, first, not_committed, prepare, require_active},
    garbage,
};
use crate::{CommitOutcome, RangeCommit, RangeOutcome, SNAPSHOTS_KEPT, SegmentCommit, StoreError};

pub(super) const TAKE_SLOT: &str = "
    INSERT INTO segments (session, lane_sequence, organization, object_key, kind, object_bytes, created_at)
    VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6) ON CONFLICT DO NOTHING";

const COMPARE_AND_SET: &str = "
    UPDATE partitions
       SET next_offset = ?7, last_append_time = max(last_append_time, ?8), last_session = ?4, last_lane_sequence = ?9
     WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3
       AND session = ?4 AND leader_epoch = ?5 AND next_offset = ?6 AND deleted = 0";

pub(super) const INSERT_RANGE: &str = "
    INSERT INTO ranges (organization, topic_id, partition, base_offset, next_offset, leader_epoch, session, lane_sequence,
                        byte_start, byte_len, checksum, max_timestamp, producers)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

const WHY_REFUSED: &str = "
    SELECT deleted, session IS ?4 AND leader_epoch = ?5
      FROM partitions WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3";

const INSERT_SNAPSHOT: &str = "
    INSERT INTO producer_snapshots (organization, topic_id, partition, as_of_offset, snapshot) VALUES (?1, ?2, ?3, ?4, ?5)";

const DELETE_OLD_SNAPSHOTS: &str = "
    DELETE FROM producer_snapshots
     WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3
       AND as_of_offset NOT IN
           (SELECT as_of_offset FROM producer_snapshots
             WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3
             ORDER BY as_of_offset DESC LIMIT ?4)";

/// Commits segments in order.
pub(super) fn commit(
    connection: &Connection,
    session: SessionId,
    segments: &[SegmentCommit],
) -> Result<CommitOutcome, StoreError> {
    require_active(connection, session)?;
    let outcomes = segments.iter().map(|segment| commit_segment(connection, session.0, segment));
    Ok(CommitOutcome { segments: outcomes.collect::<Result<_, _>>()? })
}

fn commit_segment(
    connection: &Connection,
    session: i64,
    segment: &SegmentCommit,
) -> Result<Vec<RangeOutcome>, StoreError> {
    let SegmentCommit { lane_sequence, object_key, organization, object_bytes, ranges } = segment;
    let now = database_clock();
    let slot = params![session, lane_sequence, organization.0, object_key, object_bytes, now];
    if execute(connection, TAKE_SLOT, slot)? == 0 {
        return Ok(vec![RangeOutcome::SlotTaken; ranges.len()]);
    }
    let mut statements = RangeStatements {
        compare_and_set: prepare(connection, COMPARE_AND_SET)?,
        insert: prepare(connection, INSERT_RANGE)?,
    };
    let outcomes = ranges.iter().map(|range| commit_range(connection, &mut statements, session, *lane_sequence, range));
    let outcomes = outcomes.collect::<Result<Vec<_>, _>>()?;
    if !outcomes.contains(&RangeOutcome::Accepted) {
        garbage::retire_empty(connection, [(session, *lane_sequence, organization.0)], now)?;
    }
    Ok(outcomes)
}

/// What every range runs, looked up once a segment.
struct RangeStatements<'c> {
    compare_and_set: CachedStatement<'c>,
    insert: CachedStatement<'c>,
}

fn commit_range(
    connection: &Connection,
    statements: &mut RangeStatements<'_>,
    session: i64,
    lane_sequence: i64,
    range: &RangeCommit,
) -> Result<RangeOutcome, StoreError> {
    let (organization, topic, partition) =
        (range.key.organization.0, range.key.topic_id.0.as_bytes(), range.key.partition);
    let RangeCommit { leader_epoch, base_offset, next_offset, .. } = range;
    let moved = params![
        organization,
        topic,
        partition,
        session,
        leader_epoch,
        base_offset,
        next_offset,
        range.append_time,
        lane_sequence
    ];
    if statements.compare_and_set.execute(moved).map_err(not_committed)? == 0 {
        let row = params![organization, topic, partition, session, leader_epoch];
        let why = first(connection, WHY_REFUSED, row, |row| Ok((row.get::<_, bool>(0)?, row.get::<_, bool>(1)?)))?;
        return Ok(match why {
            None | Some((true, _)) => RangeOutcome::TopicDeleted,
            Some((false, false)) => RangeOutcome::NotLeader,
            Some((false, true)) => RangeOutcome::OffsetMismatch,
        });
    }
    let row = params![
        organization,
        topic,
        partition,
        base_offset,
        next_offset,
        leader_epoch,
        session,
        lane_sequence,
        range.byte_start,
        range.byte_len,
        range.checksum,
        range.max_timestamp,
        &range.producers[..],
    ];
    statements.insert.execute(row).map_err(not_committed)?;
    if let Some(snapshot) = &range.snapshot {
        insert_snapshot(connection, range.key, *next_offset, snapshot)?;
    }
    Ok(RangeOutcome::Accepted)
}

/// And drops those that it makes superfluous.
pub(super) fn insert_snapshot(
    connection: &Connection,
    key: PartitionKey,
    as_of_offset: Offset,
    snapshot: &[u8],
) -> Result<(), StoreError> {
    let (organization, topic, partition) = (key.organization.0, key.topic_id.0.as_bytes(), key.partition);
    let kept = i64::try_from(SNAPSHOTS_KEPT).unwrap_or(i64::MAX);
    execute(connection, INSERT_SNAPSHOT, params![organization, topic, partition, as_of_offset, snapshot])?;
    execute(connection, DELETE_OLD_SNAPSHOTS, params![organization, topic, partition, kept])?;
    Ok(())
}
