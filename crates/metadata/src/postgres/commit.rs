//! The segment commit: one statement, so one round trip, and the transaction everything else rests on.
//!
//! What each part does, against what may run at the same time:
//!
//! - `live` shares the lock of the session's row. A fence locks it for update *before* it writes: either it waits for
//!   this commit, or this waits for it, sees `active` as the fence left it (READ COMMITTED checks the condition again on
//!   the newest row) and comes back empty; then nothing else of the statement finds a row.
//! - `slot` takes the segment's place. The insert waits for an uncommitted row of the same key and then decides: a
//!   tombstone that is there makes it empty, one that comes later finds the segment. Empty: nothing else happens.
//! - `locked` locks the partitions' rows in (topic id, partition) order, after `slot` and through it after `live`: it
//!   returns them as they are once the locks are held.
//! - `moved` is the compare-and-set. Its conditions are checked on the newest row, also when that changed after the
//!   statement's snapshot (an acquisition, a deletion, a commit of the same lane).
//! - ranges and snapshots go in for moved partitions only.

use segment::{PartitionKey, SessionId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{Statement, bind_keys, changed, column, link::Link};
use crate::{RangeCommit, RangeOutcome, SNAPSHOTS_KEPT, SegmentCommit, StoreError};

/// $1 session, $2 lane sequence, $3 organization, $4 object key, $5 object bytes, then one array per field of the ranges.
/// Reasons: 0 accepted, 1 topic deleted, 2 not leader, 3 offset mismatch; no row if the session is not active, -1 if the
/// slot or the key is taken.
const COMMIT: &str = "
WITH live AS MATERIALIZED (
    SELECT session FROM sessions WHERE session = $1 AND active FOR SHARE
), slot AS (
    INSERT INTO segments (session, lane_sequence, organization, object_key, kind, object_bytes, created_at)
    SELECT live.session, $2, $3, $4, 1, $5, (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM live
    ON CONFLICT DO NOTHING RETURNING session
), input AS MATERIALIZED (
    SELECT * FROM unnest($6::uuid[], $7::int[], $8::int[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[],
                         $13::bigint[], $14::bigint[], $15::bigint[], $16::bytea[], $17::bytea[]) WITH ORDINALITY
        AS i (topic_id, partition, leader_epoch, base_offset, next_offset, byte_start, byte_len, checksum,
              max_timestamp, append_time, producers, snapshot, n)
), locked AS MATERIALIZED (
    SELECT p.topic_id, p.partition, p.session, p.leader_epoch, p.deleted
      FROM partitions AS p
     WHERE p.organization = $3 AND EXISTS (SELECT 1 FROM slot)
       AND (p.topic_id, p.partition) IN (SELECT i.topic_id, i.partition FROM input AS i)
     ORDER BY p.topic_id, p.partition FOR UPDATE
), moved AS (
    UPDATE partitions AS p
       SET next_offset = i.next_offset, last_append_time = greatest(p.last_append_time, i.append_time),
           last_session = $1, last_lane_sequence = $2
      FROM locked AS l JOIN input AS i ON i.topic_id = l.topic_id AND i.partition = l.partition
     WHERE p.organization = $3 AND p.topic_id = l.topic_id AND p.partition = l.partition
       AND p.session = $1 AND p.leader_epoch = i.leader_epoch AND p.next_offset = i.base_offset AND NOT p.deleted
    RETURNING i.n
), new_ranges AS (
    INSERT INTO ranges (organization, topic_id, partition, base_offset, next_offset, leader_epoch, session,
                        lane_sequence, byte_start, byte_len, checksum, max_timestamp, producers)
    SELECT $3, i.topic_id, i.partition, i.base_offset, i.next_offset, i.leader_epoch, $1, $2, i.byte_start, i.byte_len,
           i.checksum, i.max_timestamp, i.producers
      FROM input AS i JOIN moved AS m ON m.n = i.n
), new_snapshots AS (
    INSERT INTO producer_snapshots (organization, topic_id, partition, as_of_offset, snapshot)
    SELECT $3, i.topic_id, i.partition, i.next_offset, i.snapshot
      FROM input AS i JOIN moved AS m ON m.n = i.n WHERE i.snapshot IS NOT NULL
)
SELECT i.n,
       CASE WHEN NOT EXISTS (SELECT 1 FROM slot) THEN -1
            WHEN m.n IS NOT NULL THEN 0
            WHEN l.deleted IS NULL OR l.deleted THEN 1
            WHEN l.session IS DISTINCT FROM $1 OR l.leader_epoch <> i.leader_epoch THEN 2
            ELSE 3 END
  FROM live CROSS JOIN (SELECT n, topic_id, partition, leader_epoch FROM input UNION ALL SELECT 0, NULL, NULL, NULL) AS i
  LEFT JOIN moved AS m ON m.n = i.n
  LEFT JOIN locked AS l ON l.topic_id = i.topic_id AND l.partition = i.partition
 ORDER BY i.n";

/// Of each partition that got a snapshot, all but the newest few go.
const DROP_SNAPSHOTS: &str = "
DELETE FROM producer_snapshots AS s
 USING (SELECT o.organization, o.topic_id, o.partition, o.as_of_offset,
               row_number() OVER (PARTITION BY o.organization, o.topic_id, o.partition ORDER BY o.as_of_offset DESC) AS age
          FROM producer_snapshots AS o
          JOIN (SELECT DISTINCT * FROM unnest($1::bigint[], $2::uuid[], $3::int[])) AS k (organization, topic_id, partition)
            ON o.organization = k.organization AND o.topic_id = k.topic_id AND o.partition = k.partition) AS old
 WHERE old.age > $4 AND s.organization = old.organization AND s.topic_id = old.topic_id
   AND s.partition = old.partition AND s.as_of_offset = old.as_of_offset";

/// What became of a segment.
pub(super) enum Committed {
    /// The session is not active: nothing happened.
    Fenced,
    /// Per range.
    Ranges(Vec<RangeOutcome>),
}

/// Runs the statement; `failed` says what its errors mean (it may be a transaction of its own).
pub(super) async fn commit_segment(
    connection: &mut Link,
    session: SessionId,
    segment: &SegmentCommit,
    failed: fn(sqlx::Error) -> StoreError,
) -> Result<Committed, StoreError> {
    let rows = statement(session, segment).fetch_all(connection).await.map_err(failed)?;
    outcomes(&rows, segment.ranges.len())
}

/// Drops snapshots that a segment's own made superfluous.
pub(super) async fn drop_snapshots(connection: &mut Link, segment: &SegmentCommit) -> Result<(), StoreError> {
    let with = segment.ranges.iter().filter(|range| range.snapshot.is_some());
    drop_snapshots_of(connection, &with.map(|range| range.key).collect::<Vec<_>>()).await
}

/// Drops what newer snapshots of these partitions made superfluous.
pub(super) async fn drop_snapshots_of(connection: &mut Link, keys: &[PartitionKey]) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let kept = i64::try_from(SNAPSHOTS_KEPT).unwrap_or(i64::MAX);
    changed(connection, bind_keys(sqlx::query(DROP_SNAPSHOTS), keys).bind(kept)).await.map(|_| ())
}

fn statement(session: SessionId, segment: &SegmentCommit) -> Statement {
    let ranges = &segment.ranges;
    let all = |field: fn(&RangeCommit) -> i64| ranges.iter().map(field).collect::<Vec<i64>>();
    sqlx::query(COMMIT)
        .bind(session.0)
        .bind(segment.lane_sequence)
        .bind(segment.organization.0)
        .bind(segment.object_key.clone())
        .bind(segment.object_bytes)
        .bind(ranges.iter().map(|range| range.key.topic_id.0).collect::<Vec<Uuid>>())
        .bind(ranges.iter().map(|range| range.key.partition).collect::<Vec<i32>>())
        .bind(ranges.iter().map(|range| range.leader_epoch).collect::<Vec<i32>>())
        .bind(all(|range| range.base_offset))
        .bind(all(|range| range.next_offset))
        .bind(all(|range| range.byte_start))
        .bind(all(|range| range.byte_len))
        .bind(all(|range| i64::from(range.checksum)))
        .bind(all(|range| range.max_timestamp))
        .bind(all(|range| range.append_time))
        .bind(ranges.iter().map(|range| range.producers.to_vec()).collect::<Vec<Vec<u8>>>())
        .bind(ranges.iter().map(|range| range.snapshot.as_ref().map(|bytes| bytes.to_vec())).collect::<Vec<_>>())
}

/// The first row is nobody's: it tells an active session without ranges from a fenced one.
fn outcomes(rows: &[PgRow], ranges: usize) -> Result<Committed, StoreError> {
    let Some((_, rows)) = rows.split_first() else { return Ok(Committed::Fenced) };
    if rows.len() != ranges {
        return Err(StoreError::Damaged(format!("{} outcomes for {ranges} ranges", rows.len())));
    }
    let outcome = |row: &PgRow| {
        Ok(match column::<i32>(row, 1)? {
            -1 => RangeOutcome::SlotTaken,
            0 => RangeOutcome::Accepted,
            1 => RangeOutcome::TopicDeleted,
            2 => RangeOutcome::NotLeader,
            _ => RangeOutcome::OffsetMismatch,
        })
    };
    rows.iter().map(outcome).collect::<Result<_, StoreError>>().map(Committed::Ranges)
}
