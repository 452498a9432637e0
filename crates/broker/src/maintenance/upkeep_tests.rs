//! Tests of `upkeep`: when it is worth reading a partition's rows, and when not.

use segment::{OrganizationId, PartitionKey, TopicId};

use super::*;

fn lease(log_start_offset: Offset, next_offset: Offset) -> LeaseRow {
    let topic_id = TopicId(uuid::Uuid::from_u128(1));
    let key = PartitionKey { organization: OrganizationId::DEFAULT, topic_id, partition: 0 };
    let last_object = String::new();
    LeaseRow {
        key,
        leader_epoch: 0,
        next_offset,
        log_start_offset,
        last_append_time: -1,
        last_object,
        cleaned_offset: 0,
    }
}

fn commit(upkeep: &mut Upkeep, bytes: i64, timestamp: TimestampMs) {
    upkeep.committed(&RangeCommit {
        key: lease(0, 0).key,
        leader_epoch: 0,
        base_offset: 0,
        next_offset: 1,
        byte_start: 0,
        byte_len: bytes,
        checksum: 0,
        max_timestamp: timestamp,
        append_time: 0,
        producers: bytes::Bytes::new(),
        snapshot: None,
    });
}

const KEPT: Retention = Retention { deletes: true, age_max_ms: Some(1_000), bytes_max: Some(100) };

#[test]
fn an_empty_log_is_not_read_and_what_is_committed_first_is_its_oldest() {
    let mut upkeep = Upkeep::new(&lease(7, 7));
    assert!(!upkeep.may_expire(KEPT, 1_000_000));
    commit(&mut upkeep, 60, 500);
    commit(&mut upkeep, 60, 9_000);
    assert!(!upkeep.may_expire(KEPT, 1_500), "neither older than a second, nor is the rest 100 bytes");
    assert!(upkeep.may_expire(KEPT, 1_501));
    commit(&mut upkeep, 40, 9_000);
    assert!(upkeep.may_expire(KEPT, 0), "100 bytes are left without it");
    upkeep.oldest_is(Oldest::Range { timestamp: 9_000, bytes: 60 }, 60);
    assert!(!upkeep.may_expire(KEPT, 10_000));
    assert!(upkeep.may_expire(KEPT, 10_001));
}

#[test]
fn a_log_that_a_former_leader_left_is_read_once() {
    let mut upkeep = Upkeep::new(&lease(0, 7));
    assert!(upkeep.may_expire(KEPT, 0));
    upkeep.oldest_is(Oldest::Range { timestamp: 5_000, bytes: 10 }, 0);
    assert!(upkeep.may_expire(KEPT, 0), "its bytes are not counted yet");
    commit(&mut upkeep, 20, 0);
    let begun = upkeep.committed_bytes();
    commit(&mut upkeep, 30, 0);
    upkeep.counted(40, begun);
    assert_eq!(upkeep.log_bytes(), Some(70));
    assert!(!upkeep.may_expire(KEPT, 0));
    upkeep.forget_log();
    assert!(upkeep.may_expire(KEPT, 0));
}

#[test]
fn a_range_without_a_time_counts_from_when_it_was_seen() {
    let row = |max_timestamp| RangeRow {
        base_offset: 0,
        next_offset: 1,
        leader_epoch: 0,
        object_key: String::new(),
        byte_start: 0,
        byte_len: 10,
        checksum: 0,
        max_timestamp,
        object_bytes: 0,
    };
    assert_eq!(Oldest::of(&[], 7), Oldest::Nothing);
    assert_eq!(Oldest::of(&[row(-1)], 7), Oldest::Range { timestamp: 7, bytes: 10 });
    assert_eq!(Oldest::of(&[row(-1), row(3)], 7), Oldest::Range { timestamp: 3, bytes: 10 });
}

const AGE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn enough_bytes_are_rewritten_once_they_are_old_enough() {
    let mut upkeep = Upkeep::new(&lease(0, 0));
    let now = Instant::now();
    commit(&mut upkeep, 600_000, 0);
    commit(&mut upkeep, 3 << 20, 0);
    assert_eq!(upkeep.rewrite_due(now, 1, 1 << 20, AGE), None, "large ranges do not count");
    commit(&mut upkeep, 600_000, 0);
    assert_eq!(upkeep.rewrite_due(now, 2, 1 << 20, AGE), None, "too young");
    commit(&mut upkeep, 600_000, 0);
    assert_eq!(upkeep.rewrite_due(now + AGE, 3, 1 << 20, AGE), Some((0, 2)), "what was there then");
    upkeep.looked(2, true);
    assert_eq!(upkeep.rewrite_due(now + AGE, 3, 1 << 20, AGE), None);
    commit(&mut upkeep, 600_000, 0);
    assert_eq!(upkeep.rewrite_due(now + AGE, 4, 1 << 20, AGE), None);
    assert_eq!(upkeep.rewrite_due(now + 2 * AGE, 4, 1 << 20, AGE), Some((2, 4)));
}

#[tokio::test(start_paused = true)]
async fn many_rows_of_a_slow_partition_wait_longer() {
    let mut upkeep = Upkeep::new(&lease(0, 0));
    let now = Instant::now();
    (0..ROWS_MIN).for_each(|_| commit(&mut upkeep, 10, 0));
    assert_eq!(upkeep.rewrite_due(now, 9, 1 << 20, AGE), None);
    assert_eq!(upkeep.rewrite_due(now + 5 * AGE, 9, 1 << 20, AGE), None);
    assert_eq!(upkeep.rewrite_due(now + 6 * AGE, 9, 1 << 20, AGE), None, "due, and as old as others from then on");
    assert_eq!(upkeep.rewrite_due(now + 7 * AGE, 12, 1 << 20, AGE), Some((0, 9)));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_looks_at_what_is_there() {
    let mut upkeep = Upkeep::new(&lease(3, 9));
    let now = Instant::now();
    assert_eq!(upkeep.rewrite_due(now, 9, 1 << 20, Duration::ZERO), Some((3, 9)));
    upkeep.looked(6, false);
    assert_eq!(upkeep.rewrite_due(now, 12, 1 << 20, Duration::ZERO), Some((6, 9)), "in several looks");
    upkeep.looked(8, true);
    assert_eq!(upkeep.rewrite_due(now, 12, 1 << 20, Duration::ZERO), None);
}

#[test]
fn a_log_that_is_compacted_is_smaller_and_not_rewritten_meanwhile() {
    let mut upkeep = Upkeep::new(&lease(0, 0));
    let (now, age) = (Instant::now(), Duration::ZERO);
    commit(&mut upkeep, 60, 500);
    commit(&mut upkeep, 60, 900);
    upkeep.replaced(60, 60);
    assert!(!upkeep.may_expire(KEPT, 1_500), "a rewrite changes nothing");
    upkeep.replaced(60, 10);
    assert_eq!((upkeep.log_bytes(), upkeep.compacted_bytes()), (Some(70), 50));
    assert!(upkeep.may_expire(KEPT, 1_500), "what is oldest is not known");
    upkeep.dirt.is_being_cleaned = true;
    assert_eq!(upkeep.rewrite_due(now, 2, 1, age), None);
    upkeep.dirt.is_being_cleaned = false;
    assert_eq!(upkeep.rewrite_due(now, 2, 1, age), Some((0, 2)));
    upkeep.looked(2, true);
    assert_eq!(upkeep.rewrite_due(now, 2, 1, age), None);
    upkeep.left_small(1, 1, 10);
    assert_eq!(upkeep.rewrite_due(now, 2, 1, age), Some((1, 2)), "what compaction left is looked at again");
}
