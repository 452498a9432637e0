//! What only a store on disk can get wrong: the lock, reopening, crashes, cancelled callers, foreign files.

use std::{path::Path, sync::Arc, time::Duration};

use metadata::{
    Claim, Coordinators, LaneReport, MetadataStore, OpenError, RangeOutcome, Segments, Sessions, SqliteOptions,
    SqliteStore, StoreError, Topics,
    conformance::fixture::{acquire, commit, found, key, leased, open as open_session, range, reference, segment},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

async fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, SqliteOptions { new_cluster_id: uuid::Uuid::from_u128(7) }).await
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

#[tokio::test]
async fn a_second_open_is_refused_until_the_first_is_closed() {
    let folder = folder();
    let path = folder.path().join("deep/er/metadata.db");
    let first = open(&path).await.expect("opens and creates its folders");
    let refused = open(&path).await.expect_err("refused");
    assert!(matches!(refused, OpenError::InUse { .. }));
    let line = refused.to_string();
    assert!(line.contains("in use by another agent") && line.contains("metadata.db") && !line.contains('\n'), "{line}");
    first.close().await;
    first.close().await;
    open(&path).await.expect("opens again").close().await;
}

#[tokio::test]
async fn reopening_keeps_everything() {
    let folder = folder();
    let path = folder.path().join("metadata.db");
    let store = open(&path).await.expect("opens");
    let session = leased(&store, 2).await;
    commit(&store, session, 0, vec![range(key(1, 0), 0, 0, 10)]).await;
    let (topics, ranges) = (store.list_topics().await.expect("read"), store.ranges_from(key(1, 0), 0, 9).await);
    store.close().await;
    let log = path.with_extension("db-wal");
    assert!(!log.exists() || log.metadata().expect("log").len() == 0, "a clean close leaves no log");

    let other_id = SqliteOptions { new_cluster_id: uuid::Uuid::from_u128(8) };
    let store = SqliteStore::open(&path, other_id).await.expect("opens");
    let cluster = store.cluster().await.expect("read");
    assert_eq!((cluster.cluster_id, cluster.empty), (uuid::Uuid::from_u128(7), false));
    assert_eq!(store.list_topics().await.expect("read"), topics);
    assert_eq!(store.ranges_from(key(1, 0), 0, 9).await.expect("read"), ranges.expect("read"));
    let stale = store.commit_segments(session, &[segment(session, 1, vec![range(key(1, 0), 0, 10, 11)])]).await;
    assert!(matches!(stale, Err(StoreError::Fenced)), "its process is gone: {stale:?}");
    let session = open_session(&store, "another agent id").await;
    assert_eq!(acquire(&store, session, &[key(1, 0)]).await[0].next_offset, 10);
    assert_eq!(commit(&store, session, 0, vec![range(key(1, 0), 1, 10, 11)]).await, [RangeOutcome::Accepted]);
    store.close().await;
}

#[tokio::test]
async fn a_closed_store_answers_not_committed() {
    let folder = folder();
    let store = open(&folder.path().join("metadata.db")).await.expect("opens");
    let session = leased(&store, 1).await;
    store.close().await;
    let refused = store.commit_segments(session, &[segment(session, 0, Vec::new())]).await;
    assert!(matches!(refused, Err(StoreError::NotCommitted(_))), "{refused:?}");
    assert!(matches!(store.renew_session(session, LaneReport::default()).await, Err(StoreError::NotCommitted(_))));
    assert!(matches!(store.list_topics().await, Err(StoreError::NotCommitted(_))));
}

/// Under steady load no checkpoint of the log alone is ever complete; it must start over all the same, or it grows for ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_starts_over_while_commits_go_on() {
    let folder = folder();
    let path = folder.path().join("metadata.db");
    let store = open(&path).await.expect("opens");
    let session = leased(&store, 100).await;
    // "Checkpoint sequence number" of the file's header: how often it was written from its start.
    let started_over = || {
        let log = std::fs::File::open(path.with_extension("db-wal")).expect("log");
        let mut number = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(&log, &mut number, 12).expect("header");
        u32::from_be_bytes(number)
    };
    let (before, began) = (started_over(), tokio::time::Instant::now());
    for lane in 0.. {
        let ranges = (0..100).map(|partition| range(key(1, partition), 0, lane, lane + 1)).collect();
        commit(&store, session, lane, ranges).await;
        if started_over() != before {
            break;
        }
        assert!(began.elapsed().as_secs() < 60, "{lane} commits");
    }
    store.close().await;
}

