//! OffsetDelete 0. What goes wrong for the whole group stands at the top, and nothing else is said then.

use std::sync::Arc;

use broker::groups::api::OffsetDelete;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::context::Context;
use crate::error_code::{self, Code};

pub(crate) async fn handle(context: Arc<Context>, _version: i16, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let mut partitions = Vec::new();
    // Where in the answer the outcome of each of `partitions` belongs.
    let mut places = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = context.topic(&topic.name);
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for index in topic.partitions.into_iter().map(|partition| partition.partition_index) {
            let code = match &found {
                Some(found) if (0..found.partition_count).contains(&index) => {
                    places.push((topics.len(), answers.len()));
                    partitions.push((found.topic_id, index));
                    0
                }
                _ => Code::UnknownTopicOrPartition.code(),
            };
            answers.push(OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code));
        }
        topics.push(OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(answers));
    }
    let delete = OffsetDelete { group_id: request.group_id.to_string(), partitions };
    match context.broker.delete_offsets(context.organization, delete).await {
        Ok(outcomes) => {
            for ((topic, partition), outcome) in places.into_iter().zip(outcomes) {
                topics[topic].partitions[partition].error_code = error_code::of_group_outcome(outcome.error);
            }
            OffsetDeleteResponse::default().with_topics(topics)
        }
        Err(error) => OffsetDeleteResponse::default().with_error_code(error_code::of_group(error).code()),
    }
}

pub(crate) fn has_error(response: &OffsetDeleteResponse) -> bool {
    response.error_code != 0
        || response.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.error_code != 0)
}
