//! Topics on SQLite.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::FutureExt;
use segment::{LeaderEpoch, Offset, OrganizationId, PartitionIndex, TopicId};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{SqliteStore, column, database_clock, next_version, not_committed, purge, topic_bytes, uuid_column};
use crate::{
    AlterTopicConfigsError, CreatePartitionsError, CreateTopicError, DELETIONS_TOLD_FOR_MS, DeleteTopicError, NewTopic,
    StoreError, TopicRow, Topics,
};

/// Columns as [`topic_row`] reads them.
const SELECT_LIVE: &str = "
    SELECT organization, topic_id, name, partition_count, replication_factor, configs, created_at, agent_group
      FROM topics WHERE deleted = 0 ORDER BY organization, name";

#[async_trait]
impl Topics for SqliteStore {
    async fn organization(&self, name: &str) -> Result<Option<OrganizationId>, StoreError> {
        let statement = sqlx::query("SELECT organization FROM organizations WHERE name = $1").bind(name.to_owned());
        let row = self.read_first(statement).await?;
        row.map(|row| column(&row, 0).map(OrganizationId)).transpose()
    }

    async fn create_topic(&self, topic: NewTopic) -> Result<TopicRow, CreateTopicError> {
        self.transact(move |connection| create_topic(connection, topic).boxed()).await
    }

    async fn delete_topic(&self, organization: OrganizationId, topic_id: TopicId) -> Result<(), DeleteTopicError> {
        self.transact(move |connection| delete_topic(connection, organization, topic_id).boxed()).await
    }

    async fn create_partitions(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        total: i32,
    ) -> Result<TopicRow, CreatePartitionsError> {
        self.transact(move |connection| create_partitions(connection, organization, topic_id, total).boxed()).await
    }

    async fn alter_topic_configs(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        expected: &BTreeMap<String, String>,
        configs: &BTreeMap<String, String>,
    ) -> Result<TopicRow, AlterTopicConfigsError> {
        let (expected, configs) = (expected.clone(), configs.clone());
        self.transact(move |connection| alter_configs(connection, organization, topic_id, expected, configs).boxed())
            .await
    }

    async fn list_topics(&self) -> Result<Vec<TopicRow>, StoreError> {
        self.read_all(sqlx::query(SELECT_LIVE)).await?.iter().map(topic_row).collect()
    }

    async fn purge_deleted(&self, rows: u32) -> Result<u64, StoreError> {
        self.transact_directly(move |connection| purge::purge_deleted(connection, u64::from(rows))).await
    }

    async fn leader_epochs(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        partition: PartitionIndex,
    ) -> Result<Vec<(LeaderEpoch, Offset)>, StoreError> {
        let sql = "
            SELECT leader_epoch, start_offset FROM leader_epochs
             WHERE organization = $1 AND topic_id = $2 AND partition = $3 ORDER BY start_offset";
        let statement = sqlx::query(sql).bind(organization.0).bind(topic_bytes(topic_id)).bind(partition);
        let rows = self.read_all(statement).await?;
        rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
    }
}

async fn create_topic(connection: &mut SqliteConnection, topic: NewTopic) -> Result<TopicRow, CreateTopicError> {
    // Names are equal only if metric names are, so this finds the topic itself and every name that would collide.
    let metric_name = topic.name.replace('.', "_");
    let taken = "
        SELECT organization, topic_id, name, partition_count, replication_factor, configs, created_at, agent_group
          FROM topics WHERE organization = $1 AND metric_name = $2 AND deleted = 0";
    let taken = sqlx::query(taken).bind(topic.organization.0).bind(metric_name.clone());
    if let Some(row) = taken.fetch_optional(&mut *connection).await.map_err(not_committed)? {
        let found = topic_row(&row)?;
        return Err(if found.name == topic.name {
            CreateTopicError::AlreadyExists(Box::new(found))
        } else {
            CreateTopicError::Collides(found.name)
        });
    }
    let row = TopicRow {
        organization: topic.organization,
        topic_id: topic.topic_id,
        name: topic.name,
        partition_count: topic.partition_count,
        agent_group: topic.agent_group,
        replication_factor: topic.replication_factor,
        configs: topic.configs,
        created_at: database_clock(),
    };
    let version = next_version(connection).await?;
    let configs = serde_json::to_string(&row.configs).map_err(|error| StoreError::NotCommitted(Box::new(error)))?;
    let insert = "
        INSERT INTO topics (organization, topic_id, name, metric_name, partition_count, replication_factor, configs,
                            created_at, deleted, agent_group, changed)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10)";
    let insert = sqlx::query(insert).bind(row.organization.0).bind(topic_bytes(row.topic_id)).bind(row.name.clone());
    let insert = insert.bind(metric_name).bind(row.partition_count).bind(row.replication_factor);
    let insert = insert.bind(configs).bind(row.created_at).bind(row.agent_group.clone()).bind(version);
    insert.execute(&mut *connection).await.map_err(not_committed)?;
    insert_partitions(connection, &row, 0, version).await?;
    Ok(row)
}

/// Inserts the topic's partitions from `first` on, unleased, at the name's leader-epoch floor.
async fn insert_partitions(
    connection: &mut SqliteConnection,
    topic: &TopicRow,
    first: i32,
    version: i64,
) -> Result<(), StoreError> {
    let sql = "
        WITH RECURSIVE indexes (i) AS (SELECT $3 UNION ALL SELECT i + 1 FROM indexes WHERE i + 1 < $4)
        INSERT INTO partitions (organization, topic_id, partition, session, leader_epoch, next_offset,
                                log_start_offset, last_append_time, deleted, changed)
        SELECT $1, $2, i, NULL,
               coalesce((SELECT leader_epoch FROM topic_name_floors WHERE organization = $1 AND name = $5), -1),
               0, 0, -1, 0, $6
          FROM indexes";
    let insert = sqlx::query(sql).bind(topic.organization.0).bind(topic_bytes(topic.topic_id)).bind(first);
    let insert = insert.bind(topic.partition_count).bind(topic.name.clone()).bind(version);
    insert.execute(connection).await.map(|_| ()).map_err(not_committed)
}

