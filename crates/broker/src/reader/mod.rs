//! Reading: the tail of each partition from memory, older records from the object store.

pub(crate) mod answers;
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
    /// Its bytes, in order; the second is empty when the first holds the whole batch, which may go on with the batches after it.
    pub(crate) slices: [Bytes; 2],
}

impl ReadBatch {
    pub(crate) fn bytes(&self) -> usize {
        self.header.total_bytes()
    }

    /// Whether the other one lies directly behind it, in the same piece of memory.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        let behind = self.slices[0].get(self.bytes()..).filter(|behind| !behind.is_empty());
        behind.is_some_and(|behind| behind.as_ptr() == other.slices[0].as_ptr())
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

/// The bytes of batches in as few slices as they lie in.
pub(crate) fn slices(batches: &[ReadBatch]) -> Vec<Bytes> {
    let mut slices = Vec::new();
    for run in batches.chunk_by(ReadBatch::is_before) {
        let ([first, second], len) = (&run[0].slices, run.iter().map(ReadBatch::bytes).sum::<usize>());
        match second.is_empty() {
            true => slices.push(first.slice(..len)),
            false => slices.extend([first.clone(), second.clone()]),
        }
    }
    slices
}
