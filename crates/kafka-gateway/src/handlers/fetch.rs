//! Fetch 4–18.
//!
//! - Topics by name up to version 12 (unknown: UNKNOWN_TOPIC_OR_PARTITION), by id from 13 on (UNKNOWN_TOPIC_ID).
//! - Long poll, byte bounds and "the first batch comes even if it is too large" are the broker's; `max_bytes` and
//!   `max_wait_ms` are bounded by ours. Partitions are served in the order asked: clients rotate it.
//! - Sessions (KIP-227) are [`crate::fetch_sessions`]: an incremental request is read as if it named all of its session's
//!   partitions, and only what is new to the client is answered.
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
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use crate::context::Context;
use crate::error_code::{self, Code, NamedBy};
use crate::fetch_response::{FetchResponse, PartitionResponse, TopicResponse};
use crate::fetch_sessions::{Asked, PartitionName, Wanted};

/// First version that may get zstd (KIP-110).
const ZSTD_SINCE: i16 = 10;
/// First version that names topics by id.
const IDS_SINCE: i16 = 13;

pub(crate) async fn handle(context: &Context, version: i16, request: FetchRequest) -> FetchResponse {
    let isolation = match request.isolation_level {
        0 => IsolationLevel::ReadUncommitted,
        1 => IsolationLevel::ReadCommitted,
        _ => return FetchResponse { error_code: Code::InvalidRequest.code(), ..FetchResponse::default() },
    };
    let turn = match context.sessions.begin(Instant::now(), asked(version, &request)) {
        Ok(turn) => turn,
        Err(code) => return FetchResponse { error_code: code.code(), ..FetchResponse::default() },
    };
    let plan = Plan::new(context, version, &turn.wanted);
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
    let mut answers = plan.answers;
    if !read.partitions.is_empty() {
        let read = context.broker.fetch(read).await;
        // A refusal does not name this agent. A librdkafka that read here from a replica turns back to the former leader, and if it is
        // told on its way that this one leads, takes that for no move: it then asks the former leader for ever.
        let own = context.broker.cluster().node_id;
        for ((place, topic), fetched) in plan.places.into_iter().zip(read) {
            let answer = &mut answers[place];
            match fetched.result {
                Ok(fetched) if fetched.has_zstd && version < ZSTD_SINCE && is_zstd_by_config(&topic) => {
                    answer.error_code = Code::UnsupportedCompressionType.code();
                }
                Ok(fetched) => fill(answer, isolation, fetched),
                Err(error) => {
                    answer.aborted_transactions = matches!(error, FetchError::UnknownPartition).then_some(());
                    answer.error_code = error_code::of_fetch(&error, named_by(version)).code();
                    if matches!(error, FetchError::NotLeader | FetchError::FencedLeaderEpoch) {
                        let leader = context.leader(&topic, answer.partition);
                        answer.current_leader = leader.filter(|(leader, _)| *leader != own);
                    }
                }
            }
        }
    }
    let ended = context.sessions.end(Instant::now(), turn, answers, || context.broker.random_id());
    let error_code = ended.error.map_or(0, |error| error.code());
    let topics = by_topic(ended.answers);
    let mut response = FetchResponse { error_code, session_id: ended.session_id, topics, ..FetchResponse::default() };
    response.name_leaders(context);
    response
}

/// What the request says, without a reference to its frame: a session may keep it.
fn asked(version: i16, request: &FetchRequest) -> Asked {
    let own = |name: &TopicName| TopicName(StrBytes::from_string(name.to_string()));
    let mut wanted = Vec::with_capacity(request.topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in &request.topics {
        let name = own(&topic.topic);
        wanted.extend(topic.partitions.iter().map(|partition| Wanted {
            name: PartitionName { topic: name.clone(), id: topic.topic_id, partition: partition.partition },
            fetch_offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes,
            current_leader_epoch: partition.current_leader_epoch,
            last_fetched_epoch: partition.last_fetched_epoch,
        }));
    }
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        let name =
            |partition: &i32| PartitionName { topic: own(&topic.topic), id: topic.topic_id, partition: *partition };
        topic.partitions.iter().map(name)
    });
    Asked {
        session_id: request.session_id,
        epoch: request.session_epoch,
        uses_ids: version >= IDS_SINCE,
        wanted,
        forgotten: forgotten.collect(),
    }
}

