//! ListOffsets 1–10.
//!
//! Timestamps: -1 end, -2 start, -3 (7+) the record with the greatest timestamp, -4 (8+) local start, which is the start,
//! -5 (9+) last tiered offset, of which there is none: -1. Other negative ones, and those above in lower versions, are
//! UNSUPPORTED_VERSION. A timestamp finds the first record at or after it, or -1. A partition that is named twice is
//! INVALID_REQUEST. The isolation levels agree until there are transactions. The time-out of version 10 is not needed.

use std::collections::HashMap;
use std::sync::Arc;

use broker::{ListOffsetsPartition, OffsetSpec};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use crate::context::Context;
use crate::error_code::{self, Code};

pub(crate) async fn handle(context: Arc<Context>, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut times_named: HashMap<(&str, i32), usize> = HashMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *times_named.entry((topic.name.as_str(), partition.partition_index)).or_default() += 1;
        }
    }
    let mut asked = Vec::new();
    let mut responses = Vec::with_capacity(request.topics.len());
    // Where in `responses` the answer to each of `asked` belongs.
    let mut places = Vec::new();
    for topic in &request.topics {
        let found = context.topic(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let code = match (spec(version, partition.timestamp), &found) {
                _ if times_named.get(&(topic.name.as_str(), index)).is_some_and(|times| *times > 1) => {
                    Code::InvalidRequest.code()
                }
                (None, _) => Code::UnsupportedVersion.code(),
                (_, None) => Code::UnknownTopicOrPartition.code(),
                (Some(spec), Some(found)) => {
                    places.push((responses.len(), partitions.len()));
                    asked.push(ListOffsetsPartition {
                        topic_id: found.topic_id,
                        partition: index,
                        current_leader_epoch: (partition.current_leader_epoch >= 0)
                            .then_some(partition.current_leader_epoch),
                        spec,
                    });
                    0
                }
            };
            partitions.push(ListOffsetsPartitionResponse::default().with_partition_index(index).with_error_code(code));
        }
        responses.push(ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions));
    }
    let listed = context.broker.list_offsets(context.organization, asked).await;
    for ((topic, partition), listed) in places.into_iter().zip(listed) {
        let answer = &mut responses[topic].partitions[partition];
        match listed {
            Ok(listed) => {
                answer.offset = listed.offset;
                answer.timestamp = listed.timestamp;
                if version >= 4 {
                    answer.leader_epoch = listed.leader_epoch;
                }
            }
            Err(error) => answer.error_code = error_code::of_offset(&error).code(),
        }
    }
    ListOffsetsResponse::default().with_topics(responses)
}

pub(crate) fn has_error(response: &ListOffsetsResponse) -> bool {
    response.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.error_code != 0)
}

/// What a timestamp asks for; `None` where this version has no such question.
fn spec(version: i16, timestamp: i64) -> Option<OffsetSpec> {
    match timestamp {
        -1 => Some(OffsetSpec::Latest),
        -2 => Some(OffsetSpec::Earliest),
        -3 if version >= 7 => Some(OffsetSpec::MaxTimestamp),
        -4 if version >= 8 => Some(OffsetSpec::Earliest),
        -5 if version >= 9 => Some(OffsetSpec::LatestTiered),
        timestamp if timestamp >= 0 => Some(OffsetSpec::Timestamp(timestamp)),
        _ => None,
    }
}
