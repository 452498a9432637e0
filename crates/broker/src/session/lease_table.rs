//! Who leads what, as far as this agent knows: all partitions of all topics, from the metadata store's changes.

use std::collections::HashMap;

use metadata::LeaseHolder;
use segment::{LeaderEpoch, PartitionIndex, PartitionKey, SessionId, TopicId};

/// What is known of a partition's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The session in its row; it may be active no longer.
    pub(crate) session: Option<SessionId>,
    pub(crate) leader_epoch: LeaderEpoch,
    /// The last epoch under which this agent led it, -1 if it never did.
    pub(crate) led_epoch: LeaderEpoch,
}

const UNKNOWN: Lease = Lease { session: None, leader_epoch: -1, led_epoch: -1 };

/// Leases by topic and partition.
#[derive(Debug, Default)]
pub(crate) struct LeaseTable(HashMap<TopicId, Vec<Lease>>);

impl LeaseTable {
    /// What is known of a partition; nothing but the epoch -1 before its first change arrived.
    pub(crate) fn get(&self, topic_id: TopicId, partition: PartitionIndex) -> Lease {
        let index = usize::try_from(partition).ok();
        index.and_then(|index| self.0.get(&topic_id)?.get(index).copied()).unwrap_or(UNKNOWN)
    }

    /// Takes over what a change or a transaction of our own says. Epochs only rise, so what is older changes nothing.
    pub(crate) fn put(&mut self, holder: &LeaseHolder) {
        if let Some(lease) = self.entry(holder.key)
            && holder.leader_epoch >= lease.leader_epoch
        {
            lease.session = holder.session;
            lease.leader_epoch = holder.leader_epoch;
        }
    }

    /// This agent leads the partition under that epoch.
    pub(crate) fn led(&mut self, key: PartitionKey, session: SessionId, leader_epoch: LeaderEpoch) {
        self.put(&LeaseHolder { key, session: Some(session), leader_epoch });
        if let Some(lease) = self.entry(key) {
            lease.led_epoch = lease.led_epoch.max(leader_epoch);
        }
    }

    pub(crate) fn remove(&mut self, topic_id: TopicId) {
        self.0.remove(&topic_id);
    }

    fn entry(&mut self, key: PartitionKey) -> Option<&mut Lease> {
        let index = usize::try_from(key.partition).ok()?;
        let leases = self.0.entry(key.topic_id).or_default();
        if leases.len() <= index {
            leases.resize(index + 1, UNKNOWN);
        }
        leases.get_mut(index)
    }
}
