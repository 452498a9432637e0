//! This agent's session, and its place among the others: renewal, registry entry, leases, hand-over, fail-over.

pub(crate) mod bucket;
pub(crate) mod coordinator;
pub(crate) mod deaths;
pub(crate) mod garbage;
mod hand_over;
mod keeper;
mod lease_table;
mod placement;
pub(crate) mod view;

use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use keeper::Keeper;
use metadata::{Registration, StoreError};
use parking_lot::Mutex;
use segment::SessionId;
use tokio::sync::{Notify, watch};

/// What the rest of the broker knows of the session.
#[derive(Debug)]
pub(crate) struct SessionStatus {
    session: SessionId,
    registration: Mutex<Registration>,
    fenced: watch::Sender<bool>,
    metadata_up: AtomicBool,
    leases_wanted: Notify,
    renewal_wanted: Notify,
}

impl SessionStatus {
    pub(crate) fn new(session: SessionId, registration: Registration) -> Self {
        Self {
            session,
            registration: Mutex::new(registration),
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
        self.registration.lock().clone()
    }

    /// From now on placement leaves this agent out, as soon as the registry says so.
    pub(crate) fn refuse_leases(&self) {
        self.registration.lock().accepts_leases = false;
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
