//! A group as ConsumerGroupDescribe tells it. Partitions of topics that are not there any more are left out.

use super::assignment::Assignment;
use super::consumer_group::ConsumerGroup;
use super::member::Member;
use crate::groups::api::{GroupState, GroupType, ListedGroup};
use crate::groups::api_consumer::{DescribedConsumer, DescribedConsumerGroup, DescribedTopic};
use crate::groups::topics_view::TopicsView;

impl ConsumerGroup {
    /// For ConsumerGroupDescribe.
    pub(crate) fn describe(&self, topics: &TopicsView) -> DescribedConsumerGroup {
        let nothing = Assignment::default();
        let members = self.members.iter().map(|(member_id, member)| {
            let target = self.targets.get(member_id).unwrap_or(&nothing);
            describe_member(member_id, member, target, topics)
        });
        DescribedConsumerGroup {
            group_id: self.group_id.clone(),
            state: self.state(),
            group_epoch: self.epochs.group,
            assignment_epoch: self.epochs.target,
            assignor: self.assignor(),
            members: members.collect(),
        }
    }

    /// For ListGroups.
    pub(crate) fn listed(&self) -> ListedGroup {
        let (protocol_type, state): (_, GroupState) = ("consumer".to_owned(), self.state());
        ListedGroup { group_id: self.group_id.clone(), protocol_type, state, group_type: GroupType::Consumer }
    }
}

fn describe_member(member_id: &str, member: &Member, target: &Assignment, topics: &TopicsView) -> DescribedConsumer {
    let Member { metadata, current } = member;
    DescribedConsumer {
        member_id: member_id.to_owned(),
        instance_id: metadata.instance_id.clone(),
        rack_id: metadata.rack_id.clone(),
        member_epoch: current.epoch,
        is_classic: metadata.classic.is_some(),
        client_id: metadata.client_id.clone(),
        client_host: metadata.client_host.clone(),
        subscribed_topic_names: metadata.subscribed_topic_names.iter().cloned().collect(),
        subscribed_topic_regex: metadata.subscribed_topic_regex.clone(),
        assignment: describe_topics(&current.assigned, topics),
        target_assignment: describe_topics(target, topics),
    }
}

fn describe_topics(assignment: &Assignment, topics: &TopicsView) -> Vec<DescribedTopic> {
    let known = assignment.topics().filter_map(|(topic_id, partitions)| {
        let name = topics.by_id(topic_id)?.name.clone();
        Some(DescribedTopic { topic_id, name, partitions: partitions.iter().copied().collect() })
    });
    known.collect()
}
