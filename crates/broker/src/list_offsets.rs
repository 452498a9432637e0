//! Offsets by position, by time and by leader epoch.

use std::sync::Arc;

use metadata::StoreError;
use segment::{LeaderEpoch, Offset, OrganizationId, PartitionIndex, PartitionKey, TimestampMs, TopicId};

use crate::aside::aside;
use crate::broker::Broker;
use crate::reader::cold::{Batches, ColdError, REPLANS_MAX};
use crate::writer::partition::Partition;

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

impl Broker {
    /// Looks offsets up; answers are in request order. One confirmation of the leases, begun now, serves them all: only
    /// the current leader may say where a log begins and ends.
    pub async fn list_offsets(
        &self,
        organization: OrganizationId,
        partitions: Vec<ListOffsetsPartition>,
    ) -> Vec<Result<ListedOffset, OffsetError>> {
        let led: Vec<_> =
            partitions.iter().map(|wanted| self.led_here(organization, wanted.topic_id, wanted.partition)).collect();
        let keys: Vec<_> = led.iter().flatten().map(|partition| partition.key).collect();
        let mut confirmed = match self.confirm_leases(&keys).await {
            Ok(epochs) => epochs.into_iter(),
            Err(_) => vec![None; keys.len()].into_iter(),
        };
        let mut answers = Vec::with_capacity(partitions.len());
        for (wanted, partition) in partitions.iter().zip(led) {
            answers.push(match partition {
                Ok(partition) => {
                    let confirmed = confirmed.next().flatten();
                    self.list_offset(&partition, wanted, confirmed).await
                }
                Err(error) => Err(error),
            });
        }
        answers
    }

    /// `(largest epoch at or below the asked one, its end offset)`, `(-1, -1)` for an epoch above ours or below all.
    pub async fn offset_for_leader_epoch(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        partition: PartitionIndex,
        current_leader_epoch: Option<LeaderEpoch>,
        leader_epoch: LeaderEpoch,
    ) -> Result<(LeaderEpoch, Offset), OffsetError> {
        let partition = self.led_here(organization, topic_id, partition)?;
        let confirmed = self.confirm_leases(&[partition.key]).await.map_err(|_| OffsetError::LeaderNotAvailable)?;
        let ours = check_leader(&partition, current_leader_epoch, confirmed.first().copied().flatten())?;
        let high_watermark = partition.state.lock().high_watermark();
        if leader_epoch > ours {
            return Ok((-1, -1));
        }
        let history = self.leader_epochs(partition.key).await?;
        Ok(end_of_epoch(&history, leader_epoch, high_watermark))
    }

    pub(crate) fn led_here(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        partition: PartitionIndex,
    ) -> Result<Arc<Partition>, OffsetError> {
        let found = self.catalog().by_id(organization, topic_id).ok_or(OffsetError::UnknownTopicOrPartition)?;
        if !(0..found.topic.partition_count).contains(&partition) {
            return Err(OffsetError::UnknownTopicOrPartition);
        }
        self.led(topic_id, partition).ok_or(OffsetError::NotLeader)
    }

    async fn list_offset(
        &self,
        partition: &Partition,
        wanted: &ListOffsetsPartition,
        confirmed: Option<LeaderEpoch>,
    ) -> Result<ListedOffset, OffsetError> {
        let leader_epoch = check_leader(partition, wanted.current_leader_epoch, confirmed)?;
        let (log_start_offset, high_watermark) = {
            let state = partition.state.lock();
            (state.log_start_offset(), self.high_watermark(&state))
        };
        match wanted.spec {
            OffsetSpec::Latest => Ok(ListedOffset { offset: high_watermark, timestamp: -1, leader_epoch }),
            OffsetSpec::LatestTiered => Ok(ListedOffset::NONE),
            OffsetSpec::Earliest => {
                let history = self.leader_epochs(partition.key).await?;
                let at_start = history.iter().rev().find(|(_, start)| *start <= log_start_offset);
                let leader_epoch = at_start.map_or(leader_epoch, |(epoch, _)| *epoch);
                Ok(ListedOffset { offset: log_start_offset, timestamp: -1, leader_epoch })
            }
            OffsetSpec::Timestamp(timestamp) => {
                let found = self.range_with(partition.key, log_start_offset, Some(timestamp)).await?;
                self.search(found, log_start_offset, high_watermark).await
            }
            OffsetSpec::MaxTimestamp => {
                let found = self.range_with(partition.key, log_start_offset, None).await?;
                self.search(found, log_start_offset, high_watermark).await
            }
        }
    }

