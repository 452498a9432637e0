//! DescribeTopicPartitions 0.
//!
//! Topics by name, in order of name; an empty list means all. At most `response_partition_limit` partitions (and never
//! more than [`PARTITIONS_PER_ANSWER_MAX`]) are answered, and a cursor says where the next request goes on. A cursor with
//! a negative partition is INVALID_REQUEST for every topic asked.
//! Eligible leader replicas are empty lists, never null: the Java client's describeTopics fails on null.

use std::collections::BTreeSet;
use std::sync::Arc;

use broker::{PartitionView, Topic};
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};

use crate::context::{Context, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS, text};
use crate::error_code::Code;
use crate::handlers::metadata::is_topic_name;

/// Kafka's `max.request.partition.size.limit`.
const PARTITIONS_PER_ANSWER_MAX: i32 = 2_000;

pub(crate) async fn handle(
    context: Arc<Context>,
    _version: i16,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) if cursor.partition_index < 0 => return invalid_cursor(&request),
        Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index),
        None => (String::new(), 0),
    };
    let all = request.topics.is_empty();
    let names: BTreeSet<String> = if all {
        context.broker.topics(context.organization).iter().map(|topic| topic.name.clone()).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.to_string()).collect()
    };
    let mut left = usize::try_from(request.response_partition_limit.clamp(1, PARTITIONS_PER_ANSWER_MAX)).unwrap_or(1);
    let mut answer = DescribeTopicPartitionsResponse::default();
    for name in names.range(from_topic.clone()..) {
        let first = if *name == from_topic { from_partition } else { 0 };
        if left == 0 {
            answer.next_cursor = Some(cursor(name, first));
            break;
        }
        let Some(topic) = context.topic(name) else {
            if !all {
                answer.topics.push(unknown(name));
            }
            continue;
        };
        let views = context.broker.partitions(&topic);
        let mut views = views.iter().skip_while(|view| view.partition < first);
        let taken: Vec<_> = views.by_ref().take(left).map(partition).collect();
        left -= taken.len();
        answer.topics.push(described(&topic).with_partitions(taken));
        if let Some(next) = views.next() {
            answer.next_cursor = Some(cursor(name, next.partition));
            break;
        }
    }
    answer
}

pub(crate) fn has_error(response: &DescribeTopicPartitionsResponse) -> bool {
    response.topics.iter().any(|topic| topic.error_code != 0)
}

fn invalid_cursor(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| refused(&topic.name, Code::InvalidRequest));
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    refused(name, if is_topic_name(name) { Code::UnknownTopicOrPartition } else { Code::InvalidTopicException })
}

fn refused(name: &str, code: Code) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(TopicName(text(name))))
        .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn described(topic: &Topic) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name.as_str()))))
        .with_topic_id(topic.topic_id.0)
        .with_is_internal(topic.is_internal())
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn partition(view: &PartitionView) -> DescribeTopicPartitionsResponsePartition {
    let nodes: Vec<BrokerId> = view.replicas.iter().copied().map(BrokerId).collect();
    DescribeTopicPartitionsResponsePartition::default()
        .with_error_code(if view.leader.is_some() { 0 } else { Code::LeaderNotAvailable.code() })
        .with_partition_index(view.partition)
        .with_leader_id(BrokerId(view.leader.unwrap_or(-1)))
        .with_leader_epoch(view.leader_epoch)
        .with_isr_nodes(nodes.clone())
        .with_replica_nodes(nodes)
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}

fn cursor(topic: &str, partition: i32) -> Cursor {
    Cursor::default().with_topic_name(TopicName(text(topic))).with_partition_index(partition)
}
