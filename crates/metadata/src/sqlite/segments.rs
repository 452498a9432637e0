//! Segments on SQLite: hands commits to the writer, resolves them, and reads ranges.

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use segment::{Offset, OrganizationId, PartitionKey, REWRITE_SEQUENCE_BASE, SessionId, TimestampMs};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore, column, commit, database_clock, direct::require_active, garbage, key_columns, not_committed,
    sessions::is_active, topic_bytes,
};
use crate::{
    Claim, CommitOutcome, CommittedRange, FoundObject, LastSegment, ProducerHistory, RangeRow, Resolution,
    SegmentCommit, SegmentRef, Segments, StoreError,
};

#[async_trait]
impl Segments for SqliteStore {
    async fn commit_segments(
        &self,
        session: SessionId,
        segments: &[SegmentCommit],
    ) -> Result<CommitOutcome, StoreError> {
        let segments = segments.to_vec();
        self.commit(move |connection| commit::commit(connection, session, &segments)).await
    }

    async fn resolve_commit(&self, session: SessionId, segments: &[SegmentRef]) -> Result<Vec<Resolution>, StoreError> {
        let segments = segments.to_vec();
        self.transact(move |connection| {
            async move {
                if !is_active(connection, session.0).await? {
                    return Err(StoreError::Fenced);
                }
                let mut resolutions = Vec::with_capacity(segments.len());
                for segment in &segments {
                    resolutions.push(resolve_segment(connection, session, segment).await?);
                }
                Ok(resolutions)
            }
            .boxed()
        })
        .await
    }

    async fn claim_objects(&self, session: SessionId, objects: &[FoundObject]) -> Result<Vec<Claim>, StoreError> {
        let objects = objects.to_vec();
        self.transact_directly(move |connection| {
            require_active(connection, session)?;
            objects.iter().map(|object| garbage::claim(connection, object)).collect()
        })
        .await
    }

