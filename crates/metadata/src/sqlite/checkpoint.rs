//! Checkpoints: moving the write-ahead log into the database file, off the commit path.
//!
//! A passive checkpoint from a connection of its own copies what is in the log while commits go on. The log can be
//! written from its start again only when all of it is copied, which under steady load never happens by itself, for commits go
//! on while it copies (what it answers is the log as it was when it began); so when the log has grown past a bound the writer is
//! asked to copy the little that is left, between two transactions.

use std::{sync::Arc, time::Duration};

use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Notify, mpsc, watch};

use super::{
    open,
    writer::{Job, stop_asked},
};

/// Pause between two checkpoints; a crash leaves at most the writes of about this long to be recovered from the log.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Pages in the log (64 MiB at 4 KiB) above which it is made to start over.
const LOG_PAGES_MAX: i64 = 16_384;

/// Copies the log into the database file from time to time, while something is written.
pub(super) struct Checkpointer {
    pub(super) connect: SqliteConnectOptions,
    pub(super) written: Arc<Notify>,
    /// Weak: the checkpointer must not keep the writer's queue open.
    pub(super) jobs: mpsc::WeakSender<Job>,
}

impl Checkpointer {
    pub(super) async fn run(self, mut stopped: watch::Receiver<bool>, _lock: Arc<open::FileLock>) {
        let mut connection = None;
        loop {
            tokio::select! {
                biased;
                () = stop_asked(&mut stopped) => break,
                () = async { self.written.notified().await; tokio::time::sleep(CHECKPOINT_EVERY).await } => {}
            }
            if let Err(error) = self.checkpoint(&mut connection).await {
                tracing::warn!(%error, "a checkpoint of the metadata log failed; the next one will do its work");
                connection = None;
            }
        }
        if let Some(connection) = connection {
            // Its close may be the last of all and copy the log; a failure leaves the log for the next open.
            let _ = connection.close().await;
        }
    }

    async fn checkpoint(&self, connection: &mut Option<SqliteConnection>) -> Result<(), sqlx::Error> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.connect.connect().await?),
        };
        if passive(connection).await? > LOG_PAGES_MAX
            && let Some(jobs) = self.jobs.upgrade()
        {
            // What came while the first was copying, so that less is left to the writer.
            passive(connection).await?;
            let finish: Job = Box::new(|writer| {
                Box::pin(async move {
                    if let Ok(connection) = writer.connection().await
                        && let Err(error) = passive(connection).await
                    {
                        tracing::warn!(%error, "the metadata log could not be made to start over");
                    }
                })
            });
            // A full queue means a busy writer; the next round asks again.
            let _ = jobs.try_send(finish);
        }
        Ok(())
    }
}

/// Copies what it can without waiting for anyone; answers with the pages of the log when it began.
async fn passive(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let row = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await?;
    row.try_get(1)
}

/// The last act of a clean close: an empty log.
pub(super) async fn truncate(connection: &mut SqliteConnection) {
    if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(connection).await {
        tracing::warn!(%error, "the metadata log was not emptied at close; the next open recovers it");
    }
}
