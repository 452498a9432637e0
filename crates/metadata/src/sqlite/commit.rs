//! The segment commit: the hot path, and the transaction everything else rests on.
//!
//! Every statement costs a hop to the connection's thread and back, so a segment is one string of statements that run
//! in one hop, and a commit of one segment carries its BEGIN and COMMIT in the same string. The ranges go in as one
//! JSON array plus one blob that holds their byte fields, are parsed once into a temporary table, and everything
//! after is set-based over that table:
//!
//! 1. fill `commit_input`, but only if the session is active and neither the slot nor the object key is taken; all
//!    that follows works on `commit_input`, so it does nothing otherwise;
//! 2. take the slot (one row comes back if it was free);
//! 3. compare-and-set of every partition, which also notes (session, lane sequence) as its last segment;
//! 4. the partitions that carry this segment's note are the ones that were accepted: insert their ranges, and
//!    their snapshots if there are any;
//! 5. the others come back, each with its reason.
//!
//! Results tell by their count how far a string came: an error before its COMMIT means not committed.

use std::fmt::Write;

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Either, Executor, SqlSafeStr, SqlStr, SqliteConnection, sqlite::SqliteRow};

use super::{column, database_clock, not_committed, writer::commit_error};
use crate::{CommitOutcome, RangeCommit, RangeOutcome, SNAPSHOTS_KEPT, SegmentCommit, StoreError};

/// A segment as its statements want it.
pub(super) struct EncodedSegment {
    lane_sequence: i64,
    object_key: String,
    organization: i64,
    object_bytes: i64,
    range_count: usize,
    /// One array per range: see [`encode_range`].
    ranges: String,
    /// Byte fields of all ranges, one after the other; the JSON says where.
    blob: Vec<u8>,
    snapshots: bool,
}

impl EncodedSegment {
    /// Done by the caller, off the writer.
    pub(super) fn new(segment: &SegmentCommit) -> Self {
        debug_assert!(segment.ranges.iter().all(|range| range.key.organization == segment.organization));
        let mut ranges = String::with_capacity(2 + segment.ranges.len() * 128);
        let mut blob = Vec::with_capacity(segment.ranges.len() * 16);
        ranges.push('[');
        for range in &segment.ranges {
            if ranges.len() > 1 {
                ranges.push(',');
            }
            encode_range(range, &mut ranges, &mut blob);
        }
        ranges.push(']');
        Self {
            lane_sequence: segment.lane_sequence,
            object_key: segment.object_key.clone(),
            organization: segment.organization.0,
            object_bytes: segment.object_bytes,
            range_count: segment.ranges.len(),
            ranges,
            blob,
            snapshots: segment.ranges.iter().any(|range| range.snapshot.is_some()),
        }
    }
}

/// `[partition, epoch, base, next, byte_start, byte_len, checksum, max_timestamp, append_time, topic id at,
/// producers at, producers length, snapshot length or -1]`; positions are SQL's, from 1. The snapshot follows the
/// producers.
fn encode_range(range: &RangeCommit, json: &mut String, blob: &mut Vec<u8>) {
    let topic_at = blob.len() + 1;
    blob.extend_from_slice(range.key.topic_id.0.as_bytes());
    let producers_at = blob.len() + 1;
    blob.extend_from_slice(&range.producers);
    let snapshot_len = match &range.snapshot {
        None => -1,
        Some(snapshot) => {
            blob.extend_from_slice(snapshot);
            i64::try_from(snapshot.len()).unwrap_or(i64::MAX)
        }
    };
    let _ = write!(
        json,
        "[{},{},{},{},{},{},{},{},{},{topic_at},{producers_at},{},{snapshot_len}]",
        range.key.partition,
        range.leader_epoch,
        range.base_offset,
        range.next_offset,
        range.byte_start,
        range.byte_len,
        range.checksum,
        range.max_timestamp,
        range.append_time,
        range.producers.len(),
    );
}

/// Temporary tables of the writer's connection.
pub(super) async fn prepare_connection(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let create = "CREATE TEMP TABLE commit_input (
        ordinal INTEGER PRIMARY KEY, topic_id BLOB, partition INTEGER, leader_epoch INTEGER, base_offset INTEGER,
        next_offset INTEGER, byte_start INTEGER, byte_len INTEGER, checksum INTEGER, max_timestamp INTEGER,
        append_time INTEGER, producers BLOB, snapshot BLOB)";
    sqlx::query(create).execute(connection).await?;
    Ok(())
}

