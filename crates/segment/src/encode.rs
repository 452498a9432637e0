//! Builds a record batch from single records, for clients that do not speak Kafka's format.

use bytes::{BufMut, Bytes, BytesMut};

use crate::record_batch::{HEADER_BYTES, RecordBatchHeader, UNCOUNTED_BYTES, seal_crc};
use crate::varint::{put_varlong, varlong_bytes};
use crate::{ProducerEpoch, ProducerId, TimestampMs};

/// A record to be written.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// `None` = null.
    pub key: Option<Bytes>,
    /// `None` = null (a tombstone on a compacted topic).
    pub value: Option<Bytes>,
    /// CreateTime.
    pub timestamp: TimestampMs,
    /// In order, names may repeat.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// Why records do not make a batch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A batch holds at least one record.
    #[error("no records")]
    Empty,
    /// More than `i32` can count, in records or bytes.
    #[error("too many records or bytes for one batch")]
    TooLarge,
}

/// Encodes one uncompressed magic-2 batch with base offset 0. `producer` is (id, epoch, base sequence).
///
/// # Errors
/// As [`EncodeError`] says.
pub fn encode_batch(
    records: &[NewRecord],
    producer: Option<(ProducerId, ProducerEpoch, i32)>,
) -> Result<Bytes, EncodeError> {
    let first = records.first().ok_or(EncodeError::Empty)?;
    let record_count = i32::try_from(records.len()).map_err(|_| EncodeError::TooLarge)?;
    let base_timestamp = first.timestamp;
    let body_bytes: Vec<usize> = (0i64..).zip(records).map(|(delta, r)| body_bytes(r, base_timestamp, delta)).collect();
    let total_bytes = body_bytes.iter().fold(HEADER_BYTES, |sum, body| sum + body + varlong_bytes(as_i64(*body)));
    let batch_length = i32::try_from(total_bytes - UNCOUNTED_BYTES).map_err(|_| EncodeError::TooLarge)?;

    let (producer_id, producer_epoch, base_sequence) = producer.unwrap_or((-1, -1, -1));
    let header = RecordBatchHeader {
        base_offset: 0,
        batch_length,
        partition_leader_epoch: -1,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: record_count - 1,
        base_timestamp,
        max_timestamp: records.iter().fold(base_timestamp, |max, record| max.max(record.timestamp)),
        producer_id,
        producer_epoch,
        base_sequence,
        record_count,
    };
    let mut batch = BytesMut::with_capacity(total_bytes);
    batch.put_slice(&header.encode());
    for ((offset_delta, record), body) in (0i64..).zip(records).zip(body_bytes) {
        put_varlong(&mut batch, as_i64(body));
        put_body(&mut batch, record, base_timestamp, offset_delta);
    }
    debug_assert_eq!(batch.len(), total_bytes, "sizes are counted as they are written");
    seal_crc(&mut batch);
    Ok(batch.freeze())
}

fn put_body(batch: &mut BytesMut, record: &NewRecord, base_timestamp: TimestampMs, offset_delta: i64) {
    batch.put_u8(0);
    put_varlong(batch, record.timestamp.wrapping_sub(base_timestamp));
    put_varlong(batch, offset_delta);
    put_nullable(batch, record.key.as_deref());
    put_nullable(batch, record.value.as_deref());
    put_varlong(batch, as_i64(record.headers.len()));
    for (name, value) in &record.headers {
        put_nullable(batch, Some(name.as_bytes()));
        put_nullable(batch, value.as_deref());
    }
}

fn body_bytes(record: &NewRecord, base_timestamp: TimestampMs, offset_delta: i64) -> usize {
    let headers: usize =
        record.headers.iter().map(|(n, v)| nullable_bytes(Some(n.as_bytes())) + nullable_bytes(v.as_deref())).sum();
    1 + varlong_bytes(record.timestamp.wrapping_sub(base_timestamp))
        + varlong_bytes(offset_delta)
        + nullable_bytes(record.key.as_deref())
        + nullable_bytes(record.value.as_deref())
        + varlong_bytes(as_i64(record.headers.len()))
        + headers
}

fn put_nullable(batch: &mut BytesMut, bytes: Option<&[u8]>) {
    put_varlong(batch, bytes.map_or(-1, |bytes| as_i64(bytes.len())));
    batch.put_slice(bytes.unwrap_or_default());
}

fn nullable_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varlong_bytes(as_i64(bytes.len())) + bytes.len())
}

/// Lengths in memory fit: no allocation is larger than `isize::MAX`.
fn as_i64(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
