//! The lane: gathers waiting batches into segments, uploads them (several at a time), and commits them in order.
//!
//! Two tasks. The gatherer decides when a flush starts and spawns its upload; the committer takes uploads in order, commits
//! as many as are ready in one transaction, and only then answers. What a crash leaves: objects without a row (garbage),
//! or committed records whose producers were not answered (a retry finds them by their sequence).
//!
//! Invariant I5: segments of a session commit in lane order, one transaction in flight. Invariant I6: no answer before
//! its outcome is known; an ambiguous commit stops the lane until it is resolved.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use metadata::MetadataStore;
use opendal::{Buffer, Operator};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::pool::WriterPool;
use super::progress::LaneProgress;
use super::segment_plan::{self, LaneIdentity, PlannedSegment};
use crate::append::AppendError;
use crate::cache::DiskCache;
use crate::clock::Clock;
use crate::costs::{Purpose, charge};
use crate::limits::{FLUSH_DOUBLINGS_MAX, FLUSH_FULL_BYTES};
use crate::metrics::Metrics;
use crate::reader::tail::TailBudget;
use crate::seeded_bugs::SeededBug;
use crate::session::SessionStatus;
use crate::settings::BrokerSettings;

/// Copies of one upload at the same time.
const ATTEMPTS_MAX: usize = 3;
/// How much later the next copy of a large upload begins: a slow link must not be filled with copies.
const HEDGE_PER_MIB: Duration = Duration::from_millis(500);

/// What both tasks of the lane need.
pub(crate) struct Lane {
    pub(crate) pool: Arc<WriterPool>,
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) store: Operator,
    pub(crate) cache: DiskCache,
    pub(crate) tail: Arc<TailBudget>,
    pub(crate) status: Arc<SessionStatus>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: BrokerSettings,
    pub(crate) uploads_in_flight: AtomicUsize,
    /// Highest committed lane sequence, -1 before the first.
    pub(crate) committed_through: Arc<AtomicI64>,
    pub(crate) progress: Arc<LaneProgress>,
    /// Passes of the stop point, for tests.
    pub(crate) stop_passes: AtomicUsize,
    pub(crate) seeded_bug: Option<SeededBug>,
}

/// A segment whose upload is under way.
pub(super) struct Upload {
    pub(super) segment: PlannedSegment,
    pub(super) put: JoinHandle<Result<(), opendal::Error>>,
}

/// Runs the lane until the pool drains.
pub(crate) async fn run(lane: Arc<Lane>, identity: LaneIdentity) {
    let (uploads, to_commit) = mpsc::channel(lane.settings.uploads_in_flight.max(1));
    let mut committer = tokio::spawn(Arc::clone(&lane).commit_in_order(to_commit));
    let mut end = EndOfLane { lane: Arc::clone(&lane), in_order: false };
    let drained = tokio::select! {
        biased; // in a fixed order, so that a simulation repeats
        () = lane.gather_until_drained(identity, uploads) => true,
        // While the gatherer goes on, the committer ends by a panic only.
        _ = &mut committer => false,
    };
    end.in_order = drained && committer.await.is_ok();
    drop(end);
    lane.pool.abandon_all(&AppendError::Draining);
}

/// Makes sure that an agent whose lane broke down (a panic in one of its tasks) does not look like a healthy one that never
/// answers.
struct EndOfLane {
    lane: Arc<Lane>,
    in_order: bool,
}

impl Drop for EndOfLane {
    fn drop(&mut self) {
        if !self.in_order {
            // One that was fenced is dropped with its process.
            if !self.lane.status.is_fenced() {
                tracing::error!("the lane ended with a panic; this agent can write no more");
            }
            self.lane.pool.abandon_all(&AppendError::Unknown);
            self.lane.status.set_fenced();
        }
    }
}

