//! Reading: a fetch of many partitions with a byte budget and a long poll.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::StreamExt;
use segment::{LeaderEpoch, Offset, OrganizationId, PartitionIndex, PartitionKey, TopicId};
use tokio::sync::{Notify, OnceCell};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::costs::{Purpose, charge};
use crate::limits::{FETCH_BYTES_MAX, FETCH_WAIT_MAX};
use crate::reader::answers::Share;
use crate::reader::cold::{ColdAnswer, ColdError, ColdRead, Turn};
use crate::reader::{ReadBatch, slices};
use crate::replica::Replica;
use crate::seeded_bugs::SeededBug;
use crate::waiters::Waiters;
use crate::writer::partition::Partition;

/// Partitions of one fetch that are read at the same time.
const PARTITIONS_IN_FLIGHT: usize = 16;

/// Reads of one fetch that are prepared at the same time: each takes some KiB, and a consumer may ask for 10,000 partitions.
const PARTITIONS_PREPARED: usize = 64;

/// Partitions that share what one fetch reads of the object store.
const PARTITIONS_PER_TURN: usize = 512;

/// What is asked of the object store for one partition, at least: a batch comes in any case, and may be larger.
const COLD_BYTES_MIN: usize = 16 << 10;

/// Kafka's isolation level. Without transactions both read to the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    /// 0.
    ReadUncommitted,
    /// 1.
    ReadCommitted,
}

/// A fetch over partitions, in the order in which bytes are given out.
#[derive(Debug)]
pub struct FetchRequest {
    /// The tenant.
    pub organization: OrganizationId,
    /// How long to wait for `min_bytes`.
    pub max_wait: Duration,
    /// Answer as soon as this many bytes are there.
    pub min_bytes: usize,
    /// Bound on record bytes in the whole answer; the first batch of the first non-empty partition passes it (KIP-74).
    pub max_bytes: usize,
    /// Isolation level.
    pub isolation: IsolationLevel,
    /// Where the client is (KIP-392's `client.rack`): an agent of that zone reads for it what others lead.
    pub rack: Option<String>,
    /// What to read.
    pub partitions: Vec<FetchPartition>,
}

/// One partition of a fetch.
#[derive(Clone, Debug)]
pub struct FetchPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// First offset wanted.
    pub fetch_offset: Offset,
    /// Bound on this partition's bytes (its first batch may pass it under the rule of `max_bytes`).
    pub max_bytes: usize,
    /// The leader epoch the client knows, if it said.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// Epoch of the last record it has, if it said (truncation detection, KIP-595).
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// One partition's answer, in request order.
#[derive(Debug)]
pub struct FetchedPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// What was read, or why not.
    pub result: Result<Fetched, FetchError>,
}

/// Where the client's log diverges from this one (KIP-595): it must truncate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DivergingEpoch {
    /// Largest epoch at or below the client's.
    pub epoch: LeaderEpoch,
    /// Where that epoch ends.
    pub end_offset: Offset,
}

/// What was read of one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Whole batches as slices to be written one after the other; the first one contains the fetch offset, or is the next after it where compaction left a hole.
    pub records: Vec<Bytes>,
    /// Sum of their lengths.
    pub record_bytes: usize,
    /// First offset not committed.
    pub high_watermark: Offset,
    /// Equal to the high watermark until transactions exist.
    pub last_stable_offset: Offset,
    /// First readable offset.
    pub log_start_offset: Offset,
    /// Set instead of records when the client must truncate.
    pub diverging: Option<DivergingEpoch>,
    /// Node id of the agent to ask instead of this one; then there are no records (KIP-392).
    pub preferred_read_replica: Option<i32>,
    /// Whether any batch is compressed with zstd (Kafka: refused below Fetch 10).
    pub has_zstd: bool,
}

/// Why a partition was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Kafka 3, or 100 where the request names ids.
    #[error("unknown topic")]
    UnknownTopic,
    /// Kafka 3.
    #[error("unknown partition")]
    UnknownPartition,
    /// Kafka 6.
    #[error("not the leader")]
    NotLeader,
    /// Below log start or above the end; confirmed by a metadata read. Kafka 1.
    #[error("offset out of range")]
    OffsetOutOfRange {
        /// First readable offset.
        log_start_offset: Offset,
    },
    /// The client's epoch is older than ours. Kafka 74.
    #[error("fenced leader epoch")]
    FencedLeaderEpoch,
    /// The client's epoch is newer than ours. Kafka 75.
    #[error("unknown leader epoch")]
    UnknownLeaderEpoch,
    /// Only the confirmed leader may answer, and metadata is away. Kafka 78.
    #[error("offset not available")]
    OffsetNotAvailable,
    /// The object store did not answer, or the bytes were damaged; retry. Kafka 56 (KAFKA_STORAGE_ERROR).
    #[error("object store: {0}")]
    Storage(String),
}

