//! Admin APIs that ask what there is: log directories, producers, reassignments, elections, quotas, ACLs, credentials,
//! config resources, transactions.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, BrokerId,
    CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, DescribeClientQuotasRequest, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeUserScramCredentialsRequest, ElectLeadersRequest, ListConfigResourcesRequest,
    ListPartitionReassignmentsRequest, ListTransactionsRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::harness::{Client, Server, batch, produce, topic_name};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

async fn log_dirs(client: &mut Client, version: i16, topics: Option<Vec<(&str, Vec<i32>)>>) -> Vec<(String, i32, i64)> {
    let topics = topics.map(|topics| {
        let topic = |(name, partitions)| {
            DescribableLogDirTopic::default().with_topic(topic_name(name)).with_partitions(partitions)
        };
        topics.into_iter().map(topic).collect()
    });
    let response = client.call(version, &DescribeLogDirsRequest::default().with_topics(topics)).await;
    assert_eq!((response.error_code, response.results.len()), (0, 1));
    let dir = &response.results[0];
    assert_eq!((dir.error_code, dir.log_dir.as_str(), dir.total_bytes, dir.usable_bytes), (0, "object-store", -1, -1));
    let sizes = dir.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            assert_eq!((partition.offset_lag, partition.is_future_key), (0, false));
            (topic.name.to_string(), partition.partition_index, partition.partition_size)
        })
    });
    sizes.collect()
}

#[tokio::test]
async fn log_directories_list_every_partition_with_its_bytes() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    client.create_topic("u", 1).await;
    let stored = batch(&["some", "records"]);
    let size = i64::try_from(stored.len()).unwrap();
    let (t, u) = ("t".to_owned(), "u".to_owned());
    for version in 1..=4 {
        client.call(13, &produce("", id, &[(1, Some(stored.clone()))])).await;
        let all = log_dirs(&mut client, version, None).await;
        assert_eq!(all, [(t.clone(), 0, 0), (t.clone(), 1, size * i64::from(version)), (u.clone(), 0, 0)]);
        let asked = vec![("u", vec![0, 5, 0]), ("unknown", vec![0]), ("t", vec![])];
        assert_eq!(log_dirs(&mut client, version, Some(asked)).await, [(u.clone(), 0, 0)]);
    }
    let dir = |path: &str, topic: &str, partition| {
        let topic = AlterReplicaLogDirTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        AlterReplicaLogDir::default().with_path(text(path)).with_topics(vec![topic])
    };
    for version in 1..=2 {
        let dirs = vec![
            dir("object-store", "t", 0),
            dir("/data", "t", 0),
            dir("object-store", "t", 9),
            dir("object-store", "unknown", 0),
        ];
        let response = client.call(version, &AlterReplicaLogDirsRequest::default().with_dirs(dirs)).await;
        let codes: Vec<i16> = response.results.iter().map(|topic| topic.partitions[0].error_code).collect();
        assert_eq!(codes, [0, 57, 9, 9]);
    }
}

/// A batch of an idempotent producer.
fn of_producer(id: i64, epoch: i16, sequence: i32) -> Bytes {
    let mut changed = BytesMut::from(&batch(&["a", "b"])[..]);
    changed[43..51].copy_from_slice(&id.to_be_bytes());
    changed[51..53].copy_from_slice(&epoch.to_be_bytes());
    changed[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = crate::harness::crc32c(&changed[21..]);
    changed[17..21].copy_from_slice(&crc.to_be_bytes());
    changed.freeze()
}

#[tokio::test]
async fn producers_of_a_partition_are_described() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    for records in [of_producer(7, 0, 0), of_producer(5, 3, 0), of_producer(7, 0, 2), batch(&["nobody's"])] {
        let response = client.call(13, &produce("", id, &[(0, Some(records))])).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    let topic =
        |name: &str, partitions| TopicRequest::default().with_name(topic_name(name)).with_partition_indexes(partitions);
    let topics = vec![topic("t", vec![0, 1, 2]), topic("unknown", vec![0])];
    let response = client.call(0, &DescribeProducersRequest::default().with_topics(topics)).await;
    let partitions: Vec<_> = response.topics.iter().flat_map(|topic| &topic.partitions).collect();
    let codes: Vec<i16> = partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [0, 0, 3, 3]);
    let producers: Vec<(i64, i32, i32)> = partitions[0]
        .active_producers
        .iter()
        .map(|producer| (producer.producer_id.0, producer.producer_epoch, producer.last_sequence))
        .collect();
    assert_eq!(producers, [(5, 3, 1), (7, 0, 3)]);
    let one = &partitions[0].active_producers[0];
    assert_eq!((one.coordinator_epoch, one.current_txn_start_offset), (-1, -1));
    assert!(one.last_timestamp > 0 && partitions[1].active_producers.is_empty());
}

