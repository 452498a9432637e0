//! A produce request against the broker, in the two stages of its append: place in line, then answer.
//!
//! The first stage runs in the order in which requests came; the second may wait, so a stream begins the next request
//! while this one is being stored. Once a batch has its place the broker sees it to its end and holds its bytes of the memory
//! budget: a client that hangs up, or was answered early, changes nothing about the write.

use std::{sync::Arc, time::Duration};

use broker::{
    AppendError, AppendRequest, Broker, MemoryPermit, Offset, OrganizationId, PartitionIndex, PendingAppend, Receipt,
    Topic, TopicId, encode_batch,
};
use bytes::Bytes;
use tokio::time::timeout;

use crate::{
    convert::{self, Ack, Terms},
    limits,
    partitioner::RoundRobin,
    proto,
    status::{Failure, Refusal},
};

/// What appends need; one per server, cheap to clone.
#[derive(Clone)]
pub(crate) struct Appender {
    broker: Broker,
    round_robin: Arc<RoundRobin>,
}

/// How a request came.
pub(crate) struct Arrival {
    /// The tenant.
    pub(crate) organization: OrganizationId,
    /// What its message's bytes cost; given back when the message is encoded.
    pub(crate) received: Option<MemoryPermit>,
    /// How long its client will wait, if it said so.
    pub(crate) deadline: Option<Duration>,
    /// How long it may wait for memory.
    pub(crate) memory_wait: Duration,
}

/// A request whose batches have their places in line (or one that failed, after others that did not).
pub(crate) struct Placed {
    broker: Broker,
    topic_id: TopicId,
    record_count: usize,
    ack: Ack,
    by_key: bool,
    batches: Vec<PlacedBatch>,
    failure: Option<Failure>,
}

struct PlacedBatch {
    partition: PartitionIndex,
    record_count: usize,
    pending: PendingAppend,
}

/// One partition's encoded batch.
struct Batch {
    partition: PartitionIndex,
    record_count: usize,
    bytes: Bytes,
}

impl Appender {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker, round_robin: Arc::default() }
    }

    /// Stage one: checks and encodes the request and gives its batches their places in line. When this returns an error
    /// nothing was written.
    ///
    /// # Errors
    /// What the gateway refuses, and what the broker refuses of the first batch.
    pub(crate) async fn place(&self, arrival: Arrival, request: proto::ProduceRequest) -> Result<Placed, Failure> {
        let organization = arrival.organization;
        let terms = convert::terms(&request)?;
        let topic = self
            .broker
            .topic(organization, &request.topic)
            .ok_or_else(|| Refusal::UnknownTopic(request.topic.chars().take(249).collect()))?;
        let timeout = write_timeout(terms.timeout, arrival.deadline);
        let (record_count, by_key) = (request.records.len(), request.partition_by_key);
        let encoded = Arc::new(self.memory(convert::encoded_bytes(&request), arrival.memory_wait).await?);
        let batches = self.encode(request, &terms, &topic, arrival).await?;
        let mut placed = Placed {
            broker: self.broker.clone(),
            topic_id: topic.topic_id,
            record_count,
            ack: terms.ack,
            by_key,
            batches: Vec::new(),
            failure: None,
        };
        for batch in batches {
            let append = AppendRequest {
                organization,
                topic_id: topic.topic_id,
                partition: batch.partition,
                batch: batch.bytes,
                zstd_allowed: true,
                expected_base_offset: terms.expected_base_offset,
                permit: Some(Arc::clone(&encoded)),
                timeout,
            };
            match self.broker.append(append).await {
                Ok(pending) => placed.batches.push(PlacedBatch {
                    partition: batch.partition,
                    record_count: batch.record_count,
                    pending,
                }),
                Err(error) if placed.batches.is_empty() => return Err(placed.failed(batch.partition, error)),
                Err(error) => {
                    placed.failure = Some(placed.failed(batch.partition, error));
                    break;
                }
            }
        }
        Ok(placed)
    }

    /// The request's batches. Gives back what the message and its decoded form cost.
    async fn encode(
        &self,
        request: proto::ProduceRequest,
        terms: &Terms,
        topic: &Topic,
        arrival: Arrival,
    ) -> Result<Vec<Batch>, Failure> {
        let decoded = self.memory(convert::decoded_bytes(&request), arrival.memory_wait).await?;
        let now = self.broker.now_ms();
        let shares = convert::shares(request, terms, topic.partition_count, &self.round_robin, now)?;
        let batches = shares.into_iter().map(|share| {
            let bytes = encode_batch(&share.records, terms.producer)?;
            Ok(Batch { partition: share.partition, record_count: share.records.len(), bytes })
        });
        let batches = batches.collect();
        drop((decoded, arrival.received));
        batches
    }

    /// Takes `bytes` from the budget, waiting at most `wait`.
    async fn memory(&self, bytes: usize, wait: Duration) -> Result<MemoryPermit, Refusal> {
        let budget = self.broker.budget();
        match budget.try_acquire(bytes) {
            Some(permit) => Ok(permit),
            None if wait.is_zero() => Err(Refusal::OutOfMemoryBudget),
            None => timeout(wait, budget.acquire(bytes)).await.map_err(|_| Refusal::OutOfMemoryBudget),
        }
    }
}

