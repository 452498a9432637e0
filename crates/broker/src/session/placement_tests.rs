//! Tests of `placement`.

use std::collections::BTreeMap;

use metadata::{LaneReport, Registration};
use uuid::Uuid;

use super::*;

fn agent(number: i64, group: &str, managed_topics: &str) -> AgentRow {
    AgentRow {
        session: SessionId(number),
        node_id: i32::try_from(number).expect("small"),
        registration: Registration {
            agent_id: format!("agent-{number}"),
            group: group.to_owned(),
            zone: "z".to_owned(),
            managed_topics: managed_topics.to_owned(),
            kafka_address: String::new(),
            grpc_address: String::new(),
            accepts_leases: true,
        },
        renewals: 0,
        suspected: false,
        lane: LaneReport::default(),
    }
}

fn topic(number: u128) -> PlacedTopic<'static> {
    PlacedTopic { topic_id: TopicId(Uuid::from_u128(number)), name: "t", group: "g", is_internal: false }
}

fn owners(agents: &[AgentRow], topic: PlacedTopic<'_>, partitions: i32) -> Vec<Option<SessionId>> {
    let placement = Placement::new(agents);
    let placement = placement.of_topic(topic);
    (0..partitions).map(|partition| placement.owner(partition)).collect()
}

#[test]
fn shares_are_about_equal() {
    let agents: Vec<_> = (1..=3).map(|number| agent(number, "g", "")).collect();
    let mut shares = BTreeMap::new();
    for owner in owners(&agents, topic(7), 3_000) {
        *shares.entry(owner).or_insert(0) += 1;
    }
    assert_eq!(shares.len(), 3);
    assert!(shares.values().all(|share| (900..1_100).contains(share)), "{shares:?}");
}

#[test]
fn an_agent_that_goes_moves_only_its_own_share_and_gets_it_back_under_a_new_session() {
    let three: Vec<_> = (1..=3).map(|number| agent(number, "g", "")).collect();
    let before = owners(&three, topic(7), 300);
    let without = owners(&three[..2], topic(7), 300);
    for (before, after) in before.iter().zip(&without) {
        assert!(before == after || *before == Some(SessionId(3)));
    }
    let mut returned = three;
    returned[2].session = SessionId(9);
    let renamed = before.iter().map(|owner| owner.map(|owner| if owner.0 == 3 { SessionId(9) } else { owner }));
    assert_eq!(owners(&returned, topic(7), 300), renamed.collect::<Vec<_>>());
}

#[test]
fn groups_and_managed_topics_are_kept_but_for_internal_topics() {
    let agents = [agent(1, "g", "orders, log-*"), agent(2, "other", "")];
    let named = |name| PlacedTopic { name, ..topic(7) };
    assert_eq!(owners(&agents, named("orders"), 1), [Some(SessionId(1))]);
    assert_eq!(owners(&agents, named("log-a"), 1), [Some(SessionId(1))]);
    assert_eq!(owners(&agents, named("orders2"), 1), [None]);
    assert_eq!(
        owners(&agents, PlacedTopic { is_internal: true, ..named("__consumer_offsets") }, 1),
        [Some(SessionId(1))]
    );
    assert_eq!(owners(&agents, PlacedTopic { group: "other", ..named("x") }, 1), [Some(SessionId(2))]);
    assert!(owners(&agents, PlacedTopic { group: "", ..named("x") }, 1)[0] == Some(SessionId(2)));
}

#[test]
fn who_accepts_no_leases_gets_none_and_is_no_replica() {
    let mut agents: Vec<_> = (1..=3).map(|number| agent(number, "g", "")).collect();
    agents[0].registration.accepts_leases = false;
    let placement = Placement::new(&agents);
    let placement = placement.of_topic(topic(7));
    for partition in 0..50 {
        let replicas = placement.replicas(partition, None, 9);
        assert_eq!(replicas.len(), 2);
        assert_eq!(Some(SessionId(i64::from(replicas[0]))), placement.owner(partition));
        assert_eq!(placement.replicas(partition, Some(1), 9), [&[1], &replicas[..]].concat(), "the leader, even so");
    }
}

#[test]
fn replicas_are_of_different_zones_as_far_as_there_are_any() {
    let mut agents: Vec<_> = (1..=6).map(|number| agent(number, "g", "")).collect();
    for (agent, zone) in agents.iter_mut().zip(["x", "x", "x", "y", "y", "z"]) {
        zone.clone_into(&mut agent.registration.zone);
    }
    agents[5].registration.managed_topics = "none of these".to_owned();
    let placement = Placement::new(&agents);
    let placement = placement.of_topic(topic(7));
    for partition in 0..50 {
        for leader in 1..=6 {
            let replicas = placement.replicas(partition, Some(leader), 3);
            let zone = |node: &i32| &agents[usize::try_from(node - 1).expect("small")].registration.zone;
            let zones: BTreeSet<_> = replicas.iter().map(zone).collect();
            assert_eq!((replicas[0], zones.len()), (leader, 3), "{replicas:?}");
            assert_eq!(placement.replicas(partition, Some(leader), 9).len(), 6);
        }
    }
}

#[test]
fn the_hash_never_changes() {
    // Agents of different builds share partitions: a changed constant here would make them fight.
    assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    assert_eq!(hash_text("agent-1"), hash_text("agent-1"));
    let placement = Placement::new(&(1..=3).map(|number| agent(number, "g", "")).collect::<Vec<_>>());
    let owners: Vec<_> = (0..12).map(|p| placement.of_topic(topic(7)).owner(p).map(|owner| owner.0)).collect();
    assert_eq!(owners, EXPECTED);
}

const EXPECTED: [Option<i64>; 12] =
    [Some(3), Some(2), Some(2), Some(1), Some(3), Some(1), Some(1), Some(3), Some(3), Some(3), Some(2), Some(1)];
