//! What the assignors promise, as properties of random groups, and Kafka's own examples.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use segment::{PartitionIndex, TopicId};
use uuid::Uuid;

use super::*;

/// Members with their subscriptions and what they had, and the topics there are.
#[derive(Clone, Debug)]
struct Group {
    members: Vec<(String, Option<String>, BTreeSet<TopicId>, Assignment)>,
    topics: Topics,
}

impl Group {
    fn subscribers(&self) -> Vec<Subscriber<'_>> {
        self.members
            .iter()
            .map(|(member_id, instance_id, topics, previous)| Subscriber {
                member_id,
                instance_id: instance_id.as_deref(),
                topics,
                previous,
            })
            .collect()
    }

    fn assign(&self, assignor: Assignor) -> Vec<Assignment> {
        assignor.assign(&self.subscribers(), &self.topics)
    }

    /// The group after this assignment.
    fn assigned(mut self, target: Vec<Assignment>) -> Self {
        for (member, own) in self.members.iter_mut().zip(target) {
            member.3 = own;
        }
        self
    }
}

fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn owners(target: &[Assignment]) -> BTreeMap<(TopicId, PartitionIndex), usize> {
    let mut owners = BTreeMap::new();
    for (index, own) in target.iter().enumerate() {
        for partition in own.iter() {
            assert_eq!(owners.insert(partition, index), None, "{partition:?} has two owners");
        }
    }
    owners
}

/// Every partition of a subscribed topic has one owner, who subscribed to it, and nothing else has.
fn assert_complete(group: &Group, target: &[Assignment]) {
    assert_eq!(target.len(), group.members.len());
    let owners = owners(target);
    for ((topic, partition), owner) in &owners {
        assert!(group.members[*owner].2.contains(topic), "owner did not subscribe");
        assert!(*partition < group.topics[topic], "no such partition");
    }
    let subscribed =
        group.topics.iter().filter(|(topic, _)| group.members.iter().any(|member| member.2.contains(topic)));
    let partitions: PartitionIndex = subscribed.map(|(_, count)| *count).sum();
    assert_eq!(owners.len(), usize::try_from(partitions).unwrap(), "a partition without an owner");
}

/// No single partition could move and make it more even.
fn assert_balanced(group: &Group, target: &[Assignment]) {
    for ((topic, _), owner) in owners(target) {
        for (index, member) in group.members.iter().enumerate() {
            assert!(
                !member.2.contains(&topic) || target[owner].len() <= target[index].len() + 1,
                "{} and {} partitions",
                target[owner].len(),
                target[index].len()
            );
        }
    }
}

fn moves(before: &[Assignment], after: &[Assignment]) -> usize {
    before.iter().zip(after).map(|(before, after)| before.split(after).1.len()).sum()
}

prop_compose! {
    /// Up to 8 members and 5 topics; what members had may be anything, also what is gone or another's.
    fn groups(homogeneous: bool)(
        counts in prop::collection::vec(0..7i32, 1..6),
        members in prop::collection::vec((any::<u8>(), any::<bool>(), prop::collection::vec((0..7u128, 0..8i32), 0..9)), 1..8),
    ) -> Group {
        let topics: Topics = (0..).map(topic).zip(counts).collect();
        let everything = members[0].0;
        let members = members.into_iter().enumerate().map(|(index, (bits, is_static, previous))| {
            let bits = if homogeneous { everything } else { bits };
            let chosen = topics.keys().enumerate().filter(|(place, _)| bits >> place & 1 == 1).map(|(_, id)| *id);
            let instance = is_static.then(|| format!("i{index}"));
            let previous = previous.into_iter().map(|(number, partition)| (topic(number), partition)).collect();
            (format!("m{index}"), instance, chosen.collect(), previous)
        });
        Group { members: members.collect(), topics: topics.clone() }
    }
}

