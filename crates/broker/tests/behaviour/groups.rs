//! Groups over restarts, hand-overs, lost replies and time.

use std::sync::Arc;
use std::time::Duration;

use broker::groups::api::{
    FetchedOffset, GroupError, Heartbeat, JoinGroup, Joined, ListGroups, OffsetCommit, OffsetFetch, OffsetToCommit,
    Protocol, SyncGroup,
};
use broker::groups::api_consumer::{Assignment, ConsumerHeartbeat, ConsumerHeartbeatAnswer, HeartbeatRefused};
use broker::{Broker, BrokerSettings, ConfigChange, ConfigChanges, GroupSettings, Topic};
use bytes::Bytes;
use metadata::{FailPoint, MemoryStore};

use crate::rig::{NOW, ORG, Rig, create};

fn commit(group_id: &str, topic: &Topic, partition: i32, offset: i64) -> OffsetCommit {
    let to_commit =
        OffsetToCommit { topic_id: topic.topic_id, partition, offset, leader_epoch: 0, metadata: "where".to_owned() };
    OffsetCommit {
        group_id: group_id.to_owned(),
        generation_id_or_member_epoch: -1,
        member_id: String::new(),
        group_instance_id: None,
        retention: None,
        knows_new_errors: true,
        partitions: vec![to_commit],
    }
}

/// What clients do: ask again while the coordinator loads, moves, or lost its memory.
async fn until_answered<T, F: Future<Output = Result<T, GroupError>>>(mut ask: impl FnMut() -> F) -> T {
    let mut refused = None;
    for _ in 0..1_000 {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                let is_retriable = matches!(
                    error,
                    GroupError::CoordinatorLoadInProgress
                        | GroupError::NotCoordinator
                        | GroupError::CoordinatorNotAvailable
                );
                assert!(is_retriable, "{error:?}");
                refused = Some(error);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("no answer after 1,000 attempts: {refused:?}")
}

async fn committed(broker: &Broker, group_id: &str, topic: &Topic, partition: i32, offset: i64) {
    let outcomes = until_answered(|| broker.commit_offsets(ORG, commit(group_id, topic, partition, offset))).await;
    assert_eq!(outcomes.iter().map(|outcome| outcome.error).collect::<Vec<_>>(), [None]);
}

async fn offsets(broker: &Broker, group_id: &str) -> Vec<FetchedOffset> {
    let fetch = || OffsetFetch {
        group_id: group_id.to_owned(),
        member_id: None,
        member_epoch: -1,
        partitions: None,
        require_stable: true,
    };
    until_answered(|| broker.fetch_offsets(ORG, fetch())).await
}

async fn positions(broker: &Broker, group_id: &str) -> Vec<i64> {
    offsets(broker, group_id).await.iter().map(|offset| offset.offset).collect()
}

/// A broker, its coordinators, and a topic.
async fn with_topic(rig: &Rig) -> (Broker, Arc<Topic>) {
    let broker = rig.start_with(quick("a")).await;
    broker.find_coordinator(ORG, "g").await.expect("found");
    let topic = create(&broker, "t", 3).await;
    (broker, topic)
}

/// Groups do not wait for company, and forget soon.
fn quick(agent_id: &str) -> BrokerSettings {
    let groups = GroupSettings {
        initial_rebalance_delay: Duration::ZERO,
        offsets_retention: Duration::from_secs(60),
        ..GroupSettings::default()
    };
    BrokerSettings { groups, ..BrokerSettings::for_tests(agent_id) }
}

fn join(group_id: &str, member_id: &str) -> JoinGroup {
    JoinGroup {
        group_id: group_id.to_owned(),
        member_id: member_id.to_owned(),
        group_instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(10),
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol { name: "range".to_owned(), metadata: Bytes::from_static(b"topics") }],
        require_known_member_id: false,
        supports_skipping_assignment: true,
        reason: None,
    }
}

/// A member of a group of one, with its assignment.
async fn member(broker: &Broker, group_id: &str) -> Joined {
    let joined =
        until_answered(|| async { broker.join_group(ORG, join(group_id, "")).await.map_err(|refused| refused.error) })
            .await;
    let sync = SyncGroup {
        group_id: group_id.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![(joined.member_id.clone(), Bytes::from_static(b"all"))],
    };
    let synced = broker.sync_group(ORG, sync).await.expect("synced");
    assert_eq!(&synced.assignment[..], b"all");
    joined
}

