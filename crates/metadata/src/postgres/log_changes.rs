//! Log starts and replaced ranges on PostgreSQL: a fixed number of round trips, whatever the number of partitions.
//!
//! Locks are taken in the order that holds everywhere: the session's row (shared), the slot of a rewritten object, partitions by
//! (topic id, partition), segments by slot. What a statement reads after it locked may be older than the lock, so what
//! is decided on is read by a statement of its own. An object that comes again is locked (shared) before the
//! partitions: nobody retires it meanwhile. Should that meet somebody who holds another segment of ours and waits
//! for this one, the database ends one of the two, and it is done again.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::FutureExt;
use segment::{LeaderEpoch, Offset, PartitionKey, SessionId};

use super::{
    PostgresStore, Statement, bind_keys, changed, column, commit,
    garbage::{self, Slot},
    key_columns,
    link::Link,
    not_committed, require_active,
};
use crate::{
    CleanedLog, LogChangeOutcome, LogChanges, LogStartMove, NewRange, SegmentRewrite, SnapshotAt, StoreError,
    log_changes::{FoundRow, LogRow, LogStartPlan},
};

/// Rows of live partitions, as they are once they are locked.
const LOCK_PARTITIONS: &str = "
    SELECT p.organization, p.topic_id, p.partition, coalesce(p.session = $4, FALSE), p.leader_epoch, p.next_offset,
           p.log_start_offset
      FROM partitions AS p
     WHERE (p.organization, p.topic_id, p.partition) IN (SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::int[]))
       AND NOT p.deleted
     ORDER BY p.topic_id, p.partition, p.organization FOR UPDATE";

/// Per partition: where its newest snapshot is, and where the last range ends that ends at $4 or below (of the two that begin
/// below it, only the second may end above).
const READ_LOGS: &str = "
    SELECT k.organization, k.topic_id, k.partition,
           (SELECT max(s.as_of_offset) FROM producer_snapshots AS s
             WHERE s.organization = k.organization AND s.topic_id = k.topic_id AND s.partition = k.partition),
           (SELECT max(b.next_offset) FROM
                (SELECT r.next_offset FROM ranges AS r
                  WHERE r.organization = k.organization AND r.topic_id = k.topic_id AND r.partition = k.partition
                    AND r.base_offset < k.log_start
                  ORDER BY r.base_offset DESC LIMIT 2) AS b
             WHERE b.next_offset <= k.log_start)
      FROM unnest($1::bigint[], $2::uuid[], $3::int[], $4::bigint[]) AS k (organization, topic_id, partition, log_start)";

/// $4 the new log start of each, $5 and $6 its snapshot, $7 how many ranges go at most, the oldest of the first ones first. Of
/// epoch entries at or below a log start the last one stays, and begins there. Answers the slots of the ranges that went.
const MOVE_LOG_STARTS: &str = "
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::int[], $4::bigint[], $5::bigint[], $6::bytea[]) WITH ORDINALITY
        AS i (organization, topic_id, partition, log_start, as_of_offset, snapshot, n)
), moved AS (
    UPDATE partitions AS p SET log_start_offset = i.log_start FROM input AS i
     WHERE p.organization = i.organization AND p.topic_id = i.topic_id AND p.partition = i.partition
       AND p.log_start_offset < i.log_start
), first_epochs AS MATERIALIZED (
    SELECT e.organization, e.topic_id, e.partition, i.log_start, max(e.start_offset) AS start_offset
      FROM input AS i JOIN leader_epochs AS e
        ON e.organization = i.organization AND e.topic_id = i.topic_id AND e.partition = i.partition
       AND e.start_offset <= i.log_start
     GROUP BY e.organization, e.topic_id, e.partition, i.log_start
), trimmed AS (
    DELETE FROM leader_epochs AS e USING first_epochs AS f
     WHERE e.organization = f.organization AND e.topic_id = f.topic_id AND e.partition = f.partition
       AND e.start_offset < f.start_offset
), raised AS (
    UPDATE leader_epochs AS e SET start_offset = f.log_start FROM first_epochs AS f
     WHERE e.organization = f.organization AND e.topic_id = f.topic_id AND e.partition = f.partition
       AND e.start_offset = f.start_offset AND f.start_offset < f.log_start
), kept AS (
    INSERT INTO producer_snapshots (organization, topic_id, partition, as_of_offset, snapshot)
    SELECT i.organization, i.topic_id, i.partition, i.as_of_offset, i.snapshot
      FROM input AS i WHERE i.snapshot IS NOT NULL
), oldest AS (
    SELECT i.organization, i.topic_id, i.partition, b.base_offset
      FROM (SELECT * FROM input ORDER BY n) AS i
     CROSS JOIN LATERAL
           (SELECT r.base_offset FROM ranges AS r
             WHERE r.organization = i.organization AND r.topic_id = i.topic_id AND r.partition = i.partition
               AND r.base_offset < i.log_start AND r.next_offset <= i.log_start
             ORDER BY r.base_offset LIMIT $7) AS b
     ORDER BY i.n, b.base_offset LIMIT $7
), gone AS (
    DELETE FROM ranges AS r USING oldest AS o
     WHERE r.organization = o.organization AND r.topic_id = o.topic_id AND r.partition = o.partition
       AND r.base_offset = o.base_offset
    RETURNING r.session, r.lane_sequence, r.organization
)
SELECT DISTINCT session, lane_sequence, organization FROM gone";