proptest! {
    #[test]
    fn uniform_gives_members_with_one_subscription_even_shares(group in groups(true)) {
        let target = group.assign(Assignor::Uniform);
        assert_complete(&group, &target);
        let sizes: Vec<usize> = target.iter().map(Assignment::len).collect();
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
    }

    #[test]
    fn uniform_moves_no_more_than_even_shares_need(group in groups(true)) {
        let group = { let target = group.assign(Assignor::Uniform); group.assigned(target) };
        // One member leaves, one joins, a topic grows: what each kept is what it had, up to the largest even shares.
        for change in 0..3 {
            let mut changed = group.clone();
            match change {
                0 if changed.members.len() > 1 => { changed.members.remove(0); }
                1 => {
                    let subscription = changed.members[0].2.clone();
                    changed.members.push(("new".to_owned(), None, subscription, Assignment::default()));
                }
                _ => { changed.topics.entry(topic(0)).and_modify(|count| *count += 3); }
            }
            let target = changed.assign(Assignor::Uniform);
            assert_complete(&changed, &target);
            let total: usize = target.iter().map(Assignment::len).sum();
            let (least, mut more) = (total / target.len(), total % target.len());
            let mut needed = 0;
            for (.., before) in &changed.members {
                let keeps = before.len().min(least + usize::from(more > 0));
                more -= usize::from(keeps > least);
                needed += before.len() - keeps;
            }
            let before: Vec<_> = changed.members.iter().map(|member| member.3.clone()).collect();
            prop_assert_eq!(moves(&before, &target), needed);
        }
    }

    #[test]
    fn uniform_balances_mixed_subscriptions(group in groups(false)) {
        let target = group.assign(Assignor::Uniform);
        assert_complete(&group, &target);
        assert_balanced(&group, &target);
    }

    #[test]
    fn uniform_leaves_what_is_balanced(group in groups(false)) {
        let target = group.assign(Assignor::Uniform);
        let again = group.assigned(target.clone()).assign(Assignor::Uniform);
        prop_assert_eq!(target, again);
    }

    #[test]
    fn range_gives_each_subscriber_one_range_of_each_topic(group in groups(false)) {
        let target = group.assign(Assignor::Range);
        assert_complete(&group, &target);
        for topic in group.topics.keys() {
            let subscribed = group.members.iter().zip(&target).filter(|(member, _)| member.2.contains(topic));
            let ranges: Vec<Vec<_>> = subscribed.map(|(_, own)| own.of_topic(*topic).collect()).collect();
            for range in &ranges {
                prop_assert!(range.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{range:?}");
            }
            let sizes = ranges.iter().map(Vec::len);
            prop_assert!(sizes.clone().max().unwrap_or(0) - sizes.min().unwrap_or(0) <= 1);
        }
    }
}

fn group(members: &[(&str, Option<&str>)], topics: &[(u128, PartitionIndex)]) -> Group {
    let all: BTreeSet<_> = topics.iter().map(|(number, _)| topic(*number)).collect();
    let member = |(id, instance): &(&str, Option<&str>)| {
        ((*id).to_owned(), instance.map(str::to_owned), all.clone(), Assignment::default())
    };
    Group {
        members: members.iter().map(member).collect(),
        topics: topics.iter().map(|(number, count)| (topic(*number), *count)).collect(),
    }
}

fn partitions(all: &[(u128, PartitionIndex)]) -> Assignment {
    all.iter().map(|(number, partition)| (topic(*number), *partition)).collect()
}

#[test]
fn range_meets_equal_partitions_in_one_member() {
    let target = group(&[("a", None), ("b", None)], &[(1, 3), (2, 3)]).assign(Assignor::Range);
    assert_eq!(target[0], partitions(&[(1, 0), (1, 1), (2, 0), (2, 1)]));
    assert_eq!(target[1], partitions(&[(1, 2), (2, 2)]));
}

#[test]
fn range_goes_by_instance_ids_before_member_ids() {
    let target = group(&[("a", None), ("b", Some("y")), ("c", Some("x"))], &[(1, 3)]).assign(Assignor::Range);
    assert_eq!(target, [partitions(&[(1, 2)]), partitions(&[(1, 1)]), partitions(&[(1, 0)])]);
}

#[test]
fn uniform_keeps_the_remainder_where_it_is() {
    let mut group = group(&[("a", None), ("b", None)], &[(1, 3)]);
    group.members[1].3 = partitions(&[(1, 0), (1, 1)]);
    group.members[0].3 = partitions(&[(1, 2)]);
    let target = group.assign(Assignor::Uniform);
    assert_eq!(target, [partitions(&[(1, 2)]), partitions(&[(1, 0), (1, 1)])]);
}

#[test]
fn nobody_gets_nothing() {
    for assignor in Assignor::ALL {
        assert_eq!(assignor.assign(&[], &Topics::new()), []);
        assert_eq!(Assignor::of_name(assignor.name()), Some(assignor));
    }
    assert_eq!(Assignor::of_name("sticky"), None);
}
