//! FindCoordinator, JoinGroup, SyncGroup, Heartbeat, LeaveGroup, ListGroups, DescribeGroups, DeleteGroups, and the topic of
//! the coordinators.

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    CreatePartitionsRequest, DeleteGroupsRequest, DeleteTopicsRequest, DescribeGroupsRequest, FindCoordinatorRequest,
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest,
    MetadataRequest, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::harness::{Client, Server, batch, produce, topic_name};

pub(crate) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub(crate) fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// A client of a server whose coordinators are there and loaded.
pub(crate) async fn with_coordinators(server: &Server) -> Client {
    let mut client = server.connect();
    assert_eq!(client.call(0, &FindCoordinatorRequest::default().with_key(text("g"))).await.error_code, 0);
    while client.call(0, &ListGroupsRequest::default()).await.error_code == 14 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    client
}

fn join(name: &str, member_id: &str) -> JoinGroupRequest {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"subscribed"));
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(20_000)
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins in both steps where the version has two.
async fn joined(client: &mut Client, version: i16, name: &str) -> JoinGroupResponse {
    let first = client.call(version, &join(name, "")).await;
    if version < 4 {
        return first;
    }
    assert_eq!((first.error_code, first.generation_id), (79, -1));
    client.call(version, &join(name, &first.member_id)).await
}

async fn synced(client: &mut Client, version: i16, name: &str, member: &JoinGroupResponse) -> SyncGroupResponse {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(member.member_id.clone())
        .with_assignment(Bytes::from_static(b"yours"));
    let request = SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_generation_id(member.generation_id)
        .with_member_id(member.member_id.clone())
        .with_assignments(if member.leader == member.member_id { vec![assignment] } else { vec![] });
    let names = (Some(text("consumer")), Some(text("range")));
    let request = if version >= 5 { request.with_protocol_type(names.0).with_protocol_name(names.1) } else { request };
    client.call(version, &request).await
}

async fn beat(client: &mut Client, version: i16, name: &str, member: &JoinGroupResponse) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(group(name))
        .with_generation_id(member.generation_id)
        .with_member_id(member.member_id.clone());
    client.call(version, &request).await.error_code
}

async fn leave(client: &mut Client, version: i16, name: &str, member_id: &StrBytes) -> (i16, Vec<i16>) {
    let request = LeaveGroupRequest::default().with_group_id(group(name));
    let request = if version >= 3 {
        request.with_members(vec![MemberIdentity::default().with_member_id(member_id.clone())])
    } else {
        request.with_member_id(member_id.clone())
    };
    let response = client.call(version, &request).await;
    (response.error_code, response.members.iter().map(|member| member.error_code).collect())
}

async fn described(client: &mut Client, version: i16, name: &str) -> DescribedGroup {
    let request = DescribeGroupsRequest::default().with_groups(vec![group(name)]);
    client.call(version, &request).await.groups.remove(0)
}

#[tokio::test(start_paused = true)]
async fn the_coordinator_is_found_in_every_version() {
    let server = Server::start().await;
    let mut client = server.connect();
    for version in 0..=6 {
        let keys = vec![text("g"), text("h")];
        let request = FindCoordinatorRequest::default();
        let request = if version >= 4 { request.with_coordinator_keys(keys) } else { request.with_key(text("g")) };
        let response = client.call(version, &request).await;
        if version >= 4 {
            let found = |one: &kafka_protocol::messages::find_coordinator_response::Coordinator| {
                (one.key.to_string(), one.error_code, one.node_id.0, one.host.to_string(), one.port)
            };
            let found: Vec<_> = response.coordinators.iter().map(found).collect();
            let expected = |key: &str| (key.to_owned(), 0, 1, "127.0.0.1".to_owned(), 9092);
            assert_eq!(found, [expected("g"), expected("h")]);
        } else {
            assert_eq!((response.error_code, response.node_id.0, response.port), (0, 1, 9092));
        }
    }
    assert_eq!(client.call(3, &FindCoordinatorRequest::default().with_key_type(2)).await.error_code, 42);
    let transaction = FindCoordinatorRequest::default().with_key(text("t")).with_key_type(1);
    assert_eq!(client.call(2, &transaction).await.error_code, 15);
}

