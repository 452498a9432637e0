//! What a partition's producer state is rebuilt from: one entry per idempotent batch, with its place in the log.
//!
//! The same bytes serve a range's own batches (in its footer entry and its metadata row) and a snapshot of a partition's
//! whole state. Layout in docs/format.md; the version is explicit, an upgrade reads all former ones.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::FormatError;
use crate::{Offset, ProducerEpoch, ProducerId, RecordBatchHeader, TimestampMs};

/// Batches per producer and partition that duplicates are told by, Kafka's number.
pub const PRODUCER_BATCHES_KEPT: usize = 5;
const WHAT: &str = "producer entries";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;
const ENTRY_BYTES: usize = 42;

/// One idempotent batch that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Who wrote it.
    pub producer_id: ProducerId,
    /// Under which epoch.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of its first record.
    pub base_sequence: i32,
    /// Sequence of its last record; below `base_sequence` where the sequence wrapped.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// When it was written, by the agent's clock: the producer's state expires by it. Not a record's timestamp, which the
    /// client chooses and which may be years old in a backfill.
    pub timestamp: TimestampMs,
}

impl ProducerBatch {
    /// Of a stored batch; `None` where it is not idempotent.
    #[must_use]
    pub fn of(stored: &RecordBatchHeader, written_at: TimestampMs) -> Option<Self> {
        stored.has_producer().then(|| Self {
            producer_id: stored.producer_id,
            producer_epoch: stored.producer_epoch,
            base_sequence: stored.base_sequence,
            last_sequence: stored.last_sequence(),
            base_offset: stored.base_offset,
            last_offset: stored.last_offset(),
            timestamp: written_at,
        })
    }
}

/// Encodes entries in the order given; none = no bytes at all.
#[must_use]
pub fn encode_producer_entries(entries: &[ProducerBatch]) -> Bytes {
    if entries.is_empty() {
        return Bytes::new();
    }
    let mut out = BytesMut::with_capacity(HEAD_BYTES + entries.len() * ENTRY_BYTES);
    out.put_u8(VERSION);
    out.put_u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    for entry in entries {
        out.put_i64(entry.producer_id);
        out.put_i16(entry.producer_epoch);
        out.put_i32(entry.base_sequence);
        out.put_i32(entry.last_sequence);
        out.put_i64(entry.base_offset);
        out.put_i64(entry.last_offset);
        out.put_i64(entry.timestamp);
    }
    out.freeze()
}

/// Decodes what [`encode_producer_entries`] wrote.
///
/// # Errors
/// A newer version, or a length that does not go with the count.
pub fn decode_producer_entries(bytes: &[u8]) -> Result<Vec<ProducerBatch>, FormatError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let damaged = |why| FormatError::Damaged { what: WHAT, why };
    let Some((mut head, body)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Err(damaged("no head"));
    };
    let version = head.get_u8();
    if version != VERSION {
        return Err(FormatError::Version { what: WHAT, version: version.into(), supported: VERSION.into() });
    }
    let count = usize::try_from(head.get_u32()).map_err(|_| damaged("count"))?;
    let entries = body.chunks_exact(ENTRY_BYTES);
    if entries.len() != count || !entries.remainder().is_empty() {
        return Err(damaged("the count does not go with the length"));
    }
    Ok(entries.map(decode_entry).collect())
}

fn decode_entry(mut fields: &[u8]) -> ProducerBatch {
    ProducerBatch {
        producer_id: fields.get_i64(),
        producer_epoch: fields.get_i16(),
        base_sequence: fields.get_i32(),
        last_sequence: fields.get_i32(),
        base_offset: fields.get_i64(),
        last_offset: fields.get_i64(),
        timestamp: fields.get_i64(),
    }
}
