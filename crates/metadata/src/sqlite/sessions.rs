//! Sessions, leases and producer ids on SQLite.

use async_trait::async_trait;
use futures::FutureExt;
use segment::{LeaderEpoch, PartitionKey, ProducerId, SessionId, TimestampMs};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore, column, commit::is_active, database_clock, key_columns, keys_json, not_committed, uuid_column,
};
use crate::{AgentRow, ClusterInfo, LeaseRow, OpenedSession, Registration, Sessions, StoreError};

/// Keys of one `acquire_leases` call, at most.
const ACQUIRE_KEYS_MAX: usize = 1_000;

#[async_trait]
impl Sessions for SqliteStore {
    async fn cluster(&self) -> Result<ClusterInfo, StoreError> {
        let sql = "SELECT cluster_id, NOT EXISTS (SELECT 1 FROM sessions) FROM cluster";
        let row = self.read_first(sqlx::query(sql)).await?;
        let row = row.ok_or_else(|| StoreError::Damaged("the cluster row is missing".into()))?;
        Ok(ClusterInfo { cluster_id: uuid_column(&row, 0)?, empty: column(&row, 1)? })
    }

    async fn open_session(&self, registration: &Registration) -> Result<OpenedSession, StoreError> {
        let registration = registration.clone();
        self.transact(move |connection| async move { open_session(connection, &registration).await }.boxed()).await
    }

    async fn renew_session(&self, session: SessionId) -> Result<TimestampMs, StoreError> {
        let sql = "
            UPDATE session_renewals SET counter = counter + 1, renewed_at = $2
             WHERE session = $1 AND EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active = 1)";
        self.transact(move |connection| {
            async move {
                let now = database_clock();
                let update = sqlx::query(sql).bind(session.0).bind(now);
                let renewed = update.execute(connection).await.map_err(not_committed)?;
                if renewed.rows_affected() == 1 { Ok(now) } else { Err(StoreError::Fenced) }
            }
            .boxed()
        })
        .await
    }

    async fn update_registration(&self, session: SessionId, registration: &Registration) -> Result<(), StoreError> {
        let sql = "
            UPDATE sessions SET agent_group = $2, zone = $3, managed_topics = $4, kafka_address = $5, grpc_address = $6
             WHERE session = $1 AND active = 1";
        let Registration { group, zone, managed_topics, kafka_address, grpc_address, .. } = registration.clone();
        self.transact(move |connection| {
            async move {
                let update = sqlx::query(sql).bind(session.0).bind(group).bind(zone).bind(managed_topics);
                let update = update.bind(kafka_address).bind(grpc_address);
                let updated = update.execute(connection).await.map_err(not_committed)?;
                if updated.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Fenced) }
            }
            .boxed()
        })
        .await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.transact(move |connection| {
            async move {
                let update = sqlx::query("UPDATE sessions SET active = 0 WHERE session = $1").bind(session.0);
                update.execute(connection).await.map(|_| ()).map_err(not_committed)
            }
            .boxed()
        })
        .await
    }

    async fn list_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        let sql = "
            SELECT s.session, a.node_id, s.agent_id, s.agent_group, s.zone, s.managed_topics, s.kafka_address,
                   s.grpc_address
              FROM sessions AS s JOIN agents AS a ON a.agent_id = s.agent_id
             WHERE s.active = 1 ORDER BY a.node_id";
        self.read_all(sqlx::query(sql)).await?.iter().map(agent_row).collect()
    }

    async fn acquire_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError> {
        debug_assert!(keys.len() <= ACQUIRE_KEYS_MAX);
        let keys = keys_json(keys);
        self.transact(move |connection| async move { acquire_leases(connection, session, keys).await }.boxed()).await
    }

    async fn confirm_leases(
        &self,
        session: SessionId,
        keys: &[PartitionKey],
    ) -> Result<Vec<Option<LeaderEpoch>>, StoreError> {
        let sql = "
            SELECT p.leader_epoch
              FROM json_each($2) AS k
              LEFT JOIN partitions AS p
                ON p.organization = k.value ->> 0 AND p.topic_id = unhex(k.value ->> 1) AND p.partition = k.value ->> 2
               AND p.session = $1 AND EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active = 1)
             ORDER BY k.key";
        let rows = self.read_all(sqlx::query(sql).bind(session.0).bind(keys_json(keys))).await?;
        rows.iter().map(|row| column(row, 0)).collect()
    }

    async fn allocate_producer_ids(&self, count: u32) -> Result<ProducerId, StoreError> {
        self.transact(move |connection| {
            async move {
                let update = sqlx::query_scalar("UPDATE producer_ids SET next = next + $1 RETURNING next - $1");
                update.bind(i64::from(count)).fetch_one(connection).await.map_err(not_committed)
            }
            .boxed()
        })
        .await
    }
}

