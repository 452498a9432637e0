//! The broker: what both gateways hold. It wires session, catalogue, writer pool, lane and readers together.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use metadata::{MetadataStore, Registration, StoreError};
use opendal::Operator;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use segment::{LeaderEpoch, Offset, OrganizationId, PartitionKey, ProducerEpoch, ProducerId, TimestampMs, TopicId};
use tokio::task::JoinHandle;

use crate::append::AppendError;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::cluster::{Agent, Cluster};
use crate::memory_budget::MemoryBudget;
use crate::metrics::Metrics;
use crate::producer_ids::ProducerIds;
use crate::reader::cold::ColdReader;
use crate::reader::tail::TailBudget;
use crate::session::{Keeper, SessionStatus, bucket};
use crate::settings::BrokerSettings;
use crate::topic_config;
use crate::topics::ConfigEntry;
use crate::writer::batch_check::BatchCheck;
use crate::writer::flush::{self, Lane};
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
    settings: BrokerSettings,
    metadata: Arc<dyn MetadataStore>,
    store: Operator,
    metrics: Arc<Metrics>,
    budget: MemoryBudget,
    cluster: Arc<Cluster>,
    catalog: Arc<Catalog>,
    pool: Arc<WriterPool>,
    clock: Arc<Clock>,
    status: Arc<SessionStatus>,
    batch_check: BatchCheck,
    cold: ColdReader,
    producer_ids: ProducerIds,
    admin: tokio::sync::Mutex<()>,
    rng: Mutex<StdRng>,
    tasks: Mutex<Option<Tasks>>,
    /// Highest committed lane sequence, shared with the lane.
    committed_through: Arc<AtomicI64>,
}

