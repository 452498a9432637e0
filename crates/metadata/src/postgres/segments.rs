//! Segments on PostgreSQL: commits, their resolution, and the reads that plan a fetch.

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use segment::{Offset, PartitionKey, REWRITE_SEQUENCE_BASE, SessionId, TimestampMs};
use sqlx::postgres::PgRow;

use super::{
    PostgresStore, bind_key, changed, column,
    commit::{self, Committed},
    commit_error, garbage, key_columns,
    link::Link,
    not_committed, require_active,
};
use crate::{
    Claim, CommitOutcome, CommittedRange, FoundObject, LastSegment, ProducerHistory, RangeOutcome, RangeRow,
    Resolution, SegmentCommit, SegmentRef, Segments, StoreError,
};

#[async_trait]
impl Segments for PostgresStore {
    async fn commit_segments(
        &self,
        session: SessionId,
        segments: &[SegmentCommit],
    ) -> Result<CommitOutcome, StoreError> {
        let segments = segments.to_vec();
        match segments.as_slice() {
            [segment] if segment.ranges.iter().all(|range| range.snapshot.is_none()) => {
                let slot = (session.0, segment.lane_sequence, segment.organization.0);
                let commit =
                    self.commits.run_alone(move |connection| commit_alone(connection, session, segments).boxed());
                let outcome = commit.await?;
                if is_empty(&outcome.segments[0]) {
                    self.retire_rejected(slot).await;
                }
                Ok(outcome)
            }
            _ => self.commits.transact(move |connection| commit_several(connection, session, segments).boxed()).await,
        }
    }

    async fn resolve_commit(&self, session: SessionId, segments: &[SegmentRef]) -> Result<Vec<Resolution>, StoreError> {
        let segments = segments.to_vec();
        let resolved = self.commits.transact(move |connection| {
            async move {
                require_active(connection, session).await?;
                let mut resolutions = Vec::with_capacity(segments.len());
                for segment in &segments {
                    resolutions.push(resolve_segment(connection, session, segment).await?);
                }
                Ok(resolutions)
            }
            .boxed()
        });
        resolved.await
    }

