//! The one internal append API, in two stages so that a connection pipelines: `append` returns when the batch has its
//! place in line, `PendingAppend::acked` when it is durable.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use segment::{LeaderEpoch, Offset, OrganizationId, PartitionIndex, TimestampMs, TopicId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::limits::PRODUCE_TIMEOUT_MAX;
use crate::memory_budget::MemoryPermit;
use crate::metrics::Metrics;
use crate::writer::partition::Partition;
use crate::writer::partition_state::{Candidate, Placed};

/// One record batch for one partition.
#[derive(Debug)]
pub struct AppendRequest {
    /// The tenant.
    pub organization: OrganizationId,
    /// The topic, resolved once by the gateway.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// Exactly one magic-2 record batch, as it came from the client: untrusted.
    pub batch: Bytes,
    /// Whether the client's protocol version may send zstd (Kafka: Produce 7 and above).
    pub zstd_allowed: bool,
    /// Conditional append: refused unless the batch would get exactly this base offset.
    pub expected_base_offset: Option<Offset>,
    /// Memory the batch holds, given back once it is decided (shared by the batches of a request).
    pub permit: Option<Arc<MemoryPermit>>,
    /// After this long without a decision the answer is `TimedOut` (Kafka's request timeout).
    pub timeout: Duration,
}

/// A batch that has its place in line. Dropping it does not take the batch out again.
#[derive(Debug)]
pub struct PendingAppend {
    proposed_base_offset: Option<Offset>,
    answer: oneshot::Receiver<Result<Appended, AppendError>>,
    deadline: Instant,
    started: Instant,
    bytes: u64,
    /// Whether a batch of the partition was turned away lately.
    first_comes_again: bool,
    metrics: Arc<Metrics>,
}

impl PendingAppend {
    /// The offset the batch will have if its flush commits (for a duplicate: the offset it has). `None` when the
    /// decision waits for batches in flight.
    #[must_use]
    pub fn proposed_base_offset(&self) -> Option<Offset> {
        self.proposed_base_offset
    }

    /// Waits until the batch is durable, or definitely is not.
    ///
    /// # Errors
    /// As [`AppendError`] says.
    pub async fn acked(self) -> Result<Appended, AppendError> {
        let answered = match tokio::time::timeout_at(self.deadline, self.answer).await {
            Ok(Ok(answered)) => answered.map_err(|error| error.if_first_comes_again(self.first_comes_again)),
            // The lane ended without a word on this batch: what became of it cannot be said.
            Ok(Err(_)) => Err(AppendError::Unknown),
            Err(_) => Err(AppendError::TimedOut),
        };
        match &answered {
            Ok(_) => self.metrics.append_acked(self.started.elapsed().as_secs_f64(), self.bytes),
            Err(error) => self.metrics.append_rejected(error.code()),
        }
        answered
    }
}

impl Broker {
    /// Gives a batch its place in line. Calls for one partition get offsets in the order in which they return.
    ///
    /// # Errors
    /// As [`AppendError`] says; nothing was written. Errors that depend on batches in line come from `acked`.
    pub async fn append(&self, request: AppendRequest) -> Result<PendingAppend, AppendError> {
        let started = Instant::now();
        let placed = self.place(request, started).await;
        if let Err(error) = &placed {
            self.metrics().append_rejected(error.code());
        }
        placed
    }

