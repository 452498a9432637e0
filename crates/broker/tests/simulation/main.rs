//! Three brokers on a paused single-thread runtime over the in-memory metadata model and a faulty object store.
//!
//! One seed decides everything: workload, latencies, store faults (before and after they are applied), transactions that
//! fail or lose their reply, agents that are fenced while they live (and go on as zombies), agents that restart under
//! their id, agents that hand over everything and leave, agents that come back and take their share, and agents that are
//! cut off from the store for seconds while the others are not, give their partitions up and return. All the while small ranges
//! are rewritten, the beginnings of long logs are deleted, garbage is collected, and somebody reads.
//! The same seed twice gives the same events. `SIMULATION_SEEDS=n` runs more seeds, `SIMULATION_SEED=s` one.

mod faulty_store;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use broker::{
    AppendError, AppendRequest, Appended, Broker, BrokerSettings, CreateTopic, FetchError, FetchPartition,
    FetchRequest, IsolationLevel, Metrics, NewRecord, OrganizationId, SessionId, Topic, encode_batch,
};
use bytes::Bytes;
use metadata::{Claim, FailPoint, FoundObject, MemoryStore, Segments, Sessions};
use opendal::Operator;
use opendal::services::Memory;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const ORG: OrganizationId = OrganizationId::DEFAULT;
const PARTITIONS: i32 = 4;
const PRODUCERS: u64 = 6;
const RECORDS_PER_PRODUCER: u64 = 60;
/// What is kept of a partition at least: what one producer writes, where there are two.
const RETENTION_BYTES: usize = 60 * 79;

/// What a send turned out to be, as the checker counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    Acked(i64),
    /// Definitely not written.
    Failed,
    /// Nobody knows.
    Info,
}

struct History {
    started: tokio::time::Instant,
    sends: Vec<(u64, i32, Outcome)>,
    hasher: DefaultHasher,
}

impl History {
    fn record(&mut self, value: u64, partition: i32, outcome: Outcome) {
        self.sends.push((value, partition, outcome));
        (self.started.elapsed(), value, partition, outcome).hash(&mut self.hasher);
    }
}

struct World {
    metadata: Arc<MemoryStore>,
    store: Operator,
    /// Each agent's way to the store, by number.
    ways: Vec<(Operator, faulty_store::Faults)>,
    /// Agents that were seen out of placement because they gave up.
    gave_up: Mutex<BTreeSet<SessionId>>,
    /// What was read on the way: partition, offset, value.
    seen: Mutex<BTreeSet<(i32, i64, u64)>>,
    /// The agents that live, by number; clients find leaders through any of them.
    agents: Mutex<Vec<Broker>>,
    seed: u64,
    history: Mutex<History>,
}

impl World {
    /// The agent that another one names as the leader, or that one if it knows none.
    fn leader(&self, topic: &Topic, partition: i32, asked: usize) -> Broker {
        let agents = self.agents.lock();
        let asked = &agents[asked % agents.len()];
        let leader = asked.partition_leader(topic.topic_id, partition);
        let leader = leader.and_then(|(leader, _)| agents.iter().find(|agent| agent.session() == leader.session));
        leader.unwrap_or(asked).clone()
    }

    async fn look_for_those_who_gave_up(&self) {
        let agents = self.agents.lock().clone();
        for agent in agents {
            if agent.readiness().await.is_err_and(|why| why.contains("gave up")) {
                self.gave_up.lock().insert(agent.session());
            }
        }
    }

