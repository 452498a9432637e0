//! A set of partitions: what a member owns, should own, or has to give up.
//!
//! In order of topic and partition, so that everything made from it (rows, answers, assignments) is the same each time.

use std::collections::{BTreeMap, BTreeSet};

use segment::{PartitionIndex, TopicId};

/// Partitions by topic. No topic is there without partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment(BTreeMap<TopicId, BTreeSet<PartitionIndex>>);

impl Assignment {
    /// Whether it was not there.
    pub fn insert(&mut self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.0.entry(topic).or_default().insert(partition)
    }

    /// Whether it was there.
    pub fn remove(&mut self, topic: TopicId, partition: PartitionIndex) -> bool {
        let Some(partitions) = self.0.get_mut(&topic) else { return false };
        let removed = partitions.remove(&partition);
        if partitions.is_empty() {
            self.0.remove(&topic);
        }
        removed
    }

    /// Whether it is there.
    #[must_use]
    pub fn contains(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.0.get(&topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    /// Number of partitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every partition, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> + '_ {
        self.0.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)))
    }

    /// Every topic with its partitions, in order.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (TopicId, &BTreeSet<PartitionIndex>)> + '_ {
        self.0.iter().map(|(topic, partitions)| (*topic, partitions))
    }

    /// The partitions of one topic, in order.
    pub fn of_topic(&self, topic: TopicId) -> impl Iterator<Item = PartitionIndex> + '_ {
        self.0.get(&topic).into_iter().flatten().copied()
    }

    /// Whether `other` has all of these.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().all(|(topic, own)| other.0.get(topic).is_some_and(|partitions| own.is_subset(partitions)))
    }

    /// Whether `other` has any of these.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.iter().any(|(topic, partition)| other.contains(topic, partition))
    }

    /// Those that `other` has, and those that it has not.
    #[must_use]
    pub fn split(&self, other: &Self) -> (Self, Self) {
        self.iter().partition(|(topic, partition)| other.contains(*topic, *partition))
    }
}

impl Extend<(TopicId, PartitionIndex)> for Assignment {
    fn extend<I: IntoIterator<Item = (TopicId, PartitionIndex)>>(&mut self, partitions: I) {
        for (topic, partition) in partitions {
            self.insert(topic, partition);
        }
    }
}

impl FromIterator<(TopicId, PartitionIndex)> for Assignment {
    fn from_iter<I: IntoIterator<Item = (TopicId, PartitionIndex)>>(partitions: I) -> Self {
        let mut all = Self::default();
        all.extend(partitions);
        all
    }
}
