//! The committer: uploads in lane order become committed, or definitely not, and only then are answered.
//!
//! Crash table: before the PUT nothing is left; after it an object without a row; after the segment commit records that
//! consumers see and whose producers ask again. An outcome that stays unknown (fenced while resolving) is
//! never answered: connections close.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metadata::{CommitOutcome, RangeCommit, RangeOutcome, RangeRow, Resolution, SegmentCommit, SegmentRef, StoreError};
use segment::PartitionKey;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::flush::{Lane, Upload};
use super::segment_plan::{PlannedRange, PlannedSegment};
use crate::append::AppendError;
use crate::seeded_bugs::SeededBug;
use crate::settings::StopPoint;

/// Segments in one commit, at most.
const SEGMENTS_PER_COMMIT_MAX: usize = 32;
/// Pauses between attempts at a transaction that did not happen.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What is known of a commit in the end.
enum Decision {
    /// It is settled, per segment.
    Settled(Vec<SegmentOutcome>),
    /// The session is fenced, nothing happened.
    Fenced,
    /// The session was fenced while the outcome was open.
    Unknown,
}

/// What is known of one segment in the end.
struct SegmentOutcome {
    /// Whether it is committed (a tombstone has its place otherwise).
    committed: bool,
    ranges: Vec<RangeOutcome>,
}

impl SegmentOutcome {
    /// As a commit that happened tells. A place that was taken is a tombstone's: garbage collection took the object for an orphan.
    fn of(ranges: Vec<RangeOutcome>) -> Self {
        Self { committed: !ranges.contains(&RangeOutcome::SlotTaken), ranges }
    }
}

impl Lane {
    /// Takes uploads in order until the gatherer is done.
    pub(super) async fn commit_in_order(self: Arc<Self>, mut uploads: mpsc::Receiver<Upload>) {
        let mut next = uploads.recv().await;
        while let Some(first) = next.take() {
            self.progress.begins(Instant::now());
            let mut segments = Vec::new();
            let (mut taken, mut batches) = (1, first.segment.batches);
            self.settle(first, &mut segments).await;
            while segments.len() < SEGMENTS_PER_COMMIT_MAX {
                match uploads.try_recv() {
                    Ok(upload) if upload.put.is_finished() => {
                        taken += 1;
                        batches += upload.segment.batches;
                        self.settle(upload, &mut segments).await;
                    }
                    Ok(upload) => {
                        next = Some(upload);
                        break;
                    }
                    Err(_) => break,
                }
            }
            let committed = self.commit(segments).await;
            self.progress.ends(Instant::now(), committed);
            self.pool.decided(taken, batches);
            if next.is_none() {
                next = uploads.recv().await;
            }
        }
    }

