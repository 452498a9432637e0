//! Records that are no longer in memory: planned from metadata, read from the object store by exact ranges, verified,
//! and kept for a while so that readers of one range share one request.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use metadata::{MetadataStore, RangeRow, StoreError};
use opendal::{ErrorKind, Operator};
use parking_lot::Mutex;
use segment::{Offset, PartitionKey, RecordBatchHeader};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{ReadBatch, take_fitting};
use crate::limits::FETCH_COLD_BYTES_MAX;
use crate::memory_budget::{MemoryBudget, MemoryPermit};
use crate::metrics::Metrics;

/// Ranges asked of metadata for one read.
const RANGES_PER_PLAN: u32 = 64;
/// Ranges of one partition read at the same time.
const READS_IN_FLIGHT: usize = 4;

/// Why a cold read gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ColdError {
    /// Metadata did not answer.
    #[error("metadata: {0}")]
    Metadata(String),
    /// The object store did not answer, or the object is gone.
    #[error("{0}")]
    Store(String),
    /// The bytes are not what was written.
    #[error("damaged object {object_key}: {reason}")]
    Damaged {
        /// Which.
        object_key: String,
        /// How it shows.
        reason: String,
    },
}

impl From<StoreError> for ColdError {
    fn from(error: StoreError) -> Self {
        Self::Metadata(error.to_string())
    }
}

/// A range as read and verified.
type Batches = Arc<Vec<(RecordBatchHeader, Bytes)>>;
/// Object key and position of a range.
type RangeId = (String, i64);

#[derive(Default)]
struct Cache {
    ranges: HashMap<RangeId, Arc<OnceCell<Batches>>>,
    order: VecDeque<(RangeId, usize)>,
    used: usize,
}

/// Reads committed records from the object store.
pub(crate) struct ColdReader {
    metadata: Arc<dyn MetadataStore>,
    store: Operator,
    metrics: Arc<Metrics>,
    bytes_max: usize,
    cache: Mutex<Cache>,
    /// What answers hold until they are written out.
    answers: MemoryBudget,
}

