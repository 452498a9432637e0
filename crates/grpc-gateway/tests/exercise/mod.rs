//! What a client may send, to the real services over a real broker in memory: for the fuzz target `grpc_request` and the
//! replay of its corpus.
//!
//! An input is a byte that picks the method, and messages: each two bytes of length (made to fit) and its bytes. With the
//! highest bit of the first byte the rest is the body as it is. Whatever the bytes: nothing panics, and each call ends with a
//! status that says whose fault it was: never INTERNAL or UNKNOWN for messages that were framed as gRPC frames them. (A call
//! without any message is tonic's to refuse, which says INTERNAL.)

#![allow(dead_code, reason = "the fuzz target and the replay each use a part of it")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use broker::{Broker, BrokerSettings, CreateTopic, Metrics, OrganizationId};
use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use metadata::MemoryStore;
use opendal::Operator;
use opendal::services::Memory;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::service::Routes;
use uuid::Uuid;

const METHODS: [&str; 4] = ["Produce", "ProduceStream", "InitProducer", "Heartbeat"];
const RAW: u8 = 0x80;
const INPUT_BYTES_MAX: usize = 256 * 1024;
/// Longest a call may take, of the runtime's paused time.
const CALL_MAX: Duration = Duration::from_secs(120);
/// gRPC's numbers of the two statuses that blame us.
const OUR_FAULT: [&[u8]; 2] = [b"2", b"13"];

/// A broker with its services, and what inputs are sent to it.
pub(crate) struct Exercise {
    world: Option<(Runtime, Routes)>,
    inputs: usize,
    inputs_per_broker: usize,
}

impl Exercise {
    /// Each broker gets so many inputs, then a new one takes its place.
    pub(crate) fn new(inputs_per_broker: usize) -> Self {
        Self { world: None, inputs: 0, inputs_per_broker }
    }

    /// One call.
    ///
    /// # Panics
    /// If it finds something.
    pub(crate) fn run(&mut self, input: &[u8]) {
        let Some((selector, rest)) = input[..input.len().min(INPUT_BYTES_MAX)].split_first() else { return };
        if self.inputs.is_multiple_of(self.inputs_per_broker) {
            self.world = None;
        }
        self.inputs += 1;
        let (runtime, services) = self.world.get_or_insert_with(world);
        let method = METHODS[usize::from(selector & !RAW) % METHODS.len()];
        let raw = selector & RAW != 0;
        let chunks = if raw { VecDeque::from([Bytes::copy_from_slice(rest)]) } else { messages(rest) };
        let well_formed = !raw && !chunks.is_empty();
        let status = runtime.block_on(call(services, method, chunks));
        assert!(!well_formed || !OUR_FAULT.contains(&&status[..]), "{method}: grpc-status {status:?}");
    }
}

fn world() -> (Runtime, Routes) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let services = runtime.block_on(async {
        let metadata = Arc::new(MemoryStore::new(Uuid::from_u128(7), || 1_700_000_000_000));
        let store = Operator::new(Memory::default()).expect("a store in memory");
        let settings = BrokerSettings::for_tests("a");
        let broker = Broker::start(settings, metadata, store, Arc::new(Metrics::default()), 1).await.expect("a broker");
        let topic = CreateTopic {
            organization: OrganizationId::DEFAULT,
            name: "t".into(),
            partition_count: 2,
            replication_factor: -1,
            configs: Vec::new(),
            validate_only: false,
        };
        broker.create_topic(topic).await.expect("a topic");
        grpc_gateway::services(broker, CancellationToken::new()).expect("the services")
    });
    (runtime, services)
}

/// Messages as gRPC frames them.
fn messages(mut input: &[u8]) -> VecDeque<Bytes> {
    let mut messages = VecDeque::new();
    while let Some((length, rest)) = input.split_first_chunk() {
        let (message, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        let mut framed = BytesMut::with_capacity(5 + message.len());
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).expect("two bytes of length"));
        framed.put_slice(message);
        messages.push_back(framed.freeze());
        input = rest;
    }
    messages
}

/// Returns the status, once the answer has been read to its end.
async fn call(services: &mut Routes, method: &str, chunks: VecDeque<Bytes>) -> Vec<u8> {
    let request = http::Request::post(format!("http://a/streamhouse.producer.ProducerService/{method}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(Body::new(Chunks(chunks))).expect("a request");
    let answered = async {
        let Ok(response) = services.call(request).await;
        let (head, mut body) = response.into_parts();
        let mut status = head.headers.get("grpc-status").cloned();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            if let Some(trailers) = frame.expect("an answer is not broken off").trailers_ref() {
                status = trailers.get("grpc-status").cloned();
            }
        }
        status.expect("an answer has a status").as_bytes().to_vec()
    };
    timeout(CALL_MAX, answered).await.expect("a call ends")
}

/// A request's body.
struct Chunks(VecDeque<Bytes>);

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }
}
