//! What only a shared database can get wrong: transactions that meet, connections that end, several agents at once.
//!
//! A transaction that is to be met half-way is held open on a connection of the test's own. The stores get to the database
//! by the way that the module says which these tests are part of.

mod coordinators;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metadata::{
    Claim, CommitOutcome, LaneReport, LogChangeOutcome, LogChanges, LogStartMove, PostgresOpenError, PostgresOptions,
    PostgresStore, RangeOutcome, Resolution, Segments, Sessions, StoreError, Topics,
    conformance::fixture::{
        acquire, commit, create, found, key, leased, object_key, open as open_session, range, reference, segment,
        topic_id, unreferenced,
    },
};
use segment::{OrganizationId, SessionId};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::WAY;
use crate::postgres_server::{self, Way, by};

/// Long enough for a statement that does not wait, short for one that does.
const SOON: Duration = Duration::from_millis(300);

/// A store, its database's URL (of the server itself), and a connection beside it.
async fn rig() -> (Arc<PostgresStore>, String, PgConnection) {
    let url = postgres_server::database().await;
    let store = Arc::new(postgres_server::open(&by(WAY, &url)).await);
    let connection = url.parse::<PgConnectOptions>().expect("URL").connect().await.expect("connects");
    (store, url, connection)
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.expect("runs");
}

fn committing(store: &Arc<PostgresStore>, session: SessionId) -> JoinHandle<Result<CommitOutcome, StoreError>> {
    let store = Arc::clone(store);
    tokio::spawn(async move {
        store.commit_segments(session, &[segment(session, 0, vec![range(key(1, 0), 0, 0, 1)])]).await
    })
}

async fn assert_waits<T>(task: &mut JoinHandle<T>) {
    assert!(timeout(SOON, task).await.is_err(), "it should wait for the transaction that is held open");
}

#[tokio::test]
async fn a_fence_waits_for_a_commit_in_flight() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    let peer = open_session(&*store, "agent-2").await;
    run(&mut beside, &format!("BEGIN; SELECT 1 FROM sessions WHERE session = {} FOR SHARE", session.0)).await;
    let fencing = Arc::clone(&store);
    let mut fence = tokio::spawn(async move { fencing.fence_session(peer, session, 0).await });
    assert_waits(&mut fence).await;
    run(&mut beside, "COMMIT").await;
    assert!(fence.await.expect("ends").expect("fenced"));
}

/// An address that leads to the database, until `stopped`: from then on a COMMIT of the client, and all that would follow it,
/// is kept back, as when the client is stopped right before it.
async fn relay(database: String, stopped: Arc<AtomicBool>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&database).await.expect("connects");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            let stopped = Arc::clone(&stopped);
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
                    if stopped.load(Ordering::SeqCst) && bytes[..read].windows(6).any(|word| word == b"COMMIT") {
                        std::future::pending::<()>().await;
                    }
                    to_server.write_all(&bytes[..read]).await.expect("forwarded");
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_agent_that_stops_inside_a_commit_holds_up_its_fence_for_two_seconds_at_most() {
    let (store, url, _) = rig().await;
    let session = leased(&*store, 1).await;
    let peer = open_session(&*store, "agent-2").await;
    let stopped = Arc::new(AtomicBool::new(false));
    let (user, rest) = url.split_once('@').expect("a user");
    let (database, name) = rest.split_once('/').expect("a path");
    let address = relay(database.to_owned(), Arc::clone(&stopped)).await;
    let relayed = postgres_server::open(&format!("{user}@{address}/{name}")).await;
    stopped.store(true, Ordering::SeqCst);
    // Two segments that wait together are one transaction of two statements.
    let both =
        [segment(session, 0, vec![range(key(1, 0), 0, 0, 1)]), segment(session, 1, vec![range(key(1, 0), 0, 1, 2)])];
    let committing = tokio::spawn(async move { relayed.commit_segments(session, &both).await });
    tokio::time::sleep(SOON).await;
    assert!(!committing.is_finished(), "its COMMIT was kept back");
    let fenced = timeout(Duration::from_secs(4), store.fence_session(peer, session, 0)).await;
    assert!(fenced.expect("not held up for longer").expect("fenced"));
}

