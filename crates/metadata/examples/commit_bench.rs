//! Measures segment commits: rate, latency and CPU per commit, one lane, one commit in flight.
//!
//! `cargo run --release -p metadata --example commit_bench [folder]` on SQLite;
//! `… --example commit_bench postgres://user@host:port/database` on PostgreSQL, whose database must be new (CPU is this
//! process's alone).

#![expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a measurement for people to read")]

mod cpu_time;

use std::{path::PathBuf, time::Duration};

use cpu_time::cpu_time;
use metadata::{
    MetadataStore, PostgresOptions, PostgresStore, Segments, SqliteOptions, SqliteStore,
    conformance::fixture::{acquire, key, leased, open, range, segment},
};
use segment::SessionId;

/// Commits per measurement at most.
const COMMITS_MAX: i64 = 4_000;
/// Time per measurement at most.
const TIME_MAX: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() {
    if let Some(url) = std::env::args().nth(1).filter(|argument| argument.starts_with("postgres")) {
        return on_postgres(&url).await;
    }
    let scratch = tempfile::tempdir().expect("temporary folder");
    let folder = std::env::args().nth(1).map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    println!("ranges  commits/s   p50 us   p99 us  CPU us/commit");
    for ranges in [1, 8, 64, 1_000] {
        let path = folder.join(format!("bench-{ranges}.db"));
        let options = SqliteOptions { new_cluster_id: uuid::Uuid::from_u128(1) };
        let store = SqliteStore::open(&path, options).await.expect("opens");
        let session = leased(&store, ranges).await;
        measure(&store, session, ranges).await;
        if ranges == 1 {
            measure_scans(&store).await;
        }
        store.close().await;
    }
}

async fn on_postgres(url: &str) {
    let options = PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(1), session_url: None };
    let store = PostgresStore::open(url, options).await.expect("opens a new database");
    let mut session = leased(&store, 1_000).await;
    println!("ranges  commits/s   p50 us   p99 us  CPU us/commit");
    let keys: Vec<_> = (0..1_000).map(|partition| key(1, partition)).collect();
    for (epoch, ranges) in (0..).zip([1, 10, 100, 1_000]) {
        measure_at(&store, session, epoch, ranges).await;
        session = open(&store, "agent-1").await;
        acquire(&store, session, &keys).await;
    }
    store.close().await;
}

async fn measure(store: &dyn MetadataStore, session: SessionId, ranges: i32) {
    measure_at(store, session, 0, ranges).await;
}

/// Goes on where the partitions end, under this epoch.
async fn measure_at(store: &dyn MetadataStore, session: SessionId, epoch: i32, ranges: i32) {
    let mut ends = Vec::new();
    for partition in 0..ranges {
        let rows = store.ranges_from(key(1, partition), 0, u32::MAX).await.expect("reads");
        ends.push(rows.last().map_or(0, |row| row.next_offset));
    }
    let (started, cpu_before) = (tokio::time::Instant::now(), cpu_time());
    let mut latencies = Vec::new();
    let mut lane = 0;
    while lane < COMMITS_MAX && started.elapsed() < TIME_MAX {
        let rows = (0..ranges).zip(&ends).map(|(partition, end)| {
            let mut row = range(key(1, partition), epoch, end + lane * 10, end + lane * 10 + 10);
            row.producers = bytes::Bytes::from_static(&[7; 24]);
            row
        });
        let segments = [segment(session, lane, rows.collect())];
        let before = tokio::time::Instant::now();
        let outcome = store.commit_segments(session, &segments).await.expect("commits");
        latencies.push(before.elapsed());
        assert!(outcome.segments[0].iter().all(|range| *range == metadata::RangeOutcome::Accepted));
        lane += 1;
    }
    let (elapsed, cpu) = (started.elapsed(), cpu_time() - cpu_before);
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_micros();
    let rate = lane as f64 / elapsed.as_secs_f64();
    println!("{ranges:>6} {rate:>10.0} {:>8} {:>8} {:>14.0}", at(50), at(99), cpu.as_micros() as f64 / lane as f64);
}

/// The two scans by timestamp over every range of a partition.
async fn measure_scans(store: &SqliteStore) {
    let before = tokio::time::Instant::now();
    let last = store.range_of_max_timestamp(key(1, 0), 0).await.expect("reads").expect("a range");
    let greatest = before.elapsed();
    let before = tokio::time::Instant::now();
    store.range_at_timestamp(key(1, 0), 0, last.max_timestamp).await.expect("reads").expect("a range");
    let at = before.elapsed();
    println!("scan of {} ranges: greatest timestamp {greatest:?}, by timestamp {at:?}", last.base_offset / 10 + 1);
}
