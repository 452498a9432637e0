//! OffsetCommit, OffsetFetch, OffsetDelete.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, OffsetCommitRequest, OffsetCommitResponse,
    OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::{Decodable, HeaderVersion};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::groups::{group, text, with_coordinators};
use crate::harness::{Client, Server, header, topic_name, with_length};

fn commit(name: &str, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("where I was")));
    let topic = OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

async fn commit_code(client: &mut Client, version: i16, request: &OffsetCommitRequest) -> i16 {
    client.call(version, request).await.topics[0].partitions[0].error_code
}

fn fetch(version: i16, name: &str, topics: Option<&[(&str, &[i32])]>) -> OffsetFetchRequest {
    if version >= 8 {
        let topic = |(name, indexes): &(&str, &[i32])| {
            OffsetFetchRequestTopics::default().with_name(topic_name(name)).with_partition_indexes(indexes.to_vec())
        };
        let topics = topics.map(|topics| topics.iter().map(topic).collect());
        let group = OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(topics);
        return OffsetFetchRequest::default().with_groups(vec![group]);
    }
    let topic = |(name, indexes): &(&str, &[i32])| {
        OffsetFetchRequestTopic::default().with_name(topic_name(name)).with_partition_indexes(indexes.to_vec())
    };
    OffsetFetchRequest::default()
        .with_group_id(group(name))
        .with_topics(topics.map(|topics| topics.iter().map(topic).collect()))
}

/// Topic, partition, offset, leader epoch, metadata and code of each partition.
type Told = Vec<(String, i32, i64, i32, String, i16)>;

async fn fetched(client: &mut Client, version: i16, request: &OffsetFetchRequest) -> (i16, Told) {
    told(version, client.call(version, request).await)
}

