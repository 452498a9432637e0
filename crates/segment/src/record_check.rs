//! What Kafka checks of a batch from a client (its `ProduceRequest` and `LogValidator`), before the batch gets an offset.
//!
//! `check_header` is the part that costs nanoseconds; `check_records` is one streaming pass over the records, bounded in
//! output and memory (see [`decompress`](crate::decompress)), to be run off the runtime's workers for compressed batches.
//!
//! Stricter than Kafka, because the batch is stored as it is and every consumer must be able to read it: unused
//! attribute bits, offset deltas that are not 0, 1, 2… in uncompressed batches, lengths below -1, and what
//! `decompress` refuses.

use crate::record_batch::{CLIENT_ATTRIBUTES, RecordBatchHeader};
use crate::record_walk::RecordWalk;
use crate::{Offset, TimestampMs};

/// A refusal names at most this many records; the whole batch is refused in any case.
pub const REFUSED_RECORDS_NAMED_MAX: usize = 1000;

/// What a topic asks of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRules {
    /// Null keys are refused (`cleanup.policy` contains `compact`).
    pub compacted: bool,
    /// Least CreateTime; `i64::MIN` = any. Records without a timestamp (-1) pass, as in Kafka.
    pub timestamp_min: TimestampMs,
    /// Greatest CreateTime; `i64::MAX` = any.
    pub timestamp_max: TimestampMs,
}

impl RecordRules {
    /// Nothing beyond the format.
    pub const ANY: Self = Self { compacted: false, timestamp_min: i64::MIN, timestamp_max: i64::MAX };
}

/// What the pass over the records found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedRecords {
    /// Greatest timestamp of the records, at least -1. Where the header says something else (some clients never
    /// set it), Kafka corrects the header: put it into the header before [`place`](crate::place).
    pub max_timestamp: TimestampMs,
}

/// Why a batch from a client is refused by its header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Bytes follow the batch: INVALID_RECORD (87), a partition takes exactly one batch a request.
    #[error("a partition takes exactly one record batch a request, {extra_bytes} bytes follow the first")]
    NotOneBatch {
        /// Bytes after it.
        extra_bytes: usize,
    },
    /// The batch is longer than its bytes: CORRUPT_MESSAGE (2).
    #[error("the batch takes {claimed} bytes, there are {available}")]
    Truncated {
        /// As the header says.
        claimed: usize,
        /// What is there.
        available: usize,
    },
    /// INVALID_RECORD (87).
    #[error("the base offset of a batch from a client is 0, not {0}")]
    BaseOffset(Offset),
    /// INVALID_RECORD (87).
    #[error("record count {0} is not positive")]
    RecordCount(i32),
    /// INVALID_RECORD (87).
    #[error("last offset delta {last_offset_delta} does not go with {record_count} records")]
    LastOffsetDelta {
        /// As the header says.
        last_offset_delta: i32,
        /// As the header says.
        record_count: i32,
    },
    /// INVALID_RECORD (87).
    #[error("clients do not write control records")]
    ControlBatch,
    /// INVALID_TIMESTAMP (32).
    #[error("a producer does not set the timestamp type LogAppendTime")]
    LogAppendTime,
    /// UNSUPPORTED_COMPRESSION_TYPE (76).
    #[error("compression type {0} does not exist")]
    Compression(i16),
    /// INVALID_RECORD (87).
    #[error("attributes {0:#06x} have bits that are not in use")]
    ReservedAttributes(i16),
    /// INVALID_RECORD (87).
    #[error("base sequence {0} with a producer id")]
    BaseSequence(i32),
    /// INVALID_RECORD (87).
    #[error("producer epoch {0} with a producer id")]
    ProducerEpoch(i16),
    /// INVALID_RECORD (87).
    #[error("a transactional batch without a producer id")]
    TransactionalWithoutProducer,
}

