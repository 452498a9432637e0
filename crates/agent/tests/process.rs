//! The agent as a process: what it prints, what it refuses, how it ends.
#![expect(clippy::unwrap_used, reason = "what these tests call around the agent must work")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use metadata::conformance::fixture::registration;
use metadata::{PostgresOptions, PostgresStore, Sessions as _};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

/// The built binary in `folder`, with none of this process's settings.
fn agent(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
    command.current_dir(folder).env_clear().kill_on_drop(true).stdin(Stdio::null());
    command
}

/// On free loopback ports.
fn local_agent(folder: &Path) -> Command {
    let mut command = agent(folder);
    command.env("KAFKA_ADDRESS", "127.0.0.1:0").env("AGENT_ADDRESS", "127.0.0.1:0").env("METRICS_PORT", "0");
    command
}

async fn output(mut command: Command) -> Output {
    timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

/// What a refusal must look like: this exit code, one line on stderr, nothing on stdout.
fn assert_refused(output: &Output, code: i32, contains: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(contains), "{stderr}");
    assert!(output.stdout.is_empty());
}

/// A process that has said "ready".
struct Ready {
    child: Child,
    lines: Vec<String>,
}

impl Ready {
    async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = Vec::new();
        loop {
            let line = timeout(PATIENCE, stdout.next_line()).await.unwrap().unwrap().expect("the agent did not start");
            let ready = line.starts_with("ready");
            lines.push(line);
            if ready {
                return Self { child, lines };
            }
        }
    }

    /// The second word of the line that begins with `what`.
    fn said(&self, what: &str) -> &str {
        let mut words = self.lines.iter().map(|line| line.split_whitespace());
        words.find_map(|mut words| (words.next() == Some(what)).then(|| words.next()).flatten()).unwrap()
    }

    fn address(&self, what: &str) -> SocketAddr {
        self.said(what).parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    async fn ended(mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    try_get(address, path).await.unwrap()
}

async fn try_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap()?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

/// Asks `/ready` until it says this; it may be away in between.
async fn until_ready_says(address: SocketAddr, status: u16, contains: &str) {
    let asking = async {
        while !try_get(address, "/ready").await.is_ok_and(|(found, body)| found == status && body.contains(contains)) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap();
}

/// Hardly anybody else takes it before the agent does.
async fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port().to_string()
}

#[tokio::test]
async fn help_and_version_are_answers_not_errors() {
    let folder = tempfile::tempdir().unwrap();
    for (flag, contains) in [("--help", "METADATA_STORE"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let mut command = agent(folder.path());
        command.arg(flag);
        let output = output(command).await;
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(contains));
    }
}

#[tokio::test]
async fn a_bad_value_is_one_line_and_code_2_and_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let table = [
        ("FLUSH_BYTES", "many"),
        ("METADATA_STORE", "postgres://h/d"),
        ("KAFKA_ADDRESS", "nowhere"),
        ("STREAMHOUSE_STORE", "ftp://bucket"),
        ("METRICS_PORT", "-1"),
        ("RUST_LOG", "agent=loud"),
    ];
    for (variable, value) in table {
        let mut command = agent(folder.path());
        command.env(variable, value);
        assert_refused(&output(command).await, 2, variable);
    }
    let mut command = agent(folder.path());
    command.arg("--no-such-flag");
    assert_refused(&output(command).await, 2, "--no-such-flag");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_taken_port_is_one_line_and_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    for variable in ["KAFKA_ADDRESS", "AGENT_ADDRESS"] {
        let mut command = local_agent(folder.path());
        command.env(variable, address.to_string());
        assert_refused(&output(command).await, 1, "in use");
    }
    let mut command = local_agent(folder.path());
    command.env("METRICS_PORT", address.port().to_string());
    if cfg!(feature = "metrics") {
        assert_refused(&output(command).await, 1, "METRICS_PORT");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_that_is_a_file_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"").unwrap();
    let mut command = local_agent(folder.path());
    command.env("STREAMHOUSE_STORE", format!("file://{}/file/store", folder.path().display()));
    assert_refused(&output(command).await, 1, "cannot be written");
    let mut command = local_agent(folder.path());
    command.env("METADATA_STORE", folder.path().join("file/metadata.db"));
    assert_refused(&output(command).await, 1, "metadata");
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn http_says_what_is_asked_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Ready::start(local_agent(folder.path())).await;
    let http = agent.address("http");
    assert_eq!(get(http, "/health").await, (200, "OK".to_owned()));
    assert_eq!(get(http, "/ready").await, (200, "READY".to_owned()));
    let (status, text) = get(http, "/metrics").await;
    assert_eq!(status, 200);
    // Whoever is connected shows; nothing may be there that names it.
    let _kafka = TcpStream::connect(agent.address("kafka")).await.unwrap();
    assert!(!text.contains("127.0.0.1"), "{text}");
    assert_eq!(get(http, "/").await.0, 404);
    assert_eq!(get(http, "/metrics/x").await.0, 404);
    agent.signal(Signal::TERM);
    assert!(agent.ended().await.success());
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn a_running_agent_reports_its_costs() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = local_agent(folder.path());
    command.env("COST_PRICES", "s3-express,put=3");
    let running = Ready::start(command).await;
    let url = format!("http://{}", running.address("http"));
    let report = |url: &str| {
        let mut command = agent(folder.path());
        command.args(["cost-report", "--url", url]);
        output(command)
    };
    let reported = report(&url).await;
    let text = String::from_utf8(reported.stdout).unwrap();
    assert!(reported.status.success(), "{text}");
    let marked = text.lines().find(|line| line.contains("marker") && line.contains("put")).unwrap();
    assert!(marked.ends_with("0.003000"), "{marked}");
    assert!(text.contains("put 3 ") && text.contains("kept a month 0.11"), "{text}");
    running.signal(Signal::TERM);
    assert!(running.ended().await.success());
    assert_refused(&report(&url).await, 1, "does not answer");
}

