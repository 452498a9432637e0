//! Topics on PostgreSQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::FutureExt;
use segment::{LeaderEpoch, OrganizationId, PartitionIndex, PartitionKey, TopicId};
use sqlx::postgres::PgRow;

use super::{
    PostgresStore, bind_key, changed, column, database_clock, garbage, link::Link, next_version, not_committed,
};
use crate::{
    AlterTopicConfigsError, CreatePartitionsError, CreateTopicError, DELETIONS_TOLD_FOR_MS, DeleteTopicError, NewTopic,
    StoreError, TopicRow, Topics,
};

#[async_trait]
impl Topics for PostgresStore {
    async fn organization(&self, name: &str) -> Result<Option<OrganizationId>, StoreError> {
        let find = sqlx::query("SELECT organization FROM organizations WHERE name = $1").bind(name.to_owned());
        let row = self.read_first(find).await?;
        row.map(|row| column(&row, 0).map(OrganizationId)).transpose()
    }

    async fn create_topic(&self, topic: NewTopic) -> Result<TopicRow, CreateTopicError> {
        self.write(move |connection| create_topic(connection, topic).boxed()).await
    }

    async fn delete_topic(&self, organization: OrganizationId, topic_id: TopicId) -> Result<(), DeleteTopicError> {
        self.write(move |connection| delete_topic(connection, organization, topic_id).boxed()).await
    }

    async fn create_partitions(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        total: i32,
    ) -> Result<TopicRow, CreatePartitionsError> {
        self.write(move |connection| create_partitions(connection, organization, topic_id, total).boxed()).await
    }

    async fn alter_topic_configs(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        expected: &BTreeMap<String, String>,
        configs: &BTreeMap<String, String>,
    ) -> Result<TopicRow, AlterTopicConfigsError> {
        let (expected, configs) = (expected.clone(), configs.clone());
        self.write(move |connection| alter_configs(connection, organization, topic_id, expected, configs).boxed()).await
    }

    async fn list_topics(&self) -> Result<Vec<TopicRow>, StoreError> {
        let sql = "
            SELECT organization, topic_id, name, partition_count, replication_factor, configs, created_at, agent_group
              FROM topics WHERE NOT deleted ORDER BY organization, name COLLATE \"C\"";
        self.read_all(sqlx::query(sql)).await?.iter().map(topic_row).collect()
    }

    async fn purge_deleted(&self, rows: u32) -> Result<u64, StoreError> {
        self.write(move |connection| purge_deleted(connection, u64::from(rows)).boxed()).await
    }

    async fn leader_epochs(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        partition: PartitionIndex,
    ) -> Result<Vec<(LeaderEpoch, i64)>, StoreError> {
        let sql = "
            SELECT leader_epoch, start_offset FROM leader_epochs
             WHERE organization = $1 AND topic_id = $2 AND partition = $3 ORDER BY start_offset";
        let rows = self.read_all(bind_key(sql, PartitionKey { organization, topic_id, partition })).await?;
        rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
    }
}

async fn create_topic(connection: &mut Link, topic: NewTopic) -> Result<TopicRow, CreateTopicError> {
    // First of all: its lock lets one transaction on topics run at a time, so what is not taken now stays free.
    let version = next_version(connection).await?;
    // Names are equal only if metric names are, so this finds the topic itself and every name that would collide.
    let metric_name = topic.name.replace('.', "_");
    let taken = "
        SELECT organization, topic_id, name, partition_count, replication_factor, configs, created_at, agent_group
          FROM topics WHERE organization = $1 AND metric_name = $2 AND NOT deleted";
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
        created_at: database_clock(connection).await?,
    };
    let configs = serde_json::to_string(&row.configs).map_err(|error| StoreError::NotCommitted(Box::new(error)))?;
    let insert = "
        INSERT INTO topics (organization, topic_id, name, metric_name, partition_count, replication_factor, configs,
                            created_at, deleted, agent_group, changed)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, FALSE, $9, $10)";
    let insert = sqlx::query(insert).bind(row.organization.0).bind(row.topic_id.0).bind(row.name.clone());
    let insert = insert.bind(metric_name).bind(row.partition_count).bind(row.replication_factor);
    let insert = insert.bind(configs).bind(row.created_at).bind(row.agent_group.clone()).bind(version);
    changed(connection, insert).await?;
    insert_partitions(connection, &row, 0, version).await?;
    Ok(row)
}