    /// Once nobody is cut off any more, all are in placement again, and lead what they should.
    async fn all_come_back(&self) {
        for round in 1_000..1_600 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            self.look_for_those_who_gave_up().await;
            let agents = self.agents.lock().clone();
            let mut ready = 0;
            for (number, agent) in agents.iter().enumerate() {
                match agent.readiness().await {
                    Ok(()) => ready += 1,
                    // As its process would: a commit that could not be resolved for a lease, or a fence of somebody's.
                    Err(why) if why.contains("fenced") => drop(self.replace(number, round).await),
                    Err(_) => {}
                }
            }
            let rows = self.metadata.list_agents().await.expect("memory answers");
            let accepting = rows.iter().filter(|row| row.registration.accepts_leases).count();
            if ready == agents.len() && accepting == agents.len() {
                return;
            }
        }
        unreachable!("not all agents are back 120 s after the last trouble");
    }

    /// Puts a new process in the place of an agent's; returns the one before, which may not know yet that it is over.
    async fn replace(&self, number: usize, seed: u64) -> Broker {
        let successor = start_broker(&self.metadata, &self.ways[number].0, number, self.seed ^ seed).await;
        std::mem::replace(&mut self.agents.lock()[number], successor)
    }
}

/// Short, so that an agent that is cut off gives up while the others are still busy.
const LEASE: Duration = Duration::from_secs(3);
const AGENTS: [&str; 3] = ["a", "b", "c"];

async fn start_broker(metadata: &Arc<MemoryStore>, store: &Operator, number: usize, seed: u64) -> Broker {
    let settings = BrokerSettings {
        memory_bytes: 64 * 1024,
        lease_duration: LEASE,
        // Without any grace, and all the time: it claims what is being uploaded.
        garbage_interval: Duration::from_millis(300),
        garbage_grace: Duration::ZERO,
        retention_interval: Duration::from_millis(100),
        rewrite_bytes: 400,
        rewrite_age: Duration::from_millis(20),
        rewrite_bytes_per_second: 1 << 20,
        ..BrokerSettings::for_tests(AGENTS[number])
    };
    Broker::start(settings, Arc::clone(metadata) as _, store.clone(), Arc::new(Metrics::default()), seed)
        .await
        .expect("broker starts")
}

fn batch(value: u64, sequence: Option<(i64, i32)>) -> Bytes {
    let record = NewRecord {
        key: None,
        value: Some(Bytes::copy_from_slice(&value.to_be_bytes())),
        timestamp: 1_700_000_000_000,
        headers: Vec::new(),
    };
    encode_batch(&[record], sequence.map(|(id, sequence)| (id, 0, sequence))).expect("encodes")
}

fn request(topic: &Topic, partition: i32, batch: Bytes) -> AppendRequest {
    AppendRequest {
        organization: ORG,
        topic_id: topic.topic_id,
        partition,
        batch,
        zstd_allowed: true,
        expected_base_offset: None,
        permit: None,
        timeout: Duration::from_secs(30),
    }
}

fn outcome(result: &Result<Appended, AppendError>) -> Outcome {
    match result {
        Ok(appended) => Outcome::Acked(appended.base_offset),
        Err(AppendError::TimedOut | AppendError::Unknown) => Outcome::Info,
        Err(_) => Outcome::Failed,
    }
}

/// Sends each value once.
async fn produce_once(world: Arc<World>, topic: Arc<Topic>, producer: u64, partition: i32, mut rng: StdRng) {
    for number in 0..RECORDS_PER_PRODUCER {
        let value = producer << 32 | number;
        let broker = world.leader(&topic, partition, rng.random_range(0..3));
        let result = match broker.append(request(&topic, partition, batch(value, None))).await {
            Ok(pending) => pending.acked().await,
            Err(error) => Err(error),
        };
        world.history.lock().record(value, partition, outcome(&result));
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..20_000))).await;
    }
}

