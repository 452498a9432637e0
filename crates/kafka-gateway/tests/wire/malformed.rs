//! Bytes that no honest client sends: each row gets its exact code or a close, and nobody else notices.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ProduceRequest};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::harness::{PRODUCE, SOON, Server, batch, header, produce, with_length};

/// Header and body of one request.
fn request(key: ApiKey, version: i16, header_version: i16, body: &[u8]) -> Bytes {
    let mut out = header(key as i16, version, 1, header_version);
    out.put_slice(body);
    with_length(&out)
}

/// Rows that must close the connection.
fn closed() -> Vec<(&'static str, Bytes)> {
    let raw = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let mut rows = vec![
        ("length -1", raw(&[0xff, 0xff, 0xff, 0xff])),
        ("length 0", raw(&[0, 0, 0, 0])),
        ("length 3", raw(&[0, 0, 0, 3, 1, 2, 3])),
        ("length 7", raw(&[0, 0, 0, 7, 0, 18, 0, 0, 0, 0, 0])),
        ("length i32::MAX", raw(&[0x7f, 0xff, 0xff, 0xff])),
        ("length 100 MiB + 1", raw(&[0x06, 0x40, 0, 1])),
        ("TLS", raw(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])),
        ("HTTP", raw(b"GET / HTTP/1.1\r\n\r\n")),
        ("HTTP/2", raw(b"PRI * HTTP/2.0\r\n\r\n")),
        ("SSH", raw(b"SSH-2.0-OpenSSH\r\n")),
        ("unknown key 999", with_length(&header(999, 0, 1, 1))),
        ("unknown key -1", with_length(&header(-1, 0, 1, 1))),
        ("key without its API: LeaveGroup", with_length(&header(13, 0, 1, 1))),
        ("header without client id", with_length(&[0, 3, 0, 1, 0, 0, 0, 1])),
        ("client id of length -2", with_length(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xfe])),
        ("client id past the frame", with_length(&[0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, b'a'])),
        ("Produce 0", request(ApiKey::Produce, 0, 1, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("Produce 2", request(ApiKey::Produce, 2, 1, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("flexible header on Metadata 1", request(ApiKey::Metadata, 1, 2, &[0xff, 0xff, 0xff, 0xff])),
        ("plain header on Metadata 9", request(ApiKey::Metadata, 9, 1, &[0, 0, 0])),
        ("header with a million tags", request(ApiKey::Metadata, 9, 1, &[0xc0, 0x84, 0x3d])),
        ("empty Metadata 1 body", request(ApiKey::Metadata, 1, 1, &[])),
        ("null topics in Metadata 0", request(ApiKey::Metadata, 0, 1, &[0xff, 0xff, 0xff, 0xff])),
        ("topics i32::MAX", request(ApiKey::Metadata, 1, 1, &[0x7f, 0xff, 0xff, 0xff])),
        ("topics -2", request(ApiKey::Metadata, 1, 1, &[0xff, 0xff, 0xff, 0xfe])),
        ("compact topics u32::MAX", request(ApiKey::Metadata, 9, 2, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0])),
        ("ten-byte varint", request(ApiKey::Metadata, 9, 2, &[0xff; 10])),
        ("varint over 32 bits", request(ApiKey::Metadata, 9, 2, &[0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0, 0, 0])),
        ("compact null name in Metadata 9", request(ApiKey::Metadata, 9, 2, &[2, 0, 0, 1, 0, 0, 0])),
        ("non-UTF-8 topic", request(ApiKey::Metadata, 1, 1, &[0, 0, 0, 1, 0, 2, 0xff, 0xfe])),
        ("topic name past the frame", request(ApiKey::Metadata, 1, 1, &[0, 0, 0, 1, 0, 9, b'a'])),
        ("topic name of length -5", request(ApiKey::Metadata, 1, 1, &[0, 0, 0, 1, 0xff, 0xfb])),
        ("tag of a wrong size", request(ApiKey::Metadata, 9, 2, &[0, 1, 0, 1, 5, 9, 1])),
        ("repeated tag", request(ApiKey::Metadata, 9, 2, &[0, 1, 0, 2, 5, 0, 5, 0])),
        ("a million tags", request(ApiKey::Metadata, 9, 2, &[0, 1, 0, 0xc0, 0x84, 0x3d])),
        ("cluster id tag past its size", {
            let body = [&[0xff; 4][..], &[0; 21], &[1, 1, 1, 1, 0, 1, 9]].concat();
            request(ApiKey::Fetch, 12, 2, &body)
        }),
        ("DescribeTopicPartitions cursor 5", request(ApiKey::DescribeTopicPartitions, 0, 2, &[1, 0, 0, 0, 9, 5])),
        ("FindCoordinator 4 keys", request(ApiKey::FindCoordinator, 4, 2, &[0, 0xff, 0xff, 0xff, 0x7f])),
        ("ApiVersions 3 without a name", request(ApiKey::ApiVersions, 3, 2, &[])),
        ("ApiVersions 3 with null names", request(ApiKey::ApiVersions, 3, 2, &[0, 0, 0])),
    ];
    rows.extend(versions_and_counts());
    rows
}

/// Versions that are not served, and counts that no frame can hold.
fn versions_and_counts() -> Vec<(&'static str, Bytes)> {
    let mut rows = Vec::new();
    let above =
        [(0, 14), (1, 19), (2, 11), (3, 14), (10, 7), (19, 8), (20, 7), (21, 3), (22, 6), (23, 5), (32, 5), (37, 4)];
    let admin_above = [
        (29, 4),
        (30, 4),
        (31, 4),
        (33, 3),
        (34, 3),
        (35, 5),
        (43, 3),
        (44, 2),
        (45, 2),
        (46, 1),
        (48, 2),
        (49, 2),
        (50, 1),
        (61, 1),
        (66, 3),
        (74, 2),
    ];
    for (key, version) in above.into_iter().chain(admin_above).chain([
        (60, 3),
        (75, 1),
        (1, 3),
        (2, 0),
        (19, 1),
        (20, 0),
        (29, 0),
        (34, 0),
        (35, 0),
        (3, -1),
    ]) {
        rows.push(("version outside the range", with_length(&header(key, version, 1, 2))));
    }
    // i32::MAX at the first array of each API: the position is where the fields before it end.
    for (key, version, before) in [
        (ApiKey::Produce, 3, &[0xff, 0xff, 0, 1, 0, 0, 0, 9][..]),
        (ApiKey::Fetch, 4, &[0xff; 17][..]),
        (ApiKey::ListOffsets, 1, &[0xff; 4][..]),
        (ApiKey::CreateTopics, 2, &[][..]),
        (ApiKey::DeleteTopics, 1, &[][..]),
        (ApiKey::DeleteRecords, 0, &[][..]),
        (ApiKey::CreatePartitions, 0, &[][..]),
        (ApiKey::DescribeConfigs, 1, &[][..]),
        (ApiKey::CreateAcls, 1, &[][..]),
        (ApiKey::DeleteAcls, 1, &[][..]),
        (ApiKey::AlterConfigs, 0, &[][..]),
        (ApiKey::AlterReplicaLogDirs, 1, &[][..]),
        (ApiKey::DescribeLogDirs, 1, &[][..]),
        (ApiKey::ElectLeaders, 0, &[][..]),
        (ApiKey::IncrementalAlterConfigs, 0, &[][..]),
        (ApiKey::DescribeClientQuotas, 0, &[][..]),
        (ApiKey::AlterClientQuotas, 0, &[][..]),
        (ApiKey::OffsetForLeaderEpoch, 2, &[][..]),
    ] {
        let body = [before, &[0x7f, 0xff, 0xff, 0xff], &[0; 40]].concat();
        rows.push(("first array of i32::MAX", request(key, version, 1, &body)));
    }
    rows
}

/// The process's peak of address space, in bytes: what was allocated, touched or not.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmPeak:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).unwrap_or(0) * 1024
}

