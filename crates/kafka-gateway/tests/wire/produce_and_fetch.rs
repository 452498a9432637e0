//! Produce, Fetch, ListOffsets, OffsetForLeaderEpoch.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::timeout;
use uuid::Uuid;

use crate::harness::{SOON, Server, batch, produce, topic_name};

pub(crate) fn fetch(name: &str, id: Uuid, offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(topic_name(name)).with_topic_id(id).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

fn by_version(version: i16, ids_since: i16, name: &'static str, id: Uuid) -> (&'static str, Uuid) {
    if version >= ids_since { ("", id) } else { (name, Uuid::nil()) }
}

#[tokio::test]
async fn records_go_in_and_come_out_in_every_version() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    for (expected, version) in (3..=13).enumerate() {
        let (name, id) = by_version(version, 13, "t", id);
        let response = client.call(version, &produce(name, id, &[(0, Some(batch(&["v"])))])).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, expected as i64), "version {version}");
        assert_eq!(answer.log_append_time_ms, -1);
        assert_eq!(answer.log_start_offset, if version >= 5 { 0 } else { -1 });
    }
    for version in 4..=18 {
        let (name, id) = by_version(version, 13, "t", id);
        let response = client.call(version, &fetch(name, id, 0, 100)).await;
        let answer = &response.responses[0].partitions[0];
        assert_eq!((answer.error_code, answer.high_watermark), (0, 11), "version {version}");
        assert_eq!(answer.records.as_ref().unwrap().len(), 11 * batch(&["v"]).len());
        assert_eq!(response.session_id, 0);
    }
}

#[tokio::test]
async fn partitions_of_a_produce_fail_alone() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    let mut corrupt = BytesMut::from(&batch(&["x"])[..]);
    let last = corrupt.len() - 1;
    corrupt[last] ^= 1;
    let good = Some(batch(&["x"]));
    let cases: Vec<(i32, Option<Bytes>)> =
        vec![(0, good.clone()), (1, Some(corrupt.freeze())), (2, good.clone()), (-1, good.clone())];
    let response = client.call(13, &produce("", id, &cases)).await;
    let answers = &response.responses[0].partition_responses;
    let codes: Vec<i16> = answers.iter().map(|answer| answer.error_code).collect();
    assert_eq!(codes, [0, 2, 3, 3]);
    assert_eq!((answers[0].base_offset, answers[1].base_offset), (0, -1));
    assert!(answers[1].error_message.is_some());
    let twice = client.call(13, &produce("", id, &[(0, good.clone()), (0, good.clone()), (1, None)])).await;
    let answers = &twice.responses[0].partition_responses;
    let codes: Vec<i16> = answers.iter().map(|answer| answer.error_code).collect();
    assert_eq!(codes, [42, 42, 87]);
    let empty = client.call(9, &produce("t", Uuid::nil(), &[(0, Some(Bytes::new()))])).await;
    assert_eq!(empty.responses[0].partition_responses[0].error_code, 87);
    let unknown = client.call(12, &produce("u", Uuid::nil(), &[(0, good.clone())])).await;
    assert_eq!(unknown.responses[0].partition_responses[0].error_code, 3);
    let unknown = client.call(13, &produce("", Uuid::nil(), &[(0, good.clone())])).await;
    assert_eq!(unknown.responses[0].partition_responses[0].error_code, 100);
}

#[tokio::test]
async fn acks_and_transactional_ids_are_checked() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    let request = || produce("", id, &[(0, Some(batch(&["x"])))]);
    let code =
        |response: &kafka_protocol::messages::ProduceResponse| response.responses[0].partition_responses[0].error_code;
    assert_eq!(code(&client.call(13, &request().with_acks(2)).await), 21);
    assert_eq!(code(&client.call(13, &request().with_acks(-2)).await), 21);
    let id = Some(TransactionalId(StrBytes::from_static_str("tx")));
    assert_eq!(code(&client.call(13, &request().with_transactional_id(id)).await), 48);
    let response = client.call(13, &request().with_acks(1)).await;
    assert_eq!((code(&response), response.responses[0].partition_responses[0].base_offset), (0, 0));
}

#[tokio::test]
async fn acks_0_is_not_answered_and_its_errors_close() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    client.send(13, &produce("", id, &[(0, Some(batch(&["x"])))]).with_acks(0)).await;
    assert!(client.works().await, "the next answer is the next request's");
    assert_eq!(client.call(16, &fetch("", id, 0, 100)).await.responses[0].partitions[0].high_watermark, 1);
    client.send(13, &produce("", id, &[(9, Some(batch(&["x"])))]).with_acks(0)).await;
    assert!(client.next_frame().await.is_none());
}

#[tokio::test]
async fn pipelined_produces_get_offsets_in_request_order() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    let mut sent = Vec::new();
    for value in 0..200 {
        let request = produce("", id, &[(0, Some(batch(&[&value.to_string()])))]);
        sent.push(client.send(13, &request).await);
    }
    for (offset, correlation_id) in sent.into_iter().enumerate() {
        let response = client.receive::<ProduceRequest>(13, correlation_id).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, offset as i64));
    }
}