fn heartbeat(group_id: &str, member: &Joined) -> Heartbeat {
    Heartbeat {
        group_id: group_id.to_owned(),
        generation_id: member.generation_id,
        member_id: member.member_id.clone(),
        group_instance_id: None,
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_and_members_survive_the_coordinators_death() {
    let rig = Rig::new();
    let (first, topic) = with_topic(&rig).await;
    committed(&first, "alone", &topic, 0, 7).await;
    let joined = member(&first, "g").await;
    let with = OffsetCommit {
        generation_id_or_member_epoch: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..commit("g", &topic, 1, 8)
    };
    first.commit_offsets(ORG, with).await.expect("committed");
    // Without a good-bye: as after kill -9.
    drop(first);
    let broker = rig.start_with(quick("a")).await;
    assert_eq!(positions(&broker, "alone").await, [7]);
    assert_eq!(positions(&broker, "g").await, [8]);
    // Its members go on as if nothing had been.
    until_answered(|| broker.heartbeat(ORG, heartbeat("g", &joined))).await;
    let described = broker.describe_group(ORG, "g".to_owned()).await;
    assert_eq!((described.error, described.members.len()), (None, 1));
    assert_eq!(&described.members[0].member_assignment[..], b"all");
    // And are missed when they do not.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(broker.heartbeat(ORG, heartbeat("g", &joined)).await, Err(GroupError::UnknownMemberId));
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_on_where_its_coordinators_lease_goes() {
    let rig = Rig::new();
    let (first, topic) = with_topic(&rig).await;
    for group in 0..20 {
        committed(&first, &format!("g{group}"), &topic, 0, group).await;
    }
    let joined = member(&first, "g0").await;
    let waiting = tokio::spawn({
        // One more that waits for the first to join again.
        let first = first.clone();
        async move { first.join_group(ORG, join("g0", "")).await.map_err(|refused| refused.error) }
    });
    let second = rig.start_with(quick("b")).await;
    let begun = tokio::time::Instant::now();
    first.hand_over(begun + Duration::from_secs(10)).await;
    assert!(begun.elapsed() < Duration::from_secs(9), "nothing is left to hand over");
    assert_eq!(waiting.await.expect("no panic"), Err(GroupError::NotCoordinator), "who waits is told");
    for group in 0..20 {
        let name = format!("g{group}");
        let found = second.find_coordinator(ORG, &name).await.expect("found");
        assert_eq!(found.session, second.session());
        assert_eq!(positions(&second, &name).await, [group]);
        let refused = first.commit_offsets(ORG, commit(&name, &topic, 0, 99)).await;
        assert_eq!(refused, Err(GroupError::NotCoordinator));
    }
    until_answered(|| second.heartbeat(ORG, heartbeat("g0", &joined))).await;
    assert_eq!(positions(&second, "g0").await, [0]);
}

#[tokio::test(start_paused = true)]
async fn a_zombie_neither_commits_nor_tells_offsets() {
    let rig = Rig::new();
    let (zombie, topic) = with_topic(&rig).await;
    committed(&zombie, "g", &topic, 0, 1).await;
    let broker = rig.start_with(quick("a")).await;
    committed(&broker, "g", &topic, 0, 2).await;
    // It does not know yet that it is one; its session is over all the same.
    assert_eq!(zombie.commit_offsets(ORG, commit("g", &topic, 0, 3)).await, Err(GroupError::NotCoordinator));
    let fetch = OffsetFetch {
        group_id: "g".to_owned(),
        member_id: None,
        member_epoch: -1,
        partitions: None,
        require_stable: false,
    };
    assert!(zombie.fetch_offsets(ORG, fetch).await.is_err());
    assert_eq!(positions(&broker, "g").await, [2]);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_reply_is_lost_is_neither_promised_nor_forgotten() {
    let rig = Rig::new();
    let (broker, topic) = with_topic(&rig).await;
    committed(&broker, "g", &topic, 0, 1).await;
    for (point, told, kept) in [
        (FailPoint::NotCommitted, None, 2),
        (FailPoint::DroppedReplyLost, Some(GroupError::NotCoordinator), 2),
        (FailPoint::CommittedReplyLost, Some(GroupError::NotCoordinator), 4),
    ] {
        rig.metadata.fail_next(point);
        let offset = if told.is_none() { 2 } else { 4 };
        let answer = broker.commit_offsets(ORG, commit("g", &topic, 0, offset)).await;
        assert_eq!(answer.err(), told, "{point:?}");
        assert_eq!(positions(&broker, "g").await, [kept], "{point:?}");
    }
    committed(&broker, "g", &topic, 0, 9).await;
    assert_eq!(positions(&broker, "g").await, [9]);
}

#[tokio::test(start_paused = true)]
async fn commits_of_many_groups_share_transactions_and_each_is_kept() {
    let rig = Rig::new();
    let (broker, topic) = with_topic(&rig).await;
    offsets(&broker, "g").await;
    let commits = (0..500_i64).map(|number| {
        let (broker, topic) = (broker.clone(), Arc::clone(&topic));
        tokio::spawn(async move { committed(&broker, &format!("g{}", number % 200), &topic, 0, number).await })
    });
    let commits: Vec<_> = commits.collect();
    for commit in commits {
        commit.await.expect("committed");
    }
    for group in 0..200 {
        assert_eq!(positions(&broker, &format!("g{group}")).await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_expire_and_go_with_their_topic() {
    let mut rig = Rig::new();
    // Its clock moves.
    let begun = tokio::time::Instant::now();
    let clock = move || NOW + i64::try_from(begun.elapsed().as_millis()).expect("small");
    rig.metadata = Arc::new(MemoryStore::new(uuid::Uuid::from_u128(7), clock));
    let (broker, topic) = with_topic(&rig).await;
    let other = create(&broker, "other", 1).await;
    committed(&broker, "old", &topic, 0, 1).await;
    tokio::time::sleep(Duration::from_secs(590)).await;
    committed(&broker, "young", &topic, 0, 2).await;
    committed(&broker, "young", &other, 0, 3).await;
    broker.delete_topic(ORG, other.topic_id).await.expect("deleted");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(positions(&broker, "old").await, [0_i64; 0]);
    assert_eq!(positions(&broker, "young").await, [2]);
    let listed = until_answered(|| broker.list_groups(ORG, ListGroups::default())).await;
    let names: Vec<&str> = listed.iter().map(|group| group.group_id.as_str()).collect();
    assert_eq!(names, ["young"]);
    // Deleted for good: nothing comes back with the next coordinator.
    drop(broker);
    let broker = rig.start_with(quick("a")).await;
    assert_eq!(positions(&broker, "old").await, [0_i64; 0]);
    assert_eq!(positions(&broker, "young").await, [2]);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_asked_all_the_time_still_misses_who_is_gone() {
    let rig = Rig::new();
    let (broker, topic) = with_topic(&rig).await;
    let gone = member(&broker, "g").await;
    // Exactly when its session ends somebody asks, and from then on more often than once in a millisecond.
    tokio::time::sleep(Duration::from_millis(9_990)).await;
    for _ in 0..100 {
        tokio::time::advance(Duration::from_micros(500)).await;
        let _ = broker.commit_offsets(ORG, commit("g", &topic, 0, 1)).await;
    }
    assert_eq!(broker.heartbeat(ORG, heartbeat("g", &gone)).await, Err(GroupError::UnknownMemberId));
}

/// A KIP-848 member that reads `t`.
fn beat(group_id: &str, member_id: &str, member_epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group_id: group_id.to_owned(),
        member_id: member_id.to_owned(),
        member_epoch,
        rebalance_timeout: Some(Duration::from_secs(60)),
        subscribed_topic_names: Some(vec!["t".to_owned()]),
        owned: Some(Assignment::default()),
        ..ConsumerHeartbeat::default()
    }
}

async fn beaten(broker: &Broker, request: ConsumerHeartbeat) -> Result<ConsumerHeartbeatAnswer, HeartbeatRefused> {
    for _ in 0..1_000 {
        match broker.consumer_group_heartbeat(ORG, true, request.clone()).await {
            Err(HeartbeatRefused {
                error: GroupError::CoordinatorLoadInProgress | GroupError::NotCoordinator, ..
            }) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            answer => return answer,
        }
    }
    unreachable!("loads for ever")
}

#[tokio::test(start_paused = true)]
async fn a_group_of_both_protocols_survives_the_coordinators_death() {
    let rig = Rig::new();
    let (first, topic) = with_topic(&rig).await;
    // Version 0: it reads `t`, and says no more.
    let metadata = Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff");
    let protocols = vec![Protocol { name: "range".to_owned(), metadata }];
    let again = |member_id: &str| JoinGroup { protocols: protocols.clone(), ..join("g", member_id) };
    beaten(&first, beat("g", "m", 0)).await.expect("joins");
    let joined = first.join_group(ORG, again("")).await.expect("joins");
    let by_member = |generation: i32| OffsetCommit {
        generation_id_or_member_epoch: generation,
        member_id: joined.member_id.clone(),
        knows_new_errors: false,
        ..commit("g", &topic, 0, 7)
    };
    first.commit_offsets(ORG, by_member(2)).await.expect("committed");
    // Without a good-bye: as after kill -9.
    drop(first);

    let second = rig.start_with(quick("a")).await;
    until_answered(|| second.commit_offsets(ORG, by_member(2))).await;
    assert_eq!(positions(&second, "g").await, [7]);
    beaten(&second, beat("g", "m", -1)).await.expect("leaves");
    assert_eq!(second.heartbeat(ORG, heartbeat("g", &joined)).await, Err(GroupError::RebalanceInProgress));
    drop(second);

    let third = rig.start_with(quick("a")).await;
    until_answered(|| async {
        match third.heartbeat(ORG, heartbeat("g", &joined)).await {
            Err(GroupError::RebalanceInProgress) => Ok(()),
            // While the groups are read, all is well.
            other => other.and(Err(GroupError::CoordinatorLoadInProgress)),
        }
    })
    .await;
    let alone = third.join_group(ORG, again(&joined.member_id)).await.expect("joins");
    assert_eq!((alone.generation_id, alone.leader), (3, joined.member_id.clone()));
    assert_eq!(positions(&third, "g").await, [7]);
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_of_memory_what_is_there_goes_on() {
    let rig = Rig::new();
    let settings = quick("a");
    let groups = GroupSettings { memory_bytes: 20_000, ..settings.groups };
    let broker = rig.start_with(BrokerSettings { groups, ..settings }).await;
    broker.find_coordinator(ORG, "g").await.expect("found");
    let topic = create(&broker, "t", 3).await;
    let joined = member(&broker, "g").await;
    committed(&broker, "g0", &topic, 0, 1).await;
    let mut full = None;
    for group in 1..200 {
        if broker.commit_offsets(ORG, commit(&format!("g{group}"), &topic, 0, 1)).await.is_err() {
            full = Some(group);
            break;
        }
    }
    assert!(full.is_some_and(|group| group > 10), "{full:?}");
    let refused = Err(GroupError::CoordinatorNotAvailable);
    assert_eq!(broker.commit_offsets(ORG, commit("g0", &topic, 1, 1)).await, refused, "another partition");
    assert_eq!(
        broker.join_group(ORG, join("g", "")).await.map_err(|refused| refused.error).map(drop),
        refused.map(drop)
    );
    let joins = broker.consumer_group_heartbeat(ORG, true, beat("h", "m", 0)).await;
    assert_eq!(joins.map_err(|refused| refused.error).map(drop), Err(GroupError::CoordinatorNotAvailable));
    // Who is there commits and lives on, and what goes makes room.
    committed(&broker, "g0", &topic, 0, 2).await;
    assert_eq!(broker.heartbeat(ORG, heartbeat("g", &joined)).await, Ok(()));
    for group in 1..10 {
        broker.delete_group(ORG, &format!("g{group}")).await.expect("deleted");
    }
    committed(&broker, "g0", &topic, 1, 1).await;
}

#[tokio::test(start_paused = true)]
async fn configs_of_a_group_hold_from_the_next_heartbeat_and_outlive_the_agent() {
    let rig = Rig::new();
    let (broker, _) = with_topic(&rig).await;
    let interval = async |broker: &Broker, epoch| {
        beaten(broker, beat("g", "m", epoch)).await.expect("a member").heartbeat_interval.as_secs()
    };
    assert_eq!(interval(&broker, 0).await, 5);
    let set = ConfigChange::Set("9000".to_owned());
    let changes = || ConfigChanges::Each(vec![("consumer.heartbeat.interval.ms".to_owned(), set.clone())]);
    broker.alter_group_configs(ORG, "g", changes(), true).await.expect("valid");
    assert_eq!(interval(&broker, 1).await, 5, "only checked");
    broker.alter_group_configs(ORG, "g", changes(), false).await.expect("altered");
    assert_eq!(interval(&broker, 1).await, 9);
    assert_eq!(broker.groups_with_configs(ORG), ["g"]);
    drop(broker);
    let broker = rig.start_with(quick("a")).await;
    assert_eq!(interval(&broker, 1).await, 9);
}
