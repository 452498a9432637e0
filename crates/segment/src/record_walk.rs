//! One pass over the records of a batch: every length is checked against the bytes of its record, nothing is kept.
//!
//! A record is `length` varint, attributes `i8`, timestamp delta varlong, offset delta varint, key and value (varint length,
//! -1 = null), header count varint, headers (varint length of the name, then of the value, -1 = null).

use crate::decompress::RecordReader;
use crate::record_batch::RecordBatchHeader;
use crate::record_check::RecordCheckError;
use crate::varint::{VARINT_BYTES_MAX, VARLONG_BYTES_MAX, get_unsigned, unzigzag};
use crate::{Offset, TimestampMs};

/// A header takes a length of its name and a length of its value.
const RECORD_HEADER_BYTES_MIN: u64 = 2;

/// What the checks and searches need of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordOutline {
    pub(crate) offset_delta: i32,
    pub(crate) offset: Offset,
    /// The batch's append time where it has one.
    pub(crate) timestamp: TimestampMs,
    pub(crate) null_key: bool,
}

/// A pass over a batch.
pub(crate) struct RecordWalk<'a> {
    reader: RecordReader<'a>,
    header: RecordBatchHeader,
    seen: i32,
    /// Bytes left of the record at hand.
    left: u64,
}

impl<'a> RecordWalk<'a> {
    /// Over one whole batch from a client.
    pub(crate) fn open(batch: &'a [u8], header: &RecordBatchHeader) -> Result<Self, RecordCheckError> {
        Ok(Self { reader: RecordReader::open(batch, header)?, header: *header, seen: 0, left: 0 })
    }

    /// Over one whole batch that is stored.
    pub(crate) fn open_stored(batch: &'a [u8], header: &RecordBatchHeader) -> Result<Self, RecordCheckError> {
        Ok(Self { reader: RecordReader::open_stored(batch, header)?, header: *header, seen: 0, left: 0 })
    }

    /// The next record; `None` after the last, when nothing follows it.
    pub(crate) fn next_record(&mut self) -> Result<Option<RecordOutline>, RecordCheckError> {
        if self.seen >= self.header.record_count {
            let at_end = self.reader.window()?.is_empty();
            return if at_end { Ok(None) } else { Err(self.malformed("the batch goes on after its last record")) };
        }
        if let RecordReader::Plain(rest) = &mut self.reader
            && let Some(record) = PlainRecord::read(rest)
        {
            *rest = &rest[record.bytes..];
            self.seen += 1;
            return Ok(Some(self.outline(record.timestamp_delta, record.offset_delta, record.null_key)));
        }
        // The length stands before the record it measures.
        self.left = u64::MAX;
        let record_bytes = self.varint()?;
        self.left = u64::try_from(record_bytes).map_err(|_| self.malformed("its length is negative"))?;
        self.skip(1)?;
        let timestamp_delta = unzigzag(self.unsigned(VARLONG_BYTES_MAX)?);
        let offset_delta = self.varint()?;
        let null_key = self.skip_nullable()?;
        self.skip_nullable()?;
        self.skip_headers()?;
        if self.left != 0 {
            return Err(self.malformed("it does not fill its length"));
        }
        self.seen += 1;
        Ok(Some(self.outline(timestamp_delta, offset_delta, null_key)))
    }

    fn outline(&self, timestamp_delta: i64, offset_delta: i32, null_key: bool) -> RecordOutline {
        let timestamp = if self.header.is_log_append_time() {
            self.header.max_timestamp
        } else {
            self.header.base_timestamp.wrapping_add(timestamp_delta)
        };
        let offset = self.header.base_offset.saturating_add(i64::from(offset_delta));
        RecordOutline { offset_delta, offset, timestamp, null_key }
    }

    fn skip_headers(&mut self) -> Result<(), RecordCheckError> {
        let count = self.varint()?;
        let count = u64::try_from(count).map_err(|_| self.malformed("its header count is negative"))?;
        if count > self.left / RECORD_HEADER_BYTES_MIN {
            return Err(self.malformed("it claims more headers than it has bytes"));
        }
        for _ in 0..count {
            if self.skip_nullable()? {
                return Err(self.malformed("a header has no name"));
            }
            self.skip_nullable()?;
        }
        Ok(())
    }

    /// Skips a length and its bytes; true = null.
    fn skip_nullable(&mut self) -> Result<bool, RecordCheckError> {
        match self.varint()? {
            -1 => Ok(true),
            length => {
                let length = u64::try_from(length).map_err(|_| self.malformed("a length is below -1"))?;
                self.skip(length)?;
                Ok(false)
            }
        }
    }

