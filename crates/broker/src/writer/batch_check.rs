//! What a batch from a client must be before it gets an offset: Kafka's rules for the header, the CRC, and one
//! bounded pass over its records. Work that would hold up a runtime worker is done off the workers, a few at
//! a time.

use std::sync::Arc;

use bytes::Bytes;
use segment::{BatchError, Compression, HeaderError, RecordBatchHeader, RecordCheckError, RecordRules, TimestampMs};
use tokio::sync::Semaphore;

use crate::append::{AppendError, RecordError};
use crate::aside::aside;
use crate::topic_config::LogConfig;

/// Uncompressed batches up to this size are checked on the worker, which has them in its cache: it takes less than a hop to another
/// thread and back, and never longer than the largest batch of a topic with Kafka's defaults.
const INLINE_BYTES_MAX: usize = crate::limits::MESSAGE_BYTES_DEFAULT;

/// A batch that may be written.
#[derive(Debug)]
pub(crate) struct CheckedBatch {
    pub(crate) batch: Bytes,
    pub(crate) header: RecordBatchHeader,
}

/// Checks batches.
#[derive(Debug)]
pub(crate) struct BatchCheck {
    at_once: Arc<Semaphore>,
}

impl BatchCheck {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { at_once: Arc::new(Semaphore::new(cores)) }
    }

    /// Checks one batch under the topic's rules.
    pub(crate) async fn check(
        &self,
        batch: Bytes,
        config: &LogConfig,
        zstd_allowed: bool,
        now: TimestampMs,
    ) -> Result<CheckedBatch, AppendError> {
        let header = check_header(&batch, config, zstd_allowed)?;
        let rules = rules(config, now);
        let compressed = header.compression() != Ok(Compression::None);
        if !compressed && batch.len() <= INLINE_BYTES_MAX {
            return check_body(batch, header, &rules);
        }
        let permit = Arc::clone(&self.at_once).acquire_owned().await;
        let checked = aside(move || {
            let _permit = permit;
            check_body(batch, header, &rules)
        });
        checked.await.unwrap_or_else(|panic| {
            tracing::error!(error = %panic, "the check of a batch ended with a panic");
            Err(AppendError::Corrupt("the batch could not be read".to_owned()))
        })
    }
}

fn check_header(batch: &[u8], config: &LogConfig, zstd_allowed: bool) -> Result<RecordBatchHeader, AppendError> {
    if batch.is_empty() {
        return Err(invalid("a partition takes exactly one record batch a request, there is none"));
    }
    let header = RecordBatchHeader::parse(batch).map_err(|error| match error {
        BatchError::Magic(0 | 1) => invalid(error),
        _ => AppendError::Corrupt(error.to_string()),
    })?;
    // Only a CRC that is right says that the client meant what it sent: damage on the way is for it to send again, as in Kafka.
    let damaged = || !segment::crc_matches(batch.get(..header.total_bytes()).unwrap_or_default());
    segment::check_header(&header, batch.len()).map_err(|error| match error {
        HeaderError::Truncated { .. } => AppendError::Corrupt(error.to_string()),
        _ if damaged() => AppendError::Corrupt("the CRC does not match".to_owned()),
        HeaderError::LogAppendTime => {
            AppendError::InvalidTimestamp { message: error.to_string(), record_errors: Vec::new() }
        }
        HeaderError::Compression(_) => AppendError::UnsupportedCompression,
        HeaderError::NotOneBatch { .. }
        | HeaderError::BaseOffset(_)
        | HeaderError::RecordCount(_)
        | HeaderError::LastOffsetDelta { .. }
        | HeaderError::ControlBatch
        | HeaderError::ReservedAttributes(_)
        | HeaderError::BaseSequence(_)
        | HeaderError::ProducerEpoch(_)
        | HeaderError::TransactionalWithoutProducer => invalid(error),
    })?;
    if header.is_transactional() {
        return Err(AppendError::TransactionalRefused);
    }
    if header.total_bytes() > config.max_message_bytes {
        return Err(AppendError::TooLarge { bytes: header.total_bytes(), max: config.max_message_bytes });
    }
    if !zstd_allowed && header.compression() == Ok(Compression::Zstd) {
        return Err(AppendError::UnsupportedCompression);
    }
    Ok(header)
}

fn rules(config: &LogConfig, now: TimestampMs) -> RecordRules {
    let mut rules = RecordRules { compacted: config.compacted, ..RecordRules::ANY };
    if !config.log_append_time {
        rules.timestamp_min = now.saturating_sub(config.timestamp_before_max_ms);
        rules.timestamp_max = now.saturating_add(config.timestamp_after_max_ms);
    }
    rules
}

fn check_body(batch: Bytes, header: RecordBatchHeader, rules: &RecordRules) -> Result<CheckedBatch, AppendError> {
    if !segment::crc_matches(&batch) {
        return Err(AppendError::Corrupt("the CRC does not match".to_owned()));
    }
    let checked = segment::check_records(&batch, &header, rules).map_err(|error| {
        let message = error.to_string();
        let named = |indexes: &[i32], why: &str| {
            indexes.iter().map(|index| RecordError { index: *index, message: why.to_owned() }).collect()
        };
        match &error {
            RecordCheckError::Malformed(_) => AppendError::InvalidRecord { message, record_errors: Vec::new() },
            RecordCheckError::TooLarge { limit_bytes } => AppendError::UnpacksTooLarge { limit_bytes: *limit_bytes },
            RecordCheckError::UnknownCompression => AppendError::UnsupportedCompression,
            RecordCheckError::NullKey { indexes } => AppendError::InvalidRecord {
                message,
                record_errors: named(indexes, "Compacted topic cannot accept message without key."),
            },
            RecordCheckError::Timestamp { indexes, .. } => AppendError::InvalidTimestamp {
                message,
                record_errors: named(indexes, "Timestamp is outside the range the topic allows."),
            },
        }
    })?;
    // As Kafka does: the batch's greatest timestamp is what its records say, whatever the client wrote.
    Ok(CheckedBatch { batch, header: RecordBatchHeader { max_timestamp: checked.max_timestamp, ..header } })
}

fn invalid(why: impl ToString) -> AppendError {
    AppendError::InvalidRecord { message: why.to_string(), record_errors: Vec::new() }
}
