//! A seeded bug that only PostgreSQL can have, and the test that sees it: a transaction runs in its caller, who hangs up after
//! BEGIN, and the connection goes to the next one. Its commit is accepted, inside a transaction that nobody ends.

use std::sync::Arc;
use std::time::Duration;

use metadata::conformance::fixture::{commit, key, leased, range, segment};
use metadata::{PostgresStore, RangeOutcome, SeededBug, Segments};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};

use crate::postgres_server;

/// Commits with somebody who hangs up in the middle of a transaction, then with somebody who waits; whether what the second was
/// told is true.
async fn what_was_accepted_is_there(url: &str, store: PostgresStore) -> bool {
    let (store, witness) = (Arc::new(store), postgres_server::open(url).await);
    let session = leased(&*store, 2).await;
    let mut beside = url.parse::<PgConnectOptions>().expect("URL").connect().await.expect("connects");
    let hold = "BEGIN; SELECT 1 FROM partitions WHERE partition = 0 FOR UPDATE";
    sqlx::raw_sql(hold).execute(&mut beside).await.expect("held");
    let both = [0, 1].map(|number| segment(session, number, vec![range(key(1, 0), 0, number, number + 1)]));
    let caller = Arc::clone(&store);
    let caller = tokio::spawn(async move { caller.commit_segments(session, &both).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    caller.abort();
    sqlx::raw_sql("COMMIT").execute(&mut beside).await.expect("let go");
    assert_eq!(commit(&*store, session, 2, vec![range(key(1, 1), 0, 0, 1)]).await, [RangeOutcome::Accepted]);
    !witness.ranges_from(key(1, 1), 0, 9).await.expect("read").is_empty()
}

#[tokio::test]
async fn a_pooled_connection_after_a_cancelled_begin_is_seen() {
    let url = postgres_server::database().await;
    let store = postgres_server::open(&url).await;
    assert!(Box::pin(what_was_accepted_is_there(&url, store)).await, "without the bug");
    let url = postgres_server::database().await;
    let store = postgres_server::open(&url).await.with_seeded_bug(SeededBug::CancelledBegin);
    assert!(!Box::pin(what_was_accepted_is_there(&url, store)).await, "the bug was not seen");
}
