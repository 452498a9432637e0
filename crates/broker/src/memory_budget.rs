//! The byte budget that bounds what clients can make the agent hold.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that requests in flight may hold. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    permits: Arc<Semaphore>,
    bytes: usize,
}

/// Bytes taken from the budget; given back when dropped.
#[derive(Debug)]
pub struct MemoryPermit(Vec<OwnedSemaphorePermit>);

impl MemoryBudget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.min(u32::MAX as usize);
        Self { permits: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// Waits for `bytes` (at most the whole budget), in the order of asking. Cancel-safe.
    pub async fn acquire(&self, bytes: usize) -> MemoryPermit {
        let wanted = u32::try_from(bytes.min(self.bytes)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.permits).acquire_many_owned(wanted).await;
        MemoryPermit(permit.into_iter().collect())
    }

    /// Takes `bytes` if they are free now (gRPC answers RESOURCE_EXHAUSTED otherwise).
    #[must_use]
    pub fn try_acquire(&self, bytes: usize) -> Option<MemoryPermit> {
        let wanted = u32::try_from(bytes.min(self.bytes)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(wanted).ok()?;
        Some(MemoryPermit(vec![permit]))
    }
}

impl MemoryPermit {
    /// Joins two permits into one.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }
}
