//! Replays the seeds and findings of the fuzz target `grpc_request` (fuzz/corpus/grpc_request) as a plain test; and writes
//! the seeds: `cargo test --test corpus -- --ignored`.

#![expect(clippy::unwrap_used, reason = "a corpus that cannot be read fails its test")]

mod exercise;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use exercise::Exercise;
use grpc_gateway::proto::{AckMode, Header, HeartbeatRequest, InitProducerRequest, ProduceRequest, Record};
use prost::Message;

/// Panics of all threads, also of tasks that nobody waits for.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/grpc_request")
}

#[test]
fn requests_of_the_corpus_find_nothing() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        report(panic);
    }));
    let mut files: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= seeds().len());
    let mut exercise = Exercise::new(10);
    for file in files {
        println!("{}", file.display()); // shown if it fails
        exercise.run(&std::fs::read(&file).unwrap());
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "a task panicked");
    }
}

#[test]
#[ignore = "writes into the source tree"]
fn the_seeds_are_written() {
    for (name, seed) in seeds() {
        std::fs::write(folder().join(name), seed).unwrap();
    }
}

/// An input of one method.
fn input(method: u8, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut input = vec![method];
    for message in messages {
        input.extend(u16::try_from(message.len()).unwrap().to_be_bytes());
        input.extend(message);
    }
    input
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let record = Record {
        key: Some(Bytes::from("k")),
        value: Bytes::from("v"),
        timestamp: 1_700_000_000_000,
        headers: [("h".to_owned(), Bytes::from("x"))].into(),
        ordered_headers: vec![Header { key: "o".into(), value: Some(Bytes::from("y")) }],
        ..Record::default()
    };
    let produce = |records: usize| ProduceRequest {
        topic: "t".into(),
        records: vec![record.clone(); records],
        ..ProduceRequest::default()
    };
    let idempotent =
        ProduceRequest { producer_id: Some("0".into()), producer_epoch: Some(0), base_sequence: Some(0), ..produce(2) };
    let buffered = ProduceRequest { ack_mode: AckMode::AckBuffered.into(), partition_by_key: true, ..produce(1) };
    let transactional = ProduceRequest { transaction_id: Some("x".into()), ..produce(1) };
    let stream: Vec<Vec<u8>> =
        [produce(1), idempotent.clone(), produce(3)].iter().map(Message::encode_to_vec).collect();
    let init = InitProducerRequest { organization_id: Some("1".into()), timeout_ms: 1, ..Default::default() };
    let heartbeat = HeartbeatRequest { producer_id: "0".into(), producer_epoch: 0, ..Default::default() };
    vec![
        ("produce", input(0, &[produce(2).encode_to_vec()])),
        ("produce-idempotent", input(0, &[idempotent.encode_to_vec()])),
        ("produce-buffered", input(0, &[buffered.encode_to_vec()])),
        ("produce-transactional", input(0, &[transactional.encode_to_vec()])),
        ("produce-nothing", input(0, &[vec![]])),
        ("produce-empty-records", input(0, &[[0x1a, 0].repeat(500)])),
        ("produce-groups", input(0, &[vec![0x0a, 1, b't', 0x1b, 0x1c, 0x23, 0x0a, 0, 0x24]])),
        ("produce-raw", [&[0x80, 0, 0, 0, 0, 5][..], &[0x0a, 1, b't', 0x10, 0]].concat()),
        ("stream", input(1, &stream)),
        ("init", input(2, &[init.encode_to_vec()])),
        ("heartbeat", input(3, &[heartbeat.encode_to_vec()])),
    ]
}
