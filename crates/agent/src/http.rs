//! The HTTP endpoints for those who watch the agent: `/health`, `/ready`, `/metrics`; anything else is 404.
//!
//! `/health` says that the process serves, `/ready` whether it should get work and, if not, why, `/metrics` is the
//! Prometheus text of what [`crate::telemetry`] collects. Every connection is bounded: how many there are, how long a
//! request head may take and how large it may be; bodies are not read. It begins before anything is opened and outlives
//! the drain, so that an orchestrator sees 503 and the reason while the agent starts, tries to start over, or finishes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use broker::Broker;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Telemetry;

/// Connections at the same time; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 64;
/// A request head larger than this is refused.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A request head that takes longer, or a kept-alive connection that idles longer, is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection lives no longer than this, so that slow readers cannot hold all of them.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// Bound on the checks behind `/ready`.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// What the endpoints answer from.
pub(crate) struct Status {
    telemetry: Arc<Telemetry>,
    phase: Mutex<Phase>,
}

/// Who is asked whether the agent is ready.
#[derive(Clone)]
enum Phase {
    /// Nobody: it is not, for this reason.
    NotReady(String),
    /// Its broker.
    Started(Broker),
}

impl Status {
    /// Of an agent that starts.
    pub(crate) fn new(telemetry: Arc<Telemetry>) -> Arc<Self> {
        Arc::new(Self { telemetry, phase: Mutex::new(Phase::NotReady("starting".to_owned())) })
    }

    /// From now on `/ready` says what the broker says.
    pub(crate) fn started(&self, broker: Broker) {
        *self.phase.lock() = Phase::Started(broker);
    }

    /// From now on `/ready` says 503 and why.
    pub(crate) fn not_ready(&self, why: String) {
        *self.phase.lock() = Phase::NotReady(why);
    }
}

/// Serves until `stop`; connections open then are dropped.
pub(crate) async fn serve(listener: TcpListener, status: Arc<Status>, stop: CancellationToken) {
    let router = Router::new()
        .route("/health", get(async || "OK"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(status);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: accepting again at once would spin.
                tracing::warn!(%error, "HTTP accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (router, stop) = (router.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = serve_connection(stream, router) => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_AGE_MAX, connection).await {
        tracing::debug!(%error, "HTTP connection");
    }
}

async fn ready(State(status): State<Arc<Status>>) -> Response {
    let phase = status.phase.lock().clone();
    let broker = match phase {
        Phase::NotReady(why) => return not_ready(&why),
        Phase::Started(broker) => broker,
    };
    match tokio::time::timeout(READINESS_TIMEOUT, broker.readiness()).await {
        Ok(Ok(())) => "READY".into_response(),
        Ok(Err(why)) => not_ready(&why),
        Err(_) => not_ready("the stores do not answer in time"),
    }
}

fn not_ready(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("NOT READY: {why}\n")).into_response()
}

async fn metrics(State(status): State<Arc<Status>>) -> Response {
    match status.telemetry.prometheus_text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
