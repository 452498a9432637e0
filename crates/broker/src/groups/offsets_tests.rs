//! Commits, fetches, deletions and expiry.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::groups::api::OffsetToCommit;

const DAY: TimestampMs = 24 * 60 * 60 * 1000;
const WEEK: TimestampMs = 7 * DAY;

fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn at(timestamp: TimestampMs) -> Now {
    Now { instant: Instant::now(), timestamp }
}

fn request(offsets: &[(TopicId, PartitionIndex, Offset)], retention: Option<Duration>) -> OffsetCommit {
    let partition = |(topic_id, partition, offset): &(TopicId, PartitionIndex, Offset)| OffsetToCommit {
        topic_id: *topic_id,
        partition: *partition,
        offset: *offset,
        leader_epoch: 7,
        metadata: "here".into(),
    };
    OffsetCommit {
        group_id: "group".into(),
        generation_id_or_member_epoch: -1,
        member_id: String::new(),
        group_instance_id: None,
        retention,
        knows_new_errors: true,
        partitions: offsets.iter().map(partition).collect(),
    }
}

/// Commits at that time and returns what is written.
fn commit(offsets: &mut Offsets, now: TimestampMs, committed: &[(TopicId, PartitionIndex, Offset)]) -> Effects {
    let mut effects = Effects::default();
    let outcomes = offsets.commit(at(now), request(committed, None), &mut effects).expect("a small request");
    assert!(outcomes.iter().all(|outcome| outcome.error.is_none()));
    effects
}

fn expire(offsets: &mut Offsets, now: TimestampMs, expiry: OffsetExpiry, read: &[TopicId]) -> usize {
    let mut effects = Effects::default();
    offsets.expire("group", now, expiry, WEEK, |topic_id| read.contains(&topic_id), &mut effects);
    assert!(effects.changes.iter().all(|change| change.value.is_none()));
    effects.changes.len()
}

#[test]
fn what_is_committed_is_fetched_and_the_last_commit_counts() {
    let mut offsets = Offsets::default();
    commit(&mut offsets, 0, &[(topic(1), 0, 5), (topic(2), 3, 6)]);
    commit(&mut offsets, 0, &[(topic(1), 0, 4)]);
    let fetched = offsets.fetch(Some(&[(topic(1), 0), (topic(1), 1)]));
    assert_eq!((fetched[0].offset, fetched[0].leader_epoch, fetched[0].metadata.as_str()), (4, 7, "here"));
    assert_eq!((fetched[1].offset, fetched[1].leader_epoch, fetched[1].metadata.as_str()), (-1, -1, ""));
    let all: Vec<_> = offsets.fetch(None).into_iter().map(|fetched| (fetched.topic_id, fetched.offset)).collect();
    assert_eq!(all, [(topic(1), 4), (topic(2), 6)]);
}

#[test]
fn rows_bring_it_back_as_it_was() {
    let mut offsets = Offsets::default();
    let mut effects = commit(&mut offsets, 9, &[(topic(1), 0, 5), (topic(2), 3, 6)]);
    let retained = request(&[(topic(3), 0, 7)], Some(Duration::from_secs(1)));
    offsets.commit(at(9), retained, &mut effects).expect("a small request");
    let mut loaded = Offsets::default();
    for change in effects.changes {
        assert_eq!((change.key.owner.as_str(), change.key.kind), ("group", KIND_OFFSET));
        loaded.load(&change.key.item, &change.value.expect("written")).expect("a good row");
    }
    assert_eq!(loaded.committed, offsets.committed);
}

#[test]
fn rows_of_version_0_stay_readable() {
    let mut offsets = Offsets::default();
    let effects = commit(&mut offsets, 1_000_000, &[(topic(1), 3, 42)]);
    let [written] = &effects.changes[..] else { panic!("one row") };
    let item = [&[0; 15][..], &[1, 0, 0, 0, 3]].concat();
    let value: &[u8] = b"\x00\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x07\x00\x00\x00\x00\x00\x0f\x42\x40\
        \xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x04here";
    assert_eq!((&written.key.item[..], written.value.as_deref()), (&item[..], Some(value)));
}

#[test]
fn what_is_no_row_is_an_error() {
    let mut offsets = Offsets::default();
    let effects = commit(&mut offsets, 9, &[(topic(1), 0, 5)]);
    let row = effects.changes[0].value.clone().expect("written");
    let item = effects.changes[0].key.item.clone();
    for end in 0..row.len() {
        assert!(Offsets::default().load(&item, &row[..end]).is_err());
    }
    assert_eq!(Offsets::default().load(&item[..19], &row), Err(RowError::Length));
    assert_eq!(Offsets::default().load(&[&item[..], &[0]].concat(), &row), Err(RowError::Length));
    assert_eq!(Offsets::default().load(&item, &[&[1], &row[1..]].concat()), Err(RowError::Version(1)));
    assert_eq!(Offsets::default().load(&item, &[&row[..], &[0]].concat()), Err(RowError::Length));
}

