//! Sessions, leases and producer ids on PostgreSQL.

use async_trait::async_trait;
use futures::FutureExt;
use segment::{LeaderEpoch, PartitionKey, ProducerId, SessionId, TimestampMs};
use sqlx::postgres::PgRow;

use super::{
    PostgresStore, bind_keys, changed, changes, column, commit_error, database_clock, is_active, key_columns,
    link::Link, next_version, not_committed, require_active,
};
use crate::{
    AgentRow, Changes, ClusterInfo, LaneReport, LeaseHolder, LeaseRow, OpenedSession, Registration, Sessions,
    StoreError,
};

#[async_trait]
impl Sessions for PostgresStore {
    async fn cluster(&self) -> Result<ClusterInfo, StoreError> {
        let sql = "SELECT cluster_id, NOT EXISTS (SELECT 1 FROM sessions) FROM cluster";
        let row = self.read_first(sqlx::query(sql)).await?;
        let row = row.ok_or_else(|| StoreError::Damaged("the cluster row is missing".into()))?;
        Ok(ClusterInfo { cluster_id: column(&row, 0)?, empty: column(&row, 1)? })
    }

    async fn open_session(&self, registration: &Registration) -> Result<OpenedSession, StoreError> {
        let registration = registration.clone();
        self.write(move |connection| open_session(connection, registration).boxed()).await
    }

    async fn renew_session(&self, session: SessionId, lane: LaneReport) -> Result<TimestampMs, StoreError> {
        // The share keeps a fence out between the check and the update. Commits share the same row: none waits.
        let renew = "
            WITH live AS MATERIALIZED (SELECT session FROM sessions WHERE session = $1 AND active FOR SHARE)
            UPDATE session_renewals AS r
               SET counter = counter + 1, suspected = FALSE, stuck = $2, proofs = $3,
                   renewed_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint
              FROM live WHERE r.session = live.session RETURNING r.renewed_at";
        let renewed = self.renewals.run_alone(move |connection| {
            async move {
                let renew = sqlx::query_scalar(renew).bind(session.0).bind(lane.stuck).bind(lane.proofs);
                renew.fetch_optional(connection).await.map_err(commit_error)
            }
            .boxed()
        });
        renewed.await?.ok_or(StoreError::Fenced)
    }

    async fn update_registration(&self, session: SessionId, registration: &Registration) -> Result<(), StoreError> {
        let registration = registration.clone();
        self.write(move |connection| update_registration(connection, session, registration).boxed()).await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.write(move |connection| {
            async move {
                next_version(connection).await?;
                end_session(connection, session).await
            }
            .boxed()
        })
        .await
    }

