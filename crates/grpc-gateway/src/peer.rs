//! Agents among themselves: each holds a stream open to every other, so that a process that dies is noticed at once.
//!
//! A peer looks gone when its stream ended and its port then refuses two connections, at an address where that very session
//! had answered. A host that vanished refuses nothing, and one that was stopped keeps its streams: for those there is the
//! lease. What follows is the broker's: the session is suspected, and fenced unless it says within half a second that it lives.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::time::Duration;

use broker::{Agent, Broker, Feed, PartitionId, Progress, RangeRow, SessionId, TopicId};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::peer_proto::peer_service_client::PeerServiceClient;
use crate::peer_proto::peer_service_server::PeerService;
use crate::peer_proto::{self, FollowRequest, FollowResponse, Life, Partition, Range, WatchRequest};

/// Longest wait for a connection, and for its first answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Pause before a peer is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Pause between the two connections that must be refused.
const REFUSALS_APART: Duration = Duration::from_millis(50);

/// How often a follower says what it follows, and a leader that it is there.
const WANTED_INTERVAL: Duration = Duration::from_secs(2);
const ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// A leader that says nothing for so long is asked anew; its host may be gone.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Partitions in one message of news; each has some ten KiB at most.
const NEWS_PER_MESSAGE: usize = 100;

