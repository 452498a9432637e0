//! Fetch sessions over the wire, in the versions that have them.

use std::time::Duration;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{DeleteTopicsRequest, FetchRequest, FetchResponse};
use tokio::time::timeout;
use uuid::Uuid;

use crate::harness::{Server, batch, produce, topic_name};

/// A request of a session for partitions of one topic, named as the version names topics.
fn fetch(version: i16, session: (i32, i32), id: Uuid, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions: Vec<FetchPartition> = partitions
        .iter()
        .map(|(partition, offset)| {
            FetchPartition::default()
                .with_partition(*partition)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(1 << 20)
        })
        .collect();
    let topic = match version {
        13.. => FetchTopic::default().with_topic_id(id),
        _ => FetchTopic::default().with_topic(topic_name("t")),
    };
    let topics = if partitions.is_empty() { Vec::new() } else { vec![topic.with_partitions(partitions)] };
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_id(session.0)
        .with_session_epoch(session.1)
        .with_topics(topics)
}

/// Error, session id, and per partition answered its index, high watermark and bytes.
fn told(response: &FetchResponse) -> (i16, i32, Vec<(i32, i64, usize)>) {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions).map(|partition| {
        let bytes = partition.records.as_ref().map_or(0, |records| records.len());
        (partition.partition_index, partition.high_watermark, bytes)
    });
    (response.error_code, response.session_id, partitions.collect())
}

#[tokio::test]
async fn a_session_is_kept_over_connections_and_answers_only_news() {
    let (server, mut client, id) = Server::with_topic("t").await;
    let bytes = batch(&["v"]).len();
    for (turn, version) in (7..=18).enumerate() {
        let end = turn as i64;
        let both = [(0, end), (1, 0)];
        let response = client.call(version, &fetch(version, (0, 0), id, &both)).await;
        let (error, session, answered) = told(&response);
        assert_eq!((error, answered), (0, vec![(0, end, 0), (1, 0, 0)]), "version {version}");
        assert!(session > 0);

        let mut client = server.connect();
        let quiet = client.call(version, &fetch(version, (session, 1), id, &[])).await;
        assert_eq!(told(&quiet), (0, session, vec![]));
        let waiting = client.send(version, &fetch(version, (session, 2), id, &[]).with_max_wait_ms(30_000)).await;
        server.connect().call(13, &produce("", id, &[(0, Some(batch(&["v"])))])).await;
        let woken = client.receive::<FetchRequest>(version, waiting);
        let woken = timeout(Duration::from_secs(5), woken).await.unwrap();
        assert_eq!(told(&woken), (0, session, vec![(0, end + 1, bytes)]));
        let moved = client.call(version, &fetch(version, (session, 3), id, &[(0, end + 1)])).await;
        assert_eq!(told(&moved), (0, session, vec![]), "the offset moved, and there is nothing after it");

        let closed = client.call(version, &fetch(version, (session, -1), id, &[])).await;
        assert_eq!(told(&closed), (0, 0, vec![]));
        assert_eq!(client.call(version, &fetch(version, (session, 4), id, &[])).await.error_code, 70);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_session_is_the_whole_answer() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    let session = client.call(18, &fetch(18, (0, 0), id, &[(0, 0), (1, 0)])).await.session_id;
    assert_eq!(told(&client.call(18, &fetch(18, (session, 2), id, &[])).await), (71, 0, vec![]));
    assert_eq!(told(&client.call(18, &fetch(18, (session ^ 1, 1), id, &[])).await), (70, 0, vec![]));
    assert_eq!(told(&client.call(12, &fetch(12, (session, 1), id, &[])).await), (106, 0, vec![]));
    let forgotten = vec![ForgottenTopic::default().with_topic_id(id).with_partitions(vec![1])];
    let request = fetch(18, (session, 1), id, &[]).with_forgotten_topics_data(forgotten);
    assert_eq!(told(&client.call(18, &request).await), (0, session, vec![]));
    let both = [(0, 0), (1, 0)];
    let again = client.call(18, &fetch(18, (session, 2), id, &both)).await;
    assert_eq!(told(&again), (0, session, vec![(1, 0, 0)]), "forgotten, so it is new again");
}

#[tokio::test]
async fn a_deleted_topic_is_an_error_in_its_session() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    let other = client.create_topic("u", 1).await;
    let mut both = fetch(18, (0, 0), id, &[(0, 0)]);
    both.topics.extend(fetch(18, (0, 0), other, &[(0, 0)]).topics);
    let session = client.call(18, &both).await.session_id;
    let topics = vec![DeleteTopicState::default().with_name(None).with_topic_id(id)];
    client.call(6, &DeleteTopicsRequest::default().with_topics(topics)).await;
    for epoch in 1..3 {
        let response = client.call(18, &fetch(18, (session, epoch), id, &[])).await;
        assert_eq!((response.error_code, response.responses.len()), (0, 1));
        let topic = &response.responses[0];
        assert_eq!((topic.topic_id, topic.partitions[0].error_code), (id, 100), "said each time");
    }
}