#[tokio::test]
async fn partitions_are_where_they_are() {
    let (server, mut client, _) = Server::with_topic("t").await;
    let own = server.broker.cluster().node_id;
    let list = ListPartitionReassignmentsRequest::default().with_topics(None);
    let response = client.call(0, &list).await;
    assert!(response.error_code == 0 && response.topics.is_empty());
    let ask = |topic: &str, partition, replicas: Option<Vec<i32>>| {
        let replicas = replicas.map(|replicas| replicas.into_iter().map(BrokerId).collect());
        let partition = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas);
        ReassignableTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition])
    };
    for version in 0..=1 {
        let topics = vec![
            ask("t", 0, Some(vec![own])),
            ask("t", 0, Some(vec![own + 1])),
            ask("t", 0, Some(vec![own, own])),
            ask("t", 0, Some(vec![])),
            ask("t", 1, None),
            ask("t", 2, Some(vec![own])),
            ask("unknown", 0, None),
        ];
        let response = client.call(version, &AlterPartitionReassignmentsRequest::default().with_topics(topics)).await;
        let codes: Vec<i16> = response.responses.iter().map(|topic| topic.partitions[0].error_code).collect();
        assert_eq!((response.error_code, codes), (0, vec![0, 39, 39, 39, 85, 3, 3]));
    }
    let asked =
        |name: &str, partitions| TopicPartitions::default().with_topic(topic_name(name)).with_partitions(partitions);
    for version in 0..=2 {
        let topics = Some(vec![asked("t", vec![0, 5]), asked("unknown", vec![0])]);
        let response = client.call(version, &ElectLeadersRequest::default().with_topic_partitions(topics)).await;
        let results = response.replica_election_results.iter().flat_map(|topic| &topic.partition_result);
        let codes: Vec<i16> = results.map(|partition| partition.error_code).collect();
        assert_eq!((response.error_code, codes), (0, vec![84, 3, 3]));
        let all = client.call(version, &ElectLeadersRequest::default().with_topic_partitions(None)).await;
        assert!(all.error_code == 0 && all.replica_election_results.is_empty(), "every partition has its leader");
        if version >= 1 {
            let request = ElectLeadersRequest::default().with_election_type(2).with_topic_partitions(None);
            assert_eq!(client.call(version, &request).await.error_code, 42);
        }
    }
}