#[tokio::test]
async fn a_commit_that_waited_for_a_fence_is_refused() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    let fence = "BEGIN; SELECT 1 FROM sessions WHERE session = $ FOR UPDATE;
                 UPDATE sessions SET active = FALSE WHERE session = $";
    run(&mut beside, &fence.replace('$', &session.0.to_string())).await;
    let mut commit = committing(&store, session);
    assert_waits(&mut commit).await;
    run(&mut beside, "COMMIT").await;
    assert!(matches!(commit.await.expect("ends"), Err(StoreError::Fenced)));
    assert!(store.ranges_from(key(1, 0), 0, 9).await.expect("read").is_empty());
    assert!(store.last_segments().await.expect("read").is_empty(), "not even its slot was taken");
}

#[tokio::test]
async fn a_renewal_that_waited_for_a_fence_is_refused_and_one_beside_a_commit_does_not_wait() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    run(&mut beside, &format!("BEGIN; SELECT 1 FROM sessions WHERE session = {} FOR SHARE", session.0)).await;
    timeout(SOON, store.renew_session(session, LaneReport::default()))
        .await
        .expect("beside a commit")
        .expect("renewed");
    run(&mut beside, "COMMIT").await;
    let fence = format!("BEGIN; UPDATE sessions SET active = FALSE WHERE session = {}", session.0);
    run(&mut beside, &fence).await;
    let renewing = Arc::clone(&store);
    let mut renewal = tokio::spawn(async move { renewing.renew_session(session, LaneReport::default()).await });
    assert_waits(&mut renewal).await;
    run(&mut beside, "COMMIT").await;
    assert!(matches!(renewal.await.expect("ends"), Err(StoreError::Fenced)));
}

#[tokio::test]
async fn a_commit_that_waited_for_an_acquisition_is_rejected() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    run(&mut beside, "BEGIN; UPDATE partitions SET session = 99, leader_epoch = leader_epoch + 1").await;
    let mut commit = committing(&store, session);
    assert_waits(&mut commit).await;
    run(&mut beside, "COMMIT").await;
    let outcome = commit.await.expect("ends").expect("commits");
    assert_eq!(outcome.segments, [[RangeOutcome::NotLeader]]);
    assert!(store.ranges_from(key(1, 0), 0, 9).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_commit_that_waited_for_another_of_the_same_partition_is_rejected() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    run(&mut beside, "BEGIN; UPDATE partitions SET next_offset = 5").await;
    let mut commit = committing(&store, session);
    assert_waits(&mut commit).await;
    run(&mut beside, "COMMIT").await;
    assert_eq!(commit.await.expect("ends").expect("commits").segments, [[RangeOutcome::OffsetMismatch]]);
}

#[tokio::test]
async fn a_commit_that_waited_for_a_deletion_is_rejected() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    run(&mut beside, "BEGIN; UPDATE partitions SET deleted = TRUE, session = NULL").await;
    let mut commit = committing(&store, session);
    assert_waits(&mut commit).await;
    run(&mut beside, "COMMIT").await;
    assert_eq!(commit.await.expect("ends").expect("commits").segments, [[RangeOutcome::TopicDeleted]]);
}

/// Puts a row of this kind where the session's first segment would be, and leaves it uncommitted.
async fn hold_slot(beside: &mut PgConnection, session: SessionId, kind: i16) {
    let key = object_key(session, 0);
    let insert = format!("BEGIN; INSERT INTO segments VALUES ({}, 0, 1, '{key}', {kind}, 0, 0)", session.0);
    run(beside, &insert).await;
}

#[tokio::test]
async fn a_commit_waits_for_a_tombstone_and_then_does_nothing() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    hold_slot(&mut beside, session, 0).await;
    let mut commit = committing(&store, session);
    assert_waits(&mut commit).await;
    run(&mut beside, "COMMIT").await;
    assert_eq!(commit.await.expect("ends").expect("answers").segments, [[RangeOutcome::SlotTaken]]);
    assert!(store.ranges_from(key(1, 0), 0, 9).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_commit_whose_tombstone_was_rolled_back_goes_on() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    hold_slot(&mut beside, session, 0).await;
    let mut commit = committing(&store, session);
    assert_waits(&mut commit).await;
    run(&mut beside, "ROLLBACK").await;
    assert_eq!(commit.await.expect("ends").expect("commits").segments, [[RangeOutcome::Accepted]]);
}

#[tokio::test]
async fn a_resolution_waits_for_a_commit_that_is_still_under_way() {
    for (end, expected) in [("COMMIT", Resolution::Committed(Vec::new())), ("ROLLBACK", Resolution::Failed)] {
        let (store, _, mut beside) = rig().await;
        let session = leased(&*store, 1).await;
        hold_slot(&mut beside, session, 1).await;
        let resolving = Arc::clone(&store);
        let mut resolution =
            tokio::spawn(async move { resolving.resolve_commit(session, &[reference(session, 0)]).await });
        assert_waits(&mut resolution).await;
        run(&mut beside, end).await;
        assert_eq!(resolution.await.expect("ends").expect("resolved"), [expected]);
    }
}

