//! Fetch 4–18.
//!
//! - Topics by name up to version 12 (unknown: UNKNOWN_TOPIC_OR_PARTITION), by id from 13 on (UNKNOWN_TOPIC_ID).
//! - Long poll, byte bounds and "the first batch comes even if it is too large" are the broker's; `max_bytes` and
//!   `max_wait_ms` are bounded by ours. Partitions are served in the order asked: clients rotate it.
//! - Sessions (KIP-227) are not kept: the answer is always session 0, on which clients send full requests. Epochs 0 and
//!   -1 are full requests whatever session they name, as in Apache Kafka (a closing consumer sends -1); any other epoch
//!   is FETCH_SESSION_ID_NOT_FOUND.
//! - zstd is UNSUPPORTED_COMPRESSION_TYPE below version 10.
//! - Divergence (KIP-595) and the current leader (KIP-951) from version 12 on, node endpoints from 16 on.
//! - Preferred read replica from version 11 on (KIP-392): a consumer whose rack is an agent's zone is sent there, and that
//!   agent serves it what others lead, if the leader is of another zone.
//! - High watermark, last stable offset and log start are always real for a partition without an error.
//!
//! Skipped: followers (a replica id reads what a consumer reads), the cluster id.

use std::sync::Arc;
use std::time::Duration;

use broker::{FetchError, FetchPartition, FetchRequest as Read, Fetched, IsolationLevel, Topic, limits};
use kafka_protocol::messages::{FetchRequest, TopicName};
use uuid::Uuid;

use crate::context::Context;
use crate::error_code::{self, Code, NamedBy};
use crate::fetch_response::{FetchResponse, PartitionResponse, TopicResponse};

/// First version that may get zstd (KIP-110).
const ZSTD_SINCE: i16 = 10;
/// First version that names topics by id.
const IDS_SINCE: i16 = 13;

pub(crate) async fn handle(context: &Context, version: i16, request: FetchRequest) -> FetchResponse {
    if !matches!(request.session_epoch, 0 | -1) {
        return FetchResponse { error_code: Code::FetchSessionIdNotFound.code(), ..FetchResponse::default() };
    }
    let isolation = match request.isolation_level {
        0 => IsolationLevel::ReadUncommitted,
        1 => IsolationLevel::ReadCommitted,
        _ => return FetchResponse { error_code: Code::InvalidRequest.code(), ..FetchResponse::default() },
    };
    let plan = Plan::new(context, version, &request);
    let read = Read {
        organization: context.organization,
        max_wait: Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(limits::FETCH_WAIT_MAX),
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0).min(limits::FETCH_BYTES_MAX),
        isolation,
        rack: Some(request.rack_id.to_string()),
        partitions: plan.asked,
    };
    drop(request);
    let mut response = FetchResponse { topics: plan.topics, ..FetchResponse::default() };
    if read.partitions.is_empty() {
        return response;
    }
    let read = context.broker.fetch(read).await;
    // A refusal does not name this agent. A librdkafka that read here from a replica turns back to the former leader, and if it is
    // told on its way that this one leads, takes that for no move: it then asks the former leader for ever.
    let own = context.broker.cluster().node_id;
    for (place, fetched) in plan.places.into_iter().zip(read) {
        let answer = &mut response.topics[place.topic].partitions[place.partition];
        match fetched.result {
            Ok(fetched) => fill(answer, version, isolation, fetched),
            Err(error) => {
                answer.error_code = error_code::of_fetch(&error, named_by(version)).code();
                if matches!(error, FetchError::NotLeader | FetchError::FencedLeaderEpoch) {
                    let leader = context.leader(&place.found, answer.partition);
                    answer.current_leader = leader.filter(|(leader, _)| *leader != own);
                }
            }
        }
    }
    response.name_leaders(context);
    response
}

fn named_by(version: i16) -> NamedBy {
    if version >= IDS_SINCE { NamedBy::Id } else { NamedBy::Name }
}

fn fill(answer: &mut PartitionResponse, version: i16, isolation: IsolationLevel, fetched: Fetched) {
    if fetched.has_zstd && version < ZSTD_SINCE {
        answer.error_code = Code::UnsupportedCompressionType.code();
        return;
    }
    answer.high_watermark = fetched.high_watermark;
    answer.last_stable_offset = fetched.last_stable_offset;
    answer.log_start_offset = fetched.log_start_offset;
    answer.diverging = fetched.diverging;
    answer.preferred_read_replica = fetched.preferred_read_replica;
    answer.aborted_transactions = (isolation == IsolationLevel::ReadCommitted).then_some(());
    answer.records = fetched.records;
}

/// What the broker is asked, and where in the answer each piece belongs.
struct Plan {
    topics: Vec<TopicResponse>,
    asked: Vec<FetchPartition>,
    places: Vec<Place>,
}

/// Where the answer to one asked partition belongs.
struct Place {
    topic: usize,
    partition: usize,
    found: Arc<Topic>,
}

impl Plan {
    fn new(context: &Context, version: i16, request: &FetchRequest) -> Self {
        let mut plan = Self { topics: Vec::with_capacity(request.topics.len()), asked: Vec::new(), places: Vec::new() };
        for topic in &request.topics {
            let found = find(context, version, &topic.topic, topic.topic_id);
            let mut answer = TopicResponse {
                name: topic.topic.clone(),
                id: topic.topic_id,
                partitions: Vec::with_capacity(topic.partitions.len()),
            };
            for partition in &topic.partitions {
                let mut response = PartitionResponse::new(partition.partition);
                match &found {
                    Some(found) => {
                        plan.places.push(Place {
                            topic: plan.topics.len(),
                            partition: answer.partitions.len(),
                            found: found.clone(),
                        });
                        plan.asked.push(asked(found, partition));
                    }
                    None => response.error_code = named_by(version).unknown_topic().code(),
                }
                answer.partitions.push(response);
            }
            plan.topics.push(answer);
        }
        plan
    }
}

fn find(context: &Context, version: i16, name: &TopicName, id: Uuid) -> Option<Arc<Topic>> {
    if version >= IDS_SINCE { context.topic_by_id(id) } else { context.topic(name) }
}

fn asked(topic: &Topic, partition: &kafka_protocol::messages::fetch_request::FetchPartition) -> FetchPartition {
    let epoch = |epoch: i32| (epoch >= 0).then_some(epoch);
    FetchPartition {
        topic_id: topic.topic_id,
        partition: partition.partition,
        fetch_offset: partition.fetch_offset,
        max_bytes: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
        current_leader_epoch: epoch(partition.current_leader_epoch),
        last_fetched_epoch: epoch(partition.last_fetched_epoch),
    }
}