#[tokio::test]
async fn every_malformed_frame_closes_its_connection_and_no_other() {
    let server = Server::start().await;
    let mut honest = server.connect();
    let before = peak_bytes();
    let rows = closed();
    assert!(rows.len() >= 60, "{} rows", rows.len());
    for (row, bytes) in rows {
        let mut client = server.connect();
        client.stream.write_all(&bytes).await.unwrap();
        let end = timeout(SOON * 4, client.next_frame()).await;
        let end = end.unwrap_or_else(|_| panic!("{row}: the connection is still open: {bytes:?}"));
        assert!(end.is_none(), "{row}: answered {end:?}");
        assert!(honest.works().await, "{row}");
    }
    // Other tests run in this process too; what these rows claim is gigabytes each.
    assert!(peak_bytes() - before < 1 << 30, "allocated as claimed");
}

#[tokio::test]
async fn all_topics_of_librdkafka_2_16_is_answered_although_three_bytes_are_too_many() {
    let server = Server::start().await;
    let mut client = server.connect();
    // A compact null array written as four bytes.
    client.stream.write_all(&request(ApiKey::Metadata, 13, 2, &[0, 0, 0, 0, 1, 0, 0])).await.unwrap();
    let answer = timeout(SOON * 4, client.next_frame()).await.expect("answered").expect("not closed");
    assert!(answer.len() > 20, "{answer:?}");
    assert!(client.works().await);
}

