//! Records that are no longer in memory: planned from metadata, found by [`Objects`], verified, and kept for a while so that
//! readers of one range share it.
//!
//! A reader that goes on where it left off gets the next ranges read ahead. An object that is not there any more means that the
//! plan is old (rewrites and garbage collection replace objects): it is made again from metadata, a few times. But what is in memory
//! is found although its object is gone, so plans are forgotten when this agent replaces ranges, and none is used for long: of two
//! readers the later one must not see a record that compaction took out with a tombstone, and miss the tombstone.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use metadata::{MetadataStore, RangeRow, StoreError};
use opendal::Operator;
use parking_lot::Mutex;
use segment::{FormatError, Offset, PartitionKey, RecordBatchHeader, TopicId};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::answers::{Answers, Pace, Share};
use super::objects::{Class, Found, Objects};
use super::read_ahead::{Reader, Readers};
use super::single_flight::{Ahead, Entered, Evicted, SingleFlight};
use super::{ReadBatch, take_fitting};
use crate::aside::aside;
use crate::cache::DiskCache;
use crate::costs::{Purpose, charge};
use crate::metrics::Metrics;

/// Ranges asked of metadata at once.
const RANGES_PER_PLAN: u32 = 64;
/// Ranges of one partition read at the same time.
const READS_IN_FLIGHT: usize = 16;
/// Ranges read ahead at the same time, of all partitions.
const AHEAD_IN_FLIGHT: usize = 256;
/// Background reads at the same time.
const BACKGROUND_IN_FLIGHT: usize = 2;
/// A plan is used for so long: less than objects that were replaced stay (`FILE_DELETE_DELAY`), and than tombstones do.
pub(crate) const PLAN_AGE_MAX: Duration = Duration::from_secs(30);
/// How often a plan is made anew because its objects are gone.
pub(crate) const REPLANS_MAX: usize = 3;
/// Reads of bytes that do not verify.
const ATTEMPTS_MAX: usize = 2;
/// A fetch that finds this much there does not wait for what is on its way.
const ENOUGH_BYTES: usize = 1 << 20;
/// How long it waits for that: no store is so slow, but whoever loads may not get to it.
const SOME_WITHIN: Duration = Duration::from_secs(1);
/// Checked on the runtime's workers up to this size: some 10 µs.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Why a cold read gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ColdError {
    /// Metadata did not answer.
    #[error("metadata: {0}")]
    Metadata(String),
    /// The object store did not answer.
    #[error("{0}")]
    Store(String),
    /// The object is not there: plan again.
    #[error("object {0} is gone")]
    Gone(String),
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

/// The batches of a range as read and verified.
pub(crate) type Batches = Arc<Vec<(RecordBatchHeader, Bytes)>>;

/// A range as it is kept.
#[derive(Clone)]
struct Range {
    /// All of it: its batches are slices of this, one after the other.
    bytes: Bytes,
    batches: Batches,
}
/// Object key and position of a range.
type RangeId = (String, i64);

/// What a fetch wants of one partition.
#[derive(Debug)]
pub(crate) struct ColdRead {
    pub(crate) key: PartitionKey,
    /// The ranges from `offset` on, as far as a leader told them; none: they are looked up.
    pub(crate) told: Vec<RangeRow>,
    pub(crate) offset: Offset,
    /// Nothing from here on.
    pub(crate) end: Offset,
    /// At least one batch, even if it is larger.
    pub(crate) bytes_max: usize,
}

/// What it gets.
#[derive(Debug)]
pub(crate) struct ColdAnswer {
    pub(crate) batches: Vec<ReadBatch>,
    /// What was told, or known from before, was old.
    pub(crate) replanned: bool,
}

/// How a fetch goes on.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Partitions that share it.
    pub(crate) partitions: usize,
    /// The others come with a later one.
    pub(crate) is_picky: bool,
    /// How the client took what it got last, if it is known.
    pace: Option<Arc<Pace>>,
}

/// Bounds on the memory of one [`ColdReader`], in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColdMemory {
    /// Verified ranges, three quarters of it read ahead at most.
    pub(crate) ranges: usize,
    /// Blocks of objects, and what is in flight for consumers.
    pub(crate) blocks: usize,
    /// What answers hold until they are written out.
    pub(crate) answers: usize,
}

