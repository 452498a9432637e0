//! Metadata 0–13.
//!
//! - All topics: an empty list in version 0, null from 1 on. Version 1+ with an empty list asks for the brokers alone.
//! - By id from version 12 on; an unknown id is UNKNOWN_TOPIC_ID. Where a topic has id and name, the id counts. Versions
//!   10 and 11 have the field, but an id or a null name there is INVALID_REQUEST, as in Apache Kafka.
//! - An unknown name is created if the request (version 4+; below, always) and the server allow it, and is usable when
//!   the answer comes. Never for "all topics", never by id.
//! - A name is answered once, however often it is asked for.
//! - Replicas and in-sync replicas are the leader and the next live agents; none is ever offline.
//!
//! Skipped: authorization (every operation is allowed, and said so where asked).

use std::collections::HashSet;
use std::sync::Arc;

use broker::{CreateTopic, PartitionView, Topic, TopicError};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use uuid::Uuid;

use crate::context::{CLUSTER_OPERATIONS, Context, OPERATIONS_NOT_ASKED, TOPIC_OPERATIONS, kafka_uuid, text};
use crate::error_code::{self, Code, NamedBy};

pub(crate) async fn handle(context: Arc<Context>, version: i16, request: MetadataRequest) -> MetadataResponse {
    let topics = match &request.topics {
        None => all_topics(&context),
        Some(topics) if topics.is_empty() && version == 0 => all_topics(&context),
        Some(topics) => asked_topics(&context, version, topics, request.allow_auto_topic_creation).await,
    };
    let topics = topics.into_iter().map(|topic| {
        let asked = version >= 8 && request.include_topic_authorized_operations && topic.error_code == 0;
        topic.with_topic_authorized_operations(if asked { TOPIC_OPERATIONS } else { OPERATIONS_NOT_ASKED })
    });
    // After the topics: a leader they name must be among the brokers.
    let cluster = context.broker.cluster();
    let brokers = context.listed(&cluster).into_iter().map(|endpoint| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(endpoint.node_id))
            .with_host(text(endpoint.host))
            .with_port(endpoint.port)
            .with_rack(Some(text(endpoint.rack)))
    });
    let asked = (8..=10).contains(&version) && request.include_cluster_authorized_operations;
    MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(kafka_uuid(cluster.cluster_id))))
        .with_controller_id(BrokerId(cluster.controller_id))
        .with_cluster_authorized_operations(if asked { CLUSTER_OPERATIONS } else { OPERATIONS_NOT_ASKED })
        .with_topics(topics.collect())
}

pub(crate) fn has_error(response: &MetadataResponse) -> bool {
    response.topics.iter().any(|topic| topic.error_code != 0)
}

fn all_topics(context: &Context) -> Vec<MetadataResponseTopic> {
    context.broker.topics(context.organization).iter().map(|topic| found(context, topic)).collect()
}

async fn asked_topics(
    context: &Context,
    version: i16,
    asked: &[MetadataRequestTopic],
    may_create: bool,
) -> Vec<MetadataResponseTopic> {
    let mut seen: HashSet<(Uuid, &str)> = HashSet::with_capacity(asked.len());
    let mut answers = Vec::with_capacity(asked.len());
    for topic in asked {
        let name = topic.name.as_ref().map_or("", |name| name.as_str());
        if !seen.insert((topic.topic_id, name)) {
            continue;
        }
        answers.push(match &topic.name {
            Some(_) if topic.topic_id.is_nil() => by_name(context, name, may_create).await,
            _ if version < 12 || topic.topic_id.is_nil() => {
                let name = (version < 12).then(|| TopicName(text(name)));
                failed(Code::InvalidRequest, name, topic.topic_id)
            }
            _ => match context.topic_by_id(topic.topic_id) {
                Some(topic) => found(context, &topic),
                None => failed(Code::UnknownTopicId, None, topic.topic_id),
            },
        });
    }
    answers
}

async fn by_name(context: &Context, name: &str, may_create: bool) -> MetadataResponseTopic {
    if let Some(topic) = context.topic(name) {
        return found(context, &topic);
    }
    let failed_as = |code| failed(code, Some(TopicName(text(name))), Uuid::nil());
    if !is_topic_name(name) {
        return failed_as(Code::InvalidTopicException);
    }
    if !(may_create && context.broker.auto_create_topics()) {
        return failed_as(Code::UnknownTopicOrPartition);
    }
    let request = CreateTopic {
        organization: context.organization,
        name: name.to_owned(),
        partition_count: -1,
        replication_factor: -1,
        configs: Vec::new(),
        validate_only: false,
    };
    match context.broker.create_topic(request).await {
        Ok(topic) => found(context, &topic),
        // Someone else was faster.
        Err(TopicError::AlreadyExists(_)) => match context.topic(name) {
            Some(topic) => found(context, &topic),
            None => failed_as(Code::LeaderNotAvailable),
        },
        // Every client tries again on this one.
        Err(TopicError::Unavailable(_)) => failed_as(Code::LeaderNotAvailable),
        Err(error) => failed_as(error_code::of_topic(&error, NamedBy::Name)),
    }
}

/// Kafka's rule for names: `[a-zA-Z0-9._-]{1,249}`, not `.` or `..`.
pub(crate) fn is_topic_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn failed(code: Code, name: Option<TopicName>, id: Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(code.code()).with_name(name).with_topic_id(id)
}

fn found(context: &Context, topic: &Topic) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name.as_str()))))
        .with_topic_id(topic.topic_id.0)
        .with_is_internal(topic.is_internal())
        .with_partitions(context.broker.partitions(topic).iter().map(partition).collect())
}

fn partition(view: &PartitionView) -> MetadataResponsePartition {
    let nodes: Vec<BrokerId> = view.replicas.iter().copied().map(BrokerId).collect();
    MetadataResponsePartition::default()
        .with_error_code(if view.leader.is_some() { 0 } else { Code::LeaderNotAvailable.code() })
        .with_partition_index(view.partition)
        .with_leader_id(BrokerId(view.leader.unwrap_or(-1)))
        .with_leader_epoch(view.leader_epoch)
        .with_isr_nodes(nodes.clone())
        .with_replica_nodes(nodes)
}
