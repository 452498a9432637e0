//! What changed since a version, and hearing that something did.

use std::time::Duration;

use futures::FutureExt;
use segment::{OrganizationId, SessionId, TopicId};
use sqlx::postgres::{PgListener, PgPoolOptions, PgRow};
use tokio::sync::watch;

use super::{
    PostgresStore, changed, column,
    connect::Connector,
    key_columns,
    link::Link,
    not_committed,
    sessions::{SELECT_AGENTS, agent_row},
    topics::topic_row,
};
use crate::{Changes, LeaseHolder, StoreError};

/// Pause before the listener connects again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

const SELECT_TOPICS: &str = "
    SELECT organization, topic_id, name, partition_count, replication_factor, configs, created_at, agent_group
      FROM topics WHERE changed > $1 AND NOT deleted ORDER BY organization, name";
const SELECT_DELETED: &str = "SELECT organization, topic_id FROM deleted_topics WHERE version > $1 ORDER BY version";
const SELECT_LEASES: &str = "
    SELECT organization, topic_id, partition, session, leader_epoch FROM partitions
     WHERE changed > $1 AND NOT deleted ORDER BY organization, topic_id, partition";

/// One snapshot over several statements. The version is read first of all, in one round trip with the agents; the rest only
/// if it rose.
pub(super) async fn read(store: &PostgresStore, since: i64) -> Result<Changes, StoreError> {
    let changes = store.reader().transact(move |connection| read_in_transaction(connection, since).boxed()).await;
    changes.map_err(|error| match error {
        StoreError::Unknown(source) => StoreError::NotCommitted(source),
        other => other,
    })
}

async fn read_in_transaction(connection: &mut Link, since: i64) -> Result<Changes, StoreError> {
    changed(connection, sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")).await?;
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
        let deleted = |row: &PgRow| Ok((OrganizationId(column(row, 0)?), TopicId(column(row, 1)?)));
        let rows = select(connection, SELECT_DELETED, since).await?;
        changes.deleted = rows.iter().map(deleted).collect::<Result<_, StoreError>>()?;
    }
    let lease = |row: &PgRow| {
        let session = column::<Option<i64>>(row, 3)?.map(SessionId);
        Ok(LeaseHolder { key: key_columns(row, 0)?, session, leader_epoch: column(row, 4)? })
    };
    let rows = select(connection, SELECT_LEASES, since).await?;
    changes.leases = rows.iter().map(lease).collect::<Result<_, StoreError>>()?;
    Ok(changes)
}

async fn select(connection: &mut Link, sql: &'static str, since: i64) -> Result<Vec<PgRow>, StoreError> {
    sqlx::query(sql).bind(since).fetch_all(connection).await.map_err(not_committed)
}

/// Hears of new versions until it is aborted. What is missed while the connection is away is found by the readers' poll.
pub(super) async fn listen(session: Connector, version: watch::Sender<i64>) {
    loop {
        if let Err(error) = listen_once(&session, &version).await {
            tracing::debug!(%error, "the connection that listens for changes ended");
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

async fn listen_once(session: &Connector, version: &watch::Sender<i64>) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(session.options().clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("streamhouse_changes").await?;
    loop {
        let Some(told) = listener.try_recv().await? else { return Ok(()) };
        if let Ok(told) = told.payload().parse() {
            version.send_modify(|known| *known = (*known).max(told));
        }
    }
}
