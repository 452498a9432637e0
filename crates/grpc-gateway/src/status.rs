//! Every way a call can fail, as one gRPC status each.
//!
//! A [`Failure`] is built from the broker's errors ([`AppendError`]) and the gateway's own ([`Refusal`]) by one exhaustive
//! match each, and is then sent as a status with trailing metadata (single calls) or as a message (`ProduceStream`).
//! The codes decide what generic clients retry: UNAVAILABLE and RESOURCE_EXHAUSTED always mean "not written", so a blind
//! retry is safe; DEADLINE_EXCEEDED and UNKNOWN mean "may have been written". docs/grpc.md lists them.

use std::time::Duration;

use broker::{Agent, AppendError, EncodeError, Offset, PartitionIndex, RecordError};
use tonic::{Code, Status, metadata::MetadataValue};

use crate::{limits, proto};

/// A failed request, before it is known how it will be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The status code, never OK.
    pub(crate) code: Code,
    /// Why, for programs.
    pub(crate) error: &'static str,
    /// Why and what to do, for people.
    pub(crate) message: String,
    /// The partition's end, where a conditional append failed.
    pub(crate) end_offset: Option<Offset>,
    /// How long to wait before a retry, where one makes sense.
    pub(crate) retry_after: Option<Duration>,
    /// `host:port` of the agent that leads the partition, where it is another one.
    pub(crate) leader_address: Option<String>,
}

/// What the gateway itself refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A field does not say what it must.
    #[error("{0}")]
    InvalidArgument(String),
    /// The organization is not known.
    #[error("unknown organization '{0}': create it first, or leave x-organization-id out for the default one")]
    UnknownOrganization(String),
    /// The topic is not known.
    #[error("unknown topic '{0}': create it first (gRPC never creates topics)")]
    UnknownTopic(String),
    /// The partition is not known.
    #[error("topic '{topic}' has {count} partitions, from 0; there is no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: u32,
        /// What there is.
        count: i32,
    },
    /// Transactions do not exist yet.
    #[error("{0}: transactions are not offered yet; use a producer without transactional_id and transaction_id")]
    Transactions(&'static str),
    /// The memory budget is used up.
    #[error("the agent has no memory left for this request; nothing was written, retry later or send smaller requests")]
    OutOfMemoryBudget,
    /// The connection stood still in the middle of a message.
    #[error("the message stood still for {0:?}; send it again")]
    Stalled(Duration),
    /// The agent ended the stream because it is shutting down.
    #[error("the agent is shutting down; reconnect, and send again what has no answer (it was not written)")]
    Draining,
}

impl Failure {
    fn new(code: Code, error: &'static str, message: impl Into<String>) -> Self {
        Self { code, error, message: message.into(), end_offset: None, retry_after: None, leader_address: None }
    }

    fn retriable(code: Code, error: &'static str, message: impl Into<String>) -> Self {
        Self { retry_after: Some(limits::RETRY_AFTER), ..Self::new(code, error, message) }
    }

    /// Says in the message that other partitions of the same request were written.
    pub(crate) fn after_writing(mut self, partitions: &[PartitionIndex]) -> Self {
        if !partitions.is_empty() {
            self.message = format!(
                "{}. Partitions {partitions:?} of this request were written; a retry writes them again",
                self.message
            );
        }
        self
    }

    /// Sends a client that came to the wrong agent to the right one.
    pub(crate) fn redirected(mut self, leader: &Agent) -> Self {
        self.code = Code::NotFound;
        self.message =
            format!("this agent does not lead the partition; nothing was written, send it to {}", leader.grpc_address);
        self.leader_address = Some(leader.grpc_address.clone());
        self
    }

    /// As the message that answers it on a stream.
    pub(crate) fn into_proto(self) -> proto::ProduceFailure {
        proto::ProduceFailure {
            code: self.code.into(),
            message: self.message,
            error: self.error.to_owned(),
            end_offset: self.end_offset.and_then(|offset| u64::try_from(offset).ok()),
            retry_after_ms: self.retry_after.and_then(|wait| u32::try_from(wait.as_millis()).ok()),
            leader_address: self.leader_address,
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut status = Self::new(failure.code, failure.message);
        let trailers = status.metadata_mut();
        trailers.insert("streamhouse-error", MetadataValue::from_static(failure.error));
        if let Some(end) = failure.end_offset {
            trailers.insert("streamhouse-end-offset", MetadataValue::from(end));
        }
        if let Some(leader) = failure.leader_address.and_then(|address| address.parse().ok()) {
            trailers.insert("streamhouse-leader-address", leader);
        }
        if let Some(wait) = failure.retry_after.and_then(|wait| u64::try_from(wait.as_millis()).ok()) {
            trailers.insert("grpc-retry-pushback-ms", MetadataValue::from(wait));
        }
        status
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Failure::from(refusal).into()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::InvalidArgument(_) => Self::new(Code::InvalidArgument, "INVALID_REQUEST", message),
            Refusal::UnknownOrganization(_) => Self::new(Code::NotFound, "UNKNOWN_ORGANIZATION", message),
            Refusal::UnknownTopic(_) | Refusal::UnknownPartition { .. } => {
                Self::new(Code::NotFound, "UNKNOWN_TOPIC_OR_PARTITION", message)
            }
            Refusal::Transactions(_) => Self::new(Code::Unimplemented, "TRANSACTIONS_NOT_SUPPORTED", message),
            Refusal::OutOfMemoryBudget => Self::retriable(Code::ResourceExhausted, "THROTTLED", message),
            Refusal::Stalled(_) => Self::new(Code::DeadlineExceeded, "REQUEST_STALLED", message),
            Refusal::Draining => Self::retriable(Code::Unavailable, "DRAINING", message),
        }
    }
}

