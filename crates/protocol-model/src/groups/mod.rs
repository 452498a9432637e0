//! The coordinator of a group: the leader of a partition of `__consumer_offsets`, whose groups and offsets are rows.
//!
//! A coordinator changes its memory at once, and answers when the rows are written; one write is under way at a time, and names
//! the count of writes that it builds on. A write that was sent happens at any later moment or never, its reply may be lost, and
//! agents that lost the lease go on for as long as nobody tells them. The group has one partition to read and one member
//! at a time, a new one in each generation; members of older generations go on committing.

mod coordinator;
mod model;
mod properties;
mod state;

pub use model::{Action, Bounds, Groups, Rules};
pub use state::{Decision, Fate, Fetch, Loading, Outcome, Phase, Rows, Shard, State, Write};
