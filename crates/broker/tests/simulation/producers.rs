//! Producers: those that send each value once, and idempotent ones that send until it is acked, several in flight.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use broker::{AppendError, AppendRequest, Appended, NewRecord, encode_batch};
use bytes::Bytes;
use rand::Rng;
use tokio::time::{Instant, timeout};

use crate::client::{Client, payload};
use crate::history::{Key, Moment, Op, Outcome, Process, Value, record_key, value};
use crate::world::{FLEETING, ORG, Phase, World};

/// Longest pause between two sends, in ms.
const PAUSE_MS: u64 = 300;
/// What a producer waits for an ack.
const DELIVERY: Duration = Duration::from_secs(8);

pub(crate) fn batch(value: Value, timestamp: i64, sequence: Option<(i64, u32)>) -> Bytes {
    let key = Some(Bytes::copy_from_slice(&record_key(value).to_be_bytes()));
    let record = NewRecord { key, value: Some(payload(value)), timestamp, headers: Vec::new() };
    let sequence = sequence.map(|(id, sequence)| (id, 0, i32::try_from(sequence).expect("few")));
    encode_batch(&[record], sequence).expect("encodes")
}

fn request(world: &World, key: Key, batch: Bytes) -> AppendRequest {
    AppendRequest {
        organization: ORG,
        topic_id: world.topic_id(key.0),
        partition: key.1,
        batch,
        zstd_allowed: true,
        expected_base_offset: None,
        permit: None,
        timeout: DELIVERY,
    }
}

fn outcome(result: Option<&Result<Appended, AppendError>>) -> (Outcome, i64) {
    match result {
        Some(Ok(appended)) => (Outcome::Ok, appended.base_offset),
        None | Some(Err(AppendError::TimedOut | AppendError::Unknown)) => (Outcome::Info, -1),
        Some(Err(_)) => (Outcome::Fail, -1),
    }
}

impl Client {
    fn sent(
        &mut self,
        key: Key,
        value: Value,
        began: Moment,
        result: Option<&Result<Appended, AppendError>>,
    ) -> Outcome {
        let (outcome, offset) = outcome(result);
        match outcome {
            Outcome::Ok => drop(self.world.last_acks.lock().insert(self.process, Instant::now())),
            _ => self.forget_leader(key),
        }
        self.world.record(self.process, began, Op::Send { key, value, outcome, offset });
        outcome
    }

    /// Sends a value, and sometimes hangs up before it is answered.
    async fn send_once(&mut self, key: Key, value: Value) {
        let began = self.world.history.lock().begin_send(self.process, value);
        let agent = self.leader(key);
        let request = request(&self.world, key, batch(value, agent.broker.now_ms(), None));
        let patience = match self.roll(0.03) {
            true => Duration::from_millis(self.rng.random_range(0..40)),
            false => DELIVERY * 2,
        };
        let send = timeout(patience, async { agent.broker.append(request).await?.acked().await });
        let result = self.call(&agent, send).await.and_then(Result::ok);
        self.sent(key, value, began, result.as_ref());
    }
}

/// Sends each value once, one after the other.
pub(crate) async fn produce_once(world: Arc<World>, process: Process, key: Key) {
    let mut client = Client::new(&world, process);
    for sequence in 0.. {
        if world.phase() >= Phase::Draining {
            return;
        }
        client.send_once(key, value(key, process, sequence)).await;
        client.rest(PAUSE_MS).await;
    }
}

/// The same, to whatever topic has that name now.
pub(crate) async fn produce_fleeting(world: Arc<World>, process: Process) {
    let mut client = Client::new(&world, process);
    for sequence in 0.. {
        if world.phase() >= Phase::Draining {
            return;
        }
        let agent = world.any_agent(&mut client.rng);
        if let Some(topic) = agent.broker.topic(ORG, FLEETING) {
            let key = (world.number_of(topic.topic_id), 0);
            client.send_once(key, value(key, process, sequence)).await;
        }
        client.rest(PAUSE_MS).await;
    }
}

/// Sends each value until it is acked, up to five in flight to one agent at a time, as clients do. One that hears "out of
/// order" for a batch behind another that had its place would bump its epoch, and send again what may be written.
pub(crate) async fn produce_pipelined(world: Arc<World>, process: Process, key: Key) {
    let mut client = Client::new(&world, process);
    world.history.lock().idempotent.insert(process);
    let mut left: VecDeque<u32> = VecDeque::new();
    let mut next = 0;
    while world.phase() < Phase::Draining || !left.is_empty() {
        let in_flight = client.rng.random_range(1..=5);
        while left.len() < in_flight && world.phase() < Phase::Draining {
            left.push_back(next);
            next += 1;
        }
        if world.phase() == Phase::Over {
            return;
        }
        send_window(&mut client, key, &mut left, in_flight).await;
        client.rest(PAUSE_MS * 2).await;
    }
}

async fn send_window(client: &mut Client, key: Key, left: &mut VecDeque<u32>, in_flight: usize) {
    let agent = client.leader(key);
    let mut sent = Vec::new();
    for sequence in left.iter().copied().take(in_flight).collect::<Vec<_>>() {
        let value = value(key, client.process, sequence);
        let began = client.world.history.lock().begin_send(client.process, value);
        let batch = batch(value, agent.broker.now_ms(), Some((i64::from(client.process), sequence)));
        let request = request(&client.world, key, batch);
        let placed = client.call(&agent, timeout(DELIVERY, agent.broker.append(request))).await.and_then(Result::ok);
        let is_placed = matches!(&placed, Some(Ok(_)));
        sent.push((sequence, value, began, placed));
        // Of a producer that nothing is known of, any sequence is the first one: as in Kafka, so clients see to that.
        if !is_placed && left.front() == Some(&0) {
            break;
        }
    }
    let mut had_a_place = true;
    for (sequence, value, began, placed) in sent {
        let was_placed = matches!(placed, Some(Ok(_)));
        let result = match placed {
            Some(Ok(pending)) => client.call(&agent, pending.acked()).await,
            Some(Err(error)) => Some(Err(error)),
            None => None,
        };
        let is_refused =
            matches!(result, Some(Err(AppendError::OutOfOrderSequence { .. } | AppendError::InvalidProducerEpoch)));
        if is_refused && had_a_place {
            client.world.history.lock().note("false-out-of-order", format!("{value:x}: {result:?}"));
        }
        had_a_place &= was_placed;
        if client.sent(key, value, began, result.as_ref()) == Outcome::Ok {
            left.retain(|left| *left != sequence);
        }
    }
}