struct Tasks {
    lane: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(tasks) = self.tasks.lock().take() {
            tasks.keeper.abort();
            self.pool.start_draining();
        }
    }
}

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
        let mut rng = StdRng::seed_from_u64(seed);
        let cluster = metadata.cluster().await?;
        bucket::check_cluster(&store, &cluster).await?;
        let older_notes = bucket::check_progress(&store, &metadata.last_segments().await?).await?;
        let registration = registration(&settings);
        let opened = metadata.open_session(&registration).await?;
        let lane_rng = StdRng::from_rng(&mut rng);
        let identity =
            LaneIdentity { cluster_id: cluster.cluster_id, session: opened.session, next_sequence: 0, rng: lane_rng };
        let catalog = Arc::new(Catalog::default());
        for row in metadata.list_topics().await? {
            catalog.put(row);
        }
        let pool = Arc::new(WriterPool::new(settings.flush_bytes));
        let status = Arc::new(SessionStatus::new(opened.session));
        let clock = Arc::new(Clock::new(settings.time_source, opened.database_time));
        let tail = Arc::new(TailBudget::new(settings.memory_bytes / 8, Arc::clone(&metrics)));
        let committed_through = Arc::new(AtomicI64::new(-1));
        let lane = Arc::new(Lane {
            pool: Arc::clone(&pool),
            metadata: Arc::clone(&metadata),
            store: store.clone(),
            tail,
            status: Arc::clone(&status),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            settings: settings.clone(),
            uploads_in_flight: AtomicUsize::new(0),
            committed_through: Arc::clone(&committed_through),
            stop_passes: AtomicUsize::new(0),
        });
        let keeper = Keeper {
            metadata: Arc::clone(&metadata),
            store: store.clone(),
            status: Arc::clone(&status),
            catalog: Arc::clone(&catalog),
            pool: Arc::clone(&pool),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            registration,
            lease_duration: settings.lease_duration,
            heartbeat_interval: settings.heartbeat_interval,
            older_notes,
            committed_through: Arc::clone(&committed_through),
        };
        keeper.acquire_missing().await;
        let tasks = Tasks { lane: tokio::spawn(flush::run(lane, identity)), keeper: tokio::spawn(keeper.run()) };
        let cold = cold_reader(&settings, &metadata, &store, &metrics);
        Ok(Self(Arc::new(Inner {
            budget: MemoryBudget::new(settings.memory_bytes / 2),
            cluster: Arc::new(only_agent(&settings, cluster.cluster_id, opened.node_id)),
            producer_ids: ProducerIds::new(),
            batch_check: BatchCheck::new(),
            admin: tokio::sync::Mutex::new(()),
            rng: Mutex::new(rng),
            tasks: Mutex::new(Some(tasks)),
            settings,
            metadata,
            store,
            metrics,
            catalog,
            pool,
            clock,
            status,
            cold,
            committed_through,
        })))
    }

    /// Instruments.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The budget from which gateways take request bytes before they read them.
    #[must_use]
    pub fn budget(&self) -> &MemoryBudget {
        &self.0.budget
    }

    /// The cluster as it is now.
    #[must_use]
    pub fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.0.cluster)
    }

    /// The organization of that name; `None` if unknown.
    #[must_use]
    pub fn organization(&self, name: &str) -> Option<OrganizationId> {
        (name == "default").then_some(OrganizationId::DEFAULT)
    }

    /// Whether Metadata may create topics.
    #[must_use]
    pub fn auto_create_topics(&self) -> bool {
        self.0.settings.auto_create_topics
    }

    /// The time that is written down: the database's, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> TimestampMs {
        self.0.clock.now()
    }

    /// All configs of this agent as a Kafka broker, by name.
    #[must_use]
    pub fn broker_configs(&self) -> Vec<ConfigEntry> {
        topic_config::describe_broker(&self.0.cluster, &self.0.settings)
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
        if self.0.status.is_fenced() {
            return Err("the session is fenced".to_owned());
        }
        if self.0.pool.is_draining() {
            return Err("draining".to_owned());
        }
        if !self.0.status.is_metadata_up() {
            return Err("the metadata store does not answer".to_owned());
        }
        self.confirm_leases(&[]).await.map_err(|error| format!("the metadata store does not answer: {error}"))?;
        bucket::probe(&self.0.store).await.map_err(|error| format!("the object store does not answer: {error}"))?;
        let missing = self.0.catalog.partition_keys(|key| self.0.pool.partition(key.topic_id, key.partition).is_none());
        if missing.is_empty() { Ok(()) } else { Err(format!("{} lease(s) not held yet", missing.len())) }
    }

    /// Returns when this agent's session was fenced: the process should exit with an error.
    pub async fn fenced(&self) {
        self.0.status.fenced().await;
    }

    /// Stops admitting, flushes what is in line, closes the session, notes the lane's progress. Bounded by the caller.
    pub async fn drain(&self) {
        self.0.pool.start_draining();
        let Some(tasks) = self.0.tasks.lock().take() else { return };
        if tasks.lane.await.is_err() {
            tracing::error!("the lane ended with a panic");
        }
        // Aborted only while it waits or between its steps; what it had sent to metadata runs to its end there.
        tasks.keeper.abort();
        let _ = tasks.keeper.await;
        if let Err(error) = self.metadata().close_session(self.0.status.session()).await {
            tracing::warn!(%error, "the session could not be closed");
        }
        let committed = self.0.committed_through.load(Ordering::Acquire);
        if committed >= 0
            && let Err(error) = bucket::note_progress(&self.0.store, self.0.status.session(), committed).await
        {
            tracing::warn!(%error, "lane progress could not be noted in the bucket");
        }
    }

    pub(crate) fn settings(&self) -> &BrokerSettings {
        &self.0.settings
    }

    pub(crate) fn metadata(&self) -> &dyn MetadataStore {
        &*self.0.metadata
    }

    pub(crate) fn metrics_shared(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    pub(crate) fn pool(&self) -> &WriterPool {
        &self.0.pool
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn status(&self) -> &SessionStatus {
        &self.0.status
    }

    pub(crate) fn batch_check(&self) -> &BatchCheck {
        &self.0.batch_check
    }

    pub(crate) fn cold(&self) -> &ColdReader {
        &self.0.cold
    }

    pub(crate) fn admin_lock(&self) -> &tokio::sync::Mutex<()> {
        &self.0.admin
    }

    /// A metadata read begun now that says which of these leases this session holds, and under which epoch.
    pub(crate) async fn confirm_leases(&self, keys: &[PartitionKey]) -> Result<Vec<Option<LeaderEpoch>>, StoreError> {
        self.metadata().confirm_leases(self.0.status.session(), keys).await
    }

    pub(crate) async fn leader_epochs(&self, key: PartitionKey) -> Result<Vec<(LeaderEpoch, Offset)>, StoreError> {
        self.metadata().leader_epochs(key.organization, key.topic_id, key.partition).await
    }

    /// A random (version 4) topic id.
    pub(crate) fn random_topic_id(&self) -> TopicId {
        TopicId(uuid::Builder::from_random_bytes(self.0.rng.lock().random()).into_uuid())
    }
}

fn cold_reader(
    settings: &BrokerSettings,
    metadata: &Arc<dyn MetadataStore>,
    store: &Operator,
    metrics: &Arc<Metrics>,
) -> ColdReader {
    let answers = MemoryBudget::new(settings.memory_bytes / 8);
    let cache_bytes = settings.memory_bytes / 16;
    ColdReader::new(Arc::clone(metadata), store.clone(), Arc::clone(metrics), cache_bytes, answers)
}

fn registration(settings: &BrokerSettings) -> Registration {
    Registration {
        agent_id: settings.agent_id.clone(),
        group: settings.group.clone(),
        zone: settings.zone.clone(),
        managed_topics: settings.managed_topics.clone(),
        kafka_address: settings.kafka_address.clone(),
        grpc_address: settings.grpc_address.clone(),
    }
}

/// With SQLite exactly one agent lives.
fn only_agent(settings: &BrokerSettings, cluster_id: uuid::Uuid, node_id: i32) -> Cluster {
    let agent = Agent {
        node_id,
        kafka_address: settings.kafka_address.clone(),
        grpc_address: settings.grpc_address.clone(),
        zone: settings.zone.clone(),
    };
    Cluster { cluster_id, node_id, controller_id: node_id, agents: vec![agent] }
}
