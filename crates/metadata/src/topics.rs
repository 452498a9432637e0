//! Topics: creation, deletion, growth, and the catalogue every agent keeps in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use segment::{LeaderEpoch, OrganizationId, PartitionIndex, TimestampMs, TopicId};

use crate::StoreError;

/// A topic as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRow {
    /// Its tenant.
    pub organization: OrganizationId,
    /// Its id, new for each creation of the name.
    pub topic_id: TopicId,
    /// Its name, unique within the organization among topics that are not deleted.
    pub name: String,
    /// Number of partitions, at least 1; it only grows.
    pub partition_count: i32,
    /// `AGENT_GROUP` whose agents share its partitions; empty (topics from before there were groups) = any.
    pub agent_group: String,
    /// What the creator asked for; stored and described, not acted on: the object store replicates.
    pub replication_factor: i16,
    /// The topic's own configs: Kafka's names, only those that were set.
    pub configs: BTreeMap<String, String>,
    /// Creation time by the database's clock.
    pub created_at: TimestampMs,
}

/// What `create_topic` stores. Names, counts and configs were validated by the broker.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its tenant.
    pub organization: OrganizationId,
    /// A fresh random id, chosen by the caller (randomness is an argument).
    pub topic_id: TopicId,
    /// Its name.
    pub name: String,
    /// Number of partitions, at least 1.
    pub partition_count: i32,
    /// `AGENT_GROUP` of the agent that creates it.
    pub agent_group: String,
    /// Stored as given.
    pub replication_factor: i16,
    /// Stored as given.
    pub configs: BTreeMap<String, String>,
}

/// Why a topic was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateTopicError {
    /// A topic of that name exists (it is returned, so that auto-creation can go on with it).
    #[error("topic exists")]
    AlreadyExists(Box<TopicRow>),
    /// A topic exists whose name differs only in '.' against '_' (Kafka refuses: metric names would collide).
    #[error("topic name collides with {0}")]
    Collides(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a topic was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteTopicError {
    /// No such topic, or it is deleted already.
    #[error("no such topic")]
    Unknown,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why partitions were not added.
#[derive(Debug, thiserror::Error)]
pub enum CreatePartitionsError {
    /// No such topic, or it is deleted.
    #[error("no such topic")]
    Unknown,
    /// The topic has that many partitions, or more: `current`.
    #[error("topic has {current} partitions already")]
    NotMore {
        /// Partitions it has now.
        current: i32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a topic's configs were not altered.
#[derive(Debug, thiserror::Error)]
pub enum AlterTopicConfigsError {
    /// No such topic, or it is deleted.
    #[error("no such topic")]
    Unknown,
    /// Its configs are no longer what the caller read: it decides again, on this row.
    #[error("the topic's configs changed")]
    Changed(Box<TopicRow>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Transactions on topics.
#[async_trait]
pub trait Topics: Send + Sync + 'static {
    /// The organization of that name, `None` if there is none. `default` is [`OrganizationId::DEFAULT`].
    async fn organization(&self, name: &str) -> Result<Option<OrganizationId>, StoreError>;

    /// Creates a topic with all its partitions: unleased, `next_offset` 0, log start 0. Their leader epoch starts at
    /// -1, or, where the organization had a topic of that name before, at the highest leader epoch any partition of
    /// any earlier topic of that name ever had (so that the first acquisition is above it). The floor is kept when the
    /// deleted topic's rows are purged.
    async fn create_topic(&self, topic: NewTopic) -> Result<TopicRow, CreateTopicError>;

    /// Marks a topic deleted, takes every partition's lease away (so that segment commits in flight are rejected as
    /// `TopicDeleted`) and frees the name. Its rows go later, by [`Topics::purge_deleted`].
    async fn delete_topic(&self, organization: OrganizationId, topic_id: TopicId) -> Result<(), DeleteTopicError>;

    /// Raises the partition count to `total`; new partitions are as in `create_topic`, with the floor remembered for
    /// the name.
    async fn create_partitions(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        total: i32,
    ) -> Result<TopicRow, CreatePartitionsError>;

    /// Replaces the topic's own configs, if they are still `expected`. Values were validated by the broker.
    async fn alter_topic_configs(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        expected: &BTreeMap<String, String>,
        configs: &BTreeMap<String, String>,
    ) -> Result<TopicRow, AlterTopicConfigsError>;

    /// Every topic that is not deleted, by (organization, name).
    async fn list_topics(&self) -> Result<Vec<TopicRow>, StoreError>;

    /// Deletes at most about `rows` rows (ranges, snapshots, epochs, coordinators' rows, partitions, then the topic) of
    /// deleted topics; returns how many went, 0 when nothing is left. One short transaction. Segment rows stay: objects are garbage
    /// collected by their own protocol, which needs them.
    async fn purge_deleted(&self, rows: u32) -> Result<u64, StoreError>;

    /// The leader epochs of a partition with their start offsets, ascending; empty for an unknown partition. An
    /// acquisition at the same start offset as the one before replaces it.
    async fn leader_epochs(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        partition: PartitionIndex,
    ) -> Result<Vec<(LeaderEpoch, i64)>, StoreError>;
}
