//! Opening the database: how to connect, the checks, the migrations.

use std::str::FromStr;

use sqlx::{
    ConnectOptions, Connection, PgConnection, SqlSafeStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    postgres::PgConnectOptions,
};
use uuid::Uuid;

/// Why the database was not opened. Each is one line for a person, without the password.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// The URL says something we cannot read.
    #[error("METADATA_STORE is not a PostgreSQL URL: {0}")]
    Url(String),
    /// No connection, or not as this user.
    #[error("metadata database {database} cannot be reached: {reason}")]
    Connect {
        /// Host, port and name.
        database: String,
        /// What the driver said.
        reason: String,
    },
    /// A newer version of the agent wrote it.
    #[error(
        "metadata database {database} has schema version {found}, this agent knows up to {known}: use a newer agent"
    )]
    Newer {
        /// Host, port and name.
        database: String,
        /// Version found.
        found: i64,
        /// Greatest version this binary knows.
        known: i64,
    },
    /// Anything else it objects to.
    #[error("metadata database {database} cannot be used: {reason}")]
    Database {
        /// Host, port and name.
        database: String,
        /// What the server said.
        reason: String,
    },
}

/// Every connection says these first. An ack rests on `synchronous_commit`, whatever a role's default is; a transaction
/// that stands still (its agent is stopped) must not hold its locks for long: a fence waits for them, and is not to wait
/// beyond any sensible `LEASE_DURATION`.
const SETTINGS: [(&str, &str); 4] = [
    ("synchronous_commit", "on"),
    ("idle_in_transaction_session_timeout", "2s"),
    ("statement_timeout", "30s"),
    ("default_transaction_isolation", "read committed"),
];

/// Every version this binary knows.
fn migrator() -> Migrator {
    let init = include_str!("../../migrations/postgres/0001_init.sql").into_sql_str();
    Migrator::with_migrations(vec![Migration::new(1, "init".into(), MigrationType::Simple, init, false)])
}

/// Host, port and name of a database, for people.
fn name(connect: &PgConnectOptions) -> String {
    format!("{}:{}/{}", connect.get_host(), connect.get_port(), connect.get_database().unwrap_or("postgres"))
}

/// Connects once, migrates, and returns how to connect from then on.
pub(super) async fn prepare_database(url: &str, new_cluster_id: Uuid) -> Result<PgConnectOptions, PostgresOpenError> {
    let connect = PgConnectOptions::from_str(url).map_err(|error| PostgresOpenError::Url(error.to_string()))?;
    let connect = connect.application_name("streamhouse").options(SETTINGS).disable_statement_logging();
    let database = name(&connect);
    let mut connection = connect
        .connect()
        .await
        .map_err(|error| PostgresOpenError::Connect { database: database.clone(), reason: error.to_string() })?;
    migrate(&mut connection, &database).await?;
    let insert = "
        INSERT INTO cluster (one, cluster_id, created_at, version)
        VALUES (1, $1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint, 1) ON CONFLICT (one) DO NOTHING";
    let inserted = sqlx::query(insert).bind(new_cluster_id).execute(&mut connection).await;
    inserted.map_err(|error| PostgresOpenError::Database { database, reason: error.to_string() })?;
    let _ = connection.close().await;
    Ok(connect)
}

/// Under an advisory lock: agents that start together migrate one after the other.
async fn migrate(connection: &mut PgConnection, database: &str) -> Result<(), PostgresOpenError> {
    let known = migrator().iter().map(|migration| migration.version).max().unwrap_or(0);
    let database = database.to_owned();
    migrator().run(connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _) => {
            PostgresOpenError::Newer { database, found, known }
        }
        other => PostgresOpenError::Database { database, reason: other.to_string() },
    })
}
