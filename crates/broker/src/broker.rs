//! The broker: what both gateways hold. It wires session, catalogue, writer pool, lane and readers together.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metadata::{MetadataStore, StoreError};
use opendal::Operator;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use segment::{
    LeaderEpoch, Offset, OrganizationId, PartitionIndex, PartitionKey, ProducerEpoch, ProducerId, SessionId,
    TimestampMs, TopicId,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::append::AppendError;
use crate::cache::DiskCache;
use crate::catalog::Catalog;
use crate::change_count::ChangesSeen;
use crate::clock::Clock;
use crate::cluster::{Agent, Cluster};
use crate::groups::shards::{GroupTasks, Shards};
use crate::memory_budget::MemoryBudget;
use crate::metrics::Metrics;
use crate::producer_ids::ProducerIds;
use crate::reader::cold::ColdReader;
use crate::replica::Replicas;
use crate::seeded_bugs::SeededBug;
use crate::session::bucket;
use crate::session::coordinator::RoundRequest;
use crate::session::hand_over::has_to_give;
use crate::session::view::ClusterView;
use crate::settings::BrokerSettings;
use crate::shared::{self, Shared};
use crate::topic_config;
use crate::topics::{ConfigEntry, Topic};
use crate::writer::batch_check::BatchCheck;
use crate::writer::flush;
use crate::writer::partition::Partition;
use crate::writer::pool::WriterPool;
use crate::writer::segment_plan::LaneIdentity;

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Metadata failed.
    #[error("metadata: {0}")]
    Metadata(#[from] StoreError),
    /// The object store failed.
    #[error("object store: {0}")]
    Store(String),
    /// The bucket belongs to another cluster, or the database is older than the bucket.
    #[error("{0}")]
    WrongDatabase(String),
}

/// One agent's broker. Cheap to clone.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    shared: Shared,
    budget: MemoryBudget,
    rounds: mpsc::Sender<RoundRequest>,
    batch_check: BatchCheck,
    cold: Arc<ColdReader>,
    producer_ids: ProducerIds,
    shards: Arc<Shards>,
    admin: tokio::sync::Mutex<()>,
    rng: Mutex<StdRng>,
    tasks: Mutex<Option<Tasks>>,
}

struct Tasks {
    lane: JoinHandle<()>,
    keeper: JoinHandle<()>,
    coordinator: JoinHandle<()>,
    collector: JoinHandle<()>,
    self_check: JoinHandle<()>,
    /// Retention, rewrite and compaction.
    maintenance: [JoinHandle<()>; 3],
    groups: GroupTasks,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(tasks) = self.tasks.lock().take() {
            tasks.keeper.abort();
            tasks.coordinator.abort();
            tasks.collector.abort();
            tasks.self_check.abort();
            tasks.maintenance.iter().chain(&tasks.groups).for_each(JoinHandle::abort);
            self.shards.close();
            self.shared.pool.start_draining();
        }
    }
}

/// Requests for a round of the coordinator that may wait.
const ROUND_REQUESTS_MAX: usize = 64;
/// How long a suspected agent has to say that it lives.
const SUSPICION: Duration = Duration::from_millis(500);
/// Pause between two looks at how far a hand-over is.
const HAND_OVER_POLL: Duration = Duration::from_millis(20);

impl Broker {
    /// Opens a session, checks that bucket and database belong together, loads the catalogue and acquires leases.
    ///
    /// # Errors
    /// As [`StartError`] says; nothing was changed but the session.
    pub async fn start(
        settings: BrokerSettings,
        metadata: Arc<dyn MetadataStore>,
        store: Operator,
        metrics: Arc<Metrics>,
        seed: u64,
    ) -> Result<Self, StartError> {
        Self::start_with_seeded_bug(settings, metadata, store, metrics, seed, None).await
    }

