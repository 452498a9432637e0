//! The schema: every version in one transaction, which holds the lock that agents that start together queue for.
//!
//! A lock of the transaction, not of the session: it works through a pooler, and ends with the connection. The table of
//! what was applied is the one that sqlx keeps for SQLite.

use sqlx::{
    Row, SqlSafeStr,
    migrate::{Migration, MigrationType},
};
use uuid::Uuid;

use super::link::Link;

/// The advisory lock of this database: "StHs".
const LOCK: i64 = 0x5374_4873;

const CREATE_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS _sqlx_migrations (
        version BIGINT PRIMARY KEY,
        description TEXT NOT NULL,
        installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
        success BOOLEAN NOT NULL,
        checksum BYTEA NOT NULL,
        execution_time BIGINT NOT NULL)";

const SELECT_CLUSTER: &str = "SELECT cluster_id FROM cluster";

/// Why the schema was not brought up to date; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrateError {
    /// A newer agent was here.
    #[error("schema version {found} is newer than {known}")]
    Newer { found: i64, known: i64 },
    /// The file of a version is not the one that was applied.
    #[error("schema version {0} was applied in another form than this agent knows")]
    Changed(i64),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Every version this binary knows, the oldest first.
fn versions() -> Vec<Migration> {
    let init = include_str!("../../migrations/postgres/0001_init.sql").into_sql_str();
    let lane_reports = include_str!("../../migrations/postgres/0002_lane_reports.sql").into_sql_str();
    let retired_segments = include_str!("../../migrations/postgres/0003_retired_segments.sql").into_sql_str();
    let coordinator_rows = include_str!("../../migrations/postgres/0004_coordinator_rows.sql").into_sql_str();
    let cleaned_offsets = include_str!("../../migrations/postgres/0005_cleaned_offsets.sql").into_sql_str();
    vec![
        Migration::new(1, "init".into(), MigrationType::Simple, init, false),
        Migration::new(2, "lane_reports".into(), MigrationType::Simple, lane_reports, false),
        Migration::new(3, "retired_segments".into(), MigrationType::Simple, retired_segments, false),
        Migration::new(4, "coordinator_rows".into(), MigrationType::Simple, coordinator_rows, false),
        Migration::new(5, "cleaned_offsets".into(), MigrationType::Simple, cleaned_offsets, false),
    ]
}

/// Applies what is missing; the id of the cluster, which is this one if there was none.
pub(super) async fn migrate(link: &mut Link, new_cluster_id: Uuid) -> Result<Uuid, MigrateError> {
    link.begin().await?;
    match apply(link, new_cluster_id).await {
        Ok(cluster_id) => {
            link.commit().await?;
            Ok(cluster_id)
        }
        Err(error) => {
            // Closing the connection, which follows, rolls back too.
            let _ = link.roll_back().await;
            Err(error)
        }
    }
}

/// The id of the cluster in a database that was prepared before.
pub(super) async fn cluster_id(link: &mut Link) -> Result<Uuid, sqlx::Error> {
    link.begin().await?;
    let cluster_id = sqlx::query_scalar(SELECT_CLUSTER).fetch_one(&mut *link).await?;
    link.commit().await?;
    Ok(cluster_id)
}

async fn apply(link: &mut Link, new_cluster_id: Uuid) -> Result<Uuid, MigrateError> {
    apply_missing(link).await?;
    let insert = "
        INSERT INTO cluster (one, cluster_id, created_at, version)
        VALUES (1, $1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint, 1) ON CONFLICT (one) DO NOTHING";
    sqlx::query(insert).bind(new_cluster_id).execute(&mut *link).await?;
    Ok(sqlx::query_scalar(SELECT_CLUSTER).fetch_one(link).await?)
}

async fn apply_missing(link: &mut Link) -> Result<(), MigrateError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *link).await?;
    sqlx::raw_sql(CREATE_TABLE).execute(&mut *link).await?;
    let applied = "SELECT version, checksum FROM _sqlx_migrations ORDER BY version";
    let applied = sqlx::query(applied).fetch_all(&mut *link).await?;
    let mut missing = versions();
    let known = missing.last().map_or(0, |newest| newest.version);
    for row in applied {
        let (found, checksum): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        let Some(index) = missing.iter().position(|version| version.version == found) else {
            return Err(MigrateError::Newer { found, known });
        };
        if *missing.remove(index).checksum != *checksum {
            return Err(MigrateError::Changed(found));
        }
    }
    for Migration { version, description, sql, checksum, .. } in missing {
        sqlx::raw_sql(sql).execute(&mut *link).await?;
        let note = "
            INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES ($1, $2, TRUE, $3, -1)";
        let note = sqlx::query(note).bind(version).bind(description.into_owned()).bind(checksum.into_owned());
        note.execute(&mut *link).await?;
    }
    Ok(())
}