#[tokio::test]
async fn a_long_poll_wakes_on_data_and_holds_back_no_reading() {
    let (server, mut client, id) = Server::with_topic("t").await;
    let polling = client.send(16, &fetch("", id, 0, 30_000)).await;
    let pipelined = client.send(13, &produce("", id, &[(0, Some(batch(&["x"])))])).await;
    let woken = timeout(Duration::from_secs(5), client.receive::<FetchRequest>(16, polling)).await.unwrap();
    assert!(!woken.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
    assert_eq!(client.receive::<ProduceRequest>(13, pipelined).await.responses[0].partition_responses[0].error_code, 0);
    let polling = client.send(16, &fetch("", id, 1, 30_000)).await;
    assert!(timeout(SOON, client.next_frame()).await.is_err(), "nothing to answer yet");
    server.connect().call(13, &produce("", id, &[(0, Some(batch(&["y"])))])).await;
    let woken = timeout(Duration::from_secs(5), client.receive::<FetchRequest>(16, polling)).await.unwrap();
    assert_eq!(woken.responses[0].partitions[0].high_watermark, 2);
}

#[tokio::test]
async fn fetch_says_what_is_wrong() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    let code = |response: &kafka_protocol::messages::FetchResponse| response.responses[0].partitions[0].error_code;
    for offset in [-1, 1, i64::MAX, i64::MIN] {
        let response = client.call(16, &fetch("", id, offset, 0)).await;
        assert_eq!(code(&response), 1, "{offset}");
        assert_eq!(response.responses[0].partitions[0].high_watermark, -1);
    }
    assert_eq!(code(&client.call(12, &fetch("u", Uuid::nil(), 0, 0)).await), 3);
    assert_eq!(code(&client.call(13, &fetch("", Uuid::from_u128(3), 0, 0)).await), 100);
    let mut newer = fetch("", id, 0, 0);
    newer.topics[0].partitions[0].current_leader_epoch = 99;
    assert_eq!(code(&client.call(16, &newer).await), 75);
    let session = |session_id, epoch| fetch("", id, 0, 0).with_session_id(session_id).with_session_epoch(epoch);
    assert_eq!(client.call(16, &session(7, 3)).await.error_code, 70);
    assert_eq!(client.call(16, &session(0, 3)).await.error_code, 70);
    assert_eq!(client.call(16, &session(7, -1)).await.error_code, 0);
    assert!(client.call(16, &session(0, 0)).await.session_id > 0);
    assert_eq!(client.call(16, &fetch("", id, 0, 0).with_isolation_level(9)).await.error_code, 42);
    let negative = fetch("", id, 0, -5).with_max_bytes(-1).with_min_bytes(-1);
    assert_eq!(code(&client.call(16, &negative).await), 0);
}

#[tokio::test]
async fn offsets_are_listed_in_every_version() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    client.call(13, &produce("", id, &[(0, Some(batch(&["a", "b"])))])).await;
    let ask = |timestamp, partitions: &[i32]| {
        let asked = partitions.iter().map(|partition| {
            ListOffsetsPartition::default()
                .with_partition_index(*partition)
                .with_timestamp(timestamp)
                .with_current_leader_epoch(-1)
        });
        let topic = ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(asked.collect());
        ListOffsetsRequest::default().with_topics(vec![topic])
    };
    for version in 1..=10 {
        for (timestamp, offset) in [(-1, 2), (-2, 0), (1_700_000_000_000, 0), (1_800_000_000_000, -1)] {
            let response = client.call(version, &ask(timestamp, &[0])).await;
            let answer = &response.topics[0].partitions[0];
            assert_eq!((answer.error_code, answer.offset), (0, offset), "version {version}, {timestamp}");
        }
        for (timestamp, since, offset) in [(-3, 7, 0), (-4, 8, 0), (-5, 9, -1), (-6, 99, -1)] {
            let answer = &client.call(version, &ask(timestamp, &[0])).await.topics[0].partitions[0];
            let expected = if version >= since { (0, offset) } else { (35, -1) };
            assert_eq!((answer.error_code, answer.offset), expected, "version {version}, {timestamp}");
        }
    }
    let response = client.call(10, &ask(-1, &[0, 0, 7, 1])).await;
    let codes: Vec<i16> = response.topics[0].partitions.iter().map(|answer| answer.error_code).collect();
    assert_eq!(codes, [42, 42, 3, 0]);
}

#[tokio::test]
async fn epochs_end_where_they_end() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    client.call(13, &produce("", id, &[(0, Some(batch(&["a"])))])).await;
    let ask = |name: &str, partition, epoch| {
        let partition = OffsetForLeaderPartition::default().with_partition(partition).with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default().with_topic(topic_name(name)).with_partitions(vec![partition]);
        OffsetForLeaderEpochRequest::default().with_topics(vec![topic])
    };
    let current = client.call(12, &kafka_protocol::messages::MetadataRequest::default().with_topics(None)).await;
    let epoch = current.topics[0].partitions[0].leader_epoch;
    for version in 2..=4 {
        let known = client.call(version, &ask("t", 0, epoch)).await;
        let answer = &known.topics[0].partitions[0];
        assert_eq!((answer.error_code, answer.leader_epoch, answer.end_offset), (0, epoch, 1));
        let future = client.call(version, &ask("t", 0, epoch + 9)).await;
        let answer = &future.topics[0].partitions[0];
        assert_eq!((answer.error_code, answer.leader_epoch, answer.end_offset), (0, -1, -1));
        assert_eq!(client.call(version, &ask("u", 0, 0)).await.topics[0].partitions[0].error_code, 3);
        assert_eq!(client.call(version, &ask("t", 7, 0)).await.topics[0].partitions[0].error_code, 3);
    }
}
