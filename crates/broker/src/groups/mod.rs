//! Consumer groups: who is in them, who has which part of the work, and how far they came.
//!
//! A group's state is rows of the metadata store, under the lease of its partition of `__consumer_offsets`. What is in
//! [`api`] is asked by gateways; the states are pure (`classic`, `offsets`): they take the time as an argument, do no
//! I/O, and say by [`effects`] whom to answer and which rows to write.

pub mod api;
pub mod api_consumer;
#[cfg_attr(not(test), expect(dead_code, reason = "the shards that hold groups come with the next part"))]
pub(crate) mod classic;
#[cfg_attr(not(test), expect(dead_code, reason = "the shards that hold groups come with the next part"))]
pub(crate) mod consumer;
#[cfg_attr(not(test), expect(dead_code, reason = "the shards that hold groups come with the next part"))]
pub(crate) mod effects;
#[cfg_attr(not(test), expect(dead_code, reason = "the shards that hold groups come with the next part"))]
pub(crate) mod offsets;
pub(crate) mod rows;
#[cfg_attr(not(test), expect(dead_code, reason = "the shards that hold groups come with the next part"))]
pub(crate) mod settings;
#[cfg_attr(not(test), expect(dead_code, reason = "the shards that hold groups come with the next part"))]
mod topics_view;
