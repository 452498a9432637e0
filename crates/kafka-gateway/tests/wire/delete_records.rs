//! DeleteRecords.

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{DeleteRecordsRequest, FetchRequest};

use crate::harness::{Server, batch, produce, topic_name};

fn delete(name: &str, partitions: &[(i32, i64)]) -> DeleteRecordsRequest {
    let partitions = partitions
        .iter()
        .map(|(index, offset)| DeleteRecordsPartition::default().with_partition_index(*index).with_offset(*offset));
    let topic = DeleteRecordsTopic::default().with_name(topic_name(name)).with_partitions(partitions.collect());
    DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000)
}

#[tokio::test]
async fn records_are_deleted_in_every_version_and_others_are_told_why_not() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    for _ in 0..4 {
        client.call(9, &produce("t", id, &[(0, Some(batch(&["v"])))])).await;
    }
    for (version, offset, expected) in [(0, 1, 1), (1, 0, 1), (2, 2, 2)] {
        let response = client.call(version, &delete("t", &[(0, offset)])).await;
        let partition = &response.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.low_watermark), (0, expected), "version {version}");
    }
    let asked = [(0, 5), (0, 5), (1, 1), (1, -2), (7, 0)];
    let response = client.call(2, &delete("t", &asked[2..])).await;
    let codes: Vec<_> = response.topics[0].partitions.iter().map(|p| (p.error_code, p.low_watermark)).collect();
    assert_eq!(codes, [(42, -1), (42, -1), (3, -1)]);
    let response = client.call(2, &delete("t", &asked[1..3])).await;
    let codes: Vec<_> = response.topics[0].partitions.iter().map(|p| (p.error_code, p.low_watermark)).collect();
    assert_eq!(codes, [(1, -1), (1, -1)]);
    assert_eq!(client.call(2, &delete("absent", &[(0, 0)])).await.topics[0].partitions[0].error_code, 3);

    let fetch = |offset| {
        let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic(topic_name("t")).with_partitions(vec![partition]);
        FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![topic])
    };
    let below = client.call(11, &fetch(1)).await;
    assert_eq!(below.responses[0].partitions[0].error_code, 1);
    let kept = client.call(11, &fetch(2)).await;
    assert_eq!((kept.responses[0].partitions[0].error_code, kept.responses[0].partitions[0].log_start_offset), (0, 2));

    let all = client.call(2, &delete("t", &[(0, -1)])).await;
    assert_eq!(all.topics[0].partitions[0].low_watermark, 4);
}