#[tokio::test(start_paused = true)]
async fn the_topic_of_the_coordinators_is_not_for_clients_to_change() {
    const NAME: &str = "__consumer_offsets";
    let server = Server::start().await;
    let mut client = with_coordinators(&server).await;
    let asked = MetadataRequestTopic::default().with_name(Some(topic_name(NAME)));
    let known = client.call(12, &MetadataRequest::default().with_topics(Some(vec![asked]))).await;
    let topic = &known.topics[0];
    assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (0, true, 50));
    assert!(topic.partitions.iter().all(|partition| partition.leader_id.0 == 1));
    for version in [9, 13] {
        let response = client.call(version, &produce(NAME, topic.topic_id, &[(0, Some(batch(&["x"])))])).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, 17);
    }
    let deleted = client.call(5, &DeleteTopicsRequest::default().with_topic_names(vec![topic_name(NAME)])).await;
    assert_eq!(deleted.responses[0].error_code, 17);
    let more = CreatePartitionsTopic::default().with_name(topic_name(NAME)).with_count(60).with_assignments(None);
    let grown = client.call(3, &CreatePartitionsRequest::default().with_topics(vec![more])).await;
    assert_eq!(grown.results[0].error_code, 17);
    assert_ne!(topic.topic_id, Uuid::nil());
}

#[tokio::test(start_paused = true)]
async fn a_member_comes_works_and_goes_in_every_version() {
    let server = Server::start().await;
    let mut client = with_coordinators(&server).await;
    for version in 0..=9 {
        let name = format!("g{version}");
        let member = joined(&mut client, version, &name).await;
        assert_eq!((member.error_code, member.generation_id), (0, 1), "version {version}");
        assert_eq!((&member.leader, member.members.len()), (&member.member_id, 1));
        assert!(member.member_id.starts_with("test-"), "{}", member.member_id);
        assert_eq!(member.protocol_name, Some(text("range")));
        assert_eq!(member.protocol_type, (version >= 7).then(|| text("consumer")));
        let assigned = synced(&mut client, version.min(5), &name, &member).await;
        assert_eq!((assigned.error_code, &assigned.assignment[..]), (0, &b"yours"[..]));
        assert_eq!(beat(&mut client, version.min(4), &name, &member).await, 0);
        let group = described(&mut client, version.min(6), &name).await;
        assert_eq!((group.error_code, &*group.group_state, &*group.protocol_data), (0, "Stable", "range"));
        let shown = &group.members[0];
        assert_eq!((&*shown.client_id, &*shown.client_host), ("test", "/127.0.0.1"));
        assert_eq!((&shown.member_metadata[..], &shown.member_assignment[..]), (&b"subscribed"[..], &b"yours"[..]));
        let listed = client.call(version.min(5), &ListGroupsRequest::default()).await;
        let listed = listed.groups.iter().find(|group| *group.group_id.0 == *name).unwrap();
        assert_eq!(&*listed.protocol_type, "consumer");
        assert_eq!(&*listed.group_state, if version >= 4 { "Stable" } else { "" });
        assert_eq!(&*listed.group_type, if version >= 5 { "classic" } else { "" });
        let left = leave(&mut client, version.min(5), &name, &member.member_id).await;
        assert_eq!(left, (0, if version >= 3 { vec![0] } else { vec![] }));
        assert_eq!(beat(&mut client, version.min(4), &name, &member).await, 25);
        let again = leave(&mut client, version.min(5), &name, &member.member_id).await;
        assert_eq!(again, if version >= 3 { (0, vec![25]) } else { (25, vec![]) });
    }
}

