//! Produce 3–13 (0–2 are advertised and close the connection, as in Apache Kafka 4).
//!
//! - [`start`] appends all partitions in order, so that each batch has its place in the log when it returns; the acks are
//!   awaited by [`Started::answered`], while the connection reads on.
//! - Partitions fail alone. `acks` 1 and -1 are the same: durable. `acks` 0 gets no answer, and on an error the connection
//!   is closed. Any other `acks` is INVALID_REQUIRED_ACKS.
//! - Topics by name up to version 12 (unknown: UNKNOWN_TOPIC_OR_PARTITION), by id in 13 (UNKNOWN_TOPIC_ID).
//! - Null or empty records are INVALID_RECORD. A partition that is named twice gets INVALID_REQUEST and nothing is stored
//!   for it: Apache Kafka keeps the last of the two without a word, which loses the other.
//! - A transactional id is INVALID_TXN_STATE for every partition: transactions do not exist yet, and their data must not
//!   be stored as plain data.
//! - Errors have base offset -1 and, from version 8 on, a message and the records at fault; NOT_LEADER names the leader
//!   from version 10 on (KIP-951). An outcome that cannot be known closes the connection without an answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{AppendError, AppendRequest, Appended, MemoryPermit, PendingAppend, Topic, limits};
use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, ProduceRequest, ProduceResponse, TopicName};
use uuid::Uuid;

use crate::context::{Context, text};
use crate::error_code::{self, Code, NamedBy};

/// First version that may carry zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;
/// First version whose errors have a message and name records (KIP-467).
const MESSAGES_SINCE: i16 = 8;
/// First version whose errors name the leader (KIP-951).
const LEADERS_SINCE: i16 = 10;
/// First version that names topics by id.
const IDS_SINCE: i16 = 13;
/// `acks` 0 and 1 do not wait for replicas in Kafka, so their time-out is not the client's word on durability.
const TIMEOUT_WITHOUT_REPLICAS: Duration = Duration::from_secs(30);

/// What becomes of the request.
pub(crate) enum Outcome {
    Answer { response: ProduceResponse, error: bool },
    Nothing,
    Close(&'static str),
}

/// A request whose batches have their places.
pub(crate) struct Started {
    context: Arc<Context>,
    version: i16,
    acks: i16,
    topics: Vec<StartedTopic>,
}

struct StartedTopic {
    name: TopicName,
    id: Uuid,
    topic: Option<Arc<Topic>>,
    partitions: Vec<(i32, Result<PendingAppend, Failure>)>,
}

/// Why a partition failed.
enum Failure {
    Refused(Code, &'static str),
    Append(AppendError),
}

/// Gives every batch of the request its place in line, in order.
///
/// `memory` is what the request's frame holds; the broker keeps it until every batch is decided.
pub(crate) async fn start(
    context: &Arc<Context>,
    version: i16,
    request: ProduceRequest,
    memory: &Arc<MemoryPermit>,
) -> Started {
    let refused = if !(-1..=1).contains(&request.acks) {
        Some((Code::InvalidRequiredAcks, "acks must be 0, 1 or -1 (all)"))
    } else if request.transactional_id.is_some() {
        Some((Code::InvalidTxnState, "transactions are not supported yet"))
    } else {
        None
    };
    let mut times_named: HashMap<(TopicName, Uuid, i32), usize> = HashMap::new();
    // Many clients name one partition a request.
    if request.topic_data.iter().map(|topic| topic.partition_data.len()).sum::<usize>() > 1 {
        for topic in &request.topic_data {
            for partition in &topic.partition_data {
                *times_named.entry((topic.name.clone(), topic.topic_id, partition.index)).or_default() += 1;
            }
        }
    }
    let asked = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)).min(limits::PRODUCE_TIMEOUT_MAX);
    let timeout = if request.acks == -1 { asked } else { asked.max(TIMEOUT_WITHOUT_REPLICAS) };
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data {
        let TopicProduceData { name, topic_id: id, partition_data, .. } = data;
        let topic = if version >= IDS_SINCE { context.topic_by_id(id) } else { context.topic(&name) };
        let mut partitions = Vec::with_capacity(partition_data.len());
        for PartitionProduceData { index, records, .. } in partition_data {
            let repeated = times_named.get(&(name.clone(), id, index)).is_some_and(|times| *times > 1);
            let appended = match (refused, records) {
                (Some((code, message)), _) => Err(Failure::Refused(code, message)),
                _ if repeated => Err(Failure::Refused(Code::InvalidRequest, "the request names this partition twice")),
                (None, Some(batch)) if !batch.is_empty() => {
                    append(context, topic.as_deref(), Batch { version, partition: index, batch, timeout, memory }).await
                }
                (None, _) => Err(Failure::Refused(Code::InvalidRecord, "a produce request needs a record batch")),
            };
            partitions.push((index, appended));
        }
        topics.push(StartedTopic { name, id, topic, partitions });
    }
    Started { context: context.clone(), version, acks: request.acks, topics }
}

