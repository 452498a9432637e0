//! A throw-away PostgreSQL server, one for all tests, and PgBouncer before it; each store gets a database of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use metadata::{PostgresOptions, PostgresStore};
use sqlx::{AssertSqlSafe, ConnectOptions, postgres::PgConnectOptions};

/// How a store gets to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server itself.
    Direct,
    /// Through PgBouncer in transaction mode, whose few connections all tests share.
    Pooled,
}

/// A server that a script of `scripts/` runs.
pub(crate) struct Server {
    pub(crate) url: String,
    /// The server ends when its standard input does, which is when this process does.
    _process: Child,
}

impl Server {
    pub(crate) fn start(script: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(format!("{}/../../scripts/{script}", env!("CARGO_MANIFEST_DIR")))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script runs");
        let mut url = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        output.read_line(&mut url).expect("its first line");
        assert!(url.starts_with("postgres://"), "{script} gave no server: scripts/setup.sh installs what it needs");
        Self { url: url.trim().to_owned(), _process: process }
    }
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("throw-away-postgres.sh", &[]))
}

/// A URL of a new, empty database.
pub(crate) async fn database() -> String {
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let url = &server().url;
    let mut connection = url.parse::<PgConnectOptions>().expect("URL").connect().await.expect("connects");
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&mut connection).await.expect("a new database");
    at(url, &name)
}

/// The same database, through PgBouncer.
pub(crate) fn pooled(url: &str) -> String {
    static POOLER: OnceLock<Server> = OnceLock::new();
    // What it keeps of databases that nobody uses any more would be more than the server has connections.
    let settings = [server().url.as_str(), "server_idle_timeout=1"];
    let pooler = POOLER.get_or_init(|| Server::start("throw-away-pgbouncer.sh", &settings));
    at(&pooler.url, database_of(url))
}

/// The same database, through a PgBouncer with these settings, which stays.
pub(crate) fn pooled_with(url: &str, settings: &[&str]) -> String {
    let arguments: Vec<&str> = std::iter::once(url).chain(settings.iter().copied()).collect();
    let pooler: &Server = Box::leak(Box::new(Server::start("throw-away-pgbouncer.sh", &arguments)));
    at(&pooler.url, database_of(url))
}

/// The way to this database.
pub(crate) fn by(way: Way, url: &str) -> String {
    match way {
        Way::Direct => url.to_owned(),
        Way::Pooled => pooled(url),
    }
}

fn database_of(url: &str) -> &str {
    url.rsplit_once('/').expect("a path").1
}

fn at(url: &str, database: &str) -> String {
    format!("{}/{database}", url.rsplit_once('/').expect("a path").0)
}

/// A store on a new database.
pub(crate) async fn store(way: Way) -> PostgresStore {
    open(&by(way, &database().await)).await
}

/// A store on this database.
pub(crate) async fn open(url: &str) -> PostgresStore {
    let options = PostgresOptions { new_cluster_id: uuid::Uuid::from_u128(7), session_url: None };
    PostgresStore::open(url, options).await.expect("opens")
}
