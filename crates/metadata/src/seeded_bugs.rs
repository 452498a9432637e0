//! Bugs that a test puts into a store, one at a time, to prove that they would be seen (docs/simulation.md).
//!
//! A store has none unless it was made with one, and nothing that an agent is told makes it so.

/// A rule that is left out.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeededBug {
    /// A segment commit compares neither session nor leader epoch: one that was fenced goes on (in-memory model).
    NoEpochCheck,
    /// A lost reply is settled by looking for the segment, without a tombstone in its place (in-memory model).
    LookUpInsteadOfTombstone,
    /// Garbage is what has no row, without a tombstone in its place (in-memory model).
    GarbageWithoutClaim,
    /// A transaction runs in its caller, on a connection that goes to the next one: who hangs up leaves it open (PostgreSQL).
    CancelledBegin,
}
