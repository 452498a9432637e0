//! Record batches, segments and keys: pure bytes, no I/O, no async.

pub mod encode;
mod ids;

pub use ids::{
    LaneSequence, LeaderEpoch, Offset, OrganizationId, PartitionIndex, PartitionKey, ProducerEpoch, ProducerId,
    SessionId, TimestampMs, TopicId,
};