fn told(version: i16, response: OffsetFetchResponse) -> (i16, Told) {
    let mut told = Told::new();
    if version >= 8 {
        for topic in &response.groups[0].topics {
            for one in &topic.partitions {
                let (epoch, metadata) = (one.committed_leader_epoch, one.metadata.as_ref().unwrap().to_string());
                told.push((
                    topic.name.to_string(),
                    one.partition_index,
                    one.committed_offset,
                    epoch,
                    metadata,
                    one.error_code,
                ));
            }
        }
        return (response.groups[0].error_code, told);
    }
    for topic in &response.topics {
        for one in &topic.partitions {
            let (epoch, metadata) = (one.committed_leader_epoch, one.metadata.as_ref().unwrap().to_string());
            told.push((
                topic.name.to_string(),
                one.partition_index,
                one.committed_offset,
                epoch,
                metadata,
                one.error_code,
            ));
        }
    }
    (response.error_code, told)
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_is_fetched_in_every_version() {
    let server = Server::start().await;
    let mut client = with_coordinators(&server).await;
    client.create_topic("t", 2).await;
    for version in 2..=9 {
        let request = commit("g", "t", 1, i64::from(version));
        let request = if version >= 6 {
            let mut request = request;
            request.topics[0].partitions[0].committed_leader_epoch = 7;
            request
        } else {
            request
        };
        assert_eq!(commit_code(&mut client, version, &request).await, 0, "version {version}");
        let epoch = if version >= 6 { 7 } else { -1 };
        let asked: &[(&str, &[i32])] = &[("t", &[0, 1]), ("unknown", &[3])];
        let (code, told) = fetched(&mut client, version, &fetch(version, "g", Some(asked))).await;
        let row = |name: &str, partition, offset, epoch, metadata: &str| {
            // Below version 5 the answer has no epoch.
            (name.to_owned(), partition, offset, if version < 5 { -1 } else { epoch }, metadata.to_owned(), 0)
        };
        let committed = row("t", 1, i64::from(version), epoch, "where I was");
        assert_eq!(code, 0);
        assert_eq!(told, [row("t", 0, -1, -1, ""), committed.clone(), row("unknown", 3, -1, -1, "")]);
        let (code, all) = fetched(&mut client, version, &fetch(version, "g", None)).await;
        assert_eq!((code, all), (0, vec![committed]));
    }
    let (_, told) = fetched(&mut client, 1, &fetch(1, "g", Some(&[("t", &[1])]))).await;
    assert_eq!(told[0].2, 9);
}

#[tokio::test(start_paused = true)]
async fn a_stale_epoch_stands_at_the_group_and_at_its_partitions() {
    let server = Server::start().await;
    let mut client = with_coordinators(&server).await;
    client.create_topic("t", 2).await;
    let member = text("1b4e28ba-2fa1-11d2-883f-0016d3cca427");
    let heartbeat = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_member_id(member.clone())
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic_name("t")]))
        .with_topic_partitions(Some(Vec::new()));
    let joined = client.call(0, &heartbeat).await;
    assert_eq!((joined.error_code, joined.member_epoch), (0, 1));
    for (epoch, code) in [(1, 0), (0, 113)] {
        let mut request = fetch(9, "g", Some(&[("t", &[0, 1])]));
        request.groups[0].member_id = Some(member.clone());
        request.groups[0].member_epoch = epoch;
        let (at_group, told) = fetched(&mut client, 9, &request).await;
        let codes: Vec<i16> = told.iter().map(|partition| partition.5).collect();
        assert_eq!((at_group, codes), (code, vec![code, code]), "epoch {epoch}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_coordinator_partitions_are_unstable() {
    let server = Server::start().await;
    let mut client = server.connect();
    client.create_topic("t", 2).await;
    for version in 1..=9 {
        let (at_top, told) = fetched(&mut client, version, &fetch(version, "g", Some(&[("t", &[0, 1])]))).await;
        let codes: Vec<i16> = told.iter().map(|partition| partition.5).collect();
        let wanted = if version == 1 { (0, vec![16, 16]) } else { (16, vec![88, 88]) };
        assert_eq!((at_top, codes), wanted, "version {version}");
    }
}

/// Sends a body that the protocol crate cannot write, and takes the answer apart.
async fn call_raw<T: Decodable + HeaderVersion>(client: &mut Client, key: ApiKey, version: i16, body: &[u8]) -> T {
    let mut frame = header(key as i16, version, 77, 2);
    frame.put_slice(body);
    client.stream.write_all(&with_length(&frame)).await.unwrap();
    let mut answer: Bytes = client.next_frame().await.unwrap();
    drop(kafka_protocol::messages::ResponseHeader::decode(&mut answer, T::header_version(version)).unwrap());
    let response = T::decode(&mut answer, version).unwrap();
    assert!(answer.is_empty());
    response
}

#[tokio::test(start_paused = true)]
async fn version_10_names_topics_by_id() {
    let server = Server::start().await;
    let mut client = with_coordinators(&server).await;
    let known = client.create_topic("t", 2).await;
    let ids = [known, Uuid::from_u128(5)];
    let mut body = BytesMut::from(&b"\x02g\xff\xff\xff\xff\x01\x00\x03"[..]);
    for id in ids {
        body.put_u128(id.as_u128());
        body.put_u8(2); // one partition
        body.put_i32(1);
        body.put_i64(42);
        body.put_i32(3);
        body.put_slice(b"\x03me\x00\x00");
    }
    body.put_u8(0);
    let response: OffsetCommitResponse = call_raw(&mut client, ApiKey::OffsetCommit, 10, &body).await;
    let codes: Vec<_> = response.topics.iter().map(|topic| (topic.topic_id, topic.partitions[0].error_code)).collect();
    assert_eq!(codes, [(ids[0], 0), (ids[1], 100)]);

    let mut body = BytesMut::from(&b"\x02\x02g\x00\xff\xff\xff\xff\x03"[..]);
    for id in ids {
        body.put_u128(id.as_u128());
        body.put_u8(3); // two partitions
        body.put_i32(1);
        body.put_i32(0);
        body.put_u8(0);
    }
    body.put_slice(b"\x00\x01\x00");
    let response: OffsetFetchResponse = call_raw(&mut client, ApiKey::OffsetFetch, 10, &body).await;
    let mut told = Vec::new();
    for topic in &response.groups[0].topics {
        for one in &topic.partitions {
            told.push((topic.topic_id, one.partition_index, one.committed_offset, one.error_code));
        }
    }
    assert_eq!(told, [(ids[0], 1, 42, 0), (ids[0], 0, -1, 0), (ids[1], 1, -1, 100), (ids[1], 0, -1, 100)]);
    let all = b"\x02\x02g\x00\xff\xff\xff\xff\x00\x00\x00\x00";
    let response: OffsetFetchResponse = call_raw(&mut client, ApiKey::OffsetFetch, 10, all).await;
    let topics = &response.groups[0].topics;
    assert_eq!((topics.len(), topics[0].topic_id, topics[0].partitions.len()), (1, known, 1));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_may_not_be_has_kafkas_code() {
    let server = Server::start().await;
    let mut client = with_coordinators(&server).await;
    client.create_topic("t", 2).await;
    assert_eq!(commit_code(&mut client, 7, &commit("g", "unknown", 0, 1)).await, 3);
    assert_eq!(commit_code(&mut client, 7, &commit("g", "t", 2, 1)).await, 3);
    let member = commit("g", "t", 0, 1).with_generation_id_or_member_epoch(4).with_member_id(text("m"));
    assert_eq!(commit_code(&mut client, 8, &member).await, 22, "no such group");
    assert_eq!(commit_code(&mut client, 9, &member).await, 69, "the same, since version 9");
    let mut long = commit("g", "t", 0, 1);
    long.topics[0].partitions[0].committed_metadata = Some(text(&"x".repeat(4_097)));
    assert_eq!(commit_code(&mut client, 7, &long).await, 12);
    let mut null = commit("g", "t", 0, 1);
    null.topics[0].partitions[0].committed_metadata = None;
    assert_eq!(commit_code(&mut client, 7, &null).await, 0);
    assert_eq!(fetched(&mut client, 7, &fetch(7, "g", Some(&[("t", &[0])]))).await.1[0].4, "", "never null");
    assert_eq!(commit_code(&mut client, 2, &commit("", "t", 0, 5)).await, 0, "an empty group id may commit");
    assert_eq!(commit_code(&mut client, 7, &commit(&"g".repeat(1_025), "t", 0, 1)).await, 24);
    // What is wrong with the whole group stands where the version has a place for it.
    let name = "g".repeat(1_025);
    for version in 1..=9 {
        let (code, told) = fetched(&mut client, version, &fetch(version, &name, Some(&[("t", &[0])]))).await;
        let inner: Vec<i16> = told.iter().map(|one| one.5).collect();
        let expected = if version == 1 { (0, vec![24]) } else { (24, vec![]) };
        assert_eq!((code, inner), expected, "version {version}");
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_are_deleted_alone_and_with_their_group() {
    let server = Server::start().await;
    let mut client = with_coordinators(&server).await;
    client.create_topic("t", 2).await;
    for partition in 0..2 {
        assert_eq!(commit_code(&mut client, 7, &commit("g", "t", partition, 1)).await, 0);
    }
    let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
    let topic = |name: &str, indexes: &[i32]| {
        let partitions = indexes.iter().map(|index| partition(*index)).collect();
        OffsetDeleteRequestTopic::default().with_name(topic_name(name)).with_partitions(partitions)
    };
    let request = OffsetDeleteRequest::default()
        .with_group_id(group("g"))
        .with_topics(vec![topic("t", &[1, 9]), topic("unknown", &[0])]);
    let response = client.call(0, &request).await;
    let codes: Vec<Vec<i16>> = response
        .topics
        .iter()
        .map(|topic| topic.partitions.iter().map(|partition| partition.error_code).collect())
        .collect();
    assert_eq!((response.error_code, codes), (0, vec![vec![0, 3], vec![3]]));
    assert_eq!(fetched(&mut client, 7, &fetch(7, "g", None)).await.1.len(), 1);
    assert_eq!(client.call(0, &request.with_group_id(group("other"))).await.error_code, 69);
    let deleted = client.call(2, &DeleteGroupsRequest::default().with_groups_names(vec![group("g")])).await;
    assert_eq!(deleted.results[0].error_code, 0);
    assert_eq!(fetched(&mut client, 7, &fetch(7, "g", None)).await.1.len(), 0);
}