    async fn claim_objects(&self, session: SessionId, objects: &[FoundObject]) -> Result<Vec<Claim>, StoreError> {
        let objects = objects.to_vec();
        self.write(move |connection| {
            async move {
                require_active(connection, session).await?;
                garbage::claim(connection, &objects).await
            }
            .boxed()
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
        let find = sqlx::query(garbage::SELECT_UNREFERENCED).bind(session.0).bind(older_than_ms).bind(i64::from(limit));
        let rows = self.read_all(find).await?;
        if rows.is_empty() {
            return Err(StoreError::Fenced);
        }
        let found = rows.iter().map(garbage::found_object).collect::<Result<Vec<_>, _>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn forget_objects(&self, session: SessionId, objects: &[FoundObject]) -> Result<u64, StoreError> {
        let objects = objects.to_vec();
        self.write(move |connection| {
            async move {
                require_active(connection, session).await?;
                garbage::forget(connection, &objects).await
            }
            .boxed()
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
            if column::<i32>(&row, 0)? == 0 {
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
            |row: &PgRow| Ok(LastSegment { session: SessionId(column(row, 0)?), lane_sequence: column(row, 1)? });
        rows.iter().map(last).collect()
    }
}

impl PostgresStore {
    /// Retires a segment that was committed alone with nothing in it. Should this not happen, its object is found by the next
    /// listing, and retired then.
    async fn retire_rejected(&self, slot: garbage::Slot) {
        let retire = self
            .commits
            .transact(move |connection| async move { garbage::retire_empty(connection, &[slot]).await }.boxed());
        if let Err(error) = retire.await {
            tracing::debug!(%error, "a segment whose ranges were all rejected was not retired");
        }
    }
}

/// Whether a segment got no range at all.
fn is_empty(outcomes: &[RangeOutcome]) -> bool {
    !outcomes.contains(&RangeOutcome::Accepted)
}

async fn commit_alone(
    connection: &mut Link,
    session: SessionId,
    segments: Vec<SegmentCommit>,
) -> Result<CommitOutcome, StoreError> {
    let mut outcomes = Vec::with_capacity(1);
    for segment in &segments {
        match commit::commit_segment(connection, session, segment, commit_error).await? {
            Committed::Fenced => return Err(StoreError::Fenced),
            Committed::Ranges(ranges) => outcomes.push(ranges),
        }
    }
    Ok(CommitOutcome { segments: outcomes })
}

/// In one transaction, each statement seeing what those before it did.
async fn commit_several(
    connection: &mut Link,
    session: SessionId,
    segments: Vec<SegmentCommit>,
) -> Result<CommitOutcome, StoreError> {
    require_active(connection, session).await?;
    let mut outcomes = Vec::with_capacity(segments.len());
    for segment in &segments {
        match commit::commit_segment(connection, session, segment, not_committed).await? {
            Committed::Fenced => return Err(StoreError::Fenced),
            Committed::Ranges(ranges) => outcomes.push(ranges),
        }
        if outcomes.last().is_some_and(|ranges| is_empty(ranges)) {
            garbage::retire_empty(connection, &[(session.0, segment.lane_sequence, segment.organization.0)]).await?;
        }
        commit::drop_snapshots(connection, segment).await?;
    }
    Ok(CommitOutcome { segments: outcomes })
}

/// Puts a tombstone where nothing is, and reads what is there otherwise. The insert waits for a commit of the same key that
/// is still under way, whose client may be long gone, and then decides. A slot that another object took can never be
/// this object's, so that is a failure too.
async fn resolve_segment(
    connection: &mut Link,
    session: SessionId,
    segment: &SegmentRef,
) -> Result<Resolution, StoreError> {
    let slot = |sql| sqlx::query(sql).bind(session.0).bind(segment.lane_sequence).bind(segment.organization.0);
    let insert = "
        INSERT INTO segments (session, lane_sequence, organization, object_key, kind, object_bytes, created_at)
        VALUES ($1, $2, $3, $4, 0, 0, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) ON CONFLICT DO NOTHING";
    changed(connection, slot(insert).bind(segment.object_key.clone())).await?;
    let committed = "
        SELECT 1 FROM segments
         WHERE session = $1 AND lane_sequence = $2 AND organization = $3 AND object_key = $4 AND kind <> 0";
    let committed = slot(committed).bind(segment.object_key.clone()).fetch_optional(&mut *connection).await;
    if committed.map_err(not_committed)?.is_none() {
        return Ok(Resolution::Failed);
    }
    let ranges = "
        SELECT organization, topic_id, partition, base_offset FROM ranges
         WHERE session = $1 AND lane_sequence = $2 AND organization = $3 ORDER BY topic_id, partition, base_offset";
    let rows = slot(ranges).fetch_all(connection).await.map_err(not_committed)?;
    let committed = |row| Ok(CommittedRange { key: key_columns(row, 0)?, base_offset: column(row, 3)? });
    Ok(Resolution::Committed(rows.iter().map(committed).collect::<Result<_, StoreError>>()?))
}

/// A row of the columns every range query selects.
fn range_row(row: &PgRow) -> Result<RangeRow, StoreError> {
    Ok(RangeRow {
        base_offset: column(row, 0)?,
        next_offset: column(row, 1)?,
        leader_epoch: column(row, 2)?,
        object_key: column(row, 3)?,
        byte_start: column(row, 4)?,
        byte_len: column(row, 5)?,
        checksum: checksum(column(row, 6)?)?,
        max_timestamp: column(row, 7)?,
        object_bytes: column(row, 8)?,
    })
}

fn checksum(stored: i64) -> Result<u32, StoreError> {
    u32::try_from(stored).map_err(|error| StoreError::Damaged(format!("checksum: {error}")))
}
