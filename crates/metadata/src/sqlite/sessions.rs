//! Sessions, leases and producer ids on SQLite.

use async_trait::async_trait;
use futures::FutureExt;
use segment::{LeaderEpoch, PartitionKey, ProducerId, SessionId, TimestampMs};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteStore, changes, column, database_clock, key_columns, keys_json, next_version, not_committed,
    reader::Statement, uuid_column,
};
use crate::{
    AgentRow, Changes, ClusterInfo, LaneReport, LeaseHolder, LeaseRow, OpenedSession, Registration, Sessions,
    StoreError,
};

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

    async fn renew_session(&self, session: SessionId, lane: LaneReport) -> Result<TimestampMs, StoreError> {
        self.transact(move |connection| renew(connection, session.0, lane).boxed()).await
    }

    async fn update_registration(&self, session: SessionId, registration: &Registration) -> Result<(), StoreError> {
        let registration = registration.clone();
        self.transact(move |connection| {
            async move { update_registration(connection, session.0, registration).await }.boxed()
        })
        .await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.transact(move |connection| end_session(connection, session.0).boxed()).await
    }

    async fn suspect_session(&self, session: SessionId, target: SessionId) -> Result<(), StoreError> {
        self.transact(move |connection| {
            async move {
                require_active(connection, session.0).await?;
                let suspect = "
                    UPDATE session_renewals SET suspected = 1 WHERE session = $1 AND suspected = 0
                       AND EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active = 1)";
                if changed(connection, sqlx::query(suspect).bind(target.0)).await? {
                    next_version(connection).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn fence_session(&self, session: SessionId, target: SessionId, renewals: i64) -> Result<bool, StoreError> {
        self.transact(move |connection| {
            async move {
                require_active(connection, session.0).await?;
                let counter = "
                    SELECT r.counter FROM sessions AS s JOIN session_renewals AS r ON r.session = s.session
                     WHERE s.session = $1 AND s.active = 1";
                let counter: Option<i64> = sqlx::query_scalar(counter)
                    .bind(target.0)
                    .fetch_optional(&mut *connection)
                    .await
                    .map_err(not_committed)?;
                if counter.is_some_and(|counter| counter != renewals) {
                    return Ok(false);
                }
                end_session(connection, target.0).await.map(|()| true)
            }
            .boxed()
        })
        .await
    }

    async fn changes_since(&self, version: i64) -> Result<Changes, StoreError> {
        changes::read(self, version).await
    }

    /// There is one agent, and it knows what it changes.
    async fn change_hint(&self, _version: i64) {
        std::future::pending().await
    }

    async fn list_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        self.read_all(sqlx::query(SELECT_AGENTS)).await?.iter().map(agent_row).collect()
    }

    async fn acquire_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError> {
        debug_assert!(keys.len() <= ACQUIRE_KEYS_MAX);
        let keys = keys_json(keys);
        self.transact(move |connection| async move { acquire_leases(connection, session, keys).await }.boxed()).await
    }

    async fn hand_over_leases(
        &self,
        session: SessionId,
        to: SessionId,
        keys: &[PartitionKey],
    ) -> Result<Vec<LeaseHolder>, StoreError> {
        debug_assert!(keys.len() <= ACQUIRE_KEYS_MAX);
        let keys = keys_json(keys);
        self.transact(move |connection| async move { hand_over(connection, session.0, to.0, keys).await }.boxed()).await
    }

    async fn held_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError> {
        let rows = self.read_all(sqlx::query(SELECT_HELD).bind(session.0).bind(keys_json(keys))).await?;
        rows.iter().map(lease_row).collect()
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

/// Active sessions by node id.
pub(super) const SELECT_AGENTS: &str = "
    SELECT s.session, a.node_id, s.agent_id, s.agent_group, s.zone, s.managed_topics, s.kafka_address, s.grpc_address,
           s.accepts_leases, r.counter, r.suspected, r.stuck, r.proofs
      FROM sessions AS s JOIN agents AS a ON a.agent_id = s.agent_id
      JOIN session_renewals AS r ON r.session = s.session
     WHERE s.active = 1 ORDER BY a.node_id";

/// The rows of partitions among $2 that session $1, if it is active, holds.
const SELECT_HELD: &str = "
    SELECT DISTINCT p.organization, p.topic_id, p.partition, p.leader_epoch, p.next_offset, p.log_start_offset,
           p.last_append_time, coalesce(s.object_key, ''), p.cleaned_offset
      FROM json_each($2) AS k CROSS JOIN partitions AS p
      LEFT JOIN segments AS s
        ON s.session = p.last_session AND s.lane_sequence = p.last_lane_sequence
       AND s.organization = p.organization
     WHERE p.organization = k.value ->> 0 AND p.topic_id = unhex(k.value ->> 1) AND p.partition = k.value ->> 2
       AND p.session = $1 AND p.deleted = 0
       AND EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active = 1)
     ORDER BY p.organization, p.topic_id, p.partition";

/// Notes the epochs that session $1 got just now for those of $2 that it holds.
const NOTE_EPOCHS: &str = "
    INSERT INTO leader_epochs (organization, topic_id, partition, start_offset, leader_epoch)
    SELECT DISTINCT p.organization, p.topic_id, p.partition, p.next_offset, p.leader_epoch
      FROM json_each($2) AS k CROSS JOIN partitions AS p
     WHERE p.organization = k.value ->> 0 AND p.topic_id = unhex(k.value ->> 1) AND p.partition = k.value ->> 2
       AND p.session = $1
    ON CONFLICT DO UPDATE SET leader_epoch = excluded.leader_epoch";

/// Runs a statement; whether it changed a row.
async fn changed(connection: &mut SqliteConnection, statement: Statement) -> Result<bool, StoreError> {
    statement.execute(connection).await.map(|done| done.rows_affected() > 0).map_err(not_committed)
}

pub(super) async fn require_active(connection: &mut SqliteConnection, session: i64) -> Result<(), StoreError> {
    if is_active(connection, session).await? { Ok(()) } else { Err(StoreError::Fenced) }
}

/// Whether a session may still write.
pub(super) async fn is_active(connection: &mut SqliteConnection, session: i64) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active = 1)");
    query.bind(session).fetch_one(connection).await.map_err(not_committed)
}

async fn renew(connection: &mut SqliteConnection, session: i64, lane: LaneReport) -> Result<TimestampMs, StoreError> {
    let now = database_clock();
    let count = "
        UPDATE session_renewals SET counter = counter + 1, renewed_at = $2, suspected = 0, stuck = $3, proofs = $4
         WHERE session = $1 AND EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active = 1)";
    let count = sqlx::query(count).bind(session).bind(now).bind(lane.stuck).bind(lane.proofs);
    let renewed = changed(connection, count).await?;
    if renewed { Ok(now) } else { Err(StoreError::Fenced) }
}

