//! Requests that are well-formed and ask for what cannot be: each gets its exact code, and the connection goes on.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, GroupId, JoinGroupRequest, ListOffsetsRequest,
    MetadataRequest, OffsetCommitRequest, ProduceRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};
use uuid::Uuid;

use crate::harness::{batch, decode, frame, produce, topic_name};
use crate::requests::{fetch, list_offsets};

/// One request, and the codes of its answer.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) frame: Bytes,
    /// Codes of an answer's bytes, as they stand in it.
    pub(crate) codes: Arc<dyn Fn(Bytes) -> Vec<i16>>,
    pub(crate) expected: Vec<i16>,
}

fn row<R: Request<Response: 'static>>(
    name: &'static str,
    version: i16,
    request: &R,
    codes: fn(&R::Response) -> Vec<i16>,
    expected: &[i16],
) -> Row {
    let codes = Arc::new(move |answer| codes(&decode::<R>(version, 1, answer)));
    Row { name, frame: frame(version, 1, request), codes, expected: expected.to_vec() }
}

const LONG: usize = 250;

/// What is asked of a broker with a topic "t" of two partitions that holds three records.
pub(crate) fn rows(id: Uuid) -> Vec<Row> {
    let mut rows = names();
    rows.extend(duplicates(id));
    rows.extend(ids());
    rows.extend(fetches(id));
    rows.extend(groups());
    rows.push(row(
        "zstd before Produce 7",
        6,
        &produce("t", Uuid::nil(), &[(0, Some(crate::batches::zstd()))]),
        produced,
        &[76],
    ));
    rows
}

fn produced(answer: &<ProduceRequest as Request>::Response) -> Vec<i16> {
    answer.responses.iter().flat_map(|topic| &topic.partition_responses).map(|part| part.error_code).collect()
}

fn described(answer: &<MetadataRequest as Request>::Response) -> Vec<i16> {
    answer.topics.iter().map(|topic| topic.error_code).collect()
}

fn created(answer: &<CreateTopicsRequest as Request>::Response) -> Vec<i16> {
    answer.topics.iter().map(|topic| topic.error_code).collect()
}

fn deleted(answer: &<DeleteTopicsRequest as Request>::Response) -> Vec<i16> {
    answer.responses.iter().map(|topic| topic.error_code).collect()
}

/// The code of the whole, then of each partition.
fn fetched(answer: &<FetchRequest as Request>::Response) -> Vec<i16> {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    std::iter::once(answer.error_code).chain(partitions.map(|part| part.error_code)).collect()
}

fn listed(answer: &<ListOffsetsRequest as Request>::Response) -> Vec<i16> {
    answer.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code).collect()
}

fn metadata(names: &[&str]) -> MetadataRequest {
    let topics = names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
    MetadataRequest::default().with_topics(Some(topics.collect())).with_allow_auto_topic_creation(false)
}

fn create(topics: &[(&str, i32)]) -> CreateTopicsRequest {
    let topic = |(name, partitions): &(&str, i32)| {
        let topic = CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(*partitions);
        topic.with_replication_factor(1)
    };
    CreateTopicsRequest::default().with_topics(topics.iter().map(topic).collect()).with_timeout_ms(1_000)
}

/// Names that no topic can have.
fn names() -> Vec<Row> {
    let long: &'static str = Box::leak("x".repeat(LONG).into_boxed_str());
    let mut rows = Vec::new();
    for (of, bad) in [
        ("a name of two dots", ".."),
        ("a name of one dot", "."),
        ("an empty name", ""),
        ("a name of 250 characters", long),
        ("a name with NUL", "a\0b"),
        ("a name with a slash", "a/b"),
        ("a name with a space", "a b"),
        ("a name beyond ASCII", "größe"),
    ] {
        rows.push(row(of, 12, &metadata(&[bad]), described, &[17]));
        rows.push(row(of, 7, &create(&[(bad, 1)]), created, &[17]));
        rows.push(row(of, 9, &produce(bad, Uuid::nil(), &[(0, Some(batch(&["x"])))]), produced, &[3]));
        rows.push(row(of, 12, &fetch(bad, Uuid::nil(), 0), fetched, &[0, 3]));
        rows.push(row(of, 7, &list_offsets(bad, &[0]), listed, &[3]));
    }
    rows
}

