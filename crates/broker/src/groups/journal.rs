//! Writes what the coordinators of this agent decide: while one transaction is under way, the next gathers.
//!
//! A shard has one write under way, so that its sequence holds; the journal puts the writes of all shards that wait into one
//! call. It runs in a task of its own, which owns its calls. A call that definitely did not happen is repeated for a while;
//! everything else that is not a yes is for the shard to find out, by loading its rows again.

use std::sync::Arc;
use std::time::Duration;

use metadata::{
    COORDINATOR_CHANGES_MAX, CoordinatorChange, CoordinatorOutcome, CoordinatorWrite, MetadataStore, StoreError,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::line::WRITE_BYTES_MAX;
use crate::session::SessionStatus;

/// Writes that may wait; a shard has one at most.
const QUEUE_MAX: usize = 1_024;
/// How long a write that did not happen is repeated. Clients wait for 5 s or more.
const PATIENCE: Duration = Duration::from_secs(4);
/// Pause before the first repetition; doubled each time.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// The longest of those pauses.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

/// What became of a shard's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is durable.
    Durable,
    /// It did not happen, or nobody knows: what the shard remembers may not be what is durable.
    Lost,
}

/// A write, and who waits for it.
#[derive(Debug)]
struct Entry {
    write: CoordinatorWrite,
    done: oneshot::Sender<Written>,
}

/// The way to the journal. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Journal(mpsc::Sender<Entry>);

impl Journal {
    /// A journal, and what is to be run as a task.
    pub(crate) fn new(metadata: Arc<dyn MetadataStore>, status: Arc<SessionStatus>) -> (Self, JournalTask) {
        let (sender, entries) = mpsc::channel(QUEUE_MAX);
        (Self(sender), JournalTask { metadata, status, entries, next: None })
    }

    /// Writes at most [`COORDINATOR_CHANGES_MAX`] changes. The write goes on when this is dropped.
    pub(crate) async fn write(&self, write: CoordinatorWrite) -> Written {
        debug_assert!(write.changes.len() <= COORDINATOR_CHANGES_MAX, "a write of a shard fits one call");
        let (done, written) = oneshot::channel();
        match self.0.send(Entry { write, done }).await {
            Ok(()) => written.await.unwrap_or(Written::Lost),
            Err(_) => Written::Lost,
        }
    }
}

/// See the module.
pub(crate) struct JournalTask {
    metadata: Arc<dyn MetadataStore>,
    status: Arc<SessionStatus>,
    entries: mpsc::Receiver<Entry>,
    /// One that the last call had no room for.
    next: Option<Entry>,
}

impl JournalTask {
    /// Runs until nobody can write any more.
    pub(crate) async fn run(mut self) {
        while let Some((writes, waiting)) = self.gather().await {
            let outcomes = self.write(&writes).await;
            let mut outcomes = outcomes.into_iter();
            for done in waiting {
                let written = match outcomes.next() {
                    Some(CoordinatorOutcome::Written) => Written::Durable,
                    Some(CoordinatorOutcome::NotLeader | CoordinatorOutcome::SequenceMismatch) | None => Written::Lost,
                };
                let _ = done.send(written);
            }
        }
    }

    /// What waits now, as far as one call takes it.
    async fn gather(&mut self) -> Option<(Vec<CoordinatorWrite>, Vec<oneshot::Sender<Written>>)> {
        let first = match self.next.take() {
            Some(entry) => entry,
            None => self.entries.recv().await?,
        };
        let bytes_of = |write: &CoordinatorWrite| write.changes.iter().map(CoordinatorChange::bytes).sum::<usize>();
        let (mut changes, mut bytes) = (first.write.changes.len(), bytes_of(&first.write));
        let (mut writes, mut waiting) = (vec![first.write], vec![first.done]);
        while let Ok(entry) = self.entries.try_recv() {
            changes += entry.write.changes.len();
            bytes += bytes_of(&entry.write);
            // Of two of one partition (its shard began anew) the later one is for the next call.
            let is_second = writes.iter().any(|write| write.partition == entry.write.partition);
            if is_second || changes > COORDINATOR_CHANGES_MAX || bytes > WRITE_BYTES_MAX {
                self.next = Some(entry);
                break;
            }
            writes.push(entry.write);
            waiting.push(entry.done);
        }
        Some((writes, waiting))
    }

    /// The outcomes; none if the call failed.
    async fn write(&self, writes: &[CoordinatorWrite]) -> Vec<CoordinatorOutcome> {
        let give_up = Instant::now() + PATIENCE;
        let mut pause = RETRY_PAUSE;
        loop {
            if self.status.is_fenced() {
                return Vec::new();
            }
            match self.metadata.write_coordinators(self.status.session(), writes).await {
                Ok(outcomes) => return outcomes,
                Err(StoreError::NotCommitted(_)) if Instant::now() + pause < give_up => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
                Err(error) => {
                    self.status.failed("coordinators' journal", &error);
                    return Vec::new();
                }
            }
        }
    }
}
