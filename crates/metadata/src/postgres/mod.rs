//! The shared store: one PostgreSQL database, any number of agents.
//!
//! Every transaction runs on a connection that one task owns ([`connection`]); callers send it work and wait, so a caller
//! that goes away never cuts a transaction in two, and one that waits too long gives up the connection with it.
//! Segment commits, writes of coordinators, renewals, other writes and reads have connections of their own: a renewal never waits for anything
//! but its own row. With a pooler before the database ([`link`]) the same transactions take more round trips.
//!
//! Lock order, the same everywhere, so that no two transactions wait for each other: the version row (of transactions
//! that raise it), then sessions, then partitions by (topic id, partition), then segments by slot. READ COMMITTED: a statement that waited for a
//! lock sees the row as it is then, and its conditions are checked again against that.

mod changes;
mod commit;
mod connect;
mod connection;
mod coordinators;
mod garbage;
mod link;
mod log_changes;
mod migrate;
mod open;
mod segments;
mod sessions;
mod topics;

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use segment::{OrganizationId, PartitionIndex, PartitionKey, SessionId, TimestampMs, TopicId};
use sqlx::{
    Postgres, Row,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use tokio::{sync::watch, task::JoinHandle};
use uuid::Uuid;

pub use self::open::PostgresOpenError;
use self::{connection::Owned, link::Link};
use crate::{SeededBug, StoreError};

/// Connections for reads.
const READERS: usize = 4;

/// How a PostgreSQL store is opened.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The cluster id that is written if the schema is created by this call; ignored otherwise.
    pub new_cluster_id: Uuid,
    /// The same database without a pooler before it, for the one connection that must own its session (LISTEN) and for
    /// migrations. `None`: as the URL itself; if that is a pooler's, changes are found by polling alone.
    pub session_url: Option<String>,
}

/// The metadata store on PostgreSQL.
#[derive(Debug)]
pub struct PostgresStore {
    commits: Owned,
    coordinators: Owned,
    renewals: Owned,
    writes: Owned,
    readers: [Owned; READERS],
    next_reader: AtomicUsize,
    /// The newest version that was heard of, for those who wait for it to rise.
    version: watch::Sender<i64>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl PostgresStore {
    /// Connects, brings the schema up to date (several agents may do so at once) and begins to listen for changes.
    ///
    /// # Errors
    /// [`PostgresOpenError`]: one line that says what a person can do.
    pub async fn open(url: &str, options: PostgresOptions) -> Result<Self, PostgresOpenError> {
        let opened = open::prepare_database(url, &options).await?;
        opened.tell();
        let version = watch::Sender::new(0);
        let listener = opened.session.map(|session| tokio::spawn(changes::listen(session, version.clone())));
        let owned = || Owned::new(opened.transactions.clone());
        Ok(Self {
            commits: owned(),
            coordinators: owned(),
            renewals: owned(),
            writes: owned(),
            readers: std::array::from_fn(|_| owned()),
            next_reader: AtomicUsize::new(0),
            version,
            listener: Mutex::new(listener),
        })
    }

    /// One with a bug, to prove that it is seen.
    #[doc(hidden)]
    #[must_use]
    pub fn with_seeded_bug(mut self, bug: SeededBug) -> Self {
        self.commits = self.commits.with_seeded_bug(bug);
        self
    }

    /// Finishes what was accepted and closes all connections. Calls made after it answer `NotCommitted`.
    pub async fn close(&self) {
        let listener = self.listener.lock().take();
        if let Some(listener) = listener {
            listener.abort();
        }
        for owned in [&self.commits, &self.coordinators, &self.renewals, &self.writes].into_iter().chain(&self.readers)
        {
            owned.close().await;
        }
    }

    /// A transaction on the connection for writes.
    async fn write<T, E>(
        &self,
        body: impl for<'c> FnOnce(&'c mut Link) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.writes.transact(body).await
    }

    fn reader(&self) -> &Owned {
        &self.readers[self.next_reader.fetch_add(1, Ordering::Relaxed) % READERS]
    }

