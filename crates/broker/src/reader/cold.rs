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
use crate::replica::RecentRange;

/// Ranges asked of metadata for one read.
const RANGES_PER_PLAN: u32 = 64;
/// Ranges of one partition read at the same time.
const READS_IN_FLIGHT: usize = 4;

/// A follower reads an object whole up to this size, or when it is at most so many times the range it wants.
const OBJECT_BYTES_SMALL: i64 = 1 << 20;
const OBJECT_BYTES_PER_RANGE: i64 = 16;

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
pub(crate) type Batches = Arc<Vec<(RecordBatchHeader, Bytes)>>;
/// Object key and position of a range.
type RangeId = (String, i64);

/// What was read, oldest out first.
struct Cache<T> {
    entries: HashMap<RangeId, Arc<OnceCell<T>>>,
    order: VecDeque<(RangeId, usize)>,
    used: usize,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), used: 0 }
    }
}

/// A range to be read.
struct Planned {
    row: RangeRow,
    /// Size of its object, where all of it is worth reading: other readers are about to want the rest.
    whole: Option<u64>,
}

/// Reads committed records from the object store.
pub(crate) struct ColdReader {
    metadata: Arc<dyn MetadataStore>,
    store: Operator,
    metrics: Arc<Metrics>,
    bytes_max: usize,
    ranges: Mutex<Cache<Batches>>,
    objects: Mutex<Cache<Bytes>>,
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
        let (ranges, objects) = (Mutex::default(), Mutex::default());
        Self { metadata, store, metrics, bytes_max, ranges, objects, answers }
    }

    /// Waits for the memory that one fetch's cold reads are charged to.
    pub(crate) async fn memory(&self, bytes: usize) -> Arc<MemoryPermit> {
        Arc::new(self.answers.acquire(bytes.min(FETCH_COLD_BYTES_MAX)).await)
    }

    /// Batches from the one that holds `offset` on, below `end`, up to `bytes_max` but at least one. `recent` are the ranges
    /// from that offset on, as far as they are known; none: they are looked up.
    pub(crate) async fn read(
        &self,
        key: PartitionKey,
        recent: Vec<RecentRange>,
        offset: Offset,
        end: Offset,
        bytes_max: usize,
        memory: &Arc<MemoryPermit>,
    ) -> Result<Vec<ReadBatch>, ColdError> {
        let plan = match recent.is_empty() {
            true => self.metadata.ranges_from(key, offset, RANGES_PER_PLAN).await?.into_iter().map(alone).collect(),
            false => recent.into_iter().map(with_object).collect(),
        };
        let plan = up_to(plan, bytes_max);
        if plan.first().is_none_or(|first| first.row.base_offset > offset) {
            // The topic was purged meanwhile, or metadata is damaged: never pass over records in silence.
            return Err(ColdError::Store(format!("no object holds offset {offset} of {key:?}")));
        }
        let mut ranges = Vec::with_capacity(plan.len());
        for planned in &plan {
            ranges.push(self.planned(planned));
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

    /// One range, verified; concurrent readers share one request.
    pub(crate) async fn range(&self, row: &RangeRow) -> Result<Batches, ColdError> {
        self.planned(&alone(row.clone())).await
    }

    async fn planned(&self, planned: &Planned) -> Result<Batches, ColdError> {
        let row = &planned.row;
        let id = (row.object_key.clone(), row.byte_start);
        let bytes = usize::try_from(row.byte_len).unwrap_or(usize::MAX);
        let loading = Loading::new(&self.ranges, id, bytes, self.bytes_max);
        loading.cell.get_or_try_init(|| self.load(planned)).await.cloned()
    }

    async fn load(&self, planned: &Planned) -> Result<Batches, ColdError> {
        let row = &planned.row;
        let start = u64::try_from(row.byte_start).unwrap_or(0);
        let end = start.saturating_add(u64::try_from(row.byte_len).unwrap_or(0));
        let bytes = match planned.whole {
            None => self.get(&row.object_key, start..end).await?,
            Some(object_bytes) => {
                let all = usize::try_from(object_bytes).unwrap_or(usize::MAX);
                let loading = Loading::new(&self.objects, (row.object_key.clone(), 0), all, self.bytes_max);
                let object = loading.cell.get_or_try_init(|| self.get(&row.object_key, 0..object_bytes)).await?;
                // An object that is shorter than its ranges does not verify.
                let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(object.len());
                object.slice(within(start)..within(end))
            }
        };
        let batches = segment::verify_range(&bytes, row.checksum).map_err(|error| {
            let damaged = ColdError::Damaged { object_key: row.object_key.clone(), reason: error.to_string() };
            tracing::error!(error = %damaged, "an object does not verify");
            damaged
        })?;
        Ok(Arc::new(batches))
    }

    async fn get(&self, object_key: &str, range: std::ops::Range<u64>) -> Result<Bytes, ColdError> {
        let (started, len) = (Instant::now(), range.end - range.start);
        let read = self.store.read_with(object_key).range(range).await;
        self.metrics.object_get(started.elapsed().as_secs_f64(), len, read.is_ok());
        read.map(|bytes| bytes.to_bytes()).map_err(|error| match error.kind() {
            ErrorKind::NotFound => ColdError::Store(format!("object {object_key} is gone")),
            _ => ColdError::Store(error.to_string()),
        })
    }
}

fn alone(row: RangeRow) -> Planned {
    Planned { row, whole: None }
}

/// Whole objects while they are small, or mostly of this range.
fn with_object(recent: RecentRange) -> Planned {
    let (object, range) = (recent.object_bytes, recent.row.byte_len);
    let is_worth_it = object <= OBJECT_BYTES_SMALL || object <= range.saturating_mul(OBJECT_BYTES_PER_RANGE);
    let whole = u64::try_from(object).ok().filter(|_| is_worth_it);
    Planned { row: recent.row, whole }
}

/// The first ranges, until they hold `bytes_max`; at least one.
fn up_to(mut plan: Vec<Planned>, bytes_max: usize) -> Vec<Planned> {
    let mut bytes: usize = 0;
    let needed = plan.iter().take_while(|planned| {
        let before = bytes;
        bytes = bytes.saturating_add(usize::try_from(planned.row.byte_len).unwrap_or(0));
        before < bytes_max
    });
    let needed = needed.count().max(1);
    plan.truncate(needed);
    plan
}

/// A reader of a range. One that ends without its bytes (an error, or the client hung up) takes the empty entry out, so
/// that it uses up nothing of the budget.
struct Loading<'a, T> {
    cache: &'a Mutex<Cache<T>>,
    id: RangeId,
    cell: Arc<OnceCell<T>>,
}

