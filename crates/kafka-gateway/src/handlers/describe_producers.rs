//! DescribeProducers 0: the idempotent producers that a partition remembers. Only its leader answers. There are no
//! transactions, so none has a coordinator or an open one.

use std::sync::Arc;

use broker::Topic;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use crate::context::Context;
use crate::error_code::{self, Code};

pub(crate) async fn handle(
    context: Arc<Context>,
    _version: i16,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = context.topic(&asked.name);
        let mut partitions = Vec::with_capacity(asked.partition_indexes.len());
        for index in asked.partition_indexes {
            let answer = PartitionResponse::default().with_partition_index(index).with_error_message(None);
            partitions.push(match producers(&context, topic.as_deref(), index).await {
                Ok(producers) => answer.with_active_producers(producers),
                Err(code) => answer.with_error_code(code.code()),
            });
        }
        topics.push(TopicResponse::default().with_name(asked.name).with_partitions(partitions));
    }
    DescribeProducersResponse::default().with_topics(topics)
}

pub(crate) fn has_error(response: &DescribeProducersResponse) -> bool {
    response.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.error_code != 0)
}

async fn producers(context: &Context, topic: Option<&Topic>, index: i32) -> Result<Vec<ProducerState>, Code> {
    let topic = topic.ok_or(Code::UnknownTopicOrPartition)?;
    let producers = context.broker.active_producers(context.organization, topic.topic_id, index).await;
    let state = |producer: broker::ActiveProducer| {
        ProducerState::default()
            .with_producer_id(ProducerId(producer.producer_id))
            .with_producer_epoch(i32::from(producer.producer_epoch))
            .with_last_sequence(producer.last_sequence)
            .with_last_timestamp(producer.last_timestamp)
            .with_coordinator_epoch(-1)
            .with_current_txn_start_offset(-1)
    };
    let producers = producers.map_err(|error| error_code::of_offset(&error))?;
    Ok(producers.into_iter().map(state).collect())
}
