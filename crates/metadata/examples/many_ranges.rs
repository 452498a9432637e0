//! Fills a store with 10,000 partitions and 1,000,000 ranges, then measures what grows with them if anything does: opening,
//! what an agent reads at its start, and the background transactions of retention, rewrite and garbage collection.
//!
//! `cargo run --release -p metadata --example many_ranges [ranges in all]` on SQLite in a temporary folder;
//! `… --example many_ranges [ranges in all] postgres://user@host:port/database` on PostgreSQL, whose database must be new.

#![expect(clippy::print_stdout, reason = "a measurement for people to read")]

use std::collections::BTreeMap;

use metadata::{
    LogChangeOutcome, LogStartMove, MetadataStore, NewRange, PostgresOptions, PostgresStore, RangeOutcome,
    RangesReplacement, SegmentRewrite, SnapshotAt, SqliteOptions, SqliteStore,
    conformance::fixture::{acquire, create, key, open, range, segment},
};
use segment::{Offset, OrganizationId, PartitionKey, REWRITE_SEQUENCE_BASE, SessionId};
use tokio::time::Instant;

/// Topics of [`PARTITIONS`] each; the last one has one partition, and a tenth of all ranges.
const TOPICS: u32 = 10;
const PARTITIONS: i32 = 1_000;
/// Offsets of each range.
const RECORDS: i64 = 10;
/// Ranges of one commit, as a flush has.
const RANGES_PER_COMMIT: usize = 1_000;
/// Segments of one range each in one transaction.
const SEGMENTS_PER_COMMIT: usize = 500;
/// Keys of one acquisition.
const KEYS_PER_CALL: usize = 1_000;
/// Times that reads and small transactions are repeated.
const REPEATED: u32 = 20;
/// The partition with many ranges.
const LONG: u32 = TOPICS + 1;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let ranges = arguments.next().map_or(1_000_000, |text| text.parse().expect("a number of ranges"));
    match arguments.next() {
        Some(url) => {
            let reopen = || async {
                let options = PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(1), session_url: None };
                PostgresStore::open(&url, options).await.expect("opens a new database")
            };
            let store = reopen().await;
            let session = fill(&store, ranges).await;
            store.close().await;
            let store = timed("open", reopen()).await;
            measure(&store, session).await;
            store.close().await;
        }
        None => {
            let folder = tempfile::tempdir().expect("temporary folder");
            let path = folder.path().join("metadata.db");
            let reopen = || async {
                let options = SqliteOptions { new_cluster_id: uuid::Uuid::from_u128(1) };
                SqliteStore::open(&path, options).await.expect("opens")
            };
            let store = reopen().await;
            fill(&store, ranges).await;
            store.close().await;
            println!("{:>60} {} MiB", "database", path.metadata().expect("there").len() >> 20);
            let store = timed("open", reopen()).await;
            let session = timed("open a session", open(&store, "agent-1")).await;
            measure(&store, session).await;
            store.close().await;
        }
    }
}

async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    let before = Instant::now();
    let result = work.await;
    println!("{what:>60} {:?}", before.elapsed());
    result
}

fn all_keys() -> Vec<PartitionKey> {
    (1..=TOPICS).flat_map(|topic| (0..PARTITIONS).map(move |partition| key(topic, partition))).collect()
}

/// Commits as a lane does, each of many partitions; then one partition on its own.
async fn fill(store: &dyn MetadataStore, ranges: usize) -> SessionId {
    let session = open(store, "agent-1").await;
    for topic in 1..=TOPICS {
        create(store, topic, &format!("topic-{topic}"), PARTITIONS).await;
    }
    create(store, LONG, "long", 1).await;
    lease_all(store, session).await;
    let (before, all) = (Instant::now(), all_keys());
    let (long, mut lane) = (ranges / 10, 0);
    for round in 0..(ranges - long) / all.len() {
        for some in all.chunks(RANGES_PER_COMMIT) {
            let base = i64::try_from(round).expect("small") * RECORDS;
            commit(store, session, &mut lane, [some.iter().map(|key| (*key, base)).collect()]).await;
        }
    }
    let one = |number| vec![(key(LONG, 0), i64::try_from(number).expect("small") * RECORDS)];
    for some in (0..long).collect::<Vec<_>>().chunks(SEGMENTS_PER_COMMIT) {
        commit(store, session, &mut lane, some.iter().map(|number| one(*number))).await;
    }
    println!("{:>60} {:?}", format!("{lane} segments with {ranges} ranges"), before.elapsed());
    session
}

