//! DeleteRecords: a partition's log start moves because somebody asks for it.

use metadata::{LogChangeOutcome, StoreError};
use segment::{Offset, OrganizationId, PartitionIndex, TopicId};

use super::retention::{apply, ends_of, move_of};
use crate::broker::Broker;

/// Rows that one transaction deletes, at most.
const ROWS_PER_MOVE: u32 = 2_000;

/// Why no records were deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRecordsError {
    /// Kafka 3.
    #[error("unknown topic or partition")]
    UnknownTopicOrPartition,
    /// Kafka 6.
    #[error("not the leader")]
    NotLeader,
    /// Below zero, or above the high watermark. Kafka 1.
    #[error("offset out of range")]
    OffsetOutOfRange,
    /// The topic's `cleanup.policy` has no `delete`. Kafka 44.
    #[error("records cannot be deleted due to the configured policy")]
    PolicyViolation,
    /// Metadata is away; it may have happened. Kafka 7.
    #[error("metadata store unavailable: {0}")]
    Unavailable(String),
}

impl Broker {
    /// Deletes the records of a partition below `offset` (-1: all that are committed); returns where the log begins then. A
    /// client that hangs up does not stop what was begun.
    pub async fn delete_records(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        partition: PartitionIndex,
        offset: Offset,
    ) -> Result<Offset, DeleteRecordsError> {
        let broker = self.clone();
        let deleted = async move { broker.move_log_start(organization, topic_id, partition, offset).await };
        tokio::spawn(deleted).await.map_err(|error| DeleteRecordsError::Unavailable(error.to_string()))?
    }

    async fn move_log_start(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        partition: PartitionIndex,
        offset: Offset,
    ) -> Result<Offset, DeleteRecordsError> {
        let found = self.catalog().by_id(organization, topic_id).ok_or(DeleteRecordsError::UnknownTopicOrPartition)?;
        if !(0..found.topic.partition_count).contains(&partition) {
            return Err(DeleteRecordsError::UnknownTopicOrPartition);
        }
        let partition = self.led(topic_id, partition).ok_or(DeleteRecordsError::NotLeader)?;
        if !found.log_config.retention.deletes {
            return Err(DeleteRecordsError::PolicyViolation);
        }
        let (from, end) = ends_of(&partition);
        let start = if offset == -1 { end } else { offset };
        if !(0..=end).contains(&start) {
            return Err(DeleteRecordsError::OffsetOutOfRange);
        }
        if start > from {
            let moved = move_of(&partition, start, self.metadata()).await?;
            // If that fails it may have happened: retention finds out.
            partition.upkeep.lock().forget_log();
            while self.moved(&moved).await? {}
            apply(&partition, &moved);
            // What was counted meanwhile has what is deleted now.
            partition.upkeep.lock().forget_log();
        }
        Ok(ends_of(&partition).0)
    }

    /// Sends the transaction; whether it is to be sent again.
    async fn moved(&self, moved: &metadata::LogStartMove) -> Result<bool, DeleteRecordsError> {
        let outcomes =
            self.metadata().move_log_starts(self.session(), std::slice::from_ref(moved), ROWS_PER_MOVE).await?;
        match outcomes.first() {
            Some(LogChangeOutcome::Done { more }) => Ok(*more),
            Some(LogChangeOutcome::TopicDeleted) => Err(DeleteRecordsError::UnknownTopicOrPartition),
            Some(LogChangeOutcome::NotLeader | LogChangeOutcome::Stale) | None => Err(DeleteRecordsError::NotLeader),
        }
    }
}

impl From<StoreError> for DeleteRecordsError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced => Self::NotLeader,
            error => Self::Unavailable(error.to_string()),
        }
    }
}