/// $1 session, $2 lane sequence, $3 organization, $4 object key, $5 object bytes, $6 ranges, $7 blob, $8 now.
const FILL_INPUT: &str = "
DELETE FROM temp.commit_input;
INSERT INTO temp.commit_input
SELECT key, substr($7, value ->> 9, 16), value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
       value ->> 6, value ->> 7, value ->> 8, substr($7, value ->> 10, value ->> 11),
       CASE WHEN value ->> 12 >= 0 THEN substr($7, (value ->> 10) + (value ->> 11), value ->> 12) END
  FROM json_each($6)
 WHERE EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active = 1)
   AND NOT EXISTS (SELECT 1 FROM segments WHERE session = $1 AND lane_sequence = $2 AND organization = $3)
   AND NOT EXISTS (SELECT 1 FROM segments WHERE object_key = $4);
";

const TAKE_SLOT: &str = "
INSERT INTO segments (session, lane_sequence, organization, object_key, kind, object_bytes, created_at)
SELECT $1, $2, $3, $4, 1, $5, $8 WHERE EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active = 1)
ON CONFLICT DO NOTHING RETURNING -1;
";

const COMPARE_AND_SET: &str = "
UPDATE partitions
   SET next_offset = i.next_offset, last_append_time = max(last_append_time, i.append_time),
       last_session = $1, last_lane_sequence = $2
  FROM temp.commit_input AS i
 WHERE partitions.organization = $3 AND partitions.topic_id = i.topic_id AND partitions.partition = i.partition
   AND partitions.session = $1 AND partitions.leader_epoch = i.leader_epoch
   AND partitions.next_offset = i.base_offset AND partitions.deleted = 0;
";

const INSERT_RANGES: &str = "
INSERT INTO ranges (organization, topic_id, partition, base_offset, next_offset, leader_epoch, session, lane_sequence,
                    byte_start, byte_len, checksum, max_timestamp, producers)
SELECT $3, i.topic_id, i.partition, i.base_offset, i.next_offset, i.leader_epoch, $1, $2,
       i.byte_start, i.byte_len, i.checksum, i.max_timestamp, i.producers
  FROM temp.commit_input AS i CROSS JOIN partitions AS p
 WHERE p.organization = $3 AND p.topic_id = i.topic_id AND p.partition = i.partition
   AND p.last_session = $1 AND p.last_lane_sequence = $2;
";

const INSERT_SNAPSHOTS: &str = "
INSERT INTO producer_snapshots (organization, topic_id, partition, as_of_offset, snapshot)
SELECT $3, i.topic_id, i.partition, i.next_offset, i.snapshot
  FROM temp.commit_input AS i CROSS JOIN partitions AS p
 WHERE i.snapshot IS NOT NULL AND p.organization = $3 AND p.topic_id = i.topic_id AND p.partition = i.partition
   AND p.last_session = $1 AND p.last_lane_sequence = $2;
DELETE FROM producer_snapshots
 WHERE rowid IN
       (SELECT s.rowid
          FROM temp.commit_input AS i CROSS JOIN producer_snapshots AS s
         WHERE i.snapshot IS NOT NULL
           AND s.organization = $3 AND s.topic_id = i.topic_id AND s.partition = i.partition
           AND (SELECT count(*) FROM producer_snapshots AS newer
                 WHERE newer.organization = s.organization AND newer.topic_id = s.topic_id
                   AND newer.partition = s.partition AND newer.as_of_offset > s.as_of_offset) >= $9);
";

/// Reasons: 0 topic deleted, 1 not leader, 2 offset mismatch.
const SELECT_REJECTED: &str = "
SELECT i.ordinal,
       CASE WHEN p.deleted IS NULL OR p.deleted = 1 THEN 0
            WHEN p.session IS NOT $1 OR p.leader_epoch <> i.leader_epoch THEN 1
            ELSE 2 END
  FROM temp.commit_input AS i
  LEFT JOIN partitions AS p ON p.organization = $3 AND p.topic_id = i.topic_id AND p.partition = i.partition
 WHERE p.last_session IS NOT $1 OR p.last_lane_sequence IS NOT $2;
";

/// The strings of statements, assembled once: with and without snapshots, alone in its transaction or one of many.
struct Script {
    sql: SqlStr,
    statements: usize,
}

