//! Opening the file: the lock, the checks that it is ours and not newer than we are, and the migrations.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, SqliteConnection,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use uuid::Uuid;

use super::{database_clock, schema};

/// How long a statement waits for a lock another connection of this process holds (a checkpoint, at most).
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the database was not opened. Each is one line for a person.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("metadata file {} is in use by another agent: stop it, or give this one another METADATA_STORE", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The folder or the lock file cannot be made.
    #[error("metadata file {} cannot be created or locked: {source}", path.display())]
    Io {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its bytes are not a SQLite database, or one of another program.
    #[error("{} is not a StreamHouse metadata file", path.display())]
    NotMetadata {
        /// The database file.
        path: PathBuf,
    },
    /// A newer version of the agent wrote it.
    #[error("metadata file {} has schema version {found}, this agent knows up to {known}: use a newer agent", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Version found.
        found: i64,
        /// Greatest version this binary knows.
        known: i64,
    },
    /// Anything else SQLite objects to.
    #[error("metadata file {} cannot be opened: {source}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// An exclusive lock on `<database>.lock`, until dropped or the process ends. The file itself stays.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
}

/// Creates the parent folders and takes the lock.
pub(super) fn lock(path: &Path) -> Result<FileLock, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(FileLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Checks that the file is ours (or new), migrates it, and returns how to connect to it.
pub(super) async fn prepare_database(path: &Path, new_cluster_id: Uuid) -> Result<SqliteConnectOptions, OpenError> {
    let failed = |error: sqlx::Error| open_error(path, error);
    let plain = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let mut connection = plain.connect().await.map_err(failed)?;
    check_ownership(&mut connection, path).await?;
    connection.close().await.map_err(failed)?;

    let options = plain.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full).foreign_keys(false);
    let mut connection = options.connect().await.map_err(failed)?;
    schema::migrator().run(&mut connection).await.map_err(|error| migrate_error(path, error))?;
    sqlx::query("INSERT INTO cluster (one, cluster_id, created_at) VALUES (1, $1, $2) ON CONFLICT (one) DO NOTHING")
        .bind(new_cluster_id.as_bytes().to_vec())
        .bind(database_clock())
        .execute(&mut connection)
        .await
        .map_err(failed)?;
    // The lock is ours, so whoever had these sessions is dead. It may have had another AGENT_ID (in containers the host
    // name changes with each start), which `open_session` would leave in possession of its leases for ever.
    let fence = sqlx::query("UPDATE sessions SET active = 0 WHERE active = 1");
    fence.execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(options)
}

/// A file with tables of someone else's is refused before anything is written to it.
async fn check_ownership(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| open_error(path, error);
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *connection).await.map_err(failed)?;
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(failed)?;
    if id == schema::APPLICATION_ID {
        return Ok(());
    }
    if tables > 0 || id != 0 {
        return Err(OpenError::NotMetadata { path: path.to_owned() });
    }
    let mark = format!("PRAGMA application_id = {}", schema::APPLICATION_ID);
    sqlx::query(AssertSqlSafe(mark)).execute(connection).await.map_err(failed)?;
    Ok(())
}

fn open_error(path: &Path, error: sqlx::Error) -> OpenError {
    if super::primary_code(&error) == Some(super::SQLITE_NOTADB) {
        return OpenError::NotMetadata { path: path.to_owned() };
    }
    OpenError::Database { path: path.to_owned(), source: Box::new(error) }
}

fn migrate_error(path: &Path, error: MigrateError) -> OpenError {
    let known = schema::migrator().iter().map(|migration| migration.version).max().unwrap_or(0);
    match error {
        MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _) => {
            OpenError::Newer { path: path.to_owned(), found, known }
        }
        other => OpenError::Database { path: path.to_owned(), source: Box::new(other) },
    }
}
