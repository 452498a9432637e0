//! Consumer groups: who is in them, who has which part of the work, and how far they came.
//!
//! A group's state is rows of the metadata store, under the lease of its partition of `__consumer_offsets`. What is in
//! [`api`] is asked by gateways; the states are pure (`classic`, `offsets`): they take the time as an argument, do no
//! I/O, and say by [`effects`] whom to answer and which rows to write.
//!
//! A question takes this way: [`coordinator`] (which one?) → [`shards`] (is it here?) → [`shard`] (one after the other) →
//! [`registry`] → [`group`]; its changes go through [`line`] to the [`journal`], and then its answer leaves.

pub mod api;
pub mod api_consumer;
pub(crate) mod classic;
mod config_admin;
pub(crate) mod configs;
mod confirmation;
pub(crate) mod consumer;
mod coordinator;
mod coordinator_consumer;
pub(crate) mod effects;
mod embedded;
mod group;
mod journal;
pub(crate) mod limits;
mod line;
mod migration;
pub(crate) mod offsets;
mod registry;
pub(crate) mod rows;
mod shard;
pub(crate) mod shards;
pub(crate) mod tally;
pub(crate) mod topics_view;

pub use consumer::{ConsumerBounds, ConsumerSettings};
pub use migration::MigrationPolicy;