/// Partitions whose first range ends at $4 or below.
const HAVE_MORE: &str = "
    SELECT k.organization, k.topic_id, k.partition
      FROM unnest($1::bigint[], $2::uuid[], $3::int[], $4::bigint[]) AS k (organization, topic_id, partition, log_start)
     WHERE (SELECT r.next_offset FROM ranges AS r
             WHERE r.organization = k.organization AND r.topic_id = k.topic_id AND r.partition = k.partition
             ORDER BY r.base_offset LIMIT 1) <= k.log_start";

const TAKE_SLOT: &str = "
    INSERT INTO segments (session, lane_sequence, organization, object_key, kind, object_bytes, created_at)
    VALUES ($1, $2, $3, $4, 1, $5, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) ON CONFLICT DO NOTHING";

const SHARE_SLOT: &str = "
    SELECT 1 FROM segments
     WHERE session = $1 AND lane_sequence = $2 AND organization = $3 AND object_key = $4 AND kind = 1 FOR SHARE";

const READ_RANGES: &str = "
    SELECT r.organization, r.topic_id, r.partition, r.base_offset, r.next_offset, r.session, r.lane_sequence
      FROM unnest($1::bigint[], $2::uuid[], $3::int[], $4::bigint[]) AS k (organization, topic_id, partition, base_offset)
      JOIN ranges AS r
        ON r.organization = k.organization AND r.topic_id = k.topic_id AND r.partition = k.partition
       AND r.base_offset = k.base_offset";

const DELETE_RANGES: &str = "
    DELETE FROM ranges AS r
     USING unnest($1::bigint[], $2::uuid[], $3::int[], $4::bigint[]) AS k (organization, topic_id, partition, base_offset)
     WHERE r.organization = k.organization AND r.topic_id = k.topic_id AND r.partition = k.partition
       AND r.base_offset = k.base_offset";

const INSERT_RANGES: &str = "
    INSERT INTO ranges (organization, topic_id, partition, base_offset, next_offset, leader_epoch, session, lane_sequence,
                        byte_start, byte_len, checksum, max_timestamp, producers)
    SELECT i.organization, i.topic_id, i.partition, i.base_offset, i.next_offset, i.leader_epoch, $4, $5, i.byte_start,
           i.byte_len, i.checksum, i.max_timestamp, ''
      FROM unnest($1::bigint[], $2::uuid[], $3::int[], $6::bigint[], $7::bigint[], $8::int[], $9::bigint[], $10::bigint[],
                  $11::bigint[], $12::bigint[])
        AS i (organization, topic_id, partition, base_offset, next_offset, leader_epoch, byte_start, byte_len, checksum,
              max_timestamp)";

const INSERT_SNAPSHOTS: &str = "
    INSERT INTO producer_snapshots (organization, topic_id, partition, as_of_offset, snapshot)
    SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::int[], $4::bigint[], $5::bytea[])";

