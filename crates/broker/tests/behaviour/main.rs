//! What a broker does when something goes wrong around it: commits whose reply is lost, stores that are away, clients
//! that hang up, restarts, take-overs, agents that are cut off, and topics that change while batches are in flight.
//!
//! Everything runs over the in-memory metadata model (or SQLite, where the file matters) and OpenDAL's memory service
//! behind a gate that a test closes or breaks.

mod ambiguous_commits;
mod append_rules;
mod breakdown;
mod cancellation;
mod catch_up;
mod cold_reads;
mod compaction;
mod crowds;
mod described;
mod fetching;
mod followed_compaction;
mod followers;
mod gated_store;
mod giving_up;
mod groups;
mod outages;
mod restart;
mod retention;
mod rewriting;
mod rig;
mod topic_changes;