/// Inserts the topic's partitions from `first` on, unleased, at the name's leader-epoch floor.
async fn insert_partitions(
    connection: &mut Link,
    topic: &TopicRow,
    first: i32,
    version: i64,
) -> Result<(), StoreError> {
    let sql = "
        INSERT INTO partitions (organization, topic_id, partition, session, leader_epoch, next_offset,
                                log_start_offset, last_append_time, deleted, changed)
        SELECT $1, $2, i, NULL,
               coalesce((SELECT leader_epoch FROM topic_name_floors WHERE organization = $1 AND name = $5), -1),
               0, 0, -1, FALSE, $6
          FROM generate_series($3::int, $4::int - 1) AS i";
    let insert = sqlx::query(sql).bind(topic.organization.0).bind(topic.topic_id.0).bind(first);
    let insert = insert.bind(topic.partition_count).bind(topic.name.clone()).bind(version);
    changed(connection, insert).await.map(|_| ())
}

async fn delete_topic(
    connection: &mut Link,
    organization: OrganizationId,
    topic_id: TopicId,
) -> Result<(), DeleteTopicError> {
    let version = next_version(connection).await?;
    let mark = "UPDATE topics SET deleted = TRUE WHERE organization = $1 AND topic_id = $2 AND NOT deleted";
    // Commits in flight lock rows in this order too.
    let lock = "
        SELECT 1 FROM partitions WHERE organization = $1 AND topic_id = $2 ORDER BY partition FOR UPDATE";
    let close = "UPDATE partitions SET deleted = TRUE, session = NULL WHERE organization = $1 AND topic_id = $2";
    let floor = "
        INSERT INTO topic_name_floors AS f (organization, name, leader_epoch)
        SELECT t.organization, t.name, max(p.leader_epoch)
          FROM topics AS t JOIN partitions AS p ON p.organization = t.organization AND p.topic_id = t.topic_id
         WHERE t.organization = $1 AND t.topic_id = $2 GROUP BY t.organization, t.name
        ON CONFLICT (organization, name) DO UPDATE SET leader_epoch = greatest(f.leader_epoch, excluded.leader_epoch)";
    for (index, sql) in [mark, lock, close, floor].into_iter().enumerate() {
        let done = changed(connection, sqlx::query(sql).bind(organization.0).bind(topic_id.0)).await?;
        if index == 0 && done == 0 {
            return Err(DeleteTopicError::Unknown);
        }
    }
    let now = database_clock(connection).await?;
    let tell = "INSERT INTO deleted_topics (version, organization, topic_id, deleted_at) VALUES ($1, $2, $3, $4)";
    changed(connection, sqlx::query(tell).bind(version).bind(organization.0).bind(topic_id.0).bind(now)).await?;
    let forget = sqlx::query("DELETE FROM deleted_topics WHERE deleted_at < $1").bind(now - DELETIONS_TOLD_FOR_MS);
    changed(connection, forget).await?;
    Ok(())
}

async fn create_partitions(
    connection: &mut Link,
    organization: OrganizationId,
    topic_id: TopicId,
    total: i32,
) -> Result<TopicRow, CreatePartitionsError> {
    let version = next_version(connection).await?;
    let topic = find_live(connection, organization, topic_id).await?;
    let mut topic = topic.ok_or(CreatePartitionsError::Unknown)?;
    let current = topic.partition_count;
    if total <= current {
        return Err(CreatePartitionsError::NotMore { current });
    }
    topic.partition_count = total;
    let grow = "UPDATE topics SET partition_count = $3, changed = $4 WHERE organization = $1 AND topic_id = $2";
    let grow = sqlx::query(grow).bind(organization.0).bind(topic_id.0).bind(total).bind(version);
    changed(connection, grow).await?;
    insert_partitions(connection, &topic, current, version).await?;
    Ok(topic)
}