const NOTE_CLEANED: &str = "
    UPDATE partitions AS p SET cleaned_offset = i.cleaned_offset
      FROM unnest($1::bigint[], $2::uuid[], $3::int[], $5::int[], $6::bigint[])
           AS i (organization, topic_id, partition, leader_epoch, cleaned_offset)
     WHERE p.organization = i.organization AND p.topic_id = i.topic_id AND p.partition = i.partition
       AND NOT p.deleted AND p.session = $4 AND p.leader_epoch = i.leader_epoch
       AND p.cleaned_offset < i.cleaned_offset AND p.next_offset >= i.cleaned_offset";

#[async_trait]
impl LogChanges for PostgresStore {
    async fn move_log_starts(
        &self,
        session: SessionId,
        moves: &[LogStartMove],
        rows_max: u32,
    ) -> Result<Vec<LogChangeOutcome>, StoreError> {
        let moves = moves.to_vec();
        self.write(move |connection| move_all(connection, session, moves, rows_max).boxed()).await
    }

    async fn replace_ranges(
        &self,
        session: SessionId,
        rewrite: &SegmentRewrite,
    ) -> Result<Vec<LogChangeOutcome>, StoreError> {
        let rewrite = rewrite.clone();
        self.write(move |connection| replace_all(connection, session, rewrite).boxed()).await
    }

    async fn note_cleaned(&self, session: SessionId, logs: &[CleanedLog]) -> Result<(), StoreError> {
        let keys: Vec<PartitionKey> = logs.iter().map(|log| log.key).collect();
        let epochs: Vec<LeaderEpoch> = logs.iter().map(|log| log.leader_epoch).collect();
        let offsets: Vec<Offset> = logs.iter().map(|log| log.offset).collect();
        self.write(move |connection| {
            async move {
                require_active(connection, session).await?;
                // Locked in the order that holds everywhere.
                changed(connection, bind_keys(sqlx::query(LOCK_PARTITIONS), &keys).bind(session.0)).await?;
                let note = bind_keys(sqlx::query(NOTE_CLEANED), &keys).bind(session.0).bind(epochs).bind(offsets);
                changed(connection, note).await.map(drop)
            }
            .boxed()
        })
        .await
    }
}

type Rows = BTreeMap<PartitionKey, LogRow>;

/// Locks the partitions and reads what a change sees of them, and where ranges end at or below what `log_start` says.
async fn lock_logs(
    connection: &mut Link,
    session: SessionId,
    wanted: &[(PartitionKey, Offset)],
) -> Result<(Rows, BTreeMap<PartitionKey, Offset>), StoreError> {
    let keys: Vec<PartitionKey> = wanted.iter().map(|(key, _)| *key).collect();
    let lock = bind_keys(sqlx::query(LOCK_PARTITIONS), &keys).bind(session.0);
    let mut rows = Rows::new();
    for row in lock.fetch_all(&mut *connection).await.map_err(not_committed)? {
        let log = LogRow {
            is_held: column(&row, 3)?,
            leader_epoch: column::<LeaderEpoch>(&row, 4)?,
            next_offset: column(&row, 5)?,
            log_start_offset: column(&row, 6)?,
            snapshot_at: None,
        };
        rows.insert(key_columns(&row, 0)?, log);
    }
    let in_force = |(key, log_start): &(_, Offset)| rows.get(key).map_or(0, |row| row.log_start_offset).max(*log_start);
    let log_starts: Vec<Offset> = wanted.iter().map(in_force).collect();
    let mut ends = BTreeMap::new();
    let read = bind_keys(sqlx::query(READ_LOGS), &keys).bind(log_starts);
    for row in read.fetch_all(&mut *connection).await.map_err(not_committed)? {
        let key = key_columns(&row, 0)?;
        if let Some(log) = rows.get_mut(&key) {
            log.snapshot_at = column(&row, 3)?;
        }
        if let Some(end) = column::<Option<Offset>>(&row, 4)? {
            ends.insert(key, end);
        }
    }
    Ok((rows, ends))
}

