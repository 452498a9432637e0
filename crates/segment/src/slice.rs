//! Takes a range apart into its batches, without copying, and proves that they are the ones that were written.

use bytes::Bytes;

use crate::crc::{Crc32c, crc32c};
use crate::error::{BatchError, FormatError};
use crate::record_batch::{CRC_START, HEADER_BYTES, RecordBatchHeader, crc_matches};

/// The batches of a range, one after the other, unchecked but for their headers.
pub fn slice_batches(range: &Bytes) -> BatchSlices {
    BatchSlices { rest: range.clone() }
}

/// Iterator over the batches of a range; ends after the first error.
#[derive(Clone, Debug)]
pub struct BatchSlices {
    rest: Bytes,
}

impl Iterator for BatchSlices {
    /// A batch's header and the whole of it.
    type Item = Result<(RecordBatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let parsed = RecordBatchHeader::parse(&self.rest);
        if parsed.is_err() {
            self.rest.clear();
        }
        Some(parsed.map(|header| (header, self.rest.split_to(header.total_bytes()))))
    }
}

/// Checks a whole range: the CRC of every batch, and the range's checksum over the batch headers.
///
/// # Errors
/// The bytes are not those that were written: read them again, then treat the object as damaged.
pub fn verify_range(bytes: &Bytes, checksum: u32) -> Result<Vec<(RecordBatchHeader, Bytes)>, FormatError> {
    let mut headers_crc = Crc32c::new();
    let mut batches = Vec::new();
    for batch in slice_batches(bytes) {
        let (header, whole) = batch?;
        if !crc_matches(&whole) {
            let actual = crc32c(&whole[CRC_START..]);
            return Err(FormatError::Checksum { what: "record batch", expected: header.crc, actual });
        }
        headers_crc.update(&whole[..HEADER_BYTES]);
        batches.push((header, whole));
    }
    let actual = headers_crc.value();
    if actual != checksum {
        return Err(FormatError::Checksum { what: "range", expected: checksum, actual });
    }
    Ok(batches)
}
