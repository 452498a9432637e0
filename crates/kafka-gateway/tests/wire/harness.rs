//! A broker in memory and a raw client that speaks frames to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerSettings, Metrics, NewRecord, encode_batch};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_gateway::{Addresses, FetchSessions, KafkaSettings, serve_connection};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{CreateTopicsRequest, MetadataRequest, ProduceRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use metadata::MemoryStore;
use opendal::Operator;
use opendal::services::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const PEER: &str = "127.0.0.1:50000";
pub(crate) const LOCAL: &str = "127.0.0.1:9092";

pub(crate) struct Server {
    pub(crate) broker: Broker,
    pub(crate) shutdown: CancellationToken,
    sessions: FetchSessions,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(BrokerSettings::for_tests("a")).await
    }

    pub(crate) async fn start_with(settings: BrokerSettings) -> Self {
        let metadata = Arc::new(MemoryStore::new(Uuid::from_u128(7), || 1_700_000_000_000));
        let store = Operator::new(Memory::default()).unwrap();
        let broker = Broker::start(settings, metadata, store, Arc::new(Metrics::default()), 1).await.unwrap();
        Self { broker, shutdown: CancellationToken::new(), sessions: FetchSessions::default() }
    }

    pub(crate) fn connect(&self) -> Client {
        self.connection().0
    }

    /// A client, and the task that serves it.
    pub(crate) fn connection(&self) -> (Client, tokio::task::JoinHandle<()>) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let addresses =
            Addresses { peer: PEER.parse::<SocketAddr>().unwrap(), local: LOCAL.parse::<SocketAddr>().unwrap() };
        let (broker, sessions, shutdown) = (self.broker.clone(), self.sessions.clone(), self.shutdown.clone());
        let serving = tokio::spawn(async move {
            serve_connection(far, addresses, broker, sessions, &KafkaSettings::default(), shutdown).await;
        });
        (Client { stream: near, correlation_id: 0 }, serving)
    }

    /// A client, and a topic of two partitions with its id.
    pub(crate) async fn with_topic(name: &str) -> (Self, Client, Uuid) {
        let server = Self::start().await;
        let mut client = server.connect();
        let id = client.create_topic(name, 2).await;
        (server, client, id)
    }
}

pub(crate) struct Client {
    pub(crate) stream: DuplexStream,
    correlation_id: i32,
}

/// The bytes of one request, with its length.
pub(crate) fn frame<R: Request>(version: i16, correlation_id: i32, request: &R) -> Bytes {
    let mut body = header(R::KEY, version, correlation_id, R::header_version(version));
    request.encode(&mut body, version).unwrap();
    with_length(&body)
}

pub(crate) fn header(key: i16, version: i16, correlation_id: i32, header_version: i16) -> BytesMut {
    let mut out = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("test")))
        .encode(&mut out, header_version)
        .unwrap();
    out
}

pub(crate) fn with_length(body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + body.len());
    out.put_i32(body.len() as i32);
    out.put_slice(body);
    out.freeze()
}

pub(crate) fn decode<R: Request>(version: i16, correlation_id: i32, mut frame: Bytes) -> R::Response {
    let header_version = R::Response::header_version(version);
    let header = kafka_protocol::messages::ResponseHeader::decode(&mut frame, header_version).unwrap();
    assert_eq!(header.correlation_id, correlation_id, "answers come in request order");
    let response = R::Response::decode(&mut frame, version).unwrap();
    assert!(frame.is_empty(), "bytes are left after a response");
    response
}

impl Client {
    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let id = self.send(version, request).await;
        self.receive::<R>(version, id).await
    }

    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.correlation_id += 1;
        let frame = frame(version, self.correlation_id, request);
        self.stream.write_all(&frame).await.unwrap();
        self.correlation_id
    }

    pub(crate) async fn receive<R: Request>(&mut self, version: i16, correlation_id: i32) -> R::Response {
        decode::<R>(version, correlation_id, self.next_frame().await.expect("an answer"))
    }

    /// The next answer without its length; `None` when the server closed.
    pub(crate) async fn next_frame(&mut self) -> Option<Bytes> {
        let length = self.stream.read_i32().await.ok()?;
        let mut body = vec![0; length as usize];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(Bytes::from(body))
    }

    pub(crate) async fn create_topic(&mut self, name: &str, partitions: i32) -> Uuid {
        let topic = kafka_protocol::messages::create_topics_request::CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(-1);
        let response = self.call(7, &CreateTopicsRequest::default().with_topics(vec![topic])).await;
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
        response.topics[0].topic_id
    }

    /// Still served?
    pub(crate) async fn works(&mut self) -> bool {
        let response = self.call(12, &MetadataRequest::default().with_topics(Some(Vec::new()))).await;
        response.brokers.len() == 1
    }
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub(crate) fn batch(values: &[&str]) -> Bytes {
    let record = |value: &&str| NewRecord {
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        timestamp: 1_700_000_000_000,
        headers: Vec::new(),
    };
    encode_batch(&values.iter().map(record).collect::<Vec<_>>(), None).unwrap()
}

pub(crate) fn produce(name: &str, id: Uuid, partitions: &[(i32, Option<Bytes>)]) -> ProduceRequest {
    let data = partitions
        .iter()
        .map(|(index, records)| PartitionProduceData::default().with_index(*index).with_records(records.clone()));
    let topic =
        TopicProduceData::default().with_name(topic_name(name)).with_topic_id(id).with_partition_data(data.collect());
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic])
}

pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// Half a second that is long for an answer, short for a test.
pub(crate) const SOON: Duration = Duration::from_millis(500);