async fn move_all(
    connection: &mut Link,
    session: SessionId,
    moves: Vec<LogStartMove>,
    rows_max: u32,
) -> Result<Vec<LogChangeOutcome>, StoreError> {
    require_active(connection, session).await?;
    let wanted: Vec<_> = moves.iter().map(|moved| (moved.key, moved.log_start_offset)).collect();
    let (rows, ends) = lock_logs(connection, session, &wanted).await?;
    let check = |moved: &LogStartMove| {
        let plan = moved.check(rows.get(&moved.key).copied())?;
        let is_allowed = plan.allows(ends.get(&moved.key).copied());
        if is_allowed { Ok(plan) } else { Err(LogChangeOutcome::Stale) }
    };
    let plans: Vec<Result<LogStartPlan, LogChangeOutcome>> = moves.iter().map(check).collect();
    let accepted: Vec<(&LogStartMove, LogStartPlan)> =
        moves.iter().zip(&plans).filter_map(|(moved, plan)| Some((moved, plan.ok()?))).collect();
    let more = if accepted.is_empty() { BTreeSet::new() } else { apply(connection, &accepted, rows_max).await? };
    let outcomes = moves.iter().zip(plans).map(|(moved, plan)| match plan {
        Ok(_) => LogChangeOutcome::Done { more: more.contains(&moved.key) },
        Err(refused) => refused,
    });
    Ok(outcomes.collect())
}

/// Moves log starts, and answers which of them have ranges left below.
async fn apply(
    connection: &mut Link,
    accepted: &[(&LogStartMove, LogStartPlan)],
    rows_max: u32,
) -> Result<BTreeSet<PartitionKey>, StoreError> {
    let keys: Vec<PartitionKey> = accepted.iter().map(|(moved, _)| moved.key).collect();
    let log_starts: Vec<Offset> = accepted.iter().map(|(_, plan)| plan.log_start_offset).collect();
    let snapshots: Vec<Option<&SnapshotAt>> =
        accepted.iter().map(|(moved, plan)| moved.snapshot.as_ref().filter(|_| plan.covered.is_new)).collect();
    let statement = bind_keys(sqlx::query(MOVE_LOG_STARTS), &keys)
        .bind(log_starts.clone())
        .bind(snapshots.iter().map(|given| given.map(|given| given.as_of_offset)).collect::<Vec<_>>())
        .bind(snapshots.iter().map(|given| given.map(|given| given.snapshot.to_vec())).collect::<Vec<_>>())
        .bind(i64::from(rows_max));
    let mut slots: Vec<Slot> = Vec::new();
    for row in statement.fetch_all(&mut *connection).await.map_err(not_committed)? {
        slots.push((column(&row, 0)?, column(&row, 1)?, column(&row, 2)?));
    }
    let with: Vec<_> = keys.iter().zip(&snapshots).filter(|(_, given)| given.is_some()).map(|(key, _)| *key).collect();
    commit::drop_snapshots_of(connection, &with).await?;
    garbage::retire_empty(connection, &slots).await?;
    let more = bind_keys(sqlx::query(HAVE_MORE), &keys).bind(log_starts);
    more.fetch_all(connection).await.map_err(not_committed)?.iter().map(|row| key_columns(row, 0)).collect()
}

async fn replace_all(
    connection: &mut Link,
    session: SessionId,
    rewrite: SegmentRewrite,
) -> Result<Vec<LogChangeOutcome>, StoreError> {
    require_active(connection, session).await?;
    let SegmentRewrite { lane_sequence, object_key, organization, object_bytes, replacements } = &rewrite;
    let slot = (session.0, *lane_sequence, organization.0);
    let at_slot = |sql| sqlx::query(sql).bind(slot.0).bind(slot.1).bind(slot.2).bind(object_key.clone());
    changed(connection, at_slot(TAKE_SLOT).bind(*object_bytes)).await?;
    if at_slot(SHARE_SLOT).fetch_optional(&mut *connection).await.map_err(not_committed)?.is_none() {
        return Ok(vec![LogChangeOutcome::Stale; replacements.len()]);
    }
    let wanted: Vec<_> = replacements.iter().map(|replacement| (replacement.key, 0)).collect();
    let (rows, _) = lock_logs(connection, session, &wanted).await?;
    let found = read_ranges(connection, &rewrite).await?;
    let mut swap = Swap { slots: BTreeSet::from([slot]), ..Swap::default() };
    let outcomes = replacements.iter().map(|replacement| {
        let key = replacement.key;
        let found: Vec<_> = replacement.replaced.iter().filter_map(|base| found.get(&(key, *base)).copied()).collect();
        match replacement.check((session, *lane_sequence, *organization), rows.get(&key).copied(), &found) {
            Err(refused) => refused,
            Ok(covered) => {
                swap.slots.extend(found.iter().map(|row| (row.session.0, row.lane_sequence, organization.0)));
                swap.replaced.extend(replacement.replaced.iter().map(|base| (key, *base)));
                swap.ranges.extend(replacement.ranges.iter().map(|range| (key, range)));
                swap.snapshots.extend(replacement.snapshot.iter().filter(|_| covered.is_new).map(|given| (key, given)));
                LogChangeOutcome::Done { more: false }
            }
        }
    });
    let outcomes = outcomes.collect();
    swap.run(connection, slot).await?;
    Ok(outcomes)
}

