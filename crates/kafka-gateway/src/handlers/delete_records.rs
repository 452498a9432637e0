//! DeleteRecords 0–2.
//!
//! Records below an offset are deleted (-1: all that are committed), and the answer is where the log begins then. Only the
//! partition's leader does it, and only where `cleanup.policy` has `delete`, else POLICY_VIOLATION. When it answers, nobody
//! reads them any more; their objects go with garbage collection. A partition that is named twice is INVALID_REQUEST.
//!
//! Skipped: the request's time-out.

use std::collections::HashMap;
use std::sync::Arc;

use broker::Topic;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::context::Context;
use crate::error_code::{self, Code};

/// The low watermark of an answer that has none.
const NO_OFFSET: i64 = -1;

pub(crate) async fn handle(
    context: Arc<Context>,
    _version: i16,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut times_named: HashMap<(&str, i32), usize> = HashMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *times_named.entry((topic.name.as_str(), partition.partition_index)).or_default() += 1;
        }
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let topic = context.topic(&asked.name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in &asked.partitions {
            let index = partition.partition_index;
            let deleted = match times_named.get(&(asked.name.as_str(), index)) {
                Some(0 | 1) | None => delete(&context, topic.as_deref(), index, partition.offset).await,
                Some(_) => Err(Code::InvalidRequest),
            };
            let (low_watermark, code) = deleted.map_or_else(|code| (NO_OFFSET, code.code()), |start| (start, 0));
            let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
            partitions.push(result.with_low_watermark(low_watermark).with_error_code(code));
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(asked.name.clone()).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

pub(crate) fn has_error(response: &DeleteRecordsResponse) -> bool {
    response.topics.iter().flat_map(|topic| &topic.partitions).any(|partition| partition.error_code != 0)
}

async fn delete(context: &Context, topic: Option<&Topic>, partition: i32, offset: i64) -> Result<i64, Code> {
    let topic = topic.ok_or(Code::UnknownTopicOrPartition)?;
    let deleted = context.broker.delete_records(context.organization, topic.topic_id, partition, offset).await;
    deleted.map_err(|error| error_code::of_deletion(&error))
}
