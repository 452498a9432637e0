//! What a decision about a group leads to: answers to give and rows to write.
//!
//! An answer may leave only when every change before it is durable; the order of both vectors is the order of the
//! decisions.

use metadata::CoordinatorChange;
use segment::TimestampMs;
use tokio::time::Instant;

use super::api::{
    DescribedGroup, FetchedOffset, GroupError, JoinRefused, Joined, LeftMember, ListedGroup, PartitionOutcome, Synced,
};
use super::api_consumer::{ConsumerHeartbeatAnswer, DescribedConsumerGroup, HeartbeatRefused};

/// The time of a decision: the pure states have no clock of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// For what waits.
    pub(crate) instant: Instant,
    /// For what is written down.
    pub(crate) timestamp: TimestampMs,
}

/// Where an answer goes: a request of a client, numbered by the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Join(Result<Joined, JoinRefused>),
    Sync(Result<Synced, GroupError>),
    Heartbeat(Result<(), GroupError>),
    Leave(Result<Vec<LeftMember>, GroupError>),
    OffsetCommit(Result<Vec<PartitionOutcome>, GroupError>),
    OffsetFetch(Result<Vec<FetchedOffset>, GroupError>),
    Describe(DescribedGroup),
    List(Vec<ListedGroup>),
    DeleteGroup(Result<(), GroupError>),
    OffsetDelete(Result<Vec<PartitionOutcome>, GroupError>),
    ConsumerHeartbeat(Result<ConsumerHeartbeatAnswer, HeartbeatRefused>),
    ConsumerDescribe(Result<DescribedConsumerGroup, HeartbeatRefused>),
}

/// What is to be done after a decision.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Whom to answer.
    pub(crate) replies: Vec<(Ticket, Reply)>,
    /// Rows to write.
    pub(crate) changes: Vec<CoordinatorChange>,
}

impl Effects {
    /// Answers a request.
    pub(crate) fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.replies.push((ticket, reply));
    }
}