impl Lane {
    async fn gather_until_drained(self: &Arc<Self>, mut identity: LaneIdentity, uploads: mpsc::Sender<Upload>) {
        while self.flush_is_due().await {
            let now = Instant::now();
            let through = self.committed_through.load(Ordering::Acquire);
            let bytes_max = self.pool.enough(FLUSH_DOUBLINGS_MAX);
            let segments = segment_plan::gather(&self.pool, &mut identity, bytes_max, through, self.clock.now());
            for mut segment in segments {
                self.metrics.flush(segment.object_bytes, segment.ranges.len() as u64, now.elapsed().as_secs_f64());
                self.pool.pacing.begins();
                let put = self.start_put(&mut segment);
                if uploads.send(Upload { segment, put }).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Waits until a flush should start; false when the pool drains and nothing waits.
    async fn flush_is_due(&self) -> bool {
        loop {
            let changed = self.pool.changed.notified();
            let Some(since) = self.pool.waiting_since() else {
                if self.pool.is_draining() {
                    return false;
                }
                changed.await;
                continue;
            };
            match self.next_start(since) {
                Some(start) if start <= Instant::now() => return true,
                Some(start) => drop(tokio::time::timeout_at(start, changed).await),
                None => changed.await,
            }
        }
    }

    /// When the next flush should start if nothing changes; `None`: when something does. `since` is when its first batch
    /// came.
    fn next_start(&self, since: Instant) -> Option<Instant> {
        let uploads = self.uploads_in_flight.load(Ordering::Acquire);
        let waiting = self.pool.waiting_bytes();
        if uploads >= self.settings.uploads_in_flight.max(1) {
            return None;
        }
        if waiting >= self.pool.enough(uploads) || self.pool.is_hurried() {
            return Some(since);
        }
        if !self.settings.flush_interval.is_zero() {
            return Some(since + self.settings.flush_interval);
        }
        match uploads {
            0 if waiting >= FLUSH_FULL_BYTES => Some(since),
            0 => self.pool.pacing.start(since),
            _ => None,
        }
    }

    fn start_put(self: &Arc<Self>, segment: &mut PlannedSegment) -> JoinHandle<Result<(), opendal::Error>> {
        let body = Buffer::from(std::mem::take(&mut segment.chunks));
        let (key, bytes) = (Arc::clone(&segment.object_key), segment.object_bytes);
        let topics = segment.topic_bytes();
        let in_flight = UploadInFlight::enter(Arc::clone(self));
        tokio::spawn(async move {
            let lane = &in_flight.0;
            let started = Instant::now();
            let result = charge(Purpose::Flush, &topics, lane.put(&key, body.clone(), bytes)).await;
            lane.metrics.object_put(started.elapsed().as_secs_f64(), bytes, result.is_ok());
            if result.is_ok() {
                lane.cache.offer_object(&key, &body);
            }
            result
        })
    }
}

impl Lane {
    /// One PUT; with `upload_hedge` up to [`ATTEMPTS_MAX`] at the same time, begun one after the other. They write the same
    /// bytes under the same key, so it does not matter which of them ends first, or that a late one is applied after all.
    async fn put(&self, key: &str, body: Buffer, bytes: u64) -> Result<(), opendal::Error> {
        let mut attempts = FuturesUnordered::from_iter([self.store.write(key, body.clone())]);
        let mut begun = 1;
        let mut pause = self.settings.upload_hedge.map(|hedge| hedge + HEDGE_PER_MIB * mebibytes(bytes));
        loop {
            let hedge = async {
                match pause.filter(|_| begun < ATTEMPTS_MAX) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased; // in a fixed order, so that a simulation repeats
                Some(result) = attempts.next() => {
                    if result.is_ok() || attempts.is_empty() {
                        return result.map(drop);
                    }
                }
                () = hedge => {
                    self.metrics.object_put_hedge();
                    attempts.push(self.store.write(key, body.clone()));
                    begun += 1;
                    pause = pause.map(|pause| pause * 2);
                }
            }
        }
    }
}

fn mebibytes(bytes: u64) -> u32 {
    u32::try_from(bytes >> 20).unwrap_or(u32::MAX)
}

/// Counts an upload until it ends, however it ends, and then tells the gatherer.
struct UploadInFlight(Arc<Lane>);

impl UploadInFlight {
    fn enter(lane: Arc<Lane>) -> Self {
        lane.uploads_in_flight.fetch_add(1, Ordering::AcqRel);
        Self(lane)
    }
}

impl Drop for UploadInFlight {
    fn drop(&mut self) {
        self.0.uploads_in_flight.fetch_sub(1, Ordering::AcqRel);
        self.0.pool.changed.notify_one();
    }
}
