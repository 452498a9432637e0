//! The task that keeps the session alive: renews it every third of `LEASE_DURATION`, or at once when another agent doubts
//! it, and refreshes the registry entry; and keeps house: expires producers, purges deleted topics, and notes the lane's
//! progress in the bucket. It owns its metadata calls: no request's cancellation reaches them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use metadata::MetadataStore;
use opendal::Operator;
use tokio::time::{Instant, MissedTickBehavior};

use super::{SessionStatus, bucket};
use crate::clock::Clock;
use crate::writer::pool::WriterPool;

/// Rows that one purge transaction may delete.
const PURGE_ROWS: u32 = 2_000;
/// Purge transactions in one round of housekeeping.
const PURGES_AT_ONCE: usize = 100;
/// How often the lane's progress is noted in the bucket, producers expire and deleted topics are purged.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(60);
/// Pause before a renewal that failed is tried again.
const RENEWAL_RETRY: Duration = Duration::from_millis(500);

/// Everything the keeper works on.
pub(crate) struct Keeper {
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) store: Operator,
    pub(crate) status: Arc<SessionStatus>,
    pub(crate) pool: Arc<WriterPool>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) lease_duration: Duration,
    pub(crate) heartbeat_interval: Duration,
    /// Notes of earlier sessions, checked at the start; they go once this session has its own.
    pub(crate) older_notes: Vec<String>,
    /// Highest committed lane sequence, shared with the lane.
    pub(crate) committed_through: Arc<AtomicI64>,
}

impl Keeper {
    /// Renews and refreshes until the session is fenced or the task is aborted. Housekeeping runs beside it: a slow bucket
    /// never delays a renewal.
    pub(crate) async fn run(mut self) {
        let keep_alive = KeepAlive {
            metadata: Arc::clone(&self.metadata),
            status: Arc::clone(&self.status),
            clock: Arc::clone(&self.clock),
            lease_duration: self.lease_duration,
            heartbeat_interval: self.heartbeat_interval,
        };
        let mut housekeeping = interval(HOUSEKEEPING_INTERVAL);
        let mut noted = -1;
        let keep_house = async {
            loop {
                housekeeping.tick().await;
                self.keep_house(&mut noted).await;
            }
        };
        // Both run on this task; what is dropped at the end is housekeeping between or within its steps, and those
        // that reached the metadata store run to their end there.
        tokio::select! {
            biased; // in a fixed order, so that a simulation repeats
            () = keep_alive.run() => {}
            () = keep_house => {}
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
        self.pool.expire_producers(self.clock.now());
        // Bounded: the renewal waits for it. What is left goes next time.
        for _ in 0..PURGES_AT_ONCE {
            match self.metadata.purge_deleted(PURGE_ROWS).await {
                Ok(0) => break,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return self.status.failed("purge", &error),
            }
        }
    }
}

/// The renewals.
struct KeepAlive {
    metadata: Arc<dyn MetadataStore>,
    status: Arc<SessionStatus>,
    clock: Arc<Clock>,
    lease_duration: Duration,
    heartbeat_interval: Duration,
}

impl KeepAlive {
    async fn run(self) {
        let mut renewal = interval(self.lease_duration / 3);
        let mut heartbeat = interval(self.heartbeat_interval);
        while !self.status.is_fenced() {
            // Only waiting is raced here; each branch runs to its end.
            tokio::select! {
                biased; // in a fixed order, so that a simulation repeats
                () = self.status.renewal_wanted() => self.renew(&mut renewal).await,
                _ = renewal.tick() => self.renew(&mut renewal).await,
                _ = heartbeat.tick() => self.refresh_registration().await,
            }
        }
    }

    async fn renew(&self, interval: &mut tokio::time::Interval) {
        match self.metadata.renew_session(self.status.session(), self.status.lane_report()).await {
            Ok(database_time) => {
                self.clock.set(database_time);
                self.status.metadata_answered();
            }
            Err(error) => {
                self.status.failed("renewal", &error);
                interval.reset_after(RENEWAL_RETRY.min(interval.period()));
            }
        }
    }

    async fn refresh_registration(&self) {
        let registration = self.status.registration();
        if let Err(error) = self.metadata.update_registration(self.status.session(), &registration).await {
            self.status.failed("registration", &error);
        }
    }
}

fn interval(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
