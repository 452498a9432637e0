//! Shares add up, and names stay few.

use uuid::Uuid;

use super::*;
use crate::costs::Purpose;

const PUT: usize = Operation::Put as usize;

fn topic(number: usize) -> TopicId {
    TopicId(Uuid::from_u128(number as u128 + 1))
}

fn account(topics: &[(TopicId, u64)]) -> Account {
    Account { purpose: Purpose::Flush, organization: Some(OrganizationId(1)), topics: topics.into() }
}

fn put(topics: &mut Topics, number: usize, bytes: f64) {
    topics.add(&account(&[(topic(number), 1)]), Operation::Put, 1.0, bytes);
}

fn named(topics: &Topics, number: usize) -> Option<Count> {
    topics.named().find(|(id, ..)| *id == topic(number)).map(|(_, _, counts)| counts[PUT])
}

#[test]
fn a_flush_is_shared_in_proportion_of_bytes() {
    let mut topics = Topics::default();
    topics.add(&account(&[(topic(0), 300), (topic(1), 100)]), Operation::Put, 1.0, 440.0);
    assert_eq!(named(&topics, 0), Some(Count { requests: 0.75, bytes: 330.0 }));
    assert_eq!(named(&topics, 1), Some(Count { requests: 0.25, bytes: 110.0 }));
    topics.add(&account(&[(topic(0), 0)]), Operation::Put, 1.0, 10.0);
    assert_eq!(named(&topics, 0), Some(Count { requests: 0.75, bytes: 330.0 }), "no bytes, no share");
}

#[test]
fn names_are_bounded_and_nothing_is_lost() {
    let mut topics = Topics::default();
    let count = COST_TOPICS_MAX + 30;
    for number in 0..count {
        put(&mut topics, number, 10.0);
    }
    assert_eq!(topics.named().count(), COST_TOPICS_MAX);
    assert_eq!(topics.other()[PUT], Count { requests: 30.0, bytes: 300.0 });
    for number in 0..COST_TOPICS_COUNTED_MAX * 2 {
        put(&mut topics, number, 1.0);
    }
    assert_eq!(topics.by_id.len(), COST_TOPICS_COUNTED_MAX);
    let own: f64 = topics.named().map(|(_, _, counts)| counts[PUT].requests).sum();
    let all = (count + COST_TOPICS_COUNTED_MAX * 2) as f64;
    assert!((own + topics.other()[PUT].requests - all).abs() < 1e-6);
}

#[test]
fn a_busy_topic_takes_the_name_of_a_quiet_one() {
    let mut topics = Topics::default();
    for number in 0..COST_TOPICS_MAX {
        put(&mut topics, number, if number == 7 { 1.0 } else { 100.0 });
    }
    let (busy, alike) = (COST_TOPICS_MAX, COST_TOPICS_MAX + 1);
    put(&mut topics, busy, 150.0);
    put(&mut topics, alike, 120.0);
    topics.rank();
    assert_eq!(
        named(&topics, busy),
        Some(Count::default()),
        "its series begins at 0: what was before is in the others'"
    );
    assert_eq!(named(&topics, 7), None);
    assert_eq!(named(&topics, alike), None, "not twice as much as anybody");
    assert_eq!(topics.other()[PUT].bytes, 270.0);
    put(&mut topics, busy, 5.0);
    assert_eq!(named(&topics, busy), Some(Count { requests: 1.0, bytes: 5.0 }));
    topics.rank();
    topics.rank();
    assert_eq!(topics.by_id.len(), COST_TOPICS_MAX, "topics without name and bytes are forgotten");
}