async fn update_registration(
    connection: &mut SqliteConnection,
    session: i64,
    registration: Registration,
) -> Result<(), StoreError> {
    require_active(connection, session).await?;
    let update = "
        UPDATE sessions SET agent_group = $2, zone = $3, managed_topics = $4, kafka_address = $5, grpc_address = $6,
               accepts_leases = $7
         WHERE session = $1
           AND (agent_group, zone, managed_topics, kafka_address, grpc_address, accepts_leases)
               <> ($2, $3, $4, $5, $6, $7)";
    let Registration { group, zone, managed_topics, kafka_address, grpc_address, accepts_leases, .. } = registration;
    let update = sqlx::query(update).bind(session).bind(group).bind(zone).bind(managed_topics);
    let update = update.bind(kafka_address).bind(grpc_address).bind(accepts_leases);
    if changed(connection, update).await? {
        next_version(connection).await?;
    }
    Ok(())
}

async fn end_session(connection: &mut SqliteConnection, session: i64) -> Result<(), StoreError> {
    let end = sqlx::query("UPDATE sessions SET active = 0 WHERE session = $1 AND active = 1").bind(session);
    if changed(connection, end).await? {
        next_version(connection).await?;
    }
    Ok(())
}

/// Names session $2 in the rows that session $1 holds, under the next epoch.
async fn hand_over(
    connection: &mut SqliteConnection,
    session: i64,
    to: i64,
    keys: String,
) -> Result<Vec<LeaseHolder>, StoreError> {
    require_active(connection, session).await?;
    if !is_active(connection, to).await? {
        return Ok(Vec::new());
    }
    let version = next_version(connection).await?;
    let give = "
        UPDATE partitions SET session = $2, leader_epoch = leader_epoch + 1, changed = $4
          FROM (SELECT DISTINCT value ->> 0 AS o, unhex(value ->> 1) AS t, value ->> 2 AS p FROM json_each($3)) AS k
         WHERE organization = k.o AND topic_id = k.t AND partition = k.p AND deleted = 0 AND session = $1
        RETURNING organization, topic_id, partition, leader_epoch";
    let give = sqlx::query(give).bind(session).bind(to).bind(keys).bind(version);
    let rows = give.fetch_all(&mut *connection).await.map_err(not_committed)?;
    let holder = |row: &SqliteRow| {
        let (key, leader_epoch) = (key_columns(row, 0)?, column(row, 3)?);
        Ok(LeaseHolder { key, session: Some(SessionId(to)), leader_epoch })
    };
    let mut given = rows.iter().map(holder).collect::<Result<Vec<_>, StoreError>>()?;
    given.sort_unstable_by_key(|holder| holder.key);
    // Only the keys given just now: the receiver may hold others of the call for longer.
    let given_keys = keys_json(&given.iter().map(|holder| holder.key).collect::<Vec<_>>());
    sqlx::query(NOTE_EPOCHS).bind(to).bind(given_keys).execute(connection).await.map_err(not_committed)?;
    Ok(given)
}

