//! What admin requests change and ask of topics: configs, bytes, producers.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{AppendError, Broker, BrokerSettings, ConfigChange, ConfigChanges, Topic, TopicError};
use metadata::Segments;
use segment::{PartitionKey, TopicId};

use crate::rig::{NOW, ORG, Rig, append, append_until_acked, create, create_with, encode_at, request};

fn set(name: &str, value: &str) -> ConfigChanges {
    ConfigChanges::Each(vec![(name.to_owned(), ConfigChange::Set(value.to_owned()))])
}

fn own_configs(broker: &Broker, topic: &Topic) -> BTreeMap<String, String> {
    broker.topic_by_id(ORG, topic.topic_id).expect("there").configs.clone()
}

/// Two agents, and a topic that the first one leads.
async fn two_agents(rig: &Rig) -> (Broker, Broker, std::sync::Arc<Topic>) {
    let first = rig.start().await;
    let second = rig.start_with(BrokerSettings::for_tests("b")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut number = 0;
    loop {
        let topic = create(&first, &format!("t{number}"), 1).await;
        let leader = first.partition_leader(topic.topic_id, 0).map(|(agent, _)| agent.session);
        if leader == Some(first.session()) {
            return (first, second, topic);
        }
        number += 1;
        assert!(number < 20, "one of twenty topics is led by either agent");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_agent_alters_the_others_obey() {
    let rig = Rig::new();
    let (leader, other, topic) = two_agents(&rig).await;
    append_until_acked(&leader, &topic, 1, None).await;
    other.alter_topic_configs(ORG, topic.topic_id, set("max.message.bytes", "10"), false).await.expect("altered");
    assert_eq!(own_configs(&other, &topic)["max.message.bytes"], "10", "known where it was altered at once");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(append(&leader, &topic, 2, None).await, Err(AppendError::TooLarge { .. })));
    let delete = ConfigChanges::Each(vec![("max.message.bytes".to_owned(), ConfigChange::Delete)]);
    leader.alter_topic_configs(ORG, topic.topic_id, delete, false).await.expect("altered");
    assert_eq!(append(&leader, &topic, 2, None).await.expect("acked").base_offset, 1);
}

#[tokio::test(start_paused = true)]
async fn changes_of_two_agents_at_once_both_stay() {
    let rig = Rig::new();
    let (first, second, topic) = two_agents(&rig).await;
    for round in 1..20 {
        let value = round.to_string();
        let (one, two) = tokio::join!(
            first.alter_topic_configs(ORG, topic.topic_id, set("retention.ms", &value), false),
            second.alter_topic_configs(ORG, topic.topic_id, set("segment.ms", &value), false),
        );
        one.expect("altered");
        two.expect("altered");
        first.refresh().await;
        let expected = ["retention.ms", "segment.ms"].map(|name| (name.to_owned(), value.clone()));
        assert_eq!(own_configs(&first, &topic), BTreeMap::from(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_refused_changes_nothing() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create_with(&broker, "t", 1, &[("retention.ms", "5")]).await;
    let two = ConfigChanges::Each(vec![
        ("segment.ms".to_owned(), ConfigChange::Set("7".to_owned())),
        ("retention.ms".to_owned(), ConfigChange::Set("soon".to_owned())),
    ]);
    for validate_only in [false, true] {
        let refused = broker.alter_topic_configs(ORG, topic.topic_id, two.clone(), validate_only).await;
        assert!(matches!(refused, Err(TopicError::InvalidConfig(_))), "{refused:?}");
    }
    let unknown =
        broker.alter_topic_configs(ORG, TopicId(uuid::Uuid::from_u128(9)), set("segment.ms", "7"), false).await;
    assert!(matches!(unknown, Err(TopicError::Unknown)));
    broker.refresh().await;
    assert_eq!(own_configs(&broker, &topic), BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]));
}

#[tokio::test(start_paused = true)]
async fn the_bytes_of_a_log_are_those_of_its_rows() {
    let rig = Rig::new();
    let settings = BrokerSettings { retention_interval: Duration::from_secs(1), ..BrokerSettings::for_tests("a") };
    let broker = rig.start_with(settings.clone()).await;
    let topic = create_with(&broker, "t", 1, &[("retention.ms", "60000")]).await;
    let key = PartitionKey { organization: ORG, topic_id: topic.topic_id, partition: 0 };
    let stored = async || {
        let rows = rig.metadata.ranges_from(key, 0, 10_000).await.expect("memory answers");
        rows.iter().map(|row| row.byte_len.unsigned_abs()).sum::<u64>()
    };
    assert_eq!(broker.log_bytes(&topic, 0).await, Ok(Some(0)));
    for (value, age) in [(1, 100_000), (2, 100_000), (3, 0)] {
        let pending = broker.append(request(&topic, 0, encode_at(NOW - age, value, None))).await.expect("placed");
        pending.acked().await.expect("acked");
    }
    let before = stored().await;
    assert!(before > 0 && broker.log_bytes(&topic, 0).await == Ok(Some(before)));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = stored().await;
    assert!(after < before && broker.log_bytes(&topic, 0).await == Ok(Some(after)), "retention is subtracted");
    assert_eq!(broker.log_bytes(&topic, 1).await, Ok(None), "no such partition is led here");
    broker.drain().await;
    let again = rig.start_with(settings).await;
    assert_eq!(again.log_bytes(&topic, 0).await, Ok(Some(after)), "a new leader counts");
    append(&again, &topic, 4, None).await.expect("acked");
    assert_eq!(again.log_bytes(&topic, 0).await, Ok(Some(stored().await)));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_knows_the_producers() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    for (value, sequence) in [(1, (7, 0, 0)), (2, (5, 3, 0)), (3, (7, 0, 1))] {
        append(&broker, &topic, value, Some(sequence)).await.expect("acked");
    }
    broker.drain().await;
    let again = rig.start().await;
    let producers = again.active_producers(ORG, topic.topic_id, 0).await.expect("led");
    let found = producers.iter().map(|known| (known.producer_id, known.producer_epoch, known.last_sequence));
    assert_eq!(found.collect::<Vec<_>>(), [(5, 3, 0), (7, 0, 1)]);
}
