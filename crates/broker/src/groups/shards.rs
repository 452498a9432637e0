//! Which coordinators run here: one task for each partition of `__consumer_offsets` that this agent leads.
//!
//! A coordinator begins when its lease is taken, or with the first question if that is earlier, and ends when the lease
//! goes or comes under another epoch. One without groups is a task that waits and nothing more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metadata::MetadataStore;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use segment::{LeaderEpoch, OrganizationId, PartitionKey};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::api::GroupError;
use super::confirmation::Confirmation;
use super::effects::Reply;
use super::journal::Journal;
use super::registry::{Request, Surroundings};
use super::shard::{Command, Shard};
use crate::catalog::Catalog;
use crate::metrics::Metrics;
use crate::session::SessionStatus;
use crate::session::coordinator::RoundRequest;
use crate::session::view::ClusterView;
use crate::shared::Shared;
use crate::topics::OFFSETS_TOPIC;
use crate::writer::pool::WriterPool;

/// Requests that wait for one coordinator; who comes later waits at its connection.
const COMMANDS_MAX: usize = 256;
/// How often offsets are looked for that expired: Kafka's `offsets.retention.check.interval.ms`.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

/// The tasks behind [`Shards`]: journal, confirmations, and who watches the leases.
pub(crate) type GroupTasks = [JoinHandle<()>; 3];

/// See the module.
pub(crate) struct Shards {
    metadata: Arc<dyn MetadataStore>,
    status: Arc<SessionStatus>,
    catalog: Arc<Catalog>,
    view: Arc<ClusterView>,
    pool: Arc<WriterPool>,
    journal: Journal,
    pub(crate) confirmation: Confirmation,
    surroundings: Surroundings,
    metrics: Arc<Metrics>,
    /// For a catalogue that is up to date.
    rounds: mpsc::Sender<RoundRequest>,
    running: Mutex<BTreeMap<PartitionKey, Running>>,
    is_closed: AtomicBool,
}

/// The way to a coordinator.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) leader_epoch: LeaderEpoch,
    commands: mpsc::Sender<Command>,
}

impl Shards {
    /// Begins what coordinators need, and the coordinators of what is led already.
    pub(crate) fn start(shared: &Shared, rounds: mpsc::Sender<RoundRequest>, rng: StdRng) -> (Arc<Self>, GroupTasks) {
        let (metadata, status) = (&shared.metadata, &shared.status);
        let (journal, journal_task) = Journal::new(Arc::clone(metadata), Arc::clone(status));
        let (confirmation, confirmation_task) = Confirmation::new(Arc::clone(metadata), Arc::clone(status));
        let surroundings = Surroundings {
            settings: Arc::new(shared.settings.groups),
            catalog: Arc::clone(&shared.catalog),
            clock: Arc::clone(&shared.clock),
            rng: Arc::new(Mutex::new(rng)),
            tally: Arc::clone(shared.metrics.groups()),
        };
        let shards = Arc::new(Self {
            metadata: Arc::clone(metadata),
            status: Arc::clone(status),
            catalog: Arc::clone(&shared.catalog),
            view: Arc::clone(&shared.view),
            pool: Arc::clone(&shared.pool),
            journal,
            confirmation,
            surroundings,
            metrics: Arc::clone(&shared.metrics),
            rounds,
            running: Mutex::default(),
            is_closed: AtomicBool::new(false),
        });
        let watch = tokio::spawn(Arc::clone(&shards).run());
        let tasks = [tokio::spawn(journal_task.run()), tokio::spawn(confirmation_task.run()), watch];
        (shards, tasks)
    }

    /// Begins and ends coordinators as leases come and go, until the task is aborted.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut changes = self.view.subscribe();
        let mut sweep = tokio::time::interval_at(Instant::now() + SWEEP_INTERVAL, SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.reconcile();
            tokio::select! {
                biased; // in a fixed order, so that a simulation repeats
                _ = sweep.tick() => self.sweep().await,
                () = changes.changed() => {}
            }
        }
    }

    /// The coordinator of a partition, begun if need be; `None` if this agent does not lead it.
    pub(crate) fn of(&self, key: PartitionKey) -> Option<Running> {
        let leader_epoch = self.led(key)?;
        let mut running = self.running.lock();
        // Under the lock: `close` sets it first.
        if self.is_closed.load(Ordering::Acquire) {
            return None;
        }
        if let Some(found) = running.get(&key).filter(|found| found.serves(leader_epoch)) {
            return Some(found.clone());
        }
        let begun = self.begin(key, leader_epoch);
        running.insert(key, begun.clone());
        Some(begun)
    }

    /// All coordinators of a tenant that run here, by partition.
    pub(crate) fn all(&self, organization: OrganizationId) -> Vec<Running> {
        self.reconcile();
        let running = self.running.lock();
        running.iter().filter(|(key, _)| key.organization == organization).map(|(_, found)| found.clone()).collect()
    }

    /// Ends all, for good.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.running.lock().clear();
    }

    fn reconcile(&self) {
        self.running.lock().retain(|key, running| self.led(*key) == Some(running.leader_epoch));
        for topic in self.catalog.named(OFFSETS_TOPIC) {
            for partition in 0..topic.partition_count {
                self.of(PartitionKey { organization: topic.organization, topic_id: topic.topic_id, partition });
            }
        }
    }

    /// The epoch under which this agent leads a partition, as far as it knows.
    fn led(&self, key: PartitionKey) -> Option<LeaderEpoch> {
        let leader_epoch = self.pool.partition(key.topic_id, key.partition)?.state.lock().leader_epoch();
        (leader_epoch >= self.view.lease(key.topic_id, key.partition).leader_epoch).then_some(leader_epoch)
    }

    fn begin(&self, key: PartitionKey, leader_epoch: LeaderEpoch) -> Running {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let shard = Shard {
            key,
            leader_epoch,
            metadata: Arc::clone(&self.metadata),
            status: Arc::clone(&self.status),
            journal: self.journal.clone(),
            surroundings: self.surroundings.clone(),
            metrics: Arc::clone(&self.metrics),
            commands: received,
        };
        tokio::spawn(shard.run());
        Running { leader_epoch, commands }
    }

    /// Has what expired forgotten. What is not in a catalogue that was read anew after a coordinator loaded is deleted.
    async fn sweep(&self) {
        let running: Vec<Running> = self.running.lock().values().cloned().collect();
        let (done, ended) = oneshot::channel();
        if self.rounds.send(done).await.is_err() || ended.await.is_err() || !self.status.is_metadata_up() {
            return;
        }
        for shard in running {
            // One that is busy is swept next time.
            let _ = shard.commands.try_send(Command::Sweep);
        }
    }
}

impl Running {
    /// Asks, and waits for the answer however long it takes. Who waits does not keep the coordinator alive.
    pub(crate) async fn ask(self, request: Request) -> Result<Reply, GroupError> {
        let (to, answer) = oneshot::channel();
        let gone = |_| GroupError::NotCoordinator;
        self.commands.send(Command::Ask(Box::new(request), to)).await.map_err(gone)?;
        drop(self);
        answer.await.unwrap_or(Err(GroupError::NotCoordinator))
    }

    fn serves(&self, leader_epoch: LeaderEpoch) -> bool {
        self.leader_epoch == leader_epoch && !self.commands.is_closed()
    }
}