    async fn suspect_session(&self, session: SessionId, target: SessionId) -> Result<(), StoreError> {
        self.write(move |connection| {
            async move {
                next_version(connection).await?;
                require_active(connection, session).await?;
                let suspect = "
                    UPDATE session_renewals SET suspected = TRUE WHERE session = $1 AND NOT suspected
                       AND EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active)";
                changed(connection, sqlx::query(suspect).bind(target.0)).await.map(|_| ())
            }
            .boxed()
        })
        .await
    }

    async fn fence_session(&self, session: SessionId, target: SessionId, renewals: i64) -> Result<bool, StoreError> {
        self.write(move |connection| fence(connection, session, target, renewals).boxed()).await
    }

    async fn changes_since(&self, version: i64) -> Result<Changes, StoreError> {
        changes::read(self, version).await
    }

    async fn change_hint(&self, version: i64) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.version.subscribe().wait_for(|known| *known > version).await;
    }

    async fn list_agents(&self) -> Result<Vec<AgentRow>, StoreError> {
        self.read_all(sqlx::query(SELECT_AGENTS)).await?.iter().map(agent_row).collect()
    }

    async fn acquire_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError> {
        let keys = keys.to_vec();
        self.write(move |connection| acquire_leases(connection, session, keys).boxed()).await
    }

    async fn hand_over_leases(
        &self,
        session: SessionId,
        to: SessionId,
        keys: &[PartitionKey],
    ) -> Result<Vec<LeaseHolder>, StoreError> {
        let keys = keys.to_vec();
        self.write(move |connection| hand_over(connection, session, to, keys).boxed()).await
    }

    async fn held_leases(&self, session: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseRow>, StoreError> {
        let rows = self.read_all(bind_keys(sqlx::query(SELECT_HELD).bind(session.0), keys)).await?;
        rows.iter().map(lease_row).collect()
    }

    async fn confirm_leases(
        &self,
        session: SessionId,
        keys: &[PartitionKey],
    ) -> Result<Vec<Option<LeaderEpoch>>, StoreError> {
        let sql = "
            SELECT p.leader_epoch
              FROM unnest($2::bigint[], $3::uuid[], $4::int[]) WITH ORDINALITY AS k (organization, topic_id, partition, n)
              LEFT JOIN partitions AS p
                ON p.organization = k.organization AND p.topic_id = k.topic_id AND p.partition = k.partition
               AND p.session = $1 AND EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active)
             ORDER BY k.n";
        let rows = self.read_all(bind_keys(sqlx::query(sql).bind(session.0), keys)).await?;
        rows.iter().map(|row| column(row, 0)).collect()
    }

    async fn allocate_producer_ids(&self, count: u32) -> Result<ProducerId, StoreError> {
        self.write(move |connection| {
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
     WHERE s.active ORDER BY a.node_id";

/// The rows of partitions among $2, $3, $4 that session $1, if it is active, holds.
const SELECT_HELD: &str = "
    SELECT p.organization, p.topic_id, p.partition, p.leader_epoch, p.next_offset, p.log_start_offset,
           p.last_append_time, coalesce(s.object_key, ''), p.cleaned_offset
      FROM (SELECT DISTINCT * FROM unnest($2::bigint[], $3::uuid[], $4::int[]))
           AS k (organization, topic_id, partition)
      JOIN partitions AS p
        ON p.organization = k.organization AND p.topic_id = k.topic_id AND p.partition = k.partition
      LEFT JOIN segments AS s
        ON s.session = p.last_session AND s.lane_sequence = p.last_lane_sequence AND s.organization = p.organization
     WHERE p.session = $1 AND NOT p.deleted AND EXISTS (SELECT 1 FROM sessions WHERE session = $1 AND active)
     ORDER BY p.organization, p.topic_id, p.partition";

/// Locks the rows of $1, $2, $3 that exist, in order; statements after it see them as they are then.
const LOCK_PARTITIONS: &str = "
    SELECT 1 FROM partitions AS p
      JOIN (SELECT DISTINCT * FROM unnest($1::bigint[], $2::uuid[], $3::int[])) AS k (organization, topic_id, partition)
        ON p.organization = k.organization AND p.topic_id = k.topic_id AND p.partition = k.partition
     ORDER BY p.organization, p.topic_id, p.partition FOR UPDATE OF p";

/// Notes the epochs that session $1 got just now for those of $2, $3, $4 that it holds.
const NOTE_EPOCHS: &str = "
    INSERT INTO leader_epochs (organization, topic_id, partition, start_offset, leader_epoch)
    SELECT p.organization, p.topic_id, p.partition, p.next_offset, p.leader_epoch
      FROM (SELECT DISTINCT * FROM unnest($2::bigint[], $3::uuid[], $4::int[]))
           AS k (organization, topic_id, partition)
      JOIN partitions AS p
        ON p.organization = k.organization AND p.topic_id = k.topic_id AND p.partition = k.partition
     WHERE p.session = $1 AND NOT p.deleted
    ON CONFLICT (organization, topic_id, partition, start_offset) DO UPDATE SET leader_epoch = excluded.leader_epoch";

/// Waits for the commits of a session in flight, which share its row; whether it was active.
async fn lock_session(connection: &mut Link, session: SessionId) -> Result<bool, StoreError> {
    let lock = sqlx::query_scalar("SELECT active FROM sessions WHERE session = $1 FOR UPDATE").bind(session.0);
    Ok(lock.fetch_optional(connection).await.map_err(not_committed)?.unwrap_or(false))
}

async fn end_session(connection: &mut Link, session: SessionId) -> Result<(), StoreError> {
    if lock_session(connection, session).await? {
        changed(connection, sqlx::query("UPDATE sessions SET active = FALSE WHERE session = $1").bind(session.0))
            .await?;
    }
    Ok(())
}

async fn fence(
    connection: &mut Link,
    session: SessionId,
    target: SessionId,
    renewals: i64,
) -> Result<bool, StoreError> {
    next_version(connection).await?;
    require_active(connection, session).await?;
    if !lock_session(connection, target).await? {
        return Ok(true);
    }
    // Renewals share the session's row, so this one is the last.
    let counter = sqlx::query_scalar("SELECT counter FROM session_renewals WHERE session = $1").bind(target.0);
    let counter: i64 = counter.fetch_one(&mut *connection).await.map_err(not_committed)?;
    if counter != renewals {
        return Ok(false);
    }
    changed(connection, sqlx::query("UPDATE sessions SET active = FALSE WHERE session = $1").bind(target.0)).await?;
    Ok(true)
}

/// Allocates the node id, fences the former session of the same agent, and inserts the new one.
async fn open_session(connection: &mut Link, registration: Registration) -> Result<OpenedSession, StoreError> {
    next_version(connection).await?;
    let now = database_clock(connection).await?;
    let Registration { agent_id, group, zone, managed_topics, kafka_address, grpc_address, accepts_leases } =
        registration;
    // The version's lock makes this the only transaction that allocates.
    let allocate = "
        INSERT INTO agents (agent_id, node_id) SELECT $1, coalesce(max(node_id), 0) + 1 FROM agents
        ON CONFLICT (agent_id) DO NOTHING";
    changed(connection, sqlx::query(allocate).bind(agent_id.clone())).await?;
    let node_id = sqlx::query_scalar("SELECT node_id FROM agents WHERE agent_id = $1").bind(agent_id.clone());
    let node_id: i32 = node_id.fetch_one(&mut *connection).await.map_err(not_committed)?;
    let former = "SELECT session FROM sessions WHERE agent_id = $1 AND active FOR UPDATE";
    let former = sqlx::query_scalar(former).bind(agent_id.clone());
    let former: Option<i64> = former.fetch_optional(&mut *connection).await.map_err(not_committed)?;
    if let Some(former) = former {
        changed(connection, sqlx::query("UPDATE sessions SET active = FALSE WHERE session = $1").bind(former)).await?;
    }
    let insert = "
        INSERT INTO sessions (agent_id, active, agent_group, zone, managed_topics, kafka_address, grpc_address,
                              opened_at, accepts_leases)
        VALUES ($1, TRUE, $2, $3, $4, $5, $6, $7, $8) RETURNING session";
    let insert = sqlx::query_scalar(insert).bind(agent_id).bind(group).bind(zone).bind(managed_topics);
    let insert = insert.bind(kafka_address).bind(grpc_address).bind(now).bind(accepts_leases);
    let session: i64 = insert.fetch_one(&mut *connection).await.map_err(not_committed)?;
    let counter = "INSERT INTO session_renewals (session, counter, renewed_at) VALUES ($1, 0, $2)";
    changed(connection, sqlx::query(counter).bind(session).bind(now)).await?;
    Ok(OpenedSession { session: SessionId(session), node_id, fenced: former.map(SessionId), database_time: now })
}

async fn update_registration(
    connection: &mut Link,
    session: SessionId,
    registration: Registration,
) -> Result<(), StoreError> {
    let Registration { group, zone, managed_topics, kafka_address, grpc_address, accepts_leases, .. } = registration;
    let same = "
        SELECT (agent_group, zone, managed_topics, kafka_address, grpc_address, accepts_leases)
               = ($2, $3, $4, $5, $6, $7)
          FROM sessions WHERE session = $1 AND active";
    let update = "
        UPDATE sessions SET agent_group = $2, zone = $3, managed_topics = $4, kafka_address = $5, grpc_address = $6,
               accepts_leases = $7
         WHERE session = $1 AND active";
    let bound = |sql: &'static str| {
        let statement = sqlx::query(sql).bind(session.0).bind(group.clone()).bind(zone.clone());
        let statement = statement.bind(managed_topics.clone()).bind(kafka_address.clone());
        statement.bind(grpc_address.clone()).bind(accepts_leases)
    };
    // Only its own agent changes a registration, so what is the same now stays the same.
    match bound(same).fetch_optional(&mut *connection).await.map_err(not_committed)? {
        None => return Err(StoreError::Fenced),
        Some(row) if column(&row, 0)? => return Ok(()),
        Some(_) => {}
    }
    next_version(connection).await?;
    if changed(connection, bound(update)).await? == 0 { Err(StoreError::Fenced) } else { Ok(()) }
}

/// Raises the epoch of every key that is free, notes it in the history, and reads the rows back.
async fn acquire_leases(
    connection: &mut Link,
    session: SessionId,
    keys: Vec<PartitionKey>,
) -> Result<Vec<LeaseRow>, StoreError> {
    let version = next_version(connection).await?;
    require_active(connection, session).await?;
    changed(connection, bind_keys(sqlx::query(LOCK_PARTITIONS), &keys)).await?;
    let acquire = "
        UPDATE partitions AS p SET session = $1, leader_epoch = leader_epoch + 1, changed = $5
          FROM (SELECT DISTINCT * FROM unnest($2::bigint[], $3::uuid[], $4::int[]))
               AS k (organization, topic_id, partition)
         WHERE p.organization = k.organization AND p.topic_id = k.topic_id AND p.partition = k.partition
           AND NOT p.deleted
           AND (p.session IS NULL OR p.session = $1
                OR NOT EXISTS (SELECT 1 FROM sessions AS s WHERE s.session = p.session AND s.active))";
    changed(connection, bind_keys(sqlx::query(acquire).bind(session.0), &keys).bind(version)).await?;
    // Every key of the call that this session holds now was acquired just now: its own leases are acquirable too.
    changed(connection, bind_keys(sqlx::query(NOTE_EPOCHS).bind(session.0), &keys)).await?;
    let held = bind_keys(sqlx::query(SELECT_HELD).bind(session.0), &keys);
    held.fetch_all(connection).await.map_err(not_committed)?.iter().map(lease_row).collect()
}

/// Names session `to` in the rows that `session` holds, under the next epoch.
async fn hand_over(
    connection: &mut Link,
    session: SessionId,
    to: SessionId,
    keys: Vec<PartitionKey>,
) -> Result<Vec<LeaseHolder>, StoreError> {
    let version = next_version(connection).await?;
    require_active(connection, session).await?;
    if !is_active(connection, to).await? {
        return Ok(Vec::new());
    }
    changed(connection, bind_keys(sqlx::query(LOCK_PARTITIONS), &keys)).await?;
    let give = "
        UPDATE partitions AS p SET session = $5, leader_epoch = leader_epoch + 1, changed = $6
          FROM (SELECT DISTINCT * FROM unnest($2::bigint[], $3::uuid[], $4::int[]))
               AS k (organization, topic_id, partition)
         WHERE p.organization = k.organization AND p.topic_id = k.topic_id AND p.partition = k.partition
           AND NOT p.deleted AND p.session = $1
        RETURNING p.organization, p.topic_id, p.partition, p.leader_epoch";
    let give = bind_keys(sqlx::query(give).bind(session.0), &keys).bind(to.0).bind(version);
    let holder = |row: &PgRow| {
        let (key, leader_epoch) = (key_columns(row, 0)?, column(row, 3)?);
        Ok(LeaseHolder { key, session: Some(to), leader_epoch })
    };
    let rows = give.fetch_all(&mut *connection).await.map_err(not_committed)?;
    let mut given = rows.iter().map(holder).collect::<Result<Vec<_>, StoreError>>()?;
    given.sort_unstable_by_key(|holder| holder.key);
    // Only the keys given just now: the receiver may hold others of the call for longer.
    let given_keys: Vec<_> = given.iter().map(|holder| holder.key).collect();
    changed(connection, bind_keys(sqlx::query(NOTE_EPOCHS).bind(to.0), &given_keys)).await?;
    Ok(given)
}

fn lease_row(row: &PgRow) -> Result<LeaseRow, StoreError> {
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

pub(super) fn agent_row(row: &PgRow) -> Result<AgentRow, StoreError> {
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