/// Takes a waiter out of the partitions it was put in, however the fetch ends.
struct Waiter {
    notify: Arc<Notify>,
    sources: Vec<Source>,
}

/// Where a partition is read.
#[derive(Clone)]
enum Source {
    /// This agent leads it.
    Led(Arc<Partition>),
    /// Another one does, and this one reads it for consumers of its zone.
    Replica(Arc<Replica>),
}

impl Source {
    fn waiters(&self) -> &Waiters {
        match self {
            Self::Led(partition) => &partition.waiters,
            Self::Replica(replica) => &replica.waiters,
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.sources.iter().for_each(|source| source.waiters().unregister(&self.notify));
    }
}

/// One partition as read, before the bound of the whole answer is applied.
struct PartitionRead {
    batches: Vec<ReadBatch>,
    high_watermark: Offset,
    log_start_offset: Offset,
    diverging: Option<DivergingEpoch>,
    preferred_read_replica: Option<i32>,
    /// Whether the batches came from the object store, not from memory.
    from_store: bool,
}

/// What the partitions of one answer share.
struct Bounds {
    bytes_max: usize,
    /// Bytes in the answer so far.
    taken: AtomicUsize,
    /// Bytes that reads of the object store may have taken so far, and the memory they are charged to: acquired once, so
    /// that fetches which wait for it hold none. `None`: there was none.
    cold_taken: AtomicUsize,
    cold_share: OnceCell<Option<Share>>,
    /// Who reads the object store, decided once.
    cold_turn: OnceCell<Turn>,
}

impl Bounds {
    fn new(request: &FetchRequest) -> Self {
        Self {
            bytes_max: request.max_bytes.min(FETCH_BYTES_MAX),
            taken: AtomicUsize::new(0),
            cold_taken: AtomicUsize::new(0),
            cold_share: OnceCell::new(),
            cold_turn: OnceCell::new(),
        }
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Bytes left in the answer for a partition.
    fn left(&self, wanted: &FetchPartition) -> usize {
        self.bytes_max.saturating_sub(self.taken()).min(wanted.max_bytes)
    }

    /// Reserves up to `wanted` of what one fetch may read from the object store.
    fn reserve_cold(&self, wanted: usize, share: &Share) -> usize {
        let part = wanted.min(share.bytes.saturating_sub(self.cold_taken.load(Ordering::Relaxed)));
        self.cold_taken.fetch_add(part, Ordering::Relaxed);
        part
    }

    /// Puts what was read in the place of what was reserved.
    fn settle_cold(&self, reserved: usize, read: &[ReadBatch]) {
        let bytes: usize = read.iter().map(ReadBatch::bytes).sum();
        self.cold_taken.fetch_add(bytes, Ordering::Relaxed);
        self.cold_taken.fetch_sub(reserved, Ordering::Relaxed);
    }
}

/// All partitions, read once.
struct Answer {
    partitions: Vec<FetchedPartition>,
    /// Whether there is a reason to answer now.
    complete: bool,
    from_tail: usize,
    from_store: usize,
}

impl Broker {
    /// Reads partitions, waiting up to `max_wait` for `min_bytes`; answers are in request order. An error, or a
    /// partition with more records than the bounds let through, answers at once. Dropping the future ends the wait.
    pub async fn fetch(&self, request: FetchRequest) -> Vec<FetchedPartition> {
        let started = Instant::now();
        let deadline = started + request.max_wait.min(FETCH_WAIT_MAX);
        let mut waiter = Waiter { notify: Arc::new(Notify::new()), sources: Vec::new() };
        loop {
            // Registered before the read: a commit between the read and the wait is not missed.
            waiter.sources = self.register_waiter(&request, &waiter.notify);
            let answer = self.read_once(&request).await;
            if answer.complete || Instant::now() >= deadline {
                let bytes = answer.from_tail + answer.from_store;
                self.metrics().fetch(bytes as u64, answer.from_tail as u64, answer.from_store as u64);
                self.metrics().fetch_wait(started.elapsed().as_secs_f64());
                if is_elsewhere(request.rack.as_deref(), &self.settings().zone) {
                    self.metrics().fetch_other_zone(bytes as u64);
                }
                return answer.partitions;
            }
            // What it holds is for those who answer.
            drop(answer);
            let _ = tokio::time::timeout_at(deadline, waiter.notify.notified()).await;
        }
    }