/// Sends each value until it is acked, up to five in flight to one agent at a time, as clients do. One that hears "out of
/// order" for a batch behind another that had its place would bump its epoch, and send again what may be written.
async fn produce_pipelined(world: Arc<World>, topic: Arc<Topic>, producer: u64, partition: i32, mut rng: StdRng) {
    let id = i64::try_from(producer).expect("small");
    let mut left: VecDeque<u64> = (0..RECORDS_PER_PRODUCER).collect();
    while !left.is_empty() {
        let broker = world.leader(&topic, partition, rng.random_range(0..3));
        let window: Vec<u64> = left.iter().copied().take(rng.random_range(1..=5)).collect();
        let mut sent = Vec::new();
        for number in window {
            let sequence = Some((id, i32::try_from(number).expect("small")));
            sent.push((
                number,
                broker.append(request(&topic, partition, batch(producer << 32 | number, sequence))).await,
            ));
            tokio::time::sleep(Duration::from_micros(rng.random_range(0..3_000))).await;
        }
        let mut had_a_place = true;
        for (number, placed) in sent {
            let was_placed = placed.is_ok();
            let result = match placed {
                Ok(pending) => pending.acked().await,
                Err(error) => Err(error),
            };
            if let Err(AppendError::OutOfOrderSequence { .. } | AppendError::InvalidProducerEpoch) = result {
                assert!(!had_a_place, "an epoch would be bumped: {result:?}");
            }
            had_a_place &= was_placed;
            world.history.lock().record(producer << 32 | number, partition, outcome(&result));
            if result.is_ok() {
                left.retain(|left| *left != number);
            }
        }
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..20_000))).await;
    }
}

/// Every other producer is idempotent. All ride several sessions.
async fn produce(world: Arc<World>, topic: Arc<Topic>, producer: u64, seed: u64) {
    let rng = StdRng::seed_from_u64(seed ^ (producer << 32));
    let partition = i32::try_from(producer).expect("small") % PARTITIONS;
    match producer.is_multiple_of(2) {
        true => produce_pipelined(world, topic, producer, partition, rng).await,
        false => produce_once(world, topic, producer, partition, rng).await,
    }
}

/// Transactions fail and lose replies; agents are fenced, restart, leave and come back. Ends with three that live.
async fn trouble(world: Arc<World>, seed: u64) -> Vec<Broker> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0xfau64);
    let mut zombies = Vec::new();
    // Bounded: faults that come faster than the lane's retries would be an outage without end.
    for round in 0..60 {
        tokio::time::sleep(Duration::from_millis(rng.random_range(5..120))).await;
        let number = rng.random_range(0..AGENTS.len());
        world.look_for_those_who_gave_up().await;
        match rng.random_range(0..16) {
            0 | 1 => world.metadata.fail_next(FailPoint::NotCommitted),
            2 | 3 => world.metadata.fail_next(FailPoint::CommittedReplyLost),
            4 | 5 => world.metadata.fail_next(FailPoint::DroppedReplyLost),
            6 | 7 if zombies.len() < 6 => {
                // Often the restart meets a commit whose outcome is open: nobody may answer it, a retry finds out.
                world.metadata.fail_next(FailPoint::CommittedReplyLost);
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..25))).await;
                zombies.push(world.replace(number, round).await);
            }
            8 if zombies.len() < 6 => {
                // A wrong guess: it lives, and finds out by itself; its partitions go to the others meanwhile.
                fence(&world, number).await;
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..400))).await;
                zombies.push(world.replace(number, round).await);
            }
            9 | 10 => {
                let leaving = world.agents.lock()[number].clone();
                leaving.hand_over(tokio::time::Instant::now() + Duration::from_secs(2)).await;
                leaving.drain().await;
                drop(world.replace(number, round).await);
            }
            11 => {
                // A doubt that the living answer.
                let (doubting, doubted) = {
                    let agents = world.agents.lock();
                    (agents[(number + 1) % AGENTS.len()].clone(), agents[number].session())
                };
                doubting.peer_vanished(doubted).await;
            }
            12 | 13 => {
                let until = tokio::time::Instant::now() + Duration::from_millis(rng.random_range(1_500..6_000));
                world.ways[number].1.cut(until);
            }
            _ => {}
        }
    }
    zombies
}

/// Fences an agent as a peer would that saw no renewal; the fence itself may fail or lose its reply.
async fn fence(world: &World, number: usize) {
    let (by, target) = {
        let agents = world.agents.lock();
        (agents[(number + 1) % AGENTS.len()].session(), agents[number].session())
    };
    let agents = world.metadata.list_agents().await.expect("memory answers");
    if let Some(row) = agents.iter().find(|agent| agent.session == target) {
        let _ = world.metadata.fence_session(by, target, row.renewals).await;
    }
}

