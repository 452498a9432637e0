//! `range`: each topic is cut into ranges, one per subscriber, in the order of instance ids, then member ids.
//!
//! Topics with the same number of partitions and the same subscribers are cut alike, so that a member gets the same
//! partitions of all of them. Static members come first: their order outlives a restart, and so do their ranges.

use std::collections::BTreeMap;

use segment::{PartitionIndex, TopicId};

use super::assignment::Assignment;
use super::assignor::{Subscriber, Topics};

/// What each member should have.
pub(super) fn assign(members: &[Subscriber<'_>], topics: &Topics) -> Vec<Assignment> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|index| {
        let member = &members[*index];
        (member.instance_id.is_none(), member.instance_id, member.member_id)
    });
    let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for index in order {
        for topic in members[index].topics {
            subscribers.entry(*topic).or_default().push(index);
        }
    }
    let mut target = vec![Assignment::default(); members.len()];
    for (topic, subscribers) in subscribers {
        let mut left = topics.get(&topic).copied().unwrap_or(0);
        let mut begin: PartitionIndex = 0;
        for (place, member) in subscribers.iter().enumerate() {
            // The first ones get one more: rounding up what is left over those who are left.
            let waiting = PartitionIndex::try_from(subscribers.len() - place).unwrap_or(PartitionIndex::MAX);
            let share = left / waiting + PartitionIndex::from(left % waiting > 0);
            target[*member].extend((begin..begin + share).map(|partition| (topic, partition)));
            begin += share;
            left -= share;
        }
    }
    target
}
