//! Garbage collection: objects that no record refers to are removed from the bucket, by the protocol of tombstones.
//!
//! What is deleted can never be referred to again, by what metadata says of its slot. Two kinds: retired segments, whose last range
//! is gone (deleted, replaced by a rewrite, or all were rejected), known to metadata; and orphans (uploaded, never committed),
//! which only a listing finds, and which get a tombstone first, so that their segment never commits. So age is not the
//! safety but a courtesy: to uploads under way, and to readers that still hold rows of a retired segment. A tombstone goes
//! once its object is gone and the session that uploaded it is over. An object whose session the database does not know ends
//! the collection: the database may be the wrong one.
//!
//! The agent with the lowest node id collects. Should two think so, each claim is still decided once.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use metadata::{Claim, FoundObject, MetadataStore, StoreError};
use opendal::{ErrorKind, Operator};
use segment::ObjectKey;
use tokio::time::{Interval, MissedTickBehavior};

use super::SessionStatus;
use super::view::ClusterView;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// Objects in one claim.
const CLAIM_MAX: usize = 500;
/// Requests to delete that are under way at once.
const DELETES_MAX: usize = 16;
/// How often metadata is asked for retired segments: an index says which, so it costs nothing where there are none.
const RETIRED_EVERY: Duration = Duration::from_secs(15);

/// See the module.
pub(crate) struct Collector {
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) store: Operator,
    pub(crate) status: Arc<SessionStatus>,
    pub(crate) view: Arc<ClusterView>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    /// How often the store is listed for orphans.
    pub(crate) interval: Duration,
    /// How old an orphan must be.
    pub(crate) grace: Duration,
    /// How long ago a segment must have been retired.
    pub(crate) delete_delay: Duration,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error("metadata: {0}")]
    Metadata(#[from] StoreError),
    #[error("object store: {0}")]
    Store(#[from] opendal::Error),
    #[error(
        "{0} names a session that the metadata database does not know: is it the right database? nothing is collected"
    )]
    UnknownSession(String),
}

impl Collector {
    /// Runs until it is aborted.
    pub(crate) async fn run(self) {
        let mut retired = every(self.interval.min(RETIRED_EVERY));
        let mut orphans = every(self.interval);
        loop {
            let list = tokio::select! {
                biased;
                _ = orphans.tick() => true,
                _ = retired.tick() => false,
            };
            let cluster = self.view.cluster();
            if cluster.controller_id != cluster.node_id || self.status.is_fenced() {
                continue;
            }
            let collected = if list { self.collect_orphans().await } else { self.collect_retired().await };
            match collected {
                Ok(0) => {}
                Ok(deleted) => tracing::info!(deleted, "objects without records were deleted"),
                Err(error @ CollectError::UnknownSession(_)) => tracing::error!(%error, "garbage collection"),
                Err(error) => tracing::warn!(%error, "garbage collection goes on with the next round"),
            }
        }
    }

    /// Returns how many objects went, as `collect_orphans` does.
    async fn collect_retired(&self) -> Result<usize, CollectError> {
        let mut deleted = 0;
        loop {
            let limit = u32::try_from(CLAIM_MAX).unwrap_or(u32::MAX);
            let found =
                self.metadata.claim_unreferenced(self.status.session(), milliseconds(self.delete_delay), limit).await?;
            self.delete(&found).await?;
            deleted += found.len();
            if found.len() < CLAIM_MAX {
                return Ok(deleted);
            }
        }
    }

    async fn collect_orphans(&self) -> Result<usize, CollectError> {
        let mut listed = self.store.lister_with("").recursive(true).await?;
        let mut deleted = 0;
        let mut found = Vec::with_capacity(CLAIM_MAX);
        while let Some(entry) = listed.try_next().await? {
            let Ok(key) = ObjectKey::parse(entry.path()) else { continue };
            if self.is_young(entry.metadata()) {
                continue;
            }
            found.push(FoundObject {
                session: key.session,
                lane_sequence: key.lane_sequence,
                organization: key.organization,
                object_key: entry.path().to_owned(),
            });
            if found.len() == CLAIM_MAX {
                deleted += self.claim(std::mem::take(&mut found)).await?;
            }
        }
        Ok(deleted + self.claim(found).await?)
    }

    /// Whether an upload so recent may still be waiting for its commit. A store that says no time has none.
    fn is_young(&self, metadata: &opendal::Metadata) -> bool {
        let Some(modified) = metadata.last_modified() else { return false };
        let age = self.clock.now().saturating_sub(modified.into_inner().as_millisecond());
        age < milliseconds(self.grace)
    }

    async fn claim(&self, found: Vec<FoundObject>) -> Result<usize, CollectError> {
        if found.is_empty() {
            return Ok(0);
        }
        let claims = self.metadata.claim_objects(self.status.session(), &found).await?;
        if let Some((object, _)) = found.iter().zip(&claims).find(|(_, claim)| **claim == Claim::UnknownSession) {
            return Err(CollectError::UnknownSession(object.object_key.clone()));
        }
        let garbage = found.into_iter().zip(claims).filter(|(_, claim)| *claim == Claim::Garbage);
        let garbage: Vec<_> = garbage.map(|(object, _)| object).collect();
        self.delete(&garbage).await?;
        Ok(garbage.len())
    }

    /// Deletes claimed objects, then their rows where nothing can come after.
    async fn delete(&self, objects: &[FoundObject]) -> Result<(), CollectError> {
        let keys: Vec<_> = objects.iter().map(|object| object.object_key.clone()).collect();
        let deletes = keys.into_iter().map(|key| {
            let store = self.store.clone();
            async move { store.delete(&key).await }
        });
        let mut deletes = futures::stream::iter(deletes).buffer_unordered(DELETES_MAX);
        while let Some(deleted) = deletes.next().await {
            match deleted {
                Ok(()) => self.metrics.object_deleted(),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !objects.is_empty() {
            self.metadata.forget_objects(self.status.session(), objects).await?;
        }
        Ok(())
    }
}

fn every(period: Duration) -> Interval {
    let mut rounds = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
