//! The broker: what both gateways hold.

use std::sync::Arc;

use metadata::MetadataStore;
use opendal::Operator;
use segment::{LeaderEpoch, Offset, OrganizationId, PartitionIndex, ProducerEpoch, ProducerId, TopicId};

use crate::{
    AppendError, AppendRequest, BrokerSettings, Cluster, ConfigEntry, CreateTopic, FetchRequest, FetchedPartition,
    ListOffsetsPartition, ListedOffset, MemoryBudget, Metrics, OffsetError, PartitionView, PendingAppend, Topic,
    TopicError,
};

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Metadata failed.
    #[error("metadata: {0}")]
    Metadata(#[from] metadata::StoreError),
    /// The object store failed.
    #[error("object store: {0}")]
    Store(String),
    /// The bucket belongs to another cluster.
    #[error("{0}")]
    WrongDatabase(String),
}

/// One agent's broker. Cheap to clone.
#[derive(Clone)]
pub struct Broker {}

#[expect(clippy::todo, clippy::unused_async, unused_variables, reason = "skeleton")]
impl Broker {
    /// Opens a session, checks that bucket and database belong together, loads the catalogue and acquires leases.
    pub async fn start(
        settings: BrokerSettings,
        metadata: Arc<dyn MetadataStore>,
        store: Operator,
        metrics: Arc<Metrics>,
        seed: u64,
    ) -> Result<Self, StartError> {
        todo!()
    }
    /// Instruments.
    pub fn metrics(&self) -> &Metrics {
        todo!()
    }
    /// The budget from which gateways take request bytes before they read them.
    pub fn budget(&self) -> &MemoryBudget {
        todo!()
    }
    /// The cluster as it is now.
    pub fn cluster(&self) -> Arc<Cluster> {
        todo!()
    }
    /// The organization of that name (`default` exists); `None` if unknown.
    pub fn organization(&self, name: &str) -> Option<OrganizationId> {
        todo!()
    }
    /// Whether Metadata may create topics.
    pub fn auto_create_topics(&self) -> bool {
        todo!()
    }
    /// A topic by name.
    pub fn topic(&self, organization: OrganizationId, name: &str) -> Option<Arc<Topic>> {
        todo!()
    }
    /// A topic by id.
    pub fn topic_by_id(&self, organization: OrganizationId, topic_id: TopicId) -> Option<Arc<Topic>> {
        todo!()
    }
    /// All topics of a tenant, by name.
    pub fn topics(&self, organization: OrganizationId) -> Vec<Arc<Topic>> {
        todo!()
    }
    /// The partitions of a topic, by index.
    pub fn partitions(&self, topic: &Topic) -> Vec<PartitionView> {
        todo!()
    }
    /// Creates a topic; usable (leased) when it returns. With `validate_only` the topic returned does not exist.
    pub async fn create_topic(&self, request: CreateTopic) -> Result<Arc<Topic>, TopicError> {
        todo!()
    }
    /// Deletes a topic.
    pub async fn delete_topic(&self, organization: OrganizationId, topic_id: TopicId) -> Result<(), TopicError> {
        todo!()
    }
    /// Raises a topic's partition count to `total`.
    pub async fn create_partitions(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        total: i32,
        validate_only: bool,
    ) -> Result<(), TopicError> {
        todo!()
    }
    /// All configs of a topic, by name.
    pub fn topic_configs(&self, topic: &Topic) -> Vec<ConfigEntry> {
        todo!()
    }
    /// All configs of this agent as a Kafka broker, by name.
    pub fn broker_configs(&self) -> Vec<ConfigEntry> {
        todo!()
    }
    /// Gives a batch its place in line. Calls for one partition get offsets in the order in which they return.
    pub async fn append(&self, request: AppendRequest) -> Result<PendingAppend, AppendError> {
        todo!()
    }
    /// Reads; answers are in request order.
    pub async fn fetch(&self, request: FetchRequest) -> Vec<FetchedPartition> {
        todo!()
    }
    /// Looks offsets up; answers are in request order.
    pub async fn list_offsets(
        &self,
        organization: OrganizationId,
        partitions: Vec<ListOffsetsPartition>,
    ) -> Vec<Result<ListedOffset, OffsetError>> {
        todo!()
    }
    /// `(largest epoch ≤ asked, its end offset)`; `(-1, -1)` for a future epoch.
    pub async fn offset_for_leader_epoch(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        partition: PartitionIndex,
        current_leader_epoch: Option<LeaderEpoch>,
        leader_epoch: LeaderEpoch,
    ) -> Result<(LeaderEpoch, Offset), OffsetError> {
        todo!()
    }
    /// A producer id nobody has; epoch 0.
    pub async fn init_producer_id(&self) -> Result<(ProducerId, ProducerEpoch), AppendError> {
        todo!()
    }
    /// Whether this id was ever given out and the epoch is not older than any this agent has seen for it.
    pub fn producer_is_valid(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        todo!()
    }
    /// `Ok` when ready, else why not (for `/ready`).
    pub async fn readiness(&self) -> Result<(), String> {
        todo!()
    }
    /// Returns when this agent's session was fenced: the process should exit with an error.
    pub async fn fenced(&self) {
        todo!()
    }
    /// Stops admitting, flushes what is in line, closes the session. Bounded by the caller.
    pub async fn drain(&self) {
        todo!()
    }
}