impl Placed {
    /// What the client is told; one that came to the wrong agent is sent to the right one.
    fn failed(&self, partition: PartitionIndex, error: AppendError) -> Failure {
        let is_redirect = matches!(error, AppendError::NotLeader);
        let leader = is_redirect.then(|| self.broker.partition_leader(self.topic_id, partition)).flatten();
        match leader.filter(|(leader, _)| leader.session != self.broker.session()) {
            Some((leader, _)) => Failure::from(error).redirected(&leader),
            None => error.into(),
        }
    }

    /// Stage two: waits as long as the ack mode says and answers.
    ///
    /// # Errors
    /// The first failure in the order of the request's partitions. Its message names partitions that were written.
    pub(crate) async fn answer(mut self) -> Result<proto::ProduceResponse, Failure> {
        let record_count = wire_count(self.record_count);
        let mut written = Vec::new();
        let mut results: Vec<(proto::PartitionResult, bool)> = Vec::new();
        let mut failure = None;
        for batch in std::mem::take(&mut self.batches) {
            let partition = batch.partition;
            match batch.settle(self.ack).await {
                Ok(result) => {
                    written.push(partition);
                    results.push(result);
                }
                Err(error) => failure = failure.or_else(|| Some(self.failed(partition, error))),
            }
        }
        if let Some(failure) = failure.or(self.failure) {
            return Err(failure.after_writing(&written));
        }
        let duplicates_filtered = results.iter().any(|(_, duplicate)| *duplicate);
        let partitions: Vec<_> = results.into_iter().map(|(result, _)| result).collect();
        let first = partitions.first().cloned().unwrap_or_default();
        Ok(proto::ProduceResponse {
            base_offset: first.base_offset,
            record_count,
            log_append_time: first.log_append_time,
            record_errors: Vec::new(),
            duplicates_filtered,
            partition: first.partition,
            receipt: first.receipt,
            partitions: if self.by_key { partitions } else { Vec::new() },
        })
    }
}

impl PlacedBatch {
    /// What is known of the batch when its ack mode says to answer, and whether it was a duplicate.
    async fn settle(self, ack: Ack) -> Result<(proto::PartitionResult, bool), AppendError> {
        let early = |base_offset| proto::PartitionResult {
            partition: wire_partition(self.partition),
            base_offset,
            record_count: wire_count(self.record_count),
            log_append_time: None,
            receipt: None,
        };
        match (ack, self.pending.proposed_base_offset()) {
            (Ack::None, _) => return Ok((early(0), false)),
            (Ack::Buffered, Some(offset)) => return Ok((early(wire_offset(offset)), false)),
            // No offset is proposed while the decision waits for batches in flight: then there is nothing to say yet.
            (Ack::Buffered, None) | (Ack::Durable, _) => {}
        }
        let appended = self.pending.acked().await?;
        let result = proto::PartitionResult {
            log_append_time: appended.log_append_time.and_then(|time| u64::try_from(time).ok()),
            receipt: appended.receipt.map(wire_receipt),
            ..early(wire_offset(appended.base_offset))
        };
        Ok((result, appended.duplicate))
    }
}

/// The shorter of what the message and the call's deadline say; the default if neither does.
fn write_timeout(in_message: Option<Duration>, deadline: Option<Duration>) -> Duration {
    let said = match (in_message, deadline) {
        (Some(message), Some(deadline)) => Some(message.min(deadline)),
        (message, deadline) => message.or(deadline),
    };
    said.unwrap_or(limits::PRODUCE_TIMEOUT_DEFAULT).min(broker::limits::PRODUCE_TIMEOUT_MAX)
}

fn wire_receipt(receipt: Receipt) -> proto::Receipt {
    proto::Receipt {
        leader_epoch: receipt.leader_epoch,
        segment_object_key: receipt.object_key.to_string(),
        checksum: receipt.checksum,
    }
}

fn wire_offset(offset: Offset) -> u64 {
    u64::try_from(offset).expect("offsets of records are not negative")
}

fn wire_partition(partition: PartitionIndex) -> u32 {
    u32::try_from(partition).expect("partition indexes are not negative")
}

fn wire_count(count: usize) -> u32 {
    u32::try_from(count).expect("a message holds fewer records than its limit of elements")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_time_out_holds_and_none_is_unbounded() {
        let seconds = Duration::from_secs;
        assert_eq!(write_timeout(None, None), limits::PRODUCE_TIMEOUT_DEFAULT);
        assert_eq!(write_timeout(Some(seconds(5)), None), seconds(5));
        assert_eq!(write_timeout(Some(seconds(5)), Some(seconds(2))), seconds(2));
        assert_eq!(write_timeout(Some(seconds(1)), Some(seconds(2))), seconds(1));
        assert_eq!(write_timeout(None, Some(seconds(1_000_000))), broker::limits::PRODUCE_TIMEOUT_MAX);
    }
}