#[test]
fn words_that_are_too_long_are_refused_alone() {
    let mut offsets = Offsets::default();
    let mut long = request(&[(topic(1), 0, 5), (topic(1), 1, 6)], None);
    long.partitions[0].metadata = "x".repeat(4097);
    long.partitions[1].metadata = "x".repeat(4096);
    let mut effects = Effects::default();
    let outcomes = offsets.commit(at(0), long, &mut effects).expect("a small request");
    assert_eq!(outcomes[0].error, Some(GroupError::OffsetMetadataTooLarge));
    assert_eq!(outcomes[1].error, None);
    assert_eq!((effects.changes.len(), offsets.len()), (1, 1));
}

#[test]
fn a_request_has_a_bound() {
    let mut offsets = Offsets::default();
    let many: Vec<_> = (0..10_001).map(|partition| (topic(1), partition, 0)).collect();
    let mut effects = Effects::default();
    let refused = offsets.commit(at(0), request(&many, None), &mut effects);
    assert_eq!(refused, Err(GroupError::InvalidCommitOffsetSize));
    assert!(offsets.is_empty() && effects.changes.is_empty());
}

#[test]
fn offsets_of_topics_that_are_read_are_not_deleted() {
    let mut offsets = Offsets::default();
    commit(&mut offsets, 0, &[(topic(1), 0, 5), (topic(2), 0, 6)]);
    let mut effects = Effects::default();
    let asked = [(topic(1), 0), (topic(2), 0), (topic(2), 1)];
    let outcomes = offsets.delete("group", &asked, |topic_id| topic_id == topic(1), &mut effects);
    let errors: Vec<_> = outcomes.into_iter().map(|outcome| outcome.error).collect();
    assert_eq!(errors, [Some(GroupError::GroupSubscribedToTopic), None, None]);
    assert_eq!((effects.changes.len(), offsets.len()), (1, 1), "what is not there needs no deletion");
}

#[test]
fn offsets_of_a_deleted_topic_and_of_a_deleted_group_go() {
    let mut offsets = Offsets::default();
    commit(&mut offsets, 0, &[(topic(1), 0, 5), (topic(2), 0, 6), (topic(2), i32::MAX, 6), (topic(3), 0, 6)]);
    let mut effects = Effects::default();
    offsets.delete_topic("group", topic(2), &mut effects);
    assert_eq!(effects.changes.len(), 2);
    assert_eq!(offsets.topics(), [topic(1), topic(3)]);
    offsets.delete_all("group", &mut effects);
    assert_eq!(effects.changes.len(), 4);
    assert!(offsets.is_empty());
}

#[test]
fn offsets_age_as_the_group_says() {
    let mut offsets = Offsets::default();
    commit(&mut offsets, 0, &[(topic(1), 0, 5)]);
    commit(&mut offsets, DAY, &[(topic(2), 0, 6)]);
    assert_eq!(expire(&mut offsets, 100 * DAY, OffsetExpiry::Never, &[]), 0);
    assert_eq!(expire(&mut offsets, WEEK + DAY - 1, OffsetExpiry::SinceEmpty(DAY), &[]), 0);
    assert_eq!(expire(&mut offsets, WEEK - 1, OffsetExpiry::SinceCommit, &[]), 0);
    assert_eq!(expire(&mut offsets, WEEK, OffsetExpiry::SinceCommit, &[topic(1)]), 0, "it is read");
    assert_eq!(expire(&mut offsets, WEEK, OffsetExpiry::SinceCommit, &[]), 1);
    assert_eq!(expire(&mut offsets, WEEK + DAY, OffsetExpiry::SinceEmpty(DAY), &[]), 1);
    assert!(offsets.is_empty());
}

#[test]
fn a_client_may_say_how_long_an_offset_is_kept() {
    let mut offsets = Offsets::default();
    let short = request(&[(topic(1), 0, 5)], Some(Duration::from_secs(1)));
    offsets.commit(at(0), short, &mut Effects::default()).expect("a small request");
    assert_eq!(expire(&mut offsets, 999, OffsetExpiry::SinceEmpty(0), &[]), 0);
    assert_eq!(expire(&mut offsets, 1_000, OffsetExpiry::SinceEmpty(0), &[]), 1);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
        let _ = Offsets::default().load(&bytes, &bytes);
        let _ = Offsets::default().load(&[0; 20], &bytes);
        let _ = Offsets::default().load(&[0; 20], &[&[0], &bytes[..]].concat());
    }
}