async fn delete_topic(
    connection: &mut SqliteConnection,
    organization: OrganizationId,
    topic_id: TopicId,
) -> Result<(), DeleteTopicError> {
    let mark = "
        UPDATE topics SET deleted = 1 WHERE organization = $1 AND topic_id = $2 AND deleted = 0";
    let close = "
        UPDATE partitions SET deleted = 1, session = NULL WHERE organization = $1 AND topic_id = $2";
    let floor = "
        INSERT INTO topic_name_floors (organization, name, leader_epoch)
        SELECT t.organization, t.name, max(p.leader_epoch)
          FROM topics AS t JOIN partitions AS p ON p.organization = t.organization AND p.topic_id = t.topic_id
         WHERE t.organization = $1 AND t.topic_id = $2 GROUP BY t.organization, t.name
        ON CONFLICT DO UPDATE SET leader_epoch = max(leader_epoch, excluded.leader_epoch)";
    for (index, sql) in [mark, close, floor].into_iter().enumerate() {
        let statement = sqlx::query(sql).bind(organization.0).bind(topic_bytes(topic_id));
        let done = statement.execute(&mut *connection).await.map_err(not_committed)?;
        if index == 0 && done.rows_affected() == 0 {
            return Err(DeleteTopicError::Unknown);
        }
    }
    let (version, now) = (next_version(connection).await?, database_clock());
    let tell = "INSERT INTO deleted_topics (version, organization, topic_id, deleted_at) VALUES ($1, $2, $3, $4)";
    let tell = sqlx::query(tell).bind(version).bind(organization.0).bind(topic_bytes(topic_id)).bind(now);
    tell.execute(&mut *connection).await.map_err(not_committed)?;
    let forget = sqlx::query("DELETE FROM deleted_topics WHERE deleted_at < $1").bind(now - DELETIONS_TOLD_FOR_MS);
    forget.execute(connection).await.map(|_| ()).map_err(|error| not_committed(error).into())
}

async fn create_partitions(
    connection: &mut SqliteConnection,
    organization: OrganizationId,
    topic_id: TopicId,
    total: i32,
) -> Result<TopicRow, CreatePartitionsError> {
    let topic = find_live(connection, organization, topic_id).await?;
    let mut topic = topic.ok_or(CreatePartitionsError::Unknown)?;
    let current = topic.partition_count;
    if total <= current {
        return Err(CreatePartitionsError::NotMore { current });
    }
    topic.partition_count = total;
    let version = next_version(connection).await?;
    sqlx::query("UPDATE topics SET partition_count = $3, changed = $4 WHERE organization = $1 AND topic_id = $2")
        .bind(organization.0)
        .bind(topic_bytes(topic_id))
        .bind(total)
        .bind(version)
        .execute(&mut *connection)
        .await
        .map_err(not_committed)?;
    insert_partitions(connection, &topic, current, version).await?;
    Ok(topic)
}

async fn alter_configs(
    connection: &mut SqliteConnection,
    organization: OrganizationId,
    topic_id: TopicId,
    expected: BTreeMap<String, String>,
    configs: BTreeMap<String, String>,
) -> Result<TopicRow, AlterTopicConfigsError> {
    let topic = find_live(connection, organization, topic_id).await?;
    let mut topic = topic.ok_or(AlterTopicConfigsError::Unknown)?;
    if topic.configs != expected {
        return Err(AlterTopicConfigsError::Changed(Box::new(topic)));
    }
    let stored = serde_json::to_string(&configs).map_err(|error| StoreError::NotCommitted(Box::new(error)))?;
    let version = next_version(connection).await?;
    let alter = "UPDATE topics SET configs = $3, changed = $4 WHERE organization = $1 AND topic_id = $2";
    let alter = sqlx::query(alter).bind(organization.0).bind(topic_bytes(topic_id)).bind(stored).bind(version);
    alter.execute(connection).await.map_err(not_committed)?;
    topic.configs = configs;
    Ok(topic)
}

/// A topic that is not deleted.
async fn find_live(
    connection: &mut SqliteConnection,
    organization: OrganizationId,
    topic_id: TopicId,
) -> Result<Option<TopicRow>, StoreError> {
    let find = "
        SELECT organization, topic_id, name, partition_count, replication_factor, configs, created_at, agent_group
          FROM topics WHERE organization = $1 AND topic_id = $2 AND deleted = 0";
    let find = sqlx::query(find).bind(organization.0).bind(topic_bytes(topic_id));
    find.fetch_optional(connection).await.map_err(not_committed)?.as_ref().map(topic_row).transpose()
}

/// A row of the columns every topic query selects.
pub(super) fn topic_row(row: &SqliteRow) -> Result<TopicRow, StoreError> {
    let configs: &str = column(row, 5)?;
    Ok(TopicRow {
        organization: OrganizationId(column(row, 0)?),
        topic_id: TopicId(uuid_column(row, 1)?),
        name: column(row, 2)?,
        partition_count: column(row, 3)?,
        replication_factor: column(row, 4)?,
        configs: serde_json::from_str(configs).map_err(|error| StoreError::Damaged(format!("configs: {error}")))?,
        created_at: column(row, 6)?,
        agent_group: column(row, 7)?,
    })
}
