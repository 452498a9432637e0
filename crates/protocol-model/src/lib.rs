//! The protocol as small models, explored completely by `stateright`: one for each part that can go wrong by itself.
//!
//! Each rule of the protocol is a switch: with all of them no state breaks an invariant, and without any single one some state
//! does (`tests/refutations`). What the models share is how they see the world: a transaction is atomic, everything that was
//! sent may be applied later or never, every reply may be lost, and whoever believes to lead may be wrong at any moment.
//! docs/protocol-model.md says which code each rule stands for.

pub mod commits;
pub mod groups;
pub mod reads;
pub mod swaps;
pub mod topics;
