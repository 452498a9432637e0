//! One coordinator: the task that holds the groups of one partition of `__consumer_offsets` while this agent leads it.
//!
//! It loads the partition's rows, then takes requests one after the other: a request changes the state at once, its answer waits in
//! the [`Line`] until what it rests on is durable. One write is under way at a time, in the journal. When a write is refused, or
//! nobody knows what became of it, everything in line fails, the state is forgotten and loaded again: what metadata says is the
//! truth. The task ends when the lease is not held any more, or when nobody can reach it.

use std::collections::BTreeMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use metadata::{CoordinatorWrite, MetadataStore};
use segment::{LeaderEpoch, PartitionKey};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::api::GroupError;
use super::effects::{Effects, Ticket};
use super::journal::{Journal, Written};
use super::line::{Line, ReplyTo};
use super::registry::{Registry, Request, Surroundings};
use crate::metrics::Metrics;
use crate::session::SessionStatus;

/// Requests taken at a time.
const REQUESTS_AT_ONCE: usize = 256;
/// Rows in one page of the load.
const PAGE_ROWS: u32 = 2_000;
/// Pause before a load that failed begins anew.
const LOAD_RETRY: Duration = Duration::from_millis(200);

/// What a shard is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Somebody asks.
    Ask(Box<Request>, ReplyTo),
    /// It is time to forget offsets that expired, and those of deleted topics; the catalogue was read anew just before.
    Sweep,
}

/// See the module.
pub(crate) struct Shard {
    pub(crate) key: PartitionKey,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) status: Arc<SessionStatus>,
    pub(crate) journal: Journal,
    pub(crate) surroundings: Surroundings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) commands: mpsc::Receiver<Command>,
}

/// Why a shard stopped to serve.
enum End {
    /// Nobody can reach it.
    Unreachable,
    /// What it knows may not be what is durable.
    Lost,
}

/// The rows, and the write sequence they stand for.
struct Loaded {
    sequence: i64,
    registry: Registry,
}

type Writing = Pin<Box<dyn Future<Output = Written> + Send>>;

impl Shard {
    /// Runs until the lease is gone or nobody can reach it.
    pub(crate) async fn run(mut self) {
        while let Some(loaded) = self.load().await {
            match self.serve(loaded).await {
                End::Unreachable => return,
                End::Lost => tracing::info!(partition = self.key.partition, "a coordinator loads its groups again"),
            }
        }
        // Whoever comes meanwhile finds out that nobody listens.
    }

