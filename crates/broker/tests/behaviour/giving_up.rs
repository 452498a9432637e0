//! An agent that cannot commit while another can gives its partitions up, and comes back; in an outage for all, nobody
//! does.

use std::sync::Arc;
use std::time::Duration;

use broker::{AppendError, AppendRequest, Broker, BrokerSettings, PendingAppend, Topic};
use metadata::{FailPoint, Sessions};
use tokio::time::{Instant, sleep, timeout};

use crate::gated_store::Gate;
use crate::rig::{Rig, batch, create, read_all, request};

const LEASE: Duration = Duration::from_secs(3);
const PARTITIONS: i32 = 8;

/// Two agents on one database and one bucket, each with a way of its own to the bucket.
struct Pair {
    rig: Rig,
    gates: [Gate; 2],
    brokers: [Broker; 2],
    topic: Arc<Topic>,
    /// A partition that each of them leads.
    led: [i32; 2],
}

fn settings(agent_id: &str) -> BrokerSettings {
    BrokerSettings { lease_duration: LEASE, ..BrokerSettings::for_tests(agent_id) }
}

impl Pair {
    async fn new() -> Self {
        Self::with(settings("b")).await
    }

    async fn with(second: BrokerSettings) -> Self {
        let (rig, gates) = (Rig::new(), [Gate::open(), Gate::open()]);
        let first = rig.start_behind(&gates[0], settings("a")).await;
        let topic = create(&first, "t", PARTITIONS).await;
        let second = rig.start_behind(&gates[1], second).await;
        sleep(Duration::from_secs(1)).await;
        let brokers = [first, second];
        let led = [&brokers[0], &brokers[1]].map(|broker| led_by(broker, &topic).first().copied().unwrap_or(-1));
        Self { rig, gates, brokers, topic, led }
    }

    /// Puts a value of producer 5 in line on a partition of one of them, under a time-out that is longer than any test.
    async fn place(
        &self,
        number: usize,
        partition: i32,
        value: u64,
        sequence: i32,
    ) -> Result<PendingAppend, AppendError> {
        let request = request(&self.topic, partition, batch(value, Some((5, 0, sequence))));
        self.brokers[number].append(AppendRequest { timeout: Duration::from_secs(600), ..request }).await
    }

    async fn append(&self, number: usize, partition: i32, value: u64, sequence: i32) -> (i64, bool) {
        let placed = self.place(number, partition, value, sequence).await.expect("placed");
        let appended = placed.acked().await.expect("acked");
        (appended.base_offset, appended.duplicate)
    }

