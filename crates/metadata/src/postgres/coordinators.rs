//! Rows of coordinators on PostgreSQL: a write is one statement, so one round trip, whatever it holds.
//!
//! It goes as the segment commit goes ([`commit`](super::commit)): `live` shares the lock of the session's row, `locked` locks
//! the partitions' rows in their order, after it; `accepted` is the compare-and-set, checked on the newest rows; what hangs
//! on an accepted write follows. A row of a coordinator is touched only by whoever has locked its partition.
//!
//! Rows to delete are looked up one by one, by their key: a join is planned when the table is empty, and then reads every row of a
//! partition for every change (3.4 s instead of 71 ms for 10,000).
//!
//! The statement sees rows as they were when it began. It need not see more: whoever sends it has had the answer to the
//! write before it, or has read the sequence since; one that was still under way then makes this one fail.

use async_trait::async_trait;
use futures::FutureExt;
use segment::{LeaderEpoch, PartitionKey, SessionId};
use sqlx::postgres::PgRow;

use super::{PostgresStore, Statement, bind_key, bind_keys, column, commit_error};
use crate::{
    CoordinatorKey, CoordinatorOutcome, CoordinatorRow, CoordinatorWrite, Coordinators, StoreError,
    coordinators::{check, position, row},
};

const SELECT_SEQUENCE: &str = "
    SELECT p.coordinator_sequence FROM partitions AS p JOIN sessions AS s ON s.session = p.session
     WHERE p.organization = $1 AND p.topic_id = $2 AND p.partition = $3 AND NOT p.deleted
       AND p.session = $4 AND p.leader_epoch = $5 AND s.active";

const SELECT_ROWS: &str = "
    SELECT owner, kind, item, value FROM coordinator_rows
     WHERE organization = $1 AND topic_id = $2 AND partition = $3 AND (owner, kind, item) > ($4, $5::int, $6)
     ORDER BY owner, kind, item LIMIT $7";

/// $1 session, then one array per field of the writes and of their changes; $7 is the number of a change's write. A key is
/// changed once. Reasons: 0 written, 1 not leader, 2 sequence mismatch; no row if the session is not active.
const WRITE: &str = "
WITH live AS MATERIALIZED (
    SELECT session FROM sessions WHERE session = $1 AND active FOR SHARE
), input AS MATERIALIZED (
    SELECT * FROM unnest($2::bigint[], $3::uuid[], $4::int[], $5::int[], $6::bigint[]) WITH ORDINALITY
        AS i (organization, topic_id, partition, leader_epoch, sequence, n)
), changes AS MATERIALIZED (
    SELECT * FROM unnest($7::bigint[], $8::bytea[], $9::smallint[], $10::bytea[], $11::bytea[])
        AS c (n, owner, kind, item, value)
), locked AS MATERIALIZED (
    SELECT p.organization, p.topic_id, p.partition, p.session, p.leader_epoch, p.deleted
      FROM partitions AS p
     WHERE EXISTS (SELECT 1 FROM live)
       AND (p.organization, p.topic_id, p.partition) IN (SELECT i.organization, i.topic_id, i.partition FROM input AS i)
     ORDER BY p.topic_id, p.partition, p.organization FOR UPDATE
), accepted AS (
    UPDATE partitions AS p SET coordinator_sequence = p.coordinator_sequence + 1
      FROM locked AS l JOIN input AS i
        ON i.organization = l.organization AND i.topic_id = l.topic_id AND i.partition = l.partition
     WHERE p.organization = l.organization AND p.topic_id = l.topic_id AND p.partition = l.partition
       AND p.session = $1 AND p.leader_epoch = i.leader_epoch AND p.coordinator_sequence = i.sequence AND NOT p.deleted
    RETURNING p.organization, p.topic_id, p.partition, i.n
), dropped AS (
    DELETE FROM coordinator_rows WHERE ctid = ANY (ARRAY(
        SELECT r.ctid FROM accepted AS a JOIN changes AS c ON c.n = a.n AND c.value IS NULL
         CROSS JOIN LATERAL
               (SELECT f.ctid FROM coordinator_rows AS f
                 WHERE f.organization = a.organization AND f.topic_id = a.topic_id AND f.partition = a.partition
                   AND f.owner = c.owner AND f.kind = c.kind AND f.item = c.item LIMIT 1) AS r))
), kept AS (
    INSERT INTO coordinator_rows (organization, topic_id, partition, owner, kind, item, value)
    SELECT a.organization, a.topic_id, a.partition, c.owner, c.kind, c.item, c.value
      FROM accepted AS a JOIN changes AS c ON c.n = a.n WHERE c.value IS NOT NULL
    ON CONFLICT (organization, topic_id, partition, owner, kind, item) DO UPDATE SET value = excluded.value
)
SELECT i.n,
       CASE WHEN a.n IS NOT NULL THEN 0
            WHEN l.session = $1 AND l.leader_epoch = i.leader_epoch AND NOT l.deleted THEN 2
            ELSE 1 END
  FROM live CROSS JOIN (SELECT n, organization, topic_id, partition, leader_epoch FROM input
                        UNION ALL SELECT 0, NULL, NULL, NULL, NULL) AS i
  LEFT JOIN accepted AS a ON a.n = i.n
  LEFT JOIN locked AS l ON l.organization = i.organization AND l.topic_id = i.topic_id AND l.partition = i.partition
 ORDER BY i.n";

