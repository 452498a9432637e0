//! The wire format is a contract: these bytes were written by clients that know nothing of later fields.
//!
//! Each message is spelt out by hand (tag = field number × 8 + wire type), so that a changed number or type fails here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::Bytes;
use grpc_gateway::proto::*;
use prost::Message;

fn hex(spelled: &str) -> Vec<u8> {
    let digits: Vec<u8> = spelled.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// `bytes` decode to `message`, and `message` encodes to `bytes`.
fn golden<M: Message + Default + PartialEq + std::fmt::Debug>(spelled: &str, message: M) {
    assert_eq!(M::decode(&hex(spelled)[..]).unwrap(), message);
    assert_eq!(message.encode_to_vec(), hex(spelled), "{message:?}");
}

#[test]
fn init_producer() {
    golden(
        "0a 01 74  12 01 6f  18 e8 07  22 06 0a 01 6b 12 01 76",
        InitProducerRequest {
            transactional_id: Some("t".into()),
            organization_id: Some("o".into()),
            timeout_ms: 1_000,
            metadata: [("k".to_owned(), "v".to_owned())].into(),
        },
    );
    golden("", InitProducerRequest::default());
    golden("0a 02 31 37  10 03", InitProducerResponse { producer_id: "17".into(), epoch: 3 });
}

#[test]
fn produce_request_of_an_old_client() {
    golden(
        "0a 01 74  10 05  1a 12  0a 01 6b  12 01 76  18 e8 07  22 07 0a 02 68 31 12 01 78
         22 02 31 37  28 02  30 09  3a 01 78  40 03",
        ProduceRequest {
            topic: "t".into(),
            partition: 5,
            records: vec![Record {
                key: Some(Bytes::from("k")),
                value: Bytes::from("v"),
                timestamp: 1_000,
                headers: [("h1".to_owned(), Bytes::from("x"))].into(),
                ..Record::default()
            }],
            producer_id: Some("17".into()),
            producer_epoch: Some(2),
            base_sequence: Some(9),
            transaction_id: Some("x".into()),
            ack_mode: AckMode::AckBuffered.into(),
            ..ProduceRequest::default()
        },
    );
}

#[test]
fn old_bytes_for_partition_zero_mean_partition_zero() {
    // Field 2 has implicit presence: an old client that writes to partition 0 does not send it.
    let request = ProduceRequest::decode(&hex("0a 01 74  1a 03 12 01 76")[..]).unwrap();
    assert_eq!((request.partition, request.partition_by_key), (0, false));
    let spelled_out = ProduceRequest::decode(&hex("0a 01 74  10 00  1a 03 12 01 76")[..]).unwrap();
    assert_eq!(request, spelled_out);
    // Only this bit asks for the partitioner.
    let by_key = ProduceRequest::decode(&hex("0a 01 74  1a 03 12 01 76  48 01")[..]).unwrap();
    assert!(by_key.partition_by_key);
}

#[test]
fn null_and_empty_keys_differ_on_the_wire() {
    golden("12 01 76", Record { value: Bytes::from("v"), ..Record::default() });
    golden("0a 00 12 01 76", Record { key: Some(Bytes::new()), value: Bytes::from("v"), ..Record::default() });
}

#[test]
fn fields_added_later() {
    golden(
        "28 01  32 07 0a 01 6b 12 02 76 31  32 03 0a 01 6b",
        Record {
            null_value: true,
            ordered_headers: vec![
                Header { key: "k".into(), value: Some(Bytes::from("v1")) },
                Header { key: "k".into(), value: None },
            ],
            ..Record::default()
        },
    );
    golden(
        "48 01  50 00  58 64",
        ProduceRequest {
            partition_by_key: true,
            expected_base_offset: Some(0),
            timeout_ms: Some(100),
            ..ProduceRequest::default()
        },
    );
}

#[test]
fn produce_response() {
    golden(
        "08 2a  10 03  18 e8 07  22 09 08 01 12 01 45 1a 02 6d 6d  28 01",
        ProduceResponse {
            base_offset: 42,
            record_count: 3,
            log_append_time: Some(1_000),
            record_errors: vec![RecordError { record_index: 1, error_code: "E".into(), message: "mm".into() }],
            duplicates_filtered: true,
            ..ProduceResponse::default()
        },
    );
    let receipt = Receipt { leader_epoch: 4, segment_object_key: "o".into(), checksum: 5 };
    golden(
        "30 07  3a 07 08 04 12 01 6f 18 05  42 11 08 07 10 2a 18 03 20 01 2a 07 08 04 12 01 6f 18 05",
        ProduceResponse {
            partition: 7,
            receipt: Some(receipt.clone()),
            partitions: vec![PartitionResult {
                partition: 7,
                base_offset: 42,
                record_count: 3,
                log_append_time: Some(1),
                receipt: Some(receipt),
            }],
            ..ProduceResponse::default()
        },
    );
}

#[test]
fn produce_stream_response() {
    golden(
        "08 01  12 02 08 2a",
        ProduceStreamResponse {
            sequence: 1,
            result: Some(produce_stream_response::Result::Response(ProduceResponse {
                base_offset: 42,
                ..ProduceResponse::default()
            })),
        },
    );
    golden(
        "1a 11 08 09 12 01 6d 1a 01 65 20 2a 28 64 32 03 68 3a 31",
        ProduceStreamResponse {
            sequence: 0,
            result: Some(produce_stream_response::Result::Failure(ProduceFailure {
                code: 9,
                message: "m".into(),
                error: "e".into(),
                end_offset: Some(42),
                retry_after_ms: Some(100),
                leader_address: Some("h:1".into()),
            })),
        },
    );
}

#[test]
fn transactions_and_heartbeat() {
    golden(
        "0a 01 31  10 02  18 03",
        BeginTransactionRequest { producer_id: "1".into(), producer_epoch: 2, timeout_ms: 3 },
    );
    golden("0a 01 78", BeginTransactionResponse { transaction_id: "x".into() });
    let spelled = "0a 01 31  10 02  1a 01 78";
    let (producer_id, transaction_id) = ("1".to_owned(), "x".to_owned());
    golden(
        spelled,
        CommitTransactionRequest {
            producer_id: producer_id.clone(),
            producer_epoch: 2,
            transaction_id: transaction_id.clone(),
        },
    );
    golden(
        spelled,
        AbortTransactionRequest {
            producer_id: producer_id.clone(),
            producer_epoch: 2,
            transaction_id: transaction_id.clone(),
        },
    );
    golden("08 01  10 05", CommitTransactionResponse { success: true, commit_timestamp: 5 });
    golden("08 01", AbortTransactionResponse { success: true });
    golden(spelled, HeartbeatRequest { producer_id, producer_epoch: 2, transaction_id: Some(transaction_id) });
    golden("12 01 65", HeartbeatResponse { valid: false, error: Some("e".into()) });
}

#[test]
fn ack_modes_keep_their_numbers() {
    let numbers = [AckMode::AckDefault, AckMode::AckDurable, AckMode::AckNone, AckMode::AckBuffered].map(i32::from);
    assert_eq!(numbers, [0, 1, 2, 3]);
}
