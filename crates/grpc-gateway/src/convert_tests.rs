//! What a request may say, and what it becomes.

use bytes::Bytes;

use super::*;
use crate::proto::Header;

const NOW: TimestampMs = 1_700_000_000_000;

fn request(records: Vec<Record>) -> ProduceRequest {
    ProduceRequest { topic: "t".into(), records, ..ProduceRequest::default() }
}

fn record(key: Option<&'static str>, value: &'static str) -> Record {
    Record { key: key.map(Bytes::from), value: value.into(), ..Record::default() }
}

fn split(request: ProduceRequest, partition_count: i32) -> Result<Vec<Share>, Refusal> {
    let terms = terms(&request)?;
    shares(request, &terms, partition_count, &RoundRobin::default(), NOW)
}

fn invalid(request: ProduceRequest) -> String {
    match split(request, 8) {
        Err(Refusal::InvalidArgument(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn null_and_empty_are_kept_apart() {
    let tombstone = Record { null_value: true, ..record(Some(""), "") };
    let shares = split(request(vec![tombstone, record(None, "")]), 1).unwrap();
    let [first, second] = &shares[0].records[..] else { panic!() };
    assert_eq!((&first.key, &first.value), (&Some(Bytes::new()), &None));
    assert_eq!((&second.key, &second.value), (&None, &Some(Bytes::new())));
}

#[test]
fn a_null_value_with_bytes_is_refused() {
    assert!(
        invalid(request(vec![record(None, "v"), Record { null_value: true, ..record(None, "v") }]))
            .contains("record 1")
    );
}

#[test]
fn map_headers_come_first_in_the_order_of_their_names_then_the_ordered_ones() {
    let header = |key: &str, value: Option<&'static str>| Header { key: key.into(), value: value.map(Bytes::from) };
    let with_headers = Record {
        headers: [("b".to_owned(), "2".into()), ("a".to_owned(), "1".into())].into(),
        ordered_headers: vec![header("z", Some("")), header("a", None), header("z", Some("3"))],
        ..record(None, "v")
    };
    let shares = split(request(vec![with_headers]), 1).unwrap();
    let headers: Vec<_> = shares[0].records[0].headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
    let expected: Vec<(&str, Option<&[u8]>)> =
        vec![("a", Some(b"1")), ("b", Some(b"2")), ("z", Some(b"")), ("a", None), ("z", Some(b"3"))];
    assert_eq!(headers, expected);
}

#[test]
fn timestamp_zero_is_now() {
    let shares = split(request(vec![Record { timestamp: 5, ..record(None, "") }, record(None, "")]), 1).unwrap();
    assert_eq!(shares[0].records.iter().map(|r| r.timestamp).collect::<Vec<_>>(), [5, NOW]);
    invalid(request(vec![Record { timestamp: u64::MAX, ..record(None, "") }]));
}

#[test]
fn a_partition_that_is_not_there_is_not_found() {
    for partition in [8, u32::MAX] {
        let refused = split(ProduceRequest { partition, ..request(vec![record(None, "")]) }, 8).unwrap_err();
        assert_eq!(refused, Refusal::UnknownPartition { topic: "t".into(), partition, count: 8 });
    }
    assert_eq!(split(ProduceRequest { partition: 7, ..request(vec![record(None, "")]) }, 8).unwrap()[0].partition, 7);
}

#[test]
fn no_records_a_transaction_and_an_unknown_ack_mode_are_refused() {
    invalid(request(vec![]));
    invalid(ProduceRequest { ack_mode: 4, ..request(vec![record(None, "")]) });
    invalid(ProduceRequest { timeout_ms: Some(0), ..request(vec![record(None, "")]) });
    invalid(ProduceRequest { timeout_ms: Some(600_001), ..request(vec![record(None, "")]) });
    invalid(ProduceRequest { expected_base_offset: Some(u64::MAX), ..request(vec![record(None, "")]) });
    let transactional = ProduceRequest { transaction_id: Some("x".into()), ..request(vec![record(None, "")]) };
    assert_eq!(terms(&transactional), Err(Refusal::Transactions("transaction_id")));
}

#[test]
fn ack_modes_are_those_of_the_contract() {
    for (ack_mode, ack) in [(0, Ack::Durable), (1, Ack::Durable), (2, Ack::None), (3, Ack::Buffered)] {
        assert_eq!(terms(&ProduceRequest { ack_mode, ..request(vec![record(None, "")]) }).unwrap().ack, ack);
    }
}

#[test]
fn a_producer_is_given_whole_or_not_at_all() {
    let with = |id: Option<&str>, epoch, base_sequence| ProduceRequest {
        producer_id: id.map(str::to_owned),
        producer_epoch: epoch,
        base_sequence,
        ..request(vec![record(None, "")])
    };
    assert_eq!(terms(&with(Some("17"), Some(0), Some(5))).unwrap().producer, Some((17, 0, 5)));
    assert_eq!(terms(&with(None, None, None)).unwrap().producer, None);
    for broken in [
        with(Some("17"), None, None),
        with(None, Some(0), Some(0)),
        with(Some("17"), Some(0), None),
        with(Some("-1"), Some(0), Some(0)),
        with(Some("+1"), Some(0), Some(0)),
        with(Some("x"), Some(0), Some(0)),
        with(Some("9223372036854775808"), Some(0), Some(0)),
        with(Some("1"), Some(32_768), Some(0)),
        with(Some("1"), Some(0), Some(-1)),
    ] {
        invalid(broken);
    }
}

#[test]
fn sequences_wrap_as_kafkas_do() {
    let wrapped = [0, 2_147_483_647, 2_147_483_648, 2_147_483_653].map(|sequence| wrap_sequence(sequence).unwrap());
    assert_eq!(wrapped, [0, i32::MAX, 0, 5]);
}

#[test]
fn keys_choose_partitions_and_keep_their_order() {
    let keys = ["a", "b", "c", "a", "b", "c"];
    let records = keys.iter().map(|key| record(Some(key), "v")).chain([record(None, "1"), record(None, "2")]).collect();
    let shares = split(ProduceRequest { partition_by_key: true, ..request(records) }, 8).unwrap();
    assert_eq!(shares.iter().map(|share| share.records.len()).sum::<usize>(), 8);
    assert_eq!(shares[0].partition, partition_for_key(b"a", 8), "the first share is the first record's");
    for share in &shares {
        for record in &share.records {
            assert_eq!(record.key.as_ref().map_or(0, |key| partition_for_key(key, 8)), share.partition);
        }
    }
}

#[test]
fn a_producer_or_an_expected_offset_must_stay_on_one_partition() {
    let by_key = |keys: [&'static str; 2]| ProduceRequest {
        partition_by_key: true,
        ..request(keys.iter().map(|key| record(Some(key), "v")).collect())
    };
    assert_ne!(partition_for_key(b"a", 8), partition_for_key(b"foobar", 8));
    let idempotent = |request: ProduceRequest| ProduceRequest {
        producer_id: Some("1".into()),
        producer_epoch: Some(0),
        base_sequence: Some(0),
        ..request
    };
    assert!(split(idempotent(by_key(["a", "a"])), 8).is_ok());
    invalid(idempotent(by_key(["a", "foobar"])));
    invalid(ProduceRequest { expected_base_offset: Some(0), ..by_key(["a", "foobar"]) });
    invalid(ProduceRequest { partition: 1, ..by_key(["a", "a"]) });
}

#[test]
fn the_encoded_size_is_never_underestimated() {
    let header = Header { key: "name".into(), value: Some("value".into()) };
    let record = Record { timestamp: 1, ordered_headers: vec![header; 3], ..record(Some("key"), "value") };
    let request = request((0..100).map(|i| Record { timestamp: 1 << (i % 62), ..record.clone() }).collect());
    let estimate = encoded_bytes(&request);
    let shares = split(request, 1).unwrap();
    let batch = broker::encode_batch(&shares[0].records, Some((1, 0, 0))).unwrap();
    assert!(batch.len() <= estimate, "{} > {estimate}", batch.len());
}