impl From<EncodeError> for Failure {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Empty => Self::new(Code::InvalidArgument, "INVALID_REQUEST", "records must not be empty"),
            EncodeError::TooLarge => Self::new(
                Code::InvalidArgument,
                "MESSAGE_TOO_LARGE",
                format!("{error}: split the records over several requests (see the topic's max.message.bytes)"),
            ),
        }
    }
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Self {
        let message = error.to_string();
        match error {
            AppendError::UnknownTopic => Self::new(
                Code::NotFound,
                "UNKNOWN_TOPIC_OR_PARTITION",
                "the topic was deleted; create it again (gRPC never creates topics)",
            ),
            AppendError::UnknownPartition => {
                Self::new(Code::NotFound, "UNKNOWN_TOPIC_OR_PARTITION", "the topic has no such partition")
            }
            AppendError::InternalTopic => Self::new(Code::InvalidArgument, "INVALID_TOPIC_EXCEPTION", message),
            AppendError::NotLeader => Self::retriable(
                Code::Unavailable,
                "NOT_LEADER_OR_FOLLOWER",
                "this agent does not write the partition at the moment; nothing was written, retry",
            ),
            AppendError::StoreGaveUp => Self::retriable(Code::Unavailable, "STORE_UNAVAILABLE", message),
            AppendError::Unavailable => Self::retriable(Code::Unavailable, "METADATA_UNAVAILABLE", message),
            AppendError::Draining => Self::from(Refusal::Draining),
            AppendError::Corrupt(_) => Self::new(
                Code::Internal,
                "CORRUPT_MESSAGE",
                format!("{message}; this is a fault of the agent, report it"),
            ),
            AppendError::UnsupportedCompression => Self::new(
                Code::Internal,
                "UNSUPPORTED_COMPRESSION_TYPE",
                format!("{message}; this is a fault of the agent, report it"),
            ),
            AppendError::InvalidRecord { record_errors, .. } => {
                Self::new(Code::InvalidArgument, "INVALID_RECORD", name_records(&message, &record_errors))
            }
            AppendError::InvalidTimestamp { record_errors, .. } => {
                Self::new(Code::InvalidArgument, "INVALID_TIMESTAMP", name_records(&message, &record_errors))
            }
            AppendError::TooLarge { .. } | AppendError::UnpacksTooLarge { .. } => Self::new(
                Code::InvalidArgument,
                "MESSAGE_TOO_LARGE",
                format!("{message}: send fewer records in a request, or raise the topic's max.message.bytes"),
            ),
            AppendError::InvalidProducerEpoch => Self::new(
                Code::FailedPrecondition,
                "INVALID_PRODUCER_EPOCH",
                format!("{message}; stop this producer, or call InitProducer and start over at sequence 0"),
            ),
            AppendError::OutOfOrderSequence { .. } => Self::new(
                Code::FailedPrecondition,
                "OUT_OF_ORDER_SEQUENCE",
                format!("{message}; send the missing records first, or call InitProducer and start over at sequence 0"),
            ),
            AppendError::TransactionalRefused => Self::from(Refusal::Transactions("Produce")),
            AppendError::UnexpectedOffset { end, .. } => Self {
                end_offset: Some(end),
                ..Self::new(
                    Code::FailedPrecondition,
                    "UNEXPECTED_OFFSET",
                    format!("{message}; nothing was written, read up to {end} and decide again"),
                )
            },
            AppendError::TimedOut => Self::new(
                Code::DeadlineExceeded,
                "REQUEST_TIMED_OUT",
                "undecided within the request's time-out; it may still be written, retry with the same sequence",
            ),
            AppendError::Unknown => Self::new(
                Code::Unknown,
                "UNKNOWN_OUTCOME",
                "the outcome is unknown and stays so; it may have been written, retry with the same sequence",
            ),
        }
    }
}

/// Appends what is wrong with single records, the first ten of them.
fn name_records(message: &str, record_errors: &[RecordError]) -> String {
    let mut named = message.to_owned();
    for error in record_errors.iter().take(10) {
        named.push_str(&format!("; record {}: {}", error.index, error.message));
    }
    if record_errors.len() > 10 {
        named.push_str(&format!("; and {} more", record_errors.len() - 10));
    }
    named + ". Nothing of the request's batch was written; do not retry it as it is"
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
