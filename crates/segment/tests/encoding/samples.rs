//! Batches and segments that several tests need.

#![allow(dead_code, reason = "the example uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a sample that cannot be made fails its test")]

use std::io::Write;

use bytes::Bytes;
use segment::{
    Compression, DataBuilder, FinishedSegment, NewRecord, OrganizationId, PartitionKey, REWRITE_SEQUENCE_BASE,
    RecordBatchHeader, SegmentBuilder, SegmentIdentity, SessionId, TopicId, encode_batch, place,
};
use uuid::Uuid;

pub(crate) const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

pub(crate) fn record(key: Option<&[u8]>, value: &[u8], timestamp: i64) -> NewRecord {
    NewRecord {
        key: key.map(Bytes::copy_from_slice),
        value: Some(Bytes::copy_from_slice(value)),
        timestamp,
        headers: vec![("trace".into(), Some(Bytes::from_static(b"1"))), ("trace".into(), None)],
    }
}

/// `count` records of `value_bytes` each, timestamps 1000, 1001, …
pub(crate) fn plain_batch(count: i64, value_bytes: usize, producer: Option<(i64, i16, i32)>) -> Bytes {
    let records: Vec<_> = (0..count).map(|i| record(Some(&[7]), &vec![b'v'; value_bytes], 1000 + i)).collect();
    encode_batch(&records, producer).unwrap()
}

pub(crate) fn header_of(batch: &[u8]) -> RecordBatchHeader {
    RecordBatchHeader::parse(batch).unwrap()
}

pub(crate) fn pack(codec: Compression, bytes: &[u8]) -> Vec<u8> {
    match codec {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
        Compression::Lz4 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Compression::Zstd => zstd::stream::encode_all(bytes, 3).unwrap(),
    }
}

/// Snappy in the xerial framing, as the Java client and librdkafka write it.
pub(crate) fn pack_xerial(bytes: &[u8]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in bytes.chunks(32 << 10) {
        let packed = pack(Compression::Snappy, block);
        out.extend(u32::try_from(packed.len()).unwrap().to_be_bytes());
        out.extend(packed);
    }
    out
}

/// `batch` with other record bytes and that codec's bits; CRC and length are right.
pub(crate) fn with_records(batch: &[u8], codec: Compression, records: &[u8]) -> Bytes {
    let mut header = header_of(batch);
    header.attributes = (header.attributes & !7) | codec as i16;
    let packed: Bytes = [&header.encode()[..], records].concat().into();
    seal(&packed, header)
}

pub(crate) fn recompressed(batch: &[u8], codec: Compression) -> Bytes {
    with_records(batch, codec, &pack(codec, &batch[61..]))
}

/// The bytes with this header, its length and CRC made right.
pub(crate) fn seal(batch: &[u8], mut header: RecordBatchHeader) -> Bytes {
    header.batch_length = i32::try_from(batch.len() - 12).unwrap();
    let mut bytes = [&header.encode()[..], &batch[61..]].concat();
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[21..]);
    bytes[17..21].copy_from_slice(&u32::try_from(crc).unwrap().to_be_bytes());
    bytes.into()
}

pub(crate) fn identity() -> SegmentIdentity {
    SegmentIdentity {
        cluster_id: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        organization: OrganizationId::DEFAULT,
        session: SessionId(7),
        lane_sequence: 42,
        committed_through: 41,
        written_at: 1_790_000_000_000,
    }
}

pub(crate) fn partition(topic: u128, partition: i32) -> PartitionKey {
    PartitionKey { organization: OrganizationId::DEFAULT, topic_id: TopicId(Uuid::from_u128(topic)), partition }
}

/// Two partitions, one of them with idempotent batches.
pub(crate) fn sample_segment() -> FinishedSegment {
    let mut builder = SegmentBuilder::new(identity());
    builder.begin_range(partition(1, 0), 3, String::new());
    let mut offset = 0;
    for base_sequence in [0, 2] {
        let batch = plain_batch(2, 3, Some((9, 0, base_sequence)));
        let (placed, stored) = place(&batch, &header_of(&batch), offset, 3, None);
        offset = stored.next_offset();
        builder.push(placed, &stored);
    }
    builder.begin_range(
        partition(2, 5),
        8,
        "org-1/flush/0000000000000000006/0000000000000000001-00000000000000ff".into(),
    );
    let batch = plain_batch(1, 0, None);
    let (placed, stored) = place(&batch, &header_of(&batch), 100, 8, Some(1_790_000_000_001));
    builder.push(placed, &stored);
    builder.finish()
}

pub(crate) fn data_identity() -> SegmentIdentity {
    SegmentIdentity { lane_sequence: REWRITE_SEQUENCE_BASE + 42, committed_through: -1, ..identity() }
}

/// As a rewrite writes it: two ranges of one partition, under two epochs, and one of another.
pub(crate) fn sample_data_segment() -> FinishedSegment {
    let mut builder = DataBuilder::new(data_identity());
    let push = |builder: &mut DataBuilder, offset, epoch| {
        let batch = plain_batch(2, 3, Some((9, 0, 0)));
        let (placed, stored) = place(&batch, &header_of(&batch), offset, epoch, None);
        builder.push(&stored, [placed.header, placed.records].concat().into());
    };
    builder.begin_range(partition(1, 0), 3, 0);
    push(&mut builder, 0, 3);
    push(&mut builder, 2, 3);
    builder.begin_range(partition(1, 0), 4, 4);
    push(&mut builder, 4, 4);
    builder.end_run("org-1/flush/0000000000000000006/0000000000000000001-00000000000000ff".into());
    builder.begin_range(partition(2, 5), 8, 100);
    push(&mut builder, 100, 8);
    builder.end_run("org-1/data/0000000000000000006/0000000000000000007-00000000000000ff".into());
    builder.finish()
}
