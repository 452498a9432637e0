//! A group with the rows that were written of it, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metadata::{CoordinatorChange, CoordinatorKey, CoordinatorRow};
use segment::{OrganizationId, PartitionIndex, TopicId};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Assignment, ConsumerGroup, ConsumerSettings};
use crate::groups::api::GroupError;
use crate::groups::api_consumer::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, HeartbeatRefused};
use crate::groups::topics_view::TopicsView;
use crate::topics::Topic;

pub(super) struct Rig {
    pub(super) group: ConsumerGroup,
    pub(super) now: Instant,
    pub(super) rows: BTreeMap<CoordinatorKey, Bytes>,
    pub(super) topics: TopicsView,
    counts: BTreeMap<u128, PartitionIndex>,
}

pub(super) fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

/// Partitions as (number of the topic, partition).
pub(super) fn partitions(all: &[(u128, PartitionIndex)]) -> Assignment {
    all.iter().map(|(number, partition)| (topic(*number), *partition)).collect()
}

/// A member joins.
pub(super) fn join(member_id: &str, names: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        rebalance_timeout: Some(Duration::from_secs(60)),
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        subscribed_topic_names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        owned: Some(Assignment::default()),
        ..ConsumerHeartbeat::default()
    }
}

/// A static member joins.
pub(super) fn join_static(member_id: &str, instance_id: &str, names: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat { instance_id: Some(instance_id.to_owned()), ..join(member_id, names) }
}

/// A member says nothing but that it is there.
pub(super) fn beat(member_id: &str, member_epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        member_id: member_id.to_owned(),
        member_epoch,
        rebalance_timeout: None,
        subscribed_topic_names: None,
        owned: None,
        ..join(member_id, &[])
    }
}

/// A member says what it has.
pub(super) fn owning(member_id: &str, member_epoch: i32, owned: &[(u128, PartitionIndex)]) -> ConsumerHeartbeat {
    ConsumerHeartbeat { owned: Some(partitions(owned)), ..beat(member_id, member_epoch) }
}

impl Rig {
    /// Topics `t1`, `t2`, … by number, with their partitions.
    pub(super) fn new(topics: &[(u128, PartitionIndex)]) -> Self {
        let mut rig = Self {
            group: ConsumerGroup::new("g".to_owned(), ConsumerSettings { max_size: 4, ..ConsumerSettings::default() }),
            now: Instant::now(),
            rows: BTreeMap::new(),
            topics: TopicsView::default(),
            counts: BTreeMap::new(),
        };
        topics.iter().for_each(|(number, count)| rig.set_topic(*number, Some(*count)));
        rig
    }

    /// Creates a topic, gives it partitions, or deletes it.
    pub(super) fn set_topic(&mut self, number: u128, count: Option<PartitionIndex>) {
        match count {
            Some(count) => self.counts.insert(number, count),
            None => self.counts.remove(&number),
        };
        let topic = |(number, count): (&u128, &PartitionIndex)| {
            Arc::new(Topic {
                organization: OrganizationId::DEFAULT,
                topic_id: topic(*number),
                name: format!("t{number}"),
                partition_count: *count,
                agent_group: String::new(),
                replication_factor: 1,
                configs: BTreeMap::new(),
            })
        };
        self.topics = TopicsView::new(self.topics.version() + 1, self.counts.iter().map(topic).collect());
    }

    pub(super) fn send(&mut self, request: &ConsumerHeartbeat) -> Result<ConsumerHeartbeatAnswer, HeartbeatRefused> {
        let mut changes = Vec::new();
        let answer = self.group.heartbeat(self.now, request, &self.topics, &mut changes);
        if answer.is_err() {
            assert_eq!(changes, [], "a refused heartbeat changed something");
        }
        self.store(changes);
        answer
    }

    /// The answer's epoch and assignment.
    pub(super) fn told(&mut self, request: &ConsumerHeartbeat) -> (i32, Option<Assignment>) {
        let answer = self.send(request).unwrap();
        (answer.member_epoch, answer.assignment)
    }

    pub(super) fn refusal(&mut self, request: &ConsumerHeartbeat) -> GroupError {
        self.send(request).unwrap_err().error
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        let mut changes = Vec::new();
        self.group.tick(self.now, &mut changes);
        self.store(changes);
    }

    /// Another coordinator takes over.
    pub(super) fn restore(&mut self) {
        let mut group = ConsumerGroup::new("g".to_owned(), self.group.settings);
        for (key, value) in &self.rows {
            let row = CoordinatorRow { key: key.clone(), value: value.clone() };
            group.load(self.now, &row).unwrap();
        }
        assert_eq!(group.members, self.group.members);
        assert_eq!(group.targets, self.group.targets);
        assert_eq!(group.epochs, self.group.epochs);
        assert_eq!(group.static_members, self.group.static_members);
        let mut changes = Vec::new();
        group.write(&mut changes);
        assert_eq!(changes, [], "what was just read is written again");
        self.group = group;
    }

    fn store(&mut self, changes: Vec<CoordinatorChange>) {
        for CoordinatorChange { key, value } in changes {
            match value {
                Some(value) => drop(self.rows.insert(key, value)),
                None => drop(self.rows.remove(&key)),
            }
        }
    }
}