    /// Whether readers of old records waited for memory lately that answers hold: a client that takes nothing of its answer should be
    /// given up sooner.
    #[must_use]
    pub fn is_short_of_answers(&self) -> bool {
        self.cold().is_short_of_shares()
    }

    fn register_waiter(&self, request: &FetchRequest, notify: &Arc<Notify>) -> Vec<Source> {
        let rack = request.rack.as_deref();
        let sources = request.partitions.iter().filter_map(|wanted| self.source(wanted, rack));
        sources.inspect(|source| source.waiters().register(notify)).collect()
    }

    /// `None`: it is not read here. A partition of another leader is, for consumers of this agent's zone, if the leader is of
    /// another zone and tells this agent what it commits.
    fn source(&self, wanted: &FetchPartition, rack: Option<&str>) -> Option<Source> {
        if let Some(led) = self.led(wanted.topic_id, wanted.partition) {
            return Some(Source::Led(led));
        }
        let zone = &self.settings().zone;
        rack.filter(|rack| *rack == zone)?;
        let (leader, _) = self.partition_leader(wanted.topic_id, wanted.partition)?;
        let is_followed = leader.zone != *zone && self.replicas().hears(leader.session);
        is_followed.then(|| Source::Replica(self.replicas().of((wanted.topic_id, wanted.partition))))
    }

    async fn read_once(&self, request: &FetchRequest) -> Answer {
        let bounds = Bounds::new(request);
        let partitions = Vec::with_capacity(request.partitions.len());
        let mut answer = Answer { partitions, complete: request.partitions.is_empty(), from_tail: 0, from_store: 0 };
        for some in request.partitions.chunks(PARTITIONS_PREPARED) {
            self.read_some(request, some, &bounds, &mut answer).await;
        }
        answer.complete |= bounds.taken() >= request.min_bytes.min(bounds.bytes_max);
        answer
    }

    async fn read_some(&self, request: &FetchRequest, some: &[FetchPartition], bounds: &Bounds, answer: &mut Answer) {
        let mut reads = Vec::with_capacity(some.len());
        for wanted in some {
            reads.push(self.read_partition(request, wanted, bounds));
        }
        let mut reads = futures::stream::iter(reads).buffered(PARTITIONS_IN_FLIGHT);
        for wanted in some {
            let Some(read) = reads.next().await else { break };
            let result = read.map(|read| {
                let from_store = read.from_store;
                let (fetched, next_offset) = trim(read, wanted, bounds);
                // Records that the bounds leave behind: waiting would bring no more.
                answer.complete |= next_offset < fetched.high_watermark
                    || fetched.diverging.is_some()
                    || fetched.preferred_read_replica.is_some();
                *(if from_store { &mut answer.from_store } else { &mut answer.from_tail }) += fetched.record_bytes;
                fetched
            });
            answer.complete |= result.is_err();
            answer.partitions.push(FetchedPartition { topic_id: wanted.topic_id, partition: wanted.partition, result });
        }
    }

    async fn read_partition(
        &self,
        request: &FetchRequest,
        wanted: &FetchPartition,
        bounds: &Bounds,
    ) -> Result<PartitionRead, FetchError> {
        let found = self.catalog().by_id(request.organization, wanted.topic_id).ok_or(FetchError::UnknownTopic)?;
        if !(0..found.topic.partition_count).contains(&wanted.partition) {
            return Err(FetchError::UnknownPartition);
        }
        let rack = request.rack.as_deref();
        let key =
            PartitionKey { organization: request.organization, topic_id: wanted.topic_id, partition: wanted.partition };
        match self.source(wanted, rack).ok_or(FetchError::NotLeader)? {
            Source::Led(partition) => {
                let preferred_read_replica = self.preferred_replica(rack, &found.topic, wanted.partition);
                self.read_led(&partition, request, wanted, preferred_read_replica, bounds).await
            }
            Source::Replica(replica) => self.read_replica(key, &replica, request, wanted, bounds).await,
        }
    }

