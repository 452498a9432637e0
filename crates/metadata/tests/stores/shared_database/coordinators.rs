//! Writes of coordinators that meet other transactions.

use std::sync::Arc;

use metadata::{
    CoordinatorChange, CoordinatorKey,
    CoordinatorOutcome::{self, NotLeader, SequenceMismatch, Written},
    CoordinatorWrite, Coordinators, PostgresStore, Sessions, StoreError,
    conformance::fixture::{key, leased, open as open_session},
};
use segment::SessionId;
use tokio::task::JoinHandle;

use super::{WAY, assert_waits, rig, run};
use crate::postgres_server::{self, by};

fn write(partition: i32, sequence: i64) -> CoordinatorWrite {
    let row = CoordinatorKey { owner: "group".to_owned(), kind: 1, item: "item".into() };
    let changes = vec![CoordinatorChange { key: row, value: Some("value".into()) }];
    CoordinatorWrite { partition: key(1, partition), leader_epoch: 0, sequence, changes }
}

fn writing(store: &Arc<PostgresStore>, session: SessionId) -> JoinHandle<Result<Vec<CoordinatorOutcome>, StoreError>> {
    let store = Arc::clone(store);
    tokio::spawn(async move { store.write_coordinators(session, &[write(0, 0)]).await })
}

async fn count(store: &PostgresStore) -> usize {
    store.coordinator_rows(key(1, 0), None, 10).await.expect("read").len()
}

#[tokio::test]
async fn a_write_that_waited_for_a_fence_is_refused() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    let fence = format!("BEGIN; UPDATE sessions SET active = FALSE WHERE session = {}", session.0);
    run(&mut beside, &fence).await;
    let mut written = writing(&store, session);
    assert_waits(&mut written).await;
    run(&mut beside, "COMMIT").await;
    assert!(matches!(written.await.expect("ends"), Err(StoreError::Fenced)));
    assert_eq!(count(&store).await, 0);
}

#[tokio::test]
async fn a_write_that_waited_finds_what_it_waited_for() {
    for (change, expected) in [
        ("session = 99, leader_epoch = leader_epoch + 1", NotLeader),
        ("deleted = TRUE, session = NULL", NotLeader),
        ("coordinator_sequence = 1", SequenceMismatch),
        ("next_offset = 7", Written),
    ] {
        let (store, _, mut beside) = rig().await;
        let session = leased(&*store, 1).await;
        run(&mut beside, &format!("BEGIN; UPDATE partitions SET {change}")).await;
        let mut written = writing(&store, session);
        assert_waits(&mut written).await;
        run(&mut beside, "COMMIT").await;
        assert_eq!(written.await.expect("ends").expect("answered"), [expected], "{change}");
        assert_eq!(count(&store).await, usize::from(expected == Written), "{change}");
    }
}

#[tokio::test]
async fn a_fence_and_a_hand_over_wait_for_a_write_in_flight() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 2).await;
    let peer = open_session(&*store, "agent-2").await;
    // The write holds its locks while it waits for a row that another transaction has.
    assert_eq!(store.write_coordinators(session, &[write(0, 0)]).await.expect("answered"), [Written]);
    run(&mut beside, "BEGIN; SELECT 1 FROM coordinator_rows FOR UPDATE").await;
    let writes = [write(0, 1)];
    let (at_it, giving, fencing) = (Arc::clone(&store), Arc::clone(&store), Arc::clone(&store));
    let mut written = tokio::spawn(async move { at_it.write_coordinators(session, &writes).await });
    assert_waits(&mut written).await;
    let mut given = tokio::spawn(async move { giving.hand_over_leases(session, peer, &[key(1, 0)]).await });
    assert_waits(&mut given).await;
    let mut fenced = tokio::spawn(async move { fencing.fence_session(peer, session, 0).await });
    assert_waits(&mut fenced).await;
    run(&mut beside, "COMMIT").await;
    assert_eq!(written.await.expect("ends").expect("answered"), [Written]);
    assert_eq!(given.await.expect("ends").expect("given").len(), 1);
    assert!(fenced.await.expect("ends").expect("fenced"));
    assert_eq!(store.coordinator_sequence(peer, key(1, 0), 1).await.expect("read"), Some(2));
}

#[tokio::test]
async fn writes_that_name_partitions_in_any_order_do_not_wait_for_each_other_for_ever() {
    let (store, url, _) = rig().await;
    let session = leased(&*store, 40).await;
    let other = postgres_server::open(&by(WAY, &url)).await;
    let peer = open_session(&other, "agent-2").await;
    for sequence in 0..20 {
        let writes: Vec<_> = (0..40).map(|partition| write(partition, sequence)).collect();
        let reversed: Vec<_> = writes.iter().rev().cloned().collect();
        let (mine, theirs) =
            tokio::join!(store.write_coordinators(session, &writes), other.write_coordinators(peer, &reversed));
        assert_eq!(mine.expect("answered"), [Written; 40]);
        assert_eq!(theirs.expect("answered"), [NotLeader; 40]);
    }
}

#[tokio::test]
async fn a_write_whose_connection_ended_is_settled_by_the_sequence() {
    let (store, _, mut beside) = rig().await;
    let session = leased(&*store, 1).await;
    run(&mut beside, "BEGIN; UPDATE partitions SET next_offset = 7").await;
    let mut written = writing(&store, session);
    assert_waits(&mut written).await;
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE datname = current_database() AND wait_event_type = 'Lock'";
    run(&mut beside, terminate).await;
    let unclear = written.await.expect("ends");
    assert!(matches!(unclear, Err(StoreError::Unknown(_) | StoreError::NotCommitted(_))), "{unclear:?}");
    run(&mut beside, "COMMIT").await;
    assert_eq!(store.coordinator_sequence(session, key(1, 0), 0).await.expect("read"), Some(0));
    assert_eq!(writing(&store, session).await.expect("ends").expect("answered"), [Written]);
    assert_eq!(store.coordinator_sequence(session, key(1, 0), 0).await.expect("read"), Some(1));
}
