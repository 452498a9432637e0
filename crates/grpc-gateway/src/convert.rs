//! From the wire to the domain: a `ProduceRequest` becomes a [`Plan`], the record batches it asks for.
//!
//! Pure functions: time, partition count and the partitioner come in as arguments. Everything that can be refused without
//! asking the broker is refused here, before anything is written.

use std::time::Duration;

use broker::{NewRecord, Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs};

use crate::{
    limits,
    partitioner::{RoundRobin, partition_for_key},
    proto::{AckMode, ProduceRequest, Record},
    status::Refusal,
};

/// When a request is answered: `AckMode` without its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    /// When it is durable.
    Durable,
    /// When it has its place in line, without an offset.
    None,
    /// When it has its place in line, with the offset proposed.
    Buffered,
}

/// What a request says beside its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Idempotent producer: id, epoch, base sequence.
    pub(crate) producer: Option<(ProducerId, ProducerEpoch, i32)>,
    /// Conditional append.
    pub(crate) expected_base_offset: Option<Offset>,
    /// When to answer.
    pub(crate) ack: Ack,
    /// How long the write may take, as the message says.
    pub(crate) timeout: Option<Duration>,
}

/// The records of a request that go to one partition, in request order; never empty.
#[derive(Debug)]
pub(crate) struct Share {
    /// The partition.
    pub(crate) partition: PartitionIndex,
    /// Its records.
    pub(crate) records: Vec<NewRecord>,
}

/// Reads everything but topic, partition and records.
///
/// # Errors
/// `InvalidArgument` for fields that contradict their meaning, `Transactions` for a transaction id.
pub(crate) fn terms(request: &ProduceRequest) -> Result<Terms, Refusal> {
    if request.transaction_id.is_some() {
        return Err(Refusal::Transactions("transaction_id"));
    }
    if request.records.is_empty() {
        return Err(Refusal::InvalidArgument("records must not be empty".to_owned()));
    }
    if request.partition_by_key && request.partition != 0 {
        return Err(Refusal::InvalidArgument("give a partition or set partition_by_key, not both".to_owned()));
    }
    let ack = match AckMode::try_from(request.ack_mode) {
        Ok(AckMode::AckDefault | AckMode::AckDurable) => Ack::Durable,
        Ok(AckMode::AckNone) => Ack::None,
        Ok(AckMode::AckBuffered) => Ack::Buffered,
        Err(_) => {
            let unknown = request.ack_mode;
            return Err(Refusal::InvalidArgument(format!("ack_mode {unknown} is unknown: 0 to 3 are defined")));
        }
    };
    let expected_base_offset = request
        .expected_base_offset
        .map(|offset| Offset::try_from(offset).map_err(|_| too_big("expected_base_offset")))
        .transpose()?;
    Ok(Terms { producer: producer(request)?, expected_base_offset, ack, timeout: timeout(request.timeout_ms)? })
}

fn timeout(timeout_ms: Option<u32>) -> Result<Option<Duration>, Refusal> {
    let max = broker::limits::PRODUCE_TIMEOUT_MAX;
    match timeout_ms.map(|ms| Duration::from_millis(ms.into())) {
        Some(timeout) if timeout.is_zero() || timeout > max => {
            Err(Refusal::InvalidArgument(format!("timeout_ms must be 1 to {}", max.as_millis())))
        }
        timeout => Ok(timeout),
    }
}

fn producer(request: &ProduceRequest) -> Result<Option<(ProducerId, ProducerEpoch, i32)>, Refusal> {
    match (request.producer_id.as_deref(), request.producer_epoch, request.base_sequence) {
        (None, None, None) => Ok(None),
        (Some(id), Some(epoch), Some(sequence)) => {
            Ok(Some((producer_id(id)?, producer_epoch(epoch)?, wrap_sequence(sequence)?)))
        }
        _ => Err(Refusal::InvalidArgument(
            "producer_id, producer_epoch and base_sequence go together: give all three, or none to write without \
             duplicate detection"
                .to_owned(),
        )),
    }
}

/// Kafka's producer id from its decimal.
pub(crate) fn producer_id(decimal: &str) -> Result<ProducerId, Refusal> {
    let id =
        decimal.parse::<ProducerId>().ok().filter(|id| *id >= 0 && decimal.bytes().all(|byte| byte.is_ascii_digit()));
    id.ok_or_else(|| Refusal::InvalidArgument("producer_id must be the decimal that InitProducer answered".to_owned()))
}

/// Kafka's 16-bit producer epoch.
pub(crate) fn producer_epoch(epoch: u32) -> Result<ProducerEpoch, Refusal> {
    ProducerEpoch::try_from(epoch)
        .map_err(|_| Refusal::InvalidArgument(format!("producer_epoch must be 0 to {}", ProducerEpoch::MAX)))
}

