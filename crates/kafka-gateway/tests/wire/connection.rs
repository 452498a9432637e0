//! Connections: slow, greedy, gone and many; the listener and its shutdown.

use std::time::Duration;

use broker::{Broker, OrganizationId};
use bytes::Bytes;
use kafka_gateway::{KafkaServer, KafkaSettings};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{CreateTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::{Server, batch, decode, frame, produce, topic_name};
use crate::produce_and_fetch::fetch;

fn brokers() -> MetadataRequest {
    MetadataRequest::default().with_topics(Some(Vec::new()))
}

#[tokio::test]
async fn ten_thousand_pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let client = server.connect();
    let (mut reader, mut writer) = tokio::io::split(client.stream);
    let sending = tokio::spawn(async move {
        for id in 0..10_000 {
            writer.write_all(&frame(9, id, &brokers())).await.unwrap();
        }
        writer
    });
    for id in 0..10_000 {
        let length = reader.read_i32().await.unwrap();
        let mut answer = vec![0; length as usize];
        reader.read_exact(&mut answer).await.unwrap();
        decode::<MetadataRequest>(9, id, Bytes::from(answer));
    }
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn a_client_that_sends_byte_by_byte_is_served() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    let request = frame(13, 9, &produce("", id, &[(0, Some(batch(&["slow"])))]));
    for byte in &request {
        client.stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let response = decode::<ProduceRequest>(13, 9, client.next_frame().await.unwrap());
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

#[tokio::test]
async fn a_frame_cut_off_in_its_middle_disturbs_nobody() {
    let (server, mut honest, id) = Server::with_topic("t").await;
    let whole = frame(13, 1, &produce("", id, &[(0, Some(batch(&["x"])))]));
    for length in 1..whole.len() {
        let mut client = server.connect();
        client.stream.write_all(&whole[..length]).await.unwrap();
        drop(client);
    }
    let response = honest.call(13, &produce("", id, &[(0, Some(batch(&["y"])))])).await;
    assert_eq!(response.responses[0].partition_responses[0].base_offset, 0);
}

#[tokio::test(start_paused = true)]
async fn half_a_frame_and_then_silence_is_closed_in_time() {
    let server = Server::start().await;
    let mut client = server.connect();
    let mut honest = server.connect();
    let began = Instant::now();
    client.stream.write_all(&frame(9, 1, &brokers())[..9]).await.unwrap();
    assert!(client.next_frame().await.is_none());
    assert!((Duration::from_secs(55)..Duration::from_secs(70)).contains(&began.elapsed()));
    assert!(honest.works().await);
}

/// Whatever was said of the frame's length, and however fast it began.
#[tokio::test(start_paused = true)]
async fn a_frame_that_comes_to_a_trickle_is_closed_in_time() {
    let server = Server::start().await;
    let mut honest = server.connect();
    for at_once in [8, 20 << 20] {
        let mut client = server.connect();
        client.stream.write_i32(100 << 20).await.unwrap();
        client.stream.write_all(&vec![0; at_once]).await.unwrap();
        let began = Instant::now();
        let (mut reader, mut writer) = tokio::io::split(client.stream);
        let trickle = async {
            while writer.write_all(&[0]).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        };
        tokio::join!(trickle, async { assert!(reader.read_u8().await.is_err(), "closed") });
        assert!((Duration::from_secs(55)..Duration::from_secs(70)).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert!(honest.works().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_frame_of_a_slow_link_has_the_time_it_needs() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    let value = "x".repeat(16 << 20);
    let request = frame(13, 9, &produce("", id, &[(0, Some(batch(&[&value])))]));
    let began = Instant::now();
    // 70 KiB/s, with a break of half a minute.
    for (second, part) in request.chunks(70 << 10).enumerate() {
        client.stream.write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_secs(if second == 100 { 30 } else { 1 })).await;
    }
    assert!(began.elapsed() > Duration::from_secs(240), "much longer than the grace");
    let response = decode::<ProduceRequest>(13, 9, client.next_frame().await.unwrap());
    assert_eq!(response.responses[0].partition_responses[0].error_code, 10, "too large for the topic, and served");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_outlives_ten_minutes() {
    let server = Server::start().await;
    let mut client = server.connect();
    tokio::time::sleep(Duration::from_secs(11 * 60)).await;
    assert!(client.works().await);
    tokio::time::sleep(Duration::from_secs(16 * 60)).await;
    assert!(client.next_frame().await.is_none());
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_long_polls_and_takes_nothing_back() {
    let (server, _client, id) = Server::with_topic("t").await;
    let (mut client, serving) = server.connection();
    client.send(13, &produce("", id, &[(0, Some(batch(&["kept"])))])).await;
    client.send(16, &fetch("", id, 1, 600_000)).await;
    let topic = CreatableTopic::default().with_name(topic_name("also-kept")).with_num_partitions(1);
    let topic = topic.with_replication_factor(1);
    client.send(7, &CreateTopicsRequest::default().with_topics(vec![topic])).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(client);
    timeout(Duration::from_secs(1), serving).await.expect("the long poll ended").unwrap();
    let mut other = server.connect();
    let found = other.call(16, &fetch("", id, 0, 1_000)).await;
    assert_eq!(found.responses[0].partitions[0].high_watermark, 1, "an accepted append is kept");
    for _ in 0..50 {
        if server.broker.topic(OrganizationId::DEFAULT, "also-kept").is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a request with effects was dropped");
}

#[tokio::test]
async fn the_memory_of_frames_comes_back() {
    let mut settings = broker::BrokerSettings::for_tests("a");
    settings.memory_bytes = 4 << 20;
    let server = Server::start_with(settings).await;
    let mut client = server.connect();
    let id = client.create_topic("t", 1).await;
    let value = "x".repeat(900_000);
    for offset in 0..20 {
        let response = client.call(13, &produce("", id, &[(0, Some(batch(&[&value])))])).await;
        assert_eq!(response.responses[0].partition_responses[0].base_offset, offset);
    }
}

async fn listening(broker: Broker) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let settings = KafkaSettings { grace: Duration::from_secs(2), ..KafkaSettings::default() };
    let server = KafkaServer::bind("127.0.0.1:0".parse().unwrap(), broker, settings).unwrap();
    let address = server.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    (address, shutdown.clone(), tokio::spawn(server.serve(shutdown)))
}

async fn answer(stream: &mut TcpStream) -> Option<Bytes> {
    let length = stream.read_i32().await.ok()?;
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.ok()?;
    Some(Bytes::from(answer))
}

#[tokio::test]
async fn shutdown_answers_what_was_read_and_accepts_nothing_more() {
    let (server, _client, id) = Server::with_topic("t").await;
    let (address, shutdown, serving) = listening(server.broker.clone()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&frame(16, 1, &fetch("", id, 0, 700))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    shutdown.cancel();
    let response = decode::<FetchRequest>(16, 1, answer(&mut stream).await.unwrap());
    assert_eq!(response.error_code, 0);
    assert!(answer(&mut stream).await.is_none());
    timeout(Duration::from_secs(1), serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn shutdown_is_bounded_by_its_grace() {
    let (server, _client, id) = Server::with_topic("t").await;
    let (address, shutdown, serving) = listening(server.broker.clone()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&frame(16, 1, &fetch("", id, 0, 600_000))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    shutdown.cancel();
    timeout(Duration::from_secs(4), serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn large_fetches_arrive_whole_over_tcp() {
    let (server, mut client, id) = Server::with_topic("t").await;
    let value = "v".repeat(700_000);
    for _ in 0..5 {
        client.call(13, &produce("", id, &[(0, Some(batch(&[&value])))])).await;
    }
    let (address, _shutdown, _serving) = listening(server.broker.clone()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut request = fetch("", id, 0, 100).with_max_bytes(50 << 20);
    request.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    stream.write_all(&frame(18, 4, &request)).await.unwrap();
    let response = decode::<FetchRequest>(18, 4, answer(&mut stream).await.unwrap());
    let records = response.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(records.len(), 5 * batch(&[&value]).len());
    assert_ne!(id, Uuid::nil());
}