    /// Waits for an upload. One that was given up fails its partitions' lines. An agent that gives its leases up waits for
    /// none: only this task commits, so what is dropped here never does.
    async fn settle(&self, upload: Upload, segments: &mut Vec<PlannedSegment>) {
        let Upload { mut segment, mut put } = upload;
        let ended = tokio::select! {
            biased;
            ended = &mut put => ended,
            () = self.status.giving_up() => {
                put.abort();
                tracing::debug!(object = %segment.object_key, "upload dropped; its batches were not written");
                return self.fail_all(&mut segment, &AppendError::NotLeader);
            }
        };
        let failure = match ended {
            Ok(Ok(())) => {
                self.pass(StopPoint::AfterPut);
                return segments.push(segment);
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        tracing::error!(object = %segment.object_key, error = %failure, "upload given up; its batches were not written");
        self.fail_all(&mut segment, &AppendError::StoreGaveUp);
    }

    fn fail_all(&self, segment: &mut PlannedSegment, error: &AppendError) {
        segment.drop_failed_ranges();
        for range in &segment.ranges {
            self.pool.fail(&range.partition, error);
        }
    }

    /// Decides segments whose objects are durable; whether any of them is committed.
    async fn commit(&self, mut segments: Vec<PlannedSegment>) -> bool {
        segments.iter_mut().for_each(PlannedSegment::drop_failed_ranges);
        segments.retain(|segment| !segment.ranges.is_empty());
        if segments.is_empty() {
            return false;
        }
        if self.seeded_bug == Some(SeededBug::LaneReorder) {
            segments.reverse();
        }
        let mut seen = BTreeSet::new();
        let commits: Vec<_> =
            segments.iter().map(|segment| segment.to_commit(|range| seen.insert(range.meta.key))).collect();
        let started = Instant::now();
        let decision = self.decide(&segments, &commits).await;
        let ranges = commits.iter().map(|commit| commit.ranges.len() as u64).sum();
        let outcome = match &decision {
            Decision::Settled(_) => "committed",
            Decision::Fenced => "fenced",
            Decision::Unknown => "unknown",
        };
        self.metrics.commit(started.elapsed().as_secs_f64(), segments.len() as u64, ranges, outcome);
        match decision {
            Decision::Settled(outcomes) => {
                self.publish(&segments, &commits, &outcomes);
                return outcomes.iter().any(|outcome| outcome.committed);
            }
            Decision::Fenced => self.give_up(&AppendError::NotLeader),
            Decision::Unknown => self.give_up(&AppendError::Unknown),
        }
        false
    }

    /// Commits until the outcome is known. Metadata away: the lane stands, requests time out on their own. An agent that
    /// gives its leases up does not try again what did not happen.
    async fn decide(&self, segments: &[PlannedSegment], commits: &[SegmentCommit]) -> Decision {
        let session = self.status.session();
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            match self.metadata.commit_segments(session, commits).await {
                Ok(CommitOutcome { segments }) => {
                    return Decision::Settled(segments.into_iter().map(SegmentOutcome::of).collect());
                }
                Err(StoreError::Fenced) => return Decision::Fenced,
                Err(StoreError::Unknown(error)) => {
                    tracing::warn!(%error, "segment commit lost its reply, resolving");
                    return self.resolve(segments, commits).await;
                }
                Err(error) => tracing::warn!(%error, "segment commit did not happen, trying again"),
            }
            if self.status.is_giving_up() {
                return Decision::Settled(
                    commits.iter().map(|commit| outcomes_of(&Resolution::Failed, commit)).collect(),
                );
            }
            self.status.metadata_failed();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// Settles an ambiguous commit by putting tombstones where its segments would be.
    async fn resolve(&self, segments: &[PlannedSegment], commits: &[SegmentCommit]) -> Decision {
        let references: Vec<SegmentRef> = segments.iter().map(PlannedSegment::reference).collect();
        let began = Instant::now();
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            match self.metadata.resolve_commit(self.status.session(), &references).await {
                Ok(resolutions) => {
                    let outcomes =
                        resolutions.iter().zip(commits).map(|(resolution, commit)| outcomes_of(resolution, commit));
                    return Decision::Settled(outcomes.collect());
                }
                Err(StoreError::Fenced) => return Decision::Unknown,
                Err(error) => tracing::warn!(%error, "ambiguous segment commit not resolved yet"),
            }
            let given_up = self.status.giving_up_since().map(|since| since.max(began));
            if given_up.is_some_and(|since| since.elapsed() >= self.settings.lease_duration) {
                tracing::error!(
                    "an ambiguous segment commit keeps partitions here that others could lead; starting over"
                );
                return Decision::Unknown;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    /// The outcome is known: high watermarks move, readers wake, producers are answered.
    fn publish(&self, segments: &[PlannedSegment], commits: &[SegmentCommit], outcomes: &[SegmentOutcome]) {
        self.pass(StopPoint::AfterCommit);
        for ((segment, commit), settled) in segments.iter().zip(commits).zip(outcomes) {
            if !settled.committed {
                tracing::warn!(object = %segment.object_key, "segment definitely not committed; its batches were not written");
                segment.ranges.iter().for_each(|range| self.fail(range));
                continue;
            }
            for ((range, committed), outcome) in segment.ranges.iter().zip(&commit.ranges).zip(&settled.ranges) {
                match outcome {
                    RangeOutcome::Accepted => self.publish_range(segment, range, committed),
                    // It has failed already, with a segment of the same commit: its offsets were to come after that one's.
                    _ if !range.is_in_line() => {}
                    RangeOutcome::TopicDeleted => self.reject(range, &AppendError::UnknownTopic),
                    RangeOutcome::NotLeader | RangeOutcome::OffsetMismatch | RangeOutcome::SlotTaken => {
                        tracing::error!(partition = ?range.meta.key, ?outcome, "a range was rejected; its batches were not written");
                        self.reject(range, &AppendError::NotLeader);
                    }
                }
            }
            // After the ranges: a footer that names this segment as committed was gathered after its rejections. One without
            // any accepted range proves nothing: a tombstone may have its place.
            if settled.ranges.contains(&RangeOutcome::Accepted) {
                self.committed_through.store(segment.lane_sequence, Ordering::Release);
            }
        }
        self.tail.evict();
    }

    fn publish_range(&self, segment: &PlannedSegment, range: &PlannedRange, committed: &RangeCommit) {
        let answers = {
            // The tail is locked first and as long, so that a reader never sees a high watermark without its tail.
            let mut tail = range.partition.tail.lock();
            let mut state = range.partition.state.lock();
            if state.generation() != range.generation {
                return; // The partition was abandoned (its topic is deleted) and has answered.
            }
            let with_snapshot = committed.snapshot.is_some();
            let (batches, answers) = state.commit(range.meta.next_offset, &segment.object_key, with_snapshot);
            range.partition.upkeep.lock().committed(committed);
            drop(state);
            tail.recent.push(|| recent(segment, committed));
            self.tail.push(&range.partition, &mut tail, batches);
            answers
        };
        range.partition.waiters.wake();
        answers.send();
    }

    /// A tombstone has the segment's place: what is in memory goes back to what is committed, the lease is not in doubt.
    fn fail(&self, range: &PlannedRange) {
        if range.is_in_line() {
            self.pool.fail(&range.partition, &AppendError::NotLeader);
        }
    }

    fn reject(&self, range: &PlannedRange, error: &AppendError) {
        // What is in memory no longer matches the truth: drop it, and read it anew with the next acquisition.
        self.pool.abandon(range.meta.key, error);
        self.status.request_acquisition();
    }

    /// This session can commit nothing any more.
    fn give_up(&self, error: &AppendError) {
        tracing::error!("the session is fenced; this agent writes no more");
        self.pool.abandon_all(error);
        self.status.set_fenced();
    }

    /// Ends the process at a named point, for crash tests.
    fn pass(&self, point: StopPoint) {
        if let Some((stop_at, passes)) = self.settings.stop_at
            && stop_at == point
            && self.stop_passes.fetch_add(1, Ordering::Relaxed) + 1 >= passes
        {
            tracing::error!(?point, "stop point reached, ending the process");
            std::process::abort();
        }
    }
}

fn recent(segment: &PlannedSegment, range: &RangeCommit) -> RangeRow {
    RangeRow {
        base_offset: range.base_offset,
        next_offset: range.next_offset,
        leader_epoch: range.leader_epoch,
        object_key: segment.object_key.to_string(),
        byte_start: range.byte_start,
        byte_len: range.byte_len,
        checksum: range.checksum,
        max_timestamp: range.max_timestamp,
        object_bytes: i64::try_from(segment.object_bytes).unwrap_or(i64::MAX),
    }
}

/// What a resolution says of each range of the commit.
fn outcomes_of(resolution: &Resolution, commit: &SegmentCommit) -> SegmentOutcome {
    let accepted: BTreeSet<PartitionKey> = match resolution {
        Resolution::Failed => BTreeSet::new(),
        Resolution::Committed(ranges) => ranges.iter().map(|range| range.key).collect(),
    };
    let outcome = |range: &metadata::RangeCommit| {
        if accepted.contains(&range.key) { RangeOutcome::Accepted } else { RangeOutcome::NotLeader }
    };
    SegmentOutcome {
        committed: matches!(resolution, Resolution::Committed(_)),
        ranges: commit.ranges.iter().map(outcome).collect(),
    }
}