    /// A read: what it answers stays true.
    async fn claim_unreferenced(
        &self,
        session: SessionId,
        older_than_ms: i64,
        limit: u32,
    ) -> Result<Vec<FoundObject>, StoreError> {
        let retired_until = database_clock().saturating_sub(older_than_ms);
        let find = sqlx::query(garbage::SELECT_UNREFERENCED).bind(session.0).bind(retired_until).bind(i64::from(limit));
        let rows = self.read_all(find).await?;
        if rows.is_empty() {
            return Err(StoreError::Fenced);
        }
        let found = rows.iter().map(found_object).collect::<Result<Vec<_>, _>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn forget_objects(&self, session: SessionId, objects: &[FoundObject]) -> Result<u64, StoreError> {
        let objects = objects.to_vec();
        self.transact_directly(move |connection| {
            require_active(connection, session)?;
            objects.iter().map(|object| garbage::forget(connection, object).map(u64::from)).sum()
        })
        .await
    }

    async fn ranges_from(&self, key: PartitionKey, from: Offset, limit: u32) -> Result<Vec<RangeRow>, StoreError> {
        let sql = "
            SELECT r.base_offset, r.next_offset, r.leader_epoch, s.object_key, r.byte_start, r.byte_len, r.checksum,
                   r.max_timestamp, s.object_bytes
              FROM ranges AS r JOIN segments AS s
                ON s.session = r.session AND s.lane_sequence = r.lane_sequence AND s.organization = r.organization
             WHERE r.organization = $1 AND r.topic_id = $2 AND r.partition = $3 AND r.next_offset > $4
               AND r.base_offset >= coalesce(
                   (SELECT max(b.base_offset) FROM ranges AS b
                     WHERE b.organization = $1 AND b.topic_id = $2 AND b.partition = $3 AND b.base_offset <= $4), 0)
             ORDER BY r.base_offset LIMIT $5";
        let statement = bind_key(sql, key).bind(from).bind(i64::from(limit));
        self.read_all(statement).await?.iter().map(range_row).collect()
    }

    async fn range_at_timestamp(
        &self,
        key: PartitionKey,
        from: Offset,
        timestamp: TimestampMs,
    ) -> Result<Option<RangeRow>, StoreError> {
        // A scan in offset order that stops at the first hit, of narrow columns of one partition: see docs/metadata.md.
        let sql = "
            SELECT r.base_offset, r.next_offset, r.leader_epoch, s.object_key, r.byte_start, r.byte_len, r.checksum,
                   r.max_timestamp, s.object_bytes
              FROM (SELECT * FROM ranges AS f
                     WHERE f.organization = $1 AND f.topic_id = $2 AND f.partition = $3
                       AND f.next_offset > $4 AND f.max_timestamp >= $5
                       AND f.base_offset >= coalesce(
                           (SELECT max(b.base_offset) FROM ranges AS b
                             WHERE b.organization = $1 AND b.topic_id = $2 AND b.partition = $3
                               AND b.base_offset <= $4), 0)
                     ORDER BY f.base_offset LIMIT 1) AS r
              JOIN segments AS s
                ON s.session = r.session AND s.lane_sequence = r.lane_sequence AND s.organization = r.organization";
        let row = self.read_first(bind_key(sql, key).bind(from).bind(timestamp)).await?;
        row.as_ref().map(range_row).transpose()
    }

    async fn range_of_max_timestamp(&self, key: PartitionKey, from: Offset) -> Result<Option<RangeRow>, StoreError> {
        let sql = "
            SELECT r.base_offset, r.next_offset, r.leader_epoch, s.object_key, r.byte_start, r.byte_len, r.checksum,
                   r.max_timestamp, s.object_bytes
              FROM (SELECT * FROM ranges AS f
                     WHERE f.organization = $1 AND f.topic_id = $2 AND f.partition = $3 AND f.next_offset > $4
                     ORDER BY f.max_timestamp DESC, f.base_offset LIMIT 1) AS r
              JOIN segments AS s
                ON s.session = r.session AND s.lane_sequence = r.lane_sequence AND s.organization = r.organization";
        let row = self.read_first(bind_key(sql, key).bind(from)).await?;
        row.as_ref().map(range_row).transpose()
    }

    async fn producer_history(&self, key: PartitionKey) -> Result<ProducerHistory, StoreError> {
        // One statement, so that snapshot and ranges are of one moment. The snapshot's row comes first.
        let sql = "
            WITH newest AS (
                SELECT as_of_offset, snapshot FROM producer_snapshots
                 WHERE organization = $1 AND topic_id = $2 AND partition = $3
                 ORDER BY as_of_offset DESC LIMIT 1)
            SELECT 0 AS part, as_of_offset AS at, snapshot AS bytes FROM newest
             UNION ALL
            SELECT 1, base_offset, producers FROM ranges
             WHERE organization = $1 AND topic_id = $2 AND partition = $3
               AND base_offset >= coalesce((SELECT as_of_offset FROM newest), 0)
             ORDER BY part, at";
        let mut history = ProducerHistory::default();
        for row in self.read_all(bind_key(sql, key)).await? {
            let bytes = Bytes::from(column::<Vec<u8>>(&row, 2)?);
            if column::<i64>(&row, 0)? == 0 {
                history.snapshot = Some((column(&row, 1)?, bytes));
                continue;
            }
            history.ranges_since_snapshot += 1;
            if !bytes.is_empty() {
                history.entries.push(bytes);
            }
        }
        Ok(history)
    }

    async fn last_segments(&self) -> Result<Vec<LastSegment>, StoreError> {
        let rows = self.read_all(sqlx::query(garbage::SELECT_LAST).bind(REWRITE_SEQUENCE_BASE)).await?;
        let last =
            |row: &SqliteRow| Ok(LastSegment { session: SessionId(column(row, 0)?), lane_sequence: column(row, 1)? });
        rows.iter().map(last).collect()
    }
}

/// Puts a tombstone where nothing is, and reads what is there otherwise. A slot that another object took can never be
/// this object's, so that is a failure too.
async fn resolve_segment(
    connection: &mut SqliteConnection,
    session: SessionId,
    segment: &SegmentRef,
) -> Result<Resolution, StoreError> {
    let slot = |sql| sqlx::query(sql).bind(session.0).bind(segment.lane_sequence).bind(segment.organization.0);
    let tombstone = slot(garbage::TAKE_FOR_TOMBSTONE).bind(segment.object_key.clone()).bind(database_clock());
    tombstone.execute(&mut *connection).await.map_err(not_committed)?;
    let holder = slot(garbage::SELECT_HOLDER).fetch_one(&mut *connection).await.map_err(not_committed)?;
    if column::<String>(&holder, 0)? != segment.object_key || column::<i64>(&holder, 1)? == 0 {
        return Ok(Resolution::Failed);
    }
    let ranges = "
        SELECT organization, topic_id, partition, base_offset FROM ranges
         WHERE session = $1 AND lane_sequence = $2 AND organization = $3 ORDER BY topic_id, partition, base_offset";
    let rows = slot(ranges).fetch_all(connection).await.map_err(not_committed)?;
    let committed = |row| Ok(CommittedRange { key: key_columns(row, 0)?, base_offset: column(row, 3)? });
    Ok(Resolution::Committed(rows.iter().map(committed).collect::<Result<_, StoreError>>()?))
}

fn bind_key(sql: &'static str, key: PartitionKey) -> super::reader::Statement {
    sqlx::query(sql).bind(key.organization.0).bind(topic_bytes(key.topic_id)).bind(key.partition)
}

/// An object of a row that may have none.
fn found_object(row: &SqliteRow) -> Result<Option<FoundObject>, StoreError> {
    let Some(session) = column::<Option<i64>>(row, 0)? else { return Ok(None) };
    let (lane_sequence, organization) = (column(row, 1)?, OrganizationId(column(row, 2)?));
    Ok(Some(FoundObject { session: SessionId(session), lane_sequence, organization, object_key: column(row, 3)? }))
}

/// A row of the columns every range query selects.
fn range_row(row: &SqliteRow) -> Result<RangeRow, StoreError> {
    Ok(RangeRow {
        base_offset: column(row, 0)?,
        next_offset: column(row, 1)?,
        leader_epoch: column(row, 2)?,
        object_key: column(row, 3)?,
        byte_start: column(row, 4)?,
        byte_len: column(row, 5)?,
        checksum: column(row, 6)?,
        max_timestamp: column(row, 7)?,
        object_bytes: column(row, 8)?,
    })
}