/// Reads a partition from an offset on, until its end or the first error: offsets with their values.
async fn read(
    broker: &Broker,
    topic: &Topic,
    partition: i32,
    mut offset: i64,
) -> (Vec<(i64, u64)>, Option<FetchError>) {
    let mut found = Vec::new();
    loop {
        let wanted = FetchPartition {
            topic_id: topic.topic_id,
            partition,
            fetch_offset: offset,
            max_bytes: 4096,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        };
        let request = FetchRequest {
            organization: ORG,
            max_wait: Duration::ZERO,
            min_bytes: 0,
            max_bytes: 4096,
            isolation: IsolationLevel::ReadCommitted,
            rack: None,
            partitions: vec![wanted],
        };
        let fetched = match broker.fetch(request).await.remove(0).result {
            Ok(fetched) => fetched,
            Err(error) => return (found, Some(error)),
        };
        let bytes = Bytes::from(fetched.records.concat());
        for batch in segment::slice_batches(&bytes) {
            let (header, batch) = batch.expect("whole batches");
            assert!(segment::crc_matches(&batch), "corrupt");
            let value = batch.slice(batch.len() - 9..batch.len() - 1);
            found.push((header.base_offset, u64::from_be_bytes(value.as_ref().try_into().expect("8 bytes"))));
            offset = header.next_offset();
        }
        if offset >= fetched.high_watermark {
            return (found, None);
        }
    }
}

/// The whole of what a partition has left.
async fn read_all(broker: &Broker, topic: &Topic, partition: i32) -> Vec<(i64, u64)> {
    match read(broker, topic, partition, 0).await {
        (found, None) => found,
        (_, Some(FetchError::OffsetOutOfRange { log_start_offset })) => {
            let (found, error) = read(broker, topic, partition, log_start_offset).await;
            assert_eq!(error, None);
            found
        }
        (_, Some(error)) => unreachable!("not readable: {error}"),
    }
}

/// A consumer that begins anywhere, again and again; whatever it sees stays true.
async fn consume(world: Arc<World>, topic: Arc<Topic>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x5ee);
    loop {
        tokio::time::sleep(Duration::from_millis(rng.random_range(1..40))).await;
        let partition = rng.random_range(0..PARTITIONS);
        let broker = world.leader(&topic, partition, rng.random_range(0..3));
        let (found, _) = read(&broker, &topic, partition, rng.random_range(0..60)).await;
        world.seen.lock().extend(found.into_iter().map(|(offset, value)| (partition, offset, value)));
    }
}

fn check(history: &History, logs: &BTreeMap<i32, Vec<(i64, u64)>>, seen: &BTreeSet<(i32, i64, u64)>) {
    let start = |partition: &i32| logs[partition].first().map_or(0, |(offset, _)| *offset);
    let at = |partition: &i32, offset: i64| {
        let index = usize::try_from(offset - start(partition)).expect("not below the log start");
        logs[partition].get(index)
    };
    for (partition, log) in logs {
        for (position, (offset, _)) in log.iter().enumerate() {
            let expected = start(partition) + i64::try_from(position).expect("small");
            assert_eq!(expected, *offset, "density: partition {partition}");
        }
        let kept = log.len() * batch(0, None).len();
        assert!(start(partition) == 0 || kept >= RETENTION_BYTES, "over-deleted: {kept} bytes of {partition} are left");
        let unique: BTreeSet<u64> = log.iter().map(|(_, value)| *value).collect();
        assert_eq!(unique.len(), log.len(), "duplicate in partition {partition}");
        for producer in 0..PRODUCERS {
            let own: Vec<u64> = log.iter().map(|(_, value)| *value).filter(|value| value >> 32 == producer).collect();
            assert!(own.is_sorted(), "nonmonotonic-send of producer {producer}: {own:?}");
        }
    }
    let mut fates: BTreeMap<u64, Vec<Outcome>> = BTreeMap::new();
    for (value, partition, outcome) in &history.sends {
        fates.entry(*value).or_default().push(*outcome);
        if let Outcome::Acked(offset) = outcome
            && *offset >= start(partition)
        {
            assert_eq!(at(partition, *offset), Some(&(*offset, *value)), "lost-write");
        }
    }
    for (partition, offset, value) in seen.iter().filter(|(partition, offset, _)| *offset >= start(partition)) {
        assert_eq!(at(partition, *offset), Some(&(*offset, *value)), "read once, and not any more");
    }
    for (value, outcomes) in fates {
        let written = logs.values().flatten().any(|(_, found)| *found == value);
        assert!(!(written && outcomes.iter().all(|outcome| *outcome == Outcome::Failed)), "aborted-read of {value:x}");
    }
}

