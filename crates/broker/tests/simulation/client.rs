//! A client: it knows leaders from earlier, asks anybody when it does not, and sees connections end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{FetchError, FetchPartition, FetchRequest, Fetched, IsolationLevel};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{sleep, timeout};

use crate::history::{Key, Process, Record, Value, key_of};
use crate::world::{Agent, ORG, World};

/// A request without an answer for so long is given up (but for sends, whose time-out is their own).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// A value on the wire: itself and a check.
const VALUE_BYTES: usize = 16;

/// See the module.
pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) process: Process,
    pub(crate) rng: StdRng,
    leaders: BTreeMap<Key, Arc<Agent>>,
}

impl Client {
    pub(crate) fn new(world: &Arc<World>, process: Process) -> Self {
        let rng = StdRng::seed_from_u64(world.seed ^ u64::from(process) << 40);
        Self { world: Arc::clone(world), process, rng, leaders: BTreeMap::new() }
    }

    pub(crate) fn roll(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    pub(crate) async fn rest(&mut self, ms_max: u64) {
        sleep(Duration::from_micros(self.rng.random_range(0..ms_max * 1_000))).await;
    }

    /// Whom it takes for the leader of a partition. Now and then it asks anew, and whom it asks may know less than it did.
    pub(crate) fn leader(&mut self, key: Key) -> Arc<Agent> {
        let asks = self.roll(0.02);
        if let Some(known) = self.leaders.get(&key).filter(|known| !asks && !known.gone.is_cancelled()) {
            return Arc::clone(known);
        }
        let asked = self.world.any_agent(&mut self.rng);
        let leader = asked.broker.partition_leader(self.world.topic_id(key.0), key.1);
        let leader = leader.and_then(|(leader, _)| self.world.of_session(leader.session)).unwrap_or(asked);
        self.leaders.insert(key, Arc::clone(&leader));
        leader
    }

    pub(crate) fn forget_leader(&mut self, key: Key) {
        self.leaders.remove(&key);
    }

    /// A request over a connection; `None`: it ended before the answer came.
    pub(crate) async fn call<T>(&mut self, agent: &Agent, request: impl Future<Output = T>) -> Option<T> {
        self.rest(2).await;
        tokio::select! {
            biased;
            () = agent.gone.cancelled() => None,
            answer = request => Some(answer),
        }
    }

    /// The same; `None` also if no answer came for some seconds.
    pub(crate) async fn ask<T>(&mut self, agent: &Agent, request: impl Future<Output = T>) -> Option<T> {
        self.call(agent, timeout(REQUEST_TIMEOUT, request)).await?.ok()
    }

    /// Reads one partition.
    pub(crate) async fn fetch(
        &mut self,
        agent: &Agent,
        key: Key,
        offset: i64,
        rack: Option<&str>,
        max_wait: Duration,
    ) -> Option<Result<Fetched, FetchError>> {
        let request = fetch_request(&self.world, key, offset, rack, max_wait);
        let mut fetched = self.ask(agent, agent.broker.fetch(request)).await?;
        Some(fetched.remove(0).result)
    }
}

pub(crate) fn fetch_request(
    world: &World,
    key: Key,
    offset: i64,
    rack: Option<&str>,
    max_wait: Duration,
) -> FetchRequest {
    let wanted = FetchPartition {
        topic_id: world.topic_id(key.0),
        partition: key.1,
        fetch_offset: offset,
        max_bytes: 4_096,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    };
    FetchRequest {
        organization: ORG,
        max_wait,
        min_bytes: 1,
        max_bytes: 4_096,
        isolation: IsolationLevel::ReadCommitted,
        rack: rack.map(str::to_owned),
        partitions: vec![wanted],
    }
}

/// The bytes of a value: itself, and a check of it.
pub(crate) fn payload(value: Value) -> Bytes {
    [value.to_be_bytes(), check_of(value).to_be_bytes()].concat().into()
}

fn check_of(value: Value) -> u64 {
    (value ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// The records of an answer: batches of one record each.
pub(crate) fn records_of(fetched: &Fetched) -> Vec<Record> {
    let bytes = Bytes::from(fetched.records.concat());
    let record = |batch: Result<(segment::RecordBatchHeader, Bytes), segment::BatchError>| match batch {
        Ok((header, batch)) if segment::crc_matches(&batch) => (header.base_offset, decode(&batch)),
        Ok((header, _)) => (header.base_offset, None),
        Err(_) => (-1, None),
    };
    segment::slice_batches(&bytes).map(record).collect()
}

/// The last thing in a batch is its record's value, and a byte that says that there are no headers.
fn decode(batch: &Bytes) -> Option<Value> {
    let end = batch.len().checked_sub(1)?;
    let (value, check) = batch.get(end.checked_sub(VALUE_BYTES)?..end)?.split_at(8);
    let value = Value::from_be_bytes(value.try_into().ok()?);
    let is_whole = check_of(value).to_be_bytes() == check && key_of(value).1 < 16;
    is_whole.then_some(value)
}