async fn lease_all(store: &dyn MetadataStore, session: SessionId) -> i32 {
    let mut epoch = 0;
    for keys in all_keys().chunks(KEYS_PER_CALL).chain([&[key(LONG, 0)][..]]) {
        epoch = acquire(store, session, keys).await[0].leader_epoch;
    }
    epoch
}

async fn commit(
    store: &dyn MetadataStore,
    session: SessionId,
    lane: &mut i64,
    segments: impl IntoIterator<Item = Vec<(PartitionKey, Offset)>>,
) {
    let row = |(key, base)| {
        let mut row = range(key, 0, base, base + RECORDS);
        row.producers = bytes::Bytes::from_static(&[7; 47]);
        row
    };
    let numbered = (*lane..).zip(segments);
    let segments: Vec<_> =
        numbered.map(|(lane, ranges)| segment(session, lane, ranges.into_iter().map(row).collect())).collect();
    let outcome = store.commit_segments(session, &segments).await.expect("commits");
    assert!(outcome.segments.iter().flatten().all(|range| *range == RangeOutcome::Accepted));
    *lane += i64::try_from(segments.len()).expect("small");
}

async fn measure(store: &dyn MetadataStore, session: SessionId) {
    let changes = timed("everything that changed", store.changes_since(0)).await.expect("read");
    assert_eq!(changes.leases.len(), all_keys().len() + 1);
    timed("topics", store.list_topics()).await.expect("read");
    timed("last segments", store.last_segments()).await.expect("read");
    let epoch = timed("acquire all leases", lease_all(store, session)).await;
    let ends = ends(store, session).await;
    measure_reads(store, ends[&key(LONG, 0)]).await;
    let changes = Changes { store, session, epoch, ends };
    changes.retention().await;
    changes.rewrites().await;
    measure_garbage(store, session).await;
}

async fn ends(store: &dyn MetadataStore, session: SessionId) -> BTreeMap<PartitionKey, Offset> {
    let mut ends = BTreeMap::new();
    for keys in all_keys().chunks(KEYS_PER_CALL).chain([&[key(LONG, 0)][..]]) {
        let leases = store.held_leases(session, keys).await.expect("read");
        ends.extend(leases.iter().map(|lease| (lease.key, lease.next_offset)));
    }
    ends
}

async fn measure_reads(store: &dyn MetadataStore, end: Offset) {
    let long = key(LONG, 0);
    timed("producer history without a snapshot", store.producer_history(long)).await.expect("read");
    let before = Instant::now();
    for step in 0..i64::from(REPEATED) {
        let rows = store.ranges_from(long, end / i64::from(REPEATED) * step, 100).await.expect("read");
        assert_eq!(rows.len(), 100);
    }
    println!("{:>60} {:?}", "100 ranges from the middle", before.elapsed() / REPEATED);
    for round in ["cold", "again"] {
        let last = timed(&format!("greatest timestamp, {round}"), store.range_of_max_timestamp(long, 0)).await;
        let last = last.expect("read").expect("a range");
        let what = format!("by timestamp, over {} ranges, {round}", end / RECORDS);
        timed(&what, store.range_at_timestamp(long, 0, last.max_timestamp)).await.expect("read").expect("a range");
    }
}

struct Changes<'a> {
    store: &'a dyn MetadataStore,
    session: SessionId,
    epoch: i32,
    ends: BTreeMap<PartitionKey, Offset>,
}

