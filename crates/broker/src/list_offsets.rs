//! Offsets by position, by time and by leader epoch.

use segment::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};

/// Which offset is asked for (ListOffsets timestamps).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// -2, and -4 (earliest local).
    Earliest,
    /// -1.
    Latest,
    /// -3: the first record that has the greatest timestamp.
    MaxTimestamp,
    /// -5: nothing is tiered; offset -1.
    LatestTiered,
    /// The first record at or after this time.
    Timestamp(TimestampMs),
}

/// One partition of a ListOffsets request.
#[derive(Clone, Debug)]
pub struct ListOffsetsPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leader epoch the client knows, if it said.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// What is asked.
    pub spec: OffsetSpec,
}

/// An offset found; all -1 where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset.
    pub offset: Offset,
    /// The record's timestamp, -1 for earliest and latest.
    pub timestamp: TimestampMs,
    /// The leader epoch of that record (for earliest and latest: of that offset).
    pub leader_epoch: LeaderEpoch,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffsetError {
    /// Kafka 3.
    #[error("unknown topic or partition")]
    UnknownTopicOrPartition,
    /// Kafka 6.
    #[error("not the leader")]
    NotLeader,
    /// Kafka 74.
    #[error("fenced leader epoch")]
    FencedLeaderEpoch,
    /// Kafka 75.
    #[error("unknown leader epoch")]
    UnknownLeaderEpoch,
    /// The lease could not be confirmed. Kafka 5 (LEADER_NOT_AVAILABLE).
    #[error("leader not available")]
    LeaderNotAvailable,
    /// Kafka 56.
    #[error("object store: {0}")]
    Storage(String),
}