#[tokio::test]
async fn there_is_no_authorizer_and_nobody_has_credentials() {
    let mut client = Server::start().await.connect();
    for version in 1..=3 {
        let describe =
            DescribeAclsRequest::default().with_resource_type_filter(1).with_operation(1).with_permission_type(1);
        let response = client.call(version, &describe).await;
        assert_eq!((response.error_code, response.resources.len()), (54, 0));
        assert_eq!(response.error_message.unwrap().as_str(), "No Authorizer is configured.");
        let create = CreateAclsRequest::default().with_creations(vec![AclCreation::default(), AclCreation::default()]);
        let response = client.call(version, &create).await;
        assert!(response.results.len() == 2 && response.results.iter().all(|result| result.error_code == 54));
        let delete = DeleteAclsRequest::default().with_filters(vec![DeleteAclsFilter::default()]);
        let response = client.call(version, &delete).await;
        assert!(response.filter_results.len() == 1 && response.filter_results[0].error_code == 54);
    }
    let users = |names: &[&str]| {
        let users = names.iter().map(|name| UserName::default().with_name(text(name)));
        DescribeUserScramCredentialsRequest::default().with_users(Some(users.collect()))
    };
    for all in [users(&[]), DescribeUserScramCredentialsRequest::default().with_users(None)] {
        let response = client.call(0, &all).await;
        assert!(response.error_code == 0 && response.results.is_empty());
    }
    let response = client.call(0, &users(&["a", "b", "a"])).await;
    let codes: Vec<(&str, i16)> =
        response.results.iter().map(|result| (result.user.as_str(), result.error_code)).collect();
    assert_eq!(codes, [("a", 92), ("b", 91)]);
}

#[tokio::test]
async fn there_are_no_quotas() {
    let mut client = Server::start().await.connect();
    let component =
        |kind: &str| ComponentData::default().with_entity_type(text(kind)).with_match_type(2).with_match(None);
    for version in 0..=1 {
        for (kinds, code) in [
            (vec![], 0),
            (vec!["user", "client-id"], 0),
            (vec!["ip"], 0),
            (vec!["ip", "user"], 42),
            (vec!["user", "user"], 42),
            (vec![""], 42),
            (vec!["group"], 35),
        ] {
            let components = kinds.iter().map(|kind| component(kind)).collect();
            let request = DescribeClientQuotasRequest::default().with_components(components);
            let response = client.call(version, &request).await;
            assert_eq!((response.error_code, response.entries.is_some()), (code, code == 0), "{kinds:?}");
        }
        let entry = |remove| {
            let entity = EntityData::default().with_entity_type(text("user")).with_entity_name(Some(text("u")));
            let op = OpData::default().with_key(text("producer_byte_rate")).with_value(1.0).with_remove(remove);
            EntryData::default().with_entity(vec![entity]).with_ops(vec![op])
        };
        let request = AlterClientQuotasRequest::default().with_entries(vec![entry(false), entry(true)]);
        let response = client.call(version, &request).await;
        let codes: Vec<i16> = response.entries.iter().map(|entry| entry.error_code).collect();
        assert_eq!(codes, [42, 0]);
        assert_eq!(response.entries[0].entity[0].entity_name.as_ref().unwrap().as_str(), "u");
    }
}

#[tokio::test]
async fn config_resources_and_transactions_are_listed() {
    let (server, mut client, _) = Server::with_topic("t").await;
    let own = server.broker.cluster().node_id.to_string();
    let response = client.call(0, &ListConfigResourcesRequest::default()).await;
    assert!(response.error_code == 0 && response.config_resources.is_empty(), "no client metrics subscriptions");
    for (types, expected) in [
        (vec![], vec![(2, "t"), (4, own.as_str()), (8, own.as_str())]),
        (vec![2], vec![(2, "t")]),
        (vec![4, 16, 32], vec![(4, own.as_str())]),
    ] {
        let request = ListConfigResourcesRequest::default().with_resource_types(types);
        let response = client.call(1, &request).await;
        let found = response.config_resources.iter().map(|found| (found.resource_type, found.resource_name.as_str()));
        assert_eq!((response.error_code, found.collect::<Vec<_>>()), (0, expected));
    }
    let unknown = ListConfigResourcesRequest::default().with_resource_types(vec![2, 99]);
    assert_eq!(client.call(1, &unknown).await.error_code, 35);
    for version in 0..=2 {
        let request = ListTransactionsRequest::default().with_state_filters(vec![text("Ongoing"), text("Odd")]);
        let response = client.call(version, &request).await;
        assert!(response.error_code == 0 && response.transaction_states.is_empty());
        assert_eq!(response.unknown_state_filters, [text("Odd")]);
    }
}
