//! Those who wait for news of a partition: for its high watermark, or for the end of a pause.
//!
//! Whoever waits registers *before* looking, so that nothing between the look and the wait is missed. News notify each once; to
//! hear of the next it registers again. One notifier may wait for many partitions.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Vec<Arc<Notify>>>);

impl Waiters {
    /// There is news.
    pub(crate) fn wake(&self) {
        for waiter in self.0.lock().drain(..) {
            waiter.notify_one();
        }
    }

    /// Registers a waiter; it is notified once, at the next news.
    pub(crate) fn register(&self, waiter: &Arc<Notify>) {
        let mut waiters = self.0.lock();
        if !waiters.iter().any(|known| Arc::ptr_eq(known, waiter)) {
            waiters.push(Arc::clone(waiter));
        }
    }

    /// Takes a waiter out again.
    pub(crate) fn unregister(&self, waiter: &Arc<Notify>) {
        self.0.lock().retain(|known| !Arc::ptr_eq(known, waiter));
    }

    /// A waiter of this partition alone.
    pub(crate) fn enter(&self) -> Waiting<'_> {
        Waiting { waiters: self, notify: Arc::new(Notify::new()) }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

/// One who waits; taken out again however the wait ends.
pub(crate) struct Waiting<'a> {
    waiters: &'a Waiters,
    notify: Arc<Notify>,
}

impl Waiting<'_> {
    /// From now on news end [`Self::news`].
    pub(crate) fn register(&self) {
        self.waiters.register(&self.notify);
    }

    /// Waits for news since `register`.
    pub(crate) async fn news(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiters.unregister(&self.notify);
    }
}