async fn alter_configs(
    connection: &mut Link,
    organization: OrganizationId,
    topic_id: TopicId,
    expected: BTreeMap<String, String>,
    configs: BTreeMap<String, String>,
) -> Result<TopicRow, AlterTopicConfigsError> {
    let version = next_version(connection).await?;
    let topic = find_live(connection, organization, topic_id).await?;
    let mut topic = topic.ok_or(AlterTopicConfigsError::Unknown)?;
    if topic.configs != expected {
        return Err(AlterTopicConfigsError::Changed(Box::new(topic)));
    }
    let stored = serde_json::to_string(&configs).map_err(|error| StoreError::NotCommitted(Box::new(error)))?;
    let alter = "UPDATE topics SET configs = $3, changed = $4 WHERE organization = $1 AND topic_id = $2";
    let alter = sqlx::query(alter).bind(organization.0).bind(topic_id.0).bind(stored).bind(version);
    changed(connection, alter).await?;
    topic.configs = configs;
    Ok(topic)
}

/// A topic that is not deleted.
async fn find_live(
    connection: &mut Link,
    organization: OrganizationId,
    topic_id: TopicId,
) -> Result<Option<TopicRow>, StoreError> {
    let find = "
        SELECT organization, topic_id, name, partition_count, replication_factor, configs, created_at, agent_group
          FROM topics WHERE organization = $1 AND topic_id = $2 AND NOT deleted";
    let find = sqlx::query(find).bind(organization.0).bind(topic_id.0);
    find.fetch_optional(connection).await.map_err(not_committed)?.as_ref().map(topic_row).transpose()
}

/// Deletes at most `rows` rows of deleted topics, each topic's own row last. One agent at a time: the first one to lock a
/// topic's row purges it, the others find it locked and leave it.
async fn purge_deleted(connection: &mut Link, rows: u64) -> Result<u64, StoreError> {
    const RANGES: &str = "
        WITH gone AS (
            DELETE FROM ranges WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM ranges WHERE organization = $1 AND topic_id = $2
                 ORDER BY partition, base_offset LIMIT $3))
            RETURNING session, lane_sequence, organization)
        SELECT session, lane_sequence, organization, count(*) FROM gone GROUP BY session, lane_sequence, organization";
    const REST: [&str; 5] = [
        "DELETE FROM producer_snapshots WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM producer_snapshots WHERE organization = $1 AND topic_id = $2 LIMIT $3))",
        "DELETE FROM leader_epochs WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM leader_epochs WHERE organization = $1 AND topic_id = $2 LIMIT $3))",
        "DELETE FROM coordinator_rows WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM coordinator_rows WHERE organization = $1 AND topic_id = $2 LIMIT $3))",
        "DELETE FROM partitions WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM partitions WHERE organization = $1 AND topic_id = $2 LIMIT $3))",
        "DELETE FROM topics WHERE organization = $1 AND topic_id = $2 AND deleted AND $3 > 0",
    ];
    let mut left = rows;
    while left > 0 {
        let next = "
            SELECT organization, topic_id FROM topics WHERE deleted
             ORDER BY organization, topic_id LIMIT 1 FOR UPDATE SKIP LOCKED";
        let next = sqlx::query(next).fetch_optional(&mut *connection).await.map_err(not_committed)?;
        let Some(topic) = next else { break };
        let (organization, topic_id): (i64, uuid::Uuid) = (column(&topic, 0)?, column(&topic, 1)?);
        let step = |sql, left| {
            sqlx::query(sql).bind(organization).bind(topic_id).bind(i64::try_from(left).unwrap_or(i64::MAX))
        };
        let mut slots = Vec::new();
        for row in step(RANGES, left).fetch_all(&mut *connection).await.map_err(not_committed)? {
            slots.push((column(&row, 0)?, column(&row, 1)?, column(&row, 2)?));
            left = left.saturating_sub(u64::try_from(column::<i64>(&row, 3)?).unwrap_or(u64::MAX));
        }
        garbage::retire_empty(connection, &slots).await?;
        for sql in REST {
            if left == 0 {
                break;
            }
            left -= changed(connection, step(sql, left)).await?.min(left);
        }
    }
    Ok(rows - left)
}

/// A row of the columns every topic query selects.
pub(super) fn topic_row(row: &PgRow) -> Result<TopicRow, StoreError> {
    let configs: &str = column(row, 5)?;
    Ok(TopicRow {
        organization: OrganizationId(column(row, 0)?),
        topic_id: TopicId(column(row, 1)?),
        name: column(row, 2)?,
        partition_count: column(row, 3)?,
        replication_factor: column(row, 4)?,
        configs: serde_json::from_str(configs).map_err(|error| StoreError::Damaged(format!("configs: {error}")))?,
        created_at: column(row, 6)?,
        agent_group: column(row, 7)?,
    })
}
