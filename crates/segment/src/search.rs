//! Finds records by timestamp inside one stored batch, for ListOffsets.
//!
//! Timestamps of records need not ascend, so a batch is read from its start; its header's `max_timestamp` (made right when
//! it was stored) says beforehand whether that can find anything.

use crate::record_batch::RecordBatchHeader;
use crate::record_check::RecordCheckError;
use crate::record_walk::{RecordOutline, RecordWalk};
use crate::{Offset, TimestampMs};

/// The first record of the batch whose timestamp is at least `at_least`, with that timestamp.
///
/// # Errors
/// The batch's records cannot be read: the stored bytes are damaged.
pub fn find_timestamp(
    batch: &[u8],
    header: &RecordBatchHeader,
    at_least: TimestampMs,
) -> Result<Option<(Offset, TimestampMs)>, RecordCheckError> {
    if header.max_timestamp < at_least {
        return Ok(None);
    }
    let mut walk = RecordWalk::open_stored(batch, header)?;
    while let Some(record) = walk.next_record()? {
        if record.timestamp >= at_least {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

/// The first record that has the greatest timestamp of the batch, with that timestamp.
///
/// # Errors
/// As [`find_timestamp`]; or the batch has no records.
pub fn find_max_timestamp(batch: &[u8], header: &RecordBatchHeader) -> Result<(Offset, TimestampMs), RecordCheckError> {
    let mut walk = RecordWalk::open_stored(batch, header)?;
    let mut greatest: Option<RecordOutline> = None;
    while let Some(record) = walk.next_record()? {
        if greatest.is_none_or(|found| record.timestamp > found.timestamp) {
            greatest = Some(record);
        }
    }
    greatest.map(|found| (found.offset, found.timestamp)).ok_or_else(|| RecordCheckError::malformed("no records"))
}