    /// Loads in a task of its own, which owns its reads; who asks meanwhile is told to come again. `None`: there is nothing to
    /// serve any more.
    async fn load(&mut self) -> Option<Loaded> {
        let (done, mut loaded) = oneshot::channel();
        let loader = Loader {
            key: self.key,
            leader_epoch: self.leader_epoch,
            metadata: Arc::clone(&self.metadata),
            status: Arc::clone(&self.status),
            surroundings: self.surroundings.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        tokio::spawn(loader.run(done));
        loop {
            tokio::select! {
                biased; // in a fixed order, so that a simulation repeats
                loaded = &mut loaded => return loaded.ok().flatten(),
                command = self.commands.recv() => match command? {
                    Command::Ask(_, to) => drop(to.send(Err(GroupError::CoordinatorLoadInProgress))),
                    Command::Sweep => {}
                },
            }
        }
    }

    async fn serve(&mut self, loaded: Loaded) -> End {
        let Loaded { mut sequence, registry } = loaded;
        let mut serving = Serving { registry, line: Line::default(), waiting: BTreeMap::new(), next_ticket: 0 };
        let mut writing: Option<Writing> = None;
        let mut commands = Vec::new();
        loop {
            serving.tick(Instant::now());
            if writing.is_none()
                && let Some(changes) = serving.line.take_changes()
            {
                writing = Some(self.write(sequence, changes));
            }
            let deadline = serving.registry.next_deadline();
            // Only waiting is raced here: what is dropped is a wait for the journal, at the end.
            tokio::select! {
                biased; // in a fixed order, so that a simulation repeats
                written = wait_for(&mut writing) => {
                    writing = None;
                    match written {
                        Written::Durable => sequence += 1,
                        Written::Lost => return End::Lost,
                    }
                    serving.line.written();
                }
                count = self.commands.recv_many(&mut commands, REQUESTS_AT_ONCE), if !serving.line.is_full() => {
                    if count == 0 {
                        return End::Unreachable;
                    }
                    commands.drain(..).for_each(|command| serving.take(command));
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            }
        }
    }

    fn write(&self, sequence: i64, changes: Vec<metadata::CoordinatorChange>) -> Writing {
        let write = CoordinatorWrite { partition: self.key, leader_epoch: self.leader_epoch, sequence, changes };
        let journal = self.journal.clone();
        Box::pin(async move { journal.write(write).await })
    }
}

async fn wait_for(writing: &mut Option<Writing>) -> Written {
    match writing {
        Some(writing) => writing.await,
        None => pending().await,
    }
}

/// A shard between two loads. When it is dropped, all who wait learn that it is not their coordinator any more.
struct Serving {
    registry: Registry,
    line: Line,
    /// Who was not answered yet.
    waiting: BTreeMap<Ticket, ReplyTo>,
    next_ticket: u64,
}

impl Serving {
    fn take(&mut self, command: Command) {
        let mut effects = Effects::default();
        match command {
            Command::Ask(request, to) => {
                let ticket = Ticket(self.next_ticket);
                self.next_ticket += 1;
                self.waiting.insert(ticket, to);
                self.registry.ask(Instant::now(), *request, ticket, &mut effects);
            }
            Command::Sweep => self.registry.sweep(Instant::now(), &mut effects),
        }
        self.apply(effects);
    }

    fn tick(&mut self, now: Instant) {
        let mut effects = Effects::default();
        self.registry.tick(now, &mut effects);
        self.apply(effects);
    }

    fn apply(&mut self, effects: Effects) {
        self.line.change(effects.changes);
        for (ticket, reply) in effects.replies {
            if let Some(to) = self.waiting.remove(&ticket) {
                self.line.answer(to, reply);
            }
        }
    }
}

/// Reads a partition's rows.
struct Loader {
    key: PartitionKey,
    leader_epoch: LeaderEpoch,
    metadata: Arc<dyn MetadataStore>,
    status: Arc<SessionStatus>,
    surroundings: Surroundings,
    metrics: Arc<Metrics>,
}

impl Loader {
    /// Tries until it has all, or the lease is not held, or nobody waits for it.
    async fn run(self, done: oneshot::Sender<Option<Loaded>>) {
        while !done.is_closed() && !self.status.is_fenced() {
            match self.load().await {
                Ok(loaded) => {
                    let _ = done.send(loaded);
                    return;
                }
                Err(error) => {
                    self.status.failed("load of groups", &error);
                    tokio::time::sleep(LOAD_RETRY).await;
                }
            }
        }
    }

    /// The write sequence first: a write of ours that lands later makes the next one a mismatch.
    async fn load(&self) -> Result<Option<Loaded>, metadata::StoreError> {
        let (session, begun, mut loaded) = (self.status.session(), Instant::now(), 0);
        let sequence = self.metadata.coordinator_sequence(session, self.key, self.leader_epoch).await?;
        let Some(sequence) = sequence else { return Ok(None) };
        let mut registry = Registry::new(self.key.organization, self.surroundings.clone());
        let mut after = None;
        loop {
            let rows = self.metadata.coordinator_rows(self.key, after.as_ref(), PAGE_ROWS).await?;
            let is_last = rows.len() < PAGE_ROWS as usize;
            after = rows.last().map(|row| row.key.clone());
            loaded += rows.len() as u64;
            for row in rows {
                registry.load(row)?;
            }
            if is_last {
                registry.loaded();
                self.metrics.groups_loaded(begun.elapsed().as_secs_f64(), loaded);
                return Ok(Some(Loaded { sequence, registry }));
            }
            tokio::task::yield_now().await;
        }
    }
}