    async fn read_led(
        &self,
        partition: &Partition,
        request: &FetchRequest,
        wanted: &FetchPartition,
        preferred_read_replica: Option<i32>,
        bounds: &Bounds,
    ) -> Result<PartitionRead, FetchError> {
        let left = bounds.left(wanted);
        let (mut read, leader_epoch, from_tail) = {
            let tail = partition.tail.lock();
            let state = partition.state.lock();
            let read = PartitionRead {
                batches: Vec::new(),
                high_watermark: self.high_watermark(&state),
                log_start_offset: state.log_start_offset(),
                diverging: None,
                preferred_read_replica,
                from_store: false,
            };
            let leader_epoch = state.leader_epoch();
            drop(state);
            let in_range = wanted.fetch_offset < read.high_watermark && read.preferred_read_replica.is_none();
            (read, leader_epoch, in_range.then(|| tail.read(wanted.fetch_offset, left)).flatten())
        };
        check_epoch(wanted.current_leader_epoch, leader_epoch)?;
        if !(read.log_start_offset..=read.high_watermark).contains(&wanted.fetch_offset) {
            return Err(self.confirm_out_of_range(partition, leader_epoch, read.log_start_offset).await);
        }
        if let Some(epoch) = wanted.last_fetched_epoch.filter(|epoch| *epoch != leader_epoch) {
            read.diverging = self.diverging(partition.key, epoch, wanted.fetch_offset, read.high_watermark).await?;
        }
        let is_empty = wanted.fetch_offset == read.high_watermark
            || read.diverging.is_some()
            || read.preferred_read_replica.is_some();
        if is_empty || (left == 0 && bounds.taken() > 0) {
            return Ok(read);
        }
        read.batches = match from_tail {
            Some(batches) => batches,
            None => {
                read.from_store = true;
                let cold = ColdRead {
                    key: partition.key,
                    told: Vec::new(),
                    offset: wanted.fetch_offset,
                    end: read.high_watermark,
                    bytes_max: left,
                };
                self.read_cold(cold, request, bounds).await?.batches
            }
        };
        Ok(read)
    }

    /// What the leader told, as long as that goes far enough; everything else is the leader's to answer.
    async fn read_replica(
        &self,
        key: PartitionKey,
        replica: &Replica,
        request: &FetchRequest,
        wanted: &FetchPartition,
        bounds: &Bounds,
    ) -> Result<PartitionRead, FetchError> {
        let known = replica.known_to(wanted.fetch_offset).await.ok_or(FetchError::NotLeader)?;
        check_epoch(wanted.current_leader_epoch, known.leader_epoch)?;
        if wanted.fetch_offset < known.log_start_offset {
            return Err(FetchError::NotLeader);
        }
        let mut read = PartitionRead {
            batches: Vec::new(),
            high_watermark: known.high_watermark,
            log_start_offset: known.log_start_offset,
            diverging: None,
            preferred_read_replica: None,
            from_store: true,
        };
        if let Some(epoch) = wanted.last_fetched_epoch.filter(|epoch| *epoch != known.leader_epoch) {
            read.diverging = self.diverging(key, epoch, wanted.fetch_offset, read.high_watermark).await?;
        }
        let left = bounds.left(wanted);
        let is_empty = wanted.fetch_offset == read.high_watermark || read.diverging.is_some();
        if !is_empty && (left > 0 || bounds.taken() == 0) {
            let cold = ColdRead {
                key,
                told: replica.ranges_from(wanted.fetch_offset),
                offset: wanted.fetch_offset,
                end: read.high_watermark,
                bytes_max: left,
            };
            let answer = self.read_cold(cold, request, bounds).await?;
            if answer.replanned {
                replica.forget_ranges();
            }
            read.batches = answer.batches;
        }
        Ok(read)
    }

    /// Waits until some of what a fetch wants of the object store is there, if it is on its way, and says which partitions share
    /// this turn. They go on at the same pace, as their ranges are in the same objects.
    async fn cold_turn(&self, request: &FetchRequest) -> Turn {
        let is_cold = |wanted: &&FetchPartition| match self.source(wanted, request.rack.as_deref()) {
            Some(Source::Led(partition)) => {
                let tail = partition.tail.lock();
                let is_old = tail.base_offset().is_none_or(|base| wanted.fetch_offset < base);
                is_old && wanted.fetch_offset < partition.state.lock().high_watermark()
            }
            Some(Source::Replica(_)) => true,
            None => false,
        };
        let place = |wanted: &FetchPartition| {
            let (organization, topic_id, partition) = (request.organization, wanted.topic_id, wanted.partition);
            (PartitionKey { organization, topic_id, partition }, wanted.fetch_offset)
        };
        let wanted = request.partitions.iter().filter(is_cold).take(PARTITIONS_PER_TURN).map(place);
        let wanted: Vec<_> = wanted.collect();
        self.cold().wait_for_some(&wanted).await
    }

