//! The task that keeps the session alive: renews it every third of `LEASE_DURATION`, refreshes the registry entry,
//! acquires leases that should be held, expires producers, purges deleted topics, and notes the lane's progress in
//! the bucket. It owns its metadata calls: no request's cancellation reaches them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use metadata::{LeaseRow, MetadataStore, Registration, StoreError};
use opendal::Operator;
use tokio::time::{Instant, MissedTickBehavior};

use super::{SessionStatus, bucket};
use crate::append::AppendError;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::limits::LEASES_PER_ACQUISITION_MAX;
use crate::metrics::Metrics;
use crate::writer::pool::WriterPool;

/// Rows that one purge transaction may delete.
const PURGE_ROWS: u32 = 2_000;
/// Purge transactions in one round of housekeeping.
const PURGES_AT_ONCE: usize = 100;
/// How often the lane's progress is noted in the bucket, producers expire and deleted topics are purged.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(60);

/// Everything the keeper works on.
pub(crate) struct Keeper {
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) store: Operator,
    pub(crate) status: Arc<SessionStatus>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) pool: Arc<WriterPool>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registration: Registration,
    pub(crate) lease_duration: Duration,
    pub(crate) heartbeat_interval: Duration,
    /// Notes of earlier sessions, checked at the start; they go once this session has its own.
    pub(crate) older_notes: Vec<String>,
    /// Highest committed lane sequence, shared with the lane.
    pub(crate) committed_through: Arc<AtomicI64>,
}

impl Keeper {
    /// Runs until the session is fenced or the task is aborted.
    pub(crate) async fn run(mut self) {
        let mut renewal = interval(self.lease_duration / 3);
        let mut heartbeat = interval(self.heartbeat_interval);
        let mut housekeeping = interval(HOUSEKEEPING_INTERVAL);
        let mut noted = -1;
        while !self.status.is_fenced() {
            // Only waiting is raced here; each branch runs to its end.
            tokio::select! {
                biased; // in a fixed order, so that a simulation repeats
                _ = renewal.tick() => self.renew().await,
                _ = heartbeat.tick() => self.refresh_registration().await,
                _ = housekeeping.tick() => self.keep_house(&mut noted).await,
                () = self.status.leases_wanted() => self.acquire_missing().await,
            }
        }
    }

    async fn renew(&self) {
        match self.metadata.renew_session(self.status.session()).await {
            Ok(database_time) => {
                self.clock.set(database_time);
                if !self.status.is_metadata_up() {
                    tracing::info!("metadata store answers again");
                }
                self.status.metadata_answered();
            }
            Err(error) => self.failed("renewal", &error),
        }
    }

    async fn refresh_registration(&self) {
        if let Err(error) = self.metadata.update_registration(self.status.session(), &self.registration).await {
            self.failed("registration", &error);
        }
    }

    fn failed(&self, what: &str, error: &StoreError) {
        if matches!(error, StoreError::Fenced) {
            tracing::error!("the session is fenced");
            self.status.set_fenced();
        } else {
            tracing::warn!(what, %error, "metadata store does not answer");
            self.status.metadata_failed();
        }
    }

    /// Acquires every partition of the catalogue that this agent should lead and does not.
    pub(crate) async fn acquire_missing(&self) {
        let missing = self.catalog.partition_keys(|key| self.pool.partition(key.topic_id, key.partition).is_none());
        for keys in missing.chunks(LEASES_PER_ACQUISITION_MAX) {
            match self.metadata.acquire_leases(self.status.session(), keys).await {
                Ok(leases) => {
                    self.pool.lead(&leases);
                    self.abandon_deleted(&leases);
                }
                Err(error) => {
                    self.failed("acquisition", &error);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    self.status.request_acquisition();
                    return;
                }
            }
        }
        self.metrics.partitions_led(i64::try_from(self.pool.partitions().len()).unwrap_or(i64::MAX));
    }

    /// A topic may have been deleted while its leases were acquired. The deletion takes it out of the catalogue before it
    /// abandons its partitions, so either the deletion finds them or this does.
    fn abandon_deleted(&self, leases: &[LeaseRow]) {
        for lease in leases {
            if self.catalog.by_id(lease.key.organization, lease.key.topic_id).is_none() {
                self.pool.abandon_topic(lease.key.topic_id, &AppendError::UnknownTopic);
            }
        }
    }

    async fn note_progress(&mut self, noted: &mut i64) {
        let committed = self.committed_through.load(Ordering::Acquire);
        if committed <= *noted {
            return;
        }
        let written = bucket::note_progress(&self.store, self.status.session(), committed).await;
        let dropped = match &written {
            Ok(()) => self.store.delete_iter(std::mem::take(&mut self.older_notes)).await,
            Err(_) => Ok(()),
        };
        match written.and(dropped) {
            Ok(()) => *noted = committed,
            Err(error) => tracing::warn!(%error, "lane progress could not be noted in the bucket"),
        }
    }

    async fn keep_house(&mut self, noted: &mut i64) {
        self.note_progress(noted).await;
        let now = self.clock.now();
        for partition in self.pool.partitions() {
            partition.state.lock().expire_producers(now);
        }
        // Bounded: the renewal waits for it. What is left goes next time.
        for _ in 0..PURGES_AT_ONCE {
            match self.metadata.purge_deleted(PURGE_ROWS).await {
                Ok(0) => break,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return self.failed("purge", &error),
            }
        }
    }
}

fn interval(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
