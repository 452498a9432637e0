//! A request is charged by what its caller said, else by its key.

use uuid::Uuid;

use super::*;

const FLUSHED: &str = "org-1/flush/0000000000000000007/0000000000000000001-00000000000000ff";

#[test]
fn a_key_says_what_a_request_is_for() {
    for (operation, key, purpose) in [
        (Operation::Put, FLUSHED, Purpose::Flush),
        (Operation::Part, "org-1/data/t/0/1", Purpose::Rewrite),
        (Operation::Get, FLUSHED, Purpose::Fetch),
        (Operation::Get, "org-1/data/t/0/1", Purpose::Fetch),
        (Operation::Delete, FLUSHED, Purpose::Garbage),
        (Operation::List, "/", Purpose::Garbage),
        (Operation::List, "lanes/", Purpose::LaneNote),
        (Operation::Put, "lanes/7", Purpose::LaneNote),
        (Operation::Put, "probes/1", Purpose::Probe),
        (Operation::Get, "probe-0000000000000001", Purpose::Probe),
        (Operation::Head, "cluster.json", Purpose::Marker),
        (Operation::Get, "org-x/flush/1", Purpose::Other),
    ] {
        assert_eq!(Account::open(operation, key).purpose(), purpose, "{operation:?} {key}");
    }
    assert_eq!(Account::open(Operation::Get, FLUSHED).organization, Some(OrganizationId(1)));
    assert_eq!(Account::open(Operation::Get, "cluster.json").organization, None);
}

#[tokio::test]
async fn what_a_caller_said_counts_for_records_and_for_nothing_else() {
    let topics = [(TopicId(Uuid::from_u128(5)), 10)];
    charge(Purpose::Rewrite, &topics, async {
        let read = Account::open(Operation::Get, FLUSHED);
        assert_eq!((read.purpose(), &*read.topics), (Purpose::Rewrite, &topics[..]));
        let mark = Account::open(Operation::Head, "cluster.json");
        assert_eq!((mark.purpose(), mark.topics.len()), (Purpose::Marker, 0));
        // Not handed down to other tasks.
        let spawned = tokio::spawn(async { Account::open(Operation::Get, FLUSHED).purpose() });
        assert_eq!(spawned.await.unwrap(), Purpose::Fetch);
    })
    .await;
    assert_eq!(Account::open(Operation::Get, FLUSHED).purpose(), Purpose::Fetch);
}
