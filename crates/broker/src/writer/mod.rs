//! Writing: a partition's decisions, the pool that admits batches to it, and the lane that makes them durable.

pub(crate) mod batch_check;
mod commit;
pub(crate) mod flush;
mod pacing;
pub(crate) mod partition;
pub(crate) mod partition_state;
pub(crate) mod pool;
mod producer_state;
pub(crate) mod progress;
pub(crate) mod segment_plan;
mod turned_away;