    /// The first range from `from` on that has a record of this time or later, and that time; without one, of the greatest
    /// time of all. An object that is gone was replaced: the range is looked up again.
    async fn range_with(
        &self,
        key: PartitionKey,
        from: Offset,
        timestamp: Option<TimestampMs>,
    ) -> Result<Option<(Batches, TimestampMs)>, OffsetError> {
        let mut lookups = 0;
        loop {
            let row = match timestamp {
                Some(timestamp) => self.metadata().range_at_timestamp(key, from, timestamp).await?,
                None => self.metadata().range_of_max_timestamp(key, from).await?,
            };
            let Some(row) = row else { return Ok(None) };
            lookups += 1;
            match self.cold().range(&row).await {
                Err(ColdError::Gone(_)) if lookups <= REPLANS_MAX => {}
                read => return Ok(Some((read?, timestamp.unwrap_or(row.max_timestamp)))),
            }
        }
    }

    /// The first record of that time or later in a range, among those between the log's ends.
    async fn search(
        &self,
        found: Option<(Batches, TimestampMs)>,
        log_start_offset: Offset,
        high_watermark: Offset,
    ) -> Result<ListedOffset, OffsetError> {
        let Some((batches, at_least)) = found else { return Ok(ListedOffset::NONE) };
        // Compressed batches are unpacked: off the runtime's workers.
        let found = aside(move || {
            for (header, batch) in batches.iter().filter(|(header, _)| header.next_offset() > log_start_offset) {
                if let Some((offset, timestamp)) = segment::find_timestamp(batch, header, at_least)?
                    && offset >= log_start_offset
                    && offset < high_watermark
                {
                    return Ok(ListedOffset { offset, timestamp, leader_epoch: header.partition_leader_epoch });
                }
            }
            Ok(ListedOffset::NONE)
        });
        let damaged = |error: segment::RecordCheckError| OffsetError::Storage(error.to_string());
        found.await.map_err(|error| OffsetError::Storage(error.to_string()))?.map_err(damaged)
    }
}

impl ListedOffset {
    /// Nothing found.
    const NONE: Self = Self { offset: -1, timestamp: -1, leader_epoch: -1 };
}

/// Our epoch, if metadata confirms that we hold the lease under it and the client does not disagree.
fn check_leader(
    partition: &Partition,
    client: Option<LeaderEpoch>,
    confirmed: Option<LeaderEpoch>,
) -> Result<LeaderEpoch, OffsetError> {
    let ours = partition.state.lock().leader_epoch();
    match client {
        Some(epoch) if epoch < ours => Err(OffsetError::FencedLeaderEpoch),
        Some(epoch) if epoch > ours => Err(OffsetError::UnknownLeaderEpoch),
        _ if confirmed == Some(ours) => Ok(ours),
        _ => Err(OffsetError::LeaderNotAvailable),
    }
}

/// The largest epoch at or below `wanted` with its end: the start of the next one, or the high watermark.
pub(crate) fn end_of_epoch(
    history: &[(LeaderEpoch, Offset)],
    wanted: LeaderEpoch,
    high_watermark: Offset,
) -> (LeaderEpoch, Offset) {
    let after = history.partition_point(|(epoch, _)| *epoch <= wanted);
    match after.checked_sub(1).and_then(|position| history.get(position)) {
        Some((epoch, _)) => (*epoch, history.get(after).map_or(high_watermark, |(_, start)| *start)),
        None => (-1, -1),
    }
}

impl From<StoreError> for OffsetError {
    fn from(_: StoreError) -> Self {
        Self::LeaderNotAvailable
    }
}

impl From<ColdError> for OffsetError {
    fn from(error: ColdError) -> Self {
        match error {
            ColdError::Metadata(_) => Self::LeaderNotAvailable,
            ColdError::Store(_) | ColdError::Gone(_) | ColdError::Damaged { .. } => Self::Storage(error.to_string()),
        }
    }
}

#[cfg(test)]
#[path = "list_offsets_tests.rs"]
mod tests;