fn script(snapshots: bool, alone: bool) -> &'static Script {
    static SCRIPTS: std::sync::OnceLock<[Script; 4]> = std::sync::OnceLock::new();
    let build = |snapshots: bool, alone: bool| {
        let body = [FILL_INPUT, TAKE_SLOT, COMPARE_AND_SET, INSERT_RANGES];
        let mut sql = body.concat();
        if snapshots {
            sql.push_str(INSERT_SNAPSHOTS);
        }
        sql.push_str(SELECT_REJECTED);
        if alone {
            sql = format!("BEGIN IMMEDIATE;{sql}COMMIT;");
        }
        let statements = sql.matches(';').count();
        Script { sql: AssertSqlSafe(sql).into_sql_str(), statements }
    };
    let scripts =
        SCRIPTS.get_or_init(|| [build(false, false), build(false, true), build(true, false), build(true, true)]);
    &scripts[usize::from(snapshots) * 2 + usize::from(alone)]
}

/// Commits segments in order in one transaction. On an error the transaction may still be open: the writer rolls back.
pub(super) async fn commit_segments(
    connection: &mut SqliteConnection,
    session: i64,
    segments: &[EncodedSegment],
) -> Result<CommitOutcome, StoreError> {
    if let [segment] = segments {
        let (taken, ranges) = run_segment(connection, session, segment, true).await?;
        if !taken && !is_active(connection, session).await? {
            return Err(StoreError::Fenced);
        }
        return Ok(CommitOutcome { segments: vec![ranges] });
    }
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(not_committed)?;
    if !is_active(connection, session).await? {
        sqlx::query("ROLLBACK").execute(connection).await.map_err(not_committed)?;
        return Err(StoreError::Fenced);
    }
    let mut outcomes = Vec::with_capacity(segments.len());
    for segment in segments {
        outcomes.push(run_segment(connection, session, segment, false).await?.1);
    }
    sqlx::query("COMMIT").execute(connection).await.map_err(commit_error)?;
    Ok(CommitOutcome { segments: outcomes })
}

/// Runs one segment's statements in one hop. Returns whether it took its slot, and its ranges' outcomes.
async fn run_segment(
    connection: &mut SqliteConnection,
    session: i64,
    segment: &EncodedSegment,
    alone: bool,
) -> Result<(bool, Vec<RangeOutcome>), StoreError> {
    let script = script(segment.snapshots, alone);
    let query = sqlx::query(script.sql.clone())
        .bind(session)
        .bind(segment.lane_sequence)
        .bind(segment.organization)
        .bind(segment.object_key.clone())
        .bind(segment.object_bytes)
        .bind(segment.ranges.clone())
        .bind(segment.blob.clone())
        .bind(database_clock())
        .bind(i64::try_from(SNAPSHOTS_KEPT).unwrap_or(i64::MAX));
    let mut results = connection.fetch_many(query);
    let mut finished = 0;
    let mut rows = Vec::new();
    loop {
        match results.try_next().await {
            Ok(Some(Either::Left(_))) => finished += 1,
            Ok(Some(Either::Right(row))) => rows.push(row),
            Ok(None) if finished == script.statements => return outcomes(segment, &rows),
            Ok(None) => return Err(StoreError::Unknown("the connection's thread ended".into())),
            Err(error) if alone && finished + 1 >= script.statements => return Err(commit_error(error)),
            Err(sqlx::Error::WorkerCrashed) => return Err(StoreError::Unknown(Box::new(sqlx::Error::WorkerCrashed))),
            Err(error) => return Err(not_committed(error)),
        }
    }
}

/// Reads the rows of TAKE_SLOT (one, -1) and of SELECT_REJECTED.
fn outcomes(segment: &EncodedSegment, rows: &[SqliteRow]) -> Result<(bool, Vec<RangeOutcome>), StoreError> {
    let Some((_slot, rejected)) = rows.split_first() else {
        return Ok((false, vec![RangeOutcome::OffsetMismatch; segment.range_count]));
    };
    let mut outcomes = vec![RangeOutcome::Accepted; segment.range_count];
    for row in rejected {
        let ordinal = usize::try_from(column::<i64>(row, 0)?).unwrap_or(usize::MAX);
        let outcome = match column::<i64>(row, 1)? {
            0 => RangeOutcome::TopicDeleted,
            1 => RangeOutcome::NotLeader,
            _ => RangeOutcome::OffsetMismatch,
        };
        *outcomes.get_mut(ordinal).ok_or_else(|| StoreError::Damaged(format!("no range {ordinal}")))? = outcome;
    }
    Ok((true, outcomes))
}

/// Whether a session may still write.
pub(super) async fn is_active(connection: &mut SqliteConnection, session: i64) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active = 1)");
    query.bind(session).fetch_one(connection).await.map_err(not_committed)
}
