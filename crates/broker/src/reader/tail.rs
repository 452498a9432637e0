//! The newest records of every led partition, in memory under one byte budget, oldest out first.
//!
//! What is evicted is read from the object store; nothing here is the only copy of anything.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use segment::Offset;

use super::{ReadBatch, take_fitting};
use crate::metrics::Metrics;
use crate::writer::partition::{Partition, Tail};
use crate::writer::partition_state::CommittedBatch;

/// What a batch costs beside its bytes: its header's own allocation and its place in the tail.
const BATCH_OVERHEAD_BYTES: usize = 256;

#[derive(Debug, Default)]
struct Order {
    used: usize,
    /// Ranges in the order of their commits: partition, end, bytes charged.
    ranges: VecDeque<(Arc<Partition>, Offset, usize)>,
}

/// The budget of all tails together.
#[derive(Debug)]
pub(crate) struct TailBudget {
    bytes_max: usize,
    order: Mutex<Order>,
    metrics: Arc<Metrics>,
}

impl TailBudget {
    pub(crate) fn new(bytes_max: usize, metrics: Arc<Metrics>) -> Self {
        Self { bytes_max, order: Mutex::default(), metrics }
    }

    /// Adds a committed range to its partition's tail, whose lock the caller holds.
    pub(crate) fn push(&self, partition: &Arc<Partition>, tail: &mut Tail, batches: Vec<CommittedBatch>) {
        let Some(end) = batches.last().map(|batch| batch.header.next_offset()) else { return };
        let bytes = batches.iter().map(|batch| batch.header.total_bytes() + BATCH_OVERHEAD_BYTES).sum();
        tail.batches.extend(batches);
        let mut order = self.order.lock();
        order.used += bytes;
        order.ranges.push_back((Arc::clone(partition), end, bytes));
    }

    /// Brings the tails back under their budget.
    pub(crate) fn evict(&self) {
        loop {
            let mut order = self.order.lock();
            self.metrics.tail_bytes(i64::try_from(order.used).unwrap_or(i64::MAX));
            if order.used <= self.bytes_max {
                return;
            }
            let Some((partition, end, bytes)) = order.ranges.pop_front() else { return };
            order.used -= bytes;
            drop(order);
            partition.tail.lock().evict_below(end);
        }
    }
}

impl Tail {
    /// Batches from the one that holds `offset` on, up to `bytes_max` but at least one; `None` if `offset` is older than
    /// what is in memory.
    pub(crate) fn read(&self, offset: Offset, bytes_max: usize) -> Option<Vec<ReadBatch>> {
        if self.base_offset().is_none_or(|base| offset < base) {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.header.next_offset() <= offset);
        let batches = self.batches.range(first..).map(|batch| ReadBatch {
            header: batch.header,
            slices: [batch.placed.header.clone(), batch.placed.records.clone()],
        });
        Some(take_fitting(batches, bytes_max))
    }
}