impl<'a, T> Loading<'a, T> {
    fn new(cache: &'a Mutex<Cache<T>>, id: RangeId, bytes: usize, bytes_max: usize) -> Self {
        let mut entries = cache.lock();
        let cell = match entries.entries.get(&id) {
            Some(cell) => Arc::clone(cell),
            None => entries.insert(id.clone(), bytes, bytes_max),
        };
        drop(entries);
        Self { cache, id, cell }
    }
}

impl<T> Drop for Loading<'_, T> {
    fn drop(&mut self) {
        if !self.cell.initialized() {
            self.cache.lock().remove_empty(&self.id, &self.cell);
        }
    }
}

impl<T> Cache<T> {
    fn remove_empty(&mut self, id: &RangeId, cell: &Arc<OnceCell<T>>) {
        if self.entries.get(id).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            self.entries.remove(id);
            if let Some(position) = self.order.iter().position(|(known, _)| known == id) {
                self.used -= self.order.remove(position).map_or(0, |(_, bytes)| bytes);
            }
        }
    }

    fn insert(&mut self, id: RangeId, bytes: usize, bytes_max: usize) -> Arc<OnceCell<T>> {
        self.used = self.used.saturating_add(bytes);
        while self.used > bytes_max {
            let Some((oldest, freed)) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
            self.used = self.used.saturating_sub(freed);
        }
        let cell = Arc::new(OnceCell::new());
        self.order.push_back((id.clone(), bytes));
        self.entries.insert(id, Arc::clone(&cell));
        cell
    }
}

#[cfg(test)]
#[path = "cold_tests.rs"]
mod tests;
