//! Takes records out of a stored batch, as compaction does.
//!
//! What is left is the batch that it was: base and last offset, leader epoch, producer, sequence and codec stay, and so do the
//! records that stay, byte for byte. Offsets that no record has any more are holes. Records are read as a stream, one in memory at a
//! time: once to decide, and once more to copy if any goes.
//!
//! A batch that keeps a record without a value gets a delete horizon, as in Kafka: attribute bit 6 says that `base_timestamp` is
//! the time from which on such records may go. The timestamps of all its records are then relative to that.

use bytes::Bytes;

use crate::compress::Packer;
use crate::decompress::RecordReader;
use crate::record_batch::{DELETE_HORIZON_BIT, HEADER_BYTES, RecordBatchHeader, UNCOUNTED_BYTES, seal_crc};
use crate::record_check::RecordCheckError;
use crate::varint::{VARINT_BYTES_MAX, VARLONG_BYTES_MAX, get_unsigned, put_varlong, unzigzag};
use crate::{Offset, TimestampMs};

/// A record as compaction sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Its offset.
    pub offset: Offset,
    /// The batch's append time where it has one.
    pub timestamp: TimestampMs,
    /// `None` = null.
    pub key: Option<&'a [u8]>,
    /// Whether its value is not null.
    pub has_value: bool,
}

/// What a filter leaves of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// All, as it is.
    Whole,
    /// This.
    Part(RecordBatchHeader, Bytes),
    /// No record.
    Nothing,
}

