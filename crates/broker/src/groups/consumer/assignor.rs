//! The server-side assignors: who should have which partition. Pure functions of members, topics and what was before.
//!
//! As Apache Kafka 4.1's `UniformAssignor` and `RangeAssignor`: the first spreads partitions evenly over the members and
//! moves as few as it can; the second gives ranges, so that equal partitions of co-partitioned topics meet in one member.
//! Every partition of every topic that anybody subscribed to is given to exactly one subscriber of it.

use std::collections::{BTreeMap, BTreeSet};

use segment::{PartitionIndex, TopicId};

use super::assignment::Assignment;
use super::{range, uniform, uniform_mixed};

/// Number of partitions of every topic that exists and anybody subscribed to.
pub(crate) type Topics = BTreeMap<TopicId, PartitionIndex>;

/// What an assignor sees of a member.
#[derive(Clone, Debug)]
pub(crate) struct Subscriber<'a> {
    pub(crate) member_id: &'a str,
    pub(crate) instance_id: Option<&'a str>,
    /// Topics it subscribed to; all of them exist.
    pub(crate) topics: &'a BTreeSet<TopicId>,
    /// What the last assignment gave it.
    pub(crate) previous: &'a Assignment,
}

/// The assignors, in the order in which clients are told of them; the first is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Even and sticky.
    Uniform,
    /// Ranges of partitions, for co-partitioned topics.
    Range,
}

impl Assignor {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// What each member should have, in the order of `members`.
    pub(crate) fn assign(self, members: &[Subscriber<'_>], topics: &Topics) -> Vec<Assignment> {
        match self {
            Self::Uniform if is_homogeneous(members) => uniform::assign(members, topics),
            Self::Uniform => uniform_mixed::assign(members, topics),
            Self::Range => range::assign(members, topics),
        }
    }
}

/// Whether all members subscribed to the same topics.
fn is_homogeneous(members: &[Subscriber<'_>]) -> bool {
    members.windows(2).all(|pair| pair[0].topics == pair[1].topics)
}

/// What each member may keep of what it had: still subscribed to, still there, and nobody's before it in the list.
/// With it, who owns what.
pub(super) fn kept(
    members: &[Subscriber<'_>],
    topics: &Topics,
) -> (Vec<Assignment>, BTreeMap<(TopicId, PartitionIndex), usize>) {
    let mut owners = BTreeMap::new();
    let mut kept = Vec::with_capacity(members.len());
    for (index, member) in members.iter().enumerate() {
        let exists = |topic, partition| topics.get(&topic).is_some_and(|count| (0..*count).contains(&partition));
        let may_keep = member.previous.iter().filter(|(topic, partition)| {
            member.topics.contains(topic) && exists(*topic, *partition) && !owners.contains_key(&(*topic, *partition))
        });
        let own: Assignment = may_keep.collect();
        owners.extend(own.iter().map(|partition| (partition, index)));
        kept.push(own);
    }
    (kept, owners)
}

#[cfg(test)]
#[path = "assignor_tests.rs"]
mod tests;
