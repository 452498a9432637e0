//! Compaction (`cleanup.policy=compact`): of each key the last record stays, as Kafka's log cleaner has it.
//!
//! One pass over one partition at a time. First the keys of what was appended since the last pass are read into a table
//! ([`cleaning`](super::cleaning)), then all ranges below are read from the log's start, and those that lose records are written anew,
//! beside their neighbours, into an [object](super::open_object) whose rows are [swapped](super::swap) in. Small outputs of a round
//! share an object. Offsets stay, so there are holes. The newest range of a log stays as it is; its keys count.
//!
//! Rows are swapped in the order of the log, and none after one that was refused. How far a log was cleaned is noted in metadata
//! after that. A crash or a new leader in between cleans again what is clean: that changes nothing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use metadata::{CleanedLog, RangeRow, StoreError};
use segment::{LeaderEpoch, Offset, PartitionKey, RecordCheckError};
use tokio::time::{Instant, MissedTickBehavior};

use super::ROWS_PER_READ;
use super::cleaning::{Cleaned, Cleaner, LastOffsets};
use super::dirt::Counted;
use super::log_bytes::count;
use super::open_object::{JobError, OpenObject, Workbench, check};
use super::rewrite_plan::{OBJECT_BYTES_MAX, ROWS_PER_JOB, SMALL_BYTES};
use super::swap::Order;
use super::upkeep::unsigned;
use crate::aside::aside;
use crate::catalog::Catalog;
use crate::costs::{Purpose, charge};
use crate::reader::cold::{Batches, ColdError};
use crate::seeded_bugs::SeededBug;
use crate::topic_config::Compaction;
use crate::writer::partition::Partition;
use crate::writer::pool::WriterPool;

/// An object that is closed before the next partition, rather than shared with it.
const OBJECT_BYTES_MIN: u64 = 8 << 20;
/// Pause after a store failed.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// The task.
pub(crate) struct Compactor {
    pub(crate) workbench: Workbench,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) pool: Arc<WriterPool>,
    pub(crate) interval: Duration,
    /// Memory of the table of keys, and as much again for what was read for it.
    pub(crate) keys_bytes: usize,
    pub(crate) seeded_bug: Option<SeededBug>,
}

/// What several passes write together, and those that are not swapped yet.
#[derive(Default)]
struct Round {
    object: Option<OpenObject>,
    passes: Vec<Pass>,
}

/// A partition that was gone through.
struct Pass {
    log: BeingCleaned,
    leader_epoch: LeaderEpoch,
    looked_to: Offset,
    cleaned_to: Offset,
    bytes_read: u64,
    records_removed: u64,
    bytes_removed: u64,
}

/// A partition that is not rewritten meanwhile.
struct BeingCleaned(Arc<Partition>);

/// What is dirty and may be cleaned.
struct Dirty {
    rows: Vec<RangeRow>,
    /// Where it begins.
    from: Offset,
    /// Where the log ends.
    end: Offset,
    now: i64,
}

/// Ranges that were read for their keys, by object and place.
type Held = HashMap<(String, i64), Batches>;

impl BeingCleaned {
    fn new(partition: &Arc<Partition>) -> Self {
        partition.upkeep.lock().dirt.is_being_cleaned = true;
        Self(Arc::clone(partition))
    }
}

impl Drop for BeingCleaned {
    fn drop(&mut self) {
        self.0.upkeep.lock().dirt.is_being_cleaned = false;
    }
}

