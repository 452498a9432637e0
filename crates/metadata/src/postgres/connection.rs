//! A connection that one task owns, and the way to it.
//!
//! Work is sent to the task and runs to its end there, whatever becomes of the caller: dropping a future in the middle of
//! BEGIN has left pooled connections inside stale transactions. A caller that got no answer for [`CALL_MAX`] abandons
//! the task with its connection; the next call starts a new one. After any error the connection is closed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use sqlx::{
    ConnectOptions, Connection, PgConnection,
    postgres::{PgConnectOptions, PgRow},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use super::{Statement, commit_error, not_committed};
use crate::StoreError;

/// Longest wait for an answer, the time in line included: then the database is taken for unreachable.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A connection that was used so recently is taken to be alive.
const IDLE_UNCHECKED: Duration = Duration::from_millis(100);
/// Work that may wait in line for one connection.
const WAITING_MAX: usize = 256;

type Job = Box<dyn for<'c> FnOnce(&'c mut Connected) -> BoxFuture<'c, ()> + Send>;

/// See the module.
#[derive(Debug)]
pub(super) struct Owned {
    connect: PgConnectOptions,
    task: Mutex<Option<Task>>,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Task {
    jobs: mpsc::Sender<Job>,
    handle: JoinHandle<()>,
}

/// The connection, if it is open.
struct Connected {
    connect: PgConnectOptions,
    connection: Option<PgConnection>,
    used: Instant,
}

impl Owned {
    /// Connects when first used.
    pub(super) fn new(connect: PgConnectOptions) -> Self {
        Self { connect, task: Mutex::new(None), closed: AtomicBool::new(false) }
    }

    /// Runs one transaction.
    pub(super) async fn transact<T, E>(
        &self,
        body: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.call(|reply| {
            Box::new(move |connected| {
                Box::pin(async move {
                    // The caller may be gone; the transaction happened or not all the same.
                    let _ = reply.send(connected.transaction(body).await);
                })
            })
        })
        .await
    }

    /// Runs work that is a transaction of its own, of one statement: an error that the server did not report itself leaves
    /// its outcome open.
    pub(super) async fn run_alone<T: Send + 'static>(
        &self,
        body: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call(|reply| {
            Box::new(move |connected| {
                Box::pin(async move {
                    let done = match connected.live().await {
                        Ok(connection) => body(connection).await,
                        Err(error) => Err(error),
                    };
                    connected.settle(&done);
                    let _ = reply.send(done);
                })
            })
        })
        .await
    }

    /// Runs a statement that only reads, begun after this call: whatever goes wrong, nothing happened.
    pub(super) async fn read(&self, statement: Statement) -> Result<Vec<PgRow>, StoreError> {
        let rows = self.run_alone(move |connection| {
            Box::pin(async move { statement.fetch_all(connection).await.map_err(not_committed) })
        });
        rows.await.map_err(|error| match error {
            StoreError::Unknown(source) => StoreError::NotCommitted(source),
            other => other,
        })
    }

    async fn call<T, E>(&self, job: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Job) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + CALL_MAX;
        let jobs = self.jobs().ok_or_else(|| StoreError::NotCommitted("the metadata store is closed".into()))?;
        match tokio::time::timeout_at(deadline, jobs.send(job(reply))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(StoreError::NotCommitted("the connection's task ended".into()).into()),
            Err(_) => return Err(StoreError::NotCommitted("the metadata database is too slow".into()).into()),
        }
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Unknown("the connection was given up".into()).into()),
            Err(_) => {
                self.abandon(&jobs);
                Err(StoreError::Unknown("the metadata database does not answer".into()).into())
            }
        }
    }

    /// The way to the task, which is started if there is none.
    fn jobs(&self) -> Option<mpsc::Sender<Job>> {
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        let mut task = self.task.lock();
        if let Some(running) = task.as_ref().filter(|running| !running.handle.is_finished()) {
            return Some(running.jobs.clone());
        }
        let (jobs, queue) = mpsc::channel(WAITING_MAX);
        let connected = Connected { connect: self.connect.clone(), connection: None, used: Instant::now() };
        *task = Some(Task { jobs: jobs.clone(), handle: tokio::spawn(connected.run(queue)) });
        Some(jobs)
    }

    /// Ends the task that this way leads to, and drops its connection in whatever state it is.
    fn abandon(&self, jobs: &mpsc::Sender<Job>) {
        let mut task = self.task.lock();
        if let Some(stuck) = task.take_if(|task| task.jobs.same_channel(jobs)) {
            tracing::warn!("a connection to the metadata database does not answer; giving it up");
            stuck.handle.abort();
        }
    }

    /// Finishes what is in line and closes the connection.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let task = self.task.lock().take();
        if let Some(Task { jobs, handle }) = task {
            drop(jobs);
            if let Err(error) = handle.await
                && error.is_panic()
            {
                tracing::error!(%error, "a task of the metadata store ended abnormally");
            }
        }
    }
}

impl Connected {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(job) = queue.recv().await {
            job(&mut self).await;
        }
        if let Some(connection) = self.connection {
            let _ = connection.close().await;
        }
    }

    async fn get(&mut self) -> Result<&mut PgConnection, StoreError> {
        if self.connection.is_none() {
            let connecting = tokio::time::timeout(CONNECT_MAX, self.connect.connect()).await;
            let connected = connecting.map_err(|_| StoreError::NotCommitted("no connection in time".into()))?;
            self.connection = Some(connected.map_err(not_committed)?);
        }
        self.connection.as_mut().ok_or_else(|| StoreError::NotCommitted("no connection".into()))
    }

    /// A connection that answers, or answered a moment ago: one that stood idle may have ended without a word.
    async fn live(&mut self) -> Result<&mut PgConnection, StoreError> {
        let now = Instant::now();
        let is_idle = now.duration_since(self.used) > IDLE_UNCHECKED;
        self.used = now;
        if let Some(connection) = self.connection.as_mut().filter(|_| is_idle)
            && connection.ping().await.is_err()
        {
            self.connection = None;
        }
        self.get().await
    }

    async fn transaction<T, E: From<StoreError>>(
        &mut self,
        body: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, E>>,
    ) -> Result<T, E> {
        let connection = self.live().await?;
        if let Err(error) = sqlx::raw_sql("BEGIN").execute(&mut *connection).await {
            self.connection = None;
            return Err(not_committed(error).into());
        }
        match body(connection).await {
            Ok(value) => {
                let committed = sqlx::raw_sql("COMMIT").execute(connection).await.map(|_| ()).map_err(commit_error);
                self.settle(&committed);
                committed?;
                Ok(value)
            }
            Err(error) => {
                // A connection that cannot roll back is of no use; closing it rolls back too.
                if sqlx::raw_sql("ROLLBACK").execute(connection).await.is_err() {
                    self.connection = None;
                }
                Err(error)
            }
        }
    }

    /// After an error but a fence the connection goes.
    fn settle<T>(&mut self, outcome: &Result<T, StoreError>) {
        if !matches!(outcome, Ok(_) | Err(StoreError::Fenced)) {
            self.connection = None;
        }
    }
}