#[tokio::test]
async fn another_agents_changes_are_heard_of() {
    if WAY == Way::Pooled {
        return; // LISTEN needs a session: pgbouncer.rs
    }
    let (first, url, _) = rig().await;
    let second = postgres_server::open(&by(WAY, &url)).await;
    let version = second.changes_since(0).await.expect("read").version;
    // The listener connects in the background; until it does, changes are found by asking.
    let heard = async {
        for topic in 1.. {
            create(&*first, topic, &format!("t{topic}"), 1).await;
            if timeout(SOON, second.change_hint(version)).await.is_ok() {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), heard).await.expect("a hint within 20 s");
    assert!(!second.changes_since(version).await.expect("read").topics.is_empty());
}

#[tokio::test]
async fn agents_that_start_together_migrate_once_and_agree_on_the_cluster() {
    let url = postgres_server::database().await;
    let stores = futures::future::join_all((0..6).map(|number| {
        let url = by(WAY, &url);
        async move {
            let options = PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(number), session_url: None };
            PostgresStore::open(&url, options).await.expect("opens")
        }
    }));
    let mut ids = Vec::new();
    for store in stores.await {
        ids.push(store.cluster().await.expect("read").cluster_id);
        store.close().await;
    }
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
}

#[tokio::test]
async fn two_agents_that_acquire_at_once_share_out_without_an_overlap() {
    let (store, url, _) = rig().await;
    create(&*store, 1, "t", 200).await;
    let other = postgres_server::open(&by(WAY, &url)).await;
    let (a, b) = (open_session(&*store, "a").await, open_session(&other, "b").await);
    let keys: Vec<_> = (0..200).map(|partition| key(1, partition)).collect();
    let reversed: Vec<_> = keys.iter().rev().copied().collect();
    let (mine, theirs) = tokio::join!(acquire(&*store, a, &keys), acquire(&other, b, &reversed));
    assert_eq!(mine.len() + theirs.len(), 200);
    assert!(mine.iter().chain(&theirs).all(|row| row.leader_epoch == 0), "each was acquired once");
}

#[tokio::test]
async fn terminated_connections_heal_by_themselves() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    for round in 0..5 {
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                          WHERE application_name = 'streamhouse' AND datname = current_database()";
        run(&mut beside, terminate).await;
        // Idle connections are found dead before they are used; should one be used all the same, nothing is lost.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let outcome = commit(&*store, session, round, vec![range(key(1, 0), 0, round, round + 1)]).await;
        assert_eq!(outcome, [RangeOutcome::Accepted], "round {round}");
        store.renew_session(session, LaneReport::default()).await.expect("renewed");
        assert_eq!(store.list_topics().await.expect("read").len(), 1);
        create(&*store, 10 + u32::try_from(round).expect("small"), &format!("t{round}"), 1).await;
        store
            .delete_topic(OrganizationId::DEFAULT, topic_id(10 + u32::try_from(round).expect("small")))
            .await
            .expect("deleted");
    }
    assert_eq!(store.ranges_from(key(1, 0), 0, 9).await.expect("read").len(), 5);
}

#[tokio::test]
async fn a_database_that_would_not_sync_commits_is_overruled() {
    let url = postgres_server::database().await;
    let connect = url.parse::<PgConnectOptions>().expect("URL");
    let mut beside = connect.connect().await.expect("connects");
    let name = url.rsplit_once('/').expect("a path").1;
    run(&mut beside, &format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    let store = postgres_server::open(&by(WAY, &url)).await;
    let session = leased(&store, 1).await;
    // The commit's own connection writes down what it was told.
    let witness = "
        CREATE TABLE witness (setting TEXT);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO witness VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
        CREATE TRIGGER note AFTER INSERT ON segments FOR EACH STATEMENT EXECUTE FUNCTION note()";
    run(&mut beside, witness).await;
    commit(&store, session, 0, vec![range(key(1, 0), 0, 0, 1)]).await;
    let noted: Vec<String> =
        sqlx::query_scalar("SELECT setting FROM witness").fetch_all(&mut beside).await.expect("read");
    assert_eq!(noted, ["on"]);
}

#[tokio::test]
async fn what_cannot_be_opened_is_one_line_without_the_password() {
    let options = || PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(7), session_url: None };
    let refused =
        PostgresStore::open("postgres://u:secret@127.0.0.1:1/d", options()).await.expect_err("nobody listens");
    assert!(matches!(refused, PostgresOpenError::Connect { .. }));
    let line = refused.to_string();
    assert!(line.contains("127.0.0.1:1/d") && !line.contains("secret") && !line.contains('\n'), "{line}");

    let url = postgres_server::database().await;
    postgres_server::open(&by(WAY, &url)).await.close().await;
    let mut beside = url.parse::<PgConnectOptions>().expect("URL").connect().await.expect("connects");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (99, 'from the future', TRUE, '', 0)";
    run(&mut beside, newer).await;
    let refused = PostgresStore::open(&by(WAY, &url), options()).await.expect_err("refused");
    assert!(matches!(refused, PostgresOpenError::Newer { found: 99, known: 5, .. }), "{refused}");
}

