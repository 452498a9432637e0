//! ApiVersions, Metadata, DescribeCluster, DescribeTopicPartitions.

use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeClusterRequest, DescribeTopicPartitionsRequest, MetadataRequest,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::harness::{Server, header, topic_name, with_length};
use tokio::io::AsyncWriteExt;

fn client_names(request: ApiVersionsRequest, name: &'static str) -> ApiVersionsRequest {
    request
        .with_client_software_name(StrBytes::from_static_str(name))
        .with_client_software_version(StrBytes::from_static_str("1.0"))
}

#[tokio::test]
async fn api_versions_answers_every_version_with_sorted_keys() {
    let mut client = Server::start().await.connect();
    for version in 0..=4 {
        let request = ApiVersionsRequest::default();
        let request = if version >= 3 { client_names(request, "a") } else { request };
        let response = client.call(version, &request).await;
        assert_eq!(response.error_code, 0);
        assert!(response.api_keys.is_sorted_by_key(|api| api.api_key));
        let produce = &response.api_keys[0];
        assert_eq!((produce.api_key, produce.min_version, produce.max_version), (0, 0, 13));
        let features = response.finalized_features.iter().map(|feature| feature.name.as_str());
        assert_eq!(features.collect::<Vec<_>>(), if version >= 3 { vec!["group.version"] } else { vec![] });
    }
    let refused = client.call(3, &client_names(ApiVersionsRequest::default(), "no spaces please")).await;
    assert_eq!(refused.error_code, 42);
}

#[tokio::test]
async fn an_unknown_api_versions_version_gets_the_exact_version_0_error() {
    let mut client = Server::start().await.connect();
    let mut body = header(18, 9, 5, 2);
    body.extend_from_slice(b"anything");
    client.stream.write_all(&with_length(&body)).await.unwrap();
    let answer = client.next_frame().await.unwrap();
    assert_eq!(answer[..], [0, 0, 0, 5, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
    assert!(client.works().await);
}

fn ask(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    MetadataRequest::default().with_topics(Some(names.iter().map(topic).collect()))
}

#[tokio::test]
async fn metadata_tells_all_topics_from_none() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    for version in 0..=13 {
        let empty = client.call(version, &ask(&[])).await;
        assert_eq!(empty.topics.len(), usize::from(version == 0), "version {version}");
        if version >= 1 {
            let all = client.call(version, &MetadataRequest::default().with_topics(None)).await;
            assert_eq!(all.topics.len(), 1);
        }
        let named = client.call(version, &ask(&["t", "t"])).await;
        let [topic] = &named.topics[..] else { panic!("asked twice, answered once") };
        assert_eq!((topic.error_code, topic.partitions.len()), (0, 2));
        assert_eq!(topic.topic_id, if version >= 10 { id } else { Uuid::nil() });
        assert_eq!(topic.partitions[0].leader_id, named.brokers[0].node_id);
        assert_eq!((named.brokers[0].host.as_str(), named.brokers[0].port), ("127.0.0.1", 9092));
        if version >= 2 {
            assert_eq!(named.cluster_id.unwrap().as_str(), "AAAAAAAAAAAAAAAAAAAABw");
        }
    }
}

#[tokio::test]
async fn metadata_creates_a_topic_only_where_it_may() {
    let mut client = Server::start().await.connect();
    let denied = client.call(4, &ask(&["new"]).with_allow_auto_topic_creation(false)).await;
    assert_eq!(denied.topics[0].error_code, 3);
    let created = client.call(4, &ask(&["new"]).with_allow_auto_topic_creation(true)).await;
    assert_eq!(created.topics[0].error_code, 0);
    assert!(created.topics[0].partitions[0].leader_id.0 >= 0, "usable at once");
    for name in ["..", ".", "", "a b", "a\0", &"x".repeat(250)] {
        assert_eq!(client.call(9, &ask(&[name])).await.topics[0].error_code, 17, "{name:?}");
    }
    let unknown = MetadataRequestTopic::default().with_name(None).with_topic_id(Uuid::from_u128(99));
    let request = MetadataRequest::default().with_topics(Some(vec![unknown]));
    assert_eq!(client.call(12, &request).await.topics[0].error_code, 100);
    assert_eq!(client.call(13, &request).await.topics[0].error_code, 100);
    let both = MetadataRequestTopic::default().with_name(Some(topic_name("new"))).with_topic_id(Uuid::from_u128(99));
    let request = MetadataRequest::default().with_topics(Some(vec![both]));
    assert_eq!(client.call(10, &request).await.topics[0].error_code, 42);
}

#[tokio::test]
async fn describe_cluster_knows_endpoint_types() {
    let mut client = Server::start().await.connect();
    for version in 0..=2 {
        let response = client.call(version, &DescribeClusterRequest::default()).await;
        assert_eq!((response.error_code, response.brokers.len()), (0, 1));
        assert_eq!(response.controller_id, response.brokers[0].broker_id);
        assert_eq!(response.cluster_authorized_operations, i32::MIN);
    }
    for (endpoint_type, code) in [(2, 114), (3, 115), (0, 115)] {
        let request = DescribeClusterRequest::default().with_endpoint_type(endpoint_type);
        assert_eq!(client.call(1, &request).await.error_code, code);
    }
}

#[tokio::test]
async fn describe_topic_partitions_pages() {
    let (_server, mut client, _) = Server::with_topic("a").await;
    client.create_topic("b", 3).await;
    let mut request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(3);
    let first = client.call(0, &request).await;
    let counts: Vec<usize> = first.topics.iter().map(|topic| topic.partitions.len()).collect();
    assert_eq!(counts, [2, 1]);
    assert_eq!(first.topics[0].partitions[0].eligible_leader_replicas, Some(Vec::new()));
    assert_eq!(first.topics[0].partitions[0].last_known_elr, Some(Vec::new()));
    let cursor = first.next_cursor.unwrap();
    assert_eq!((cursor.topic_name.as_str(), cursor.partition_index), ("b", 1));
    let cursor = Cursor::default().with_topic_name(cursor.topic_name).with_partition_index(1);
    request.cursor = Some(cursor);
    let second = client.call(0, &request).await;
    let indices: Vec<i32> = second.topics[0].partitions.iter().map(|partition| partition.partition_index).collect();
    assert_eq!((second.topics.len(), indices), (1, vec![1, 2]));
    assert!(second.next_cursor.is_none());
    let unknown = vec![TopicRequest::default().with_name(topic_name("zz"))];
    let response = client.call(0, &DescribeTopicPartitionsRequest::default().with_topics(unknown)).await;
    assert_eq!(response.topics[0].error_code, 3);
}

#[tokio::test]
async fn all_topics_of_librdkafka_2_16_is_answered_although_three_bytes_are_too_many() {
    let server = Server::start().await;
    let mut client = server.connect();
    // A compact null array written as four bytes.
    let request = [&header(3, 13, 1, 2)[..], &[0, 0, 0, 0, 1, 0, 0]].concat();
    client.stream.write_all(&with_length(&request)).await.unwrap();
    let answer = client.next_frame().await.expect("an answer");
    assert!(answer.len() > 20, "{answer:?}");
    assert!(client.works().await);
}
