//! CreateTopics, DeleteTopics, CreatePartitions, DescribeConfigs, InitProducerId.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    InitProducerIdRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::harness::{Server, topic_name};

fn topic(name: &str) -> CreatableTopic {
    CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(2).with_replication_factor(3)
}

fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics)
}

#[tokio::test]
async fn topics_are_created_in_every_version() {
    let mut client = Server::start().await.connect();
    for version in 2..=7 {
        let response = client.call(version, &create(vec![topic(&format!("t{version}"))])).await;
        let created = &response.topics[0];
        assert_eq!(created.error_code, 0, "{created:?}");
        if version >= 5 {
            assert_eq!((created.num_partitions, created.replication_factor), (2, 3));
            assert!(!created.configs.as_ref().unwrap().is_empty());
        }
        assert_eq!(created.topic_id.is_nil(), version < 7);
        assert_eq!(client.call(version, &create(vec![topic(&format!("t{version}"))])).await.topics[0].error_code, 36);
    }
}

#[tokio::test]
async fn what_cannot_be_created_says_why() {
    let mut client = Server::start().await.connect();
    let twice = client.call(7, &create(vec![topic("a"), topic("b"), topic("a")])).await;
    let codes: Vec<(&str, i16)> = twice.topics.iter().map(|topic| (topic.name.as_str(), topic.error_code)).collect();
    assert_eq!(codes, [("a", 42), ("b", 0)]);
    let assigned = |brokers: Vec<i32>, partition: i32| {
        let brokers = brokers.into_iter().map(BrokerId).collect();
        CreatableReplicaAssignment::default().with_partition_index(partition).with_broker_ids(brokers)
    };
    let own = client.call(1, &kafka_protocol::messages::MetadataRequest::default()).await.brokers[0].node_id.0;
    let manual = |name: &str, assignments| {
        topic(name).with_num_partitions(-1).with_replication_factor(-1).with_assignments(assignments)
    };
    let cases = [
        (topic("x").with_num_partitions(0), 37),
        (topic("x").with_num_partitions(i32::MAX), 37),
        (topic("x").with_replication_factor(0), 38),
        (topic(".."), 17),
        (topic(""), 17),
        (topic("x").with_assignments(vec![assigned(vec![own], 0)]), 42),
        (manual("x", vec![assigned(vec![own], 1)]), 39),
        (manual("x", vec![assigned(vec![own], 0), assigned(vec![own], 0)]), 39),
        (manual("x", vec![assigned(vec![own, own], 0)]), 39),
        (manual("x", vec![assigned(vec![own + 50], 0)]), 39),
        (manual("x", vec![assigned(vec![], 0)]), 39),
        (manual("x", vec![assigned(vec![own], 0), assigned(vec![own], 1)]), 0),
    ];
    for (topic, code) in cases {
        let response = client.call(7, &create(vec![topic.clone()])).await;
        let result = &response.topics[0];
        assert_eq!(result.error_code, code, "{topic:?} {:?}", result.error_message);
        assert!(result.configs.is_some(), "never null");
    }
    let dry = client.call(7, &create(vec![topic("dry")]).with_validate_only(true)).await;
    assert_eq!((dry.topics[0].error_code, dry.topics[0].topic_id), (0, Uuid::nil()));
    let real = client.call(7, &create(vec![topic("dry")])).await;
    assert_eq!(real.topics[0].error_code, 0, "validate_only created nothing");
}

