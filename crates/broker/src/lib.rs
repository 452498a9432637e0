//! Everything a client can ask, behind one API with two front ends.
//!
//! A gateway translates wire to domain and back; the behaviour is here. The produce path is `append` →
//! `writer/pool` → `writer/partition_state` → `writer/flush`; the fetch path is `fetch` → `reader/tail` or `reader/cold`. See ARCHITECTURE.md.

mod active_producers;
mod append;
mod aside;
mod broker;
mod cache;
mod catalog;
mod change_count;
mod clock;
mod cluster;
pub mod costs;
mod fetch;
pub mod groups;
pub mod limits;
mod list_offsets;
mod maintenance;
mod memory_budget;
mod metrics;
mod producer_ids;
mod reader;
mod replica;
mod seeded_bugs;
mod session;
mod settings;
mod shared;
mod topic_config;
mod topics;
mod waiters;
mod writer;

pub use active_producers::ActiveProducer;
pub use append::{AppendError, AppendRequest, Appended, PendingAppend, Receipt, RecordError};
pub use broker::{Broker, StartError};
pub use cache::CacheSettings;
pub use change_count::ChangesSeen;
pub use clock::TimeSource;
pub use cluster::{Agent, Cluster};
pub use fetch::{DivergingEpoch, FetchError, FetchPartition, FetchRequest, Fetched, FetchedPartition, IsolationLevel};
pub use list_offsets::{ListOffsetsPartition, ListedOffset, OffsetError, OffsetSpec};
pub use maintenance::{DeleteRecordsError, LOG_DIR};
pub use memory_budget::{MemoryBudget, MemoryPermit};
pub use metrics::{FrontEnd, Metrics};
pub use replica::{Feed, PartitionId, Progress};
#[doc(hidden)]
pub use seeded_bugs::SeededBug;
pub use settings::{BrokerSettings, ConsumerBounds, ConsumerSettings, GroupSettings, MigrationPolicy, StopPoint};
pub use topic_config::{ConfigChange, ConfigChanges};
pub use topics::{ConfigEntry, ConfigSource, ConfigSynonym, ConfigType, CreateTopic, PartitionView, Topic, TopicError};
// What a gateway needs of the layers below; it never imports them.
pub use metadata::RangeRow;
pub use segment::encode::{EncodeError, NewRecord, encode_batch};
pub use segment::{
    LeaderEpoch, Offset, OrganizationId, PartitionIndex, ProducerEpoch, ProducerId, SessionId, TimestampMs, TopicId,
};
