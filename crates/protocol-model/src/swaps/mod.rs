//! What happens to a log behind its end: rows are swapped for rows of a rewritten object, log starts move, topics are purged,
//! and objects are deleted when nothing refers to them.
//!
//! Segments are shared by two partitions, so that one loses its ranges piece by piece; a rewrite swaps the rows of one
//! partition after the other, in transactions of their own, under one slot. A compaction is a swap like a rewrite, into an
//! object that holds less. How segments are committed is another model's (`commits`): here that happens at once.

mod model;
mod properties;
mod state;

pub use model::{Action, Bounds, Choice, Keys, Rules, Swaps};
pub use state::{Fate, Kind, Log, Part, Range, Rewrite, Segment, State};
