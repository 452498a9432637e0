//! CreatePartitions 0–3.
//!
//! Raises a topic's partition count; a count that is not above the present one is INVALID_PARTITIONS. A manual assignment
//! must cover exactly the new partitions, else INVALID_REPLICA_ASSIGNMENT; where they are is decided by leases, not by it.
//! A name that is in the request twice is INVALID_REQUEST. `validate_only` checks all and changes nothing.
//!
//! Skipped: the request's time-out.

use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};

use crate::context::{Context, text};
use crate::error_code::{self, Code, NamedBy};

pub(crate) async fn handle(
    context: Arc<Context>,
    _version: i16,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut times_named: HashMap<TopicName, usize> = HashMap::new();
    for topic in &request.topics {
        *times_named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let raised = match times_named.insert(topic.name.clone(), 0) {
            Some(0) | None => continue, // answered already
            Some(1) => raise(&context, topic, request.validate_only).await,
            Some(_) => Err((Code::InvalidRequest, "the request names this topic more than once".to_owned())),
        };
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        results.push(match raised {
            Ok(()) => result,
            Err((code, message)) => result.with_error_code(code.code()).with_error_message(Some(text(message))),
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}

pub(crate) fn has_error(response: &CreatePartitionsResponse) -> bool {
    response.results.iter().any(|result| result.error_code != 0)
}

async fn raise(context: &Context, asked: &CreatePartitionsTopic, validate_only: bool) -> Result<(), (Code, String)> {
    let Some(topic) = context.topic(&asked.name) else {
        return Err((Code::UnknownTopicOrPartition, "unknown topic".to_owned()));
    };
    if let Some(assignments) = &asked.assignments {
        let added = i64::from(asked.count) - i64::from(topic.partition_count);
        if added > 0 && i64::try_from(assignments.len()) != Ok(added) {
            let message = format!("{added} partitions are added, but {} are assigned", assignments.len());
            return Err((Code::InvalidReplicaAssignment, message));
        }
        if assignments.iter().any(|assignment| assignment.broker_ids.is_empty()) {
            return Err((Code::InvalidReplicaAssignment, "a partition needs at least one replica".to_owned()));
        }
    }
    let raised =
        context.broker.create_partitions(context.organization, topic.topic_id, asked.count, validate_only).await;
    raised.map_err(|error| (error_code::of_topic(&error, NamedBy::Name), error.to_string()))
}