type FoundRanges = BTreeMap<(PartitionKey, Offset), FoundRow>;

/// Those of the rows to replace that exist.
async fn read_ranges(connection: &mut Link, rewrite: &SegmentRewrite) -> Result<FoundRanges, StoreError> {
    let all = rewrite.replacements.iter();
    let wanted: Vec<_> = all.flat_map(|one| one.replaced.iter().map(|base| (one.key, *base))).collect();
    let mut found = BTreeMap::new();
    for row in at_offsets(READ_RANGES, &wanted).fetch_all(connection).await.map_err(not_committed)? {
        let extent: (Offset, Offset) = (column(&row, 3)?, column(&row, 4)?);
        let (session, lane_sequence) = (SessionId(column(&row, 5)?), column(&row, 6)?);
        found.insert((key_columns(&row, 0)?, extent.0), FoundRow { extent, session, lane_sequence });
    }
    Ok(found)
}

/// Keys with an offset each, as four arrays.
fn at_offsets(sql: &'static str, rows: &[(PartitionKey, Offset)]) -> Statement {
    let keys: Vec<PartitionKey> = rows.iter().map(|(key, _)| *key).collect();
    bind_keys(sqlx::query(sql), &keys).bind(rows.iter().map(|(_, offset)| *offset).collect::<Vec<_>>())
}

/// What accepted replacements do.
#[derive(Default)]
struct Swap<'a> {
    replaced: Vec<(PartitionKey, Offset)>,
    ranges: Vec<(PartitionKey, &'a NewRange)>,
    snapshots: Vec<(PartitionKey, &'a SnapshotAt)>,
    /// Segments that may have no range afterwards.
    slots: BTreeSet<Slot>,
}

impl Swap<'_> {
    async fn run(self, connection: &mut Link, slot: Slot) -> Result<(), StoreError> {
        if !self.replaced.is_empty() {
            changed(connection, at_offsets(DELETE_RANGES, &self.replaced)).await?;
            changed(connection, self.insert_ranges(slot)).await?;
        }
        if !self.snapshots.is_empty() {
            let rows: Vec<_> = self.snapshots.iter().map(|(key, given)| (*key, given.as_of_offset)).collect();
            let bytes: Vec<Vec<u8>> = self.snapshots.iter().map(|(_, given)| given.snapshot.to_vec()).collect();
            changed(connection, at_offsets(INSERT_SNAPSHOTS, &rows).bind(bytes)).await?;
            let keys: Vec<_> = rows.iter().map(|(key, _)| *key).collect();
            commit::drop_snapshots_of(connection, &keys).await?;
        }
        garbage::retire_empty(connection, &self.slots.into_iter().collect::<Vec<_>>()).await
    }

    fn insert_ranges(&self, slot: Slot) -> Statement {
        let keys: Vec<PartitionKey> = self.ranges.iter().map(|(key, _)| *key).collect();
        let all = |field: fn(&NewRange) -> i64| self.ranges.iter().map(|(_, range)| field(range)).collect::<Vec<i64>>();
        bind_keys(sqlx::query(INSERT_RANGES), &keys)
            .bind(slot.0)
            .bind(slot.1)
            .bind(all(|range| range.base_offset))
            .bind(all(|range| range.next_offset))
            .bind(self.ranges.iter().map(|(_, range)| range.leader_epoch).collect::<Vec<LeaderEpoch>>())
            .bind(all(|range| range.byte_start))
            .bind(all(|range| range.byte_len))
            .bind(all(|range| i64::from(range.checksum)))
            .bind(all(|range| range.max_timestamp))
    }
}
