//! Reading: a fetch of many partitions with a byte budget and a long poll.

use std::time::Duration;

use bytes::Bytes;
use segment::{LeaderEpoch, Offset, OrganizationId, PartitionIndex, TopicId};

/// Kafka's isolation level. Without transactions both read to the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    /// 0.
    ReadUncommitted,
    /// 1.
    ReadCommitted,
}

/// A fetch over partitions, in the order in which bytes are given out.
#[derive(Debug)]
pub struct FetchRequest {
    /// The tenant.
    pub organization: OrganizationId,
    /// How long to wait for `min_bytes`.
    pub max_wait: Duration,
    /// Answer as soon as this many bytes are there.
    pub min_bytes: usize,
    /// Bound on record bytes in the whole answer; the first batch of the first non-empty partition passes it (KIP-74).
    pub max_bytes: usize,
    /// Isolation level.
    pub isolation: IsolationLevel,
    /// What to read.
    pub partitions: Vec<FetchPartition>,
}

/// One partition of a fetch.
#[derive(Clone, Debug)]
pub struct FetchPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// First offset wanted.
    pub fetch_offset: Offset,
    /// Bound on this partition's bytes (its first batch may pass it under the rule of `max_bytes`).
    pub max_bytes: usize,
    /// The leader epoch the client knows, if it said.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// Epoch of the last record it has, if it said (truncation detection, KIP-595).
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// One partition's answer, in request order.
#[derive(Debug)]
pub struct FetchedPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// What was read, or why not.
    pub result: Result<Fetched, FetchError>,
}

/// Where the client's log diverges from this one (KIP-595): it must truncate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DivergingEpoch {
    /// Largest epoch at or below the client's.
    pub epoch: LeaderEpoch,
    /// Where that epoch ends.
    pub end_offset: Offset,
}

/// What was read of one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Whole batches as slices to be written one after the other; the first contains the fetch offset.
    pub records: Vec<Bytes>,
    /// Sum of their lengths.
    pub record_bytes: usize,
    /// First offset not committed.
    pub high_watermark: Offset,
    /// Equal to the high watermark until transactions exist.
    pub last_stable_offset: Offset,
    /// First readable offset.
    pub log_start_offset: Offset,
    /// Set instead of records when the client must truncate.
    pub diverging: Option<DivergingEpoch>,
    /// Whether any batch is compressed with zstd (Kafka: refused below Fetch 10).
    pub has_zstd: bool,
}

/// Why a partition was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Kafka 3, or 100 where the request names ids.
    #[error("unknown topic")]
    UnknownTopic,
    /// Kafka 3.
    #[error("unknown partition")]
    UnknownPartition,
    /// Kafka 6.
    #[error("not the leader")]
    NotLeader,
    /// Below log start or above the end; confirmed by a metadata read. Kafka 1.
    #[error("offset out of range")]
    OffsetOutOfRange {
        /// First readable offset.
        log_start_offset: Offset,
    },
    /// The client's epoch is older than ours. Kafka 74.
    #[error("fenced leader epoch")]
    FencedLeaderEpoch,
    /// The client's epoch is newer than ours. Kafka 75.
    #[error("unknown leader epoch")]
    UnknownLeaderEpoch,
    /// Only the confirmed leader may answer, and metadata is away. Kafka 78.
    #[error("offset not available")]
    OffsetNotAvailable,
    /// The object store did not answer, or the bytes were damaged; retry. Kafka 56 (KAFKA_STORAGE_ERROR).
    #[error("object store: {0}")]
    Storage(String),
}
