//! OffsetForLeaderEpoch 2–4 (librdkafka knows only 2).
//!
//! Answers the largest epoch at or below the one asked for and where it ends; -1 and -1 for an epoch that is yet to come.

use std::sync::Arc;

use futures::future::join_all;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::context::Context;
use crate::error_code::{self, Code};

pub(crate) async fn handle(
    context: Arc<Context>,
    _version: i16,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = context.topic(&topic.topic);
        let answers = topic.partitions.iter().map(|partition| {
            let context = &context;
            let topic_id = found.as_ref().map(|topic| topic.topic_id);
            async move {
                let answer = EpochEndOffset::default().with_partition(partition.partition);
                let Some(topic_id) = topic_id else {
                    return answer.with_error_code(Code::UnknownTopicOrPartition.code());
                };
                end_of_epoch(context, topic_id, partition, answer).await
            }
        });
        let partitions = join_all(answers).await;
        topics.push(OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions));
    }
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

pub(crate) fn has_error(response: &OffsetForLeaderEpochResponse) -> bool {
    response.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.error_code != 0)
}

async fn end_of_epoch(
    context: &Context,
    topic_id: broker::TopicId,
    partition: &OffsetForLeaderPartition,
    answer: EpochEndOffset,
) -> EpochEndOffset {
    let known_epoch = (partition.current_leader_epoch >= 0).then_some(partition.current_leader_epoch);
    let end = context
        .broker
        .offset_for_leader_epoch(
            context.organization,
            topic_id,
            partition.partition,
            known_epoch,
            partition.leader_epoch,
        )
        .await;
    match end {
        Ok((epoch, offset)) => answer.with_leader_epoch(epoch).with_end_offset(offset),
        Err(error) => answer.with_error_code(error_code::of_offset(&error).code()),
    }
}
