//! The settings of the agent: the one place that reads the environment and the command line.
//!
//! [`Arguments`] is what was said (every variable of DESIGN.md section 9 and its flag; those of the object store are in
//! `store_settings.rs`), [`Settings`] what it means:
//! parsed once, checked whole before anything is opened, then handed on as typed arguments. A bad value is one line
//! and exit code 2. The help text of a setting states its trade-off, and its price where it has one.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use broker::costs::PriceTable;
use broker::{BrokerSettings, CacheSettings, StopPoint, TimeSource};
use clap::{Parser, Subcommand};

use crate::cost_report::CostReport;
use crate::group_settings::GroupArguments;
pub(crate) use crate::store_settings::{S3Settings, StoreSettings};
use crate::store_settings::{StoreArguments, store};

/// Exit code for a bad value.
pub(crate) const EXIT_BAD_SETTING: u8 = 2;
/// What a process finds in its environment that replaced its image: see [`Settings::started_over`].
pub(crate) const STARTED_OVER: &str = "STARTED_OVER";
/// When a second copy of an upload to a remote store begins: well above the 99th percentile of a healthy one.
const UPLOAD_HEDGE: Duration = Duration::from_secs(1);

/// What was said, in words.
#[derive(Debug, Parser)]
#[command(
    name = "agent",
    version,
    about = "StreamHouse agent: Kafka and gRPC in front, every record in object storage.",
    long_about = "StreamHouse agent: Kafka and gRPC in front, every record in object storage.\n\nWith nothing set it \
                  listens for Kafka on 9092, gRPC on 9090 and HTTP on 8080, and keeps metadata (SQLite) and objects \
                  under ./data. Each setting is a flag or the environment variable shown with it; the flag wins.",
    hide_possible_values = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where metadata is: a SQLite file (a path or `sqlite://path`), or `postgres://user:password@host/database` for agents
    /// that share their partitions. One agent per file; a second one is refused. Every ack waits for a commit to it, so
    /// it should be near, on a disk that syncs.
    #[arg(long, env, hide_env_values = true, default_value = "./data/metadata.db")]
    metadata_store: String,

    /// The database itself, where METADATA_STORE leads to a connection pooler in transaction mode (PgBouncer): for migrations,
    /// and for hearing of changes at once (LISTEN) instead of asking three times a second.
    #[arg(long, env, hide_env_values = true)]
    metadata_session_store: Option<String>,

    #[command(flatten)]
    store: StoreArguments,

    /// Folder of the read cache, for stores behind HTTP (s3, gs, az): what this agent wrote or read lately, so that it is not
    /// fetched again. It may be lost at any time. Each agent needs its own; a local store has none.
    #[arg(long, env, hide_env_values = true, default_value = "./data/cache")]
    streamhouse_cache: PathBuf,

    /// Most bytes of the read cache on disk (`10GiB` works too); 0: no cache. What consumers read again from farther back than it
    /// reaches is fetched from the store again, a GET for 0.5 to 4 MiB: on S3 $0.10 to $0.84 per TiB read.
    #[arg(long, env, hide_env_values = true, default_value = "1GiB", value_parser = bytes)]
    cache_bytes: usize,

    /// Name of this agent, unique among live agents; keep it over restarts, so that the new process takes over from the
    /// old one at once [default: host name]
    #[arg(long, env, hide_env_values = true)]
    agent_id: Option<String>,

    /// gRPC listen address. HTTP listens on the same host.
    #[arg(long, env, hide_env_values = true, default_value = "0.0.0.0:9090")]
    agent_address: String,

    /// gRPC address given to others [default: AGENT_ADDRESS; a wildcard becomes the host name]
    #[arg(long, env, hide_env_values = true)]
    agent_advertised_address: Option<String>,

    /// Kafka listen address.
    #[arg(long, env, hide_env_values = true, default_value = "0.0.0.0:9092")]
    kafka_address: String,

    /// Kafka address given to clients; they connect to it, not to the address they were started with [default:
    /// KAFKA_ADDRESS; a wildcard becomes the address the client connected to]
    #[arg(long, env, hide_env_values = true)]
    kafka_advertised_address: Option<String>,

    /// HTTP port: /health, /ready, /metrics.
    #[arg(long, env, hide_env_values = true, default_value = "8080")]
    metrics_port: u16,

    /// Whether anything is counted. `false` leaves /metrics empty, for those who want to know what counting costs.
    #[arg(long, env, hide_env_values = true, default_value = "true", action = clap::ArgAction::Set)]
    metrics: bool,

    /// Zone of this agent (Kafka's rack). Consumers that name the same zone read here, so bytes cross zones once.
    #[arg(long, env, hide_env_values = true, default_value = "default")]
    agent_zone: String,

    /// Group of agents that share partitions.
    #[arg(long, env, hide_env_values = true, default_value = "default")]
    agent_group: String,

    /// Topics this agent leases: names with commas between, where a trailing `*` stands for any ending; empty: all.
    #[arg(long, env, hide_env_values = true, default_value = "")]
    managed_topics: String,

    /// How often the agent's registry entry (address, zone, load) is refreshed, in seconds. It never decides liveness;
    /// less is more metadata writes.
    #[arg(long, env, hide_env_values = true, default_value = "20", value_parser = seconds)]
    heartbeat_interval: Duration,

    /// Session time-out in seconds, renewed every third of it. Less is a faster take-over from an agent that hangs, and
    /// more renewals.
    #[arg(long, env, hide_env_values = true, default_value = "30", value_parser = seconds)]
    lease_duration: Duration,

    /// How often one agent of the cluster looks for objects that were uploaded and never committed, in seconds. Each look lists the
    /// whole store: on S3 about $0.005 per million objects.
    #[arg(long, env, hide_env_values = true, default_value = "3600", value_parser = seconds)]
    garbage_interval: Duration,

    /// How old such an object must be before it is deleted, in seconds. A courtesy to uploads under way: a shorter one costs
    /// producers a retry, never a record.
    #[arg(long, env, hide_env_values = true, default_value = "900", value_parser = seconds)]
    garbage_grace: Duration,

    /// How long after the last record of an object is gone (by retention, with its topic, into a rewritten object) the object is
    /// deleted, in seconds; never longer than GARBAGE_GRACE. Kafka's file.delete.delay.ms: readers may be about to read it.
    #[arg(long, env, hide_env_values = true, default_value = "60", value_parser = seconds)]
    file_delete_delay: Duration,

    /// How often records are looked for that were kept as long as their topic's retention.ms and retention.bytes say, in
    /// seconds (Kafka's log.retention.check.interval.ms is 300 s). Objects are deleted later, as garbage.
    #[arg(long, env, hide_env_values = true, default_value = "60", value_parser = seconds)]
    retention_interval: Duration,

    /// When a partition has so many bytes in small ranges, they are rewritten in the background into an object of its own, of
    /// up to 256 MiB. More is fewer, larger objects, and more to read back after a while; slow partitions share objects.
    #[arg(long, env, hide_env_values = true, default_value = "64MiB", value_parser = bytes)]
    rewrite_bytes: usize,

    /// How old records are at least when they are rewritten, in seconds.
    #[arg(long, env, hide_env_values = true, default_value = "10", value_parser = seconds)]
    rewrite_age: Duration,

    /// How fast records are rewritten, in bytes a second; each counts twice, as it is read and written. On S3 a rewrite costs
    /// one request per range read and per 8 MiB written. 0: never; then readers of old records pay for it.
    #[arg(long, env, hide_env_values = true, default_value = "256MiB", value_parser = bytes)]
    rewrite_bytes_per_second: usize,

    /// How often logs are looked at that are to be compacted (Kafka's log.cleaner.backoff.ms), in seconds. Compaction goes as fast
    /// as REWRITE_BYTES_PER_SECOND allows, and not at all where that is 0; a look costs no request of the object store.
    #[arg(long, env, hide_env_values = true, default_value = "15", value_parser = seconds)]
    compaction_interval: Duration,

    /// How long a flush waits for more, in ms: latency against object writes. 0: as soon as the write before it is
    /// durable. On S3 100 ms is at most 26 M PUTs a month per agent, about $130; 250 ms about $52 [default: 0 for
    /// file and memory, else 100]
    #[arg(long, env, hide_env_values = true)]
    flush_interval_ms: Option<u64>,

    /// A flush starts when this much waits, in bytes (`8MiB` works too). More is fewer, larger objects, and more memory
    /// per upload. With a flush interval of 0, each upload under way doubles it for the next, up to eight times [default: 1 MiB
    /// for file and memory, else 8 MiB]
    #[arg(long, env, hide_env_values = true, value_parser = bytes)]
    flush_bytes: Option<usize>,

    /// Objects that may be uploaded at the same time. More is more throughput on a slow store; each holds up to
    /// FLUSH_BYTES.
    #[arg(long, env, hide_env_values = true, default_value = "4")]
    uploads_in_flight: usize,

    /// Threads that serve clients, the store and the lane of flushes; disks and SQLite have others [default: for file and memory half as
    /// many as there are cores, rounded up, else as many]
    #[arg(long, env, hide_env_values = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    worker_threads: Option<u16>,

    /// Memory for produce requests, the tail that consumers read from, and frames together. At the bound the agent stops
    /// reading sockets until acks free some.
    #[arg(long, env, hide_env_values = true, default_value = "256MiB", value_parser = bytes)]
    memory_bytes: usize,

    /// Whether asking for an unknown topic creates it (Kafka's auto.create.topics.enable). `false` guards against typing
    /// errors.
    #[arg(long, env, hide_env_values = true, default_value = "true", action = clap::ArgAction::Set)]
    auto_create_topics: bool,

    /// Partitions of a topic that does not say (Kafka's num.partitions). Object writes do not grow with it.
    #[arg(long, env, hide_env_values = true, default_value = "1")]
    num_partitions: i32,

    #[command(flatten)]
    groups: GroupArguments,

    /// How long SIGTERM waits for requests in flight and the last flush, in seconds. Keep it below the supervisor's own
    /// limit (Kubernetes: 30).
    #[arg(long, env, hide_env_values = true, default_value = "25", value_parser = seconds)]
    shutdown_timeout: Duration,

    /// Push metrics to this OTLP gRPC receiver too, e.g. http://localhost:4317.
    #[arg(long, env, hide_env_values = true)]
    otel_exporter_otlp_endpoint: Option<String>,

    /// How often metrics are pushed, in ms.
    #[arg(long, env, hide_env_values = true, default_value = "60000")]
    otel_metric_export_interval: u64,

    /// What the store's requests and bytes cost in /metrics and in `agent cost-report`: `s3-standard`, `s3-express` or `free`, then
    /// prices of your own in dollars, as `s3-standard,put=0.0045,storage=0.021`: `put`, `get` and `list` for 1,000 requests,
    /// `write` and `read` for a GiB, `storage` for a GiB a month, `transfer` for a GiB between zones [default: `free` for
    /// file and memory, else `s3-standard`]
    #[arg(long, env, hide_env_values = true)]
    cost_prices: Option<String>,

    /// For crash tests: aborts the process when it passes `after-put` (object durable, not committed) or `after-commit`
    /// (committed, nobody answered) or `after-rewrite` (rewritten, rows not swapped) for the nth time, as `after-put:3`.
    #[arg(long, env, hide_env_values = true, value_parser = stop_point)]
    stop_at: Option<(StopPoint, usize)>,

    /// Set by the agent for itself when it starts over.
    #[arg(long, env = STARTED_OVER, hide = true, default_value = "0")]
    started_over: u32,

    /// Log filter: a level, or levels by module (`info,kafka_gateway=debug`). Logs go to stderr.
    #[arg(long, env, hide_env_values = true, default_value = "info")]
    rust_log: String,
}

