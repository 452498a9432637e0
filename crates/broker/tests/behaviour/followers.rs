//! Reads anywhere (KIP-392): consumers are sent to an agent of their zone, which serves what it does not lead.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerSettings, Feed, FetchError, FetchRequest, Fetched, Topic};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, append, batches, create_with, fetch_request, wanted};

pub(crate) struct Zones {
    pub(crate) leader: Broker,
    pub(crate) follower: Broker,
    pub(crate) topic: Arc<Topic>,
}

async fn zones(rig: &Rig, partitions: i32) -> Zones {
    zones_with(rig, &BrokerSettings::for_tests("any"), partitions, &[]).await
}

/// Zone `x` leads everything, zone `y` nothing.
pub(crate) async fn zones_with(
    rig: &Rig,
    settings: &BrokerSettings,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Zones {
    let of = |agent: &str, zone: &str, managed_topics: &str| BrokerSettings {
        agent_id: agent.to_owned(),
        zone: zone.to_owned(),
        managed_topics: managed_topics.to_owned(),
        ..settings.clone()
    };
    let leader = rig.start_with(of("a", "x", "")).await;
    let follower = rig.start_with(of("b", "y", "none")).await;
    leader.refresh().await;
    // A replica in each zone is the default.
    let topic = create_with(&leader, "t", partitions, configs).await;
    follower.refresh().await;
    Zones { leader, follower, topic }
}

impl Zones {
    /// What the stream between two agents does.
    fn connect(&self) -> JoinHandle<()> {
        let (leader, follower) = (self.leader.clone(), self.follower.clone());
        tokio::spawn(async move {
            let mut feed = Feed::new(leader.clone(), follower.session());
            let mut wanted = follower.replicas_wanted();
            loop {
                feed.follow(follower.followed_of(leader.session()));
                let news = tokio::select! {
                    news = feed.next() => news,
                    () = sleep(Duration::from_secs(1)) => Vec::new(),
                    () = wanted.changed() => continue,
                };
                follower.take_progress(leader.session(), news);
            }
        })
    }

    pub(crate) async fn connected(&self) -> JoinHandle<()> {
        let connection = self.connect();
        sleep(Duration::from_secs(2)).await;
        connection
    }

    async fn read(&self, from: &Broker, rack: &str, offset: i64, wait: Duration) -> Result<Fetched, FetchError> {
        let partitions = vec![wanted(&self.topic, 0, offset, 1 << 20)];
        let request = FetchRequest { rack: Some(rack.to_owned()), ..fetch_request(partitions, 1 << 20, wait) };
        from.fetch(request).await.remove(0).result
    }
}

fn not_leader(result: &Result<Fetched, FetchError>) -> bool {
    matches!(result, Err(FetchError::NotLeader))
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_sent_to_its_zone_and_served_there() {
    let rig = Rig::new();
    let zones = zones(&rig, 1).await;
    let _connection = zones.connected().await;
    append(&zones.leader, &zones.topic, 1, None).await.expect("acked");
    let sent = zones.read(&zones.leader, "y", 0, Duration::from_secs(9)).await.expect("sent");
    let node_id = zones.follower.cluster().node_id;
    assert_eq!((sent.preferred_read_replica, sent.record_bytes), (Some(node_id), 0));
    for rack in ["x", "z", ""] {
        let served = zones.read(&zones.leader, rack, 0, Duration::ZERO).await.expect("served");
        assert_eq!((served.preferred_read_replica, batches(&served).len()), (None, 1), "rack {rack:?}");
        assert!(not_leader(&zones.read(&zones.follower, rack, 0, Duration::ZERO).await), "rack {rack:?}");
    }
    let served = zones.read(&zones.follower, "y", 0, Duration::ZERO).await.expect("served");
    assert_eq!((batches(&served).len(), served.high_watermark, served.preferred_read_replica), (1, 1, None));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_at_a_follower_wakes_when_the_leader_commits() {
    let rig = Rig::new();
    let zones = zones(&rig, 1).await;
    let _connection = zones.connected().await;
    for value in 0..100 {
        let poll = zones.read(&zones.follower, "y", value, Duration::from_secs(20));
        let write = async {
            sleep(Duration::from_millis(5)).await;
            append(&zones.leader, &zones.topic, value.unsigned_abs(), None).await.expect("acked");
        };
        let began = Instant::now();
        let (polled, ()) = tokio::join!(poll, write);
        let polled = polled.expect("served");
        assert_eq!(batches(&polled)[0].0.base_offset, value);
        assert!(began.elapsed() < Duration::from_secs(1), "woken by the commit, not by the end of the wait");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_stream_is_looked_up() {
    let rig = Rig::new();
    let zones = zones(&rig, 1).await;
    for value in 0..200 {
        append(&zones.leader, &zones.topic, value, None).await.expect("acked");
    }
    let _connection = zones.connected().await;
    let mut offset = 0;
    while offset < 200 {
        let read = zones.read(&zones.follower, "y", offset, Duration::ZERO).await.expect("served");
        let found = batches(&read);
        assert_eq!(found[0].0.base_offset, offset);
        offset = found.last().expect("some").0.next_offset();
    }
    assert!(
        not_leader(&zones.read(&zones.follower, "y", 201, Duration::ZERO).await),
        "the leader says what is out of range"
    );
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_cut_off_sends_its_consumers_back_and_gets_no_more() {
    let rig = Rig::new();
    let zones = zones(&rig, 1).await;
    append(&zones.leader, &zones.topic, 1, None).await.expect("acked");
    let unheard = zones.read(&zones.leader, "y", 0, Duration::ZERO).await.expect("served");
    assert_eq!((unheard.preferred_read_replica, batches(&unheard).len()), (None, 1), "nobody follows yet");
    assert!(not_leader(&zones.read(&zones.follower, "y", 0, Duration::ZERO).await));

    let connection = zones.connected().await;
    assert_eq!(batches(&zones.read(&zones.follower, "y", 0, Duration::ZERO).await.expect("served")).len(), 1);
    connection.abort();
    sleep(Duration::from_secs(6)).await;
    assert!(not_leader(&zones.read(&zones.follower, "y", 0, Duration::ZERO).await));
    let back = zones.read(&zones.leader, "y", 0, Duration::ZERO).await.expect("served");
    assert_eq!((back.preferred_read_replica, batches(&back).len()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_any_more_is_not_followed() {
    let rig = Rig::new();
    let zones = zones(&rig, 1).await;
    let _connection = zones.connected().await;
    let leader = zones.leader.session();
    assert!(zones.follower.followed_of(leader).is_empty());
    zones.read(&zones.follower, "y", 0, Duration::ZERO).await.expect("served");
    assert_eq!(zones.follower.followed_of(leader), [(zones.topic.topic_id, 0)]);
    sleep(Duration::from_secs(61)).await;
    assert!(zones.follower.followed_of(leader).is_empty());
    zones.read(&zones.follower, "y", 0, Duration::ZERO).await.expect("served again");
}
