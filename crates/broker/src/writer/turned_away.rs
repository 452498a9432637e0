//! Partitions of which batches were turned away, a moment ago, because this agent did not lead them.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use segment::{PartitionIndex, TopicId};
use tokio::time::Instant;

/// Longer than what a producer has in flight takes to arrive, and what was turned away to come again.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Partitions that are remembered, about as many as are handed over at once; any further one is not.
const PARTITIONS_MAX: usize = 10_000;

/// Of the requests that a producer has in flight to an agent that is about to lead, the first may be turned away and the next one heard.
/// What that one lacks is on its way again: "out of order" would be wrong, and makes librdkafka raise its epoch.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway(Mutex<BTreeMap<(TopicId, PartitionIndex), Instant>>);

impl TurnedAway {
    pub(crate) fn note(&self, topic_id: TopicId, partition: PartitionIndex) {
        let (now, mut until) = (Instant::now(), self.0.lock());
        if until.len() >= PARTITIONS_MAX {
            until.retain(|_, until| *until > now);
        }
        if until.len() < PARTITIONS_MAX {
            until.insert((topic_id, partition), now + REMEMBERED);
        }
    }

    /// Whether any batch of it was turned away lately.
    pub(crate) fn lately(&self, topic_id: TopicId, partition: PartitionIndex) -> bool {
        self.0.lock().get(&(topic_id, partition)).is_some_and(|until| *until > Instant::now())
    }
}