/// What else the binary does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prints what a running agent's requests to the object store cost, from its metrics.
    CostReport(CostReport),
}

/// What the process was started for.
pub(crate) enum Invocation {
    /// To be an agent.
    Serve(Box<Settings>),
    /// To do this and end.
    Run(Command),
}

/// What it means.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where metadata is.
    pub(crate) metadata: MetadataSettings,
    /// Where objects are.
    pub(crate) store: StoreSettings,
    /// `WORKER_THREADS`.
    pub(crate) worker_threads: usize,
    /// Kafka listener.
    pub(crate) kafka: Listen,
    /// gRPC listener.
    pub(crate) grpc: Listen,
    /// HTTP listener.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "for the feature metrics"))]
    pub(crate) http: Listen,
    /// Given to Kafka clients, if it was said.
    pub(crate) kafka_advertised: Option<String>,
    /// Given to gRPC clients, if it was said.
    pub(crate) grpc_advertised: Option<String>,
    /// The host's name.
    pub(crate) host_name: String,
    /// All of the broker's but the addresses, which are known once the ports are bound.
    pub(crate) broker: BrokerSettings,
    /// Bound on the whole of a shutdown.
    pub(crate) shutdown_timeout: Duration,
    /// Receiver of pushed metrics.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "for the feature metrics"))]
    pub(crate) otlp_endpoint: Option<String>,
    /// How often they are pushed.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "for the feature metrics"))]
    pub(crate) otlp_interval: Duration,
    /// Whether anything is counted.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "for the feature metrics"))]
    pub(crate) metrics: bool,
    /// Prices of the object store.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "for the feature metrics"))]
    pub(crate) prices: PriceTable,
    /// How often in a row this process began anew after a fence; 0: it is a first start, which may fail.
    pub(crate) started_over: u32,
    /// Checked log filter.
    pub(crate) log_filter: String,
}

