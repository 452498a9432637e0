//! The embedded store: one SQLite file, one agent.
//!
//! One thread writes ([`writer`]); requests send it messages and wait, so a caller that goes away never cuts a
//! transaction in two. Reads go through a small pool and see everything that was committed
//! before they began (WAL). A lock on a file beside the database keeps a second agent out for as long as this one
//! lives. Commits are synced (`synchronous = FULL`); after a crash SQLite recovers the log by itself at open.

mod changes;
mod checkpoint;
mod commit;
mod coordinators;
mod direct;
mod garbage;
mod joined;
mod log_changes;
mod open;
mod purge;
mod reader;
mod schema;
mod segments;
mod sessions;
mod topics;
mod writer;

use std::{path::Path, sync::Arc, time::SystemTime};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use segment::{OrganizationId, PartitionIndex, PartitionKey, TimestampMs, TopicId};
use sqlx::{Row, Sqlite, SqliteConnection, SqlitePool, sqlite::SqliteRow};
use tokio::{sync::oneshot, task::JoinHandle};
use uuid::Uuid;

pub use open::OpenError;

use crate::StoreError;

/// How a SQLite store is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The cluster id that is written if the database is created by this call; ignored otherwise.
    pub new_cluster_id: Uuid,
}

/// The metadata store on SQLite.
#[derive(Debug)]
pub struct SqliteStore {
    readers: SqlitePool,
    writer: writer::WriterHandle,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Held by the tasks too: the lock outlives the last transaction.
    lock: Mutex<Option<Arc<open::FileLock>>>,
}

impl SqliteStore {
    /// Opens or creates the database at `path`, with its parent folders, and brings its schema up to date.
    ///
    /// # Errors
    /// [`OpenError`]: one line that says what a person can do.
    pub async fn open(path: &Path, options: SqliteOptions) -> Result<Self, OpenError> {
        let lock = Arc::new(open::lock(path)?);
        let connect = open::prepare_database(path, options.new_cluster_id).await?;
        let readers = reader::pool(&connect);
        let (writer, writer_task, checkpoint_task) = writer::start(&connect, Arc::clone(&lock)).await?;
        Ok(Self {
            readers,
            writer,
            tasks: Mutex::new(vec![writer_task, checkpoint_task]),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Finishes what was accepted, folds the log into the database file and gives the lock back. Calls made after it
    /// answer `NotCommitted`. Repeating it does nothing.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.stop();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the metadata store ended abnormally");
            }
        }
        *self.lock.lock() = None;
    }

    /// Runs one background transaction on the writer and waits for it. It runs to its end even if the caller is gone.
    async fn transact<T, E>(
        &self,
        body: impl for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: writer::Job = Box::new(move |connection| {
            Box::pin(async move {
                // The caller may be gone; the transaction happened or not all the same.
                let _ = reply.send(connection.transaction(body).await);
            })
        });
        self.writer.run(job).await?;
        answer.await.map_err(|_| StoreError::Unknown("the metadata writer stopped".into()))?
    }

    /// Runs one transaction in the line of commits, and waits for it. `body` writes nothing before it answers `Fenced`, and
    /// may be run again.
    async fn commit<T: Send + 'static>(
        &self,
        body: impl FnMut(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.writer.commit(joined::commit(body, reply)).await?;
        answer.await.map_err(|_| StoreError::Unknown("the metadata writer stopped".into()))?
    }

    /// Runs one background transaction on the connection that is called directly, for what touches many rows.
    async fn transact_directly<T: Send + 'static>(
        &self,
        body: impl FnOnce(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: writer::Job = Box::new(move |writer| {
            Box::pin(async move {
                let _ = reply.send(writer.direct.transaction(body));
            })
        });
        self.writer.run(job).await?;
        answer.await.map_err(|_| StoreError::Unknown("the metadata writer stopped".into()))?
    }
}

/// Raises the version of the cluster for a transaction that changes what agents watch.
async fn next_version(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let raise = sqlx::query_scalar("UPDATE cluster SET version = version + 1 RETURNING version");
    raise.fetch_one(connection).await.map_err(not_committed)
}

/// The one place where this store reads a clock; the traits call it the database's clock.
#[expect(clippy::disallowed_methods, reason = "SQLite is in this process: its clock is the machine's")]
fn database_clock() -> TimestampMs {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TimestampMs::try_from(since_epoch.as_millis()).unwrap_or(TimestampMs::MAX)
}

/// SQLite's primary result codes.
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_NOTADB: i32 = 26;
/// BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, FULL, CONSTRAINT: said by COMMIT before it commits.
const LOCKED_OUT_OR_FULL: [i32; 7] = [5, 6, 7, 8, 9, 13, 19];

/// An error before COMMIT, or of a read: nothing happened.
fn not_committed(error: sqlx::Error) -> StoreError {
    match (&error, primary_code(&error)) {
        (_, Some(SQLITE_CORRUPT | SQLITE_NOTADB)) | (sqlx::Error::ColumnDecode { .. }, _) => {
            StoreError::Damaged(error.to_string())
        }
        _ => StoreError::NotCommitted(Box::new(error)),
    }
}

/// SQLite's primary result code, without the extension in the upper bits.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

/// A column of a row, by its index.
fn column<'r, T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>>(
    row: &'r SqliteRow,
    index: usize,
) -> Result<T, StoreError> {
    row.try_get(index).map_err(|error| StoreError::Damaged(format!("column {index}: {error}")))
}

/// A UUID column.
fn uuid_column(row: &SqliteRow, index: usize) -> Result<Uuid, StoreError> {
    let bytes: &[u8] = column(row, index)?;
    Uuid::from_slice(bytes).map_err(|error| StoreError::Damaged(format!("column {index}: {error}")))
}

/// A partition's key in three columns from `index`.
fn key_columns(row: &SqliteRow, index: usize) -> Result<PartitionKey, StoreError> {
    Ok(PartitionKey {
        organization: OrganizationId(column(row, index)?),
        topic_id: TopicId(uuid_column(row, index + 1)?),
        partition: column::<PartitionIndex>(row, index + 2)?,
    })
}

/// A topic id as it is bound.
fn topic_bytes(topic_id: TopicId) -> Vec<u8> {
    topic_id.0.as_bytes().to_vec()
}

/// Partition keys as one parameter for `json_each`: `[[organization, "hex topic id", partition], …]`.
fn keys_json(keys: &[PartitionKey]) -> String {
    use std::fmt::Write;
    let mut json = String::with_capacity(2 + keys.len() * 48);
    json.push('[');
    for (index, key) in keys.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let topic = key.topic_id.0.simple();
        let _ = write!(json, "{comma}[{},\"{topic}\",{}]", key.organization.0, key.partition);
    }
    json.push(']');
    json
}