    async fn read_cold(
        &self,
        wanted: ColdRead,
        request: &FetchRequest,
        bounds: &Bounds,
    ) -> Result<ColdAnswer, FetchError> {
        // The rest of this answer's partitions come with the next fetch.
        let later = || Ok(ColdAnswer { batches: Vec::new(), replanned: false });
        let turn = bounds.cold_turn.get_or_init(|| self.cold_turn(request)).await;
        if turn.is_picky && self.cold().passes_over(wanted.key, wanted.offset) {
            return later();
        }
        let share = bounds.cold_share.get_or_init(|| self.cold().share(bounds.bytes_max, turn)).await;
        let Some(share) = share else { return later() };
        let part = (share.bytes / turn.partitions.max(1)).max(COLD_BYTES_MIN);
        let reserved = bounds.reserve_cold(wanted.bytes_max.min(part), share);
        if reserved == 0 && wanted.bytes_max > 0 {
            return later();
        }
        let topics = [(wanted.key.topic_id, 1)];
        let read = self.cold().read(ColdRead { bytes_max: reserved, ..wanted }, share, turn.is_picky);
        let answer = charge(Purpose::Fetch, &topics, read).boxed().await?;
        bounds.settle_cold(reserved, &answer.batches);
        Ok(answer)
    }

    /// Only the confirmed leader may say "out of range": a zombie that does makes clients skip or replay.
    async fn confirm_out_of_range(
        &self,
        partition: &Partition,
        leader_epoch: LeaderEpoch,
        log_start_offset: Offset,
    ) -> FetchError {
        if self.has(SeededBug::OutOfRangeFromCache) {
            return FetchError::OffsetOutOfRange { log_start_offset };
        }
        match self.confirm_leases(&[partition.key]).await {
            Ok(epochs) if epochs.first() == Some(&Some(leader_epoch)) => {
                FetchError::OffsetOutOfRange { log_start_offset }
            }
            Ok(_) => FetchError::NotLeader,
            Err(_) => FetchError::OffsetNotAvailable,
        }
    }

    async fn diverging(
        &self,
        key: PartitionKey,
        epoch: LeaderEpoch,
        fetch_offset: Offset,
        high_watermark: Offset,
    ) -> Result<Option<DivergingEpoch>, FetchError> {
        let history = self.leader_epochs(key).await.map_err(|_| FetchError::OffsetNotAvailable)?;
        let (found, end_offset) = crate::list_offsets::end_of_epoch(&history, epoch, high_watermark);
        Ok((found < epoch || end_offset < fetch_offset).then_some(DivergingEpoch { epoch: found, end_offset }))
    }
}

/// Whether a consumer says that it is in another zone. Without a rack of their own librdkafka's say an empty one.
fn is_elsewhere(rack: Option<&str>, zone: &str) -> bool {
    rack.is_some_and(|rack| !rack.is_empty() && rack != zone)
}

/// Compares the client's idea of the leader epoch with ours (KIP-320).
fn check_epoch(client: Option<LeaderEpoch>, ours: LeaderEpoch) -> Result<(), FetchError> {
    match client {
        Some(epoch) if epoch < ours => Err(FetchError::FencedLeaderEpoch),
        Some(epoch) if epoch > ours => Err(FetchError::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// Applies the bounds of the answer: whole batches only, the first batch of the first non-empty partition always.
/// Returns the offset after the last batch too.
fn trim(read: PartitionRead, wanted: &FetchPartition, bounds: &Bounds) -> (Fetched, Offset) {
    let (before, left) = (bounds.taken(), bounds.left(wanted));
    let (mut count, mut record_bytes, mut has_zstd) = (0, 0, false);
    let mut next_offset = wanted.fetch_offset;
    for batch in &read.batches {
        let is_first_of_all = before == 0 && record_bytes == 0;
        if record_bytes + batch.bytes() > left && !is_first_of_all {
            break;
        }
        record_bytes += batch.bytes();
        next_offset = batch.header.next_offset();
        has_zstd |= batch.is_zstd();
        count += 1;
    }
    bounds.taken.fetch_add(record_bytes, Ordering::Relaxed);
    let fetched = Fetched {
        records: slices(&read.batches[..count]),
        record_bytes,
        high_watermark: read.high_watermark,
        last_stable_offset: read.high_watermark,
        log_start_offset: read.log_start_offset,
        diverging: read.diverging,
        preferred_read_replica: read.preferred_read_replica,
        has_zstd,
    };
    (fetched, next_offset)
}

impl From<ColdError> for FetchError {
    fn from(error: ColdError) -> Self {
        match error {
            ColdError::Metadata(_) => Self::OffsetNotAvailable,
            ColdError::Store(_) | ColdError::Gone(_) | ColdError::Damaged { .. } => Self::Storage(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_another_zone_is_elsewhere() {
        for (rack, expected) in [(None, false), (Some(""), false), (Some("a"), false), (Some("b"), true)] {
            assert_eq!(is_elsewhere(rack, "a"), expected, "{rack:?}");
        }
    }
}