/// The files as a crash would leave them: whatever was acknowledged is in them, and nothing needs the shared memory.
#[tokio::test]
async fn what_was_answered_survives_a_crash() {
    let folder = folder();
    let path = folder.path().join("metadata.db");
    let store = open(&path).await.expect("opens");
    let session = leased(&store, 8).await;
    for lane in 0..200 {
        let ranges = (0..8).map(|partition| range(key(1, partition), 0, lane, lane + 1)).collect();
        assert_eq!(commit(&store, session, lane, ranges).await, [RangeOutcome::Accepted; 8]);
    }
    let crashed = folder.path().join("crashed.db");
    std::fs::copy(&path, &crashed).expect("copy");
    std::fs::copy(folder.path().join("metadata.db-wal"), folder.path().join("crashed.db-wal")).expect("copy");
    drop(store);

    let store = open(&crashed).await.expect("recovers");
    for partition in 0..8 {
        let ranges = store.ranges_from(key(1, partition), 0, 1_000).await.expect("read");
        assert_eq!(ranges.len(), 200);
        assert!(ranges.iter().zip(0..).all(|(range, base)| range.base_offset == base));
    }
    assert!(store.close_session(session).await.is_ok());
    store.close().await;
}

/// Drops a call that takes longer. The runtime's timers count milliseconds, and a commit takes less than one.
async fn give_up_after<T>(patience: Duration, call: impl Future<Output = T>) -> Option<T> {
    let began = tokio::time::Instant::now();
    let waiting = async {
        while began.elapsed() < patience {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        outcome = call => Some(outcome),
        () = waiting => None,
    }
}

/// A commit whose caller is gone is done or not done, and never leaves a transaction open behind it.
#[tokio::test]
async fn cancelled_callers_lose_nothing_and_leave_no_transaction() {
    let folder = folder();
    let path = folder.path().join("metadata.db");
    let store = Arc::new(open(&path).await.expect("opens"));
    let session = leased(&*store, 1).await;
    let mut rng = SmallRng::seed_from_u64(42);
    let (mut next, mut cancelled) = (0, 0);
    for lane in 0..150 {
        let segments = [segment(session, lane, vec![range(key(1, 0), 0, next, next + 1)])];
        let patience = Duration::from_micros(rng.random_range(0..1_500));
        let outcome = give_up_after(patience, store.commit_segments(session, &segments)).await;
        if rng.random_bool(0.3) {
            let _ = give_up_after(patience / 4, store.renew_session(session, LaneReport::default())).await;
        }
        let happened = match outcome {
            Some(outcome) => outcome.expect("commits").segments == [[RangeOutcome::Accepted]],
            None => {
                cancelled += 1;
                let resolved = store.resolve_commit(session, &[reference(session, lane)]).await.expect("resolves");
                matches!(resolved[..], [metadata::Resolution::Committed(_)])
            }
        };
        next += i64::from(happened);
    }
    assert!(cancelled > 0 && next > 0, "{cancelled} cancelled, {next} committed");
    // Through the write-ahead log and back: nothing that was answered sat in an open transaction.
    store.close().await;
    let store = open(&path).await.expect("opens");
    let ranges = store.ranges_from(key(1, 0), 0, 1_000).await.expect("read");
    assert_eq!(i64::try_from(ranges.len()), Ok(next));
    let session = open_session(&store, "agent-1").await;
    assert_eq!(acquire(&store, session, &[key(1, 0)]).await[0].next_offset, next);
    store.close().await;
}

#[tokio::test]
async fn concurrent_callers_are_all_served() {
    let folder = folder();
    let store: Arc<dyn MetadataStore> = Arc::new(open(&folder.path().join("metadata.db")).await.expect("opens"));
    let session = leased(&*store, 16).await;
    let lanes = (0..16).map(|partition| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for step in 0..20 {
                let lane = step * 16 + i64::from(partition);
                let outcome = commit(&*store, session, lane, vec![range(key(1, partition), 0, step, step + 1)]).await;
                assert_eq!(outcome, [RangeOutcome::Accepted]);
                let seen = store.ranges_from(key(1, partition), step, 1).await.expect("read");
                assert_eq!(seen.len(), 1, "a read sees every commit that returned before it");
                store.renew_session(session, LaneReport::default()).await.expect("renewed");
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.expect("no panic");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("metadata.db");
    let bytes = b"This is not the database you are looking for. ".repeat(200);
    std::fs::write(&path, &bytes).expect("written");
    let refused = open(&path).await.expect_err("refused");
    assert!(matches!(refused, OpenError::NotMetadata { .. }), "{refused}");
    assert_eq!(std::fs::read(&path).expect("read"), bytes);
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("metadata.db");
    let mut other =
        SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.expect("creates");
    sqlx::query("CREATE TABLE theirs (x)").execute(&mut other).await.expect("creates");
    other.close().await.expect("closes");
    let bytes = std::fs::read(&path).expect("read");
    let refused = open(&path).await.expect_err("refused");
    assert!(matches!(refused, OpenError::NotMetadata { .. }), "{refused}");
    assert_eq!(std::fs::read(&path).expect("read"), bytes);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = folder();
    let path = folder.path().join("metadata.db");
    open(&path).await.expect("opens").close().await;
    let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.expect("connects");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (99, 'from the future', 1, x'00', 0)";
    sqlx::query(newer).execute(&mut connection).await.expect("inserts");
    connection.close().await.expect("closes");
    let refused = open(&path).await.expect_err("refused");
    assert!(matches!(refused, OpenError::Newer { found: 99, known: 6, .. }), "{refused}");
    assert!(refused.to_string().contains("use a newer agent"));
}

#[tokio::test]
async fn a_database_of_schema_3_is_brought_up_to_date_and_its_empty_segments_are_retired() {
    let folder = folder();
    let path = folder.path().join("metadata.db");
    let store = open(&path).await.expect("opens");
    let session = leased(&store, 1).await;
    commit(&store, session, 0, vec![range(key(1, 0), 0, 0, 10)]).await;
    commit(&store, session, 1, vec![range(key(1, 0), 0, 7, 10)]).await;
    store.claim_objects(session, &[found(session, 2)]).await.expect("claimed");
    store.close().await;
    let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.expect("connects");
    for undo in [
        "DROP TABLE coordinator_rows",
        "ALTER TABLE partitions DROP COLUMN coordinator_sequence",
        "ALTER TABLE partitions DROP COLUMN cleaned_offset",
        "CREATE TABLE old (session INTEGER NOT NULL, lane_sequence INTEGER NOT NULL, organization INTEGER NOT NULL,
                           object_key TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL CHECK (kind IN (0, 1)),
                           object_bytes INTEGER NOT NULL, created_at INTEGER NOT NULL,
                           PRIMARY KEY (session, lane_sequence, organization)) STRICT, WITHOUT ROWID",
        "INSERT INTO old SELECT session, lane_sequence, organization, object_key, kind > 0, object_bytes, created_at
           FROM segments",
        "DROP TABLE segments",
        "ALTER TABLE old RENAME TO segments",
        "DELETE FROM _sqlx_migrations WHERE version > 3",
    ] {
        sqlx::query(undo).execute(&mut connection).await.expect("as schema 3 left it");
    }
    connection.close().await.expect("closes");

    let store = open(&path).await.expect("opens and migrates");
    let next = open_session(&store, "agent-1").await;
    let garbage = store.claim_unreferenced(next, 0, 10).await.expect("read");
    assert_eq!(garbage, [found(session, 1), found(session, 2)], "the empty one, then the tombstone");
    assert_eq!(store.claim_objects(next, &[found(session, 0)]).await.expect("claimed"), [Claim::Referenced]);
    assert_eq!(acquire(&store, next, &[key(1, 0)]).await[0].next_offset, 10);
    assert_eq!(store.coordinator_sequence(next, key(1, 0), 1).await.expect("read"), Some(0));
    store.close().await;
}

#[tokio::test]
async fn a_database_of_schema_2_is_brought_up_to_date() {
    let folder = folder();
    let path = folder.path().join("metadata.db");
    let store = open(&path).await.expect("opens");
    let session = leased(&store, 1).await;
    commit(&store, session, 0, vec![range(key(1, 0), 0, 0, 10)]).await;
    store.close().await;
    let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.expect("connects");
    for undo in [
        "DROP TABLE coordinator_rows",
        "ALTER TABLE partitions DROP COLUMN coordinator_sequence",
        "ALTER TABLE partitions DROP COLUMN cleaned_offset",
        "ALTER TABLE session_renewals DROP COLUMN stuck",
        "ALTER TABLE session_renewals DROP COLUMN proofs",
        "DELETE FROM _sqlx_migrations WHERE version > 2",
    ] {
        sqlx::query(undo).execute(&mut connection).await.expect("as schema 2 left it");
    }
    connection.close().await.expect("closes");

    let store = open(&path).await.expect("opens and migrates");
    let session = open_session(&store, "agent-1").await;
    let lane = LaneReport { stuck: true, proofs: 7 };
    store.renew_session(session, lane).await.expect("renewed");
    assert_eq!(store.list_agents().await.expect("list")[0].lane, lane);
    assert_eq!(acquire(&store, session, &[key(1, 0)]).await[0].next_offset, 10);
    store.close().await;
}
