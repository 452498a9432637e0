//! Tests of `pool`: the lane hears of what waits.

use futures::FutureExt as _;
use segment::{OrganizationId, RecordBatchHeader};

use super::*;

fn partition(index: PartitionIndex) -> Arc<Partition> {
    let lease = LeaseRow {
        key: PartitionKey {
            organization: OrganizationId::DEFAULT,
            topic_id: TopicId(uuid::Uuid::from_u128(1)),
            partition: index,
        },
        leader_epoch: 0,
        next_offset: 0,
        log_start_offset: 0,
        last_append_time: -1,
        last_object: String::new(),
        cleaned_offset: 0,
    };
    Arc::new(Partition::new(&lease, Interrupted::default()))
}

fn header() -> RecordBatchHeader {
    let record = segment::NewRecord { key: None, value: None, timestamp: 1_000, headers: Vec::new() };
    RecordBatchHeader::parse(&segment::encode_batch(&[record], None).expect("encodes")).expect("parses")
}

/// What the lane does with news, if there are any.
fn hears(pool: &WriterPool) -> bool {
    pool.changed.notified().now_or_never().is_some()
}

#[test]
fn the_lane_hears_of_the_first_partition_whatever_was_counted_before() {
    let pool = WriterPool::new(1 << 20, Duration::ZERO);
    pool.mark_dirty(partition(0));
    pool.pacing.arrives(&header());
    assert!(hears(&pool));
    assert_eq!(pool.take_dirty().len(), 1);
    // A batch that was gathered between its place and its count.
    pool.pacing.arrives(&header());
    assert!(!hears(&pool));
    pool.mark_dirty(partition(1));
    pool.pacing.arrives(&header());
    assert!(hears(&pool));
    pool.mark_dirty(partition(2));
    assert!(!hears(&pool), "the lane has planned when to flush");
}

#[test]
fn each_upload_in_flight_asks_for_more_unless_flushes_go_by_the_clock() {
    let at_once = WriterPool::new(1 << 20, Duration::ZERO);
    assert_eq!([0, 1, 3, 9].map(|uploads| at_once.enough(uploads)), [1 << 20, 2 << 20, 8 << 20, 8 << 20]);
    assert!(at_once.passes_a_bound((2 << 20) - 1, 2 << 20), "the lane hears of it");
    let by_the_clock = WriterPool::new(1 << 20, Duration::from_millis(100));
    assert_eq!(by_the_clock.enough(3), 1 << 20);
}
