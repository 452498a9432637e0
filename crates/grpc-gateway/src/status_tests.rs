//! Every error has its status, and every status says what to do.

use super::*;

fn status(error: AppendError) -> Status {
    Failure::from(error).into()
}

#[test]
fn every_append_error_has_the_documented_code() {
    let invalid = |message: &str| AppendError::InvalidRecord { message: message.into(), record_errors: vec![] };
    let table = [
        (AppendError::UnknownTopic, Code::NotFound),
        (AppendError::UnknownPartition, Code::NotFound),
        (AppendError::InternalTopic, Code::InvalidArgument),
        (AppendError::NotLeader, Code::Unavailable),
        (AppendError::StoreGaveUp, Code::Unavailable),
        (AppendError::Unavailable, Code::Unavailable),
        (AppendError::Draining, Code::Unavailable),
        (AppendError::Corrupt("crc".into()), Code::Internal),
        (AppendError::UnsupportedCompression, Code::Internal),
        (invalid("a key is missing"), Code::InvalidArgument),
        (AppendError::InvalidTimestamp { message: "old".into(), record_errors: vec![] }, Code::InvalidArgument),
        (AppendError::TooLarge { bytes: 2, max: 1 }, Code::InvalidArgument),
        (AppendError::InvalidProducerEpoch, Code::FailedPrecondition),
        (AppendError::OutOfOrderSequence { got: 5, expected: 3 }, Code::FailedPrecondition),
        (AppendError::UnexpectedOffset { expected: 1, end: 2 }, Code::FailedPrecondition),
        (AppendError::TransactionalRefused, Code::Unimplemented),
        (AppendError::TimedOut, Code::DeadlineExceeded),
        (AppendError::Unknown, Code::Unknown),
    ];
    for (error, code) in table {
        let failure = Failure::from(error.clone());
        assert_eq!(failure.code, code, "{error:?}");
        assert!(failure.message.len() > 20, "{error:?} says too little: {}", failure.message);
        // A pushback invites generic clients to retry: only where nothing was written.
        let retriable = matches!(code, Code::Unavailable | Code::ResourceExhausted);
        assert_eq!(failure.retry_after.is_some(), retriable, "{error:?}");
    }
}

#[test]
fn a_failed_conditional_append_carries_the_end() {
    let status = status(AppendError::UnexpectedOffset { expected: 7, end: 42 });
    assert_eq!(status.metadata().get("streamhouse-end-offset").unwrap(), "42");
    assert_eq!(status.metadata().get("streamhouse-error").unwrap(), "UNEXPECTED_OFFSET");
    let failure = Failure::from(AppendError::UnexpectedOffset { expected: 7, end: 42 }).into_proto();
    assert_eq!((failure.code, failure.end_offset), (9, Some(42)));
}

#[test]
fn the_two_failed_preconditions_of_a_producer_can_be_told_apart() {
    let fenced = status(AppendError::InvalidProducerEpoch);
    let gap = status(AppendError::OutOfOrderSequence { got: 5, expected: 3 });
    assert_eq!(fenced.metadata().get("streamhouse-error").unwrap(), "INVALID_PRODUCER_EPOCH");
    assert_eq!(gap.metadata().get("streamhouse-error").unwrap(), "OUT_OF_ORDER_SEQUENCE");
    assert!(gap.message().contains("got 5, expected 3"), "{}", gap.message());
}

#[test]
fn too_large_names_the_setting() {
    assert!(status(AppendError::TooLarge { bytes: 2, max: 1 }).message().contains("max.message.bytes"));
}

#[test]
fn bad_records_are_named_but_not_without_bound() {
    let record_errors = (0..1_000).map(|index| RecordError { index, message: "no key".into() }).collect();
    let status = status(AppendError::InvalidRecord { message: "compacted".into(), record_errors });
    assert!(status.message().contains("record 9: no key"), "{}", status.message());
    assert!(status.message().contains("and 990 more"), "{}", status.message());
    assert!(status.message().len() < 1_000);
}

#[test]
fn back_pressure_says_when_to_come_back() {
    let status = Status::from(Refusal::OutOfMemoryBudget);
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "100");
}