#[tokio::test]
async fn a_database_of_schema_1_is_brought_up_to_date_with_its_sessions() {
    let url = postgres_server::database().await;
    let store = postgres_server::open(&by(WAY, &url)).await;
    let session = leased(&store, 1).await;
    commit(&store, session, 0, vec![range(key(1, 0), 0, 0, 1)]).await;
    commit(&store, session, 1, vec![range(key(1, 0), 0, 7, 8)]).await;
    store.close().await;
    let mut beside = url.parse::<PgConnectOptions>().expect("URL").connect().await.expect("connects");
    run(&mut beside, "ALTER TABLE session_renewals DROP COLUMN stuck, DROP COLUMN proofs").await;
    run(&mut beside, "DROP TABLE coordinator_rows; ALTER TABLE partitions DROP COLUMN coordinator_sequence").await;
    run(&mut beside, "ALTER TABLE partitions DROP COLUMN cleaned_offset").await;
    run(&mut beside, "DROP INDEX segments_unreferenced; UPDATE segments SET kind = 1 WHERE kind = 2").await;
    let undo = "ALTER TABLE segments DROP CONSTRAINT segments_kind_check,
                                     ADD CONSTRAINT segments_kind_check CHECK (kind IN (0, 1)), ADD UNIQUE (object_key)";
    run(&mut beside, undo).await;
    run(&mut beside, "DELETE FROM _sqlx_migrations WHERE version > 1").await;

    let store = postgres_server::open(&by(WAY, &url)).await;
    assert_eq!(store.list_agents().await.expect("list")[0].lane, LaneReport::default());
    let lane = LaneReport { stuck: true, proofs: 7 };
    store.renew_session(session, lane).await.expect("the session lives on");
    assert_eq!(store.list_agents().await.expect("list")[0].lane, lane);
    assert_eq!(unreferenced(&store, session).await, [found(session, 1)], "the empty segment was retired");
    store.close().await;
}

/// Each of two transactions that take the last two ranges of a segment sees the other's still there.
#[tokio::test]
async fn of_two_that_take_the_last_ranges_of_a_segment_one_retires_it() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 2).await;
    let both = [0, 1].map(|partition| {
        let mut row = range(key(1, partition), 0, 0, 10);
        row.snapshot = Some("state".into());
        row
    });
    commit(&*store, session, 0, both.to_vec()).await;
    let first = "BEGIN; DELETE FROM ranges WHERE partition = 1; SELECT 1 FROM segments WHERE kind = 1 FOR UPDATE";
    run(&mut beside, first).await;
    let moving = Arc::clone(&store);
    let mut moved = tokio::spawn(async move {
        let to = LogStartMove { key: key(1, 0), leader_epoch: 0, log_start_offset: 10, snapshot: None };
        moving.move_log_starts(session, &[to], 10).await
    });
    assert_waits(&mut moved).await;
    run(&mut beside, "COMMIT").await;
    assert_eq!(moved.await.expect("ends").expect("moved"), [LogChangeOutcome::Done { more: false }]);
    assert_eq!(unreferenced(&*store, session).await, [found(session, 0)]);
}

#[tokio::test]
async fn a_segment_that_was_rejected_and_not_retired_is_found_by_a_listing() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    commit(&*store, session, 0, vec![range(key(1, 0), 0, 7, 8)]).await;
    run(&mut beside, "UPDATE segments SET kind = 1").await;
    assert!(unreferenced(&*store, session).await.is_empty());
    let claims = store.claim_objects(session, &[found(session, 0)]).await.expect("claimed");
    assert_eq!(claims, [Claim::Retired]);
    assert_eq!(unreferenced(&*store, session).await, [found(session, 0)]);
}
