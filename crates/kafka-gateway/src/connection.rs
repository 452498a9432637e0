//! One connection: requests are started in order by a reader, answered in order by a writer.
//!
//! Between the two is a bounded queue of requests in flight. A Produce has its place in the log before the next frame
//! is read (so a connection pipelines, and offsets follow request order), and waits in the queue for its ack. Any
//! other request runs when its turn to be answered comes, so it sees the effects of all before it, as in Apache Kafka.
//! A long poll holds back the answers behind it, but not the reading.
//!
//! A client that hangs up ends its long polls at once. What has effects (accepted appends, changes of topics) is
//! finished in a task of its own, and keeps its memory permits until then.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, FrontEnd, limits};
use futures::poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::dispatch;
use crate::fetch_sessions::FetchSessions;
use crate::frame::{FrameError, FrameReader};
use crate::reply::{Outbox, Reply};
use crate::settings::KafkaSettings;

/// Answers are gathered up to this many bytes before they are written.
const GATHERED_BYTES_MAX: usize = 256 * 1024;
/// How long a client may take no answers before it is given up.
const WRITE_STALL_MAX: Duration = Duration::from_secs(120);

/// A request that was started and waits for its answer.
pub(crate) struct InFlight {
    pub(crate) reply: Pin<Box<dyn Future<Output = Reply> + Send>>,
    /// Whether it has effects, so that it is finished even if the client is gone.
    pub(crate) has_effects: bool,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The client.
    pub peer: SocketAddr,
    /// Where it connected to: what Metadata says where no address is configured.
    pub local: SocketAddr,
}

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// Shutdown: everything read was answered.
    Drained,
    /// The client went, or failed.
    HungUp,
    /// It broke the protocol, or an outcome cannot be told.
    Closed(String),
}

/// A connection as metrics count it, also if its task panics.
struct Counted(Broker);

impl Counted {
    fn new(broker: Broker) -> Self {
        broker.metrics().connection_opened(FrontEnd::Kafka);
        Self(broker)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics().connection_closed(FrontEnd::Kafka);
    }
}

/// Serves one connection until it ends; with `shutdown`, answers what was read and returns.
///
/// The stream may be anything, so tests run it in memory.
pub async fn serve_connection<S>(
    stream: S,
    addresses: Addresses,
    broker: Broker,
    sessions: FetchSessions,
    settings: &KafkaSettings,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let _counted = Counted::new(broker.clone());
    let (incoming, outgoing) = tokio::io::split(stream);
    let frames = FrameReader::new(incoming, broker.budget().clone(), settings.idle);
    let context = Arc::new(Context::new(broker.clone(), sessions, addresses));
    let (queue, in_flight) = mpsc::channel(limits::REQUESTS_IN_FLIGHT_MAX);
    let mut replies = Replies { in_flight, current: None };
    let mut outbox = Outbox::new(outgoing, WRITE_STALL_MAX, {
        let broker = broker.clone();
        move || broker.is_short_of_answers()
    });
    let stop = shutdown.child_token();

    let end = {
        let mut reader = Box::pin(read_requests(frames, context, queue, stop.clone()));
        let mut writer = Box::pin(replies.write(&mut outbox));
        tokio::select! {
            end = &mut writer => {
                // Never drop the reader while it hands a batch over: it stops at its next frame.
                stop.cancel();
                drop(writer);
                replies.abandon();
                drop(reader.await);
                end
            }
            end = &mut reader => match end {
                End::Drained => writer.await,
                End::HungUp | End::Closed(_) => end,
            },
        }
    };
    replies.abandon();
    outbox.close().await;
    match end {
        End::Drained | End::HungUp => tracing::debug!(peer = %addresses.peer, ?end, "Kafka connection ended"),
        End::Closed(reason) => tracing::warn!(peer = %addresses.peer, reason, "Kafka connection closed"),
    }
}

async fn read_requests<R: AsyncRead + Unpin>(
    mut frames: FrameReader<R>,
    context: Arc<Context>,
    queue: mpsc::Sender<InFlight>,
    stop: CancellationToken,
) -> End {
    loop {
        let frame = tokio::select! {
            biased;
            () = stop.cancelled() => return End::Drained,
            frame = async { frames.begun().await?; frames.read().await } => frame,
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return end_of(error),
        };
        match dispatch::start(&context, frame).await {
            Ok(in_flight) => {
                if let Err(mpsc::error::SendError(in_flight)) = queue.send(in_flight).await {
                    finish_alone(vec![in_flight]);
                    return End::HungUp;
                }
            }
            Err(refused) => return End::Closed(refused.to_string()),
        }
    }
}

fn end_of(error: FrameError) -> End {
    match error {
        FrameError::Closed | FrameError::HalfFrame | FrameError::Idle | FrameError::Io(_) => End::HungUp,
        FrameError::Slow | FrameError::Memory | FrameError::Length { .. } => End::Closed(error.to_string()),
    }
}

/// The writer's side: what waits, and what it is waiting for.
struct Replies {
    in_flight: mpsc::Receiver<InFlight>,
    current: Option<InFlight>,
}

impl Replies {
    /// Answers in order until the reader stops.
    async fn write<W: AsyncWrite + Unpin>(&mut self, outbox: &mut Outbox<W>) -> End {
        loop {
            let next = match self.in_flight.try_recv() {
                Ok(next) => Some(next),
                Err(_) => {
                    if outbox.waiting() > 0 && outbox.flush().await.is_err() {
                        return End::HungUp;
                    }
                    self.in_flight.recv().await
                }
            };
            let Some(next) = next else { return End::Drained };
            let reply = &mut self.current.insert(next).reply;
            let reply = match poll!(&mut *reply) {
                std::task::Poll::Ready(reply) => reply,
                // The reply goes on while the client takes its time: others may wait for what it reads.
                std::task::Poll::Pending if outbox.waiting() > 0 => {
                    let reply = async { Ok(reply.await) };
                    let Ok(((), reply)) = tokio::try_join!(outbox.flush(), reply) else { return End::HungUp };
                    reply
                }
                std::task::Poll::Pending => reply.await,
            };
            self.current = None;
            match reply {
                Reply::Send(pieces) => outbox.push(pieces),
                Reply::Nothing => {}
                Reply::Close(reason) => {
                    drop(outbox.flush().await);
                    return End::Closed(reason.to_owned());
                }
            }
            if outbox.waiting() >= GATHERED_BYTES_MAX && outbox.flush().await.is_err() {
                return End::HungUp;
            }
        }
    }

    /// Nobody waits for answers any more.
    fn abandon(&mut self) {
        self.in_flight.close();
        let mut left: Vec<InFlight> = self.current.take().into_iter().collect();
        while let Ok(next) = self.in_flight.try_recv() {
            left.push(next);
        }
        finish_alone(left);
    }
}

/// Finishes what has effects, in order; drops the rest.
fn finish_alone(left: Vec<InFlight>) {
    let left: Vec<InFlight> = left.into_iter().filter(|in_flight| in_flight.has_effects).collect();
    if !left.is_empty() {
        tokio::spawn(async move {
            for in_flight in left {
                drop(in_flight.reply.await);
            }
        });
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