/// Shows every record of one whole stored batch, but for control batches, which hold none.
///
/// # Errors
/// The stored bytes are damaged.
pub fn visit_records(
    batch: &[u8],
    header: &RecordBatchHeader,
    mut visit: impl FnMut(&RecordView<'_>),
) -> Result<(), RecordCheckError> {
    if header.is_control() {
        return Ok(());
    }
    let mut records = Records::open(batch, header)?;
    while let Some(record) = records.next()? {
        visit(&record.view);
    }
    Ok(())
}

/// Keeps the records of one whole stored batch that `keep` names; it is asked twice. If there is one without a value among them and
/// the batch has no delete horizon yet, it gets this one, if it is to get any. Control batches stay.
///
/// # Errors
/// The stored bytes are damaged.
pub fn filter_records(
    batch: &[u8],
    header: &RecordBatchHeader,
    delete_horizon: Option<TimestampMs>,
    keep: impl Fn(&RecordView<'_>) -> bool,
) -> Result<Filtered, RecordCheckError> {
    let (mut kept, mut has_tombstone, mut max_timestamp) = (0, false, -1);
    visit_records(batch, header, |record| {
        if keep(record) {
            kept += 1;
            has_tombstone |= !record.has_value;
            max_timestamp = record.timestamp.max(max_timestamp);
        }
    })?;
    let new_horizon = delete_horizon.filter(|_| has_tombstone && header.delete_horizon().is_none());
    if header.is_control() || kept == header.record_count && kept > 0 && new_horizon.is_none() {
        return Ok(Filtered::Whole);
    }
    if kept == 0 {
        return Ok(Filtered::Nothing);
    }
    let mut left = RecordBatchHeader { record_count: kept, ..*header };
    if !header.is_log_append_time() {
        left.max_timestamp = max_timestamp;
    }
    if let Some(horizon) = new_horizon {
        left.attributes |= DELETE_HORIZON_BIT;
        left.base_timestamp = horizon;
    }
    copy(batch, header, left, keep)
}

fn copy(
    batch: &[u8],
    header: &RecordBatchHeader,
    mut left: RecordBatchHeader,
    keep: impl Fn(&RecordView<'_>) -> bool,
) -> Result<Filtered, RecordCheckError> {
    let failed = |error: std::io::Error| RecordCheckError::Malformed(format!("records cannot be compressed: {error}"));
    let compression = header.compression().map_err(|_| RecordCheckError::UnknownCompression)?;
    let mut packer = Packer::new(compression, vec![0; HEADER_BYTES]).map_err(failed)?;
    let mut records = Records::open(batch, header)?;
    let mut fields = Vec::new();
    while let Some(record) = records.next()? {
        if !keep(&record.view) {
            continue;
        }
        let mut body = record.body;
        let mut head = Vec::with_capacity(1 + VARLONG_BYTES_MAX);
        if left.base_timestamp != header.base_timestamp {
            head.extend_from_slice(&record.body[..1]);
            put_varlong(&mut head, record.view.timestamp.wrapping_sub(left.base_timestamp));
            body = &record.body[record.timestamp_end..];
        }
        fields.clear();
        put_varlong(&mut fields, i64::try_from(head.len() + body.len()).unwrap_or(i64::MAX));
        for part in [&fields, &head[..], body] {
            packer.write(part).map_err(failed)?;
        }
    }
    let mut bytes = packer.finish().map_err(failed)?;
    left.batch_length = i32::try_from(bytes.len() - UNCOUNTED_BYTES)
        .map_err(|_| RecordCheckError::malformed("what is left is too large for a batch"))?;
    bytes[..HEADER_BYTES].copy_from_slice(&left.encode());
    left.crc = seal_crc(&mut bytes);
    Ok(Filtered::Part(left, bytes.into()))
}

/// One record, with what its copy needs.
struct Record<'a> {
    view: RecordView<'a>,
    /// All after its length.
    body: &'a [u8],
    /// Where in that the timestamp ends.
    timestamp_end: usize,
}

/// The records of a batch, one in memory at a time.
struct Records<'a> {
    reader: RecordReader<'a>,
    header: RecordBatchHeader,
    seen: i32,
    record: Vec<u8>,
}

impl<'a> Records<'a> {
    fn open(batch: &'a [u8], header: &RecordBatchHeader) -> Result<Self, RecordCheckError> {
        let reader = RecordReader::open_stored(batch, header)?;
        Ok(Self { reader, header: *header, seen: 0, record: Vec::new() })
    }

    /// The next record; `None` after the last.
    fn next(&mut self) -> Result<Option<Record<'_>>, RecordCheckError> {
        if self.seen >= self.header.record_count {
            return Ok(None);
        }
        let mut left = self.length()?;
        self.record.clear();
        while left > 0 {
            let window = self.reader.window()?;
            let step = left.min(window.len());
            if step == 0 {
                return Err(RecordCheckError::malformed("the batch ends within a record"));
            }
            self.record.extend_from_slice(&window[..step]);
            self.reader.advance(step);
            left -= step;
        }
        self.seen += 1;
        let record = parse(&self.record, &self.header);
        record.map(Some).ok_or_else(|| RecordCheckError::malformed("a record goes past its length"))
    }

    /// Of the next record.
    fn length(&mut self) -> Result<usize, RecordCheckError> {
        let mut bytes = [0; VARINT_BYTES_MAX];
        for slot in &mut bytes {
            let window = self.reader.window()?;
            *slot = *window.first().ok_or_else(|| RecordCheckError::malformed("the batch ends before a record"))?;
            self.reader.advance(1);
            if *slot < 0x80 {
                break;
            }
        }
        let length = get_unsigned(&bytes, VARINT_BYTES_MAX).filter(|(_, used)| *used > 0);
        let length = length.and_then(|(raw, _)| usize::try_from(unzigzag(raw)).ok());
        length.ok_or_else(|| RecordCheckError::malformed("a record's length cannot be"))
    }
}

fn parse<'a>(body: &'a [u8], header: &RecordBatchHeader) -> Option<Record<'a>> {
    let mut rest = body.get(1..)?;
    let timestamp_delta = take_number(&mut rest)?;
    let timestamp_end = body.len() - rest.len();
    let offset = header.base_offset.saturating_add(take_number(&mut rest)?);
    let key = take_nullable(&mut rest)?;
    let has_value = take_nullable(&mut rest)?.is_some();
    let timestamp = if header.is_log_append_time() {
        header.max_timestamp
    } else {
        header.base_timestamp.wrapping_add(timestamp_delta)
    };
    Some(Record { view: RecordView { offset, timestamp, key, has_value }, body, timestamp_end })
}

fn take_number(rest: &mut &[u8]) -> Option<i64> {
    let (raw, used) = get_unsigned(rest, VARLONG_BYTES_MAX).filter(|(_, used)| *used > 0)?;
    *rest = &rest[used..];
    Some(unzigzag(raw))
}

/// A length and its bytes; the inner `None` = null, the outer one = cut off.
fn take_nullable<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match take_number(rest)? {
        -1 => Some(None),
        length => {
            let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            *rest = after;
            Some(Some(bytes))
        }
    }
}
