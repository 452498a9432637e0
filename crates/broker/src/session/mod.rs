//! This agent's session, and its place among the others: renewal, registry entry, leases, hand-over, fail-over.

pub(crate) mod bucket;
pub(crate) mod coordinator;
pub(crate) mod deaths;
pub(crate) mod garbage;
pub(crate) mod hand_over;
mod keeper;
mod lease_table;
mod placement;
pub(crate) mod self_check;
pub(crate) mod standing;
pub(crate) mod view;

use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use keeper::Keeper;
use metadata::{LaneReport, Registration, StoreError};
use parking_lot::Mutex;
use segment::SessionId;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What the rest of the broker knows of the session.
#[derive(Debug)]
pub(crate) struct SessionStatus {
    session: SessionId,
    registration: Registration,
    /// It is being stopped.
    is_leaving: AtomicBool,
    /// It gave up its leases and has not come back.
    is_out: AtomicBool,
    /// Since when it is giving up; `None` once everything is handed over.
    giving_up: watch::Sender<Option<Instant>>,
    /// What renewals say of the lane, and why the agent is not ready for it.
    lane: Mutex<(LaneReport, Option<&'static str>)>,
    fenced: watch::Sender<bool>,
    metadata_up: AtomicBool,
    leases_wanted: Notify,
    renewal_wanted: Notify,
}

impl SessionStatus {
    pub(crate) fn new(session: SessionId, registration: Registration) -> Self {
        Self {
            session,
            registration,
            is_leaving: AtomicBool::new(false),
            is_out: AtomicBool::new(false),
            giving_up: watch::Sender::new(None),
            lane: Mutex::default(),
            fenced: watch::Sender::new(false),
            metadata_up: AtomicBool::new(true),
            leases_wanted: Notify::new(),
            renewal_wanted: Notify::new(),
        }
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// What the registry should say of this agent.
    pub(crate) fn registration(&self) -> Registration {
        let accepts_leases = !self.is_leaving.load(Ordering::Acquire) && !self.is_out.load(Ordering::Acquire);
        Registration { accepts_leases, ..self.registration.clone() }
    }

    /// From now on placement leaves this agent out, as soon as the registry says so: it is being stopped.
    pub(crate) fn refuse_leases(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    /// It cannot commit while others can: placement leaves it out, and the lane fails what is not committed, until
    /// `stop_giving_up`.
    fn give_up(&self, now: Instant) {
        self.is_out.store(true, Ordering::Release);
        self.giving_up.send_replace(Some(now));
    }

    fn stop_giving_up(&self) {
        self.giving_up.send_replace(None);
    }

    fn return_to_placement(&self) {
        self.is_out.store(false, Ordering::Release);
    }

    /// Since when this agent is giving up its leases.
    pub(crate) fn giving_up_since(&self) -> Option<Instant> {
        *self.giving_up.borrow()
    }

    pub(crate) fn is_giving_up(&self) -> bool {
        self.giving_up_since().is_some()
    }

    /// Returns while this agent is giving up its leases.
    pub(crate) async fn giving_up(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.giving_up.subscribe().wait_for(Option::is_some).await;
    }

    fn set_lane(&self, report: LaneReport, trouble: Option<&'static str>) {
        *self.lane.lock() = (report, trouble);
    }

    fn lane_report(&self) -> LaneReport {
        self.lane.lock().0
    }

    /// Why the lane makes this agent unready, if it does.
    pub(crate) fn lane_trouble(&self) -> Option<&'static str> {
        self.lane.lock().1
    }

    /// Nothing of this agent can commit any more.
    pub(crate) fn set_fenced(&self) {
        self.fenced.send_replace(true);
    }

    pub(crate) fn is_fenced(&self) -> bool {
        *self.fenced.borrow()
    }

    /// Returns once the session is fenced.
    pub(crate) async fn fenced(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.fenced.subscribe().wait_for(|fenced| *fenced).await;
    }

    /// A metadata transaction of the session's own tasks failed.
    pub(crate) fn failed(&self, what: &str, error: &StoreError) {
        if matches!(error, StoreError::Fenced) {
            tracing::error!(what, "the session is fenced");
            self.set_fenced();
        } else {
            tracing::warn!(what, %error, "metadata store does not answer");
            self.metadata_failed();
        }
    }

    pub(crate) fn metadata_failed(&self) {
        self.metadata_up.store(false, Ordering::Relaxed);
    }

    pub(crate) fn metadata_answered(&self) {
        if !self.metadata_up.swap(true, Ordering::Relaxed) {
            tracing::info!("metadata store answers again");
        }
    }

    pub(crate) fn is_metadata_up(&self) -> bool {
        self.metadata_up.load(Ordering::Relaxed)
    }

    /// Asks the coordinator to look at the leases.
    pub(crate) fn request_acquisition(&self) {
        self.leases_wanted.notify_one();
    }

    async fn leases_wanted(&self) {
        self.leases_wanted.notified().await;
    }

    /// Asks the keeper to renew now: somebody doubts that this agent lives.
    fn request_renewal(&self) {
        self.renewal_wanted.notify_one();
    }

    async fn renewal_wanted(&self) {
        self.renewal_wanted.notified().await;
    }
}