    /// The same, perhaps with a bug that a test is to see.
    ///
    /// # Errors
    /// As `start`.
    #[doc(hidden)]
    pub async fn start_with_seeded_bug(
        settings: BrokerSettings,
        metadata: Arc<dyn MetadataStore>,
        store: Operator,
        metrics: Arc<Metrics>,
        seed: u64,
        bug: Option<SeededBug>,
    ) -> Result<Self, StartError> {
        let mut rng = StdRng::seed_from_u64(seed);
        let cluster = metadata.cluster().await?;
        bucket::check_cluster(&store, &cluster).await?;
        let older_notes = bucket::check_progress(&store, &*metadata).await?;
        let opened = metadata.open_session(&shared::registration(&settings)).await?;
        let lane_rng = StdRng::from_rng(&mut rng);
        let identity =
            LaneIdentity { cluster_id: cluster.cluster_id, session: opened.session, next_sequence: 0, rng: lane_rng };
        let queue_bytes = settings.memory_bytes / 16;
        let cache = DiskCache::open(settings.cache.as_ref(), cluster.cluster_id, queue_bytes, &metrics).await;
        let mut shared = Shared::new(settings, metadata, store, cache, metrics, cluster.cluster_id, &opened);
        shared.seeded_bug = bug;
        *shared.pool.seeded_bug.lock() = bug;
        let (rounds, requests) = mpsc::channel(ROUND_REQUESTS_MAX);
        let mut coordinator = shared.coordinator(requests);
        coordinator.round().await?;
        let cold = shared.cold_reader();
        let (rewriter, compactor) = shared.rewriting(&cold, &mut rng);
        let rewrites = shared.settings.rewrite_bytes_per_second > 0;
        let (shards, groups) = Shards::start(&shared, rounds.clone(), StdRng::seed_from_u64(!seed));
        let tasks = Tasks {
            groups,
            lane: tokio::spawn(flush::run(shared.lane(), identity)),
            keeper: tokio::spawn(shared.keeper(older_notes).run()),
            coordinator: tokio::spawn(coordinator.run()),
            collector: tokio::spawn(shared.collector().run()),
            self_check: tokio::spawn(shared.self_check().run()),
            maintenance: [
                tokio::spawn(shared.retainer().run()),
                tokio::spawn(async move {
                    if rewrites {
                        rewriter.run().await;
                    }
                }),
                tokio::spawn(async move {
                    if rewrites {
                        compactor.run().await;
                    }
                }),
            ],
        };
        Ok(Self(Arc::new(Inner {
            budget: MemoryBudget::new(shared.settings.memory_bytes / 2),
            cold,
            shared,
            rounds,
            shards,
            producer_ids: ProducerIds::new(),
            batch_check: BatchCheck::new(),
            admin: tokio::sync::Mutex::new(()),
            rng: Mutex::new(rng),
            tasks: Mutex::new(Some(tasks)),
        })))
    }

