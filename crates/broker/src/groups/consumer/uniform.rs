//! `uniform`, where all members subscribed to the same topics: even within one partition, and as sticky as that allows.
//!
//! Everybody gets `partitions / members`, and the remainder goes one each to members that have more already, then to the
//! first ones. (Apache Kafka gives the remainder to the first ones, whatever they had; more moves than needed.)
//! Over its share a member gives up its last partitions; what is free goes to those below their share, in order.

use segment::{PartitionIndex, TopicId};

use super::assignment::Assignment;
use super::assignor::{Subscriber, Topics, kept};

/// What each member should have.
pub(super) fn assign(members: &[Subscriber<'_>], topics: &Topics) -> Vec<Assignment> {
    let Some(first) = members.first() else { return Vec::new() };
    let subscribed = topics.iter().filter(|(topic, _)| first.topics.contains(topic));
    let all: Vec<(TopicId, PartitionIndex)> =
        subscribed.flat_map(|(topic, count)| (0..*count).map(|partition| (*topic, partition))).collect();
    let (mut target, owners) = kept(members, topics);
    let shares = shares(&target, all.len());
    let mut free: Vec<_> = all.into_iter().filter(|partition| !owners.contains_key(partition)).collect();
    for (own, share) in target.iter_mut().zip(&shares) {
        let surplus: Vec<_> = own.iter().skip(*share).collect();
        for (topic, partition) in surplus {
            own.remove(topic, partition);
            free.push((topic, partition));
        }
    }
    let mut free = free.into_iter();
    for (own, share) in target.iter_mut().zip(&shares) {
        let missing = share.saturating_sub(own.len());
        own.extend(free.by_ref().take(missing));
    }
    target
}

/// How many partitions each member gets.
fn shares(kept: &[Assignment], partitions: usize) -> Vec<usize> {
    let least = partitions / kept.len();
    let mut remainder = partitions % kept.len();
    let mut shares = vec![least; kept.len()];
    for has_more in [true, false] {
        for (share, own) in shares.iter_mut().zip(kept) {
            if remainder > 0 && (own.len() > least) == has_more {
                *share += 1;
                remainder -= 1;
            }
        }
    }
    shares
}