impl Compactor {
    /// Runs until it is aborted, or the session is fenced.
    pub(crate) async fn run(mut self) {
        let mut rounds = tokio::time::interval_at(Instant::now() + self.interval, self.interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.workbench.status.is_fenced() {
            rounds.tick().await;
            let mut round = Round::default();
            let result = self.round(&mut round).await;
            if let Some(object) = round.object.take() {
                object.abort().await;
            }
            match result {
                Ok(()) => {}
                Err(JobError::Metadata(error)) => self.workbench.status.failed("compaction", &error),
                Err(error) => {
                    tracing::warn!(%error, "a compaction was abandoned, trying again later");
                    self.workbench.metrics.compaction_pass("failed");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn round(&mut self, round: &mut Round) -> Result<(), JobError> {
        let mut partitions = self.pool.partitions();
        partitions.sort_unstable_by_key(|partition| partition.key);
        for partition in partitions {
            let key = partition.key;
            let Some(topic) = self.catalog.by_id(key.organization, key.topic_id) else { continue };
            if !topic.log_config.compacted {
                continue;
            }
            let compaction = topic.log_config.compaction;
            let Some(dirty) = self.look(&partition, compaction).await? else { continue };
            if round.object.as_ref().is_some_and(|object| object.organization() != key.organization) {
                self.write_out(round).await?;
            }
            let pass = Box::pin(self.pass(&partition, dirty, compaction, round));
            match charge(Purpose::Rewrite, &[(key.topic_id, 1)], pass).await {
                Ok(()) => {}
                Err(JobError::Read(error)) => self.failed(&partition, &error),
                Err(error) => return Err(error),
            }
            if round.object.as_ref().is_none_or(|object| object.bytes() >= OBJECT_BYTES_MIN) {
                self.write_out(round).await?;
            }
        }
        self.write_out(round).await.map(drop)
    }

    fn failed(&self, partition: &Partition, error: &ColdError) {
        self.workbench.metrics.compaction_pass("failed");
        if matches!(error, ColdError::Damaged { .. }) {
            tracing::error!(partition = ?partition.key, %error, "a log cannot be compacted");
            partition.upkeep.lock().dirt.give_up();
        } else {
            tracing::warn!(partition = ?partition.key, %error, "a compaction was abandoned, trying again later");
        }
    }

    /// What of a partition is to be cleaned now, if anything is.
    async fn look(&self, partition: &Arc<Partition>, compaction: Compaction) -> Result<Option<Dirty>, StoreError> {
        let now = self.workbench.clock.now();
        let may_be_due = || {
            let end = partition.state.lock().high_watermark();
            let upkeep = partition.upkeep.lock();
            upkeep.dirt.may_be_due(end, upkeep.log_bytes(), compaction, now)
        };
        if !may_be_due() {
            return Ok(None);
        }
        count(partition, &*self.workbench.metadata).await?;
        let (from, end, committed_before) = {
            let state = partition.state.lock();
            let upkeep = partition.upkeep.lock();
            (upkeep.dirt.cleaned_to.max(state.log_start_offset()), state.high_watermark(), upkeep.committed_bytes())
        };
        let is_old = |row: &RangeRow| compaction.lag_min_ms == 0 || row.max_timestamp <= now - compaction.lag_min_ms;
        let (mut all, mut old, mut rows, mut are_old) = (Counted::NOTHING, Counted::NOTHING, Vec::new(), true);
        let mut pages = Pages::new(partition.key, from, end);
        while let Some(row) = pages.next(&self.workbench).await? {
            all.add(unsigned(row.byte_len), row.max_timestamp);
            are_old &= is_old(&row);
            if are_old {
                old.add(unsigned(row.byte_len), row.max_timestamp);
                if rows.len() < ROWS_PER_JOB {
                    rows.push(row);
                }
            }
        }
        let mut upkeep = partition.upkeep.lock();
        let committed = upkeep.committed_bytes() - committed_before;
        if committed > 0 {
            all.add(committed, now);
        }
        upkeep.dirt.counted(all);
        let Some(log_bytes) = upkeep.log_bytes() else { return Ok(None) };
        let clean = log_bytes.saturating_sub(all.bytes);
        Ok(old.is_worth_it(clean, compaction, now).then_some(Dirty { rows, from, end, now }))
    }

    /// Goes through a partition: what is not kept is not written again.
    async fn pass(
        &mut self,
        partition: &Arc<Partition>,
        dirty: Dirty,
        compaction: Compaction,
        round: &mut Round,
    ) -> Result<(), JobError> {
        let mut pass = Pass {
            log: BeingCleaned::new(partition),
            leader_epoch: partition.state.lock().leader_epoch(),
            looked_to: dirty.from,
            cleaned_to: dirty.from,
            bytes_read: 0,
            records_removed: 0,
            bytes_removed: 0,
        };
        let (mut last_offsets, known_to, mut held) = self.read_keys(&dirty, &mut pass).await?;
        if self.seeded_bug == Some(SeededBug::LastOfKeyCompacted) {
            last_offsets.pass_over_last();
        }
        let delete_retention_ms = compaction.delete_retention_ms;
        let cleaner = Arc::new(Cleaner { last_offsets, known_to, now: dirty.now, delete_retention_ms });
        let start = partition.state.lock().log_start_offset();
        let mut pages = Pages::new(partition.key, start, dirty.end);
        pass.looked_to = known_to;
        let mut is_in_run = false;
        while let Some(row) = pages.next(&self.workbench).await? {
            let is_last = row.next_offset == dirty.end;
            let cleaned = match row.base_offset < known_to && !is_last {
                true => Some(self.clean(&row, &cleaner, &mut held, &mut pass).await),
                false => None,
            };
            // An unchanged row goes along only where that leaves fewer ranges.
            let joins = |object: &OpenObject| {
                row.byte_len < SMALL_BYTES && object.fits(row.leader_epoch, unsigned(row.byte_len))
            };
            let goes_along = is_in_run && round.object.as_ref().is_some_and(joins);
            if matches!(cleaned, Some(Ok(_))) {
                pass.cleaned_to = row.next_offset.min(known_to).max(dirty.from);
            }
            match cleaned {
                Some(Ok(cleaned)) if cleaned.is_changed || goes_along => {
                    if round.object.as_ref().is_some_and(|object| object.bytes() >= OBJECT_BYTES_MAX) {
                        end_run(round, &row);
                        if self.write_out(round).await?.contains(&partition.key) {
                            self.workbench.metrics.compaction_pass("refused");
                            return Ok(());
                        }
                    }
                    self.push(round, partition, &row, &cleaned, &mut pass).await?;
                    is_in_run = true;
                }
                Some(Ok(_)) => {
                    end_run(round, &row);
                    is_in_run = false;
                }
                Some(Err(error)) => {
                    end_run(round, &row);
                    return Err(error.into());
                }
                None => {
                    end_run(round, &row);
                    break;
                }
            }
        }
        round.passes.push(pass);
        Ok(())
    }

    /// The last offset of each key in what is dirty, how far they are known, and what was read for it, as much as may be held.
    async fn read_keys(&self, dirty: &Dirty, pass: &mut Pass) -> Result<(LastOffsets, Offset, Held), JobError> {
        let (from, mut known_to) = (dirty.from, dirty.from);
        let records = dirty.rows.last().map_or(0, |last| unsigned(last.next_offset - from));
        let mut last_offsets = LastOffsets::new(self.keys_bytes, records);
        let (mut held, mut held_bytes) = (Held::new(), 0);
        for row in &dirty.rows {
            let batches = self.read(row, pass).await?;
            let to_note = Arc::clone(&batches);
            let noted = unpack(row, move || {
                let full_at = last_offsets.note(&to_note, from);
                full_at.map(|full_at| (last_offsets, full_at))
            });
            let full_at;
            (last_offsets, full_at) = noted.await?;
            held_bytes += unsigned(row.byte_len);
            if held_bytes <= self.keys_bytes as u64 {
                held.insert(place(row), batches);
            }
            known_to = full_at.unwrap_or(row.next_offset);
            if full_at.is_some() {
                break;
            }
        }
        Ok((last_offsets, known_to, held))
    }

    async fn read(&self, row: &RangeRow, pass: &mut Pass) -> Result<Batches, ColdError> {
        let bytes = unsigned(row.byte_len);
        self.workbench.pass(bytes).await;
        pass.bytes_read += bytes;
        let batches = self.workbench.cold.background_range(row).await?;
        check(row, &batches)?;
        Ok(batches)
    }

    async fn clean(
        &self,
        row: &RangeRow,
        cleaner: &Arc<Cleaner>,
        held: &mut Held,
        pass: &mut Pass,
    ) -> Result<Cleaned, ColdError> {
        let batches = match held.remove(&place(row)) {
            Some(batches) => batches,
            None => self.read(row, pass).await?,
        };
        let cleaner = Arc::clone(cleaner);
        unpack(row, move || cleaner.clean(&batches)).await
    }

    async fn push(
        &mut self,
        round: &mut Round,
        partition: &Arc<Partition>,
        row: &RangeRow,
        cleaned: &Cleaned,
        pass: &mut Pass,
    ) -> Result<(), JobError> {
        let object = match &mut round.object {
            Some(object) => object,
            none => none.insert(self.workbench.open(partition.key.organization).await?),
        };
        let left = cleaned.batches.iter().map(|(_, batch)| batch.len() as u64).sum();
        self.workbench.pass(left).await;
        pass.records_removed += cleaned.records_removed;
        pass.bytes_removed += unsigned(row.byte_len).saturating_sub(left);
        object.push_row(partition, row, &cleaned.batches).await
    }

    /// Closes the object, swaps its rows, and notes the passes that are whole by that; returns the partitions that refused.
    async fn write_out(&mut self, round: &mut Round) -> Result<BTreeSet<PartitionKey>, JobError> {
        let mut refused = BTreeSet::new();
        if let Some(object) = round.object.take() {
            let written = self.workbench.close(object).await?;
            let small = written.ranges.iter().filter(|new| new.range.byte_len < unsigned(SMALL_BYTES));
            let small = small.map(|new| (Arc::clone(&new.partition), new.range.base_offset, new.range.byte_len));
            let small: Vec<_> = small.collect();
            refused = self.workbench.swap(written, Order::Strict).await?.refused;
            for (partition, base_offset, bytes) in small {
                partition.upkeep.lock().left_small(base_offset, 1, bytes);
            }
        }
        let passes: Vec<Pass> = round.passes.drain(..).collect();
        let is_done = |pass: &Pass| !refused.contains(&pass.log.0.key);
        let note =
            |pass: &Pass| CleanedLog { key: pass.log.0.key, leader_epoch: pass.leader_epoch, offset: pass.cleaned_to };
        let notes: Vec<CleanedLog> = passes.iter().filter(|pass| is_done(pass)).map(note).collect();
        for pass in &passes {
            let metrics = &self.workbench.metrics;
            metrics.compaction_pass(if is_done(pass) { "done" } else { "refused" });
            if is_done(pass) {
                metrics.compacted(pass.bytes_read, pass.records_removed, pass.bytes_removed);
                if pass.records_removed > 0 {
                    // What is in memory is as it was.
                    pass.log.0.tail.lock().evict_below(pass.cleaned_to);
                }
                pass.log.0.upkeep.lock().dirt.cleaned(pass.looked_to, pass.cleaned_to);
                let (partition, to, removed) = (pass.log.0.key, pass.cleaned_to, pass.records_removed);
                tracing::debug!(?partition, to, removed, "a log was compacted");
            }
        }
        if !notes.is_empty() {
            // If it is lost, the next leader cleans again what is clean.
            self.workbench.metadata.note_cleaned(self.workbench.status.session(), &notes).await?;
        }
        Ok(refused)
    }
}

fn end_run(round: &mut Round, successor: &RangeRow) {
    if let Some(object) = &mut round.object {
        object.end_run(&successor.object_key);
    }
}

fn place(row: &RangeRow) -> (String, i64) {
    (row.object_key.clone(), row.byte_start)
}

/// Batches are unpacked off the runtime's workers.
async fn unpack<T: Send + 'static>(
    row: &RangeRow,
    work: impl FnOnce() -> Result<T, RecordCheckError> + Send + 'static,
) -> Result<T, ColdError> {
    let damaged = |reason: String| ColdError::Damaged { object_key: row.object_key.clone(), reason };
    let done = aside(work).await.map_err(|error| damaged(error.to_string()))?;
    done.map_err(|error| damaged(error.to_string()))
}

/// The rows of a partition, in order, as metadata gives them.
struct Pages {
    key: PartitionKey,
    from: Offset,
    end: Offset,
    rows: VecDeque<RangeRow>,
}

impl Pages {
    fn new(key: PartitionKey, from: Offset, end: Offset) -> Self {
        Self { key, from, end, rows: VecDeque::new() }
    }

    /// The next row that ends at `end` or before.
    async fn next(&mut self, workbench: &Workbench) -> Result<Option<RangeRow>, StoreError> {
        if self.rows.is_empty() && self.from < self.end {
            self.rows = workbench.metadata.ranges_from(self.key, self.from, ROWS_PER_READ).await?.into();
        }
        let row = self.rows.pop_front().filter(|row| row.next_offset <= self.end);
        self.from = row.as_ref().map_or(self.end, |row| row.next_offset);
        Ok(row)
    }
}