    async fn place(&self, request: AppendRequest, started: Instant) -> Result<PendingAppend, AppendError> {
        let found = self.catalog().by_id(request.organization, request.topic_id).ok_or(AppendError::UnknownTopic)?;
        if !(0..found.topic.partition_count).contains(&request.partition) {
            return Err(AppendError::UnknownPartition);
        }
        if found.topic.is_internal() {
            return Err(AppendError::InternalTopic);
        }
        let Some(partition) = self.led(request.topic_id, request.partition) else {
            self.pool().turned_away.note(request.topic_id, request.partition);
            return Err(AppendError::NotLeader);
        };
        let deadline = started + request.timeout.min(PRODUCE_TIMEOUT_MAX);
        let bytes = request.batch.len() as u64;
        let checked =
            self.batch_check().check(request.batch, &found.log_config, request.zstd_allowed, self.now_ms()).await?;
        self.metrics().append(u64::try_from(checked.header.record_count).unwrap_or(0), bytes);
        let candidate = Box::new(Candidate {
            batch: checked.batch,
            header: self.known_by(checked.header),
            expected_base_offset: request.expected_base_offset,
            log_append_time: found.log_config.log_append_time,
            permit: request.permit,
        });
        let placed = self.pool().append(&partition, candidate, self.metadata(), self.clock(), deadline).await?;
        // Asked for those alone that may turn out to be out of order.
        let first_comes_again = || self.pool().turned_away.lately(request.topic_id, request.partition);
        let (proposed_base_offset, first_comes_again) = match placed.placed {
            Placed::InLine { base_offset, .. } => (Some(base_offset), false),
            Placed::Waits(base_offset) => (base_offset, first_comes_again()),
            Placed::Answered => (None, false),
            Placed::Refused(error) => {
                return Err(self.confirm_refusal(&partition, error.if_first_comes_again(first_comes_again())).await);
            }
        };
        Ok(PendingAppend {
            proposed_base_offset,
            answer: self.answer(proposed_base_offset, placed.answer),
            deadline,
            started,
            bytes,
            first_comes_again,
            metrics: Arc::clone(self.metrics_shared()),
        })
    }
}

impl Broker {
    /// A refusal that rests on what is committed, and on nothing in line that would prove the lease by its commit: only the
    /// confirmed leader may say it. A zombie that does makes an idempotent producer give up.
    async fn confirm_refusal(&self, partition: &Partition, error: AppendError) -> AppendError {
        let leader_epoch = partition.state.lock().leader_epoch();
        match self.confirm_leases(&[partition.key]).await {
            Ok(epochs) if epochs.first() == Some(&Some(leader_epoch)) => error,
            Ok(_) => AppendError::NotLeader,
            Err(_) => AppendError::Unavailable,
        }
    }
}

/// A durable batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record; of a duplicate, the offset it got the first time.
    pub base_offset: Offset,
    /// Set if the topic uses LogAppendTime.
    pub log_append_time: Option<TimestampMs>,
    /// First readable offset of the partition.
    pub log_start_offset: Offset,
    /// The producer had sent this batch before; nothing new was written.
    pub duplicate: bool,
    /// Where it is; `None` for a duplicate of a batch committed earlier than this agent remembers.
    pub receipt: Option<Receipt>,
}

/// Says where a durable batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Epoch it was written under.
    pub leader_epoch: LeaderEpoch,
    /// Object that holds it.
    pub object_key: std::sync::Arc<str>,
    /// The batch's own CRC32C as stored (covers everything after the CRC field).
    pub checksum: u32,
}

/// What is wrong with one record of a refused batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Position in the batch, from 0.
    pub index: i32,
    /// Why.
    pub message: String,
}

