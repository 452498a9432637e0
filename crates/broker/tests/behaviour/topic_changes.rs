//! Topics that are created, grown and deleted while batches are in flight.

use std::sync::Arc;
use std::time::Duration;

use broker::{AppendError, CreateTopic, FetchError, TopicError};
use metadata::{NewTopic, Topics};
use segment::TopicId;

use crate::rig::{ORG, Rig, append, batch, create, fetch, place, read_all, request};

fn plain(name: &str) -> CreateTopic {
    CreateTopic {
        organization: ORG,
        name: name.to_owned(),
        partition_count: 1,
        replication_factor: -1,
        configs: Vec::new(),
        validate_only: false,
    }
}

#[tokio::test(start_paused = true)]
async fn batches_in_flight_of_a_deleted_topic_are_refused_and_the_lane_goes_on() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let (topic, other) = (create(&broker, "t", 1).await, create(&broker, "other", 1).await);
    rig.gate.hold_writes();
    let doomed = place(&broker, &topic, 1, None).await;
    let elsewhere = place(&broker, &other, 2, None).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let waiting = place(&broker, &topic, 3, None).await;
    broker.delete_topic(ORG, topic.topic_id).await.expect("deleted");
    assert!(matches!(doomed.acked().await, Err(AppendError::UnknownTopic)));
    assert!(matches!(waiting.acked().await, Err(AppendError::UnknownTopic)));
    rig.gate.open_wide();
    assert_eq!(elsewhere.acked().await.expect("acked").base_offset, 0);
    let again = create(&broker, "t", 1).await;
    assert_eq!(append(&broker, &again, 4, None).await.expect("acked").base_offset, 0);
    assert_eq!(read_all(&broker, &again, 0).await.into_values().collect::<Vec<_>>(), [4]);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_waits_on_a_deleted_topic_returns_at_once() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    let started = tokio::time::Instant::now();
    let waiting = tokio::spawn({
        let (broker, topic) = (broker.clone(), Arc::clone(&topic));
        async move { fetch(&broker, &topic, 0, Duration::from_secs(300)).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    broker.delete_topic(ORG, topic.topic_id).await.expect("deleted");
    assert!(matches!(waiting.await.expect("joins"), Err(FetchError::UnknownTopic)));
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn growing_a_topic_twice_at_once_disturbs_no_batch_in_flight() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    let (three, five) = tokio::join!(broker.create_partitions(ORG, topic.topic_id, 3, false), async {
        let grown = broker.create_partitions(ORG, topic.topic_id, 5, false);
        let appending = async {
            // Partition 2 is usable as soon as the first growth is done.
            loop {
                match broker.append(request(&topic, 2, batch(1, None))).await {
                    Ok(pending) => return pending.acked().await,
                    Err(AppendError::UnknownPartition) => tokio::task::yield_now().await,
                    Err(error) => return Err(error),
                }
            }
        };
        tokio::join!(grown, appending)
    });
    three.expect("grown");
    let (grown, appended) = five;
    grown.expect("grown");
    assert_eq!(appended.expect("acked").base_offset, 0);
    let epochs: Vec<_> = broker
        .partitions(&broker.topic(ORG, "t").expect("there"))
        .iter()
        .map(|view| (view.leader.is_some(), view.leader_epoch))
        .collect();
    assert_eq!(epochs, [(true, 0); 5], "each was acquired exactly once");
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_creation_lost_its_reply_is_usable_after_the_retry() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let stored = NewTopic {
        organization: ORG,
        topic_id: TopicId(uuid::Uuid::from_u128(99)),
        name: "t".to_owned(),
        partition_count: 1,
        agent_group: String::new(),
        replication_factor: 1,
        configs: Default::default(),
    };
    rig.metadata.create_topic(stored).await.expect("created, and nobody told the broker");
    let again = broker.create_topic(plain("t")).await;
    assert!(matches!(again, Err(TopicError::AlreadyExists(_))), "{again:?}");
    let topic = broker.topic(ORG, "t").expect("known from now on");
    assert_eq!(append(&broker, &topic, 1, None).await.expect("acked").base_offset, 0);
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_deletion_lost_its_reply_is_gone_after_the_retry() {
    let rig = Rig::new();
    let broker = rig.start().await;
    let topic = create(&broker, "t", 1).await;
    rig.metadata.delete_topic(ORG, topic.topic_id).await.expect("deleted, and nobody told the broker");
    let refused = append(&broker, &topic, 1, None).await;
    assert!(matches!(refused, Err(AppendError::UnknownTopic)), "{refused:?}");
    assert_eq!(broker.delete_topic(ORG, topic.topic_id).await, Err(TopicError::Unknown));
    assert!(broker.topic(ORG, "t").is_none());
    broker.create_topic(plain("t")).await.expect("the name is free");
}

#[tokio::test(start_paused = true)]
async fn leases_that_could_not_be_had_at_creation_are_had_later() {
    let rig = Rig::new();
    let broker = rig.start().await;
    rig.metadata.set_unavailable(true);
    assert!(matches!(broker.create_topic(plain("t")).await, Err(TopicError::Unavailable(_))));
    rig.metadata.set_unavailable(false);
    let topic = broker.create_topic(plain("t")).await.expect("created");
    assert!(append(&broker, &topic, 1, None).await.is_ok());
}
