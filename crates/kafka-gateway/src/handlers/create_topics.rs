//! CreateTopics 2–7.
//!
//! - Partition count and replication factor -1 mean the defaults; any positive factor is accepted and stored.
//! - A manual assignment is accepted if it is consistent (partitions from 0 without a hole, the same number of replicas
//!   everywhere, none twice, live brokers): it says how many partitions and replicas there are. Where they are is decided
//!   by leases, not by it.
//! - A name that is in the request twice is INVALID_REQUEST, and created by neither.
//! - More than [`TOPICS_PER_REQUEST_MAX`] topics: the rest is INVALID_REQUEST, because each answer lists all configs.
//! - `validate_only` checks all and changes nothing.
//! - Version 5+ answers counts and configs, never null (the Java client fails on null); 7 answers the topic id.
//!
//! Skipped: the request's time-out; the answer comes when the topic is usable.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use broker::{CreateTopic, Topic};
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse, TopicName};

use crate::context::{Context, text};
use crate::error_code::{self, Code, NamedBy};

/// Topics that one request creates.
const TOPICS_PER_REQUEST_MAX: usize = 1_000;

/// KRaft's own log: not a topic anybody makes.
const CLUSTER_METADATA: &str = "__cluster_metadata";

type Refusal = (Code, String);

pub(crate) async fn handle(context: Arc<Context>, version: i16, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut times_named: HashMap<TopicName, usize> = HashMap::new();
    for topic in &request.topics {
        *times_named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(times_named.len());
    for topic in request.topics {
        let name = topic.name.clone();
        let created = match times_named.get(&name).copied() {
            Some(0) | None => continue, // answered already
            Some(_) if results.len() >= TOPICS_PER_REQUEST_MAX => {
                Err((Code::InvalidRequest, format!("a request creates at most {TOPICS_PER_REQUEST_MAX} topics")))
            }
            Some(1) if name.as_str() == CLUSTER_METADATA => {
                Err((Code::InvalidRequest, format!("Creation of internal topic {CLUSTER_METADATA} is prohibited.")))
            }
            Some(1) => create(&context, topic, request.validate_only).await,
            Some(_) => {
                times_named.insert(name.clone(), 0);
                Err((Code::InvalidRequest, format!("the request names topic '{}' more than once", name.as_str())))
            }
        };
        results.push(match created {
            Ok(topic) => result(&context, version, &topic, request.validate_only),
            Err((code, message)) => CreatableTopicResult::default()
                .with_name(name)
                .with_error_code(code.code())
                .with_error_message(Some(text(message)))
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_configs(Some(Vec::new())),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

pub(crate) fn has_error(response: &CreateTopicsResponse) -> bool {
    response.topics.iter().any(|topic| topic.error_code != 0)
}

async fn create(context: &Context, topic: CreatableTopic, validate_only: bool) -> Result<Arc<Topic>, Refusal> {
    let (partition_count, replication_factor) = if topic.assignments.is_empty() {
        (topic.num_partitions, topic.replication_factor)
    } else {
        if topic.num_partitions != -1 || topic.replication_factor != -1 {
            let message = "both partition count or replication factor and an assignment are set; give only one";
            return Err((Code::InvalidRequest, message.to_owned()));
        }
        assigned_counts(context, &topic.assignments)?
    };
    let configs =
        topic.configs.iter().map(|config| (config.name.to_string(), config.value.as_ref().map(ToString::to_string)));
    let request = CreateTopic {
        organization: context.organization,
        name: topic.name.to_string(),
        partition_count,
        replication_factor,
        configs: configs.collect(),
        validate_only,
    };
    let created = context.broker.create_topic(request).await;
    created.map_err(|error| (error_code::of_topic(&error, NamedBy::Name), error.to_string()))
}

/// Partitions and replicas of a manual assignment.
fn assigned_counts(context: &Context, assignments: &[CreatableReplicaAssignment]) -> Result<(i32, i16), Refusal> {
    let refused = |message: &str| (Code::InvalidReplicaAssignment, message.to_owned());
    let partitions: HashSet<i32> = assignments.iter().map(|assignment| assignment.partition_index).collect();
    let count = i32::try_from(assignments.len()).map_err(|_| refused("too many partitions"))?;
    if partitions.len() != assignments.len() || partitions.iter().any(|partition| !(0..count).contains(partition)) {
        return Err(refused("partitions must be numbered from 0, without holes and each once"));
    }
    let brokers: HashSet<i32> = context.broker.cluster().agents.iter().map(|agent| agent.node_id).collect();
    let factor = assignments.first().map_or(0, |assignment| assignment.broker_ids.len());
    for assignment in assignments {
        let replicas: HashSet<i32> = assignment.broker_ids.iter().map(|id| id.0).collect();
        if replicas.is_empty() || replicas.len() != factor || assignment.broker_ids.len() != factor {
            return Err(refused("every partition needs the same number of replicas, at least one, none twice"));
        }
        if !replicas.is_subset(&brokers) {
            return Err(refused("the assignment names a broker that is not registered"));
        }
    }
    Ok((count, i16::try_from(factor).map_err(|_| refused("too many replicas"))?))
}

fn result(context: &Context, version: i16, topic: &Topic, validate_only: bool) -> CreatableTopicResult {
    let answer = CreatableTopicResult::default().with_name(TopicName(text(topic.name.as_str())));
    if version < 5 {
        return answer;
    }
    let configs = context.broker.topic_configs(topic).into_iter().map(|config| {
        CreatableTopicConfigs::default()
            .with_name(text(config.name))
            .with_value(config.value.filter(|_| !config.sensitive).map(text))
            .with_read_only(config.read_only)
            .with_config_source(config.source as i8)
            .with_is_sensitive(config.sensitive)
    });
    answer
        .with_topic_id(if validate_only { uuid::Uuid::nil() } else { topic.topic_id.0 })
        .with_num_partitions(topic.partition_count)
        .with_replication_factor(topic.replication_factor)
        .with_configs(Some(configs.collect()))
}