#[async_trait]
impl Coordinators for PostgresStore {
    async fn coordinator_sequence(
        &self,
        session: SessionId,
        partition: PartitionKey,
        leader_epoch: LeaderEpoch,
    ) -> Result<Option<i64>, StoreError> {
        let read = bind_key(SELECT_SEQUENCE, partition).bind(session.0).bind(leader_epoch);
        self.read_first(read).await?.map(|row| column(&row, 0)).transpose()
    }

    async fn coordinator_rows(
        &self,
        partition: PartitionKey,
        after: Option<&CoordinatorKey>,
        limit: u32,
    ) -> Result<Vec<CoordinatorRow>, StoreError> {
        let (owner, kind, item) = position(after);
        let read = bind_key(SELECT_ROWS, partition).bind(owner).bind(kind).bind(item).bind(i64::from(limit));
        let found = |found: &PgRow| row(column(found, 0)?, column(found, 1)?, column(found, 2)?, column(found, 3)?);
        self.read_all(read).await?.iter().map(found).collect()
    }

    async fn write_coordinators(
        &self,
        session: SessionId,
        writes: &[CoordinatorWrite],
    ) -> Result<Vec<CoordinatorOutcome>, StoreError> {
        let first = check(writes)?;
        let sent: Vec<&CoordinatorWrite> =
            writes.iter().zip(&first).filter_map(|(write, is_first)| is_first.then_some(write)).collect();
        let statement = statement(session, &sent);
        let answered = self.coordinators.run_alone(move |connection| {
            async move { statement.fetch_all(connection).await.map_err(commit_error) }.boxed()
        });
        let rows = answered.await?;
        // The first row is nobody's: it tells an active session from a fenced one.
        let Some((_, rows)) = rows.split_first() else { return Err(StoreError::Fenced) };
        let mut rows = rows.iter();
        let outcomes = first.iter().map(|is_first| match is_first {
            true => {
                rows.next().ok_or_else(|| StoreError::Damaged("too few outcomes of writes".into())).and_then(outcome)
            }
            false => Ok(CoordinatorOutcome::SequenceMismatch),
        });
        outcomes.collect()
    }
}

fn statement(session: SessionId, writes: &[&CoordinatorWrite]) -> Statement {
    let keys: Vec<PartitionKey> = writes.iter().map(|write| write.partition).collect();
    let (mut numbers, mut owners, mut kinds, mut items, mut values) =
        <(Vec<i64>, Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
    for (number, write) in (1..).zip(writes) {
        for (CoordinatorKey { owner, kind, item }, value) in write.last_changes() {
            numbers.push(number);
            owners.push(owner.as_bytes().to_vec());
            kinds.push(*kind);
            items.push(item.to_vec());
            values.push(value.map(|value| value.to_vec()));
        }
    }
    bind_keys(sqlx::query(WRITE).bind(session.0), &keys)
        .bind(writes.iter().map(|write| write.leader_epoch).collect::<Vec<LeaderEpoch>>())
        .bind(writes.iter().map(|write| write.sequence).collect::<Vec<i64>>())
        .bind(numbers)
        .bind(owners)
        .bind(kinds)
        .bind(items)
        .bind(values)
}

fn outcome(row: &PgRow) -> Result<CoordinatorOutcome, StoreError> {
    Ok(match column::<i32>(row, 1)? {
        0 => CoordinatorOutcome::Written,
        1 => CoordinatorOutcome::NotLeader,
        _ => CoordinatorOutcome::SequenceMismatch,
    })
}