/// Once nobody uploads any more, the last agent finds every orphan; what is left has records (and is read above).
async fn no_garbage_is_left(world: &World, last: &Broker) {
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let listed = world.store.list_with("org-").recursive(true).await;
        let Ok(listed) = listed else { continue };
        let objects = listed.iter().filter_map(|entry| segment::ObjectKey::parse(entry.path()).ok());
        let objects: Vec<_> = objects
            .map(|key| FoundObject {
                session: key.session,
                lane_sequence: key.lane_sequence,
                organization: key.organization,
                object_key: key.to_string(),
            })
            .collect();
        let claims = world.metadata.claim_objects(last.session(), &objects).await.expect("memory answers");
        if claims.iter().all(|claim| *claim == Claim::Referenced) {
            return;
        }
    }
    unreachable!("garbage is left after 20 s without uploads");
}

/// Reads all again, of which more is rewritten by now; how many ranges are.
async fn rewritten_and_the_same(
    world: &World,
    last: &Broker,
    topic: &Topic,
    logs: &BTreeMap<i32, Vec<(i64, u64)>>,
) -> usize {
    let mut rewritten = 0;
    for (partition, log) in logs {
        let again = read_all(last, topic, *partition).await;
        assert!(log.ends_with(&again), "rewritten, and something else: partition {partition}");
        let key = segment::PartitionKey { organization: ORG, topic_id: topic.topic_id, partition: *partition };
        let rows = world.metadata.ranges_from(key, 0, 1_000).await.expect("memory answers");
        rewritten += rows.iter().filter(|row| row.object_key.contains("/data/")).count();
    }
    rewritten
}

/// Ends every session, so that the last word is a fresh agent's: nothing of any zombie commits after it has everything.
async fn end_all(world: &World) {
    for number in 0..AGENTS.len() {
        fence(world, number).await;
        fence(world, number).await; // a fail point may have been left over
    }
    for agent in world.metadata.list_agents().await.expect("memory answers") {
        world.metadata.close_session(agent.session).await.expect("memory answers");
    }
}

async fn create_topic(broker: &Broker) -> Arc<Topic> {
    let request = CreateTopic {
        organization: ORG,
        name: "t".to_owned(),
        partition_count: PARTITIONS,
        replication_factor: 1,
        configs: vec![("retention.bytes".to_owned(), Some(RETENTION_BYTES.to_string()))],
        validate_only: false,
    };
    broker.create_topic(request).await.expect("topic")
}

