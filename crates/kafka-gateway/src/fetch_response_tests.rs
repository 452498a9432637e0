//! Decodes what the hand-written encoder wrote with kafka-protocol, in every version.

use broker::DivergingEpoch;
use bytes::{Buf, Bytes};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchResponse as Decoded, TopicName};
use kafka_protocol::protocol::{Decodable, StrBytes};
use uuid::Uuid;

use super::{FetchResponse, PartitionResponse, TopicResponse};
use crate::context::Endpoint;

fn response() -> FetchResponse {
    let full = PartitionResponse {
        high_watermark: 12,
        last_stable_offset: 11,
        log_start_offset: 3,
        aborted_transactions: Some(()),
        records: vec![Bytes::from(vec![1; 20_000]), Bytes::from(vec![2; 3])],
        ..PartitionResponse::new(0)
    };
    let led_elsewhere =
        PartitionResponse { error_code: 6, current_leader: Some((4, 9)), ..PartitionResponse::new(300) };
    let diverging =
        PartitionResponse { diverging: Some(DivergingEpoch { epoch: 2, end_offset: 5 }), ..PartitionResponse::new(2) };
    let topic = |name: &'static str, partitions| TopicResponse {
        name: TopicName(StrBytes::from_static_str(name)),
        id: Uuid::from_u128(5),
        partitions,
    };
    FetchResponse {
        error_code: 0,
        session_id: 0x0102_0304,
        topics: vec![topic("first", vec![full, led_elsewhere]), topic("second", vec![diverging]), topic("t", vec![])],
        node_endpoints: vec![Endpoint { node_id: 4, host: "h".to_owned(), port: 9092, rack: "r".to_owned() }],
    }
}

fn decoded(response: FetchResponse, version: i16) -> Decoded {
    let mut frame = Bytes::from(response.encode(version, 77).unwrap().concat());
    let length = frame.get_i32();
    assert_eq!(usize::try_from(length).unwrap(), frame.len());
    assert_eq!(frame.get_i32(), 77);
    if version >= 12 {
        assert_eq!(frame.get_u8(), 0);
    }
    let decoded = Decoded::decode(&mut frame, version).unwrap();
    assert!(frame.is_empty(), "version {version}");
    decoded
}

#[test]
fn every_version_decodes_to_what_was_encoded() {
    for version in 4..=18 {
        let decoded = decoded(response(), version);
        let session_id = if version >= 7 { 0x0102_0304 } else { 0 };
        assert_eq!((decoded.session_id, decoded.error_code, decoded.throttle_time_ms), (session_id, 0, 0));
        let names: Vec<&str> = decoded.responses.iter().map(|topic| topic.topic.as_str()).collect();
        assert_eq!(names, if version >= 13 { ["", "", ""] } else { ["first", "second", "t"] });
        assert_eq!(decoded.responses[0].topic_id.is_nil(), version < 13);
        let [full, elsewhere] = &decoded.responses[0].partitions[..] else { panic!("two partitions") };
        assert_eq!((full.high_watermark, full.last_stable_offset), (12, 11));
        assert_eq!(full.log_start_offset, if version >= 5 { 3 } else { -1 });
        assert_eq!(full.records.as_ref().unwrap().len(), 20_003);
        assert_eq!(full.aborted_transactions, Some(Vec::new()));
        assert_eq!((elsewhere.partition_index, elsewhere.error_code), (300, 6));
        assert_eq!(elsewhere.records, Some(Bytes::new()));
        assert_eq!(elsewhere.aborted_transactions, None);
        let tagged = |data: &PartitionData| (data.current_leader.leader_id.0, data.current_leader.leader_epoch);
        assert_eq!(tagged(elsewhere), if version >= 12 { (4, 9) } else { (-1, -1) });
        let diverging = &decoded.responses[1].partitions[0].diverging_epoch;
        assert_eq!((diverging.epoch, diverging.end_offset), if version >= 12 { (2, 5) } else { (-1, -1) });
        assert_eq!(decoded.node_endpoints.len(), usize::from(version >= 16));
    }
}

#[test]
fn records_are_not_copied() {
    let records = Bytes::from(vec![7; 100_000]);
    let partition = PartitionResponse { records: vec![records.clone()], ..PartitionResponse::new(0) };
    let topic = TopicResponse { name: TopicName::default(), id: Uuid::nil(), partitions: vec![partition] };
    let response = FetchResponse { topics: vec![topic], ..FetchResponse::default() };
    let pieces = response.encode(16, 1).unwrap();
    assert!(pieces.iter().any(|piece| piece.as_ptr() == records.as_ptr()));
}