    /// Instruments.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.shared.metrics
    }

    /// The budget from which gateways take request bytes before they read them.
    #[must_use]
    pub fn budget(&self) -> &MemoryBudget {
        &self.0.budget
    }

    /// The cluster as it is now.
    #[must_use]
    pub fn cluster(&self) -> Arc<Cluster> {
        self.0.shared.view.cluster()
    }

    /// Hears of changes of the cluster, its topics and leases.
    #[must_use]
    pub fn cluster_changes(&self) -> ChangesSeen {
        self.0.shared.view.subscribe()
    }

    /// This agent's session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.0.shared.status.session()
    }

    /// The live agent that leads a partition, with the leader epoch, as far as this one knows.
    #[must_use]
    pub fn partition_leader(&self, topic_id: TopicId, partition: PartitionIndex) -> Option<(Agent, LeaderEpoch)> {
        let (node_id, leader_epoch) = self.holder(topic_id, partition);
        let cluster = self.cluster();
        let agent = cluster.agents.iter().find(|agent| Some(agent.node_id) == node_id)?;
        Some((agent.clone(), leader_epoch))
    }

    /// Somebody saw this session's process gone: its connections ended and its port refuses new ones. It is fenced unless
    /// it says within half a second that it lives. Returns once that is decided, or metadata failed.
    pub async fn peer_vanished(&self, session: SessionId) {
        let Some(seen) = self.0.shared.view.agent(session) else { return };
        tracing::warn!(session = session.0, agent = seen.registration.agent_id, "an agent's process seems to be gone");
        let own = self.0.shared.status.session();
        let fenced = async {
            self.metadata().suspect_session(own, session).await?;
            tokio::time::sleep(SUSPICION).await;
            self.metadata().fence_session(own, session, seen.renewals).await
        };
        match fenced.await {
            Ok(fenced) => tracing::info!(session = session.0, fenced, "outcome of the suspicion"),
            Err(error) => self.0.shared.status.failed("suspicion", &error),
        }
        self.refresh().await;
    }

    /// Takes over what changed in the metadata store until now, as far as it answers.
    pub async fn refresh(&self) {
        let (done, ended) = oneshot::channel();
        if self.0.rounds.send(done).await.is_ok() {
            let _ = ended.await;
        }
    }

    /// The organization of that name; `None` if unknown.
    #[must_use]
    pub fn organization(&self, name: &str) -> Option<OrganizationId> {
        (name == "default").then_some(OrganizationId::DEFAULT)
    }

    /// Whether Metadata may create topics.
    #[must_use]
    pub fn auto_create_topics(&self) -> bool {
        self.0.shared.settings.auto_create_topics
    }

    /// The time that is written down: the database's, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> TimestampMs {
        self.0.shared.clock.now()
    }

    /// All configs of this agent as a Kafka broker, by name.
    #[must_use]
    pub fn broker_configs(&self) -> Vec<ConfigEntry> {
        let factor = self.default_replication_factor();
        topic_config::describe_broker(&self.cluster(), self.settings(), factor)
    }

    /// A producer id nobody has; epoch 0.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`] while metadata is away.
    pub async fn init_producer_id(&self) -> Result<(ProducerId, ProducerEpoch), AppendError> {
        let allocated = self.0.producer_ids.next(self.metadata()).await;
        allocated.map(|id| (id, 0)).map_err(|error| {
            tracing::warn!(%error, "no producer ids to be had");
            AppendError::Unavailable
        })
    }

    /// Whether this id was ever given out, with an epoch it can have.
    pub async fn producer_is_valid(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        epoch >= 0 && producer_id >= 0 && self.0.producer_ids.was_allocated(producer_id, self.metadata()).await
    }

    /// `Ok` when ready, else why not (for `/ready`): session active, stores answer, every lease held.
    ///
    /// # Errors
    /// What is missing, as one line.
    pub async fn readiness(&self) -> Result<(), String> {
        if self.0.shared.status.is_fenced() {
            return Err("the session is fenced".to_owned());
        }
        if self.0.shared.pool.is_draining() {
            return Err("draining".to_owned());
        }
        if !self.0.shared.status.is_metadata_up() {
            return Err("the metadata store does not answer".to_owned());
        }
        if let Some(trouble) = self.0.shared.status.lane_trouble() {
            return Err(trouble.to_owned());
        }
        self.confirm_leases(&[]).await.map_err(|error| format!("the metadata store does not answer: {error}"))?;
        bucket::probe(&self.0.shared.store)
            .await
            .map_err(|error| format!("the object store does not answer: {error}"))?;
        let own = Some(self.0.shared.status.session());
        let not_led = |topic: &Arc<Topic>| {
            let owners = self.0.shared.view.owners(topic).into_iter();
            (0..)
                .zip(owners)
                .filter(|(partition, owner)| *owner == own && self.led(topic.topic_id, *partition).is_none())
                .count()
        };
        let missing: usize = self.0.shared.catalog.topics().iter().map(not_led).sum();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} lease(s) not held yet")) }
    }

    /// Returns when this agent's session was fenced: nothing more can be written, the process should start over.
    pub async fn fenced(&self) {
        self.0.shared.status.fenced().await;
    }

    /// Whether another process runs under this `AGENT_ID`: asked after a fence, while metadata answers.
    pub async fn is_replaced(&self) -> bool {
        // Its own session may still be active: an agent also starts over to be rid of a commit that cannot be resolved.
        let other = |agent: &metadata::AgentRow| {
            agent.registration.agent_id == self.0.shared.settings.agent_id && agent.session != self.session()
        };
        self.metadata().list_agents().await.is_ok_and(|agents| agents.iter().any(other))
    }

    /// Hands all partitions to the other agents that may lead them, while everything goes on being served. Returns when
    /// nobody is left to take any, or at `deadline`.
    pub async fn hand_over(&self, deadline: Instant) {
        let status = &self.0.shared.status;
        status.refuse_leases();
        if let Err(error) = self.metadata().update_registration(status.session(), &status.registration()).await {
            return status.failed("registration", &error);
        }
        while Instant::now() < deadline && !status.is_fenced() {
            self.refresh().await;
            if !has_to_give(self.catalog(), self.view(), self.pool()) {
                break;
            }
            tokio::time::sleep(HAND_OVER_POLL).await;
        }
        // Who waits for a rebalance would wait for longer than this agent lives.
        self.0.shards.close();
    }

    /// Stops admitting, flushes what is in line, closes the session, notes the lane's progress. Bounded by the caller.
    pub async fn drain(&self) {
        self.0.shared.pool.start_draining();
        self.0.shards.close();
        let Some(tasks) = self.0.tasks.lock().take() else { return };
        if tasks.lane.await.is_err() {
            tracing::error!("the lane ended with a panic");
        }
        // What they had sent to metadata runs to its end there.
        let others = [tasks.keeper, tasks.coordinator, tasks.collector, tasks.self_check];
        for task in others.into_iter().chain(tasks.maintenance).chain(tasks.groups) {
            task.abort();
            let _ = task.await;
        }
        if let Err(error) = self.metadata().close_session(self.0.shared.status.session()).await {
            tracing::warn!(%error, "the session could not be closed");
        }
        let committed = self.0.shared.committed_through.load(Ordering::Acquire);
        if committed >= 0
            && let Err(error) =
                bucket::note_progress(&self.0.shared.store, self.0.shared.status.session(), committed).await
        {
            tracing::warn!(%error, "lane progress could not be noted in the bucket");
        }
    }

    pub(crate) fn seeded_bug(&self) -> Option<SeededBug> {
        self.0.shared.seeded_bug
    }

    pub(crate) fn settings(&self) -> &BrokerSettings {
        &self.0.shared.settings
    }

    pub(crate) fn metadata(&self) -> &dyn MetadataStore {
        &*self.0.shared.metadata
    }

    pub(crate) fn metrics_shared(&self) -> &Arc<Metrics> {
        &self.0.shared.metrics
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.0.shared.catalog
    }

    pub(crate) fn pool(&self) -> &WriterPool {
        &self.0.shared.pool
    }

    pub(crate) fn shards(&self) -> &Shards {
        &self.0.shards
    }

    pub(crate) fn replicas(&self) -> &Replicas {
        &self.0.shared.replicas
    }

    pub(crate) fn view(&self) -> &ClusterView {
        &self.0.shared.view
    }

    /// The partition, if this agent leads it. While metadata is away it goes on: what is committed is served, and what comes
    /// waits in line. To refuse it would call a retry of what is in line "not written", and its producer would number anew.
    pub(crate) fn led(&self, topic_id: TopicId, partition: PartitionIndex) -> Option<Arc<Partition>> {
        self.0.shared.pool.partition(topic_id, partition)
    }

    /// Node id and epoch of a partition's leader, for clients.
    pub(crate) fn holder(&self, topic_id: TopicId, partition: PartitionIndex) -> (Option<i32>, LeaderEpoch) {
        let (holder, leader_epoch) = self.0.shared.view.holder(topic_id, partition);
        // This agent names itself only where it really leads: not what it was given and did not take up yet.
        let own = self.0.shared.view.node_id();
        let led = self.led(topic_id, partition).map(|led| led.state.lock().leader_epoch());
        match (holder, led) {
            (_, Some(epoch)) if epoch >= leader_epoch => (Some(own), epoch),
            (Some(node), None) if node == own => (None, leader_epoch),
            (holder, _) => (holder, leader_epoch),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.shared.clock
    }

    pub(crate) fn batch_check(&self) -> &BatchCheck {
        &self.0.batch_check
    }

    pub(crate) fn cold(&self) -> &Arc<ColdReader> {
        &self.0.cold
    }

    pub(crate) fn admin_lock(&self) -> &tokio::sync::Mutex<()> {
        &self.0.admin
    }

    /// A metadata read begun now that says which of these leases this session holds, and under which epoch.
    pub(crate) async fn confirm_leases(&self, keys: &[PartitionKey]) -> Result<Vec<Option<LeaderEpoch>>, StoreError> {
        self.metadata().confirm_leases(self.0.shared.status.session(), keys).await
    }

    pub(crate) async fn leader_epochs(&self, key: PartitionKey) -> Result<Vec<(LeaderEpoch, Offset)>, StoreError> {
        self.metadata().leader_epochs(key.organization, key.topic_id, key.partition).await
    }

    /// A random number above 0, for names that only this process gives out.
    #[must_use]
    pub fn random_id(&self) -> i32 {
        self.0.rng.lock().random_range(1..=i32::MAX)
    }

    /// A random (version 4) topic id.
    pub(crate) fn random_topic_id(&self) -> TopicId {
        TopicId(uuid::Builder::from_random_bytes(self.0.rng.lock().random()).into_uuid())
    }
}
