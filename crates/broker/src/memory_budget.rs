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

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that nobody has.
    #[must_use]
    pub fn available(&self) -> usize {
        self.permits.available_permits()
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

    /// Takes `bytes` out of it, or all that it has.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let (mut left, mut parts) = (bytes, Vec::new());
        while let Some(last) = self.0.last_mut().filter(|_| left > 0) {
            let part = last.num_permits().min(left);
            left -= part;
            parts.extend(last.split(part));
            if last.num_permits() == 0 {
                self.0.pop();
            }
        }
        Self(parts)
    }

    /// How much it is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.iter().map(OwnedSemaphorePermit::num_permits).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_of_a_permit_are_given_back_one_by_one() {
        let budget = MemoryBudget::new(100);
        let mut whole = budget.acquire(30).await;
        whole.merge(budget.acquire(10).await);
        let part = whole.split(35);
        assert_eq!((part.bytes(), whole.bytes(), budget.available()), (35, 5, 60));
        drop(part);
        assert_eq!(budget.available(), 95);
        let rest = whole.split(50);
        assert_eq!((rest.bytes(), whole.bytes()), (5, 0), "no more than there is");
        drop((rest, whole));
        assert_eq!(budget.available(), 100);
    }
}
