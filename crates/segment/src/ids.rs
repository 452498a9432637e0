//! The words every crate shares: identifiers and units.
//!
//! Offsets and times are Kafka's own integers, so their types are aliases: arithmetic on them is the rule, and
//! the names say the unit. Identifiers are newtypes, because mixing two of them up is always a bug.

use std::fmt;

use uuid::Uuid;

/// Position of a record in a partition, from 0; `i64` as on the wire.
pub type Offset = i64;
/// Milliseconds since the Unix epoch; -1 where Kafka says "none".
pub type TimestampMs = i64;
/// Kafka's partition index within a topic, from 0.
pub type PartitionIndex = i32;
/// Rises with each acquisition of a partition's lease; is Kafka's leader epoch.
pub type LeaderEpoch = i32;
/// Kafka's producer id; -1 where a batch is not idempotent.
pub type ProducerId = i64;
/// Kafka's producer epoch; -1 where a batch is not idempotent.
pub type ProducerEpoch = i16;

/// A tenant. Part of every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganizationId(pub i64);

impl OrganizationId {
    /// The organization of every client that names none.
    pub const DEFAULT: Self = Self(1);
}

/// Kafka's topic id: a random UUID, never nil, new for each creation of a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub Uuid);

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One registration of an agent in the metadata store; the unit of fencing. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

/// Number of a segment within its session, from 0: segments of one session commit in this order.
pub type LaneSequence = i64;

/// What a partition is below the gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// The tenant that owns the topic.
    pub organization: OrganizationId,
    /// The topic, by id: a recreated name is another partition.
    pub topic_id: TopicId,
    /// Kafka's partition index.
    pub partition: PartitionIndex,
}
