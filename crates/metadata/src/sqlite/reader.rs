//! Reads: single statements on a small pool.
//!
//! A statement is its own snapshot, begun when it starts, so it sees every commit that returned before. No read
//! opens a transaction: a dropped request could leave one behind on a pooled connection, and every later read on
//! that connection would see the past.

use std::time::Duration;

use sqlx::{
    Sqlite, SqlitePool,
    query::Query,
    sqlite::{SqliteArguments, SqliteConnectOptions, SqlitePoolOptions, SqliteRow},
};

use super::{SqliteStore, not_committed};
use crate::StoreError;

/// Connections for reads; each is a thread.
const READERS_MAX: u32 = 4;
/// How long an unused reader lives.
const READER_IDLE: Duration = Duration::from_secs(60);
/// How long a read waits for a free reader before it gives up.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The pool; connects when first used.
pub(super) fn pool(connect: &SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .idle_timeout(READER_IDLE)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(connect.clone().read_only(true).create_if_missing(false))
}

/// A statement with its arguments.
pub(super) type Statement = Query<'static, Sqlite, SqliteArguments>;

impl SqliteStore {
    /// All rows of one statement.
    pub(super) async fn read_all(&self, statement: Statement) -> Result<Vec<SqliteRow>, StoreError> {
        statement.fetch_all(&self.readers).await.map_err(not_committed)
    }

    /// The first row of one statement.
    pub(super) async fn read_first(&self, statement: Statement) -> Result<Option<SqliteRow>, StoreError> {
        statement.fetch_optional(&self.readers).await.map_err(not_committed)
    }
}
