//! Waits for changes of the in-memory model.

use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

#[tokio::test]
async fn who_waits_first_for_a_change_hears_of_it_first() {
    let store = Arc::new(MemoryStore::new(uuid::Uuid::from_u128(7), || 0));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let waiters: Vec<_> = (0..20)
        .map(|waiter| {
            let (store, heard) = (Arc::clone(&store), Arc::clone(&heard));
            tokio::spawn(async move {
                store.change_hint(0).await;
                heard.lock().push(waiter);
            })
        })
        .collect();
    tokio::task::yield_now().await;
    store.open_session(&crate::conformance::fixture::registration("a")).await.expect("memory answers");
    for waiter in waiters {
        waiter.await.expect("no panic");
    }
    assert_eq!(*heard.lock(), Vec::from_iter(0..20));
    store.change_hint(0).await;
}
