//! Measures segment commits on SQLite beside a rewrite's swaps of rows: the same number of rows a second, in larger or smaller
//! transactions. `cargo run --release -p metadata --example swap_bench [folder]`

#![expect(clippy::print_stdout, reason = "a measurement for people to read")]

use std::path::PathBuf;
use std::time::Duration;

use metadata::{
    LogChangeOutcome, LogChanges, NewRange, RangesReplacement, SegmentRewrite, Segments, SnapshotAt, SqliteOptions,
    SqliteStore,
    conformance::fixture::{key, leased, range, segment},
};
use segment::{OrganizationId, REWRITE_SEQUENCE_BASE, SessionId};
use tokio::time::{Instant, sleep, sleep_until};

/// Partitions that are committed to, and the one behind them whose rows are swapped.
const BUSY: i32 = 8;
const OLD: i32 = BUSY;
/// Rows that are swapped in each measurement, and in each second of it.
const ROWS: i64 = 32_000;
const ROWS_PER_SECOND: i64 = 8_000;
const PAUSE: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() {
    let scratch = tempfile::tempdir().expect("temporary folder");
    let folder = std::env::args().nth(1).map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    println!("rows of a swap   swaps  p50 us  max us   commits  p50 us  p99 us  p99.9 us  max us");
    for rows in [0, 100, 250, 500, 1_000] {
        let path = folder.join(format!("swap-{rows}.db"));
        let store = SqliteStore::open(&path, SqliteOptions { new_cluster_id: uuid::Uuid::from_u128(1) }).await;
        let store = store.expect("opens");
        let session = leased(&store, BUSY + 1).await;
        for first in (0..=ROWS).step_by(500) {
            let old = |at: i64| segment(session, at, vec![range(key(1, OLD), 0, at * 10, at * 10 + 10)]);
            let segments: Vec<_> = (first..first + 500).map(old).collect();
            store.commit_segments(session, &segments).await.expect("commits");
        }
        let swapping = swap(&store, session, rows);
        let mut commits = Vec::new();
        let committing = commit(&store, session, ROWS + 1_000, &mut commits);
        let mut swaps = tokio::select! { swaps = swapping => swaps, () = committing => Vec::new() };
        let [p50, _, _, max] = cuts(&mut swaps);
        print!("{rows:>14} {:>7} {p50:>7} {max:>7}", swaps.len());
        let [p50, p99, p999, max] = cuts(&mut commits);
        println!("{:>10} {p50:>7} {p99:>7} {p999:>9} {max:>7}", commits.len());
        store.close().await;
    }
}

/// Commits of a range for each busy partition, one after the other.
async fn commit(store: &SqliteStore, session: SessionId, first_lane: i64, took: &mut Vec<Duration>) {
    for number in 0.. {
        let at = number * 10;
        let ranges = (0..BUSY).map(|partition| range(key(1, partition), 0, at, at + 10)).collect();
        let began = Instant::now();
        store.commit_segments(session, &[segment(session, first_lane + number, ranges)]).await.expect("commits");
        took.push(began.elapsed());
        sleep(PAUSE).await;
    }
}

/// Lets one row take the place of `rows`, again and again; 0: none.
async fn swap(store: &SqliteStore, session: SessionId, rows: i64) -> Vec<Duration> {
    let began = Instant::now();
    let mut took = Vec::new();
    if rows == 0 {
        sleep(Duration::from_secs((ROWS / ROWS_PER_SECOND).unsigned_abs())).await;
    }
    for number in (0..ROWS).step_by(usize::try_from(rows.max(1)).expect("small")).take_while(|_| rows > 0) {
        let new = NewRange {
            base_offset: number * 10,
            next_offset: (number + rows).min(ROWS) * 10,
            leader_epoch: 0,
            byte_start: 8,
            byte_len: 1,
            checksum: 1,
            max_timestamp: 1,
        };
        let replacement = RangesReplacement {
            key: key(1, OLD),
            leader_epoch: 0,
            replaced: (number..(number + rows).min(ROWS)).map(|row| row * 10).collect(),
            ranges: vec![new],
            snapshot: Some(SnapshotAt { as_of_offset: ROWS * 10, snapshot: vec![7; 400].into() }),
        };
        let rewrite = SegmentRewrite {
            lane_sequence: REWRITE_SEQUENCE_BASE + number,
            object_key: format!("rewrite {number}"),
            organization: OrganizationId::DEFAULT,
            object_bytes: 1 << 28,
            replacements: vec![replacement],
        };
        let before = Instant::now();
        let outcomes = store.replace_ranges(session, &rewrite).await.expect("replaced");
        took.push(before.elapsed());
        assert_eq!(outcomes, [LogChangeOutcome::Done { more: false }]);
        let due = (number + rows) * 1_000_000 / ROWS_PER_SECOND;
        sleep_until(began + Duration::from_micros(due.unsigned_abs())).await;
    }
    took
}

/// p50, p99, p99.9 and the longest, in µs.
fn cuts(took: &mut [Duration]) -> [u128; 4] {
    took.sort_unstable();
    let at = |part: usize| took.get(took.len().saturating_sub(1) * part / 1_000).map_or(0, Duration::as_micros);
    [at(500), at(990), at(999), at(1_000)]
}