/// Why the records of a batch are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordCheckError {
    /// The records do not have Kafka's format, or their codec's: INVALID_RECORD (87). Not CORRUPT_MESSAGE, which
    /// clients retry: the CRC was right, so the same bytes would come again.
    #[error("{0}")]
    Malformed(String),
    /// UNSUPPORTED_COMPRESSION_TYPE (76).
    #[error("unknown compression type")]
    UnknownCompression,
    /// INVALID_RECORD (87), with these records as `record_errors`.
    #[error("compacted topic cannot accept message without key: {} record(s)", indexes.len())]
    NullKey {
        /// Index within the batch, ascending, at most [`REFUSED_RECORDS_NAMED_MAX`].
        indexes: Vec<i32>,
    },
    /// INVALID_TIMESTAMP (32), with these records as `record_errors`; a batch that has records without a key as well
    /// gets this code, as in Kafka.
    #[error("timestamps out of range: {} record(s)", indexes.len())]
    Timestamp {
        /// Index within the batch, ascending, at most [`REFUSED_RECORDS_NAMED_MAX`].
        indexes: Vec<i32>,
        /// Records that lack a key on a compacted topic, likewise.
        null_keys: Vec<i32>,
    },
    /// Unpacks to more than is read: MESSAGE_TOO_LARGE (10), on which clients split the batch.
    #[error("the batch unpacks to more than {limit_bytes} bytes")]
    TooLarge {
        /// The bound.
        limit_bytes: u64,
    },
}

impl RecordCheckError {
    pub(crate) fn malformed(why: &str) -> Self {
        Self::Malformed(why.to_owned())
    }
}

/// Checks the header of the batch at the start of `frame_bytes` bytes that a client sent for one partition.
///
/// # Errors
/// The first rule that is broken. A batch without producer id may have any epoch and sequence: clients send -1 or 0.
pub fn check_header(header: &RecordBatchHeader, frame_bytes: usize) -> Result<(), HeaderError> {
    let claimed = header.total_bytes();
    if claimed > frame_bytes {
        return Err(HeaderError::Truncated { claimed, available: frame_bytes });
    }
    if claimed < frame_bytes {
        return Err(HeaderError::NotOneBatch { extra_bytes: frame_bytes - claimed });
    }
    if header.base_offset != 0 {
        return Err(HeaderError::BaseOffset(header.base_offset));
    }
    let (record_count, last_offset_delta) = (header.record_count, header.last_offset_delta);
    if record_count <= 0 {
        return Err(HeaderError::RecordCount(record_count));
    }
    if last_offset_delta != record_count - 1 {
        return Err(HeaderError::LastOffsetDelta { last_offset_delta, record_count });
    }
    if header.is_control() {
        return Err(HeaderError::ControlBatch);
    }
    if header.is_log_append_time() {
        return Err(HeaderError::LogAppendTime);
    }
    if header.compression().is_err() {
        return Err(HeaderError::Compression(header.attributes & 7));
    }
    if header.attributes & !CLIENT_ATTRIBUTES != 0 {
        return Err(HeaderError::ReservedAttributes(header.attributes));
    }
    if header.has_producer() {
        if header.base_sequence < 0 {
            return Err(HeaderError::BaseSequence(header.base_sequence));
        }
        if header.producer_epoch < 0 {
            return Err(HeaderError::ProducerEpoch(header.producer_epoch));
        }
    } else if header.is_transactional() {
        return Err(HeaderError::TransactionalWithoutProducer);
    }
    Ok(())
}

/// Reads every record of one whole batch and checks it; O(bytes), memory bounded.
///
/// # Errors
/// The first fault of the format; else all records that break `rules`.
pub fn check_records(
    batch: &[u8],
    header: &RecordBatchHeader,
    rules: &RecordRules,
) -> Result<CheckedRecords, RecordCheckError> {
    let mut walk = RecordWalk::open(batch, header)?;
    let mut max_timestamp = -1;
    let (mut null_keys, mut bad_timestamps) = (Vec::new(), Vec::new());
    let mut index = 0;
    while let Some(record) = walk.next_record()? {
        if record.offset_delta != index {
            return Err(RecordCheckError::Malformed(format!("record {index}: offset delta {}", record.offset_delta)));
        }
        if rules.compacted && record.null_key {
            name_record(&mut null_keys, index);
        } else if record.timestamp != -1 && !(rules.timestamp_min..=rules.timestamp_max).contains(&record.timestamp) {
            name_record(&mut bad_timestamps, index);
        }
        max_timestamp = record.timestamp.max(max_timestamp);
        index += 1;
    }
    if !bad_timestamps.is_empty() {
        return Err(RecordCheckError::Timestamp { indexes: bad_timestamps, null_keys });
    }
    if !null_keys.is_empty() {
        return Err(RecordCheckError::NullKey { indexes: null_keys });
    }
    Ok(CheckedRecords { max_timestamp })
}

fn name_record(indexes: &mut Vec<i32>, index: i32) {
    if indexes.len() < REFUSED_RECORDS_NAMED_MAX {
        indexes.push(index);
    }
}
