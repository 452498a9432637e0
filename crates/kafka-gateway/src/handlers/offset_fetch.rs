//! OffsetFetch 1–10: one group below version 8, many from 8 on; topics by name, in version 10 by id.
//!
//! - Null topics (version 2+) ask for all that the group has. What was never committed, or is of a topic that does not exist, is
//!   offset -1 with empty metadata and no error; an unknown id is UNKNOWN_TOPIC_ID.
//! - What goes wrong for a whole group stands at each partition in version 1, at the top in 2 to 7, at the group from 8 on; where the
//!   coordinator is another agent or the epoch is stale, at each partition too ([`at_partitions`]).
//! - `require_stable` changes nothing while there are no transactions. The protocol crate's requests end at version 9:
//!   [`crate::named_by_id`] decodes version 10.

use std::sync::Arc;

use broker::groups::api::{FetchedOffset, GroupError, OffsetFetch};
use broker::{PartitionIndex, Topic, TopicId};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};

use crate::context::{Context, text};
use crate::error_code::{self, Code};

pub(crate) async fn handle(context: Arc<Context>, version: i16, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let require_stable = request.require_stable;
    if version >= 8 {
        let groups = request.groups.into_iter().map(|group| fetch(&context, version, group, require_stable));
        // Together: one confirmation of the leases serves them.
        return OffsetFetchResponse::default().with_groups(futures::future::join_all(groups).await);
    }
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter();
        topics
            .map(|topic| {
                let indexes = topic.partition_indexes;
                OffsetFetchRequestTopics::default().with_name(topic.name).with_partition_indexes(indexes)
            })
            .collect()
    });
    let group = OffsetFetchRequestGroup::default().with_group_id(request.group_id).with_topics(topics);
    let answer = fetch(&context, version, group, require_stable).await;
    let response = OffsetFetchResponse::default().with_topics(answer.topics.into_iter().map(below_8).collect());
    if version >= 2 { response.with_error_code(answer.error_code) } else { response }
}

pub(crate) fn has_error(response: &OffsetFetchResponse) -> bool {
    response.error_code != 0 || response.groups.iter().any(|group| group.error_code != 0)
}

async fn fetch(
    context: &Context,
    version: i16,
    group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let asked = group.topics.map(|topics| resolve(context, version, topics));
    let partitions = asked.as_ref().map(|asked| {
        let known = asked.iter().filter_map(|(_, topic, indexes)| Some((topic.as_ref()?.topic_id, indexes)));
        known.flat_map(|(topic_id, indexes)| indexes.iter().map(move |index| (topic_id, *index))).collect()
    });
    let request = OffsetFetch {
        group_id: group.group_id.to_string(),
        member_id: group.member_id.map(|id| id.to_string()),
        member_epoch: group.member_epoch,
        partitions,
        require_stable,
    };
    let fetched = context.broker.fetch_offsets(context.organization, request).await;
    let answer = OffsetFetchResponseGroup::default().with_group_id(group.group_id);
    match (fetched, asked) {
        (Ok(fetched), None) => answer.with_topics(all(context, version, fetched)),
        (Ok(fetched), Some(asked)) => answer.with_topics(in_order(version, fetched, asked)),
        (Err(error), Some(asked)) if version < 2 => answer.with_topics(failed(version, error, asked)),
        (Err(error), asked) => {
            let asked_again = asked.and_then(|asked| Some(failed(version, at_partitions(error)?, asked)));
            answer.with_error_code(error_code::of_group(error).code()).with_topics(asked_again.unwrap_or_default())
        }
    }
}

/// What stands at the partitions beside an error of the group, for librdkafka (2.16): what it does not find there it never asks for
/// again, and consumes it no more. What is unstable it asks for at once, from the coordinator that it looks for; what is stale, once it
/// has heard of the epoch. Others look at the group's error first, and no farther.
const fn at_partitions(of_group: GroupError) -> Option<GroupError> {
    match of_group {
        GroupError::NotCoordinator => Some(GroupError::UnstableOffsetCommit),
        GroupError::StaleMemberEpoch => Some(GroupError::StaleMemberEpoch),
        _ => None,
    }
}

/// A topic as it was asked for, what it is, and which partitions of it.
type Asked = (OffsetFetchRequestTopics, Option<Arc<Topic>>, Vec<PartitionIndex>);

fn resolve(context: &Context, version: i16, topics: Vec<OffsetFetchRequestTopics>) -> Vec<Asked> {
    let resolved = topics.into_iter().map(|mut topic| {
        let found = if version >= 10 { context.topic_by_id(topic.topic_id) } else { context.topic(&topic.name) };
        let indexes = std::mem::take(&mut topic.partition_indexes);
        (topic, found, indexes)
    });
    resolved.collect()
}

/// All that the group has, of topics that exist.
fn all(context: &Context, version: i16, fetched: Vec<FetchedOffset>) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
    let mut last: Option<TopicId> = None;
    for offset in fetched {
        let Some(topic) = context.topic_by_id(offset.topic_id.0) else { continue };
        if last != Some(offset.topic_id) {
            last = Some(offset.topic_id);
            let name = TopicName(text(topic.name.as_str()));
            topics.push(headed(version, OffsetFetchRequestTopics::default().with_name(name), offset.topic_id.0));
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(told(offset));
        }
    }
    topics
}

/// Answers in the order of the request; the broker's are in the order of its known topics.
fn in_order(version: i16, fetched: Vec<FetchedOffset>, asked: Vec<Asked>) -> Vec<OffsetFetchResponseTopics> {
    let mut fetched = fetched.into_iter();
    let topics = asked.into_iter().map(|(topic, found, indexes)| {
        let unknown = if version >= 10 { Code::UnknownTopicId.code() } else { 0 };
        let partitions = indexes.into_iter().map(|index| match &found {
            Some(_) => fetched.next().map_or_else(|| nothing(index, 0), told),
            None => nothing(index, unknown),
        });
        let partitions = partitions.collect();
        let id = topic.topic_id;
        headed(version, topic, id).with_partitions(partitions)
    });
    topics.collect()
}

fn failed(version: i16, error: GroupError, asked: Vec<Asked>) -> Vec<OffsetFetchResponseTopics> {
    let code = error_code::of_group(error).code();
    let topics = asked.into_iter().map(|(topic, _, indexes)| {
        let partitions = indexes.into_iter().map(|index| nothing(index, code));
        let (partitions, id) = (partitions.collect(), topic.topic_id);
        headed(version, topic, id).with_partitions(partitions)
    });
    topics.collect()
}

fn headed(version: i16, topic: OffsetFetchRequestTopics, id: uuid::Uuid) -> OffsetFetchResponseTopics {
    let answer = OffsetFetchResponseTopics::default();
    if version >= 10 { answer.with_topic_id(id) } else { answer.with_name(topic.name) }
}

fn told(offset: FetchedOffset) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(offset.partition)
        .with_committed_offset(offset.offset)
        .with_committed_leader_epoch(offset.leader_epoch)
        .with_metadata(Some(text(offset.metadata)))
        .with_error_code(error_code::of_group_outcome(offset.error))
}

fn nothing(index: PartitionIndex, code: i16) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(index)
        .with_committed_offset(-1)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(text("")))
        .with_error_code(code)
}

fn below_8(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    });
    OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
}
