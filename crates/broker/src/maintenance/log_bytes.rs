//! How many bytes a led partition's log has. They are counted once, when somebody asks, and kept up to date from then on.

use metadata::{MetadataStore, StoreError};
use segment::PartitionIndex;

use super::ROWS_PER_READ;
use super::retention::ends_of;
use super::upkeep::unsigned;
use crate::broker::Broker;
use crate::topics::Topic;
use crate::writer::partition::Partition;

/// What the object store is called where Kafka names a folder of log files.
pub const LOG_DIR: &str = "object-store";

impl Broker {
    /// Bytes of a partition as they are stored; `None` if it is not led here. As of a moment ago.
    ///
    /// # Errors
    /// If metadata is away and they were not counted yet.
    pub async fn log_bytes(&self, topic: &Topic, partition: PartitionIndex) -> Result<Option<u64>, String> {
        let Some(partition) = self.led(topic.topic_id, partition) else { return Ok(None) };
        count(&partition, self.metadata()).await.map_err(|error| error.to_string())?;
        let upkeep = partition.upkeep.lock();
        // Not counted, because records were deleted meanwhile: what was written since it is led here is the best there is.
        Ok(Some(upkeep.log_bytes().unwrap_or_else(|| upkeep.committed_bytes())))
    }
}

/// Counts the partition's bytes, once.
pub(super) async fn count(partition: &Partition, metadata: &dyn MetadataStore) -> Result<(), StoreError> {
    let (mut from, end, committed_bytes, compacted_bytes) = {
        let state = partition.state.lock();
        let upkeep = partition.upkeep.lock();
        if upkeep.log_bytes().is_some() {
            return Ok(());
        }
        (state.log_start_offset(), state.high_watermark(), upkeep.committed_bytes(), upkeep.compacted_bytes())
    };
    let started_at = from;
    let (mut bytes, mut found_start) = (0, None);
    while from < end {
        let rows = metadata.ranges_from(partition.key, from, ROWS_PER_READ).await?;
        let Some(last) = rows.last() else { break };
        from = last.next_offset;
        found_start = found_start.or(rows.first().map(|first| first.base_offset));
        let counted = rows.iter().filter(|row| row.next_offset <= end);
        bytes += counted.map(|row| unsigned(row.byte_len)).sum::<u64>();
    }
    // Else somebody deleted records meanwhile: count again next time.
    let is_as_before =
        ends_of(partition).0 == started_at && found_start.is_none_or(|found_start| found_start <= started_at);
    let mut upkeep = partition.upkeep.lock();
    if is_as_before && upkeep.compacted_bytes() == compacted_bytes {
        upkeep.counted(bytes, committed_bytes);
    }
    Ok(())
}