/// Record bytes of an answer with the memory they are charged to: given back when the last slice is gone.
struct Charged {
    bytes: Bytes,
    _memory: Arc<MemoryPermit>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ColdReader {
    pub(crate) fn new(
        metadata: Arc<dyn MetadataStore>,
        store: Operator,
        metrics: Arc<Metrics>,
        bytes_max: usize,
        answers: MemoryBudget,
    ) -> Self {
        Self { metadata, store, metrics, bytes_max, cache: Mutex::default(), answers }
    }

    /// Waits for the memory that one fetch's cold reads are charged to.
    pub(crate) async fn memory(&self, bytes: usize) -> Arc<MemoryPermit> {
        Arc::new(self.answers.acquire(bytes.min(FETCH_COLD_BYTES_MAX)).await)
    }

    /// Batches from the one that holds `offset` on, below `end`, up to `bytes_max` but at least one.
    pub(crate) async fn read(
        &self,
        key: PartitionKey,
        offset: Offset,
        end: Offset,
        bytes_max: usize,
        memory: &Arc<MemoryPermit>,
    ) -> Result<Vec<ReadBatch>, ColdError> {
        let plan = self.plan(key, offset, bytes_max).await?;
        if plan.first().is_none_or(|first| first.base_offset > offset) {
            // The topic was purged meanwhile, or metadata is damaged: never pass over records in silence.
            return Err(ColdError::Store(format!("no object holds offset {offset} of {key:?}")));
        }
        let mut ranges = Vec::with_capacity(plan.len());
        for row in &plan {
            ranges.push(self.range(row));
        }
        let mut ranges = futures::stream::iter(ranges).buffered(READS_IN_FLIGHT);
        let mut batches = Vec::new();
        while let Some(range) = ranges.next().await {
            let wanted = range?;
            let wanted = wanted.iter().filter(|(header, _)| header.next_offset() > offset && header.base_offset < end);
            batches.extend(
                wanted.map(|(header, bytes)| ReadBatch { header: *header, slices: [bytes.clone(), Bytes::new()] }),
            );
        }
        let mut batches = take_fitting(batches.into_iter(), bytes_max);
        for batch in &mut batches {
            let bytes = std::mem::take(&mut batch.slices[0]);
            batch.slices[0] = Bytes::from_owner(Charged { bytes, _memory: Arc::clone(memory) });
        }
        Ok(batches)
    }

    /// The ranges that hold `offset` and the bytes after it.
    async fn plan(&self, key: PartitionKey, offset: Offset, bytes_max: usize) -> Result<Vec<RangeRow>, ColdError> {
        let mut rows = self.metadata.ranges_from(key, offset, RANGES_PER_PLAN).await?;
        let mut bytes: usize = 0;
        let needed = rows.iter().take_while(|row| {
            let before = bytes;
            bytes = bytes.saturating_add(usize::try_from(row.byte_len).unwrap_or(0));
            before < bytes_max
        });
        let needed = needed.count().max(1);
        rows.truncate(needed);
        Ok(rows)
    }

    /// One range, verified; concurrent readers share one request.
    pub(crate) async fn range(&self, row: &RangeRow) -> Result<Batches, ColdError> {
        let id = (row.object_key.clone(), row.byte_start);
        let bytes = usize::try_from(row.byte_len).unwrap_or(usize::MAX);
        let cell = {
            let mut cache = self.cache.lock();
            match cache.ranges.get(&id) {
                Some(cell) => Arc::clone(cell),
                None => cache.insert(id.clone(), bytes, self.bytes_max),
            }
        };
        let loading = Loading { cache: &self.cache, id, cell };
        loading.cell.get_or_try_init(|| self.load(row)).await.cloned()
    }

    async fn load(&self, row: &RangeRow) -> Result<Batches, ColdError> {
        let started = Instant::now();
        let start = u64::try_from(row.byte_start).unwrap_or(0);
        let len = u64::try_from(row.byte_len).unwrap_or(0);
        let read = self.store.read_with(&row.object_key).range(start..start + len).await;
        self.metrics.object_get(started.elapsed().as_secs_f64(), len, read.is_ok());
        let bytes = read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => ColdError::Store(format!("object {} is gone", row.object_key)),
            _ => ColdError::Store(error.to_string()),
        })?;
        let batches = segment::verify_range(&bytes.to_bytes(), row.checksum).map_err(|error| {
            let damaged = ColdError::Damaged { object_key: row.object_key.clone(), reason: error.to_string() };
            tracing::error!(error = %damaged, "an object does not verify");
            damaged
        })?;
        Ok(Arc::new(batches))
    }
}

/// A reader of a range. One that ends without its bytes (an error, or the client hung up) takes the empty entry out, so
/// that it uses up nothing of the budget.
struct Loading<'a> {
    cache: &'a Mutex<Cache>,
    id: RangeId,
    cell: Arc<OnceCell<Batches>>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if !self.cell.initialized() {
            self.cache.lock().remove_empty(&self.id, &self.cell);
        }
    }
}

impl Cache {
    fn remove_empty(&mut self, id: &RangeId, cell: &Arc<OnceCell<Batches>>) {
        if self.ranges.get(id).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            self.ranges.remove(id);
            if let Some(position) = self.order.iter().position(|(known, _)| known == id) {
                self.used -= self.order.remove(position).map_or(0, |(_, bytes)| bytes);
            }
        }
    }

    fn insert(&mut self, id: RangeId, bytes: usize, bytes_max: usize) -> Arc<OnceCell<Batches>> {
        self.used = self.used.saturating_add(bytes);
        while self.used > bytes_max {
            let Some((oldest, freed)) = self.order.pop_front() else { break };
            self.ranges.remove(&oldest);
            self.used = self.used.saturating_sub(freed);
        }
        let cell = Arc::new(OnceCell::new());
        self.order.push_back((id.clone(), bytes));
        self.ranges.insert(id, Arc::clone(&cell));
        cell
    }
}

#[cfg(test)]
#[path = "cold_tests.rs"]
mod tests;
