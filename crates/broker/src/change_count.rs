//! A count of changes, for those who wait for the next one.
//!
//! They are woken in the order in which they began to wait. `tokio::sync::watch` wakes in a random order, and a simulation does not
//! repeat.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ChangeCount(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    changes: AtomicU64,
    changed: Notify,
}

/// Hears of changes.
#[derive(Debug)]
pub struct ChangesSeen {
    of: Arc<Count>,
    seen: u64,
}

impl ChangeCount {
    /// Something changed.
    pub(crate) fn add(&self) {
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }

    /// Hears of changes from now on.
    pub(crate) fn subscribe(&self) -> ChangesSeen {
        ChangesSeen { of: Arc::clone(&self.0), seen: self.0.changes.load(Ordering::Acquire) }
    }
}

impl ChangesSeen {
    /// Returns once something changed that was not heard of. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            // Begun before the look: a change between the look and the wait is not missed.
            let changed = self.of.changed.notified();
            let changes = self.of.changes.load(Ordering::Acquire);
            if changes != self.seen {
                self.seen = changes;
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn changes_since_the_last_look_are_heard_of_once() {
        let changes = ChangeCount::default();
        changes.add();
        let mut seen = changes.subscribe();
        assert!(seen.changed().now_or_never().is_none());
        changes.add();
        changes.add();
        assert!(seen.changed().now_or_never().is_some());
        assert!(seen.changed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_waits_first_is_woken_first() {
        let (changes, woken) = (ChangeCount::default(), Arc::new(Mutex::new(Vec::new())));
        let waiters: Vec<_> = (0..20)
            .map(|waiter| {
                let (mut seen, woken) = (changes.subscribe(), Arc::clone(&woken));
                tokio::spawn(async move {
                    seen.changed().await;
                    woken.lock().push(waiter);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        changes.add();
        futures::future::join_all(waiters).await;
        assert_eq!(*woken.lock(), Vec::from_iter(0..20));
    }
}
