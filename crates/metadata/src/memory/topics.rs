//! Topics in the in-memory model.

use std::collections::BTreeMap;

use async_trait::async_trait;
use segment::{LeaderEpoch, Offset, OrganizationId, PartitionIndex, PartitionKey, TimestampMs, TopicId};

use super::{MemoryStore, State, Topic};
use crate::{
    AlterTopicConfigsError, CreatePartitionsError, CreateTopicError, DeleteTopicError, NewTopic, StoreError, TopicRow,
    Topics,
};

#[async_trait]
impl Topics for MemoryStore {
    async fn organization(&self, name: &str) -> Result<Option<OrganizationId>, StoreError> {
        let _state = self.begin()?;
        Ok((name == "default").then_some(OrganizationId::DEFAULT))
    }

    async fn create_topic(&self, topic: NewTopic) -> Result<TopicRow, CreateTopicError> {
        let created_at = (self.clock)();
        let mut state = self.begin()?;
        let live = || state.topics.values().filter(|t| !t.deleted && t.row.organization == topic.organization);
        if let Some(existing) = live().find(|t| t.row.name == topic.name) {
            return Err(CreateTopicError::AlreadyExists(Box::new(existing.row.clone())));
        }
        let metric_name = topic.name.replace('.', "_");
        if let Some(other) = live().find(|t| t.row.name.replace('.', "_") == metric_name) {
            return Err(CreateTopicError::Collides(other.row.name.clone()));
        }
        let row = TopicRow {
            organization: topic.organization,
            topic_id: topic.topic_id,
            name: topic.name,
            partition_count: topic.partition_count,
            agent_group: topic.agent_group,
            replication_factor: topic.replication_factor,
            configs: topic.configs,
            created_at,
        };
        let changed = state.next_version();
        state.add_partitions(&row, 0..row.partition_count);
        state.topics.insert((row.organization, row.topic_id), Topic { row: row.clone(), deleted: false, changed });
        self.announce(&state);
        Ok(row)
    }

    async fn delete_topic(&self, organization: OrganizationId, topic_id: TopicId) -> Result<(), DeleteTopicError> {
        let mut state = self.begin()?;
        let Some(topic) = state.topics.get_mut(&(organization, topic_id)).filter(|t| !t.deleted) else {
            return Err(DeleteTopicError::Unknown);
        };
        topic.deleted = true;
        let name = topic.row.name.clone();
        let mut highest = -1;
        for key in state.partition_keys(organization, topic_id) {
            if let Some(partition) = state.partitions.get_mut(&key) {
                partition.deleted = true;
                partition.session = None;
                highest = highest.max(partition.leader_epoch);
            }
        }
        let floor = state.name_floors.entry((organization, name)).or_insert(-1);
        *floor = (*floor).max(highest);
        let version = state.next_version();
        state.deleted_topics.insert(version, (organization, topic_id));
        self.announce(&state);
        Ok(())
    }

    async fn create_partitions(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        total: i32,
    ) -> Result<TopicRow, CreatePartitionsError> {
        let mut state = self.begin()?;
        let Some(topic) = state.topics.get_mut(&(organization, topic_id)).filter(|t| !t.deleted) else {
            return Err(CreatePartitionsError::Unknown);
        };
        let current = topic.row.partition_count;
        if total <= current {
            return Err(CreatePartitionsError::NotMore { current });
        }
        topic.row.partition_count = total;
        let row = topic.row.clone();
        let changed = state.next_version();
        if let Some(topic) = state.topics.get_mut(&(organization, topic_id)) {
            topic.changed = changed;
        }
        state.add_partitions(&row, current..total);
        self.announce(&state);
        Ok(row)
    }

    async fn alter_topic_configs(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        expected: &BTreeMap<String, String>,
        configs: &BTreeMap<String, String>,
    ) -> Result<TopicRow, AlterTopicConfigsError> {
        self.change(|state| {
            let changed = state.version + 1;
            let topic = state.topics.get_mut(&(organization, topic_id)).filter(|topic| !topic.deleted);
            let topic = topic.ok_or(AlterTopicConfigsError::Unknown)?;
            if topic.row.configs != *expected {
                return Err(AlterTopicConfigsError::Changed(Box::new(topic.row.clone())));
            }
            topic.row.configs.clone_from(configs);
            topic.changed = changed;
            state.version = changed;
            Ok(topic.row.clone())
        })
    }

    async fn list_topics(&self) -> Result<Vec<TopicRow>, StoreError> {
        let state = self.begin()?;
        let mut rows: Vec<TopicRow> = state.topics.values().filter(|t| !t.deleted).map(|t| t.row.clone()).collect();
        rows.sort_by(|a, b| (a.organization, &a.name).cmp(&(b.organization, &b.name)));
        Ok(rows)
    }

    async fn purge_deleted(&self, rows: u32) -> Result<u64, StoreError> {
        let now = (self.clock)();
        let mut state = self.begin()?;
        let deleted: Vec<_> = state.topics.iter().filter(|(_, t)| t.deleted).map(|(key, _)| *key).collect();
        let mut purged = 0;
        for (organization, topic_id) in deleted {
            purged += state.purge_topic(organization, topic_id, u64::from(rows) - purged, now);
            if purged >= u64::from(rows) {
                break;
            }
        }
        Ok(purged)
    }

    async fn leader_epochs(
        &self,
        organization: OrganizationId,
        topic_id: TopicId,
        partition: PartitionIndex,
    ) -> Result<Vec<(LeaderEpoch, Offset)>, StoreError> {
        let state = self.begin()?;
        let key = PartitionKey { organization, topic_id, partition };
        let history = state.leader_epochs.range((key, 0)..=(key, Offset::MAX));
        Ok(history.map(|((_, start), epoch)| (*epoch, *start)).collect())
    }
}

impl State {
    /// Deletes at most `budget` rows of a deleted topic, its own row last; returns how many went.
    fn purge_topic(&mut self, organization: OrganizationId, topic_id: TopicId, budget: u64, now: TimestampMs) -> u64 {
        let belongs = |key: &PartitionKey| key.organization == organization && key.topic_id == topic_id;
        let mut left = budget;
        let ranges = remove_some(&mut self.ranges, |(key, _)| belongs(key), &mut left);
        self.retire_empty(ranges.iter().map(|range| range.slot), now);
        remove_some(&mut self.snapshots, |(key, _)| belongs(key), &mut left);
        remove_some(&mut self.leader_epochs, |(key, _)| belongs(key), &mut left);
        for (_, rows) in self.coordinator_rows.iter_mut().filter(|(key, _)| belongs(key)) {
            remove_some(rows, |_| true, &mut left);
        }
        self.coordinator_rows.retain(|_, rows| !rows.is_empty());
        remove_some(&mut self.partitions, belongs, &mut left);
        remove_some(&mut self.topics, |key| *key == (organization, topic_id), &mut left);
        budget - left
    }
}

/// Removes at most `left` entries whose key matches, and counts `left` down.
fn remove_some<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, matches: impl Fn(&K) -> bool, left: &mut u64) -> Vec<V> {
    let keys: Vec<K> = map.keys().filter(|key| matches(key)).cloned().collect();
    let mut removed = Vec::new();
    for key in keys {
        if *left == 0 {
            break;
        }
        removed.extend(map.remove(&key));
        *left -= 1;
    }
    removed
}