#[tokio::test]
async fn more_connections_than_the_usual_limit_of_files_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let shell = local_agent(folder.path());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 200 && exec \"$0\"", env!("CARGO_BIN_EXE_agent")]);
    command.current_dir(folder.path()).env_clear().envs(shell.as_std().get_envs().map(|(k, v)| (k, v.unwrap())));
    let agent = Ready::start(command).await;
    let mut connections = Vec::new();
    for _ in 0..400 {
        connections.push(TcpStream::connect(agent.address("kafka")).await.unwrap());
    }
    // Accepted, and not only waiting for it: ApiVersions 0, correlation id 7.
    let mut last = connections.pop().unwrap();
    last.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0, 0]).await.unwrap();
    let mut answer = [0; 8];
    timeout(PATIENCE, last.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer[4..], [0, 0, 0, 7]);
    agent.signal(Signal::TERM);
    assert!(agent.ended().await.success());
}

#[tokio::test]
async fn a_second_agent_on_the_same_metadata_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = Ready::start(local_agent(folder.path())).await;
    assert_refused(&output(local_agent(folder.path())).await, 1, "in use by another agent");
    TcpStream::connect(first.address("kafka")).await.unwrap();
    first.signal(Signal::TERM);
    assert!(first.ended().await.success());
}

#[tokio::test]
async fn either_signal_drains_and_exits_0_and_a_restart_finds_its_data() {
    let folder = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let agent = Ready::start(local_agent(folder.path())).await;
        assert!(agent.said("objects").starts_with("file:///"));
        assert!(folder.path().join("data/metadata.db").exists());
        agent.signal(signal);
        assert!(agent.ended().await.success());
    }
}

#[tokio::test]
async fn a_kill_leaves_nothing_that_stops_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Ready::start(local_agent(folder.path())).await;
    agent.signal(Signal::KILL);
    assert!(!agent.ended().await.success());
    let agent = Ready::start(local_agent(folder.path())).await;
    agent.signal(Signal::TERM);
    assert!(agent.ended().await.success());
}

#[tokio::test]
async fn an_empty_database_on_a_store_with_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Ready::start(local_agent(folder.path())).await;
    agent.signal(Signal::TERM);
    assert!(agent.ended().await.success());
    let mut command = local_agent(folder.path());
    command.env("METADATA_STORE", "elsewhere.db");
    assert_refused(&output(command).await, 1, "refusing to start");
}

/// A database server that ends when this does, and its URL.
async fn postgres() -> (String, ChildStdin) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/throw-away-postgres.sh");
    let mut server = Command::new(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let url = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    (url.expect("no server: scripts/setup.sh installs what it needs"), server.stdin.take().unwrap())
}

/// Fences the only agent there is, as a peer does that takes it for dead.
async fn fence(database: &str) {
    let options = PostgresOptions { new_cluster_id: uuid::Uuid::nil(), session_url: None };
    let store = PostgresStore::open(database, options).await.unwrap();
    let peer = store.open_session(&registration("peer")).await.unwrap().session;
    loop {
        let agents = store.list_agents().await.unwrap();
        let agent = agents.iter().find(|agent| agent.session != peer).unwrap();
        if store.fence_session(peer, agent.session, agent.renewals).await.unwrap() {
            break;
        }
    }
    store.close_session(peer).await.unwrap();
    store.close().await;
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn a_fenced_agent_whose_store_refuses_it_tries_until_it_can_start_over() {
    let folder = tempfile::tempdir().unwrap();
    let (store, aside) = (folder.path().join("store"), folder.path().join("aside"));
    let (database, _server) = postgres().await;
    let mut command = local_agent(folder.path());
    command.env("METADATA_STORE", &database).env("STREAMHOUSE_STORE", format!("file://{}", store.display()));
    command.env("AGENT_ID", "a").env("LEASE_DURATION", "3").env("METRICS_PORT", free_port().await);
    let agent = Ready::start(command).await;
    let http = agent.address("http");
    std::fs::rename(&store, &aside).unwrap();
    std::fs::write(&store, b"").unwrap();
    fence(&database).await;
    until_ready_says(http, 503, "starting over: object store").await;
    assert_eq!(get(http, "/health").await.0, 200);
    std::fs::remove_file(&store).unwrap();
    std::fs::rename(&aside, &store).unwrap();
    until_ready_says(http, 200, "READY").await;
    agent.signal(Signal::TERM);
    assert!(agent.ended().await.success());
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn an_agent_that_waits_for_its_database_to_start_over_ends_when_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"").unwrap();
    let mut command = local_agent(folder.path());
    let port = free_port().await;
    command.env("METADATA_STORE", folder.path().join("file/metadata.db")).env("METRICS_PORT", &port);
    let mut child = command.env("STARTED_OVER", "3").stdout(Stdio::null()).spawn().unwrap();
    let http = format!("127.0.0.1:{port}").parse().unwrap();
    until_ready_says(http, 503, "starting over: ").await;
    kill_process(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap(), Signal::TERM).unwrap();
    assert!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().success());
}