/// Where metadata is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum MetadataSettings {
    /// A SQLite file: this agent alone.
    Sqlite {
        /// The file; created at start.
        path: PathBuf,
    },
    /// A PostgreSQL database: any number of agents.
    Postgres {
        /// As given, password and all.
        url: String,
        /// The same database without a pooler before it, if that was said.
        session_url: Option<String>,
    },
}

impl std::fmt::Debug for MetadataSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.location())
    }
}

impl MetadataSettings {
    /// Whether no other agent can use it, nor then the object store.
    pub(crate) fn is_of_one_agent(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }

    /// Where it is, without secrets.
    pub(crate) fn location(&self) -> String {
        match self {
            Self::Sqlite { path } => {
                format!("sqlite {}", std::path::absolute(path).unwrap_or_else(|_| path.clone()).display())
            }
            // What stands before the host may hold a password, and so may the parameters.
            Self::Postgres { url, .. } => {
                let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
                format!("postgres {}", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
            }
        }
    }
}

/// Host and port to listen on; port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Listen {
    /// Whether it listens on every address of the machine.
    pub(crate) fn is_wildcard(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

/// A line for stderr, or a text that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `--help` or `--version`: exit code 0.
    Asked(String),
    /// What is wrong, on one line: exit code 2.
    Bad(String),
}

impl Invocation {
    /// Reads the process's command line and environment.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub(crate) fn from_process() -> Result<Self, Refusal> {
        let mut arguments = Arguments::try_parse().map_err(|error| refusal(&error))?;
        match arguments.command.take() {
            Some(command) => Ok(Self::Run(command)),
            None => Settings::new(arguments).map(|settings| Self::Serve(Box::new(settings))).map_err(Refusal::Bad),
        }
    }
}

