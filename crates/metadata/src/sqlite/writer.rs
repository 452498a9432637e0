//! The writer: one thread, one transaction at a time.
//!
//! Requests come over two bounded queues; commits (of segments, and of coordinators' rows) are taken first, all that wait
//! together ([`joined`](super::joined)). They run on the thread itself, over a connection that is called directly
//! ([`direct`](super::direct)), and so does what touches many rows; all other transactions go through sqlx, whose connection
//! has a thread of its own. Nothing
//! here is ever cancelled: `select!` stands around the queues only, never around a database call. After any error the
//! transaction is rolled back, and where that fails, or the outcome of a COMMIT is open, the connection is closed and
//! opened anew.
//!
//! Which COMMIT errors mean what: BUSY, LOCKED, FULL, NOMEM, READONLY, INTERRUPT and CONSTRAINT happen before the
//! commit frame is whole in the log, so nothing was committed. After an I/O error the frame may be in the file, and a
//! crash right then would bring it to life: the outcome is unknown. The next transaction overwrites it.

use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    LOCKED_OUT_OR_FULL, OpenError, checkpoint,
    direct::Direct,
    joined::{self, Commit},
    not_committed, open, primary_code,
};
use crate::StoreError;

/// Commits that may wait in line; a lane has one in flight, and so have all coordinators together.
const COMMITS_WAITING_MAX: usize = 64;
/// Other transactions that may wait in line.
const JOBS_WAITING_MAX: usize = 256;
/// A background transaction.
pub(super) type Job = Box<dyn for<'w> FnOnce(&'w mut Writer) -> BoxFuture<'w, ()> + Send>;

/// The way to the writer.
#[derive(Debug)]
pub(super) struct WriterHandle {
    commits: mpsc::Sender<Box<dyn Commit>>,
    jobs: mpsc::Sender<Job>,
    stop: watch::Sender<bool>,
}

impl WriterHandle {
    pub(super) async fn run(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(job).await.map_err(|_| closed())
    }

    pub(super) async fn commit(&self, commit: Box<dyn Commit>) -> Result<(), StoreError> {
        self.commits.send(commit).await.map_err(|_| closed())
    }

