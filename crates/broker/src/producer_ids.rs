//! Producer ids, taken from metadata in blocks so that not every producer costs a transaction.

use metadata::{MetadataStore, StoreError};
use segment::ProducerId;
use tokio::sync::Mutex;

/// Ids in a block, as Kafka's brokers take them.
const BLOCK: u32 = 1_000;

#[derive(Debug, Default)]
struct Block {
    next: ProducerId,
    end: ProducerId,
}

/// The block this agent gives out.
#[derive(Debug, Default)]
pub(crate) struct ProducerIds(Mutex<Block>);

impl ProducerIds {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An id that nobody else gets. A block whose reply is lost is never given out.
    pub(crate) async fn next(&self, metadata: &dyn MetadataStore) -> Result<ProducerId, StoreError> {
        let mut block = self.0.lock().await;
        refill(&mut block, metadata).await?;
        let id = block.next;
        block.next += 1;
        Ok(id)
    }

    /// Whether an id was given out by anyone: with one agent, it is below our next one.
    pub(crate) async fn was_allocated(&self, id: ProducerId, metadata: &dyn MetadataStore) -> bool {
        let mut block = self.0.lock().await;
        refill(&mut block, metadata).await.is_ok() && id < block.next
    }
}

async fn refill(block: &mut Block, metadata: &dyn MetadataStore) -> Result<(), StoreError> {
    if block.next == block.end {
        block.next = metadata.allocate_producer_ids(BLOCK).await?;
        block.end = block.next + ProducerId::from(BLOCK);
    }
    Ok(())
}