/// Allocates the node id, fences the former session of the same agent, and inserts the new one.
async fn open_session(
    connection: &mut SqliteConnection,
    registration: &Registration,
) -> Result<OpenedSession, StoreError> {
    let now = database_clock();
    let Registration { agent_id, group, zone, managed_topics, kafka_address, grpc_address, accepts_leases } =
        registration.clone();
    next_version(connection).await?;
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
                              opened_at, accepts_leases)
        VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8) RETURNING session";
    let insert = sqlx::query_scalar(insert).bind(agent_id).bind(group).bind(zone).bind(managed_topics);
    let insert = insert.bind(kafka_address).bind(grpc_address).bind(now).bind(accepts_leases);
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
    let version = next_version(connection).await?;
    let acquire = "
        UPDATE partitions SET session = $1, leader_epoch = leader_epoch + 1, changed = $3
          FROM (SELECT DISTINCT value ->> 0 AS o, unhex(value ->> 1) AS t, value ->> 2 AS p FROM json_each($2)) AS k
         WHERE organization = k.o AND topic_id = k.t AND partition = k.p AND deleted = 0
           AND (session IS NULL OR session = $1
                OR NOT EXISTS (SELECT 1 FROM sessions AS s WHERE s.session = partitions.session AND s.active = 1))";
    let acquire = sqlx::query(acquire).bind(session.0).bind(keys.clone()).bind(version);
    acquire.execute(&mut *connection).await.map_err(not_committed)?;
    // Every key of the call that this session holds now was acquired just now: its own leases are acquirable too.
    let note = sqlx::query(NOTE_EPOCHS).bind(session.0).bind(keys.clone());
    note.execute(&mut *connection).await.map_err(not_committed)?;
    let read_back = sqlx::query(SELECT_HELD).bind(session.0).bind(keys);
    read_back.fetch_all(connection).await.map_err(not_committed)?.iter().map(lease_row).collect()
}

fn lease_row(row: &SqliteRow) -> Result<LeaseRow, StoreError> {
    Ok(LeaseRow {
        key: key_columns(row, 0)?,
        leader_epoch: column(row, 3)?,
        next_offset: column(row, 4)?,
        log_start_offset: column(row, 5)?,
        last_append_time: column(row, 6)?,
        last_object: column(row, 7)?,
        cleaned_offset: column(row, 8)?,
    })
}

pub(super) fn agent_row(row: &SqliteRow) -> Result<AgentRow, StoreError> {
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
            accepts_leases: column(row, 8)?,
        },
        renewals: column(row, 9)?,
        suspected: column(row, 10)?,
        lane: LaneReport { stuck: column(row, 11)?, proofs: column(row, 12)? },
    })
}