impl Settings {
    #[cfg(test)]
    pub(crate) fn from_arguments(
        arguments: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
    ) -> Result<Self, Refusal> {
        let arguments = Arguments::try_parse_from(arguments).map_err(|error| refusal(&error))?;
        Self::new(arguments).map_err(Refusal::Bad)
    }

    fn new(said: Arguments) -> Result<Self, String> {
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let metadata = metadata(&said.metadata_store, said.metadata_session_store)?;
        let store = store(&said.store)?;
        let is_named = said.store.streamhouse_store.as_ref().is_some_and(|url| !url.is_empty());
        let is_shared = store.is_remote() || is_named;
        if matches!(metadata, MetadataSettings::Postgres { .. }) && !is_shared {
            return Err("METADATA_STORE: with PostgreSQL the objects must be where all agents reach them: set \
                        STREAMHOUSE_STORE (or STREAMHOUSE_BUCKET); a folder only if it says so itself"
                .to_owned());
        }
        let kafka = listen("KAFKA_ADDRESS", &said.kafka_address)?;
        let grpc = listen("AGENT_ADDRESS", &said.agent_address)?;
        let kafka_advertised = advertised("KAFKA_ADVERTISED_ADDRESS", said.kafka_advertised_address)?;
        let grpc_advertised = advertised("AGENT_ADVERTISED_ADDRESS", said.agent_advertised_address)?;
        let on_this_machine = !store.is_remote();
        let prices = prices(said.cost_prices.as_deref(), on_this_machine)?;
        let (interval_ms, bytes) = if on_this_machine { (0, 1 << 20) } else { (100, 8 << 20) };
        let cache = CacheSettings { folder: said.streamhouse_cache, bytes_max: said.cache_bytes as u64 };
        let broker = BrokerSettings {
            agent_id: said.agent_id.filter(|id| !id.is_empty()).unwrap_or_else(|| host_name.clone()),
            group: said.agent_group,
            zone: said.agent_zone,
            managed_topics: said.managed_topics,
            kafka_address: String::new(),
            grpc_address: String::new(),
            heartbeat_interval: said.heartbeat_interval,
            lease_duration: said.lease_duration,
            garbage_interval: said.garbage_interval,
            garbage_grace: said.garbage_grace,
            file_delete_delay: said.file_delete_delay,
            retention_interval: said.retention_interval,
            rewrite_bytes: said.rewrite_bytes as u64,
            rewrite_age: said.rewrite_age,
            rewrite_bytes_per_second: said.rewrite_bytes_per_second as u64,
            compaction_interval: said.compaction_interval,
            flush_interval: Duration::from_millis(said.flush_interval_ms.unwrap_or(interval_ms)),
            flush_bytes: said.flush_bytes.unwrap_or(bytes),
            memory_bytes: said.memory_bytes,
            cache: (!on_this_machine && cache.bytes_max > 0).then_some(cache),
            uploads_in_flight: said.uploads_in_flight,
            upload_hedge: (!on_this_machine).then_some(UPLOAD_HEDGE),
            auto_create_topics: said.auto_create_topics,
            default_partitions: said.num_partitions,
            groups: said.groups.settings()?,
            time_source: TimeSource::Boottime,
            stop_at: said.stop_at,
        };
        check_ranges(&broker, said.shutdown_timeout)?;
        let otlp_endpoint = otlp_endpoint(said.otel_exporter_otlp_endpoint)?;
        let otlp_interval = otlp_interval(said.otel_metric_export_interval)?;
        Ok(Self {
            metadata,
            store,
            worker_threads: said.worker_threads.map_or_else(|| worker_threads(on_this_machine), usize::from),
            kafka,
            http: Listen { host: grpc.host.clone(), port: said.metrics_port },
            grpc,
            kafka_advertised,
            grpc_advertised,
            host_name,
            broker,
            shutdown_timeout: said.shutdown_timeout,
            otlp_endpoint,
            otlp_interval,
            metrics: said.metrics,
            prices,
            started_over: said.started_over,
            log_filter: log_filter(said.rust_log)?,
        })
    }
}