/// One batch of the request.
struct Batch<'a> {
    version: i16,
    partition: i32,
    batch: Bytes,
    timeout: Duration,
    memory: &'a Arc<MemoryPermit>,
}

async fn append(context: &Context, topic: Option<&Topic>, batch: Batch<'_>) -> Result<PendingAppend, Failure> {
    let topic = topic.ok_or(Failure::Append(AppendError::UnknownTopic))?;
    let request = AppendRequest {
        organization: context.organization,
        topic_id: topic.topic_id,
        partition: batch.partition,
        batch: batch.batch,
        zstd_allowed: batch.version >= ZSTD_SINCE,
        expected_base_offset: None,
        timeout: batch.timeout,
        permit: Some(batch.memory.clone()),
    };
    context.broker.append(request).await.map_err(Failure::Append)
}

impl Started {
    /// Waits for every ack.
    pub(crate) async fn answered(self) -> Outcome {
        let Self { context, version, acks, topics } = self;
        let mut responses = Vec::with_capacity(topics.len());
        let mut leaders: Vec<i32> = Vec::new();
        let mut unknown = false;
        let mut error = false;
        for topic in topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for (index, appended) in topic.partitions {
                let acked = match appended {
                    Ok(pending) => pending.acked().await.map_err(Failure::Append),
                    Err(failure) => Err(failure),
                };
                let answer = PartitionProduceResponse::default().with_index(index);
                partitions.push(match acked {
                    Ok(appended) => acknowledged(answer, version, &appended),
                    Err(failure) => {
                        error = true;
                        let Some(answer) = failed(answer, version, &failure) else {
                            unknown = true;
                            continue;
                        };
                        let leader = topic.topic.as_deref().and_then(|topic| context.leader(topic, index));
                        with_leader(answer, version, leader, &mut leaders)
                    }
                });
            }
            responses.push(
                TopicProduceResponse::default()
                    .with_name(topic.name)
                    .with_topic_id(topic.id)
                    .with_partition_responses(partitions),
            );
        }
        match (acks, error) {
            _ if unknown => Outcome::Close("the outcome of an append is unknown"),
            (0, true) => Outcome::Close("a produce with acks=0 failed"),
            (0, false) => Outcome::Nothing,
            _ => {
                let response = ProduceResponse::default()
                    .with_responses(responses)
                    .with_node_endpoints(node_endpoints(&context, &leaders));
                Outcome::Answer { response, error }
            }
        }
    }
}

fn acknowledged(answer: PartitionProduceResponse, version: i16, appended: &Appended) -> PartitionProduceResponse {
    let answer =
        answer.with_base_offset(appended.base_offset).with_log_append_time_ms(appended.log_append_time.unwrap_or(-1));
    if version >= 5 { answer.with_log_start_offset(appended.log_start_offset) } else { answer }
}

/// `None`: the outcome is unknown, there is no answer.
fn failed(answer: PartitionProduceResponse, version: i16, failure: &Failure) -> Option<PartitionProduceResponse> {
    let named_by = if version >= IDS_SINCE { NamedBy::Id } else { NamedBy::Name };
    let (code, message) = match failure {
        Failure::Refused(code, message) => (*code, (*message).to_owned()),
        Failure::Append(error) => (error_code::of_append(error, named_by)?, error.to_string()),
    };
    let mut answer = answer.with_error_code(code.code()).with_base_offset(-1);
    if version >= MESSAGES_SINCE {
        answer.error_message = Some(text(message));
        if let Failure::Append(
            AppendError::InvalidRecord { record_errors, .. } | AppendError::InvalidTimestamp { record_errors, .. },
        ) = failure
        {
            let errors = record_errors.iter().map(|error| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(error.index)
                    .with_batch_index_error_message(Some(text(error.message.as_str())))
            });
            answer.record_errors = errors.collect();
        }
    }
    Some(answer)
}

/// Names the leader in a NOT_LEADER, and remembers it for the endpoints.
fn with_leader(
    answer: PartitionProduceResponse,
    version: i16,
    leader: Option<(i32, i32)>,
    leaders: &mut Vec<i32>,
) -> PartitionProduceResponse {
    match leader {
        Some((id, epoch)) if version >= LEADERS_SINCE && answer.error_code == Code::NotLeaderOrFollower.code() => {
            if !leaders.contains(&id) {
                leaders.push(id);
            }
            let leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(id)).with_leader_epoch(epoch);
            answer.with_current_leader(leader)
        }
        _ => answer,
    }
}

fn node_endpoints(context: &Context, leaders: &[i32]) -> Vec<NodeEndpoint> {
    if leaders.is_empty() {
        return Vec::new();
    }
    let endpoints = context.endpoints(&context.broker.cluster());
    let named = endpoints.into_iter().filter(|endpoint| leaders.contains(&endpoint.node_id)).map(|endpoint| {
        NodeEndpoint::default()
            .with_node_id(BrokerId(endpoint.node_id))
            .with_host(text(endpoint.host))
            .with_port(endpoint.port)
            .with_rack(Some(text(endpoint.rack)))
    });
    named.collect()
}
