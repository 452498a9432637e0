//! Tests of `cold`: what the cache keeps, and what it does not.

use metadata::MemoryStore;
use opendal::services::Memory;

use super::*;

fn reader(bytes_max: usize) -> ColdReader {
    let metadata = Arc::new(MemoryStore::new(uuid::Uuid::from_u128(7), || 0));
    let store = Operator::new(Memory::default()).expect("memory store");
    ColdReader::new(metadata, store, Arc::new(Metrics::default()), bytes_max, MemoryBudget::new(1 << 20))
}

/// Puts one batch into an object and says where it is.
async fn object(reader: &ColdReader, object_key: &str) -> RangeRow {
    let record = segment::NewRecord { key: None, value: Some(Bytes::new()), timestamp: 0, headers: Vec::new() };
    let batch = segment::encode_batch(&[record], None).expect("encodes");
    let header = RecordBatchHeader::parse(&batch).expect("parses");
    let organization = segment::OrganizationId::DEFAULT;
    let key = PartitionKey { organization, topic_id: segment::TopicId(uuid::Uuid::from_u128(1)), partition: 0 };
    let mut builder = segment::SegmentBuilder::new(segment::SegmentIdentity {
        cluster_id: uuid::Uuid::from_u128(7),
        organization,
        session: segment::SessionId(1),
        lane_sequence: 0,
        committed_through: -1,
        written_at: 0,
    });
    builder.begin_range(key, 0, String::new());
    let (placed, stored) = segment::place(&batch, &header, 0, 0, None);
    builder.push(placed, &stored);
    let mut finished = builder.finish();
    let range = finished.ranges.remove(0);
    reader.store.write(object_key, opendal::Buffer::from(finished.chunks)).await.expect("written");
    RangeRow {
        base_offset: 0,
        next_offset: 1,
        leader_epoch: 0,
        object_key: object_key.to_owned(),
        byte_start: i64::try_from(range.byte_start).expect("small"),
        byte_len: i64::try_from(range.byte_len).expect("small"),
        checksum: range.checksum,
        max_timestamp: 0,
    }
}

fn kept(reader: &ColdReader) -> (usize, usize, usize) {
    let cache = reader.ranges.lock();
    (cache.entries.len(), cache.order.len(), cache.used)
}

#[tokio::test]
async fn a_range_is_kept_and_its_bytes_are_counted() {
    let reader = reader(1 << 20);
    let row = object(&reader, "a").await;
    let first = reader.range(&row).await.expect("read");
    reader.store.delete("a").await.expect("deleted");
    assert!(Arc::ptr_eq(&first, &reader.range(&row).await.expect("from memory")));
    assert_eq!(kept(&reader), (1, 1, usize::try_from(row.byte_len).expect("small")));
}

#[tokio::test]
async fn a_read_that_fails_uses_up_nothing_and_is_tried_again() {
    let reader = reader(1 << 20);
    let row = object(&reader, "a").await;
    reader.store.delete("a").await.expect("deleted");
    assert!(matches!(reader.range(&row).await, Err(ColdError::Store(_))));
    assert_eq!(kept(&reader), (0, 0, 0));
    object(&reader, "a").await;
    assert_eq!(reader.range(&row).await.expect("read").len(), 1);
}

#[tokio::test]
async fn damaged_bytes_are_never_served_nor_kept() {
    let reader = reader(1 << 20);
    let row = object(&reader, "a").await;
    let damaged = RangeRow { checksum: row.checksum ^ 1, ..row };
    assert!(matches!(reader.range(&damaged).await, Err(ColdError::Damaged { .. })));
    assert_eq!(kept(&reader), (0, 0, 0));
}

#[tokio::test]
async fn a_reader_that_hangs_up_uses_up_nothing() {
    let reader = reader(1 << 20);
    let row = object(&reader, "a").await;
    let cell = reader.ranges.lock().insert((row.object_key.clone(), row.byte_start), 100, 1 << 20);
    assert_eq!(kept(&reader), (1, 1, 100));
    drop(Loading { cache: &reader.ranges, id: (row.object_key.clone(), row.byte_start), cell });
    assert_eq!(kept(&reader), (0, 0, 0));
}

#[tokio::test]
async fn the_oldest_range_goes_when_the_budget_is_full() {
    let reader = reader(0);
    let first = object(&reader, "a").await;
    let bytes = usize::try_from(first.byte_len).expect("small");
    let reader = ColdReader { bytes_max: 2 * bytes, ..reader };
    for object_key in ["a", "b", "c"] {
        let row = object(&reader, object_key).await;
        reader.range(&row).await.expect("read");
    }
    assert_eq!(kept(&reader), (2, 2, 2 * bytes));
    assert!(!reader.ranges.lock().entries.contains_key(&("a".to_owned(), first.byte_start)));
}

#[tokio::test]
async fn an_offset_that_no_range_holds_is_an_error_and_not_an_end() {
    let reader = reader(1 << 20);
    let organization = segment::OrganizationId::DEFAULT;
    let key = PartitionKey { organization, topic_id: segment::TopicId(uuid::Uuid::from_u128(1)), partition: 0 };
    let memory = reader.memory(100).await;
    assert!(matches!(reader.read(key, Vec::new(), 0, 10, 100, &memory).await, Err(ColdError::Store(_))));
}