fn log_filter(said: String) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(&said) {
        Ok(_) => Ok(said),
        Err(error) => Err(format!("RUST_LOG: {said:?} is not a log filter: {error}")),
    }
}

fn otlp_interval(said_ms: u64) -> Result<Duration, String> {
    match said_ms {
        0 => Err("OTEL_METRIC_EXPORT_INTERVAL must be at least 1 ms".to_owned()),
        said_ms => Ok(Duration::from_millis(said_ms)),
    }
}

/// What requests cost: nothing where nobody bills them, unless prices were said.
fn prices(said: Option<&str>, on_this_machine: bool) -> Result<PriceTable, String> {
    let usual = if on_this_machine { "free" } else { "s3-standard" };
    let prices = said.filter(|said| !said.is_empty()).unwrap_or(usual);
    PriceTable::parse(prices).map_err(|error| format!("COST_PRICES: {error}"))
}

/// Turns clap's report of several lines into one.
fn refusal(error: &clap::Error) -> Refusal {
    use clap::error::ErrorKind;
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Refusal::Asked(text);
    }
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let words: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    let line = words.join(" ");
    Refusal::Bad(line.strip_prefix("error: ").unwrap_or(&line).to_owned())
}

/// Where every flush is written by threads of this process, they need as much of the processors as the workers; and workers that
/// wait for each other's tasks cost more than they do ([ADR 0026](../../../docs/adr/0026-half-as-many-workers-as-cores.md)).
fn worker_threads(on_this_machine: bool) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if on_this_machine { cores.div_ceil(2) } else { cores }
}

