//! The service as its clients see it: a real broker on memory stores, a real listener, the generated client.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use broker::{
    Broker, BrokerSettings, CreateTopic, FetchPartition, FetchRequest, IsolationLevel, Metrics, OrganizationId,
};
use bytes::Bytes;
use grpc_gateway::{GrpcServer, GrpcSettings, proto::*};
use metadata::MemoryStore;
use opendal::{Operator, services::Memory};
use producer_service_client::ProducerServiceClient;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, transport::Channel};

const DATABASE_TIME: i64 = 1_700_000_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker with topic `t` of eight partitions, served.
struct Fixture {
    broker: Broker,
    metadata: Arc<MemoryStore>,
    store: Operator,
    address: String,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Fixture {
    async fn start() -> Self {
        let metadata = Arc::new(MemoryStore::new(uuid::Uuid::from_u128(7), || DATABASE_TIME));
        let store = Operator::new(Memory::default()).unwrap();
        let settings = BrokerSettings::for_tests("agent");
        let broker =
            Broker::start(settings, metadata.clone(), store.clone(), Arc::new(Metrics::default()), 1).await.unwrap();
        let server = GrpcServer::bind("127.0.0.1:0", broker.clone(), GrpcSettings::default()).await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let serving = tokio::spawn(async move { server.serve(token).await.unwrap() });
        let fixture = Self { broker, metadata, store, address, shutdown, serving };
        fixture.create_topic("t", 8).await;
        fixture
    }

    async fn create_topic(&self, name: &str, partition_count: i32) {
        let topic = CreateTopic {
            organization: OrganizationId::DEFAULT,
            name: name.to_owned(),
            partition_count,
            replication_factor: -1,
            configs: Vec::new(),
            validate_only: false,
        };
        self.broker.create_topic(topic).await.unwrap();
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    async fn client(&self) -> ProducerServiceClient<Channel> {
        ProducerServiceClient::new(self.channel().await)
    }

    /// The committed bytes of a partition of `t`.
    async fn stored(&self, partition: i32) -> Bytes {
        let topic = self.broker.topic(OrganizationId::DEFAULT, "t").unwrap();
        let partition = FetchPartition {
            topic_id: topic.topic_id,
            partition,
            fetch_offset: 0,
            max_bytes: 1 << 20,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        };
        let request = FetchRequest {
            organization: OrganizationId::DEFAULT,
            max_wait: PATIENCE,
            min_bytes: 1,
            max_bytes: 1 << 20,
            isolation: IsolationLevel::ReadUncommitted,
            rack: None,
            partitions: vec![partition],
        };
        let fetched = self.broker.fetch(request).await.remove(0).result.unwrap();
        fetched.records.concat().into()
    }

    /// Shuts down and waits for the server's end.
    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.serving).await.expect("the server stops").unwrap();
    }
}

fn record(value: &str) -> Record {
    Record { value: Bytes::copy_from_slice(value.as_bytes()), ..Record::default() }
}

fn keyed(key: &str, value: &str) -> Record {
    Record { key: Some(Bytes::copy_from_slice(key.as_bytes())), ..record(value) }
}

fn request(values: &[&str]) -> ProduceRequest {
    let records = values.iter().map(|value| record(value)).collect();
    ProduceRequest { topic: "t".to_owned(), records, ..ProduceRequest::default() }
}

fn idempotent(producer_id: &str, epoch: u32, base_sequence: i64, values: &[&str]) -> ProduceRequest {
    ProduceRequest {
        producer_id: Some(producer_id.to_owned()),
        producer_epoch: Some(epoch),
        base_sequence: Some(base_sequence),
        ..request(values)
    }
}