/// Allocates the node id, fences the former session of the same agent, and inserts the new one.
async fn open_session(
    connection: &mut SqliteConnection,
    registration: &Registration,
) -> Result<OpenedSession, StoreError> {
    let now = database_clock();
    let Registration { agent_id, group, zone, managed_topics, kafka_address, grpc_address } = registration.clone();
    let allocate = "
        INSERT INTO agents (agent_id, node_id) SELECT $1, coalesce(max(node_id), 0) + 1 FROM agents WHERE true
        ON CONFLICT (agent_id) DO NOTHING";
    sqlx::query(allocate).bind(agent_id.clone()).execute(&mut *connection).await.map_err(not_committed)?;
    let node_id: i32 = sqlx::query_scalar("SELECT node_id FROM agents WHERE agent_id = $1")
        .bind(agent_id.clone())
        .fetch_one(&mut *connection)
        .await
        .map_err(not_committed)?;
    let fence = "UPDATE sessions SET active = 0 WHERE agent_id = $1 AND active = 1 RETURNING session";
    let fenced: Option<i64> = sqlx::query_scalar(fence)
        .bind(agent_id.clone())
        .fetch_optional(&mut *connection)
        .await
        .map_err(not_committed)?;
    let insert = "
        INSERT INTO sessions (agent_id, active, agent_group, zone, managed_topics, kafka_address, grpc_address,
                              opened_at)
        VALUES ($1, 1, $2, $3, $4, $5, $6, $7) RETURNING session";
    let insert = sqlx::query_scalar(insert).bind(agent_id).bind(group).bind(zone).bind(managed_topics);
    let insert = insert.bind(kafka_address).bind(grpc_address).bind(now);
    let session: i64 = insert.fetch_one(&mut *connection).await.map_err(not_committed)?;
    sqlx::query("INSERT INTO session_renewals (session, counter, renewed_at) VALUES ($1, 0, $2)")
        .bind(session)
        .bind(now)
        .execute(connection)
        .await
        .map_err(not_committed)?;
    Ok(OpenedSession { session: SessionId(session), node_id, fenced: fenced.map(SessionId), database_time: now })
}

/// Raises the epoch of every key that is free, notes it in the history, and reads the rows back.
async fn acquire_leases(
    connection: &mut SqliteConnection,
    session: SessionId,
    keys: String,
) -> Result<Vec<LeaseRow>, StoreError> {
    if !is_active(connection, session.0).await? {
        return Err(StoreError::Fenced);
    }
    let acquire = "
        UPDATE partitions SET session = $1, leader_epoch = leader_epoch + 1
          FROM (SELECT DISTINCT value ->> 0 AS o, unhex(value ->> 1) AS t, value ->> 2 AS p FROM json_each($2)) AS k
         WHERE organization = k.o AND topic_id = k.t AND partition = k.p AND deleted = 0
           AND (session IS NULL OR session = $1
                OR NOT EXISTS (SELECT 1 FROM sessions AS s WHERE s.session = partitions.session AND s.active = 1))";
    // Every key of the call that this session holds now was acquired just now: its own leases are acquirable too.
    let history = "
        INSERT INTO leader_epochs (organization, topic_id, partition, start_offset, leader_epoch)
        SELECT DISTINCT p.organization, p.topic_id, p.partition, p.next_offset, p.leader_epoch
          FROM json_each($2) AS k CROSS JOIN partitions AS p
         WHERE p.organization = k.value ->> 0 AND p.topic_id = unhex(k.value ->> 1) AND p.partition = k.value ->> 2
           AND p.session = $1
        ON CONFLICT DO UPDATE SET leader_epoch = excluded.leader_epoch";
    let read_back = "
        SELECT DISTINCT p.organization, p.topic_id, p.partition, p.leader_epoch, p.next_offset, p.log_start_offset,
               p.last_append_time, coalesce(s.object_key, '')
          FROM json_each($2) AS k CROSS JOIN partitions AS p
          LEFT JOIN segments AS s
            ON s.session = p.last_session AND s.lane_sequence = p.last_lane_sequence
           AND s.organization = p.organization
         WHERE p.organization = k.value ->> 0 AND p.topic_id = unhex(k.value ->> 1) AND p.partition = k.value ->> 2
           AND p.session = $1
         ORDER BY p.organization, p.topic_id, p.partition";
    for sql in [acquire, history] {
        let statement = sqlx::query(sql).bind(session.0).bind(keys.clone());
        statement.execute(&mut *connection).await.map_err(not_committed)?;
    }
    let rows = sqlx::query(read_back).bind(session.0).bind(keys).fetch_all(connection).await.map_err(not_committed)?;
    rows.iter().map(lease_row).collect()
}

fn lease_row(row: &SqliteRow) -> Result<LeaseRow, StoreError> {
    Ok(LeaseRow {
        key: key_columns(row, 0)?,
        leader_epoch: column(row, 3)?,
        next_offset: column(row, 4)?,
        log_start_offset: column(row, 5)?,
        last_append_time: column(row, 6)?,
        last_object: column(row, 7)?,
    })
}

fn agent_row(row: &SqliteRow) -> Result<AgentRow, StoreError> {
    Ok(AgentRow {
        session: SessionId(column(row, 0)?),
        node_id: column(row, 1)?,
        registration: Registration {
            agent_id: column(row, 2)?,
            group: column(row, 3)?,
            zone: column(row, 4)?,
            managed_topics: column(row, 5)?,
            kafka_address: column(row, 6)?,
            grpc_address: column(row, 7)?,
        },
    })
}
