//! Giving partitions to the agents that should lead them, without an error that a client sees.
//!
//! Per target: admission stops (appends wait), what is in line is flushed and decided, then one transaction names the new
//! session under the next epoch; only then do waiting appends hear NOT_LEADER, with the new leader. What does not drain
//! in time, or whose transaction fails, goes on here. If the transaction's reply is lost, admission goes on too:
//! should it have happened, every commit of this agent is refused by its compare-and-set, and the next round lets go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metadata::{LeaseHolder, MetadataStore, StoreError};
use segment::{PartitionKey, SessionId};
use tokio::time::Instant;

use super::SessionStatus;
use super::view::ClusterView;
use crate::append::AppendError;
use crate::catalog::Catalog;
use crate::limits::LEASES_PER_ACQUISITION_MAX;
use crate::topics::Topic;
use crate::writer::partition::Partition;
use crate::writer::pool::WriterPool;

/// How long admission may stand still for what is in line to be decided.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct HandOver {
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) status: Arc<SessionStatus>,
    pub(crate) view: Arc<ClusterView>,
    pub(crate) pool: Arc<WriterPool>,
}

impl HandOver {
    /// Hands over these partitions, as far as it goes, then asks for a round.
    pub(crate) async fn run(self, partitions: BTreeMap<SessionId, Vec<PartitionKey>>) {
        for (to, keys) in partitions {
            for keys in keys.chunks(LEASES_PER_ACQUISITION_MAX) {
                self.give(to, keys).await;
            }
        }
        self.status.request_acquisition();
    }

    async fn give(&self, to: SessionId, keys: &[PartitionKey]) {
        let partitions: Vec<_> =
            keys.iter().filter_map(|key| self.pool.partition(key.topic_id, key.partition)).collect();
        partitions.iter().for_each(|partition| partition.pause());
        let drained = {
            let _hurry = self.pool.hurry();
            drained(&partitions, Instant::now() + DRAIN_MAX).await
        };
        let given = if drained.is_empty() { Ok(Vec::new()) } else { self.write(to, &drained).await };
        match given {
            Ok(given) => {
                tracing::info!(to = to.0, given = given.len(), asked = keys.len(), "partitions handed over");
                self.view.put_leases(&given);
                self.view.announce();
                for holder in &given {
                    self.pool.abandon(holder.key, &AppendError::NotLeader);
                }
            }
            Err(error) => self.status.failed("hand-over", &error),
        }
        // Those given are closed by now, which is for good.
        partitions.iter().for_each(|partition| partition.resume());
    }

    async fn write(&self, to: SessionId, keys: &[PartitionKey]) -> Result<Vec<LeaseHolder>, StoreError> {
        self.metadata.hand_over_leases(self.status.session(), to, keys).await
    }
}

/// Whether partitions are led here that others should lead, once this agent takes none.
pub(crate) fn has_to_give(catalog: &Catalog, view: &ClusterView, pool: &WriterPool) -> bool {
    let can_go = |topic: &Arc<Topic>| {
        let owners = view.owners(topic).into_iter();
        (0..)
            .zip(owners)
            .any(|(partition, owner)| owner.is_some() && pool.partition(topic.topic_id, partition).is_some())
    };
    catalog.topics().iter().any(can_go)
}

/// Waits until nothing is in line; returns the partitions for which that came true in time.
async fn drained(partitions: &[Arc<Partition>], deadline: Instant) -> Vec<PartitionKey> {
    let mut drained = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let waiting = partition.waiters.enter();
        loop {
            waiting.register();
            if partition.state.lock().is_idle() {
                drained.push(partition.key);
                break;
            }
            if tokio::time::timeout_at(deadline, waiting.news()).await.is_err() {
                break;
            }
        }
    }
    drained
}