/// Reads committed records from the object store.
pub(crate) struct ColdReader {
    metadata: Arc<dyn MetadataStore>,
    metrics: Arc<Metrics>,
    objects: Objects,
    ranges: Arc<SingleFlight<RangeId, Range>>,
    readers: Mutex<Readers>,
    answers: Answers,
    ahead: Arc<Semaphore>,
    background: Semaphore,
    /// Checks of large ranges at the same time, so that they leave cores to everybody else.
    checks: Semaphore,
}

impl ColdReader {
    pub(crate) fn new(
        metadata: Arc<dyn MetadataStore>,
        store: Operator,
        disk: DiskCache,
        metrics: Arc<Metrics>,
        memory: ColdMemory,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            metadata,
            objects: Objects::new(store, disk, Arc::clone(&metrics), memory.blocks),
            metrics,
            ranges: SingleFlight::new(memory.ranges),
            readers: Mutex::default(),
            answers: Answers::new(memory.answers),
            ahead: Arc::new(Semaphore::new(AHEAD_IN_FLIGHT)),
            background: Semaphore::new(BACKGROUND_IN_FLIGHT),
            checks: Semaphore::new((cores / 2).max(1)),
        }
    }

    /// What one fetch may read and its answer hold; `None`: nothing for now.
    pub(crate) async fn share(&self, bytes: usize, turn: &Turn) -> Option<Share> {
        self.answers.share(bytes, turn.pace.as_deref()).await
    }

    /// Whether somebody waited for a share lately.
    pub(crate) fn is_short_of_shares(&self) -> bool {
        self.answers.is_short()
    }

    /// Waits while too little of what these readers want next is there, and the rest of it on its way. What a fetch should do
    /// then: read what is there alone, or whatever is wanted.
    pub(crate) async fn wait_for_some(self: &Arc<Self>, wanted: &[(PartitionKey, Offset)]) -> Turn {
        let (mut known, mut begun, mut pace) = (Vec::with_capacity(wanted.len()), 0, None);
        for (key, offset) in wanted {
            let next = {
                let readers = self.readers.lock();
                let reader = readers.at(*key, *offset);
                let last = reader.and_then(|reader| reader.pace.clone());
                pace = pace.into_iter().chain(last).max_by_key(|pace: &Arc<Pace>| pace.read_at());
                reader.and_then(|reader| reader.next_row(*offset)).cloned()
            };
            let Some(row) = next else { continue };
            begun += usize::from(self.begin_for_all(key.topic_id, &row));
            known.push((id_of(&row), bytes_of(&row)));
        }
        let (strangers, deadline) = (wanted.len() - known.len(), Instant::now() + SOME_WITHIN);
        let some = |partitions| Turn { partitions, is_picky: true, pace: pace.clone() };
        let everything = || Turn { partitions: wanted.len(), is_picky: false, pace: pace.clone() };
        loop {
            let settled = self.ranges.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            let (mut there, mut bytes_there, mut on_their_way) = (0, 0, 0);
            for (id, bytes) in &known {
                match self.ranges.state(id) {
                    Some(true) => (there, bytes_there) = (there + 1, bytes_there + bytes),
                    Some(false) => on_their_way += 1,
                    None => {}
                }
            }
            if bytes_there >= ENOUGH_BYTES || strangers > 0 && there > 0 {
                return some(there + strangers);
            }
            // What failed is read once more by the fetch itself, whose client hears why.
            if strangers > 0 || on_their_way == 0 || there + on_their_way < begun {
                return everything();
            }
            if timeout_at(deadline, settled).await.is_err() {
                return if there > 0 { some(there) } else { everything() };
            }
        }
    }

    /// Whether a fetch with enough to answer passes over a reader because what it wants next is not there: some times in a row at
    /// most.
    pub(crate) fn passes_over(&self, key: PartitionKey, offset: Offset) -> bool {
        let is_late = |row: &RangeRow| self.ranges.state(&id_of(row)) != Some(true);
        self.readers.lock().passes_over(key, offset, is_late)
    }

    /// Ranges of it were replaced: readers look again.
    pub(crate) fn forget_plans(&self, key: PartitionKey) {
        self.readers.lock().forget_rows(key);
    }

    /// Batches from the first one that ends after the offset on. Picky: of what is there alone, if anything is.
    pub(crate) async fn read(
        self: &Arc<Self>,
        mut wanted: ColdRead,
        share: &Share,
        is_picky: bool,
    ) -> Result<ColdAnswer, ColdError> {
        let (mut reader, active) = {
            let mut readers = self.readers.lock();
            (readers.take(wanted.key, wanted.offset), readers.active())
        };
        if !wanted.told.is_empty() {
            (reader.rows, reader.planned) = (std::mem::take(&mut wanted.told).into(), Some(Instant::now()));
        }
        let (offset, mut replans) = (wanted.offset, 0);
        let batches = loop {
            let planned = self.plan(&mut reader, &wanted).await?;
            let planned = self.there(&reader, planned, if is_picky { 0 } else { wanted.bytes_max });
            if replans == 0 {
                self.read_ahead(&mut reader, planned, &wanted, self.ahead_max() / active);
            }
            let planned_end = reader.rows.get(planned.saturating_sub(1)).map_or(wanted.end, |row| row.next_offset);
            match self.read_planned(reader.rows.iter().take(planned), &wanted).await {
                Err(ColdError::Gone(object_key)) if replans < REPLANS_MAX => {
                    tracing::debug!(object_key, "an object was replaced; planning again");
                    replans += 1;
                    reader.rows.clear();
                }
                // No batch is left there: the next one is farther on.
                Ok(batches) if batches.is_empty() && planned_end < wanted.end => {
                    wanted.offset = planned_end;
                    reader.rows.drain(..planned);
                }
                read => break read?,
            }
        };
        let batches = charged(take_fitting(batches.into_iter(), wanted.bytes_max), share);
        let end = batches.last().map_or(wanted.offset, |batch| batch.header.next_offset());
        if let Some(row) = reader.rows.iter().find(|row| row.next_offset > end && row.base_offset < end) {
            self.ranges.renew(&id_of(row));
        }
        reader.ended(offset, end, share.pace());
        self.readers.lock().put(wanted.key, reader);
        Ok(ColdAnswer { batches, replanned: replans > 0 })
    }

    /// The batches of one range, verified; concurrent readers share one request.
    pub(crate) async fn range(&self, row: &RangeRow) -> Result<Batches, ColdError> {
        Ok(self.shared_range(row).await?.batches)
    }

    async fn shared_range(&self, row: &RangeRow) -> Result<Range, ColdError> {
        let entered = self.ranges.enter(id_of(row), bytes_of(row));
        self.count(&entered);
        entered.loading.cell.get_or_try_init(|| self.load(row, Class::Consumer)).await.cloned()
    }

    /// One range for work that nobody waits for: behind consumers, and not kept for them.
    pub(crate) async fn background_range(&self, row: &RangeRow) -> Result<Batches, ColdError> {
        if let Some(known) = self.ranges.peek(&id_of(row)) {
            return Ok(known.batches);
        }
        let _turn = self.background.acquire().await;
        Ok(self.load(row, Class::Background).await?.batches)
    }

    /// Makes sure that the reader knows its next ranges; how many of them to read now. What is known already is used although
    /// metadata is away.
    async fn plan(&self, reader: &mut Reader, wanted: &ColdRead) -> Result<usize, ColdError> {
        if reader.planned.is_some_and(|at| at.elapsed() > PLAN_AGE_MAX)
            && let Ok(rows) = self.metadata.ranges_from(wanted.key, wanted.offset, RANGES_PER_PLAN).await
        {
            (reader.rows, reader.planned) = (rows.into(), Some(Instant::now()));
        }
        let known_bytes: usize = reader.rows.iter().map(bytes_of).sum();
        let known_end = reader.rows.back().map_or(wanted.offset, |row| row.next_offset);
        let is_short = known_bytes < wanted.bytes_max.saturating_add(reader.window);
        if known_end < wanted.end && is_short && reader.rows.len() < RANGES_PER_PLAN as usize || reader.rows.is_empty()
        {
            match self.metadata.ranges_from(wanted.key, known_end, RANGES_PER_PLAN).await {
                Ok(rows) => {
                    if reader.rows.is_empty() {
                        reader.planned = Some(Instant::now());
                    }
                    let is_next = reader.rows.is_empty() || rows.first().is_some_and(|r| r.base_offset == known_end);
                    reader.rows.extend(rows.into_iter().filter(|_| is_next));
                }
                Err(error) if reader.rows.is_empty() => return Err(error.into()),
                Err(_) => {}
            }
        }
        if reader.rows.front().is_none_or(|first| first.base_offset > wanted.offset) {
            // The topic was purged meanwhile, or metadata is damaged: never pass over records in silence.
            let (offset, key) = (wanted.offset, wanted.key);
            return Err(ColdError::Store(format!("no object holds offset {offset} of {key:?}")));
        }
        Ok(up_to(reader.rows.iter().take_while(|row| row.base_offset < wanted.end), wanted.bytes_max))
    }

    /// How many of the planned ranges to answer with: those that are there, if they are worth it. Then nobody waits for the rest.
    fn there(&self, reader: &Reader, planned: usize, bytes_max: usize) -> usize {
        let is_there = |row: &&RangeRow| self.ranges.peek(&id_of(row)).is_some();
        let there = reader.rows.iter().take(planned).take_while(is_there);
        let (count, bytes) = there.fold((0, 0), |(count, bytes), row| (count + 1, bytes + bytes_of(row)));
        if count > 0 && bytes >= ENOUGH_BYTES.min(bytes_max / 2) { count } else { planned }
    }

    async fn read_planned(
        &self,
        rows: impl Iterator<Item = &RangeRow>,
        wanted: &ColdRead,
    ) -> Result<Vec<ReadBatch>, ColdError> {
        let mut ranges = Vec::new();
        for row in rows {
            ranges.push(self.shared_range(row));
        }
        let mut ranges = futures::stream::iter(ranges).buffered(READS_IN_FLIGHT);
        let mut batches: Vec<ReadBatch> = Vec::new();
        while let Some(range) = ranges.next().await {
            let range = match range {
                // What was read before is an answer.
                Err(ColdError::Gone(_)) if !batches.is_empty() => break,
                range => range?,
            };
            let is_wanted = |header: &RecordBatchHeader| {
                header.next_offset() > wanted.offset && header.base_offset < wanted.end && header.record_count > 0
            };
            let mut at = 0;
            for (header, _) in range.batches.iter() {
                if is_wanted(header) {
                    batches.push(ReadBatch { header: *header, slices: [range.bytes.slice(at..), Bytes::new()] });
                }
                at += header.total_bytes();
            }
        }
        Ok(batches)
    }

    /// Begins to read what the reader will want after what it reads now.
    fn read_ahead(self: &Arc<Self>, reader: &mut Reader, planned: usize, wanted: &ColdRead, window_max: usize) {
        let now = reader.rows.iter().take(planned).map(bytes_of).sum();
        let mut window = reader.begins(wanted.offset, now, window_max);
        for row in reader.rows.iter().skip(planned).take_while(|row| row.base_offset < wanted.end) {
            let bytes = bytes_of(row);
            if bytes / 2 > window || !self.begin_for_all(wanted.key.topic_id, row) {
                break;
            }
            window = window.saturating_sub(bytes);
        }
    }

    fn ahead_max(&self) -> usize {
        self.ranges.bytes_max() / 4 * 3
    }

    /// The same for all readers that will want what is in the same blocks: all of it or nothing, as memory may not have the blocks
    /// any more when they come to it.
    fn begin_for_all(self: &Arc<Self>, topic: TopicId, row: &RangeRow) -> bool {
        if self.ranges.state(&id_of(row)).is_some() || !self.objects.is_in_blocks(row) {
            return self.begin_ahead(topic, row);
        }
        let neighbours = self.readers.lock().neighbours(row);
        let new = neighbours.iter().filter(|(_, row)| self.ranges.state(&id_of(row)).is_none());
        let bytes = bytes_of(row) + new.map(|(_, row)| bytes_of(row)).sum::<usize>();
        let (has_room, stale) = self.ranges.room_ahead(bytes, self.ahead_max());
        self.count_wasted(&stale);
        if !has_room {
            return false;
        }
        for (topic, row) in &neighbours {
            self.begin_ahead(*topic, row);
        }
        self.begin_ahead(topic, row)
    }

    /// False: no more of it now.
    fn begin_ahead(self: &Arc<Self>, topic: TopicId, row: &RangeRow) -> bool {
        let Ok(turn) = Arc::clone(&self.ahead).try_acquire_owned() else { return false };
        let entered = match self.ranges.enter_ahead(&id_of(row), bytes_of(row), self.ahead_max()) {
            Ok(entered) => entered,
            Err(why_not) => return why_not == Ahead::IsThere,
        };
        self.count(&entered);
        let (this, row) = (Arc::clone(self), row.clone());
        tokio::spawn(async move {
            let _turn = turn;
            let load = async || charge(Purpose::CacheFill, &[(topic, 1)], this.load(&row, Class::Ahead)).await;
            if let Err(error) = entered.loading.cell.get_or_try_init(load).await {
                tracing::debug!(%error, "not read ahead");
            }
        });
        true
    }

    fn count(&self, entered: &Entered<RangeId, Range>) {
        self.metrics.read_ahead(entered.was_ahead as u64, true);
        self.count_wasted(&entered.evicted);
    }

    fn count_wasted(&self, evicted: &[Evicted]) {
        let wasted: usize = evicted.iter().filter(|gone| gone.uses == 0).map(|gone| gone.bytes).sum();
        self.metrics.read_ahead(wasted as u64, false);
    }

    /// Finds a range and verifies it. What does not verify is read once more: a copy near by may be damaged, or the way.
    async fn load(&self, row: &RangeRow, class: Class) -> Result<Range, ColdError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let found = self.objects.find(row, class).await?;
            let reason = match self.verified(found, row.checksum).await {
                Ok(range) => return Ok(range),
                Err(reason) => reason,
            };
            self.objects.forget(row);
            if attempts == ATTEMPTS_MAX {
                let damaged = ColdError::Damaged { object_key: row.object_key.clone(), reason };
                tracing::error!(error = %damaged, "an object does not verify");
                return Err(damaged);
            }
            tracing::warn!(object = %row.object_key, reason, "bytes do not verify; reading them again");
        }
    }

    /// Large ranges are put together and checked off the runtime's workers.
    async fn verified(&self, found: Found, checksum: u32) -> Result<Range, String> {
        let check = move |found: Found| -> Result<_, FormatError> {
            let bytes = contiguous(found);
            let batches = Arc::new(segment::verify_range(&bytes, checksum)?);
            Ok(Range { bytes, batches })
        };
        if found.bytes.len() <= INLINE_BYTES_MAX {
            return check(found).map_err(|error| error.to_string());
        }
        let _turn = self.checks.acquire().await;
        let checked = aside(move || check(found));
        checked.await.map_err(|panic| panic.to_string())?.map_err(|error| error.to_string())
    }
}

