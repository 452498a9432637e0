//! Agents among themselves: each holds a stream open to every other, so that a process that dies is noticed at once.
//!
//! A peer looks gone when its stream ended and its port then refuses two connections, at an address where that very session
//! had answered. A host that vanished refuses nothing, and one that was stopped keeps its streams: for those there is the
//! lease. What follows is the broker's: the session is suspected, and fenced unless it says within half a second that it lives.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::time::Duration;

use broker::{Agent, Broker, SessionId};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};

use crate::peer_proto::peer_service_client::PeerServiceClient;
use crate::peer_proto::peer_service_server::PeerService;
use crate::peer_proto::{Life, WatchRequest};

/// Longest wait for a connection, and for its first answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Pause before a peer is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Pause between the two connections that must be refused.
const REFUSALS_APART: Duration = Duration::from_millis(50);

/// The server's side.
pub(crate) struct Peers {
    pub(crate) session: SessionId,
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl PeerService for Peers {
    type WatchStream = ReceiverStream<Result<Life, Status>>;

    async fn watch(&self, _request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, stream) = mpsc::channel(1);
        let (life, shutdown) = (Life { session: self.session.0 }, self.shutdown.clone());
        tokio::spawn(async move {
            if sender.send(Ok(life)).await.is_ok() {
                // The stream ends when the sender is dropped: at the shutdown, or with the process.
                let _ = shutdown.run_until_cancelled(sender.closed()).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Watches all live peers until it is dropped or `stop`.
pub async fn watch_peers(broker: Broker, stop: CancellationToken) {
    let mut changes = broker.cluster_changes();
    let mut watched: HashMap<SessionId, JoinHandle<()>> = HashMap::new();
    loop {
        let cluster = broker.cluster();
        watched.retain(|session, task| {
            let lives = cluster.agents.iter().any(|agent| agent.session == *session);
            if !lives {
                task.abort();
            }
            lives
        });
        let peers = cluster.agents.iter().filter(|agent| agent.session != broker.session());
        for peer in peers.filter(|peer| !peer.grpc_address.is_empty()) {
            watched.entry(peer.session).or_insert_with(|| {
                let (watch, stop) = (watch(broker.clone(), peer.clone()), stop.clone());
                tokio::spawn(async move {
                    stop.run_until_cancelled(watch).await;
                })
            });
        }
        let changed = stop.run_until_cancelled(changes.changed()).await;
        if !matches!(changed, Some(Ok(()))) {
            return;
        }
    }
}

/// Holds a stream open to one session, again and again; says so when it looks gone.
async fn watch(broker: Broker, peer: Agent) {
    let mut answered = false;
    loop {
        answered |= live(&peer).await;
        if answered && is_refused(&peer.grpc_address).await {
            sleep(REFUSALS_APART).await;
            if is_refused(&peer.grpc_address).await {
                broker.peer_vanished(peer.session).await;
            }
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Returns when the stream ended, or could not be had; whether that very session answered.
async fn live(peer: &Agent) -> bool {
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{}", peer.grpc_address)) else { return false };
    let endpoint = endpoint.connect_timeout(ANSWER_MAX).tcp_nodelay(true);
    let first = async {
        let mut client = PeerServiceClient::new(endpoint.connect().await.ok()?);
        let mut lives = client.watch(WatchRequest {}).await.ok()?.into_inner();
        let life = lives.message().await.ok()??;
        Some((life, lives))
    };
    let Ok(Some((life, mut lives))) = timeout(ANSWER_MAX, first).await else { return false };
    if life.session != peer.session.0 {
        return false;
    }
    while let Ok(Some(_)) = lives.message().await {}
    true
}

async fn is_refused(address: &str) -> bool {
    let connected = timeout(ANSWER_MAX, TcpStream::connect(address)).await;
    matches!(connected, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
}
