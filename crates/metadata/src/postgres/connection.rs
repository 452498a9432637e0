//! A connection that one task owns, and the way to it.
//!
//! Work is sent to the task and runs to its end there, whatever becomes of the caller: dropping a future in the middle of
//! BEGIN has left pooled connections inside stale transactions. A caller that got no answer for [`CALL_MAX`] abandons
//! the task with its connection; the next call starts a new one. After any error the connection is closed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use sqlx::postgres::PgRow;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use super::{Statement, commit_error, connect::Connector, link::Link, not_committed};
use crate::{SeededBug, StoreError};

/// Longest wait for an answer, the time in line included: then the database is taken for unreachable.
const CALL_MAX: Duration = Duration::from_secs(10);
/// A connection that was used so recently is taken to be alive.
const IDLE_UNCHECKED: Duration = Duration::from_millis(100);
/// Work that may wait in line for one connection.
const WAITING_MAX: usize = 256;

type Job = Box<dyn for<'c> FnOnce(&'c mut Connected) -> BoxFuture<'c, ()> + Send>;

/// See the module.
#[derive(Debug)]
pub(super) struct Owned {
    connector: Connector,
    task: Mutex<Option<Task>>,
    closed: AtomicBool,
    /// A connection that callers share, where that bug is seeded.
    shared: Option<tokio::sync::Mutex<Connected>>,
}

#[derive(Debug)]
struct Task {
    jobs: mpsc::Sender<Job>,
    handle: JoinHandle<()>,
}

/// The connection, if it is open.
#[derive(Debug)]
struct Connected {
    connector: Connector,
    link: Option<Link>,
    used: Instant,
}

impl Owned {
    /// Connects when first used.
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, task: Mutex::new(None), closed: AtomicBool::new(false), shared: None }
    }

    /// One with that bug.
    pub(super) fn with_seeded_bug(mut self, bug: SeededBug) -> Self {
        let shared = || tokio::sync::Mutex::new(Connected::new(self.connector.clone()));
        self.shared = (bug == SeededBug::CancelledBegin).then(shared);
        self
    }

    /// Runs one transaction.
    pub(super) async fn transact<T, E>(
        &self,
        body: impl for<'c> FnOnce(&'c mut Link) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
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
        body: impl for<'c> FnOnce(&'c mut Link) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call(|reply| {
            Box::new(move |connected| {
                Box::pin(async move {
                    let _ = reply.send(connected.alone(body).await);
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
        rows.await.map_err(before_commit)
    }

    async fn call<T, E>(&self, job: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Job) -> Result<T, E>
    where
        E: From<StoreError>,
    {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + CALL_MAX;
        if let Some(shared) = &self.shared {
            job(reply)(&mut *shared.lock().await).await;
            return answer.await.unwrap_or_else(|_| Err(StoreError::Unknown("no answer".into()).into()));
        }
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
        let connected = Connected::new(self.connector.clone());
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
    fn new(connector: Connector) -> Self {
        Self { connector, link: None, used: Instant::now() }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(job) = queue.recv().await {
            job(&mut self).await;
        }
        if let Some(link) = self.link {
            link.close().await;
        }
    }

    async fn get(&mut self) -> Result<&mut Link, StoreError> {
        if self.link.is_none() {
            self.link = Some(self.connector.connect().await.map_err(not_committed)?);
        }
        self.begun()
    }

    /// A connection that answers, or answered a moment ago: one that stood idle may have ended without a word.
    async fn live(&mut self) -> Result<&mut Link, StoreError> {
        let now = Instant::now();
        let is_idle = now.duration_since(self.used) > IDLE_UNCHECKED;
        self.used = now;
        if let Some(link) = self.link.as_mut().filter(|_| is_idle)
            && !link.is_alive().await
        {
            self.link = None;
        }
        self.get().await
    }

    async fn transaction<T, E: From<StoreError>>(
        &mut self,
        body: impl for<'c> FnOnce(&'c mut Link) -> BoxFuture<'c, Result<T, E>>,
    ) -> Result<T, E> {
        let done = body(self.begin().await?).await;
        self.conclude(done).await
    }

    /// One statement, which is a transaction of its own where the server is our own. Through a pooler it is put into one, so
    /// nothing that goes wrong before its COMMIT happened.
    async fn alone<T>(
        &mut self,
        body: impl for<'c> FnOnce(&'c mut Link) -> BoxFuture<'c, Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        if self.connector.is_pooled() {
            let done = body(self.begin().await?).await.map_err(before_commit);
            return self.conclude(done).await;
        }
        let done = match self.live().await {
            Ok(link) => body(link).await,
            Err(error) => Err(error),
        };
        self.settle(&done);
        done
    }

    async fn begin(&mut self) -> Result<&mut Link, StoreError> {
        if let Err(error) = self.live().await?.begin().await {
            self.link = None;
            return Err(not_committed(error));
        }
        self.begun()
    }

    /// The connection that is open, on which a transaction was begun; never a new one.
    fn begun(&mut self) -> Result<&mut Link, StoreError> {
        self.link.as_mut().ok_or_else(|| StoreError::NotCommitted("no connection".into()))
    }

    /// Commits what was done, or takes it back.
    async fn conclude<T, E: From<StoreError>>(&mut self, done: Result<T, E>) -> Result<T, E> {
        let link = self.begun()?;
        match done {
            Ok(value) => {
                let committed = link.commit().await.map_err(commit_error);
                self.settle(&committed);
                committed?;
                Ok(value)
            }
            Err(error) => {
                // A connection that cannot roll back is of no use; closing it rolls back too.
                if link.roll_back().await.is_err() {
                    self.link = None;
                }
                Err(error)
            }
        }
    }

    /// After an error but a fence the connection goes.
    fn settle<T>(&mut self, outcome: &Result<T, StoreError>) {
        if !matches!(outcome, Ok(_) | Err(StoreError::Fenced)) {
            self.link = None;
        }
    }
}

/// What an error means where COMMIT was not sent yet, or where there is nothing to commit.
fn before_commit(error: StoreError) -> StoreError {
    match error {
        StoreError::Unknown(source) => StoreError::NotCommitted(source),
        other => other,
    }
}