    async fn until(&self, what: &str, seconds: u64, is_true: impl AsyncFn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        while !is_true(self).await {
            assert!(began.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
            sleep(Duration::from_millis(50)).await;
        }
        began.elapsed()
    }

    async fn values(&self, partition: i32) -> Vec<u64> {
        read_all(&self.brokers[1], &self.topic, partition).await.into_values().collect()
    }
}

/// Partitions that a broker leads and says so.
fn led_by(broker: &Broker, topic: &Topic) -> Vec<i32> {
    let leads = |partition: &i32| {
        let leader = broker.partition_leader(topic.topic_id, *partition);
        leader.is_some_and(|(leader, _)| leader.session == broker.session())
    };
    (0..PARTITIONS).filter(leads).collect()
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cut_off_gives_up_to_an_idle_peer_and_comes_back() {
    let pair = Pair::new().await;
    let partition = pair.led[0];
    let shares = [led_by(&pair.brokers[0], &pair.topic), led_by(&pair.brokers[1], &pair.topic)];
    assert!(shares.iter().all(|share| !share.is_empty()), "{shares:?}");
    assert_eq!(pair.append(0, partition, 1, 0).await, (0, false));
    pair.gates[0].hold_writes();
    let (stuck, began) = (pair.place(0, partition, 2, 1).await.expect("placed"), Instant::now());
    let failed = stuck.acked().await;
    assert!(matches!(failed, Err(AppendError::NotLeader)), "definitely not written: {failed:?}");
    assert!(began.elapsed() < LEASE, "{:?}", began.elapsed());
    print!("cut off: refused after {:?}", began.elapsed());
    let unready = pair.brokers[0].readiness().await.expect_err("it leads nothing");
    assert!(unready.contains("giving up") || unready.contains("gave up"), "{unready}");
    pair.until("the peer leads all", 2, async |pair| led_by(&pair.brokers[1], &pair.topic).len() == 8).await;
    println!(", led by the peer after {:?}", began.elapsed());
    assert_eq!(pair.append(1, partition, 2, 1).await, (1, false), "the retry");
    // While it is cut off it stays out, however long.
    sleep(LEASE * 20).await;
    assert_eq!(led_by(&pair.brokers[0], &pair.topic), Vec::<i32>::new());
    let unready = pair.brokers[0].readiness().await.expect_err("still");
    assert!(unready.contains("gave up"), "{unready}");
    pair.gates[0].open_wide();
    let back = async |pair: &Pair| led_by(&pair.brokers[0], &pair.topic) == shares[0];
    pair.until("it has its share again", 6, back).await;
    assert_eq!(pair.append(0, partition, 3, 2).await, (2, false));
    assert_eq!(pair.brokers[0].readiness().await, Ok(()));
    assert_eq!(read_all(&pair.brokers[0], &pair.topic, partition).await.into_values().collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_for_all_nobody_gives_up() {
    let pair = Pair::new().await;
    let shares = [led_by(&pair.brokers[0], &pair.topic), led_by(&pair.brokers[1], &pair.topic)];
    pair.gates.iter().for_each(Gate::hold_writes);
    let mut pending = Vec::new();
    for (number, partition) in pair.led.into_iter().enumerate() {
        pending.push(tokio::spawn(pair.place(number, partition, 1, 0).await.expect("placed").acked()));
    }
    sleep(LEASE * 20).await;
    assert!(pending.iter().all(|pending| !pending.is_finished()), "nothing was failed");
    for broker in &pair.brokers {
        assert!(broker.readiness().await.expect_err("unready").contains("stuck"));
    }
    assert_eq!([led_by(&pair.brokers[0], &pair.topic), led_by(&pair.brokers[1], &pair.topic)], shares);
    // The store is back for one of them first.
    pair.gates[1].open_wide();
    sleep(Duration::from_millis(20)).await;
    pair.gates[0].open_wide();
    for pending in pending {
        assert_eq!(pending.await.expect("no panic").expect("acked").base_offset, 0);
    }
    sleep(LEASE).await;
    assert_eq!([led_by(&pair.brokers[0], &pair.topic), led_by(&pair.brokers[1], &pair.topic)], shares);
    for broker in &pair.brokers {
        assert_eq!(broker.readiness().await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn one_agent_alone_never_gives_up() {
    let rig = Rig::new();
    let broker = rig.start_with(settings("a")).await;
    let topic = create(&broker, "t", 1).await;
    rig.gate.hold_writes();
    let request = AppendRequest { timeout: Duration::from_secs(600), ..request(&topic, 0, batch(1, None)) };
    let pending = broker.append(request).await.expect("placed");
    sleep(LEASE * 100).await;
    rig.gate.open_wide();
    assert_eq!(pending.acked().await.expect("acked").base_offset, 0);
    assert!(rig.metadata.list_agents().await.expect("list")[0].registration.accepts_leases);
}

#[tokio::test(start_paused = true)]
async fn one_whose_commits_do_not_get_through_gives_up() {
    let pair = Pair::new().await;
    let partition = pair.led[0];
    pair.rig.metadata.set_commits_unavailable(pair.brokers[0].session(), true);
    let failed = pair.place(0, partition, 1, 0).await.expect("placed").acked().await;
    assert!(matches!(failed, Err(AppendError::NotLeader)), "{failed:?}");
    pair.until("the peer leads all", 2, async |pair| led_by(&pair.brokers[1], &pair.topic).len() == 8).await;
    assert_eq!(pair.append(1, partition, 1, 0).await, (0, false));
    pair.rig.metadata.set_commits_unavailable(pair.brokers[0].session(), false);
    pair.until("it is back", 10, async |pair| led_by(&pair.brokers[0], &pair.topic).contains(&partition)).await;
    assert_eq!(pair.append(0, partition, 2, 1).await, (1, false));
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_outcome_is_unknown_is_never_called_not_written() {
    let pair = Pair::new().await;
    let partition = pair.led[0];
    // It happens, its reply is lost, and from then on nothing of the lane gets through.
    pair.rig.metadata.fail_next(FailPoint::CommittedReplyLost);
    pair.rig.metadata.set_commits_unavailable(pair.brokers[0].session(), true);
    let pending = pair.place(0, partition, 1, 0).await.expect("placed");
    let (answered, began) = (pending.acked().await, Instant::now());
    assert!(matches!(answered, Err(AppendError::Unknown)), "connections close without an answer: {answered:?}");
    timeout(LEASE, pair.brokers[0].fenced()).await.expect("it starts over");
    assert!(began.elapsed() < LEASE);
    assert!(!pair.brokers[0].is_replaced().await, "what is left is its own session");
    pair.until("the peer leads all", 10, async |pair| led_by(&pair.brokers[1], &pair.topic).len() == 8).await;
    assert_eq!(pair.append(1, partition, 1, 0).await, (0, true), "it had been written");
    assert_eq!(pair.values(partition).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_that_can_be_settled_is_settled_and_then_all_is_handed_over() {
    let pair = Pair::new().await;
    let partition = pair.led[0];
    pair.rig.metadata.fail_next(FailPoint::CommittedReplyLost);
    pair.rig.metadata.set_commits_unavailable(pair.brokers[0].session(), true);
    let pending = tokio::spawn(pair.place(0, partition, 1, 0).await.expect("placed").acked());
    let giving_up = async |pair: &Pair| pair.brokers[0].readiness().await.is_err_and(|why| why.contains("giving up"));
    pair.until("it gives up", 5, giving_up).await;
    sleep(Duration::from_secs(1)).await;
    assert!(!pending.is_finished() && led_by(&pair.brokers[0], &pair.topic).contains(&partition), "it waits");
    pair.rig.metadata.set_commits_unavailable(pair.brokers[0].session(), false);
    assert_eq!(pending.await.expect("no panic").expect("acked: it was written").base_offset, 0);
    pair.until("the peer leads all", 6, async |pair| led_by(&pair.brokers[1], &pair.topic).len() == 8).await;
    assert_eq!(pair.append(1, partition, 1, 0).await, (0, true));
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_hangs_although_the_store_answers_is_given_up_in_the_end() {
    let pair = Pair::new().await;
    let partition = pair.led[0];
    pair.gates[0].hang_writes(1);
    let began = Instant::now();
    let failed = pair.place(0, partition, 1, 0).await.expect("placed").acked().await;
    assert!(matches!(failed, Err(AppendError::NotLeader)), "{failed:?}");
    assert!((LEASE..LEASE * 3).contains(&began.elapsed()), "{:?}", began.elapsed());
    pair.until("the peer leads all", 2, async |pair| led_by(&pair.brokers[1], &pair.topic).len() == 8).await;
    assert_eq!(pair.append(1, partition, 1, 0).await, (0, false));
    assert_eq!(pair.values(partition).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn what_no_other_agent_may_lead_stays_and_goes_on_by_itself() {
    let other = BrokerSettings { managed_topics: "elsewhere".to_owned(), ..settings("b") };
    let pair = Pair::with(other).await;
    assert_eq!(led_by(&pair.brokers[0], &pair.topic).len(), 8);
    pair.gates[0].hold_writes();
    let failed = pair.place(0, 0, 1, 0).await.expect("placed").acked().await;
    assert!(matches!(failed, Err(AppendError::NotLeader)), "{failed:?}");
    sleep(LEASE).await;
    let waiting = pair.place(0, 0, 1, 0).await.expect("placed");
    sleep(LEASE * 10).await;
    assert_eq!(led_by(&pair.brokers[0], &pair.topic).len(), 8);
    pair.gates[0].open_wide();
    assert_eq!(waiting.acked().await.expect("acked").base_offset, 0);
    pair.until("it is ready", 10, async |pair| pair.brokers[0].readiness().await.is_ok()).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stopped_while_it_is_out_does_not_come_back() {
    let pair = Pair::new().await;
    pair.gates[0].hold_writes();
    let failed = pair.place(0, pair.led[0], 1, 0).await.expect("placed").acked().await;
    assert!(matches!(failed, Err(AppendError::NotLeader)), "{failed:?}");
    pair.brokers[0].hand_over(Instant::now() + Duration::from_secs(5)).await;
    pair.gates[0].open_wide();
    sleep(LEASE * 10).await;
    assert_eq!(led_by(&pair.brokers[0], &pair.topic), Vec::<i32>::new());
    pair.brokers[0].drain().await;
    assert_eq!(pair.rig.metadata.list_agents().await.expect("list").len(), 1);
}