    fn skip(&mut self, count: u64) -> Result<(), RecordCheckError> {
        self.take(count)?;
        let mut count = count;
        while count > 0 {
            let window = self.reader.window()?.len();
            if window == 0 {
                return Err(self.malformed("the batch ends within it"));
            }
            let step = usize::try_from(count).map_or(window, |count| window.min(count));
            self.reader.advance(step);
            count -= u64::try_from(step).unwrap_or(count);
        }
        Ok(())
    }

    fn take(&mut self, count: u64) -> Result<(), RecordCheckError> {
        self.left = self.left.checked_sub(count).ok_or_else(|| self.malformed("a field goes past its length"))?;
        Ok(())
    }

    fn varint(&mut self) -> Result<i32, RecordCheckError> {
        let raw = self.unsigned(VARINT_BYTES_MAX)?;
        i32::try_from(unzigzag(raw)).map_err(|_| self.malformed("a number does not fit 32 bits"))
    }

    fn unsigned(&mut self, bytes_max: usize) -> Result<u64, RecordCheckError> {
        let (value, used) = match get_unsigned(self.reader.window()?, bytes_max) {
            Some((value, used)) => {
                self.reader.advance(used);
                (value, used)
            }
            None => self.unsigned_across_windows(bytes_max)?,
        };
        if used == 0 {
            return Err(self.malformed("a number is too long"));
        }
        self.take(u64::try_from(used).unwrap_or(u64::MAX))?;
        Ok(value)
    }

    fn unsigned_across_windows(&mut self, bytes_max: usize) -> Result<(u64, usize), RecordCheckError> {
        let mut bytes = [0; VARLONG_BYTES_MAX];
        for slot in bytes.iter_mut().take(bytes_max) {
            let Some(byte) = self.reader.window()?.first().copied() else {
                return Err(self.malformed("the batch ends within it"));
            };
            self.reader.advance(1);
            *slot = byte;
            if byte < 0x80 {
                break;
            }
        }
        Ok(get_unsigned(&bytes[..bytes_max], bytes_max).unwrap_or((0, 0)))
    }

    fn malformed(&self, why: &str) -> RecordCheckError {
        RecordCheckError::Malformed(format!("record {}: {why}", self.seen))
    }
}

/// A record that lies in memory as a whole, read in a fraction of the time that windows take. It says nothing but yes: a record
/// that breaks a rule is read again by the walk, which says which one.
struct PlainRecord {
    timestamp_delta: i64,
    offset_delta: i32,
    null_key: bool,
    /// Its length, with that of its length.
    bytes: usize,
}

impl PlainRecord {
    /// The record that `records` begin with.
    fn read(records: &[u8]) -> Option<Self> {
        let mut rest = records;
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        let bytes = records.len() - rest.len() + length;
        let mut body = rest.get(..length)?.get(1..)?; // after the attributes
        let timestamp_delta = unzigzag(unsigned(&mut body, VARLONG_BYTES_MAX)?);
        let offset_delta = varint(&mut body)?;
        let null_key = skip_nullable(&mut body)?;
        skip_nullable(&mut body)?;
        for _ in 0..u32::try_from(varint(&mut body)?).ok()? {
            if skip_nullable(&mut body)? {
                return None; // a header without a name
            }
            skip_nullable(&mut body)?;
        }
        body.is_empty().then_some(Self { timestamp_delta, offset_delta, null_key, bytes })
    }
}

#[inline]
fn skip_nullable(body: &mut &[u8]) -> Option<bool> {
    match varint(body)? {
        -1 => Some(true),
        length => {
            *body = body.get(usize::try_from(length).ok()?..)?;
            Some(false)
        }
    }
}

#[inline]
fn varint(body: &mut &[u8]) -> Option<i32> {
    i32::try_from(unzigzag(unsigned(body, VARINT_BYTES_MAX)?)).ok()
}

/// Most numbers of a record take one byte or two.
#[inline]
fn unsigned(body: &mut &[u8], bytes_max: usize) -> Option<u64> {
    let (value, used) = match **body {
        [one, ..] if one < 0x80 => (u64::from(one), 1),
        [one, two, ..] if two < 0x80 => (u64::from(one & 0x7f) | u64::from(two) << 7, 2),
        _ => get_unsigned(body, bytes_max).filter(|(_, used)| *used > 0)?,
    };
    *body = &body[used..];
    Some(value)
}

#[cfg(test)]
#[path = "record_walk_tests.rs"]
mod tests;
