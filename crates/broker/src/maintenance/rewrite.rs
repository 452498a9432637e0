//! Rewrite: the small ranges that flushes leave in shared objects become large ones, so that a reader of one partition
//! reads few objects and nothing else's bytes, and a GiB costs few rows of metadata.
//!
//! One job at a time. Each partition counts what was committed since its last look; past a threshold, and once that is old enough,
//! its rows are read from where the last look ended. A partition with `REWRITE_BYTES` of small ranges gets an object of its own;
//! those that stay below it and have many rows share one, ordered by topic and partition: for it the objects that
//! they were in are read once, not once for each of their ranges. [`rewrite_job`](super::rewrite_job)
//! does the work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metadata::StoreError;
use segment::{Offset, OrganizationId};
use tokio::time::{Instant, MissedTickBehavior};

use super::ROWS_PER_READ;
use super::open_object::{JobError, Workbench};
use super::rewrite_job::{Job, Piece};
use super::rewrite_plan::{OBJECT_BYTES_MAX, ROWS_MIN, ROWS_PER_JOB, Run, SMALL_BYTES, runs, tail_start};
use super::upkeep::unsigned;
use crate::writer::partition::Partition;
use crate::writer::pool::WriterPool;

/// How often partitions are asked whether something is due: as often as records get old enough, within these bounds.
const ROUND_INTERVAL_MIN: Duration = Duration::from_millis(20);
const ROUND_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// Pause after a store failed.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// Partitions looked at in one round: a new leader knows of none what is there.
const LOOKS_PER_ROUND: usize = 256;

/// The task.
pub(crate) struct Rewriter {
    pub(crate) workbench: Workbench,
    pub(crate) pool: Arc<WriterPool>,
    pub(crate) bytes_min: u64,
    /// What one object that partitions share may hold at most, as it is in memory until it is written: half of it before
    /// the last partition, and half of it of that.
    pub(crate) shared_bytes: u64,
    pub(crate) age: Duration,
}

/// What is worth rewriting of a partition.
struct Look {
    runs: Vec<Run>,
    rows: usize,
    bytes: u64,
    /// Where the next look begins if nothing is rewritten.
    from: Offset,
    /// Whether that is all there is to look at now.
    all: bool,
}

impl Rewriter {
    /// Runs until it is aborted, or the session is fenced.
    pub(crate) async fn run(mut self) {
        let interval = self.age.clamp(ROUND_INTERVAL_MIN, ROUND_INTERVAL_MAX);
        let mut rounds = tokio::time::interval_at(Instant::now() + interval, interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.workbench.status.is_fenced() {
            rounds.tick().await;
            match self.round().await {
                Ok(()) => {}
                Err(JobError::Metadata(error)) => self.workbench.status.failed("rewrite", &error),
                Err(error) => {
                    tracing::warn!(%error, "a rewrite was abandoned, trying again later");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Looks at what is due, and rewrites what is worth it.
    async fn round(&mut self) -> Result<(), JobError> {
        let mut shared: BTreeMap<OrganizationId, Job> = BTreeMap::new();
        for partition in self.due() {
            // A partition with much to do takes several looks.
            while let Some(look) = self.look(&partition).await? {
                let all = look.all;
                if look.bytes >= self.bytes_min.min(self.shared_bytes / 2) {
                    self.run_job(Job { pieces: pieces(&partition, look), is_shared: false }).await?;
                } else if look.rows >= ROWS_MIN as usize {
                    let job = shared.entry(partition.key.organization).or_insert_with(Job::shared);
                    job.pieces.extend(pieces(&partition, look));
                    if !all || job.rows() >= ROWS_PER_JOB || job.bytes() >= self.shared_bytes / 2 {
                        let job = std::mem::replace(job, Job::shared());
                        self.run_job(job).await?;
                    }
                } else {
                    partition.upkeep.lock().looked(look.from, look.all);
                }
                if all {
                    break;
                }
            }
        }
        for job in shared.into_values().filter(|job| !job.pieces.is_empty()) {
            self.run_job(job).await?;
        }
        Ok(())
    }

    /// Partitions to be looked at, in the order in which they share objects.
    fn due(&self) -> Vec<Arc<Partition>> {
        let now = Instant::now();
        let mut due = self.pool.partitions();
        due.retain(|partition| self.due_of(partition, now).is_some());
        due.truncate(LOOKS_PER_ROUND);
        due.sort_unstable_by_key(|partition| partition.key);
        due
    }

    fn due_of(&self, partition: &Partition, now: Instant) -> Option<(Offset, Offset)> {
        let state = partition.state.lock();
        let (start, end) = (state.log_start_offset(), state.high_watermark());
        let due = partition.upkeep.lock().rewrite_due(now, end, self.bytes_min, self.age);
        due.map(|(from, end)| (from.max(start), end))
    }

    /// Reads rows from where the last look ended, as many as one object takes.
    async fn look(&self, partition: &Partition) -> Result<Option<Look>, StoreError> {
        let Some((mut from, end)) = self.due_of(partition, Instant::now()) else { return Ok(None) };
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let mut all = false;
        while !all && rows.len() < ROWS_PER_JOB && bytes < OBJECT_BYTES_MAX {
            let mut read = self.workbench.metadata.ranges_from(partition.key, from, ROWS_PER_READ).await?;
            all = read.len() < ROWS_PER_READ as usize || read.last().is_some_and(|last| last.next_offset >= end);
            read.retain(|row| row.next_offset <= end);
            bytes +=
                read.iter().filter(|row| row.byte_len < SMALL_BYTES).map(|row| unsigned(row.byte_len)).sum::<u64>();
            from = read.last().map_or(from, |last| last.next_offset);
            rows.append(&mut read);
        }
        let from = tail_start(&rows).unwrap_or(from);
        let runs = runs(rows);
        let (rows, bytes) = (runs.iter().map(|run| run.rows.len()).sum(), runs.iter().map(Run::bytes).sum());
        Ok(Some(Look { runs, rows, bytes, from, all }))
    }
}

fn pieces(partition: &Arc<Partition>, look: Look) -> Vec<Piece> {
    let last = look.runs.len().saturating_sub(1);
    let piece = |(position, run)| {
        let ends_look = position == last;
        Piece { partition: Arc::clone(partition), run, looked: ends_look.then_some((look.from, look.all)) }
    };
    look.runs.into_iter().enumerate().map(piece).collect()
}
