//! This agent's session: its renewal, its registry entry, and the leases it should hold.

pub(crate) mod bucket;
mod keeper;

use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use keeper::Keeper;
use segment::SessionId;
use tokio::sync::{Notify, watch};

/// What the rest of the broker knows of the session.
#[derive(Debug)]
pub(crate) struct SessionStatus {
    session: SessionId,
    fenced: watch::Sender<bool>,
    metadata_up: AtomicBool,
    leases_wanted: Notify,
}

impl SessionStatus {
    pub(crate) fn new(session: SessionId) -> Self {
        Self {
            session,
            fenced: watch::Sender::new(false),
            metadata_up: AtomicBool::new(true),
            leases_wanted: Notify::new(),
        }
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
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

    pub(crate) fn metadata_failed(&self) {
        self.metadata_up.store(false, Ordering::Relaxed);
    }

    pub(crate) fn metadata_answered(&self) {
        self.metadata_up.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_metadata_up(&self) -> bool {
        self.metadata_up.load(Ordering::Relaxed)
    }

    /// Asks the keeper to acquire what should be held and is not.
    pub(crate) fn request_acquisition(&self) {
        self.leases_wanted.notify_one();
    }

    async fn leases_wanted(&self) {
        self.leases_wanted.notified().await;
    }
}
