//! The life of a topic: made, deleted, and made again under its name, while agents, producers and administrators still go by
//! what was.
//!
//! Agents learn of changes by asking what changed since the version they know. Producers send by name, or by the id they
//! learnt; commits, deletions and creations that were sent happen at any later moment or never. Each topic has one partition, and each
//! value an object of its own; how an object is shared is another model's (`swaps`).

mod model;
mod properties;
mod state;

pub use model::{Action, Bounds, Rules, Topics};
pub use state::{Agent, Attempt, Change, Fate, Object, Request, State, Topic, Transaction};
