//! The listener: its services, its limits, and its orderly end.

use std::{future::pending, io, net::SocketAddr, time::Duration};

use broker::Broker;
use tokio::{
    net::{TcpListener, ToSocketAddrs},
    select,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tonic::{server::NamedService, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    admission::Admitted, connection::accepted, limits, peer::Peers, peer_proto::peer_service_server::PeerServiceServer,
    proto, proto::producer_service_server::ProducerServiceServer, service::Producers,
};

/// How long health watchers are told NOT_SERVING before their streams end.
const WATCHERS_FAREWELL: Duration = Duration::from_millis(200);
/// Largest message of the services beside ours: names.
const SMALL_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Largest message of another agent: it names some 40,000 partitions.
const PEER_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Settings of the listener.
#[derive(Clone, Debug)]
pub struct GrpcSettings {
    /// How long, after shutdown begins, calls in flight may take before their connections are cut. Longer loses fewer answers
    /// (not records: what is in line is still written), shorter stops sooner.
    pub drain_timeout: Duration,
}

impl Default for GrpcSettings {
    fn default() -> Self {
        Self { drain_timeout: Duration::from_secs(10) }
    }
}

/// Why the server ended other than by shutdown.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptors compiled into this binary do not load: a bug.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("gRPC transport: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// A bound listener that does not accept yet.
pub struct GrpcServer {
    listener: TcpListener,
    broker: Broker,
    settings: GrpcSettings,
}

impl GrpcServer {
    /// Binds, so that a port that is taken is known before anything else starts.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn bind(address: impl ToSocketAddrs, broker: Broker, settings: GrpcSettings) -> io::Result<Self> {
        Ok(Self::with_listener(TcpListener::bind(address).await?, broker, settings))
    }

    /// Takes a listener that is bound already, for a process that binds before its broker starts.
    #[must_use]
    pub fn with_listener(listener: TcpListener, broker: Broker, settings: GrpcSettings) -> Self {
        Self { listener, broker, settings }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`; then health turns to NOT_SERVING, nothing new is accepted, streams end after answering what
    /// they read, calls in flight are finished, and after `drain_timeout` what is left is cut.
    ///
    /// # Errors
    /// As [`ServeError`] says.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let health = HealthReporter::new();
        set_health(&health, ServingStatus::Serving).await;
        let cut = CancellationToken::new();
        let connections = accepted(self.listener, self.broker.clone(), cut.clone());
        let told = async {
            shutdown.cancelled().await;
            set_health(&health, ServingStatus::NotServing).await;
        };
        let routes = routes(self.broker, &health, shutdown.clone())?;
        let serving = builder().add_routes(routes).serve_with_incoming_shutdown(connections, told);
        let mut watched = health.clone();
        let patience = async {
            shutdown.cancelled().await;
            sleep(WATCHERS_FAREWELL.min(self.settings.drain_timeout)).await;
            for service in SERVICES {
                watched.clear_service_status(service).await;
            }
            sleep(self.settings.drain_timeout.saturating_sub(WATCHERS_FAREWELL)).await;
            cut.cancel();
            pending::<()>().await;
        };
        select! {
            served = serving => served?,
            () = patience => {}
        }
        Ok(())
    }
}

/// The names under which health is reported: the server as a whole, and the service.
const SERVICES: [&str; 2] = ["", <ProducerServiceServer<Producers> as NamedService>::NAME];

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}

/// The services without a listener, for those who bring requests of their own: tests in memory, and the fuzz target.
///
/// # Errors
/// As [`ServeError`] says.
pub fn services(broker: Broker, shutdown: CancellationToken) -> Result<tonic::service::Routes, ServeError> {
    routes(broker, &HealthReporter::new(), shutdown)
}

fn routes(
    broker: Broker,
    health: &HealthReporter,
    shutdown: CancellationToken,
) -> Result<tonic::service::Routes, ServeError> {
    let budget = broker.budget().clone();
    let peers = Peers { broker: broker.clone(), shutdown: shutdown.clone() };
    let peers = PeerServiceServer::new(peers).max_decoding_message_size(PEER_MESSAGE_BYTES_MAX);
    let producers = ProducerServiceServer::new(Producers::new(broker, shutdown))
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
    let health = tonic_health::server::HealthService::from_health_reporter(health.clone());
    let health =
        tonic_health::pb::health_server::HealthServer::new(health).max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX);
    // Both names of reflection: grpcurl before 1.8.8 and many libraries know v1alpha only.
    let reflection_v1 = reflection().build_v1()?.max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX);
    let reflection_alpha = reflection().build_v1alpha()?.max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX);
    Ok(tonic::service::Routes::new(Admitted::new(producers, budget))
        .add_service(peers)
        .add_service(health)
        .add_service(reflection_v1)
        .add_service(reflection_alpha))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

fn builder() -> Server {
    Server::builder()
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .concurrency_limit_per_connection(limits::STREAMS_PER_CONNECTION_MAX as usize)
        .http2_max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(limits::RESETS_PENDING_MAX))
        .http2_max_local_error_reset_streams(Some(limits::LOCAL_RESETS_MAX))
        .initial_connection_window_size(limits::WINDOW_BYTES)
        .initial_stream_window_size(limits::WINDOW_BYTES)
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
}