    /// All rows of one statement, begun now.
    async fn read_all(&self, statement: Statement) -> Result<Vec<PgRow>, StoreError> {
        self.reader().read(statement).await
    }

    /// The first row of one statement, begun now.
    async fn read_first(&self, statement: Statement) -> Result<Option<PgRow>, StoreError> {
        Ok(self.read_all(statement).await?.into_iter().next())
    }
}

/// A statement with its arguments.
type Statement = Query<'static, Postgres, PgArguments>;

/// Raises the version of the cluster, first of all, for a transaction that changes what agents watch; they are told when it
/// commits.
async fn next_version(connection: &mut Link) -> Result<i64, StoreError> {
    let raise = "
        WITH raised AS (UPDATE cluster SET version = version + 1 RETURNING version)
        SELECT version, pg_notify('streamhouse_changes', version::text) FROM raised";
    let row = sqlx::query(raise).fetch_one(connection).await.map_err(not_committed)?;
    column(&row, 0)
}

/// Whether a session may still write; it stays so until the transaction ends.
async fn is_active(connection: &mut Link, session: SessionId) -> Result<bool, StoreError> {
    let share = sqlx::query("SELECT 1 FROM sessions WHERE session = $1 AND active FOR SHARE").bind(session.0);
    Ok(share.fetch_optional(connection).await.map_err(not_committed)?.is_some())
}

async fn require_active(connection: &mut Link, session: SessionId) -> Result<(), StoreError> {
    if is_active(connection, session).await? { Ok(()) } else { Err(StoreError::Fenced) }
}

/// Runs a statement; how many rows it changed.
async fn changed(connection: &mut Link, statement: Statement) -> Result<u64, StoreError> {
    statement.execute(connection).await.map(|done| done.rows_affected()).map_err(not_committed)
}

/// An error before COMMIT, or of a read: nothing happened.
fn not_committed(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::ColumnDecode { .. } => StoreError::Damaged(error.to_string()),
        _ => StoreError::NotCommitted(Box::new(error)),
    }
}

/// An error of COMMIT, or of a statement that is its own transaction. What the server itself reports rolled it back
/// (an administrator's command, class 57, may come after the commit); a connection that broke tells nothing.
fn commit_error(error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    match code {
        Some(code) if !code.starts_with("57") && !code.starts_with("08") && !code.starts_with("XX") => {
            not_committed(error)
        }
        _ => StoreError::Unknown(Box::new(error)),
    }
}

/// A column of a row, by its index.
fn column<'r, T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>>(
    row: &'r PgRow,
    index: usize,
) -> Result<T, StoreError> {
    row.try_get(index).map_err(|error| StoreError::Damaged(format!("column {index}: {error}")))
}

/// A partition's key in three columns from `index`.
fn key_columns(row: &PgRow, index: usize) -> Result<PartitionKey, StoreError> {
    Ok(PartitionKey {
        organization: OrganizationId(column(row, index)?),
        topic_id: TopicId(column(row, index + 1)?),
        partition: column::<PartitionIndex>(row, index + 2)?,
    })
}

/// Partition keys as three arrays, bound as three parameters.
fn bind_keys(statement: Statement, keys: &[PartitionKey]) -> Statement {
    let organizations: Vec<i64> = keys.iter().map(|key| key.organization.0).collect();
    let topics: Vec<Uuid> = keys.iter().map(|key| key.topic_id.0).collect();
    let partitions: Vec<PartitionIndex> = keys.iter().map(|key| key.partition).collect();
    statement.bind(organizations).bind(topics).bind(partitions)
}

/// One partition's key as three parameters.
fn bind_key(sql: &'static str, key: PartitionKey) -> Statement {
    sqlx::query(sql).bind(key.organization.0).bind(key.topic_id.0).bind(key.partition)
}

/// The database's clock, read now.
async fn database_clock(connection: &mut Link) -> Result<TimestampMs, StoreError> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    sqlx::query_scalar(sql).fetch_one(connection).await.map_err(not_committed)
}
