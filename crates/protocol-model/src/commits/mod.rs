//! Sessions, leases, segment commits, hand-over and orphans.
//!
//! Agents with a memory of their own, one database whose transactions are atomic, one object store. A commit that was sent may
//! be applied at any later moment or never, and its reply may be lost; any session may be fenced at any moment by a peer that
//! guessed wrong; an agent may stop between any two steps, for ever or for a while. Garbage is collected at every moment,
//! without any grace.

mod model;
mod properties;
mod state;

pub use model::{Action, Bounds, Protocol, Rules};
pub use state::{Agent, Attempt, Fate, Led, Range, Reply, Row, Slot, State};
