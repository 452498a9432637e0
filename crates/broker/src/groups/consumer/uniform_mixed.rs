//! `uniform`, where members subscribed to different topics: as even as the subscriptions allow, then sticky.
//!
//! Members keep what they had. What is free goes to the subscriber that has least, topics with the fewest choices (most
//! partitions per subscriber) first. Then partitions move from the fullest owner to the emptiest subscriber of their topic while
//! that makes a difference of two or more smaller. Each move lowers the sum of the squares of the loads, so it ends; then
//! no single move makes it more even, which is what Apache Kafka calls balanced.

use std::collections::{BTreeMap, BTreeSet};

use segment::{PartitionIndex, TopicId};

use super::assignment::Assignment;
use super::assignor::{Subscriber, Topics, kept};

struct Topic {
    topic_id: TopicId,
    partitions: PartitionIndex,
    subscribers: Vec<usize>,
}

/// What each member should have.
pub(super) fn assign(members: &[Subscriber<'_>], topics: &Topics) -> Vec<Assignment> {
    let (mut target, owners) = kept(members, topics);
    let mut loads: Vec<usize> = target.iter().map(Assignment::len).collect();
    let topics = by_choice(members, topics);
    for topic in &topics {
        let mut emptiest: BTreeSet<_> = topic.subscribers.iter().map(|member| (loads[*member], *member)).collect();
        for partition in (0..topic.partitions).filter(|index| !owners.contains_key(&(topic.topic_id, *index))) {
            let Some((load, member)) = emptiest.pop_first() else { break };
            target[member].insert(topic.topic_id, partition);
            loads[member] = load + 1;
            emptiest.insert((load + 1, member));
        }
    }
    let mut has_moved = true;
    while has_moved {
        has_moved = false;
        for topic in &topics {
            has_moved |= balance(topic, &mut target, &mut loads);
        }
    }
    target
}

/// The topics, those with most partitions per subscriber first, then those with fewest subscribers.
fn by_choice(members: &[Subscriber<'_>], topics: &Topics) -> Vec<Topic> {
    let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        for topic in member.topics {
            subscribers.entry(*topic).or_default().push(index);
        }
    }
    let known = subscribers.into_iter().filter_map(|(topic_id, subscribers)| {
        topics.get(&topic_id).map(|partitions| Topic { topic_id, partitions: *partitions, subscribers })
    });
    let mut sorted: Vec<Topic> = known.collect();
    let weight = |topic: &Topic, other: &Topic| i64::from(topic.partitions) * other.subscribers.len() as i64;
    sorted.sort_by(|a, b| weight(b, a).cmp(&weight(a, b)).then_with(|| a.subscribers.len().cmp(&b.subscribers.len())));
    sorted
}

/// Evens out one topic among its subscribers; whether anything moved.
fn balance(topic: &Topic, target: &mut [Assignment], loads: &mut [usize]) -> bool {
    let mut emptiest: BTreeSet<_> = topic.subscribers.iter().map(|member| (loads[*member], *member)).collect();
    let partitions_of = |member: &usize| target[*member].of_topic(topic.topic_id).collect::<Vec<_>>();
    let mut owned: BTreeMap<usize, Vec<PartitionIndex>> =
        topic.subscribers.iter().map(|member| (*member, partitions_of(member))).collect();
    let mut fullest: BTreeSet<_> = owned.keys().map(|member| (loads[*member], *member)).collect();
    let mut moved = false;
    while let (Some(&(low, to)), Some(&(high, from))) = (emptiest.first(), fullest.last()) {
        if high < low + 2 {
            break;
        }
        let Some(partition) = owned.get_mut(&from).and_then(Vec::pop) else {
            fullest.remove(&(high, from)); // it has others, but none of this topic any more
            continue;
        };
        target[from].remove(topic.topic_id, partition);
        target[to].insert(topic.topic_id, partition);
        owned.entry(to).or_default().push(partition);
        for (member, before, after) in [(from, high, high - 1), (to, low, low + 1)] {
            loads[member] = after;
            emptiest.remove(&(before, member));
            emptiest.insert((after, member));
            fullest.remove(&(before, member));
            fullest.insert((after, member));
        }
        moved = true;
    }
    moved
}