    /// Lets the tasks finish what is queued, then end.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

fn closed() -> StoreError {
    StoreError::NotCommitted("the metadata store is closed".into())
}

/// Connects and starts the writer and its checkpointer.
pub(super) async fn start(
    connect: &SqliteConnectOptions,
    lock: Arc<open::FileLock>,
) -> Result<(WriterHandle, JoinHandle<()>, JoinHandle<()>), OpenError> {
    // Checkpoints are the checkpointer's: no commit pays for one.
    let connect = connect.clone().pragma("wal_autocheckpoint", "0").create_if_missing(false);
    let failed = |source| OpenError::Database { path: connect.get_filename().to_owned(), source };
    let written = Arc::new(Notify::new());
    let direct = Direct::new(connect.get_filename().to_owned());
    let mut writer = Writer { connect: connect.clone(), connection: None, direct, written: Arc::clone(&written) };
    writer.connection().await.map_err(|error| failed(Box::new(error)))?;

    let (commits, commit_queue) = mpsc::channel(COMMITS_WAITING_MAX);
    let (jobs, job_queue) = mpsc::channel(JOBS_WAITING_MAX);
    let (stop, stopped) = watch::channel(false);
    let checkpoints = checkpoint::Checkpointer { connect: connect.clone(), written, jobs: jobs.downgrade() };
    let checkpoints = tokio::spawn(checkpoints.run(stopped.clone(), Arc::clone(&lock)));
    let task = on_a_thread(writer.run(commit_queue, job_queue, stopped, lock)).map_err(|error| failed(error.into()))?;
    Ok((WriterHandle { commits, jobs, stop }, task, checkpoints))
}

/// Runs the writer on a thread that may block; the task returned ends with it.
fn on_a_thread(run: impl Future<Output = ()> + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let (ended, end) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("metadata-writer".to_owned()).spawn(move || {
        runtime.block_on(run);
        let _ = ended.send(());
    })?;
    Ok(tokio::spawn(async move {
        if end.await.is_err() {
            tracing::error!("the thread of the metadata writer ended with a panic");
        }
    }))
}

/// The connections that write.
pub(super) struct Writer {
    connect: SqliteConnectOptions,
    /// `None` after an error that left its state in doubt; opened anew by the next transaction.
    connection: Option<SqliteConnection>,
    pub(super) direct: Direct,
    written: Arc<Notify>,
}

impl Writer {
    async fn run(
        mut self,
        mut commits: mpsc::Receiver<Box<dyn Commit>>,
        mut jobs: mpsc::Receiver<Job>,
        mut stopped: watch::Receiver<bool>,
        lock: Arc<open::FileLock>,
    ) {
        let (mut stopping, mut commits_open, mut jobs_open) = (false, true, true);
        while commits_open || jobs_open {
            tokio::select! {
                biased;
                commit = commits.recv(), if commits_open => match commit {
                    Some(commit) => {
                        let mut waiting = vec![commit];
                        waiting.extend(std::iter::from_fn(|| commits.try_recv().ok()).take(COMMITS_WAITING_MAX));
                        joined::run_all(&mut self.direct, waiting);
                        // Commits first, but a writer that is never without one must also renew sessions.
                        if let Ok(job) = jobs.try_recv() {
                            job(&mut self).await;
                        }
                    }
                    None => commits_open = false,
                },
                job = jobs.recv(), if jobs_open => match job {
                    Some(job) => job(&mut self).await,
                    None => jobs_open = false,
                },
                () = stop_asked(&mut stopped), if !stopping => {
                    stopping = true;
                    commits.close();
                    jobs.close();
                }
            }
            self.written.notify_one();
        }
        if let Ok(connection) = self.connection().await {
            checkpoint::truncate(connection).await;
        }
        self.disconnect().await;
        drop((self.direct, lock));
    }

    /// Runs `body` between BEGIN and COMMIT; rolls back if it fails.
    pub(super) async fn transaction<T, E: From<StoreError>>(
        &mut self,
        body: impl for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, E>>,
    ) -> Result<T, E> {
        let connection = self.connection().await?;
        if let Err(error) = sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await {
            self.roll_back().await;
            return Err(not_committed(error).into());
        }
        match body(connection).await {
            Err(error) => {
                self.roll_back().await;
                Err(error)
            }
            Ok(value) => {
                let outcome = sqlx::query("COMMIT").execute(connection).await.map(|_| ()).map_err(commit_error);
                self.settle(outcome).await?;
                Ok(value)
            }
        }
    }

    /// After an error no transaction stays open, and after an open outcome the connection goes.
    async fn settle<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        match &outcome {
            Ok(_) | Err(StoreError::Fenced) => {}
            Err(StoreError::NotCommitted(_)) => self.roll_back().await,
            Err(StoreError::Unknown(_) | StoreError::Damaged(_)) => self.disconnect().await,
        }
        outcome
    }

    async fn roll_back(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        if sqlx::query("ROLLBACK").execute(connection).await.is_err() {
            // SQLite rolled back by itself, or the connection is broken; a new one is in a known state either way.
            self.disconnect().await;
        }
    }

    async fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the metadata writer's connection failed");
        }
    }

    /// The connection, opened anew if the former one was given up.
    pub(super) async fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect.connect().await.map_err(not_committed)?,
        };
        Ok(self.connection.insert(connection))
    }
}

/// Returns when the store is closed or dropped.
pub(super) async fn stop_asked(stopped: &mut watch::Receiver<bool>) {
    // An error means that the store was dropped without a close.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// What an error of COMMIT itself means; see the head of this file.
fn commit_error(error: sqlx::Error) -> StoreError {
    match primary_code(&error) {
        Some(code) if LOCKED_OUT_OR_FULL.contains(&code) => StoreError::NotCommitted(Box::new(error)),
        _ => StoreError::Unknown(Box::new(error)),
    }
}