/// The same topic or partition twice in one request.
fn duplicates(id: Uuid) -> Vec<Row> {
    let twice = |records: &str| Some(batch(&[records]));
    let mut topics = produce("", id, &[(0, twice("a"))]);
    topics.topic_data.push(topics.topic_data[0].clone());
    let names = ["t", "t"].map(|name| DeleteTopicState::default().with_name(Some(topic_name(name))));
    let delete = DeleteTopicsRequest::default().with_topics(names.to_vec()).with_timeout_ms(1_000);
    let mut both = fetch("t", Uuid::nil(), 0);
    let first = both.topics[0].partitions[0].clone();
    both.topics[0].partitions.push(first);
    vec![
        row("Metadata of a topic twice", 12, &metadata(&["t", "t"]), described, &[0]),
        row("CreateTopics of a topic twice", 7, &create(&[("twice", 1), ("twice", 1)]), created, &[42]),
        row("DeleteTopics of a topic twice", 6, &delete, deleted, &[42]),
        row("ListOffsets of a partition twice", 7, &list_offsets("t", &[0, 0]), listed, &[42, 42]),
        row(
            "Produce to a partition twice",
            13,
            &produce("", id, &[(0, twice("a")), (0, twice("b"))]),
            produced,
            &[42, 42],
        ),
        row("Produce to a topic twice", 13, &topics, produced, &[42, 42]),
        row("Fetch of a partition twice", 12, &both, fetched, &[0, 0, 0]),
    ]
}

/// Topic ids that name nothing.
fn ids() -> Vec<Row> {
    let foreign = Uuid::from_u128(0x0102_0304);
    let by_id = |id| {
        let topic = MetadataRequestTopic::default().with_topic_id(id).with_name(None);
        MetadataRequest::default().with_topics(Some(vec![topic]))
    };
    let mut rows = Vec::new();
    for (of, id, described_code) in [("the zero topic id", Uuid::nil(), 42), ("a foreign topic id", foreign, 100)] {
        rows.push(row(of, 13, &produce("", id, &[(0, Some(batch(&["x"])))]), produced, &[100]));
        rows.push(row(of, 13, &fetch("", id, 0), fetched, &[0, 100]));
        rows.push(row(of, 12, &by_id(id), described, &[described_code]));
    }
    rows
}

/// Offsets, sizes and sessions that cannot be.
fn fetches(id: Uuid) -> Vec<Row> {
    let sized = |max_bytes, partition_max_bytes| {
        let mut request = fetch("", id, 0).with_max_bytes(max_bytes);
        request.topics[0].partitions[0].partition_max_bytes = partition_max_bytes;
        request
    };
    let session = |session_id, epoch| fetch("", id, 0).with_session_id(session_id).with_session_epoch(epoch);
    let partition = |partition| {
        let mut request = fetch("", id, 0);
        request.topics[0].partitions[0].partition = partition;
        request
    };
    vec![
        row("fetch offset -1", 16, &fetch("", id, -1), fetched, &[0, 1]),
        row("fetch offset i64::MIN", 16, &fetch("", id, i64::MIN), fetched, &[0, 1]),
        row("fetch offset i64::MAX", 16, &fetch("", id, i64::MAX), fetched, &[0, 1]),
        row("max_bytes 0", 16, &sized(0, 0), fetched, &[0, 0]),
        row("max_bytes -1", 16, &sized(-1, -1), fetched, &[0, 0]),
        row("max_bytes i32::MIN", 16, &sized(i32::MIN, i32::MIN), fetched, &[0, 0]),
        row("max_bytes i32::MAX", 16, &sized(i32::MAX, i32::MAX), fetched, &[0, 0]),
        row("fetch of partition -1", 16, &partition(-1), fetched, &[0, 3]),
        row("fetch of partition i32::MAX", 16, &partition(i32::MAX), fetched, &[0, 3]),
        row("unknown fetch session", 16, &session(123, 7), fetched, &[70]),
        row("fetch session epoch without session", 16, &session(0, 9), fetched, &[70]),
        row("fetch session -1", 16, &session(-1, 1), fetched, &[70]),
    ]
}

/// Groups with impossible members and commits.
fn groups() -> Vec<Row> {
    let text = StrBytes::from_static_str;
    let join = |group, timeout| {
        JoinGroupRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_session_timeout_ms(timeout)
            .with_protocol_type(text("consumer"))
    };
    let commit = |group, metadata: usize, topic| {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(1)
            .with_committed_metadata(Some(StrBytes::from_string("m".repeat(metadata))));
        let topic = OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic])
    };
    let joined: fn(&<JoinGroupRequest as Request>::Response) -> Vec<i16> = |answer| vec![answer.error_code];
    let committed: fn(&<OffsetCommitRequest as Request>::Response) -> Vec<i16> =
        |answer| answer.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code).collect();
    vec![
        row("session time-out 0", 5, &join("g", 0), joined, &[26]),
        row("session time-out -1", 5, &join("g", -1), joined, &[26]),
        row("session time-out i32::MAX", 5, &join("g", i32::MAX), joined, &[26]),
        row("no group id", 5, &join("", 10_000), joined, &[24]),
        row("no protocols", 5, &join("g", 10_000), joined, &[23]),
        row("offset metadata of 4,097 bytes", 8, &commit("g", 4_097, "t"), committed, &[12]),
        row("offset metadata of 4,096 bytes", 8, &commit("g", 4_096, "t"), committed, &[0]),
        row("a commit for no group", 8, &commit("", 1, "t"), committed, &[0]),
        row("a commit for an unknown topic", 8, &commit("g", 1, "nobody"), committed, &[3]),
    ]
}