/// Partitions of one topic that follow each other share its entry, as in Apache Kafka.
fn by_topic(answers: Vec<(PartitionName, PartitionResponse)>) -> Vec<TopicResponse> {
    let mut topics: Vec<TopicResponse> = Vec::new();
    for (PartitionName { topic: name, id, .. }, answer) in answers {
        match topics.last_mut() {
            Some(last) if last.id == id && last.name == name => last.partitions.push(answer),
            _ => topics.push(TopicResponse { name, id, partitions: vec![answer] }),
        }
    }
    topics
}

fn named_by(version: i16) -> NamedBy {
    if version >= IDS_SINCE { NamedBy::Id } else { NamedBy::Name }
}

/// Apache Kafka refuses old fetches by the topic's config only: what producers compressed by themselves it hands out.
fn is_zstd_by_config(topic: &Topic) -> bool {
    topic.configs.get("compression.type").is_some_and(|codec| codec == "zstd")
}

fn fill(answer: &mut PartitionResponse, isolation: IsolationLevel, fetched: Fetched) {
    answer.high_watermark = fetched.high_watermark;
    answer.last_stable_offset = fetched.last_stable_offset;
    answer.log_start_offset = fetched.log_start_offset;
    answer.diverging = fetched.diverging;
    answer.preferred_read_replica = fetched.preferred_read_replica;
    answer.aborted_transactions = (isolation == IsolationLevel::ReadCommitted).then_some(());
    answer.records = fetched.records;
}

/// What the broker is asked, and where each piece belongs among the answers.
struct Plan {
    answers: Vec<PartitionResponse>,
    asked: Vec<FetchPartition>,
    places: Vec<(usize, Arc<Topic>)>,
}

impl Plan {
    fn new(context: &Context, version: i16, wanted: &[Wanted]) -> Self {
        let (asked, places) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
        let mut plan = Self { answers: Vec::with_capacity(wanted.len()), asked, places };
        let mut last: Option<(&PartitionName, Option<Arc<Topic>>)> = None;
        for (place, wanted) in wanted.iter().enumerate() {
            let name = &wanted.name;
            let found = match &last {
                Some((last, found)) if last.id == name.id && last.topic == name.topic => found.clone(),
                _ => find(context, version, &name.topic, name.id),
            };
            let mut answer = PartitionResponse::new(name.partition);
            match &found {
                Some(topic) => {
                    plan.places.push((place, Arc::clone(topic)));
                    plan.asked.push(to_read(topic, wanted));
                }
                None => {
                    answer.error_code = named_by(version).unknown_topic().code();
                    answer.aborted_transactions = Some(());
                }
            }
            plan.answers.push(answer);
            last = Some((name, found));
        }
        plan
    }
}

fn find(context: &Context, version: i16, name: &TopicName, id: Uuid) -> Option<Arc<Topic>> {
    if version >= IDS_SINCE { context.topic_by_id(id) } else { context.topic(name) }
}

fn to_read(topic: &Topic, wanted: &Wanted) -> FetchPartition {
    let epoch = |epoch: i32| (epoch >= 0).then_some(epoch);
    FetchPartition {
        topic_id: topic.topic_id,
        partition: wanted.name.partition,
        fetch_offset: wanted.fetch_offset,
        max_bytes: usize::try_from(wanted.max_bytes).unwrap_or(0),
        current_leader_epoch: epoch(wanted.current_leader_epoch),
        last_fetched_epoch: epoch(wanted.last_fetched_epoch),
    }
}
