//! The metadata store: the truth about topics, leases, segments, producers and what coordinators know.
//!
//! Every method of the traits below is one transaction, named in the domain's words; it either happened
//! (`Ok`), definitely did not happen (any error but [`StoreError::Unknown`]), or its outcome is open. SQLite,
//! PostgreSQL and a small in-memory model implement them and pass one conformance suite ([`conformance`]).

pub mod conformance;
mod coordinators;
mod error;
mod log_changes;
mod memory;
mod postgres;
mod seeded_bugs;
mod segments;
mod sessions;
mod sqlite;
mod topics;

pub use coordinators::{
    COORDINATOR_CHANGES_MAX, COORDINATOR_KEY_BYTES_MAX, CoordinatorChange, CoordinatorKey, CoordinatorOutcome,
    CoordinatorRow, CoordinatorWrite, Coordinators,
};
pub use error::StoreError;
pub use log_changes::{
    CleanedLog, LogChangeOutcome, LogChanges, LogStartMove, NewRange, RangesReplacement, SegmentRewrite, SnapshotAt,
};
pub use memory::{FailPoint, MemoryStore};
pub use postgres::{PostgresOpenError, PostgresOptions, PostgresStore};
#[doc(hidden)]
pub use seeded_bugs::SeededBug;
pub use segments::{
    Claim, CommitOutcome, CommittedRange, FoundObject, LastSegment, ProducerHistory, RangeCommit, RangeOutcome,
    RangeRow, Resolution, SegmentCommit, SegmentRef, Segments,
};
pub use sessions::{
    AgentRow, Changes, ClusterInfo, LaneReport, LeaseHolder, LeaseRow, OpenedSession, Registration, Sessions,
};
pub use sqlite::{OpenError, SqliteOptions, SqliteStore};
pub use topics::{
    AlterTopicConfigsError, CreatePartitionsError, CreateTopicError, DeleteTopicError, NewTopic, TopicRow, Topics,
};

/// Producer-state snapshots kept per partition: the newest, and one to fall back on.
const SNAPSHOTS_KEPT: usize = 2;

/// How long a deletion is told to agents that ask for changes; one that asked none for so long was fenced long ago, and
/// starts from everything.
const DELETIONS_TOLD_FOR_MS: i64 = 86_400_000;

/// All of metadata, as the broker holds it.
pub trait MetadataStore: Topics + Sessions + Segments + LogChanges + Coordinators {}

impl<T: Topics + Sessions + Segments + LogChanges + Coordinators> MetadataStore for T {}
