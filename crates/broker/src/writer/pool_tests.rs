//! Tests of `pool`: the lane hears of what waits.

use bytes::Bytes;
use futures::FutureExt as _;
use segment::{OrganizationId, RecordBatchHeader};
use tokio::sync::oneshot;

use super::*;

fn lease(index: PartitionIndex) -> LeaseRow {
    LeaseRow {
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
    }
}

fn partition(index: PartitionIndex) -> Arc<Partition> {
    Arc::new(Partition::new(&lease(index), Interrupted::default()))
}

fn batch() -> Bytes {
    let record = segment::NewRecord { key: None, value: None, timestamp: 1_000, headers: Vec::new() };
    segment::encode_batch(&[record], None).expect("encodes")
}

fn header() -> RecordBatchHeader {
    RecordBatchHeader::parse(&batch()).expect("parses")
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

#[test]
fn a_partition_with_something_in_line_is_not_let_go() {
    let pool = WriterPool::new(1 << 20, Duration::ZERO);
    pool.lead(&[lease(0), lease(1)]);
    let (answer, mut fate) = oneshot::channel();
    let candidate = Candidate {
        batch: batch(),
        header: header(),
        expected_base_offset: None,
        log_append_time: false,
        permit: None,
    };
    let busy = pool.partition(lease(0).key.topic_id, 0).expect("led");
    assert!(matches!(busy.state.lock().place(candidate, 1_000, answer), Placed::InLine { .. }));

    assert!(!pool.abandon_idle(lease(0).key, &AppendError::NotLeader));
    assert!(pool.abandon_idle(lease(1).key, &AppendError::NotLeader));
    assert_eq!(pool.partitions().iter().map(|partition| partition.key.partition).collect::<Vec<_>>(), [0]);
    assert!(fate.try_recv().is_err(), "the lane decides");
    pool.abandon(lease(0).key, &AppendError::NotLeader);
    assert_eq!(fate.try_recv(), Ok(Err(AppendError::NotLeader)));
    assert!(pool.partitions().is_empty());
}