/// Kafka's sequences have 31 bits and wrap to 0 (`DefaultRecordBatch.incrementSequence`).
fn wrap_sequence(sequence: i64) -> Result<i32, Refusal> {
    if sequence < 0 {
        return Err(Refusal::InvalidArgument("base_sequence must not be negative".to_owned()));
    }
    i32::try_from(sequence & i64::from(i32::MAX)).map_err(|_| too_big("base_sequence"))
}

fn too_big(field: &str) -> Refusal {
    Refusal::InvalidArgument(format!("{field} must not be above {}", i64::MAX))
}

/// What the request weighs decoded, beside the bytes of its message.
pub(crate) fn decoded_bytes(request: &ProduceRequest) -> usize {
    let headers: usize = request.records.iter().map(|record| record.headers.len() + record.ordered_headers.len()).sum();
    request.records.len() * limits::DECODED_RECORD_BYTES + headers * limits::DECODED_HEADER_BYTES
}

/// At least what the request's batches weigh encoded: lengths and numbers are counted at their largest.
pub(crate) fn encoded_bytes(request: &ProduceRequest) -> usize {
    const BATCH_HEADER_BYTES: usize = 61;
    const RECORD_FRAME_BYTES: usize = 36;
    const HEADER_FRAME_BYTES: usize = 10;
    let record = |record: &Record| {
        let named: usize = record.headers.iter().map(|(k, v)| k.len() + v.len() + HEADER_FRAME_BYTES).sum();
        let ordered: usize = (record.ordered_headers.iter())
            .map(|header| header.key.len() + header.value.as_ref().map_or(0, |v| v.len()) + HEADER_FRAME_BYTES)
            .sum();
        RECORD_FRAME_BYTES + record.key.as_ref().map_or(0, |k| k.len()) + record.value.len() + named + ordered
    };
    BATCH_HEADER_BYTES + request.records.iter().map(record).sum::<usize>()
}

/// Gives each record its partition and makes it a record of the log. `now` stands in for timestamps that are not set.
/// Shares are in the order in which the records first name their partitions.
///
/// # Errors
/// `UnknownPartition`; `InvalidArgument` for a bad record, and for keys that spread over partitions what must stay on
/// one: a producer's sequences and an expected offset are per partition.
pub(crate) fn shares(
    request: ProduceRequest,
    terms: &Terms,
    partition_count: i32,
    round_robin: &RoundRobin,
    now: TimestampMs,
) -> Result<Vec<Share>, Refusal> {
    if !request.partition_by_key {
        let partition = PartitionIndex::try_from(request.partition).ok().filter(|index| *index < partition_count);
        let partition = partition.ok_or_else(|| Refusal::UnknownPartition {
            topic: request.topic.clone(),
            partition: request.partition,
            count: partition_count,
        })?;
        let records = (request.records.into_iter().enumerate())
            .map(|(index, record)| new_record(index, record, now))
            .collect::<Result<_, _>>()?;
        return Ok(vec![Share { partition, records }]);
    }
    let shares = shares_by_key(request.records, partition_count, round_robin, now)?;
    if shares.len() > 1 && (terms.producer.is_some() || terms.expected_base_offset.is_some()) {
        return Err(Refusal::InvalidArgument(
            "the keys spread over several partitions, but sequences and expected_base_offset are per partition: send \
             one request for each partition, or leave them out"
                .to_owned(),
        ));
    }
    Ok(shares)
}

fn shares_by_key(
    records: Vec<Record>,
    partition_count: i32,
    round_robin: &RoundRobin,
    now: TimestampMs,
) -> Result<Vec<Share>, Refusal> {
    let mut without_key = None;
    let mut shares: Vec<Share> = Vec::new();
    let mut position_of = std::collections::HashMap::new();
    for (index, record) in records.into_iter().enumerate() {
        let partition = match &record.key {
            Some(key) => partition_for_key(key, partition_count),
            None => *without_key.get_or_insert_with(|| round_robin.next(partition_count)),
        };
        let position = *position_of.entry(partition).or_insert(shares.len());
        if position == shares.len() {
            shares.push(Share { partition, records: Vec::new() });
        }
        shares[position].records.push(new_record(index, record, now)?);
    }
    Ok(shares)
}

fn new_record(index: usize, record: Record, now: TimestampMs) -> Result<NewRecord, Refusal> {
    if record.null_value && !record.value.is_empty() {
        return Err(Refusal::InvalidArgument(format!("record {index}: null_value is set, so value must be empty")));
    }
    let timestamp = match record.timestamp {
        0 => now,
        ms => TimestampMs::try_from(ms)
            .map_err(|_| Refusal::InvalidArgument(format!("record {index}: timestamp is not in milliseconds")))?,
    };
    // The map iterates in the order of its keys, so equal requests make equal batches.
    let named = record.headers.into_iter().map(|(name, value)| (name, Some(value)));
    let ordered = record.ordered_headers.into_iter().map(|header| (header.key, header.value));
    Ok(NewRecord {
        key: record.key,
        value: (!record.null_value).then_some(record.value),
        timestamp,
        headers: named.chain(ordered).collect(),
    })
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