/// Why a batch was not appended, and what the caller should do. All but `Unknown` and `TimedOut` are definite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The topic does not exist (any more). Refresh metadata. Kafka 3, or 100 where the request names ids.
    #[error("unknown topic")]
    UnknownTopic,
    /// The topic has no such partition. Kafka 3.
    #[error("unknown partition")]
    UnknownPartition,
    /// What the topic would hold is written by coordinators alone. Kafka 17.
    #[error("records of internal topics are not for clients to write")]
    InternalTopic,
    /// This agent does not lead the partition, or lost it while the batch waited: definitely not written. Refresh and
    /// retry. Kafka 6.
    #[error("not the leader of the partition; refresh metadata and retry")]
    NotLeader,
    /// The object store gave the write up: definitely not written; retry. Kafka 6.
    #[error("the object store did not take the write; it was not written, retry")]
    StoreGaveUp,
    /// Length, magic or CRC of the batch are wrong. Kafka 2.
    #[error("corrupt batch: {0}")]
    Corrupt(String),
    /// The batch breaks a rule. Do not retry. Kafka 87.
    #[error("invalid record batch: {message}")]
    InvalidRecord {
        /// Which rule.
        message: String,
        /// Single records at fault, if known.
        record_errors: Vec<RecordError>,
    },
    /// A timestamp is outside what the topic allows. Kafka 32.
    #[error("invalid timestamp: {message}")]
    InvalidTimestamp {
        /// Which rule.
        message: String,
        /// Single records at fault.
        record_errors: Vec<RecordError>,
    },
    /// The batch is larger than `max.message.bytes`. Kafka 10.
    #[error("batch of {bytes} bytes is larger than max.message.bytes = {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The topic's bound.
        max: usize,
    },
    /// The batch unpacks to more than is read of one. Kafka 10, on which clients split the batch (Apache Kafka has no bound).
    #[error("the batch unpacks to more than {limit_bytes} bytes")]
    UnpacksTooLarge {
        /// The bound.
        limit_bytes: u64,
    },
    /// The codec is unknown, or not allowed for this protocol version. Kafka 76.
    #[error("unsupported compression type")]
    UnsupportedCompression,
    /// A newer epoch of this producer id has written. Stop this producer. Kafka 47.
    #[error("producer epoch is fenced by a newer one")]
    InvalidProducerEpoch,
    /// The sequence does not follow the last one. Kafka 45.
    #[error("out of order sequence: got {got}, expected {expected}")]
    OutOfOrderSequence {
        /// The batch's base sequence.
        got: i32,
        /// What would have followed.
        expected: i32,
    },
    /// Transactional batches are refused until transactions exist. Kafka 48.
    #[error("transactions are not supported yet")]
    TransactionalRefused,
    /// Conditional append: the partition's end is not the expected offset. gRPC FAILED_PRECONDITION.
    #[error("the partition ends at {end}, not at {expected}")]
    UnexpectedOffset {
        /// What the caller expected.
        expected: Offset,
        /// First offset after everything that has its place in line.
        end: Offset,
    },
    /// Undecided at the request's time-out. Kafka 7.
    #[error("timed out, the outcome is not known yet; retry")]
    TimedOut,
    /// The outcome is unknown and will stay so: close the connection without an answer.
    #[error("the outcome is unknown")]
    Unknown,
    /// The agent is shutting down: not written. Kafka 6, gRPC UNAVAILABLE.
    #[error("the agent is draining; use another")]
    Draining,
    /// The session is fenced or metadata is away: not written. Kafka 6, gRPC UNAVAILABLE.
    #[error("metadata store unavailable; not written, retry")]
    Unavailable,
}

impl AppendError {
    /// What is missing before this one may have been turned away a moment ago: then it comes again, and so must this one.
    fn if_first_comes_again(self, comes_again: bool) -> Self {
        match self {
            Self::OutOfOrderSequence { .. } if comes_again => Self::NotLeader,
            error => error,
        }
    }

    /// A short name for counting; one of a fixed set.
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownTopic => "unknown_topic",
            Self::UnknownPartition => "unknown_partition",
            Self::InternalTopic => "internal_topic",
            Self::NotLeader => "not_leader",
            Self::StoreGaveUp => "store_gave_up",
            Self::Corrupt(_) => "corrupt",
            Self::InvalidRecord { .. } => "invalid_record",
            Self::InvalidTimestamp { .. } => "invalid_timestamp",
            Self::TooLarge { .. } | Self::UnpacksTooLarge { .. } => "too_large",
            Self::UnsupportedCompression => "unsupported_compression",
            Self::InvalidProducerEpoch => "invalid_producer_epoch",
            Self::OutOfOrderSequence { .. } => "out_of_order_sequence",
            Self::TransactionalRefused => "transactional_refused",
            Self::UnexpectedOffset { .. } => "unexpected_offset",
            Self::TimedOut => "timed_out",
            Self::Unknown => "unknown",
            Self::Draining => "draining",
            Self::Unavailable => "unavailable",
        }
    }
}