/// Charges batches to a share: those that lie one after the other in memory together.
fn charged(mut batches: Vec<ReadBatch>, share: &Share) -> Vec<ReadBatch> {
    for run in batches.chunk_by_mut(|batch, next| batch.is_before(next)) {
        let len = run.iter().map(ReadBatch::bytes).sum::<usize>();
        let (mut at, bytes) = (0, run[0].slices[0].slice(..len));
        let bytes = share.charge(bytes, len);
        for batch in run {
            batch.slices[0] = bytes.slice(at..);
            at += batch.bytes();
        }
    }
    batches
}

/// In one piece, which keeps nothing else in memory.
fn contiguous(found: Found) -> Bytes {
    if !found.is_part {
        return found.bytes.to_bytes();
    }
    let mut whole = BytesMut::with_capacity(found.bytes.len());
    Iterator::for_each(found.bytes, |chunk| whole.extend_from_slice(&chunk));
    whole.freeze()
}

fn id_of(row: &RangeRow) -> RangeId {
    (row.object_key.clone(), row.byte_start)
}

fn bytes_of(row: &RangeRow) -> usize {
    usize::try_from(row.byte_len).unwrap_or(0)
}

/// How many of the first ranges hold `bytes_max`; at least one.
fn up_to<'a>(rows: impl Iterator<Item = &'a RangeRow>, bytes_max: usize) -> usize {
    let mut bytes: usize = 0;
    let needed = rows.take_while(|row| {
        let before = bytes;
        bytes = bytes.saturating_add(bytes_of(row));
        before < bytes_max
    });
    needed.count().max(1)
}

#[cfg(test)]
#[path = "cold_tests.rs"]
mod tests;
