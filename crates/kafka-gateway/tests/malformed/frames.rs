//! Frames that are no request of ours: the connection is closed.

use bytes::{BufMut, Bytes};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use crate::harness::{Client, header, with_length};

/// Header and body of one request.
fn request(key: ApiKey, version: i16, header_version: i16, body: &[u8]) -> Bytes {
    let mut out = header(key as i16, version, 1, header_version);
    out.put_slice(body);
    with_length(&out)
}

/// Bytes that begin no frame, or a frame whose header or body is none.
pub(crate) fn closed() -> Vec<(&'static str, Bytes)> {
    let raw = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    vec![
        ("length -1", raw(&[0xff, 0xff, 0xff, 0xff])),
        ("length 0", raw(&[0, 0, 0, 0])),
        ("length 3", raw(&[0, 0, 0, 3, 1, 2, 3])),
        ("length 7", raw(&[0, 0, 0, 7, 0, 18, 0, 0, 0, 0, 0])),
        ("length i32::MAX", raw(&[0x7f, 0xff, 0xff, 0xff])),
        ("length 100 MiB + 1", raw(&[0x06, 0x40, 0, 1])),
        ("length of a gzip file", raw(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0])),
        ("TLS", raw(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])),
        ("HTTP", raw(b"GET / HTTP/1.1\r\n\r\n")),
        ("HTTP/2", raw(b"PRI * HTTP/2.0\r\n\r\n")),
        ("SSH", raw(b"SSH-2.0-OpenSSH\r\n")),
        ("unknown key 999", with_length(&header(999, 0, 1, 1))),
        ("unknown key -1", with_length(&header(-1, 0, 1, 1))),
        (
            "SaslHandshake, where there is no authentication",
            request(ApiKey::SaslHandshake, 1, 1, &[0, 5, b'P', b'L', b'A', b'I', b'N']),
        ),
        ("SaslAuthenticate", request(ApiKey::SaslAuthenticate, 0, 1, &[0, 0, 0, 0])),
        ("LeaveGroup without a body", with_length(&header(13, 0, 1, 1))),
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
    ]
}

/// Counts that no frame can hold, at the first array of each API: the position is where the fields before it end. (Every
/// array of every version is walked in `preflight_tests.rs`, and sent by compat-tests/hostile.)
pub(crate) fn counts() -> Vec<(&'static str, Bytes)> {
    let mut rows = Vec::new();
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
        for (row, count) in [("first array of i32::MAX", i32::MAX), ("first array of -2", -2)] {
            let body = [before, &count.to_be_bytes(), &[0; 40]].concat();
            rows.push((row, request(key, version, 1, &body)));
        }
    }
    rows
}

/// For each API that is advertised: a version above the highest, one below the lowest, and none at all.
pub(crate) async fn versions(client: &mut Client) -> Vec<(String, Bytes)> {
    let mut rows = Vec::new();
    let served: ApiVersionsResponse = client.call(0, &ApiVersionsRequest::default()).await;
    for api in served.api_keys.iter().filter(|api| api.api_key != ApiKey::ApiVersions as i16) {
        let outside = [api.max_version + 1, api.min_version - 1, i16::MAX, i16::MIN];
        for version in outside {
            rows.push((
                format!("API {} version {version}", api.api_key),
                with_length(&header(api.api_key, version, 1, 2)),
            ));
        }
    }
    rows
}
