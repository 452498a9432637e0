//! Log starts and replaced ranges on SQLite, over the connection that is called directly: each row is found by its key, and the
//! whole holds segment commits up for as long as it takes. So callers keep it short.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use segment::{Offset, PartitionKey, SessionId, TimestampMs};

use super::{
    SqliteStore,
    commit::{self, INSERT_RANGE, TAKE_SLOT},
    database_clock,
    direct::{all, execute, first, require_active},
    garbage::{self, SELECT_HOLDER, Slot},
};
use crate::{
    CleanedLog, LogChangeOutcome, LogChanges, LogStartMove, NewRange, RangesReplacement, SegmentRewrite, SnapshotAt,
    StoreError,
    log_changes::{Covered, FoundRow, LogRow, LogStartPlan},
};

const SELECT_ROW: &str = "
    SELECT session IS ?4, leader_epoch, next_offset, log_start_offset,
           (SELECT max(as_of_offset) FROM producer_snapshots AS s
             WHERE s.organization = ?1 AND s.topic_id = ?2 AND s.partition = ?3)
      FROM partitions WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND deleted = 0";

/// Where the last range ends that ends at ?4 or below: of the two that begin below it, only the second may end above.
const SELECT_END_BELOW: &str = "
    SELECT max(next_offset) FROM
        (SELECT next_offset FROM ranges
          WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND base_offset < ?4
          ORDER BY base_offset DESC LIMIT 2)
     WHERE next_offset <= ?4";

const DELETE_BELOW: &str = "
    DELETE FROM ranges WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND base_offset IN
        (SELECT base_offset FROM ranges
          WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND base_offset < ?4 AND next_offset <= ?4
          ORDER BY base_offset LIMIT ?5)
    RETURNING session, lane_sequence, organization";

const SELECT_FIRST_END: &str = "
    SELECT next_offset FROM ranges WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3
     ORDER BY base_offset LIMIT 1";

const MOVE_LOG_START: &str = "
    UPDATE partitions SET log_start_offset = ?4 WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3";

/// Of the entries at or below the log start the last one stays, and begins there.
const TRIM_EPOCHS: [&str; 2] = [
    "DELETE FROM leader_epochs
      WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND start_offset <
            (SELECT max(start_offset) FROM leader_epochs
              WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND start_offset <= ?4)",
    "UPDATE leader_epochs SET start_offset = ?4
      WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND start_offset < ?4",
];

const SELECT_RANGE: &str = "
    SELECT base_offset, next_offset, session, lane_sequence FROM ranges
     WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND base_offset = ?4";

const DELETE_RANGE: &str = "
    DELETE FROM ranges WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND base_offset = ?4";

const NOTE_CLEANED: &str = "
    UPDATE partitions SET cleaned_offset = ?6
     WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND deleted = 0 AND session = ?4 AND leader_epoch = ?5
       AND cleaned_offset < ?6 AND next_offset >= ?6";

#[async_trait]
impl LogChanges for SqliteStore {
    async fn move_log_starts(
        &self,
        session: SessionId,
        moves: &[LogStartMove],
        rows_max: u32,
    ) -> Result<Vec<LogChangeOutcome>, StoreError> {
        let moves = moves.to_vec();
        self.transact_directly(move |connection| {
            require_active(connection, session)?;
            let mut left = i64::from(rows_max);
            moves.iter().map(|moved| move_log_start(connection, session, moved, &mut left)).collect()
        })
        .await
    }

    async fn replace_ranges(
        &self,
        session: SessionId,
        rewrite: &SegmentRewrite,
    ) -> Result<Vec<LogChangeOutcome>, StoreError> {
        let rewrite = rewrite.clone();
        self.transact_directly(move |connection| {
            require_active(connection, session)?;
            replace_all(connection, session, &rewrite)
        })
        .await
    }

    async fn note_cleaned(&self, session: SessionId, logs: &[CleanedLog]) -> Result<(), StoreError> {
        let logs = logs.to_vec();
        self.transact_directly(move |connection| {
            require_active(connection, session)?;
            for CleanedLog { key, leader_epoch, offset } in logs {
                let (organization, topic) = (key.organization.0, key.topic_id.0.as_bytes());
                let note = params![organization, topic, key.partition, session.0, leader_epoch, offset];
                execute(connection, NOTE_CLEANED, note)?;
            }
            Ok(())
        })
        .await
    }
}

/// What a change sees of a partition; `None` if it is gone.
fn log_row(connection: &Connection, session: SessionId, key: PartitionKey) -> Result<Option<LogRow>, StoreError> {
    let parameters = params![key.organization.0, key.topic_id.0.as_bytes(), key.partition, session.0];
    first(connection, SELECT_ROW, parameters, |row| {
        Ok(LogRow {
            is_held: row.get(0)?,
            leader_epoch: row.get(1)?,
            next_offset: row.get(2)?,
            log_start_offset: row.get(3)?,
            snapshot_at: row.get(4)?,
        })
    })
}

