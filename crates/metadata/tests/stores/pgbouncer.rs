//! What only a shared database can get wrong, through PgBouncer in transaction mode; and what only a pooler can.

#[expect(clippy::duplicate_mod, reason = "the same tests by another way")]
#[path = "shared_database/mod.rs"]
mod shared_database;

use metadata::{
    LaneReport, PostgresOpenError, PostgresOptions, PostgresStore, RangeOutcome, Segments, Sessions, Topics,
    conformance::fixture::{commit, create, key, leased, range},
};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tokio::time::{Duration, timeout};

use crate::postgres_server::{Way, database, open, pooled, pooled_with};

/// How the stores of these tests get to the database.
const WAY: Way = Way::Pooled;

async fn connect(url: &str) -> PgConnection {
    url.parse::<PgConnectOptions>().expect("URL").connect().await.expect("connects")
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.expect("runs");
}

fn options(session_url: Option<String>) -> PostgresOptions {
    PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(7), session_url }
}

/// Every statement of every transaction: a trigger writes down what it was told.
#[tokio::test]
async fn what_the_acks_rest_on_is_set_in_every_transaction_and_left_in_no_session() {
    let url = database().await;
    let mut beside = connect(&url).await;
    let name = url.rsplit_once('/').expect("a path").1;
    run(&mut beside, &format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    run(&mut beside, &format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")).await;
    let pooled = pooled(&url);
    let store = open(&pooled).await;
    let session = leased(&store, 1).await;
    let witness = "
        CREATE TABLE witness (setting TEXT);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO witness VALUES (
            concat_ws(' ', current_setting('synchronous_commit'), current_setting('statement_timeout'),
                      current_setting('idle_in_transaction_session_timeout'), current_setting('transaction_isolation')));
            RETURN NULL; END $$;
        CREATE TRIGGER note AFTER INSERT ON segments FOR EACH STATEMENT EXECUTE FUNCTION note();
        CREATE TRIGGER note AFTER UPDATE ON session_renewals FOR EACH STATEMENT EXECUTE FUNCTION note();
        CREATE TRIGGER note AFTER INSERT ON topics FOR EACH STATEMENT EXECUTE FUNCTION note()";
    run(&mut beside, witness).await;
    for lane in 0..4 {
        commit(&store, session, lane, vec![range(key(1, 0), 0, lane, lane + 1)]).await;
        store.renew_session(session, LaneReport::default()).await.expect("renewed");
    }
    create(&store, 2, "another", 1).await;
    let noted: Vec<String> =
        sqlx::query_scalar("SELECT setting FROM witness").fetch_all(&mut beside).await.expect("read");
    assert_eq!(noted, vec!["on 30s 2s read committed"; 9]);
    // Whoever gets the connections next finds them as the database's owner wants them.
    let through: PgConnectOptions = pooled.parse().expect("URL");
    let mut other = through.extra_float_digits(None).connect().await.expect("connects");
    let row = sqlx::raw_sql("SHOW synchronous_commit").fetch_one(&mut other).await.expect("answers");
    assert_eq!(sqlx::Row::get::<String, _>(&row, 0), "off");
}

/// With parameters that PgBouncer drops instead of refusing them, nothing in its answers says that it is there.
#[tokio::test]
async fn a_pooler_that_drops_parameters_is_found_out_too() {
    let url = database().await;
    let pooled = pooled_with(&url, &["ignore_startup_parameters=extra_float_digits,options", "default_pool_size=2"]);
    let stores = [open(&pooled).await, open(&pooled).await];
    let session = leased(&stores[0], 1).await;
    for lane in 0..6 {
        let outcome = commit(&stores[0], session, lane, vec![range(key(1, 0), 0, lane, lane + 1)]).await;
        assert_eq!(outcome, [RangeOutcome::Accepted]);
        stores[1].ranges_from(key(1, 0), 0, 9).await.expect("read");
        stores[1].list_topics().await.expect("read");
    }
    // Nothing stays prepared in the sessions that all share.
    let through: PgConnectOptions = pooled.parse().expect("URL");
    for _ in 0..4 {
        let mut other = through.clone().connect().await.expect("connects");
        let row =
            sqlx::raw_sql("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''").fetch_one(&mut other).await;
        assert_eq!(sqlx::Row::get::<i64, _>(&row.expect("answers"), 0), 0);
    }
}

#[tokio::test]
async fn hints_come_by_the_connection_that_owns_its_session() {
    let url = database().await;
    let first = open(&pooled(&url)).await;
    let second = PostgresStore::open(&pooled(&url), options(Some(url))).await.expect("opens");
    let version = second.changes_since(0).await.expect("read").version;
    let heard = async {
        for topic in 1.. {
            create(&first, topic, &format!("t{topic}"), 1).await;
            if timeout(Duration::from_millis(300), second.change_hint(version)).await.is_ok() {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), heard).await.expect("a hint within 20 s");
    // Without it there are none: what changed is found by asking.
    let polling = timeout(Duration::from_millis(300), first.change_hint(0)).await;
    assert!(polling.is_err() && first.changes_since(0).await.expect("read").version > version);
}

#[tokio::test]
async fn a_session_store_that_is_a_pooler_or_another_database_is_refused() {
    let (url, other) = (database().await, database().await);
    open(&url).await.close().await;
    let refused = PostgresStore::open(&pooled(&url), options(Some(pooled(&url)))).await.expect_err("a pooler");
    assert!(matches!(refused, PostgresOpenError::SessionIsPooled { .. }), "{refused}");
    let of_another = PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(8), session_url: None };
    PostgresStore::open(&other, of_another).await.expect("opens").close().await;
    let refused = PostgresStore::open(&pooled(&url), options(Some(other))).await.expect_err("another");
    assert!(matches!(refused, PostgresOpenError::OtherDatabase { .. }), "{refused}");
    assert!(refused.to_string().starts_with("METADATA_SESSION_STORE"), "{refused}");
}

#[tokio::test]
async fn options_that_a_pooler_would_drop_are_refused() {
    let url = pooled(&database().await);
    let refused = PostgresStore::open(&format!("{url}?options=-c%20search_path%3Dmine"), options(None)).await;
    let line = refused.expect_err("refused").to_string();
    assert!(line.contains("options=") && line.contains("pooler") && !line.contains('\n'), "{line}");
}