fn reason(status: &Status) -> &str {
    status.metadata().get("streamhouse-error").map_or("", |value| value.to_str().unwrap())
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_means_durable_and_says_where() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let first = client.produce(request(&["a", "b"])).await.unwrap().into_inner();
    assert_eq!((first.base_offset, first.record_count, first.partition), (0, 2, 0));
    assert!(!first.duplicates_filtered && first.partitions.is_empty() && first.record_errors.is_empty());
    let second = client.produce(request(&["c"])).await.unwrap().into_inner();
    assert_eq!(second.base_offset, 2);

    let receipt = first.receipt.expect("a durable write has a receipt");
    let object = fixture.store.read(&receipt.segment_object_key).await.expect("the object is there").to_bytes();
    assert!(object.windows(4).any(|window| window == receipt.checksum.to_be_bytes()), "it holds the batch");
    let stored = fixture.stored(0).await;
    assert_eq!(stored[17..21], receipt.checksum.to_be_bytes(), "the batch's CRC field");
    assert_eq!(stored[12..16], receipt.leader_epoch.to_be_bytes());
    let base_timestamp = i64::from_be_bytes(stored[27..35].try_into().unwrap());
    assert!((DATABASE_TIME..DATABASE_TIME + 60_000).contains(&base_timestamp), "not set means the database's time");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_answered_with_its_first_offset() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let producer = client.init_producer(InitProducerRequest::default()).await.unwrap().into_inner();
    assert_eq!(producer.epoch, 0);
    producer.producer_id.parse::<i64>().expect("a decimal");
    let send = |sequence, value| idempotent(&producer.producer_id, 0, sequence, &[value]);
    client.produce(send(0, "a")).await.unwrap();
    let first = client.produce(send(1, "b")).await.unwrap().into_inner();
    client.produce(send(2, "c")).await.unwrap();
    let again = client.produce(send(1, "b")).await.unwrap().into_inner();
    assert_eq!((first.base_offset, first.duplicates_filtered), (1, false));
    assert_eq!((again.base_offset, again.duplicates_filtered), (1, true));
    let next = client.produce(send(3, "d")).await.unwrap().into_inner();
    assert_eq!(next.base_offset, 3, "the duplicate took no offset");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_and_an_old_epoch_are_failed_preconditions() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let id = client.init_producer(InitProducerRequest::default()).await.unwrap().into_inner().producer_id;
    client.produce(idempotent(&id, 0, 0, &["a"])).await.unwrap();
    let gap = client.produce(idempotent(&id, 0, 5, &["b"])).await.unwrap_err();
    assert_eq!((gap.code(), reason(&gap)), (Code::FailedPrecondition, "OUT_OF_ORDER_SEQUENCE"));
    client.produce(idempotent(&id, 1, 0, &["c"])).await.unwrap();
    let fenced = client.produce(idempotent(&id, 0, 1, &["d"])).await.unwrap_err();
    assert_eq!((fenced.code(), reason(&fenced)), (Code::FailedPrecondition, "INVALID_PRODUCER_EPOCH"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conditional_append_writes_at_its_offset_or_says_the_end() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let at = |offset| ProduceRequest { expected_base_offset: Some(offset), ..request(&["a", "b"]) };
    assert_eq!(client.produce(at(0)).await.unwrap().into_inner().base_offset, 0);
    for wrong in [0, 1, 3] {
        let status = client.produce(at(wrong)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::FailedPrecondition, "UNEXPECTED_OFFSET"));
        assert_eq!(status.metadata().get("streamhouse-end-offset").unwrap(), "2");
    }
    assert_eq!(client.produce(at(2)).await.unwrap().into_inner().base_offset, 2);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_not_found_and_never_created() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let topic = ProduceRequest { topic: "other".to_owned(), ..request(&["a"]) };
    assert_eq!(client.produce(topic).await.unwrap_err().code(), Code::NotFound);
    assert!(fixture.broker.topic(OrganizationId::DEFAULT, "other").is_none());
    let partition = ProduceRequest { partition: 8, ..request(&["a"]) };
    let status = client.produce(partition).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("8 partitions"), "{}", status.message());

    let mut foreign = Request::new(request(&["a"]));
    foreign.metadata_mut().insert("x-organization-id", "nobody".parse().unwrap());
    let status = client.produce(foreign).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::NotFound, "UNKNOWN_ORGANIZATION"));
    let mut named = Request::new(request(&["a"]));
    named.metadata_mut().insert("x-organization-id", "default".parse().unwrap());
    client.produce(named).await.unwrap();
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_producer_and_metadata_must_name_one_organization() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let init = |name: &str| InitProducerRequest { organization_id: Some(name.to_owned()), ..Default::default() };
    client.init_producer(init("default")).await.unwrap();
    assert_eq!(client.init_producer(init("nobody")).await.unwrap_err().code(), Code::NotFound);
    let mut both = Request::new(init("nobody"));
    both.metadata_mut().insert("x-organization-id", "default".parse().unwrap());
    assert_eq!(client.init_producer(both).await.unwrap_err().code(), Code::InvalidArgument);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_unimplemented_and_store_nothing() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let statuses = [
        client.begin_transaction(BeginTransactionRequest::default()).await.unwrap_err(),
        client.commit_transaction(CommitTransactionRequest::default()).await.unwrap_err(),
        client.abort_transaction(AbortTransactionRequest::default()).await.unwrap_err(),
        client
            .init_producer(InitProducerRequest { transactional_id: Some("x".to_owned()), ..Default::default() })
            .await
            .unwrap_err(),
        client.produce(ProduceRequest { transaction_id: Some("x".to_owned()), ..request(&["a"]) }).await.unwrap_err(),
    ];
    for status in statuses {
        assert_eq!((status.code(), reason(&status)), (Code::Unimplemented, "TRANSACTIONS_NOT_SUPPORTED"));
    }
    assert_eq!(client.produce(request(&["b"])).await.unwrap().into_inner().base_offset, 0);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeat_knows_which_producer_ids_were_given_out() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let producer_id = client.init_producer(InitProducerRequest::default()).await.unwrap().into_inner().producer_id;
    let beat = |producer_id: &str, producer_epoch| HeartbeatRequest {
        producer_id: producer_id.to_owned(),
        producer_epoch,
        transaction_id: None,
    };
    let valid = client.heartbeat(beat(&producer_id, 0)).await.unwrap().into_inner();
    assert_eq!((valid.valid, valid.error), (true, None));
    let unknown = client.heartbeat(beat("9223372036854775807", 0)).await.unwrap().into_inner();
    assert!(!unknown.valid && unknown.error.is_some());
    assert_eq!(client.heartbeat(beat("x", 0)).await.unwrap_err().code(), Code::InvalidArgument);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn early_acks_say_what_they_know_and_the_write_goes_on() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let with = |ack_mode: AckMode, value| ProduceRequest { ack_mode: ack_mode.into(), ..request(&[value]) };
    client.produce(request(&["zero"])).await.unwrap();
    let none = client.produce(with(AckMode::AckNone, "one")).await.unwrap().into_inner();
    assert_eq!((none.base_offset, none.receipt), (0, None));
    let buffered = client.produce(with(AckMode::AckBuffered, "two")).await.unwrap().into_inner();
    assert_eq!((buffered.base_offset, buffered.receipt), (2, None));
    let durable = client.produce(with(AckMode::AckDurable, "three")).await.unwrap().into_inner();
    assert_eq!(durable.base_offset, 3);
    let stored = fixture.stored(0).await;
    assert!(["zero", "one", "two", "three"].iter().all(|value| contains(&stored, value)));
    // What can be checked at once is still refused, whatever the ack mode.
    let unknown = ProduceRequest { topic: "other".to_owned(), ..with(AckMode::AckNone, "x") };
    assert_eq!(client.produce(unknown).await.unwrap_err().code(), Code::NotFound);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_spread_a_request_over_partitions() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let keys: Vec<String> = (0..100).map(|i| format!("key-{i}")).collect();
    let records = keys.iter().map(|key| keyed(key, &format!("value of {key}."))).collect();
    let by_key = ProduceRequest { partition_by_key: true, records, ..request(&[]) };
    let response = client.produce(by_key).await.unwrap().into_inner();
    assert_eq!(response.record_count, 100);
    assert_eq!(response.partitions.iter().map(|result| result.record_count).sum::<u32>(), 100);
    assert_eq!(response.partitions[0].partition, response.partition);
    let by_partition: BTreeMap<_, _> = response.partitions.iter().map(|result| (result.partition, result)).collect();
    assert_eq!(by_partition.len(), 8, "100 keys reach all of 8 partitions");
    let mut found = 0;
    for partition in 0..8 {
        assert!(by_partition[&partition].receipt.is_some());
        let stored = fixture.stored(i32::try_from(partition).unwrap()).await;
        found += keys.iter().filter(|key| contains(&stored, &format!("value of {key}."))).count();
    }
    assert_eq!(found, 100);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_over_max_message_bytes_names_the_setting() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    // Kafka's default is 1,048,588.
    let large = request(&["x".repeat(1_100_000).as_str()]);
    let status = client.produce(large).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, "MESSAGE_TOO_LARGE"));
    assert!(status.message().contains("max.message.bytes"), "{}", status.message());
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_answers_in_order_and_survives_a_bad_request() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let requests: Vec<_> = (0..500)
        .map(|i| match i {
            100 => ProduceRequest { topic: "other".to_owned(), ..request(&["bad"]) },
            200 => ProduceRequest { expected_base_offset: Some(7), ..request(&["late"]) },
            _ => request(&[format!("value {i}.").as_str()]),
        })
        .collect();
    let mut answers = client.produce_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut next_offset = 0;
    for sequence in 0..500 {
        let answer = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.sequence, sequence);
        match answer.result.unwrap() {
            produce_stream_response::Result::Response(response) => {
                assert_eq!(response.base_offset, next_offset, "in order");
                assert!(response.receipt.is_some());
                next_offset += 1;
            }
            produce_stream_response::Result::Failure(failure) if sequence == 100 => {
                assert_eq!((failure.code, failure.error.as_str()), (5, "UNKNOWN_TOPIC_OR_PARTITION"));
            }
            produce_stream_response::Result::Failure(failure) => {
                assert_eq!((sequence, failure.code, failure.end_offset), (200, 9, Some(199)));
            }
        }
    }
    assert!(answers.next().await.is_none(), "the stream ends with OK");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_pipelines_sequences_and_filters_what_is_sent_again() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let id = client.init_producer(InitProducerRequest::default()).await.unwrap().into_inner().producer_id;
    for round in 0..2 {
        let requests: Vec<_> = (0..5).map(|sequence| idempotent(&id, 0, sequence, &["a"])).collect();
        let answers = client.produce_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
        let answers: Vec<_> = answers.map(|answer| answer.unwrap().result.unwrap()).collect().await;
        for (index, answer) in answers.into_iter().enumerate() {
            let produce_stream_response::Result::Response(response) = answer else { panic!("{answer:?}") };
            assert_eq!((response.base_offset, response.duplicates_filtered), (index as u64, round == 1));
        }
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_answers_what_a_stream_read_and_then_ends_it() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let (requests, outgoing) = mpsc::channel(8);
    requests.send(request(&["a"])).await.unwrap();
    let mut answers = client.produce_stream(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    assert!(answers.next().await.unwrap().is_ok());
    let mut health = tonic_health::pb::health_client::HealthClient::new(fixture.channel().await);
    let watch = tonic_health::pb::HealthCheckRequest { service: "streamhouse.producer.ProducerService".to_owned() };
    let mut watched = health.watch(watch).await.unwrap().into_inner();
    assert_eq!(watched.next().await.unwrap().unwrap().status, 1, "SERVING");

    let address = fixture.address.clone();
    let ended = tokio::spawn(async move { answers.next().await });
    fixture.stop().await;
    let status = ended.await.unwrap().unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, "DRAINING"));
    assert_eq!(watched.next().await.unwrap().unwrap().status, 2, "NOT_SERVING");
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_names_the_server_and_the_service() {
    let fixture = Fixture::start().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(fixture.channel().await);
    for service in ["", "streamhouse.producer.ProducerService"] {
        let check = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(check).await.unwrap().into_inner().status, 1);
    }
    let unknown = tonic_health::pb::HealthCheckRequest { service: "x".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_lists_the_services_under_both_of_its_names() {
    use tonic_reflection::pb::{v1, v1alpha};
    let fixture = Fixture::start().await;

    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let list = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(fixture.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::iter([list])).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(services) = answer else { panic!() };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    for name in ["streamhouse.producer.ProducerService", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|listed| listed == name), "{name} in {names:?}");
    }

    let symbol = "streamhouse.producer.ProducerService".to_owned();
    let symbol = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol);
    let symbol = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(fixture.channel().await);
    let mut answers = client.server_reflection_info(tokio_stream::iter([symbol])).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(file) = answer else { panic!() };
    assert!(contains(&file.file_descriptor_proto[0], "expected_base_offset"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn back_pressure_is_resource_exhausted_and_passes() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let all = fixture.broker.budget().acquire(usize::MAX).await;
    let status = client.produce(request(&["a"])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.metadata().get("grpc-retry-pushback-ms").is_some(), "{status:?}");
    drop(all);
    client.produce(request(&["a"])).await.unwrap();
    assert!(fixture.broker.budget().try_acquire(usize::MAX).is_some(), "everything was given back");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_over_a_limit_are_refused_and_the_connection_lives() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let long = "x".repeat(17 * 1024 * 1024);
    let status = client.produce(request(&[long.as_str()])).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let bomb = ProduceRequest { records: vec![Record::default(); 100_000], ..request(&[]) };
    let status = client.produce(bomb).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("65536"), "{}", status.message());
    client.produce(request(&["a"])).await.unwrap();
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_does_not_undo_its_write() {
    let fixture = Fixture::start().await;
    for round in 0..50 {
        let mut client = fixture.client().await;
        let mut request = request(&["gone"]);
        request.partition = 1;
        let call = client.produce(request);
        let _ = timeout(Duration::from_micros(200 * round), call).await;
    }
    let mut client = fixture.client().await;
    let last = ProduceRequest { partition: 1, ..request(&["last"]) };
    let response = client.produce(last).await.unwrap().into_inner();
    let stored = fixture.stored(1).await;
    let written = stored.windows(4).filter(|window| window == b"gone").count();
    assert_eq!(response.base_offset, written as u64, "every offset before the last record holds one");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_metadata_away_nothing_is_acked_and_a_retry_succeeds_later() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let id = client.init_producer(InitProducerRequest::default()).await.unwrap().into_inner().producer_id;
    client.produce(idempotent(&id, 0, 0, &["a"])).await.unwrap();
    fixture.metadata.set_unavailable(true);
    let short = ProduceRequest { timeout_ms: Some(500), ..idempotent(&id, 0, 1, &["b"]) };
    let status = timeout(PATIENCE, client.produce(short)).await.unwrap().unwrap_err();
    assert!(matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded), "{status:?}");
    fixture.metadata.set_unavailable(false);
    let mut answered = None;
    for _ in 0..100 {
        match client.produce(idempotent(&id, 0, 1, &["b"])).await {
            Ok(response) => {
                answered = Some(response.into_inner());
                break;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    assert_eq!(answered.expect("it comes back").base_offset, 1);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_http2_are_closed_and_hurt_nobody() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"SSH-2.0-x\r\n",
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        &[0xff; 4096],
    ];
    for bytes in garbage {
        let mut socket = TcpStream::connect(&fixture.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        if bytes.len() >= 24 {
            let mut answer = Vec::new();
            let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("it is closed");
        }
    }
    client.produce(request(&["a"])).await.unwrap();
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_an_error_at_bind() {
    let fixture = Fixture::start().await;
    let second = GrpcServer::bind(fixture.address.as_str(), fixture.broker.clone(), GrpcSettings::default()).await;
    assert_eq!(second.err().unwrap().kind(), std::io::ErrorKind::AddrInUse);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_preface_is_closed() {
    let fixture = Fixture::start().await;
    let opened = tokio::time::Instant::now();
    let mut socket = TcpStream::connect(&fixture.address).await.unwrap();
    socket.write_all(b"PRI").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("it is closed");
    assert!(opened.elapsed() >= Duration::from_secs(15));
}
