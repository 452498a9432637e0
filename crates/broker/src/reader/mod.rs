//! Reading: the tail of each partition from memory, older records from the object store.

pub(crate) mod cold;
mod objects;
mod read_ahead;
mod sharing;
mod single_flight;
pub(crate) mod tail;

use bytes::Bytes;
use segment::{Compression, RecordBatchHeader};

/// A stored batch on its way to a client.
#[derive(Clone, Debug)]
pub(crate) struct ReadBatch {
    pub(crate) header: RecordBatchHeader,
    /// Its bytes, in order; the second is empty when the first holds the whole batch.
    pub(crate) slices: [Bytes; 2],
}

impl ReadBatch {
    pub(crate) fn bytes(&self) -> usize {
        self.header.total_bytes()
    }

    pub(crate) fn is_zstd(&self) -> bool {
        matches!(self.header.compression(), Ok(Compression::Zstd))
    }
}

/// Takes batches from the front while they fit; the first is taken even if it does not.
pub(crate) fn take_fitting(batches: impl Iterator<Item = ReadBatch>, bytes_max: usize) -> Vec<ReadBatch> {
    let mut taken: Vec<ReadBatch> = Vec::new();
    let mut bytes = 0;
    for batch in batches {
        bytes += batch.bytes();
        if bytes > bytes_max && !taken.is_empty() {
            break;
        }
        taken.push(batch);
    }
    taken
}
