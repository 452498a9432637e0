//! The protocol of sessions, leases and segment commits as a small model, explored completely by `stateright`.
//!
//! What is modelled: agents with a memory of their own, one database whose transactions are atomic, one object store. A
//! commit that was sent may be applied at any later moment or never, and its reply may be lost; any session may be
//! fenced at any moment by a peer that guessed wrong; an agent may stop between any two steps, for ever or for a while.
//! Garbage is collected at every moment, without any grace. Each rule of the protocol is a switch ([`Rules`]): with all
//! of them no state breaks an invariant, and without any single one some state does (`tests/refutations.rs`).
//! docs/protocol-model.md says which code each rule stands for.

mod model;
mod properties;
mod state;

pub use model::{Action, Bounds, Protocol, Rules};
pub use state::{Agent, Attempt, Fate, Led, Range, Reply, Row, Slot, State};
