//! `sslmode` and its certificates, as libpq means them, against a server with an authority of its own.
//!
//! The server's certificate is for the name `localhost`; `127.0.0.1` is the same server under a name it has no certificate
//! for. Who may connect how goes by the user's name: scripts/throw-away-postgres.sh.

use std::path::Path;
use std::sync::OnceLock;

use metadata::{PostgresOptions, PostgresStore, Topics};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use tempfile::TempDir;

use crate::postgres_server::{Server, database};

/// The server and its certificates.
fn server() -> &'static (Server, TempDir) {
    static SERVER: OnceLock<(Server, TempDir)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("temporary folder");
        let name = folder.path().to_str().expect("UTF-8");
        (Server::start("throw-away-postgres.sh", &["--tls", name]), folder)
    })
}

fn certificates() -> &'static Path {
    server().1.path()
}

/// Whether a store opens there as this user, and whether its connections are encrypted; `Err` is the refusal.
async fn opens(user: &str, host: &str, parameters: &str) -> Result<bool, String> {
    let (server, _) = server();
    let administrator: PgConnectOptions = server.url.parse().expect("URL");
    let mut beside = administrator.connect().await.expect("connects");
    if user != "postgres" {
        // Tests run beside each other: whoever comes second finds the user there.
        let create = format!(
            "DO $$ BEGIN CREATE ROLE {user} SUPERUSER LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut beside).await.expect("a user");
    }
    let port = server.url.rsplit_once(':').expect("a port").1;
    let folder = certificates().display();
    let parameters = parameters.replace("DIR", &folder.to_string());
    let url = format!("postgres://{user}@{host}:{port}?{parameters}");
    let options = PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(7), session_url: None };
    let store = PostgresStore::open(&url, options).await.map_err(|error| error.to_string())?;
    store.list_topics().await.expect("reads");
    let encrypted = "SELECT bool_and(s.ssl) FROM pg_stat_ssl AS s JOIN pg_stat_activity AS a USING (pid)
                      WHERE a.application_name = 'streamhouse' AND a.usename = $1 AND a.query LIKE '%FROM topics%'";
    let encrypted = sqlx::query_scalar(encrypted).bind(user.to_owned()).fetch_one(&mut beside).await.expect("counted");
    store.close().await;
    Ok(encrypted)
}

async fn refused(user: &str, host: &str, parameters: &str) -> String {
    let line = opens(user, host, parameters).await.expect_err(parameters);
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[tokio::test]
async fn verify_full_takes_the_right_name_and_no_other() {
    assert_eq!(opens("postgres", "localhost", "sslmode=verify-full&sslrootcert=DIR/ca.crt").await, Ok(true));
    let line = refused("postgres", "127.0.0.1", "sslmode=verify-full&sslrootcert=DIR/ca.crt").await;
    assert!(line.contains("not valid for name"), "{line}");
    refused("postgres", "localhost", "sslmode=verify-full&sslrootcert=DIR/other-ca.crt").await;
    refused("postgres", "localhost", "sslmode=verify-full").await;
}

#[tokio::test]
async fn verify_ca_takes_any_name_that_the_authority_signed() {
    assert_eq!(opens("postgres", "127.0.0.1", "sslmode=verify-ca&sslrootcert=DIR/ca.crt").await, Ok(true));
    let line = refused("postgres", "127.0.0.1", "sslmode=verify-ca&sslrootcert=DIR/other-ca.crt").await;
    assert!(line.contains("certificate"), "{line}");
}

#[tokio::test]
async fn require_encrypts_and_checks_the_root_that_it_is_given() {
    assert_eq!(opens("encrypted", "127.0.0.1", "sslmode=require").await, Ok(true));
    assert_eq!(opens("encrypted", "127.0.0.1", "sslmode=require&sslrootcert=DIR/ca.crt").await, Ok(true));
    refused("encrypted", "127.0.0.1", "sslmode=require&sslrootcert=DIR/other-ca.crt").await;
    refused("plain", "127.0.0.1", "sslmode=require").await;
}

#[tokio::test]
async fn require_refuses_a_server_without_tls() {
    let plain = database().await;
    let options = || PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(7), session_url: None };
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused = PostgresStore::open(&format!("{plain}?sslmode={mode}"), options()).await.expect_err(mode);
        assert!(refused.to_string().contains("does not support TLS"), "{refused}");
    }
    for mode in ["disable", "allow", "prefer"] {
        PostgresStore::open(&format!("{plain}?sslmode={mode}"), options()).await.expect(mode).close().await;
    }
}

#[tokio::test]
async fn disable_never_encrypts_and_prefer_and_allow_take_what_the_server_wants() {
    assert_eq!(opens("plain", "localhost", "sslmode=disable").await, Ok(false));
    let line = refused("encrypted", "localhost", "sslmode=disable").await;
    assert!(line.contains("no encryption"), "{line}");
    for mode in ["allow", "prefer"] {
        assert_eq!(opens("encrypted", "localhost", &format!("sslmode={mode}")).await, Ok(true), "{mode}");
        assert_eq!(opens("plain", "localhost", &format!("sslmode={mode}")).await, Ok(false), "{mode}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_the_server_asks_for_one() {
    let shown = "sslmode=verify-full&sslrootcert=DIR/ca.crt&sslcert=DIR/client.crt&sslkey=DIR/client.key";
    assert_eq!(opens("certified", "localhost", shown).await, Ok(true));
    let line = refused("certified", "localhost", "sslmode=verify-full&sslrootcert=DIR/ca.crt").await;
    assert!(line.contains("certificate"), "{line}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("postgres://u:secret@{}/d", silent.local_addr().expect("bound"));
    let options = PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(7), session_url: None };
    let opening = tokio::time::timeout(std::time::Duration::from_secs(20), PostgresStore::open(&url, options)).await;
    let line = opening.expect("given up").expect_err("refused").to_string();
    assert!(line.contains("no answer in time") && !line.contains("secret"), "{line}");
}