/// The server's side.
pub(crate) struct Peers {
    pub(crate) broker: Broker,
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl PeerService for Peers {
    type WatchStream = ReceiverStream<Result<Life, Status>>;

    async fn watch(&self, _request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, stream) = mpsc::channel(1);
        let (life, shutdown) = (Life { session: self.broker.session().0 }, self.shutdown.clone());
        tokio::spawn(async move {
            if sender.send(Ok(life)).await.is_ok() {
                // The stream ends when the sender is dropped: at the shutdown, or with the process.
                let _ = shutdown.run_until_cancelled(sender.closed()).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type FollowStream = ReceiverStream<Result<FollowResponse, Status>>;

    async fn follow(&self, request: Request<Streaming<FollowRequest>>) -> Result<Response<Self::FollowStream>, Status> {
        let (sender, stream) = mpsc::channel(1);
        let (broker, shutdown) = (self.broker.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            let feed = feed(broker, request.into_inner(), &sender);
            if let Some(Err(status)) = shutdown.run_until_cancelled(feed).await {
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Tells one follower what it asks for, until it is gone.
async fn feed(
    broker: Broker,
    mut requests: Streaming<FollowRequest>,
    sender: &mpsc::Sender<Result<FollowResponse, Status>>,
) -> Result<(), Status> {
    let Some(first) = requests.message().await? else { return Ok(()) };
    let mut feed = Feed::new(broker, SessionId(first.session));
    feed.follow(partition_ids(&first.wanted)?);
    let mut alive = interval(ALIVE_INTERVAL);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let news = tokio::select! {
            request = requests.message() => {
                let Some(request) = request? else { return Ok(()) };
                feed.follow(partition_ids(&request.wanted)?);
                continue;
            }
            news = feed.next() => news,
            _ = alive.tick() => Vec::new(),
        };
        let mut messages: Vec<_> = news.chunks(NEWS_PER_MESSAGE).map(follow_response).collect();
        if messages.is_empty() {
            messages.push(FollowResponse::default());
        }
        for message in messages {
            if sender.send(Ok(message)).await.is_err() {
                return Ok(());
            }
        }
    }
}

fn partition_ids(wanted: &[Partition]) -> Result<Vec<PartitionId>, Status> {
    let ids = wanted.iter().map(partition_id).collect::<Option<_>>();
    ids.ok_or_else(|| Status::invalid_argument("a topic id has 16 bytes"))
}

fn partition_id(partition: &Partition) -> Option<PartitionId> {
    Some((TopicId(Uuid::from_slice(&partition.topic_id).ok()?), partition.partition))
}

fn partition((topic_id, partition): PartitionId) -> Partition {
    Partition { topic_id: topic_id.0.as_bytes().to_vec(), partition }
}

fn follow_response(news: &[Progress]) -> FollowResponse {
    let range = |row: &RangeRow| Range {
        base_offset: row.base_offset,
        next_offset: row.next_offset,
        leader_epoch: row.leader_epoch,
        object_key: row.object_key.clone(),
        object_bytes: row.object_bytes,
        byte_start: row.byte_start,
        byte_len: row.byte_len,
        checksum: row.checksum,
        max_timestamp: row.max_timestamp,
    };
    let progress = |progress: &Progress| peer_proto::Progress {
        partition: Some(partition(progress.partition)),
        leader_epoch: progress.leader_epoch,
        log_start_offset: progress.log_start_offset,
        high_watermark: progress.high_watermark,
        ranges: progress.ranges.iter().map(range).collect(),
    };
    FollowResponse { news: news.iter().map(progress).collect() }
}

/// `None`: it does not say of which partition.
fn progress(told: peer_proto::Progress) -> Option<Progress> {
    let range = |range: Range| RangeRow {
        base_offset: range.base_offset,
        next_offset: range.next_offset,
        leader_epoch: range.leader_epoch,
        object_key: range.object_key,
        byte_start: range.byte_start,
        byte_len: range.byte_len,
        checksum: range.checksum,
        max_timestamp: range.max_timestamp,
        object_bytes: range.object_bytes,
    };
    Some(Progress {
        partition: partition_id(&told.partition?)?,
        leader_epoch: told.leader_epoch,
        log_start_offset: told.log_start_offset,
        high_watermark: told.high_watermark,
        ranges: told.ranges.into_iter().map(range).collect(),
    })
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
                let (watch, stop) = (Box::pin(watch(broker.clone(), peer.clone())), stop.clone());
                let follow = Box::pin(follow(broker.clone(), peer.clone()));
                tokio::spawn(async move {
                    stop.run_until_cancelled(async { tokio::join!(watch, follow) }).await;
                })
            });
        }
        if stop.run_until_cancelled(changes.changed()).await.is_none() {
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

/// Hears from an agent of another zone what it commits, again and again. Agents of one zone do not read for each other.
async fn follow(broker: Broker, leader: Agent) {
    let own_zone = |agent: &&Agent| agent.session == broker.session();
    while broker.cluster().agents.iter().find(own_zone).is_none_or(|own| own.zone != leader.zone) {
        if let Err(error) = hear(&broker, &leader).await {
            tracing::debug!(leader = leader.node_id, error, "not told what another agent commits");
        }
        sleep(RETRY_PAUSE).await;
    }
}

/// Returns when the stream ended, or could not be had.
async fn hear(broker: &Broker, leader: &Agent) -> Result<(), String> {
    let (wanted, requests) = mpsc::channel(1);
    let said = || {
        let followed = broker.followed_of(leader.session);
        FollowRequest { session: broker.session().0, wanted: followed.into_iter().map(partition).collect() }
    };
    let (mut more, mut moved) = (broker.replicas_wanted(), broker.cluster_changes());
    wanted.send(said()).await.map_err(|error| error.to_string())?;
    let opened = async {
        let channel = endpoint(leader).ok_or("no address")?.connect().await.map_err(|error| error.to_string())?;
        let mut client = PeerServiceClient::new(channel);
        let news = client.follow(ReceiverStream::new(requests)).await;
        news.map(Response::into_inner).map_err(|status| status.to_string())
    };
    let mut news = timeout(ANSWER_MAX, opened).await.map_err(|_| "no answer".to_owned())??;
    let mut again = interval(WANTED_INTERVAL);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut due, mut silent_at) = (true, Instant::now() + SILENCE_MAX);
    loop {
        tokio::select! {
            told = news.message() => {
                let Some(told) = told.map_err(|status| status.to_string())? else { return Ok(()) };
                broker.take_progress(leader.session, told.news.into_iter().filter_map(progress).collect());
                silent_at = Instant::now() + SILENCE_MAX;
            }
            // News are read while a request waits for room: neither side waits for the other.
            room = wanted.reserve(), if due => {
                room.map_err(|error| error.to_string())?.send(said());
                due = false;
            }
            _ = again.tick() => due = true,
            () = more.changed() => due = true,
            () = moved.changed() => due = true,
            () = sleep_until(silent_at) => return Err("silent".to_owned()),
        }
    }
}

fn endpoint(peer: &Agent) -> Option<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://{}", peer.grpc_address)).ok()?;
    Some(endpoint.connect_timeout(ANSWER_MAX).tcp_nodelay(true))
}

/// Returns when the stream ended, or could not be had; whether that very session answered.
async fn live(peer: &Agent) -> bool {
    let Some(endpoint) = endpoint(peer) else { return false };
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