/// A batch with some bytes changed; with `sealed`, its CRC is right again.
fn changed(at: usize, bytes: &[u8], sealed: bool) -> Bytes {
    let mut changed = BytesMut::from(&batch(&["a", "b"])[..]);
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    if sealed {
        let crc = crc32c(&changed[21..]);
        changed[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    changed.freeze()
}

pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[tokio::test]
async fn every_malformed_batch_gets_its_code() {
    let (_server, mut client, id) = Server::with_topic("t").await;
    let good = batch(&["a", "b"]);
    let rows: Vec<(&str, Bytes, &[i16])> = vec![
        ("bad CRC", changed(17, &[1, 2, 3, 4], false), &[2]),
        ("magic 0", changed(16, &[0], false), &[2, 87]),
        ("magic 1", changed(16, &[1], false), &[2, 87]),
        ("magic 3", changed(16, &[3], false), &[2, 87]),
        ("length past the batch", changed(8, &[0, 1, 0, 0], false), &[2]),
        ("length short", changed(8, &[0, 0, 0, 49], false), &[2, 87]),
        ("negative length", changed(8, &[0xff; 4], false), &[2]),
        ("base offset 1", changed(0, &[0, 0, 0, 0, 0, 0, 0, 1], false), &[87]),
        ("last offset delta", changed(23, &[0, 0, 0, 9], true), &[87]),
        ("count 0", changed(57, &[0; 4], true), &[87]),
        ("count -1", changed(57, &[0xff; 4], true), &[87]),
        ("count huge", changed(57, &[0x7f, 0xff, 0xff, 0xff], true), &[87]),
        ("control batch", changed(21, &[0, 0x20], true), &[87]),
        ("transactional without producer id", changed(21, &[0, 0x10], true), &[48, 87]),
        ("LogAppendTime from a client", changed(21, &[0, 0x08], true), &[32]),
        ("compression 5", changed(21, &[0, 5], true), &[76]),
        ("compression 7", changed(21, &[0, 7], true), &[76]),
        ("gzip that is none", changed(21, &[0, 1], true), &[87, 2]),
        ("zstd that is none", changed(21, &[0, 4], true), &[87, 2]),
        ("producer id without sequence", changed(43, &[0, 0, 0, 0, 0, 0, 0, 1], true), &[87, 47]),
        ("record length past the batch", changed(61, &[0xfe, 0x7f], true), &[87]),
        ("two batches", [&good[..], &good[..]].concat().into(), &[87]),
        ("half a header", good.slice(..30), &[2, 87]),
        ("one byte", good.slice(..1), &[2, 87]),
        ("bytes after the batch", [&good[..], &[0]].concat().into(), &[2, 87]),
    ];
    for (row, records, codes) in rows {
        let response = client.call(13, &produce("", id, &[(0, Some(records))])).await;
        let answer = &response.responses[0].partition_responses[0];
        assert!(codes.contains(&answer.error_code), "{row}: {} {:?}", answer.error_code, answer.error_message);
        assert_eq!(answer.base_offset, -1, "{row}");
    }
    let response = client.call(13, &produce("", id, &[(0, Some(good))])).await;
    assert_eq!(response.responses[0].partition_responses[0].base_offset, 0, "nothing of all that was stored");
}

#[tokio::test]
async fn zstd_below_produce_7_is_refused() {
    let (_server, mut client, _) = Server::with_topic("t").await;
    let request = produce("t", uuid::Uuid::nil(), &[(0, Some(changed(21, &[0, 4], true)))]);
    let response = client.call(6, &request).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 76);
}

#[tokio::test]
async fn a_frame_cut_off_in_its_middle_disturbs_nobody() {
    let (server, mut honest, id) = Server::with_topic("t").await;
    let whole = crate::harness::frame::<ProduceRequest>(13, 1, &produce("", id, &[(0, Some(batch(&["x"])))]));
    for length in 1..whole.len() {
        let mut client = server.connect();
        client.stream.write_all(&whole[..length]).await.unwrap();
        drop(client);
    }
    let response = honest.call(13, &produce("", id, &[(0, Some(batch(&["y"])))])).await;
    assert_eq!(response.responses[0].partition_responses[0].base_offset, 0);
    assert_eq!(PRODUCE, 0);
}
