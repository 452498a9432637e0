//! OffsetCommit 2–10: topics by name, in version 10 by id. The answer comes when the offsets are durable.
//!
//! A topic or partition that does not exist is UNKNOWN_TOPIC_OR_PARTITION (an id UNKNOWN_TOPIC_ID), and does not hinder the
//! others. A retention of versions 2 to 4 counts from now. The protocol crate's requests end at version 9:
//! [`crate::named_by_id`] decodes version 10.

use std::sync::Arc;
use std::time::Duration;

use broker::groups::api::{OffsetCommit, OffsetToCommit};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use crate::context::Context;
use crate::error_code::{self, Code};

pub(crate) async fn handle(context: Arc<Context>, version: i16, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let mut partitions = Vec::new();
    // Where in the answer the outcome of each of `partitions` belongs.
    let mut places = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let (found, unknown) = if version >= 10 {
            (context.topic_by_id(topic.topic_id), Code::UnknownTopicId)
        } else {
            (context.topic(&topic.name), Code::UnknownTopicOrPartition)
        };
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.partition_index;
            let code = match &found {
                None => unknown.code(),
                Some(found) if !(0..found.partition_count).contains(&index) => Code::UnknownTopicOrPartition.code(),
                Some(found) => {
                    places.push((topics.len(), answers.len()));
                    partitions.push(OffsetToCommit {
                        topic_id: found.topic_id,
                        partition: index,
                        offset: partition.committed_offset,
                        leader_epoch: if version >= 6 { partition.committed_leader_epoch } else { -1 },
                        metadata: partition.committed_metadata.map(|text| text.to_string()).unwrap_or_default(),
                    });
                    0
                }
            };
            answers.push(OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code));
        }
        let answer = OffsetCommitResponseTopic::default().with_partitions(answers);
        topics.push(if version >= 10 { answer.with_topic_id(topic.topic_id) } else { answer.with_name(topic.name) });
    }
    if !partitions.is_empty() {
        let commit = OffsetCommit {
            group_id: request.group_id.to_string(),
            generation_id_or_member_epoch: request.generation_id_or_member_epoch,
            member_id: request.member_id.to_string(),
            group_instance_id: request.group_instance_id.map(|id| id.to_string()),
            retention: retention(version, request.retention_time_ms),
            knows_new_errors: version >= 9,
            partitions,
        };
        let outcome = context.broker.commit_offsets(context.organization, commit).await;
        for (number, (topic, partition)) in places.into_iter().enumerate() {
            let error = match &outcome {
                Ok(outcomes) => outcomes.get(number).and_then(|outcome| outcome.error),
                Err(error) => Some(*error),
            };
            topics[topic].partitions[partition].error_code = error_code::of_group_outcome(error);
        }
    }
    OffsetCommitResponse::default().with_topics(topics)
}

pub(crate) fn has_error(response: &OffsetCommitResponse) -> bool {
    response.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.error_code != 0)
}

/// What the client says of how long; -1 leaves it to the broker.
fn retention(version: i16, ms: i64) -> Option<Duration> {
    u64::try_from(ms).ok().filter(|_| version <= 4).map(Duration::from_millis)
}
