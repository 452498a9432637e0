//! Topics as the gateways see them, and what can be done to them.

use std::collections::BTreeMap;

use segment::{LeaderEpoch, OrganizationId, PartitionIndex, TopicId};

/// A topic of the catalogue.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its tenant.
    pub organization: OrganizationId,
    /// Its id.
    pub topic_id: TopicId,
    /// Its name.
    pub name: String,
    /// Number of partitions.
    pub partition_count: i32,
    /// As the creator asked.
    pub replication_factor: i16,
    /// The configs that were set on it.
    pub configs: BTreeMap<String, String>,
}

impl Topic {
    /// Kafka's internal flag: `__consumer_offsets` and `__transaction_state`.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(self.name.as_str(), "__consumer_offsets" | "__transaction_state")
    }
}

/// A partition as Metadata shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Its index.
    pub partition: PartitionIndex,
    /// Node id of the lease holder; `None` = LEADER_NOT_AVAILABLE (5), leader id -1.
    pub leader: Option<i32>,
    /// Its leader epoch, -1 before the first lease.
    pub leader_epoch: LeaderEpoch,
    /// The leader, then the next live agents, up to the replication factor; is the ISR too.
    pub replicas: Vec<i32>,
}

/// CreateTopics, one topic.
#[derive(Clone, Debug)]
pub struct CreateTopic {
    /// The tenant.
    pub organization: OrganizationId,
    /// The name.
    pub name: String,
    /// -1 = the default (`num.partitions`).
    pub partition_count: i32,
    /// -1 = the default (1). Any positive number is accepted and stored.
    pub replication_factor: i16,
    /// Configs; a `None` value is refused as Kafka does.
    pub configs: Vec<(String, Option<String>)>,
    /// Check all, change nothing.
    pub validate_only: bool,
}

/// Why a topic was not created, changed, deleted or found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Kafka 17.
    #[error("invalid topic name: {0}")]
    InvalidName(String),
    /// Kafka 36.
    #[error("topic '{0}' already exists")]
    AlreadyExists(String),
    /// Kafka 37.
    #[error("{0}")]
    InvalidPartitions(String),
    /// Kafka 38.
    #[error("{0}")]
    InvalidReplicationFactor(String),
    /// Kafka 40.
    #[error("{0}")]
    InvalidConfig(String),
    /// Kafka 3, or 100 by id.
    #[error("unknown topic")]
    Unknown,
    /// Metadata is away: Kafka 7 (REQUEST_TIMED_OUT), gRPC UNAVAILABLE.
    #[error("metadata store unavailable: {0}")]
    Unavailable(String),
}

/// Kafka's config types (DescribeConfigs 3+): the discriminants are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own names")]
#[repr(i8)]
pub enum ConfigType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// Where a config's value comes from: the discriminants are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own names")]
#[repr(i8)]
pub enum ConfigSource {
    TopicConfig = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
}

/// One config as DescribeConfigs answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Its type.
    pub config_type: ConfigType,
    /// Whether it cannot be altered.
    pub read_only: bool,
    /// Whether the value must not be shown.
    pub sensitive: bool,
    /// What it means.
    pub documentation: String,
    /// Where a value could come from, most specific first.
    pub synonyms: Vec<ConfigSynonym>,
}

/// One possible source of a config's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The name there (a broker's differs from the topic's).
    pub name: String,
    /// The value there.
    pub value: Option<String>,
    /// Which source.
    pub source: ConfigSource,
}
