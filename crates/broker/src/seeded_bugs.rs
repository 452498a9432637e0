//! Bugs that a test puts into a broker, one at a time, to prove that they would be seen (docs/simulation.md).
//!
//! A broker has none unless it was started by [`Broker::start_with_seeded_bug`], which no agent calls. Each bug has one line at
//! the place of the rule that it breaks, which asks for it by name.

use segment::{Offset, RecordBatchHeader};
use tokio::sync::oneshot;

use crate::append::{AppendError, Appended};
use crate::broker::Broker;
use crate::writer::partition_state::PartitionState;

/// A rule that is left out.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeededBug {
    /// A producer is answered once its batch has a place in line.
    AckBeforeCommit,
    /// A batch is not compared with what its producer sent before.
    NoDedupe,
    /// An agent says "out of range" by what it remembers, without a confirmation of its lease.
    OutOfRangeFromCache,
    /// Readers are told of what has its place in line as if it were committed.
    HighWatermarkBeforeCommit,
    /// Segments that are ready together are committed in another order than they were gathered in.
    LaneReorder,
    /// Producers' sequences stay where batches had brought them that failed.
    SequenceAdvancedOnFailure,
    /// Compaction takes the last record of a key for one that has a later one.
    LastOfKeyCompacted,
}

type Answer = oneshot::Receiver<Result<Appended, AppendError>>;

impl Broker {
    pub(crate) fn has(&self, bug: SeededBug) -> bool {
        self.seeded_bug() == Some(bug)
    }

    /// The header by which a producer's batch is known.
    pub(crate) fn known_by(&self, header: RecordBatchHeader) -> RecordBatchHeader {
        let producer_id = if self.has(SeededBug::NoDedupe) { -1 } else { header.producer_id };
        RecordBatchHeader { producer_id, ..header }
    }

    /// The answer to a batch with this place in line.
    pub(crate) fn answer(&self, place: Option<Offset>, answer: Answer) -> Answer {
        let Some(base_offset) = place.filter(|_| self.has(SeededBug::AckBeforeCommit)) else { return answer };
        let (sender, early) = oneshot::channel();
        let (log_append_time, log_start_offset, duplicate, receipt) = (None, 0, false, None);
        let _ = sender.send(Ok(Appended { base_offset, log_append_time, log_start_offset, duplicate, receipt }));
        early
    }

    /// The high watermark that readers are told.
    pub(crate) fn high_watermark(&self, state: &PartitionState) -> Offset {
        if self.has(SeededBug::HighWatermarkBeforeCommit) { state.end() } else { state.high_watermark() }
    }
}
