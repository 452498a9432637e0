//! Rows of coordinators on SQLite. A write goes to the writer's thread in the line of segment commits.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use segment::{LeaderEpoch, PartitionKey, SessionId};
use sqlx::sqlite::SqliteRow;

use super::{
    SqliteStore, column,
    direct::{execute, first, require_active},
    topic_bytes,
};
use crate::{
    CoordinatorKey, CoordinatorOutcome, CoordinatorRow, CoordinatorWrite, Coordinators, StoreError,
    coordinators::{check, position, row},
};

const SELECT_SEQUENCE: &str = "
    SELECT p.coordinator_sequence FROM partitions AS p JOIN sessions AS s ON s.session = p.session
     WHERE p.organization = $1 AND p.topic_id = $2 AND p.partition = $3 AND p.deleted = 0
       AND p.session = $4 AND p.leader_epoch = $5 AND s.active = 1";

const SELECT_ROWS: &str = "
    SELECT owner, kind, item, value FROM coordinator_rows
     WHERE organization = $1 AND topic_id = $2 AND partition = $3 AND (owner, kind, item) > ($4, $5, $6)
     ORDER BY owner, kind, item LIMIT $7";

const COMPARE_AND_COUNT: &str = "
    UPDATE partitions SET coordinator_sequence = coordinator_sequence + 1
     WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3
       AND session = ?4 AND leader_epoch = ?5 AND coordinator_sequence = ?6 AND deleted = 0";

const IS_LEADER: &str = "
    SELECT 1 FROM partitions
     WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND session = ?4 AND leader_epoch = ?5 AND deleted = 0";

const KEEP: &str = "
    INSERT INTO coordinator_rows (organization, topic_id, partition, owner, kind, item, value)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET value = excluded.value";

const DROP: &str = "
    DELETE FROM coordinator_rows
     WHERE organization = ?1 AND topic_id = ?2 AND partition = ?3 AND owner = ?4 AND kind = ?5 AND item = ?6";

#[async_trait]
impl Coordinators for SqliteStore {
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
        let found = |found: &SqliteRow| row(column(found, 0)?, column(found, 1)?, column(found, 2)?, column(found, 3)?);
        self.read_all(read).await?.iter().map(found).collect()
    }

    async fn write_coordinators(
        &self,
        session: SessionId,
        writes: &[CoordinatorWrite],
    ) -> Result<Vec<CoordinatorOutcome>, StoreError> {
        let first = check(writes)?;
        let writes = writes.to_vec();
        self.commit(move |connection| {
            require_active(connection, session)?;
            let outcomes = writes.iter().zip(&first).map(|(write, is_first)| match is_first {
                true => write_coordinator(connection, session, write),
                false => Ok(CoordinatorOutcome::SequenceMismatch),
            });
            outcomes.collect()
        })
        .await
    }
}

fn write_coordinator(
    connection: &Connection,
    session: SessionId,
    write: &CoordinatorWrite,
) -> Result<CoordinatorOutcome, StoreError> {
    let CoordinatorWrite { partition: key, leader_epoch, sequence, .. } = write;
    let (organization, topic, partition) = (key.organization.0, key.topic_id.0.as_bytes(), key.partition);
    let counted = params![organization, topic, partition, session.0, leader_epoch, sequence];
    if execute(connection, COMPARE_AND_COUNT, counted)? == 0 {
        let led = params![organization, topic, partition, session.0, leader_epoch];
        return Ok(match first(connection, IS_LEADER, led, |_| Ok(()))? {
            Some(()) => CoordinatorOutcome::SequenceMismatch,
            None => CoordinatorOutcome::NotLeader,
        });
    }
    for (CoordinatorKey { owner, kind, item }, value) in write.last_changes() {
        let (owner, item) = (owner.as_bytes(), &item[..]);
        match value {
            Some(value) => {
                let kept = params![organization, topic, partition, owner, kind, item, &value[..]];
                execute(connection, KEEP, kept)?
            }
            None => execute(connection, DROP, params![organization, topic, partition, owner, kind, item])?,
        };
    }
    Ok(CoordinatorOutcome::Written)
}

fn bind_key(sql: &'static str, key: PartitionKey) -> super::reader::Statement {
    sqlx::query(sql).bind(key.organization.0).bind(topic_bytes(key.topic_id)).bind(key.partition)
}