fn check_ranges(broker: &BrokerSettings, shutdown_timeout: Duration) -> Result<(), String> {
    let within = |name: &str, ok: bool, rule: &str| if ok { Ok(()) } else { Err(format!("{name} must be {rule}")) };
    let id = &broker.agent_id;
    let id_is_clean = id.len() <= 255 && !id.chars().any(|c| c.is_whitespace() || c.is_control());
    within("AGENT_ID", id_is_clean, "at most 255 bytes without blanks")?;
    within("HEARTBEAT_INTERVAL", !broker.heartbeat_interval.is_zero(), "more than 0")?;
    within("GARBAGE_INTERVAL", !broker.garbage_interval.is_zero(), "more than 0")?;
    within("RETENTION_INTERVAL", !broker.retention_interval.is_zero(), "more than 0")?;
    let rewrite_bytes = 1 << 20..=256 << 20;
    within("REWRITE_BYTES", rewrite_bytes.contains(&broker.rewrite_bytes), "between 1MiB and 256MiB")?;
    within("REWRITE_AGE", broker.rewrite_age <= Duration::from_secs(3_600), "at most 3600")?;
    let rate = broker.rewrite_bytes_per_second;
    within("REWRITE_BYTES_PER_SECOND", rate == 0 || rate >= 1 << 20, "0, or at least 1MiB")?;
    within("COMPACTION_INTERVAL", !broker.compaction_interval.is_zero(), "more than 0")?;
    within("LEASE_DURATION", broker.lease_duration >= Duration::from_secs(1), "at least 1 s")?;
    within("FLUSH_INTERVAL_MS", broker.flush_interval <= Duration::from_secs(60), "at most 60000")?;
    within("FLUSH_BYTES", (1 << 10..=1 << 30).contains(&broker.flush_bytes), "between 1KiB and 1GiB")?;
    within("UPLOADS_IN_FLIGHT", (1..=64).contains(&broker.uploads_in_flight), "between 1 and 64")?;
    within("MEMORY_BYTES", broker.memory_bytes >= 16 << 20, "at least 16MiB")?;
    let partitions = 1..=broker::limits::PARTITIONS_PER_TOPIC_MAX;
    within("NUM_PARTITIONS", partitions.contains(&broker.default_partitions), "between 1 and 10000")?;
    within("SHUTDOWN_TIMEOUT", !shutdown_timeout.is_zero(), "more than 0")
}