/// Runs one seed; returns the hash of its events, and how many sends were (acked, failed, unknown), agents gave up, ranges are
/// rewritten in the end, and logs lost their beginning.
fn simulate(seed: u64) -> (u64, [usize; 6]) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
    runtime.block_on(async {
        let metadata = Arc::new(MemoryStore::new(uuid::Uuid::from_u128(7), || 1_700_000_000_000));
        let bucket = Operator::new(Memory::default()).expect("memory store");
        let faults = faulty_store::Faults::new(seed);
        let ways: Vec<_> = AGENTS.iter().map(|_| faults.of_another()).collect();
        let ways: Vec<_> = ways.into_iter().map(|way| (bucket.clone().layer(way.clone()), way)).collect();
        let mut agents = Vec::new();
        for (number, (store, _)) in ways.iter().enumerate() {
            agents.push(start_broker(&metadata, store, number, seed ^ (number as u64) << 8).await);
        }
        let topic = create_topic(&agents[0]).await;
        let world = Arc::new(World {
            metadata,
            store: bucket.layer(faults),
            ways,
            gave_up: Mutex::default(),
            seen: Mutex::default(),
            agents: Mutex::new(agents),
            seed,
            history: Mutex::new(History {
                started: tokio::time::Instant::now(),
                sends: Vec::new(),
                hasher: DefaultHasher::new(),
            }),
        });
        let troubled = tokio::spawn(trouble(Arc::clone(&world), seed));
        let consumer = tokio::spawn(consume(Arc::clone(&world), Arc::clone(&topic), seed));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| tokio::spawn(produce(Arc::clone(&world), Arc::clone(&topic), producer, seed)))
            .collect();
        for producer in producers {
            producer.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        }
        troubled.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        world.all_come_back().await;
        consumer.abort();
        end_all(&world).await;
        let fresh = start_broker(&world.metadata, &world.store, 0, seed ^ 1).await;
        let leads = |partition| fresh.partition_leader(topic.topic_id, partition);
        assert!((0..PARTITIONS).all(|partition| leads(partition).is_some_and(|(l, _)| l.session == fresh.session())));
        let mut logs = BTreeMap::new();
        for partition in 0..PARTITIONS {
            logs.insert(partition, read_all(&fresh, &topic, partition).await);
        }
        no_garbage_is_left(&world, &fresh).await;
        let rewritten = rewritten_and_the_same(&world, &fresh, &topic, &logs).await;
        let deleted = logs.values().filter(|log| log.first().is_some_and(|(offset, _)| *offset > 0)).count();
        let history = world.history.lock();
        check(&history, &logs, &world.seen.lock());
        let mut hasher = history.hasher.clone();
        logs.hash(&mut hasher);
        let count =
            |wanted: fn(&Outcome) -> bool| history.sends.iter().filter(|(_, _, outcome)| wanted(outcome)).count();
        let counts = [
            count(|o| matches!(o, Outcome::Acked(_))),
            count(|o| *o == Outcome::Failed),
            count(|o| *o == Outcome::Info),
            world.gave_up.lock().len(),
            rewritten,
            deleted,
        ];
        (hasher.finish(), counts)
    })
}

fn setting(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test's own knob")]
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let mut gave_up = 0;
    for seed in [3, 11, 27] {
        let (first, second) = (simulate(seed), simulate(seed));
        assert_eq!(first, second, "seed {seed}");
        gave_up += first.1[3];
    }
    assert!(gave_up > 0, "among the events are agents that gave up");
}

/// Seeds beyond the usual ones that found something. 969: a hand-over that was repeated without a pause. 1422: a batch behind one
/// that failed, met by the same agent as the partition's next leader.
const KEPT_SEEDS: [u64; 2] = [969, 1422];

#[test]
fn nothing_acked_is_lost_and_nothing_failed_appears() {
    let seeds: Vec<u64> = match setting("SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (0..setting("SIMULATION_SEEDS").unwrap_or(400)).chain(KEPT_SEEDS).collect(),
    };
    let mut totals = [0; 6];
    for seed in seeds {
        let ran = std::panic::catch_unwind(|| simulate(seed));
        let (_, counts) = ran.unwrap_or_else(|panic| {
            eprintln!("failing seed: {seed}");
            std::panic::resume_unwind(panic)
        });
        println!("seed {seed}: {counts:?}");
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count;
        }
    }
    println!("sends acked, failed, unknown; agents that gave up; ranges rewritten, logs without beginning: {totals:?}");
    assert!(totals.iter().all(|total| *total > 0), "every outcome was seen: {totals:?}");
}