impl Changes<'_> {
    fn to(&self, key: PartitionKey, log_start_offset: Offset) -> LogStartMove {
        let snapshot = SnapshotAt { as_of_offset: self.ends[&key], snapshot: vec![7; 400].into() };
        LogStartMove { key, leader_epoch: self.epoch, log_start_offset, snapshot: Some(snapshot) }
    }

    async fn moved(&self, what: &str, moves: &[LogStartMove]) {
        let outcomes = timed(what, self.store.move_log_starts(self.session, moves, 1_000)).await.expect("moved");
        let happened = |outcome: &LogChangeOutcome| matches!(outcome, LogChangeOutcome::Done { .. });
        assert!(outcomes.iter().all(happened), "{outcomes:?}");
    }

    async fn retention(&self) {
        let first: Vec<_> = (0..PARTITIONS).map(|partition| self.to(key(1, partition), RECORDS)).collect();
        self.moved("1,000 log starts, one range each", &first).await;
        self.moved("the same again, without any", &first).await;
        let long = self.to(key(LONG, 0), RECORDS * 1_000);
        self.moved("one log start, 1,000 ranges", std::slice::from_ref(&long)).await;
        let far = self.to(key(LONG, 0), RECORDS * 50_000);
        self.moved("one log start, the first 1,000 of very many", std::slice::from_ref(&far)).await;
    }

    async fn replaced(&self, what: &str, number: i64, replacements: Vec<RangesReplacement>) {
        let lane_sequence = REWRITE_SEQUENCE_BASE + number;
        let rewrite = SegmentRewrite {
            lane_sequence,
            object_key: format!("rewrite {number}"),
            organization: OrganizationId::DEFAULT,
            object_bytes: 1 << 28,
            replacements,
        };
        let outcomes = timed(what, self.store.replace_ranges(self.session, &rewrite)).await.expect("replaced");
        assert!(outcomes.iter().all(|outcome| *outcome == LogChangeOutcome::Done { more: false }), "{outcomes:?}");
    }

    /// `rows` rows from this offset on become `count`.
    fn replacement(&self, key: PartitionKey, from: Offset, rows: i64, count: i64) -> RangesReplacement {
        let step = rows / count * RECORDS;
        let end = from + rows * RECORDS;
        let new = |number| NewRange {
            base_offset: from + number * step,
            next_offset: if number + 1 == count { end } else { from + (number + 1) * step },
            leader_epoch: 0,
            byte_start: 0,
            byte_len: 1,
            checksum: 1,
            max_timestamp: 1,
        };
        let snapshot = SnapshotAt { as_of_offset: self.ends[&key], snapshot: vec![7; 400].into() };
        RangesReplacement {
            key,
            leader_epoch: self.epoch,
            replaced: (0..rows).map(|row| from + row * RECORDS).collect(),
            ranges: (0..count).map(new).collect(),
            snapshot: Some(snapshot),
        }
    }

    async fn rewrites(&self) {
        let rows = (self.ends[&key(LONG, 0)] / RECORDS - 1 - 60_000).clamp(16, 1_000);
        let one = self.replacement(key(LONG, 0), RECORDS * 60_000, rows, 16);
        self.replaced(&format!("{rows} rows of one partition become 16"), 0, vec![one]).await;
        let rows = (self.ends[&key(2, 0)] / RECORDS - 1).min(62);
        let some = (0..16).map(|partition| self.replacement(key(2, partition), 0, rows, 1)).collect();
        self.replaced(&format!("{} rows of 16 partitions become 16", rows * 16), 1, some).await;
    }
}

async fn measure_garbage(store: &dyn MetadataStore, session: SessionId) {
    let none = timed("nothing to claim yet", store.claim_unreferenced(session, 3_600_000, 500)).await;
    assert!(none.expect("read").is_empty());
    let claimed = timed("claim 500", store.claim_unreferenced(session, 0, 500)).await.expect("read");
    assert_eq!(claimed.len(), 500);
    timed("claim them as found in the bucket", store.claim_objects(session, &claimed)).await.expect("claimed");
    timed("forget them", store.forget_objects(session, &claimed)).await.expect("forgotten");
}
