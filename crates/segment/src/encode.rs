//! Builds a record batch from single records, for clients that do not speak Kafka's format.

use bytes::Bytes;

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
#[expect(clippy::todo, unused_variables, reason = "skeleton")]
pub fn encode_batch(
    records: &[NewRecord],
    producer: Option<(ProducerId, ProducerEpoch, i32)>,
) -> Result<Bytes, EncodeError> {
    todo!()
}
