//! The idempotent producers that a partition remembers, for DescribeProducers.

use std::collections::BTreeMap;

use segment::{OrganizationId, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicId};

use crate::broker::Broker;
use crate::list_offsets::OffsetError;

/// What a partition remembers of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Who it is.
    pub producer_id: ProducerId,
    /// Under which epoch it wrote last.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of its last committed record.
    pub last_sequence: i32,
    /// When that was written.
    pub last_timestamp: TimestampMs,
}

impl Broker {
    /// The producers that a partition led here has committed records of, by id, until they expire.
    pub async fn active_producers(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        partition: PartitionIndex,
    ) -> Result<Vec<ActiveProducer>, OffsetError> {
        let partition = self.led_here(organization, topic_id, partition)?;
        partition.load_producers(self.metadata()).await?;
        let (_, batches) = partition.state.lock().snapshot();
        // They ascend by offset: the last one of each stays.
        let last: BTreeMap<ProducerId, ActiveProducer> = batches
            .into_iter()
            .map(|batch| {
                let producer = ActiveProducer {
                    producer_id: batch.producer_id,
                    producer_epoch: batch.producer_epoch,
                    last_sequence: batch.last_sequence,
                    last_timestamp: batch.timestamp,
                };
                (batch.producer_id, producer)
            })
            .collect();
        Ok(last.into_values().collect())
    }
}