fn metadata(said: &str, session: Option<String>) -> Result<MetadataSettings, String> {
    let is_postgres = |url: &str| url.starts_with("postgres://") || url.starts_with("postgresql://");
    let session_url = session.filter(|url| !url.is_empty());
    if session_url.as_ref().is_some_and(|url| !is_postgres(url)) {
        return Err("METADATA_SESSION_STORE is not a postgres:// URL".to_owned());
    }
    if is_postgres(said) {
        return Ok(MetadataSettings::Postgres { url: said.to_owned(), session_url });
    }
    if session_url.is_some() {
        return Err("METADATA_SESSION_STORE is for a METADATA_STORE on PostgreSQL".to_owned());
    }
    let path = said.strip_prefix("sqlite://").or_else(|| said.strip_prefix("sqlite:")).unwrap_or(said);
    if path.is_empty() {
        return Err("METADATA_STORE is empty; give the path of a SQLite file".to_owned());
    }
    if path.contains("://") {
        return Err(format!("METADATA_STORE: {said:?} is neither a path nor a sqlite:// or postgres:// URL"));
    }
    if path == ":memory:" {
        return Err("METADATA_STORE: metadata in memory would lose every topic at exit; give a path".to_owned());
    }
    Ok(MetadataSettings::Sqlite { path: PathBuf::from(path) })
}

/// `host:port`, `[v6]:port` or `:port`.
fn listen(name: &str, said: &str) -> Result<Listen, String> {
    let bad = || format!("{name}: {said:?} is not host:port");
    let (host, port) = said.rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().map_err(|_| bad())?;
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains([':', '/', ' ']) {
        return Err(bad());
    }
    Ok(Listen { host: bare.unwrap_or(host).to_owned(), port })
}

fn advertised(name: &str, said: Option<String>) -> Result<Option<String>, String> {
    let Some(address) = said.filter(|address| !address.is_empty()) else { return Ok(None) };
    let parsed = listen(name, &address)?;
    if parsed.is_wildcard() || parsed.port == 0 {
        return Err(format!("{name}: clients cannot connect to {address:?}"));
    }
    Ok(Some(address))
}

fn otlp_endpoint(said: Option<String>) -> Result<Option<String>, String> {
    match said.filter(|endpoint| !endpoint.is_empty()) {
        None => Ok(None),
        Some(endpoint) if endpoint.starts_with("http://") && endpoint.len() > "http://".len() => Ok(Some(endpoint)),
        Some(endpoint) => Err(format!("OTEL_EXPORTER_OTLP_ENDPOINT: {endpoint:?} does not begin with http://")),
    }
}

/// Whole or decimal seconds, also as `30s` or `500ms`.
fn seconds(said: &str) -> Result<Duration, String> {
    let (number, scale) = match said.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (said.strip_suffix('s').unwrap_or(said), 1.0),
    };
    let number: f64 = number.trim().parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number * scale).map_err(|_| "not a number of seconds".to_owned())
}

/// `after-put`, `after-commit` or `after-rewrite`, with `:n` for the nth time.
fn stop_point(said: &str) -> Result<(StopPoint, usize), String> {
    let (name, passes) = said.split_once(':').unwrap_or((said, "1"));
    let point = match name {
        "after-put" => StopPoint::AfterPut,
        "after-commit" => StopPoint::AfterCommit,
        "after-rewrite" => StopPoint::AfterRewrite,
        _ => return Err("the points are after-put, after-commit and after-rewrite".to_owned()),
    };
    match passes.parse() {
        Ok(passes) if passes > 0 => Ok((point, passes)),
        _ => Err("not a count from 1".to_owned()),
    }
}

/// Bytes, also as `64KiB`, `8MiB`, `1GiB`.
fn bytes(said: &str) -> Result<usize, String> {
    let units = [("KiB", 1_usize << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let unit = units.iter().find_map(|(name, factor)| Some((said.strip_suffix(name)?, *factor)));
    let (number, factor) = unit.unwrap_or((said, 1));
    let number: usize = number.trim().parse().map_err(|_| "not a number of bytes".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "not a number of bytes".to_owned())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
