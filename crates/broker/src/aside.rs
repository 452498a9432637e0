//! Work that would hold up a runtime's worker, done beside it.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, spawn_blocking};

/// Does it on a thread for such work. A runtime of one thread, as a simulation has, does it at once: on another thread it would end
/// whenever the machine gets to it, and nothing would repeat.
///
/// # Errors
/// It panicked, or the runtime ends.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => Ok(work()),
        _ => spawn_blocking(work).await,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn here() -> thread::ThreadId {
        thread::current().id()
    }

    #[tokio::test]
    async fn on_one_thread_it_is_done_at_once() {
        assert_eq!(aside(here).await.expect("no panic"), here());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn beside_workers_it_is_done_elsewhere() {
        assert_ne!(aside(here).await.expect("no panic"), here());
        assert!(aside(|| panic!("of the work")).await.is_err());
    }
}
