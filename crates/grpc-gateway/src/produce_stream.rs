//! `ProduceStream`: requests are placed in order and answered in order, with a bounded number between the two.
//!
//! One task reads and places; the answers are pulled by the connection. The queue between them is the bound: nobody takes its
//! answers → it fills → the task stops reading → flow control stops the client.

use broker::{Broker, FrontEnd, OrganizationId};
use futures::{Stream, StreamExt};
use tokio::{
    select,
    sync::mpsc::{self, Sender},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::{
    admission::RequestBytes,
    limits,
    produce::{Appender, Arrival, Placed},
    proto::{ProduceRequest, ProduceStreamResponse, produce_stream_response},
    status::{Failure, Refusal},
};

/// What a stream consists of.
pub(crate) struct Conversation {
    pub(crate) broker: Broker,
    pub(crate) appender: Appender,
    pub(crate) organization: OrganizationId,
    pub(crate) requests: Streaming<ProduceRequest>,
    pub(crate) received: RequestBytes,
    pub(crate) shutdown: CancellationToken,
}

/// Something that is answered in its turn.
enum Turn {
    /// A request, by its number in the stream.
    Request { sequence: u64, started: Instant, placed: Result<Placed, Failure> },
    /// The stream's end with an error, after all answers before it.
    End(Status),
}

/// Begins to read; the answers are the stream returned.
pub(crate) fn converse(
    conversation: Conversation,
) -> impl Stream<Item = Result<ProduceStreamResponse, Status>> + Send + use<> {
    let broker = conversation.broker.clone();
    let (turns, in_order) = mpsc::channel(limits::STREAM_REQUESTS_IN_FLIGHT);
    tokio::spawn(read(conversation, turns));
    ReceiverStream::new(in_order).then(move |turn| {
        let broker = broker.clone();
        async move { answer(&broker, turn).await }
    })
}

/// Reads and places requests until the client ends the stream or goes away, or the agent drains.
async fn read(mut conversation: Conversation, turns: Sender<Turn>) {
    let mut sequence = 0;
    loop {
        // The place in the queue comes first, so that a request that is read has one.
        let Ok(place) = turns.reserve().await else { return };
        let request = select! {
            biased;
            () = conversation.shutdown.cancelled() => return place.send(Turn::End(Refusal::Draining.into())),
            () = turns.closed() => return,
            request = conversation.requests.message() => request,
        };
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(status) => return place.send(Turn::End(status)),
        };
        let started = Instant::now();
        let arrival = Arrival {
            organization: conversation.organization,
            received: conversation.received.take(),
            deadline: None,
            memory_wait: limits::STREAM_MEMORY_WAIT,
        };
        let placed = conversation.appender.place(arrival, request).await;
        place.send(Turn::Request { sequence, started, placed });
        sequence += 1;
    }
}

async fn answer(broker: &Broker, turn: Turn) -> Result<ProduceStreamResponse, Status> {
    let (sequence, started, placed) = match turn {
        Turn::Request { sequence, started, placed } => (sequence, started, placed),
        Turn::End(status) => return Err(status),
    };
    let answered = match placed {
        Ok(placed) => placed.answer().await,
        Err(failure) => Err(failure),
    };
    let failed = answered.is_err();
    broker.metrics().request(FrontEnd::Grpc, "ProduceStream", started.elapsed().as_secs_f64(), failed);
    let result = match answered {
        Ok(response) => produce_stream_response::Result::Response(response),
        Err(failure) => produce_stream_response::Result::Failure(failure.into_proto()),
    };
    Ok(ProduceStreamResponse { sequence, result: Some(result) })
}
