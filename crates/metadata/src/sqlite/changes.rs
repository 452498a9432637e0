//! What changed since a version, read in one transaction.

use futures::FutureExt;
use segment::{OrganizationId, SessionId, TopicId};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore, column, key_columns, not_committed,
    sessions::{SELECT_AGENTS, agent_row},
    topics::topic_row,
    uuid_column,
};
use crate::{Changes, LeaseHolder, StoreError};

const SELECT_TOPICS: &str = "
    SELECT organization, topic_id, name, partition_count, replication_factor, configs, created_at, agent_group
      FROM topics WHERE changed > $1 AND deleted = 0 ORDER BY organization, name";
const SELECT_DELETED: &str = "SELECT organization, topic_id FROM deleted_topics WHERE version > $1 ORDER BY version";
const SELECT_LEASES: &str = "
    SELECT organization, topic_id, partition, session, leader_epoch FROM partitions
     WHERE changed > $1 AND deleted = 0 ORDER BY organization, topic_id, partition";

/// On the writer: a pooled reader that is left in the middle of a transaction would answer from the past for ever.
pub(super) async fn read(store: &SqliteStore, since: i64) -> Result<Changes, StoreError> {
    store.transact(move |connection| read_in_transaction(connection, since).boxed()).await
}

async fn read_in_transaction(connection: &mut SqliteConnection, since: i64) -> Result<Changes, StoreError> {
    let version = sqlx::query_scalar("SELECT version FROM cluster");
    let version: i64 = version.fetch_one(&mut *connection).await.map_err(not_committed)?;
    let agents = sqlx::query(SELECT_AGENTS).fetch_all(&mut *connection).await.map_err(not_committed)?;
    let agents = agents.iter().map(agent_row).collect::<Result<_, _>>()?;
    let mut changes = Changes { version, agents, ..Changes::default() };
    if version == since {
        return Ok(changes);
    }
    changes.topics = select(connection, SELECT_TOPICS, since).await?.iter().map(topic_row).collect::<Result<_, _>>()?;
    if since > 0 {
        let deleted = |row: &SqliteRow| Ok((OrganizationId(column(row, 0)?), TopicId(uuid_column(row, 1)?)));
        let rows = select(connection, SELECT_DELETED, since).await?;
        changes.deleted = rows.iter().map(deleted).collect::<Result<_, StoreError>>()?;
    }
    let lease = |row: &SqliteRow| {
        let session = column::<Option<i64>>(row, 3)?.map(SessionId);
        Ok(LeaseHolder { key: key_columns(row, 0)?, session, leader_epoch: column(row, 4)? })
    };
    let rows = select(connection, SELECT_LEASES, since).await?;
    changes.leases = rows.iter().map(lease).collect::<Result<_, StoreError>>()?;
    Ok(changes)
}

async fn select(
    connection: &mut SqliteConnection,
    sql: &'static str,
    since: i64,
) -> Result<Vec<SqliteRow>, StoreError> {
    sqlx::query(sql).bind(since).fetch_all(connection).await.map_err(not_committed)
}
