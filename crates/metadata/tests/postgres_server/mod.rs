//! A throw-away PostgreSQL server, one for all tests of a binary; each store gets a database of its own.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use metadata::{PostgresOptions, PostgresStore};
use sqlx::{AssertSqlSafe, ConnectOptions, postgres::PgConnectOptions};

struct Server {
    url: String,
    /// The server ends when its standard input does, which is when this process does.
    _process: Child,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/throw-away-postgres.sh");
        let mut process = Command::new(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/throw-away-postgres.sh runs");
        let mut url = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        output.read_line(&mut url).expect("its first line");
        assert!(url.starts_with("postgres://"), "no PostgreSQL for tests: scripts/setup.sh installs it");
        Server { url: url.trim().to_owned(), _process: process }
    })
}

/// A URL of a new, empty database.
pub(crate) async fn database() -> String {
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let url = &server().url;
    let mut connection = url.parse::<PgConnectOptions>().expect("URL").connect().await.expect("connects");
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&mut connection).await.expect("a new database");
    let (server, _) = url.rsplit_once('/').expect("a path");
    format!("{server}/{name}")
}

/// A store on a new database.
pub(crate) async fn store() -> PostgresStore {
    open(&database().await).await
}

/// A store on this database.
pub(crate) async fn open(url: &str) -> PostgresStore {
    let options = PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(7) };
    PostgresStore::open(url, options).await.expect("opens")
}
