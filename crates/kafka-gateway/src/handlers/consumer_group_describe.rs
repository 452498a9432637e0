//! ConsumerGroupDescribe 0–1 (KIP-848). A group that does not exist, or is a classic one, is GROUP_ID_NOT_FOUND: the Java
//! client then asks DescribeGroups. Version 1 tells what protocol each member speaks.

use std::sync::Arc;

use broker::groups::api_consumer::{DescribedConsumer, DescribedConsumerGroup, DescribedTopic};
use kafka_protocol::messages::consumer_group_describe_response::{Assignment, DescribedGroup, Member, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId, TopicName};

use crate::context::{Context, GROUP_OPERATIONS, optional_text, text};
use crate::error_code;

/// `member_type` of a member that speaks the classic protocol.
const MEMBER_TYPE_CLASSIC: i8 = 0;
/// `member_type` of a member that speaks KIP-848.
const MEMBER_TYPE_CONSUMER: i8 = 1;

pub(crate) async fn handle(
    context: Arc<Context>,
    version: i16,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let mut groups = Vec::with_capacity(request.group_ids.len());
    for group_id in request.group_ids {
        let described = context.broker.describe_consumer_group(context.organization, group_id.to_string()).await;
        groups.push(match described {
            Ok(group) if request.include_authorized_operations => {
                shown(version, group).with_authorized_operations(GROUP_OPERATIONS)
            }
            Ok(group) => shown(version, group),
            Err(refused) => DescribedGroup::default()
                .with_group_id(group_id)
                .with_error_code(error_code::of_group(refused.error).code())
                .with_error_message(Some(text(refused.message))),
        });
    }
    ConsumerGroupDescribeResponse::default().with_groups(groups)
}

pub(crate) fn has_error(response: &ConsumerGroupDescribeResponse) -> bool {
    response.groups.iter().any(|group| group.error_code != 0)
}

fn shown(version: i16, group: DescribedConsumerGroup) -> DescribedGroup {
    DescribedGroup::default()
        .with_group_id(GroupId(text(group.group_id)))
        .with_group_state(text(group.state.as_str()))
        .with_group_epoch(group.group_epoch)
        .with_assignment_epoch(group.assignment_epoch)
        .with_assignor_name(text(group.assignor.name()))
        .with_members(group.members.into_iter().map(|member| shown_member(version, member)).collect())
}

fn shown_member(version: i16, member: DescribedConsumer) -> Member {
    let member_type = if member.is_classic { MEMBER_TYPE_CLASSIC } else { MEMBER_TYPE_CONSUMER };
    let names = member.subscribed_topic_names.into_iter();
    let shown = Member::default()
        .with_member_id(text(member.member_id))
        .with_instance_id(optional_text(member.instance_id))
        .with_rack_id(optional_text(member.rack_id))
        .with_member_epoch(member.member_epoch)
        .with_client_id(text(member.client_id))
        .with_client_host(text(member.client_host))
        .with_subscribed_topic_names(names.map(|name| TopicName(text(name))).collect())
        .with_subscribed_topic_regex(Some(text(member.subscribed_topic_regex)))
        .with_assignment(shown_assignment(member.assignment))
        .with_target_assignment(shown_assignment(member.target_assignment));
    if version >= 1 { shown.with_member_type(member_type) } else { shown }
}

fn shown_assignment(topics: Vec<DescribedTopic>) -> Assignment {
    let topics = topics.into_iter().map(|topic| {
        TopicPartitions::default()
            .with_topic_id(topic.topic_id.0)
            .with_topic_name(TopicName(text(topic.name)))
            .with_partitions(topic.partitions)
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
