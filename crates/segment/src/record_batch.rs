//! Kafka's record batch, format v2 (magic 2): a parsed header before opaque records.
//!
//! A batch is stored as the client sent it. Base offset and leader epoch lie outside the CRC, so giving a batch its
//! place is a 12-byte patch of the header; the record bytes stay a slice of the request. Only LogAppendTime and a wrong
//! `max_timestamp` change bytes under the CRC, and then it is computed anew.
//!
//! Authority: <https://kafka.apache.org/documentation/#recordbatch>.

use bytes::{Buf, BufMut, Bytes};

use crate::crc::{Crc32c, crc32c};
use crate::error::BatchError;
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};

/// Bytes of a batch before its first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes that `batch_length` does not count: base offset and the length itself.
pub(crate) const UNCOUNTED_BYTES: usize = 12;
/// Where the bytes under the CRC begin.
pub(crate) const CRC_START: usize = 21;
const MAGIC: i8 = 2;

const COMPRESSION_MASK: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
pub(crate) const DELETE_HORIZON_BIT: i16 = 0x40;
/// The attribute bits that a client may set; bit 6 (delete horizon) is the broker's, 7 to 15 are unused.
pub(crate) const CLIENT_ATTRIBUTES: i16 = COMPRESSION_MASK | LOG_APPEND_TIME_BIT | TRANSACTIONAL_BIT | CONTROL_BIT;

/// How the records of a batch are compressed; the discriminants are the attribute bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Kafka's own names")]
pub enum Compression {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

/// The 61 bytes before the records; fields as Kafka spells them, big-endian on the wire, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordBatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Leader epoch of the partition when it was appended; ignored in requests.
    pub partition_leader_epoch: LeaderEpoch,
    /// Always 2.
    pub magic: i8,
    /// CRC32C of the bytes from `attributes` on.
    pub crc: u32,
    /// Bits 0-2 compression, 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon.
    pub attributes: i16,
    /// Offset of the last record, less the base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to.
    pub base_timestamp: TimestampMs,
    /// Greatest timestamp of the records, or the append time.
    pub max_timestamp: TimestampMs,
    /// -1 = not idempotent.
    pub producer_id: ProducerId,
    /// Of the producer id.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl RecordBatchHeader {
    /// Reads the header of the batch at the start of `bytes` and checks that the batch is there as a whole; more may
    /// follow it.
    ///
    /// # Errors
    /// Too few bytes, another magic, or a length that cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // Magic lies at the same place in all formats, so an old message set is named as what it is.
        if let Some(magic) = bytes.get(16).map(|byte| byte.cast_signed())
            && magic != MAGIC
        {
            return Err(BatchError::Magic(magic));
        }
        let Some(mut fields) = bytes.get(..HEADER_BYTES) else {
            return Err(BatchError::Short { available: bytes.len() });
        };
        let header = Self {
            base_offset: fields.get_i64(),
            batch_length: fields.get_i32(),
            partition_leader_epoch: fields.get_i32(),
            magic: fields.get_i8(),
            crc: fields.get_u32(),
            attributes: fields.get_i16(),
            last_offset_delta: fields.get_i32(),
            base_timestamp: fields.get_i64(),
            max_timestamp: fields.get_i64(),
            producer_id: fields.get_i64(),
            producer_epoch: fields.get_i16(),
            base_sequence: fields.get_i32(),
            record_count: fields.get_i32(),
        };
        let claimed = header.total_bytes();
        if claimed < HEADER_BYTES {
            return Err(BatchError::Length { batch_length: header.batch_length });
        }
        if claimed > bytes.len() {
            return Err(BatchError::Truncated { claimed, available: bytes.len() });
        }
        Ok(header)
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut out = &mut bytes[..];
        out.put_i64(self.base_offset);
        out.put_i32(self.batch_length);
        out.put_i32(self.partition_leader_epoch);
        out.put_i8(self.magic);
        out.put_u32(self.crc);
        out.put_i16(self.attributes);
        out.put_i32(self.last_offset_delta);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.record_count);
        bytes
    }

    /// Bytes of the whole batch; 0 where the length field is negative.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        usize::try_from(self.batch_length).map_or(0, |length| length + UNCOUNTED_BYTES)
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// First offset after the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().saturating_add(1)
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// Ids 5 to 7 do not exist.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        match self.attributes & COMPRESSION_MASK {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            unknown => Err(BatchError::Compression(unknown)),
        }
    }

    /// Part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Holds a transaction marker instead of records.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Every record's timestamp is `max_timestamp`.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    /// From when on records without a value may go, once compaction has been here: then `base_timestamp` is that.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<TimestampMs> {
        (self.attributes & DELETE_HORIZON_BIT != 0).then_some(self.base_timestamp)
    }

    /// Written by an idempotent producer.
    #[must_use]
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence of the last record: sequences wrap from 2^31-1 to 0. As `base_sequence` where that is negative (none).
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        let sum = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        i32::try_from(sum.rem_euclid(1 << 31)).unwrap_or(i32::MAX)
    }
}

/// Whether the CRC of exactly one batch is right; false for bytes that are no batch.
#[must_use]
pub fn crc_matches(batch: &[u8]) -> bool {
    match (batch.get(17..CRC_START), batch.get(CRC_START..)) {
        (Some(mut crc), Some(covered)) if batch.len() >= HEADER_BYTES => crc.get_u32() == crc32c(covered),
        _ => false,
    }
}

/// A batch with its place: a header of its own and the untouched record bytes of the request. No copy of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedBatch {
    /// 61 bytes.
    pub header: Bytes,
    /// All after the header.
    pub records: Bytes,
}

impl PlacedBatch {
    /// Bytes of the whole batch.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.header.len() + self.records.len()
    }
}

/// Gives one whole batch its place, and returns it with its header as stored.
///
/// `header` is the batch's own, as parsed; its `max_timestamp` may have been corrected to what
/// [`check_records`](crate::check_records) found. With `log_append_time` the batch gets that time and the attribute bit.
/// The CRC is computed anew only if a byte under it changed.
///
/// # Panics
/// If `header` is not that of `batch` (a bug of the caller).
#[must_use]
pub fn place(
    batch: &Bytes,
    header: &RecordBatchHeader,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    log_append_time: Option<TimestampMs>,
) -> (PlacedBatch, RecordBatchHeader) {
    assert_eq!(batch.len(), header.total_bytes(), "place takes exactly one whole batch");
    let mut stored = RecordBatchHeader { base_offset, partition_leader_epoch: leader_epoch, ..*header };
    if let Some(time) = log_append_time {
        stored.attributes |= LOG_APPEND_TIME_BIT;
        stored.max_timestamp = time;
    }
    let records = batch.slice(HEADER_BYTES..);
    let mut bytes = stored.encode();
    if bytes[CRC_START..] != batch[CRC_START..HEADER_BYTES] {
        let mut crc = Crc32c::new();
        crc.update(&bytes[CRC_START..]);
        crc.update(&records);
        stored.crc = crc.value();
        bytes = stored.encode();
    }
    (PlacedBatch { header: Bytes::copy_from_slice(&bytes), records }, stored)
}

/// Writes the CRC of the one batch in `batch`, all of whose other bytes are final, and returns it.
pub(crate) fn seal_crc(batch: &mut [u8]) -> u32 {
    let crc = crc32c(&batch[CRC_START..]);
    batch[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    crc
}