#[tokio::test]
async fn topics_are_deleted_by_name_and_by_id() {
    let (_server, mut client, id) = Server::with_topic("by-id").await;
    for version in 1..=5 {
        client.create_topic("by-name", 1).await;
        let names = vec![topic_name("by-name"), topic_name("unknown")];
        let response = client.call(version, &DeleteTopicsRequest::default().with_topic_names(names)).await;
        let codes: Vec<i16> = response.responses.iter().map(|response| response.error_code).collect();
        assert_eq!(codes, [0, 3], "version {version}");
    }
    let state = DeleteTopicState::default;
    let request = DeleteTopicsRequest::default().with_topics(vec![
        state().with_topic_id(id),
        state().with_topic_id(Uuid::from_u128(5)),
        state().with_name(None),
        state().with_name(Some(topic_name("x"))).with_topic_id(id),
        state().with_name(Some(topic_name("y"))),
        state().with_name(Some(topic_name("y"))),
    ]);
    let response = client.call(6, &request).await;
    let codes: Vec<i16> = response.responses.iter().map(|response| response.error_code).collect();
    assert_eq!(codes, [0, 100, 42, 42, 42]);
    assert_eq!(response.responses[0].name.as_ref().unwrap().as_str(), "by-id");
    assert_ne!(client.create_topic("by-id", 1).await, id, "a recreated topic has another id");
}

#[tokio::test]
async fn partitions_are_added_and_never_removed() {
    let (_server, mut client, _) = Server::with_topic("t").await;
    let ask = |name: &str, count| {
        CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count).with_assignments(None)
    };
    for (version, count, code) in [(0, 3, 0), (1, 3, 37), (2, 2, 37), (3, 4, 0), (3, -1, 37)] {
        let request = CreatePartitionsRequest::default().with_topics(vec![ask("t", count)]);
        assert_eq!(client.call(version, &request).await.results[0].error_code, code, "{count}");
    }
    let request = CreatePartitionsRequest::default().with_topics(vec![ask("u", 3), ask("t", 9), ask("t", 9)]);
    let response = client.call(3, &request).await;
    let codes: Vec<i16> = response.results.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [3, 42]);
}

#[tokio::test]
async fn configs_are_described() {
    let (_server, mut client, _) = Server::with_topic("t").await;
    let own = client.call(1, &kafka_protocol::messages::MetadataRequest::default()).await.brokers[0].node_id.0;
    let resource = |kind: i8, name: &str| {
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_string(name.to_owned()))
            .with_configuration_keys(None)
    };
    for version in 1..=4 {
        let one = vec![StrBytes::from_static_str("max.message.bytes"), StrBytes::from_static_str("no.such.thing")];
        let request = DescribeConfigsRequest::default().with_include_synonyms(true).with_resources(vec![
            resource(2, "t"),
            resource(2, "t").with_configuration_keys(Some(one)),
            resource(4, &own.to_string()),
            resource(8, &own.to_string()),
            resource(2, "unknown"),
            resource(2, ".."),
            resource(4, "77"),
            resource(4, "x"),
            resource(99, "t"),
        ]);
        let response = client.call(version, &request).await;
        let codes: Vec<i16> = response.results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [0, 0, 0, 0, 3, 17, 42, 42, 42]);
        let configs = &response.results[0].configs;
        assert!(configs.len() > 20);
        assert!(configs.iter().all(|config| (1..=6).contains(&config.config_source)));
        assert_eq!(response.results[1].configs[0].value.as_ref().unwrap().as_str(), "1048588");
        assert_eq!(response.results[1].configs.len(), 1);
        assert!(!response.results[2].configs.is_empty() && response.results[3].configs.is_empty());
    }
}

#[tokio::test]
async fn producer_ids_are_given_out_but_not_to_transactions() {
    let mut client = Server::start().await.connect();
    let mut last = -1;
    for version in 0..=5 {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let response = client.call(version, &request).await;
        assert_eq!((response.error_code, response.producer_epoch), (0, 0));
        assert!(response.producer_id.0 > last);
        last = response.producer_id.0;
    }
    let transactional = |id: &'static str| {
        InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(StrBytes::from_static_str(id))))
    };
    assert_eq!(client.call(4, &transactional("t")).await.error_code, 53);
    assert_eq!(client.call(4, &transactional("")).await.error_code, 42);
    let half = InitProducerIdRequest::default().with_transactional_id(None).with_producer_epoch(3);
    assert_eq!(client.call(4, &half).await.error_code, 42);
}
