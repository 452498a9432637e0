//! The segment commit: the hot path, and the transaction everything else rests on.
//!
//! It has a connection of its own that is called directly, on the writer's thread: a statement costs itself, not a hop
//! between threads. Per segment: take its slot and its object key, then for each range compare-and-set the partition's row and
//! insert the range; a range that is refused is refused alone, and asked why. All of it is one transaction with one sync.
//!
//! An error before COMMIT means that nothing happened; what one of COMMIT itself means, [`commit_error`] says.

use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, params};

use super::{LOCKED_OUT_OR_FULL, SQLITE_CORRUPT, SQLITE_NOTADB, database_clock, open::BUSY_TIMEOUT};
use crate::{CommitOutcome, RangeCommit, RangeOutcome, SNAPSHOTS_KEPT, SegmentCommit, StoreError};

/// Page cache, in SQLite's notation for KiB: a commit of 1,000 ranges dirties 5 MB and must not spill.
const PAGE_CACHE: &str = "-8192";
/// Prepared statements kept; there are nine.
const STATEMENTS_KEPT: usize = 16;

const IS_ACTIVE: &str = "SELECT 1 FROM sessions WHERE session = ?1 AND active = 1";

const TAKE_SLOT: &str = "
    INSERT INTO segments (session, lane_sequence, organization, object_key, kind, object_bytes, created_at)
    VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6) ON CONFLICT DO NOTHING";

const COMPARE_AND_SET: &str = "
    UPDATE partitions
       SET next_offset = ?7, last_append_time = max(last_append_time, ?8), last_session = ?4, last_lane_sequence = ?9
     WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3
       AND session = ?4 AND leader_epoch = ?5 AND next_offset = ?6 AND deleted = 0";

const INSERT_RANGE: &str = "
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

/// The connection that commits segments.
#[derive(Debug)]
pub(super) struct Committer {
    path: PathBuf,
    /// `None` after an error that left its state in doubt; opened anew by the next commit.
    connection: Option<Connection>,
}

impl Committer {
    /// Connects when first used.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, connection: None }
    }

    /// Commits segments in order in one transaction. Blocks until it is synced.
    pub(super) fn commit(&mut self, session: i64, segments: &[SegmentCommit]) -> Result<CommitOutcome, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => open(&self.path).map_err(not_committed)?,
        };
        let outcome = transaction(&connection, session, segments);
        let is_sound = match &outcome {
            Ok(_) => true,
            // An open transaction holds the write lock. One that SQLite ended by itself needs no rollback.
            Err(StoreError::Fenced | StoreError::NotCommitted(_)) => {
                connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok()
            }
            Err(StoreError::Unknown(_) | StoreError::Damaged(_)) => false,
        };
        self.connection = is_sound.then_some(connection);
        outcome
    }
}

fn open(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", "0")?;
    connection.pragma_update(None, "cache_size", PAGE_CACHE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(connection)
}

fn transaction(connection: &Connection, session: i64, segments: &[SegmentCommit]) -> Result<CommitOutcome, StoreError> {
    execute(connection, "BEGIN IMMEDIATE", ())?;
    if query(connection, IS_ACTIVE, params![session], |_| Ok(()))?.is_none() {
        return Err(StoreError::Fenced);
    }
    let outcomes = segments.iter().map(|segment| commit_segment(connection, session, segment));
    let segments = outcomes.collect::<Result<_, _>>()?;
    let committed = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute(()));
    committed.map_err(commit_error)?;
    Ok(CommitOutcome { segments })
}

fn commit_segment(
    connection: &Connection,
    session: i64,
    segment: &SegmentCommit,
) -> Result<Vec<RangeOutcome>, StoreError> {
    let SegmentCommit { lane_sequence, object_key, organization, object_bytes, ranges } = segment;
    let slot = params![session, lane_sequence, organization.0, object_key, object_bytes, database_clock()];
    if execute(connection, TAKE_SLOT, slot)? == 0 {
        return Ok(vec![RangeOutcome::OffsetMismatch; ranges.len()]);
    }
    ranges.iter().map(|range| commit_range(connection, session, *lane_sequence, range)).collect()
}

fn commit_range(
    connection: &Connection,
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
    if execute(connection, COMPARE_AND_SET, moved)? == 0 {
        let row = params![organization, topic, partition, session, leader_epoch];
        let why = query(connection, WHY_REFUSED, row, |row| Ok((row.get::<_, bool>(0)?, row.get::<_, bool>(1)?)))?;
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
    execute(connection, INSERT_RANGE, row)?;
    if let Some(snapshot) = &range.snapshot {
        let row = params![organization, topic, partition, next_offset, &snapshot[..]];
        execute(connection, INSERT_SNAPSHOT, row)?;
        let kept = i64::try_from(SNAPSHOTS_KEPT).unwrap_or(i64::MAX);
        execute(connection, DELETE_OLD_SNAPSHOTS, params![organization, topic, partition, kept])?;
    }
    Ok(RangeOutcome::Accepted)
}

/// Rows changed by a statement before COMMIT.
fn execute(connection: &Connection, sql: &str, parameters: impl Params) -> Result<usize, StoreError> {
    let changed = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters));
    changed.map_err(not_committed)
}

/// The first row of a statement.
fn query<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    row: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    let found =
        connection.prepare_cached(sql).and_then(|mut statement| statement.query_row(parameters, row).optional());
    found.map_err(not_committed)
}

fn primary_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code & 0xff)
}

/// An error before COMMIT: nothing happened.
fn not_committed(error: rusqlite::Error) -> StoreError {
    match primary_code(&error) {
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => StoreError::Damaged(error.to_string()),
        _ => StoreError::NotCommitted(Box::new(error)),
    }
}

/// What an error of COMMIT itself means; see the head of `writer.rs`.
fn commit_error(error: rusqlite::Error) -> StoreError {
    match primary_code(&error) {
        Some(code) if LOCKED_OUT_OR_FULL.contains(&code) => StoreError::NotCommitted(Box::new(error)),
        _ => StoreError::Unknown(Box::new(error)),
    }
}
