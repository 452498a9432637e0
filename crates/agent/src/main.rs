//! The agent: reads its settings, opens what they name, runs both front ends on one broker, and ends cleanly.
//!
//! The order of a start: settings (exit code 2) → ports → HTTP → metadata → object store → broker (session, leases) → serve →
//! "ready". The order of an end: stop accepting → answers in flight → last flush, session closed → metadata closed →
//! last metrics → exit 0. A crash between any two steps leaves nothing that the next start does not clear up: a
//! session that is fenced by its successor, temporary files that are removed.
//!
//! A first start may fail. An agent that was fenced starts over in a new image of its process, and tries until it can.

mod config;
mod cost_report;
mod front_ends;
mod group_settings;
#[cfg(feature = "metrics")]
mod http;
mod local_store;
mod monitoring;
mod object_store;
mod remote_store;
mod shutdown;
#[cfg(feature = "metrics")]
mod store_meter;
mod store_settings;
mod telemetry;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use broker::{Broker, BrokerSettings, limits};
use futures::future::BoxFuture;
use metadata::{MetadataStore, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::{Command, EXIT_BAD_SETTING, Invocation, MetadataSettings, Refusal, STARTED_OVER, Settings};
use crate::front_ends::{Addresses, FrontEnds, Listeners};
use crate::monitoring::Monitoring;
use crate::shutdown::Signals;

// With its feature `no_thp`: huge pages made 3 MB of an idle agent's heap resident as 22 MB.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Blocking tasks (a disk that hangs) get this long when everything else is done.
const BLOCKING_TASKS_GRACE: Duration = Duration::from_secs(1);
/// Pauses between attempts to start over.
const START_OVER_PAUSE_MIN: Duration = Duration::from_millis(500);
const START_OVER_PAUSE_MAX: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    let settings = match Invocation::from_process() {
        Ok(Invocation::Serve(settings)) => *settings,
        Ok(Invocation::Run(command)) => return print(command),
        Err(Refusal::Asked(text)) => {
            let _ = write!(std::io::stdout(), "{text}");
            return ExitCode::SUCCESS;
        }
        Err(Refusal::Bad(line)) => {
            eprintln!("agent: {line}");
            return ExitCode::from(EXIT_BAD_SETTING);
        }
    };
    telemetry::init_logs(&settings.log_filter);
    raise_open_files();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(settings.worker_threads).thread_name("agent").enable_all().build();
    let ended = runtime.context("runtime").and_then(|runtime| {
        let ended = runtime.block_on(run(settings));
        runtime.shutdown_timeout(BLOCKING_TASKS_GRACE);
        ended
    });
    match ended {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::StartsOver { times }) => start_over(times),
        Err(error) => {
            eprintln!("agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// As many open files as the system lets this process have: each connection is one, and the usual soft limit of 1,024, kept low for
/// programs that use `select`, would end long before [`limits::CONNECTIONS_MAX`].
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_err() {
        tracing::warn!(open_files = limit.current, "the limit of open files could not be raised");
    }
    let wanted = 2 * limits::CONNECTIONS_MAX as u64;
    if let Some(maximum) = limit.maximum.filter(|maximum| *maximum < wanted) {
        tracing::info!(maximum, wanted, "open files are limited: fewer connections than the agent's own limit fit");
    }
}

/// A command that prints one text.
fn print(command: Command) -> ExitCode {
    let Command::CostReport(report) = command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let text = runtime.context("runtime").and_then(|runtime| runtime.block_on(report.run()));
    match text {
        Ok(text) => {
            let _ = write!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How a run ended that did not fail.
enum Ended {
    /// As a signal asked.
    Stopped,
    /// Another agent took this one for dead: the process is to begin anew, for this time in a row.
    StartsOver { times: u32 },
}

/// The process begins anew, as after a crash: whoever waits for an answer that nobody knows sees its connection end, and nothing is
/// left of an attempt to begin that failed.
fn start_over(times: u32) -> ExitCode {
    use std::os::unix::process::CommandExt as _;
    let executable = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let mut command = std::process::Command::new(executable);
    let failed = command.args(std::env::args_os().skip(1)).env(STARTED_OVER, times.to_string()).exec();
    eprintln!("agent: fenced, and it could not start over: {failed}");
    ExitCode::FAILURE
}

async fn run(settings: Settings) -> Result<Ended> {
    let begun = Instant::now();
    let mut signals = Signals::catch()?;
    let monitoring = Monitoring::new(&settings)?;
    let agent = tokio::select! {
        agent = start(&settings, &monitoring) => agent?,
        signal = signals.next() => {
            tracing::info!(signal, "stopped before it was ready");
            return Ok(Ended::Stopped);
        }
    };
    let Some(agent) = agent else { return Ok(Ended::StartsOver { times: settings.started_over.saturating_add(1) }) };
    let announced = announce(&settings, &agent, begun.elapsed());
    // Whoever read it before this one started over may be gone.
    if settings.started_over == 0 {
        announced.context("stdout")?;
    }
    agent.run(monitoring, signals, settings.shutdown_timeout).await
}

/// Starts. `None` after a pause, if that failed in a process that started over: what runs already is not to end because the database
/// or the store refuses it in that very moment.
async fn start(settings: &Settings, monitoring: &Monitoring) -> Result<Option<Agent>> {
    let error = match Agent::start(settings, monitoring).await {
        Ok(agent) => return Ok(Some(agent)),
        Err(error) if settings.started_over == 0 => return Err(error),
        Err(error) => format!("{error:#}"),
    };
    let pause = START_OVER_PAUSE_MIN.saturating_mul(1 << (settings.started_over - 1).min(10)).min(START_OVER_PAUSE_MAX);
    tracing::warn!(error, pause_seconds = pause.as_secs_f64(), "could not start over, trying again");
    monitoring.not_ready(format!("starting over: {error}"));
    tokio::time::sleep(pause).await;
    Ok(None)
}

/// Everything that runs.
struct Agent {
    broker: Broker,
    metadata: Metadata,
    /// Stops watching the other agents.
    stop_watching: CancellationToken,
    addresses: Addresses,
    store_location: String,
    front_ends: FrontEnds,
}

impl Agent {
    async fn start(settings: &Settings, monitoring: &Monitoring) -> Result<Self> {
        let listeners = Listeners::bind(settings).await?;
        let addresses = listeners.addresses(settings)?;
        #[cfg(feature = "metrics")]
        monitoring.serve(listeners.http);
        let metadata = Metadata::open(&settings.metadata).await?;
        let metered = |service| monitoring.metered(service);
        let store = object_store::open(&settings.store, settings.metadata.is_of_one_agent(), metered).await?;
        let seed = OsRng.try_next_u64().context("random seed")?;
        let broker = BrokerSettings {
            kafka_address: addresses.kafka_advertised.clone(),
            grpc_address: addresses.grpc_advertised.clone(),
            ..settings.broker.clone()
        };
        let broker =
            Broker::start(broker, metadata.store(), store.operator, Arc::new(monitoring.metrics()), seed).await?;
        let stop_watching = CancellationToken::new();
        tokio::spawn(grpc_gateway::watch_peers(broker.clone(), stop_watching.clone()));
        let patience = shutdown::phases(settings.shutdown_timeout).0;
        let front_ends = FrontEnds::serve(listeners.kafka, listeners.grpc, &broker, patience);
        monitoring.started(broker.clone());
        Ok(Self { broker, metadata, stop_watching, addresses, store_location: store.location, front_ends })
    }

    /// Runs until a signal, a fence or a front end that failed; then ends in order.
    async fn run(mut self, monitoring: Monitoring, mut signals: Signals, bound: Duration) -> Result<Ended> {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            () = self.broker.fenced() => {
                if self.broker.is_replaced().await {
                    bail!("another process runs with this AGENT_ID and fenced this one's session; give each its own");
                }
                tracing::error!("this agent was taken for dead and its session fenced; what was acked is safe. Starting over");
                return Ok(Ended::StartsOver { times: 1 });
            }
            error = self.front_ends.failed() => return Err(error),
        };
        tracing::info!(signal, bound_seconds = bound.as_secs_f64(), "draining");
        signals.next_one_exits();
        monitoring.not_ready("draining");
        let begun = Instant::now();
        self.stop_watching.cancel();
        let (for_front_ends, _) = shutdown::phases(bound);
        self.broker.hand_over(begun + for_front_ends / 2).await;
        let answered = self.front_ends.drain(begun + for_front_ends).await;
        let flushed = timeout_at(begun + bound, async {
            self.broker.drain().await;
            self.metadata.close().await;
        });
        let flushed = flushed.await.is_ok();
        monitoring.finish(begun + bound).await;
        if !flushed {
            bail!("the last flush or the session's end did not finish within {bound:?}; nothing acked is lost");
        }
        if !answered {
            tracing::warn!("some connections were closed with requests unanswered");
        }
        tracing::info!(seconds = begun.elapsed().as_secs_f64(), "drained");
        Ok(Ended::Stopped)
    }
}

/// The metadata store that was asked for.
enum Metadata {
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
}

impl Metadata {
    async fn open(settings: &MetadataSettings) -> Result<Self> {
        // Becomes the cluster's id if this start creates the database.
        let mut cluster_id = uuid::Bytes::default();
        OsRng.try_fill_bytes(&mut cluster_id).context("random cluster id")?;
        let new_cluster_id = uuid::Builder::from_random_bytes(cluster_id).into_uuid();
        Ok(match settings {
            MetadataSettings::Sqlite { path } => {
                Self::Sqlite(Arc::new(SqliteStore::open(path, SqliteOptions { new_cluster_id }).await?))
            }
            MetadataSettings::Postgres { url, session_url } => {
                let options = PostgresOptions { new_cluster_id, session_url: session_url.clone() };
                Self::Postgres(Arc::new(PostgresStore::open(url, options).await?))
            }
        })
    }

    fn store(&self) -> Arc<dyn MetadataStore> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        match self {
            Self::Sqlite(store) => Box::pin(store.close()),
            Self::Postgres(store) => Box::pin(store.close()),
        }
    }
}

/// Prints where everything is, then "ready": the one thing the agent writes to stdout.
fn announce(settings: &Settings, agent: &Agent, took: Duration) -> std::io::Result<()> {
    let kafka_told = match agent.addresses.kafka_advertised.as_str() {
        "" => "the address they connect to",
        address => address,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "StreamHouse agent {} \"{}\"", env!("CARGO_PKG_VERSION"), settings.broker.agent_id)?;
    writeln!(out, "  kafka     {} (clients are told: {kafka_told})", agent.addresses.kafka)?;
    writeln!(out, "  grpc      {} (given to others: {})", agent.addresses.grpc, agent.addresses.grpc_advertised)?;
    #[cfg(feature = "metrics")]
    writeln!(out, "  http      {} (/health /ready /metrics)", agent.addresses.http)?;
    writeln!(out, "  metadata  {}", settings.metadata.location())?;
    writeln!(out, "  objects   {}", agent.store_location)?;
    if let Some(cache) = &settings.broker.cache {
        writeln!(out, "  cache     {} (at most {} MiB)", cache.folder.display(), cache.bytes_max >> 20)?;
    }
    writeln!(out, "ready in {} ms", took.as_millis())?;
    out.flush()
}