fn move_log_start(
    connection: &Connection,
    session: SessionId,
    moved: &LogStartMove,
    left: &mut i64,
) -> Result<LogChangeOutcome, StoreError> {
    let plan = match moved.check(log_row(connection, session, moved.key)?) {
        Ok(plan) => plan,
        Err(refused) => return Ok(refused),
    };
    let key = moved.key;
    let LogStartPlan { log_start_offset, covered, .. } = plan;
    let (organization, topic, partition) = (key.organization.0, key.topic_id.0.as_bytes(), key.partition);
    let at = params![organization, topic, partition, log_start_offset];
    let end = first(connection, SELECT_END_BELOW, at, |row| row.get(0))?.flatten();
    if !plan.allows(end) {
        return Ok(LogChangeOutcome::Stale);
    }
    keep_snapshot(connection, key, covered, moved.snapshot.as_ref())?;
    if plan.is_higher {
        for sql in [MOVE_LOG_START].into_iter().chain(TRIM_EPOCHS) {
            execute(connection, sql, at)?;
        }
    }
    if end.is_none() {
        return Ok(LogChangeOutcome::Done { more: false });
    }
    let oldest = params![organization, topic, partition, log_start_offset, *left];
    let slots: Vec<Slot> = all(connection, DELETE_BELOW, oldest, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    *left -= i64::try_from(slots.len()).unwrap_or(i64::MAX);
    garbage::retire_empty(connection, slots, database_clock())?;
    let rest = params![organization, topic, partition];
    let rest = first(connection, SELECT_FIRST_END, rest, |row| row.get::<_, Offset>(0))?;
    Ok(LogChangeOutcome::Done { more: rest.is_some_and(|end| end <= log_start_offset) })
}

fn keep_snapshot(
    connection: &Connection,
    key: PartitionKey,
    covered: Covered,
    given: Option<&SnapshotAt>,
) -> Result<(), StoreError> {
    match given.filter(|_| covered.is_new) {
        Some(given) => commit::insert_snapshot(connection, key, given.as_of_offset, &given.snapshot),
        None => Ok(()),
    }
}

fn replace_all(
    connection: &Connection,
    session: SessionId,
    rewrite: &SegmentRewrite,
) -> Result<Vec<LogChangeOutcome>, StoreError> {
    let SegmentRewrite { lane_sequence, object_key, organization, object_bytes, replacements } = rewrite;
    let now = database_clock();
    let slot = (session.0, *lane_sequence, organization.0);
    let row = params![slot.0, slot.1, slot.2, object_key, object_bytes, now];
    execute(connection, TAKE_SLOT, row)?;
    let holder = params![slot.0, slot.1, slot.2];
    let holder = first(connection, SELECT_HOLDER, holder, |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    if holder.is_none_or(|(key, kind)| key != *object_key || kind != 1) {
        return Ok(vec![LogChangeOutcome::Stale; replacements.len()]);
    }
    let outcomes = replacements.iter().map(|replacement| replace(connection, slot, replacement, now));
    let outcomes = outcomes.collect::<Result<_, StoreError>>()?;
    garbage::retire_empty(connection, [slot], now)?;
    Ok(outcomes)
}

fn replace(
    connection: &Connection,
    slot: Slot,
    replacement: &RangesReplacement,
    now: TimestampMs,
) -> Result<LogChangeOutcome, StoreError> {
    let RangesReplacement { key, replaced, ranges, snapshot, .. } = replacement;
    let (session, lane_sequence, organization) = slot;
    let (topic, partition) = (key.topic_id.0.as_bytes(), key.partition);
    let mut found = Vec::with_capacity(replaced.len());
    for base in replaced {
        let at = params![key.organization.0, topic, partition, base];
        let row = first(connection, SELECT_RANGE, at, |row| {
            let (session, lane_sequence) = (SessionId(row.get(2)?), row.get(3)?);
            Ok(FoundRow { extent: (row.get(0)?, row.get(1)?), session, lane_sequence })
        })?;
        found.extend(row);
    }
    let row = log_row(connection, SessionId(session), *key)?;
    let by = (SessionId(session), lane_sequence, segment::OrganizationId(organization));
    let covered = match replacement.check(by, row, &found) {
        Ok(covered) => covered,
        Err(refused) => return Ok(refused),
    };
    keep_snapshot(connection, *key, covered, snapshot.as_ref())?;
    for base in replaced {
        execute(connection, DELETE_RANGE, params![organization, topic, partition, base])?;
    }
    for range in ranges {
        let NewRange { base_offset, next_offset, leader_epoch, byte_start, byte_len, checksum, max_timestamp } = range;
        let row = params![
            organization,
            topic,
            partition,
            base_offset,
            next_offset,
            leader_epoch,
            session,
            lane_sequence,
            byte_start,
            byte_len,
            checksum,
            max_timestamp,
            &[][..],
        ];
        execute(connection, INSERT_RANGE, row)?;
    }
    let slots = found.iter().map(|row| (row.session.0, row.lane_sequence, organization));
    garbage::retire_empty(connection, slots, now)?;
    Ok(LogChangeOutcome::Done { more: false })
}
