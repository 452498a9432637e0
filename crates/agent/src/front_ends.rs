//! The listeners, bound before anything else is opened, and the servers that run on them.
//!
//! A taken port is found before a session exists, so that a second agent started by mistake never fences the first.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow};
use broker::{Broker, limits};
use grpc_gateway::{GrpcServer, GrpcSettings};
use kafka_gateway::{KafkaServer, KafkaSettings};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::{Listen, MetadataSettings, Settings};

/// Bound, not yet accepting for anyone.
pub(crate) struct Listeners {
    pub(crate) kafka: TcpListener,
    pub(crate) grpc: TcpListener,
    #[cfg(feature = "metrics")]
    pub(crate) http: TcpListener,
}

/// Where the listeners are and what others are told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) kafka: SocketAddr,
    pub(crate) grpc: SocketAddr,
    #[cfg(feature = "metrics")]
    pub(crate) http: SocketAddr,
    /// Empty: the address the client connected to.
    pub(crate) kafka_advertised: String,
    pub(crate) grpc_advertised: String,
}

impl Listeners {
    /// Binds all.
    ///
    /// # Errors
    /// A port is taken or not allowed, or a host is not one of this machine's.
    pub(crate) async fn bind(settings: &Settings) -> Result<Self> {
        Ok(Self {
            kafka: bind("Kafka", "KAFKA_ADDRESS", &settings.kafka).await?,
            grpc: bind("gRPC", "AGENT_ADDRESS", &settings.grpc).await?,
            #[cfg(feature = "metrics")]
            http: bind("HTTP", "METRICS_PORT", &settings.http).await?,
        })
    }

    /// Where they are; a port given as 0 is known now.
    ///
    /// # Errors
    /// The system does not say.
    pub(crate) fn addresses(&self, settings: &Settings) -> Result<Addresses> {
        let (kafka, grpc) = (self.kafka.local_addr()?, self.grpc.local_addr()?);
        let is_alone = matches!(settings.metadata, MetadataSettings::Sqlite { .. });
        let kafka_default = match settings.kafka.is_wildcard() {
            // There is one agent, so the way a client came is always the right one.
            true if is_alone => String::new(),
            true => host_port(&settings.host_name, kafka.port()),
            false => host_port(&settings.kafka.host, kafka.port()),
        };
        let grpc_host = if settings.grpc.is_wildcard() { &settings.host_name } else { &settings.grpc.host };
        Ok(Addresses {
            kafka,
            grpc,
            #[cfg(feature = "metrics")]
            http: self.http.local_addr()?,
            kafka_advertised: settings.kafka_advertised.clone().unwrap_or(kafka_default),
            grpc_advertised: settings.grpc_advertised.clone().unwrap_or_else(|| host_port(grpc_host, grpc.port())),
        })
    }
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

async fn bind(what: &str, setting: &str, listen: &Listen) -> Result<TcpListener> {
    let bound = bind_any(listen).await;
    let address = host_port(&listen.host, listen.port);
    bound.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow!("{what}: address {address} is in use by another process; stop it or set {setting}")
        }
        _ => anyhow!("{what}: cannot listen on {address}: {error}; see {setting}"),
    })
}

/// The first of the host's addresses that can be bound.
async fn bind_any(listen: &Listen) -> std::io::Result<TcpListener> {
    let mut refused = std::io::ErrorKind::AddrNotAvailable.into();
    for address in tokio::net::lookup_host((listen.host.as_str(), listen.port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(limits::LISTEN_BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Both servers.
pub(crate) struct FrontEnds {
    servers: JoinSet<Result<()>>,
    stop: CancellationToken,
}

impl FrontEnds {
    /// Begins to accept. After a drain began, requests in flight get `patience` to be answered.
    pub(crate) fn serve(kafka: TcpListener, grpc: TcpListener, broker: &Broker, patience: Duration) -> Self {
        let stop = CancellationToken::new();
        let mut servers = JoinSet::new();
        let settings = KafkaSettings { grace: patience, ..KafkaSettings::default() };
        let kafka = KafkaServer::with_listener(kafka, broker.clone(), settings);
        let until = stop.clone();
        servers.spawn(async move {
            kafka.serve(until).await;
            Ok(())
        });
        let settings = GrpcSettings { drain_timeout: patience };
        let grpc = GrpcServer::with_listener(grpc, broker.clone(), settings);
        let until = stop.clone();
        servers.spawn(async move { grpc.serve(until).await.context("gRPC") });
        Self { servers, stop }
    }

    /// Returns when a server ended by itself, which only a fault can cause.
    pub(crate) async fn failed(&mut self) -> Error {
        match self.servers.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => Error::new(error).context("a front end stopped"),
            Some(Ok(Ok(()))) | None => anyhow!("a front end stopped"),
        }
    }

    /// Stops accepting and waits until every request in flight is answered; at `deadline` the rest is cut. Says whether
    /// all were answered.
    pub(crate) async fn drain(mut self, deadline: Instant) -> bool {
        self.stop.cancel();
        let finished = timeout_at(deadline, async { while self.servers.join_next().await.is_some() {} }).await;
        finished.is_ok()
    }
}
