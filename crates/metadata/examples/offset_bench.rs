//! Measures what coordinators write when 10,000 offsets are committed each second, gathered into calls of some size, one call in
//! flight: rate, latency and CPU per call. Where the rate falls short, the calls came as fast as the store took them.
//!
//! `cargo run --release -p metadata --example offset_bench [folder]` on SQLite; `… --example offset_bench
//! postgres://user@host:port/database` on PostgreSQL, whose database must be new (CPU is this process's alone).

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a measurement for people to read")]

mod cpu_time;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use cpu_time::cpu_time;
use metadata::{
    CoordinatorChange, CoordinatorKey, CoordinatorOutcome, CoordinatorWrite, MetadataStore, PostgresOptions,
    PostgresStore, SqliteOptions, SqliteStore,
    conformance::fixture::{key, leased, topic_id},
};
use segment::SessionId;
use tokio::time::Instant;

/// Offsets that are committed each second, if the store can do it.
const OFFSETS_PER_SECOND: u32 = 10_000;
/// Partitions of coordinators, as Kafka has by default.
const COORDINATORS: i32 = 50;
/// Groups, and the partitions that each of them commits offsets of, in turn.
const GROUPS: u32 = 1_000;
const COMMITTED_PARTITIONS: u32 = 10;
/// Time per measurement.
const TIME: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() {
    if let Some(url) = std::env::args().nth(1).filter(|argument| argument.starts_with("postgres")) {
        let options = PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(1), session_url: None };
        let store = PostgresStore::open(&url, options).await.expect("opens a new database");
        measure_all(&store).await;
        return store.close().await;
    }
    let scratch = tempfile::tempdir().expect("temporary folder");
    let folder = std::env::args().nth(1).map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    let options = SqliteOptions { new_cluster_id: uuid::Uuid::from_u128(1) };
    let store = SqliteStore::open(&folder.join("bench-offsets.db"), options).await.expect("opens");
    measure_all(&store).await;
    store.close().await;
}

async fn measure_all(store: &dyn MetadataStore) {
    let session = leased(store, COORDINATORS).await;
    println!("offsets a call  offsets/s   p50 us   p99 us  CPU us/call  CPU us/offset");
    let mut offsets = Offsets::default();
    for per_call in [1, 10, 100, 1_000, 10_000] {
        measure(store, session, &mut offsets, per_call).await;
    }
}

async fn measure(store: &dyn MetadataStore, session: SessionId, offsets: &mut Offsets, per_call: u32) {
    let pause = Duration::from_secs(1) * per_call / OFFSETS_PER_SECOND;
    let (started, cpu_before, mut latencies) = (Instant::now(), cpu_time(), Vec::new());
    while started.elapsed() < TIME {
        let writes = offsets.next(per_call);
        let before = Instant::now();
        let outcomes = store.write_coordinators(session, &writes).await.expect("written");
        latencies.push(before.elapsed());
        assert!(outcomes.iter().all(|outcome| *outcome == CoordinatorOutcome::Written));
        let calls = u32::try_from(latencies.len()).expect("few");
        tokio::time::sleep_until(started + pause * calls).await;
    }
    let (elapsed, cpu) = (started.elapsed().as_secs_f64(), (cpu_time() - cpu_before).as_micros() as f64);
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_micros();
    let (calls, per_call) = (latencies.len() as f64, f64::from(per_call));
    let (rate, per_offset) = (calls * per_call / elapsed, cpu / calls / per_call);
    println!("{per_call:>14} {rate:>10.0} {:>8} {:>8} {:>12.0} {per_offset:>14.1}", at(50), at(99), cpu / calls);
}

/// What is committed: the groups in turn, and of each its partitions.
#[derive(Default)]
struct Offsets {
    number: u32,
    /// Of each coordinator.
    sequences: BTreeMap<i32, i64>,
}

impl Offsets {
    /// The next so many offsets, as the coordinators of their groups write them.
    fn next(&mut self, count: u32) -> Vec<CoordinatorWrite> {
        let mut changes: BTreeMap<i32, Vec<CoordinatorChange>> = BTreeMap::new();
        for number in self.number..self.number + count {
            let group = number / COMMITTED_PARTITIONS % GROUPS;
            let coordinator = i32::try_from(group).expect("few") % COORDINATORS;
            changes.entry(coordinator).or_default().push(offset_of(group, number));
        }
        self.number += count;
        let writes = changes.into_iter().map(|(coordinator, changes)| {
            let next = self.sequences.entry(coordinator).or_default();
            let sequence = *next;
            *next += 1;
            CoordinatorWrite { partition: key(1, coordinator), leader_epoch: 0, sequence, changes }
        });
        writes.collect()
    }
}

/// As large as what Kafka keeps of a committed offset.
fn offset_of(group: u32, number: u32) -> CoordinatorChange {
    let item = [&topic_id(1).0.as_bytes()[..], &(number % COMMITTED_PARTITIONS).to_be_bytes()].concat();
    let row = CoordinatorKey { owner: format!("group-of-consumers-{group}"), kind: 1, item: item.into() };
    let value = [&[0; 24][..], &number.to_be_bytes()].concat();
    CoordinatorChange { key: row, value: Some(value.into()) }
}