#[tokio::test(start_paused = true)]
async fn two_members_share_a_group_and_the_second_makes_the_first_join_again() {
    let server = Server::start().await;
    let mut first_client = with_coordinators(&server).await;
    let mut second_client = server.connect();
    let first = joined(&mut first_client, 5, "g").await;
    assert_eq!(synced(&mut first_client, 3, "g", &first).await.error_code, 0);
    let second_id = second_client.call(5, &join("g", "")).await.member_id;
    let waiting = second_client.send(5, &join("g", &second_id)).await;
    while beat(&mut first_client, 3, "g", &first).await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(beat(&mut first_client, 3, "g", &first).await, 27);
    let first = first_client.call(5, &join("g", &first.member_id)).await;
    let second = second_client.receive::<JoinGroupRequest>(5, waiting).await;
    assert_eq!((first.generation_id, second.generation_id), (2, 2));
    assert_eq!((first.members.len(), second.members.len()), (2, 0), "only the leader sees who is there");
    assert_eq!(beat(&mut second_client, 3, "g", &second.clone().with_generation_id(1)).await, 22);
    // The second one's answer waits for the leader's.
    let request = SyncGroupRequest::default().with_group_id(group("g")).with_generation_id(2);
    let waiting = second_client.send(3, &request.with_member_id(second.member_id.clone())).await;
    assert_eq!(synced(&mut first_client, 3, "g", &first).await.error_code, 0);
    let second = second_client.receive::<SyncGroupRequest>(3, waiting).await;
    assert_eq!((second.error_code, second.assignment.len()), (0, 0));
    let refused = first_client.call(2, &DeleteGroupsRequest::default().with_groups_names(vec![group("g")])).await;
    assert_eq!(refused.results[0].error_code, 68);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_not_allowed_has_kafkas_code() {
    let server = Server::start().await;
    let mut client = with_coordinators(&server).await;
    for version in 0..=6 {
        let group = described(&mut client, version, "nobody").await;
        assert_eq!((group.error_code, &*group.group_state), (if version >= 6 { 69 } else { 0 }, "Dead"));
    }
    let deleted = client.call(1, &DeleteGroupsRequest::default().with_groups_names(vec![group("nobody")])).await;
    assert_eq!(deleted.results[0].error_code, 69);
    assert_eq!(client.call(5, &join("", "")).await.error_code, 24);
    assert_eq!(client.call(5, &join(&"g".repeat(1_025), "")).await.error_code, 24);
    assert_eq!(client.call(5, &join("g", "unknown")).await.error_code, 25);
    assert_eq!(client.call(5, &join("g", "").with_session_timeout_ms(10)).await.error_code, 26);
    assert_eq!(client.call(5, &join("g", "").with_session_timeout_ms(-5)).await.error_code, 26);
    assert_eq!(client.call(5, &join("g", "").with_protocols(vec![])).await.error_code, 23);
    let nameless = SyncGroupRequest::default().with_group_id(group("g"));
    assert_eq!(client.call(5, &nameless).await.error_code, 23);
    assert_eq!(client.call(4, &nameless).await.error_code, 25);
    let states = ListGroupsRequest::default().with_states_filter(vec![text("stable")]);
    assert!(client.call(4, &states).await.groups.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_in_a_rebalance_leaves_nothing_that_waits() {
    let server = Server::start().await;
    let mut client = with_coordinators(&server).await;
    let member = joined(&mut client, 3, "g").await;
    assert_eq!(synced(&mut client, 3, "g", &member).await.error_code, 0);
    let (mut hasty, serving) = server.connection();
    hasty.send(3, &join("g", "")).await;
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    drop(hasty);
    serving.await.unwrap();
    // It is a member until its time-out all the same; then the other one is alone again.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(beat(&mut client, 3, "g", &member).await, 27);
    let alone = client.call(3, &join("g", &member.member_id)).await;
    assert_eq!((alone.error_code, alone.generation_id), (0, 2));
}
