//! Cases about the rows of coordinators.

use bytes::Bytes;
use segment::{OrganizationId, PartitionKey, SessionId};

use super::fixture::{acquire, commit, create, key, leased, open, range, topic_id};
use crate::{
    COORDINATOR_KEY_BYTES_MAX, CoordinatorChange, CoordinatorKey,
    CoordinatorOutcome::{self, NotLeader, SequenceMismatch, Written},
    CoordinatorRow, CoordinatorWrite, MetadataStore, RangeOutcome, StoreError,
};

const ORGANIZATION: OrganizationId = OrganizationId::DEFAULT;

/// Counted from 0, one for each accepted write, whatever it changes.
pub async fn the_sequence_counts_the_writes(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    for sequence in 0..3 {
        assert_eq!(sequence_of(store, session, 0, 0).await, Some(sequence));
        let changes = if sequence == 1 { Vec::new() } else { vec![kept("group", 1, b"", b"value")] };
        assert_eq!(write(store, session, to(0, 0, sequence, changes)).await, Written);
    }
    assert_eq!(sequence_of(store, session, 1, 0).await, Some(0), "each partition has its own");
}

/// A lost write that lands twice, or late, does not.
pub async fn a_write_out_of_sequence_is_refused(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    for sequence in [1, -1] {
        assert_eq!(write(store, session, to(0, 0, sequence, vec![kept("a", 0, b"", b"")])).await, SequenceMismatch);
    }
    assert_eq!(write(store, session, to(0, 0, 0, vec![kept("a", 0, b"", b"1")])).await, Written);
    for sequence in [0, 2] {
        let late = vec![kept("a", 0, b"", b"late"), kept("b", 0, b"", b"late")];
        assert_eq!(write(store, session, to(0, 0, sequence, late)).await, SequenceMismatch);
    }
    assert_eq!(rows(store, 0).await, [row("a", 0, b"", b"1")]);
    assert_eq!(sequence_of(store, session, 0, 0).await, Some(1));
}

/// Another epoch, another session, no lease, no such partition.
pub async fn only_the_leader_under_its_epoch_writes(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let other = open(store, "agent-2").await;
    create(store, 2, "others", 1).await;
    let change = || vec![kept("a", 0, b"", b"")];
    for leader_epoch in [-1, 1] {
        assert_eq!(write(store, session, to(0, leader_epoch, 0, change())).await, NotLeader);
        assert_eq!(sequence_of(store, session, 0, leader_epoch).await, None);
    }
    assert_eq!(write(store, other, to(0, 0, 0, change())).await, NotLeader);
    assert_eq!(sequence_of(store, other, 0, 0).await, None);
    for partition in [key(2, 0), key(1, 7), key(9, 0)] {
        let written = CoordinatorWrite { partition, leader_epoch: -1, sequence: 0, changes: change() };
        assert_eq!(write(store, session, written).await, NotLeader);
        assert_eq!(store.coordinator_sequence(session, partition, -1).await.expect("read"), None);
    }
    assert!(rows(store, 0).await.is_empty());
    assert_eq!(sequence_of(store, session, 0, 0).await, Some(0));
}

/// Also after its rows are purged.
pub async fn a_write_to_a_deleted_topic_is_refused(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    assert_eq!(write(store, session, to(0, 0, 0, vec![kept("a", 0, b"", b"")])).await, NotLeader);
    assert_eq!(sequence_of(store, session, 0, 0).await, None);
    while store.purge_deleted(100).await.expect("purged") > 0 {}
    assert_eq!(write(store, session, to(0, 0, 0, vec![kept("a", 0, b"", b"")])).await, NotLeader);
    assert_eq!(sequence_of(store, session, 0, 0).await, None);
}

/// Whatever it writes, and also if that is nothing.
pub async fn a_fenced_session_writes_no_rows(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    store.close_session(session).await.expect("closed");
    let writes = [to(0, 0, 0, vec![kept("a", 0, b"", b"")])];
    for some in [&writes[..], &[]] {
        let refused = store.write_coordinators(session, some).await;
        assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    }
    assert_eq!(sequence_of(store, session, 0, 0).await, None);
    let unknown = store.write_coordinators(SessionId(99), &writes).await;
    assert!(matches!(unknown, Err(StoreError::Fenced)), "{unknown:?}");
    assert!(rows(store, 0).await.is_empty());
    let next = open(store, "agent-2").await;
    assert_eq!(acquire(store, next, &[key(1, 0)]).await[0].leader_epoch, 1);
    assert_eq!(sequence_of(store, next, 0, 1).await, Some(0));
}

/// Values are replaced and rows deleted; what is not there is deleted too.
pub async fn rows_are_kept_replaced_and_deleted(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let first = vec![kept("a", 0, b"x", b"1"), kept("a", 0, b"y", b"2"), dropped("a", 0, b"z"), kept("b", 0, b"", b"")];
    assert_eq!(write(store, session, to(0, 0, 0, first)).await, Written);
    assert_eq!(rows(store, 0).await, [row("a", 0, b"x", b"1"), row("a", 0, b"y", b"2"), row("b", 0, b"", b"")]);
    let second = vec![dropped("a", 0, b"x"), kept("a", 0, b"y", b"3"), kept("a", 1, b"y", b"4")];
    assert_eq!(write(store, session, to(0, 0, 1, second)).await, Written);
    assert_eq!(rows(store, 0).await, [row("a", 0, b"y", b"3"), row("a", 1, b"y", b"4"), row("b", 0, b"", b"")]);
}

/// Of those before it nothing is left, whatever they were.
pub async fn the_last_change_of_a_key_counts(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    assert_eq!(write(store, session, to(0, 0, 0, vec![kept("c", 0, b"", b"old")])).await, Written);
    let changes = vec![
        kept("a", 0, b"", b"1"),
        kept("b", 0, b"", b"1"),
        dropped("c", 0, b""),
        kept("a", 0, b"", b"2"),
        dropped("b", 0, b""),
        kept("c", 0, b"", b"new"),
    ];
    assert_eq!(write(store, session, to(0, 0, 1, changes)).await, Written);
    assert_eq!(rows(store, 0).await, [row("a", 0, b"", b"2"), row("c", 0, b"", b"new")]);
}

/// By owner, kind and item; owners and items by their bytes, whatever these are.
pub async fn rows_come_in_the_order_of_their_keys(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let expected = [
        row("", i16::MIN, b"", b"the least key there is"),
        row("", 0, b"", b"an empty owner"),
        row("\0", 0, b"", b"a group id may hold any character"),
        row("A", 0, b"", b""),
        row("a", -1, b"\xff", b""),
        row("a", 0, b"", b""),
        row("a", 0, b"\x00", b"\x00\xff"),
        row("a", 0, b"\x00\x01", b""),
        row("a", 0, b"\x7f", b""),
        row("a", 0, b"\x80", b""),
        row("a", 0, b"\xff\xfe", b""),
        row("a", 2, b"", b""),
        row("a", 10, b"", b""),
        row("a", i16::MAX, b"\xff", b""),
        row("a\0", 0, b"", b""),
        row("a-b", 0, b"", b""),
        row("ab", 0, b"", b""),
        row("z", 0, b"", b""),
        row("ä", 0, b"", b""),
        row("\u{10ffff}", 0, b"", b""),
    ];
    let mut changes: Vec<_> = expected.iter().map(|row| change(row.key.clone(), Some(row.value.clone()))).collect();
    changes.reverse();
    assert_eq!(write(store, session, to(0, 0, 0, changes)).await, Written);
    assert_eq!(rows(store, 0).await, expected);
    for limit in 1..4 {
        let (mut read, mut pages) = (Vec::new(), 0);
        loop {
            let after = read.last().map(|row: &CoordinatorRow| row.key.clone());
            let page = store.coordinator_rows(key(1, 0), after.as_ref(), limit).await.expect("read");
            assert!(page.len() <= limit as usize);
            if page.is_empty() {
                break;
            }
            read.extend(page);
            pages += 1;
        }
        assert_eq!((read, pages), (expected.to_vec(), expected.len().div_ceil(limit as usize)));
    }
    let between = CoordinatorKey { owner: "a".to_owned(), kind: 0, item: Bytes::from_static(b"\x7f\x00") };
    let after = store.coordinator_rows(key(1, 0), Some(&between), 1).await.expect("read");
    assert_eq!(after, [row("a", 0, b"\x80", b"")], "a key to begin after need not exist");
    assert!(store.coordinator_rows(key(1, 0), None, 0).await.expect("read").is_empty());
}

/// The longest key there may be is found again; a longer one stops the whole call.
pub async fn keys_have_a_greatest_length(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    // No two alike, so that nothing about it can be compressed.
    let item = |length: usize| -> Vec<u8> { (1..).scan(7_u32, scramble).take(length).collect() };
    let longest = item(COORDINATOR_KEY_BYTES_MAX - 5);
    assert_eq!(write(store, session, to(0, 0, 0, vec![kept("group", 0, &longest, b"1")])).await, Written);
    assert_eq!(write(store, session, to(0, 0, 1, vec![kept("group", 0, &longest, b"2")])).await, Written);
    assert_eq!(rows(store, 0).await, [row("group", 0, &longest, b"2")]);
    let longer = item(COORDINATOR_KEY_BYTES_MAX - 4);
    let writes = [to(1, 0, 0, vec![kept("a", 0, b"", b"")]), to(0, 0, 2, vec![dropped("group", 0, &longer)])];
    let refused = store.write_coordinators(session, &writes).await;
    assert!(matches!(refused, Err(StoreError::NotCommitted(_))), "{refused:?}");
    assert!(rows(store, 1).await.is_empty());
}

fn scramble(state: &mut u32, _: u32) -> Option<u8> {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    state.to_be_bytes().first().copied()
}

/// A group with many members is one row.
pub async fn a_value_may_be_long(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let value: Vec<u8> = (1..).scan(9_u32, scramble).take(1_000_000).collect();
    assert_eq!(write(store, session, to(0, 0, 0, vec![kept("group", 0, b"", &value)])).await, Written);
    assert_eq!(rows(store, 0).await, [row("group", 0, b"", &value)]);
}

/// Every outcome in one call, in its order; two writes of one partition are one too many.
pub async fn each_write_is_accepted_or_refused_alone(store: &dyn MetadataStore) {
    let session = leased(store, 4).await;
    let change = |value: &'static [u8]| vec![kept("a", 0, b"", value), kept("b", 0, b"", value)];
    let unknown = CoordinatorWrite { partition: key(9, 0), ..to(0, 0, 0, change(b"no")) };
    let writes = [
        to(3, 0, 0, change(b"3")),
        to(2, 1, 0, change(b"no")),
        unknown,
        to(0, 0, 0, change(b"0")),
        to(1, 0, 1, change(b"no")),
        to(3, 0, 1, change(b"no")),
    ];
    let outcomes = store.write_coordinators(session, &writes).await.expect("answered");
    assert_eq!(outcomes, [Written, NotLeader, NotLeader, Written, SequenceMismatch, SequenceMismatch]);
    for (partition, value) in [(0, b"0"), (3, b"3")] {
        assert_eq!(rows(store, partition).await, [row("a", 0, b"", value), row("b", 0, b"", value)]);
        assert_eq!(sequence_of(store, session, partition, 0).await, Some(1));
    }
    for partition in [1, 2] {
        assert!(rows(store, partition).await.is_empty());
        assert_eq!(sequence_of(store, session, partition, 0).await, Some(0));
    }
    assert!(store.write_coordinators(session, &[]).await.expect("answered").is_empty());
}

/// As many as callers put into one call: new ones, others, and deletions of all but one.
pub async fn ten_thousand_changes_in_one_call(store: &dyn MetadataStore) {
    let session = leased(store, 50).await;
    let items = |partition: i32| (0..200_i32).map(move |item| (partition * 200 + item).to_be_bytes());
    for (sequence, value) in (0..).zip([Some(&b"1"[..]), Some(b"2"), None]) {
        let to_all = (0..50).map(|partition| {
            let changes = items(partition).map(|item| match value {
                Some(value) => kept("group", 1, &item, value),
                None if item == [0; 4] => kept("group", 1, &item, b"3"),
                None => dropped("group", 1, &item),
            });
            to(partition, 0, sequence, changes.collect())
        });
        let writes: Vec<_> = to_all.collect();
        let outcomes = store.write_coordinators(session, &writes).await.expect("answered");
        assert_eq!(outcomes, [Written; 50]);
        for partition in [0, 49] {
            let expected = items(partition).filter_map(|item| Some(row("group", 1, &item, value?)));
            let left = (value.is_none() && partition == 0).then(|| row("group", 1, &[0; 4], b"3"));
            assert_eq!(rows(store, partition).await, expected.chain(left).collect::<Vec<_>>());
        }
    }
}

/// Rows and sequence stay; the former leader writes no more.
pub async fn the_next_leader_goes_on_where_the_last_one_stopped(store: &dyn MetadataStore) {
    let from = leased(store, 1).await;
    let second = open(store, "agent-2").await;
    assert_eq!(write(store, from, to(0, 0, 0, vec![kept("a", 0, b"", b"1")])).await, Written);
    store.hand_over_leases(from, second, &[key(1, 0)]).await.expect("given");
    assert_eq!(sequence_of(store, from, 0, 0).await, None);
    assert_eq!(sequence_of(store, second, 0, 1).await, Some(1));
    let late = || vec![kept("a", 0, b"", b"late")];
    assert_eq!(write(store, from, to(0, 0, 1, late())).await, NotLeader);
    assert_eq!(write(store, second, to(0, 1, 1, vec![kept("b", 0, b"", b"2")])).await, Written);
    store.close_session(second).await.expect("closed");
    assert_eq!(sequence_of(store, second, 0, 1).await, None);
    assert_eq!(acquire(store, from, &[key(1, 0)]).await[0].leader_epoch, 2);
    assert_eq!(write(store, from, to(0, 0, 2, late())).await, NotLeader, "its own, but of an epoch that is over");
    assert_eq!(write(store, from, to(0, 2, 2, vec![dropped("a", 0, b"")])).await, Written);
    assert_eq!(rows(store, 0).await, [row("b", 0, b"", b"2")]);
}

/// By another session, which takes its partition.
pub async fn a_write_of_a_session_that_was_fenced_is_refused(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let other = open(store, "agent-2").await;
    assert_eq!(write(store, session, to(0, 0, 0, vec![kept("a", 0, b"", b"1")])).await, Written);
    assert!(store.fence_session(other, session, 0).await.expect("answered"));
    let late = store.write_coordinators(session, &[to(0, 0, 1, vec![kept("a", 0, b"", b"late")])]).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    assert_eq!(acquire(store, other, &[key(1, 0)]).await[0].leader_epoch, 1);
    assert_eq!(sequence_of(store, other, 0, 1).await, Some(1));
    assert_eq!(rows(store, 0).await, [row("a", 0, b"", b"1")]);
}

/// Neither moves the other's counter, and agents are not told.
pub async fn segment_commits_and_writes_of_rows_do_not_meet(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let version = store.changes_since(0).await.expect("read").version;
    assert_eq!(commit(store, session, 0, vec![range(key(1, 0), 0, 0, 5)]).await, [RangeOutcome::Accepted]);
    assert_eq!(write(store, session, to(0, 0, 0, vec![kept("a", 0, b"", b"1")])).await, Written);
    assert_eq!(commit(store, session, 1, vec![range(key(1, 0), 0, 5, 6)]).await, [RangeOutcome::Accepted]);
    assert_eq!(write(store, session, to(0, 0, 1, vec![kept("a", 0, b"", b"2")])).await, Written);
    assert_eq!(store.changes_since(0).await.expect("read").version, version);
}

/// In bounded steps, and those of no other topic.
pub async fn the_rows_of_a_deleted_topic_are_purged(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    create(store, 2, "others", 1).await;
    acquire(store, session, &[key(2, 0)]).await;
    for partition in [key(1, 0), key(1, 1), key(2, 0)] {
        let changes = (0..4_u8).map(|item| kept("group", 1, &[item], b"")).collect();
        let written = CoordinatorWrite { partition, leader_epoch: 0, sequence: 0, changes };
        assert_eq!(write(store, session, written).await, Written);
    }
    store.delete_topic(ORGANIZATION, topic_id(1)).await.expect("deleted");
    let mut purged = Vec::new();
    loop {
        match store.purge_deleted(3).await.expect("purged") {
            0 => break,
            some => purged.push(some),
        }
    }
    // Of each partition four rows, an epoch and its own, and the topic's.
    assert_eq!(purged, [3, 3, 3, 3, 1]);
    assert!(rows(store, 0).await.is_empty() && rows(store, 1).await.is_empty());
    assert_eq!(store.coordinator_rows(key(2, 0), None, 100).await.expect("read").len(), 4);
}

/// A row's value from now on.
fn kept(owner: &str, kind: i16, item: &[u8], value: &[u8]) -> CoordinatorChange {
    change(row(owner, kind, item, b"").key, Some(Bytes::copy_from_slice(value)))
}

fn dropped(owner: &str, kind: i16, item: &[u8]) -> CoordinatorChange {
    change(row(owner, kind, item, b"").key, None)
}

fn change(key: CoordinatorKey, value: Option<Bytes>) -> CoordinatorChange {
    CoordinatorChange { key, value }
}

fn row(owner: &str, kind: i16, item: &[u8], value: &[u8]) -> CoordinatorRow {
    let key = CoordinatorKey { owner: owner.to_owned(), kind, item: Bytes::copy_from_slice(item) };
    CoordinatorRow { key, value: Bytes::copy_from_slice(value) }
}

/// A write to a partition of topic 1.
fn to(partition: i32, leader_epoch: i32, sequence: i64, changes: Vec<CoordinatorChange>) -> CoordinatorWrite {
    CoordinatorWrite { partition: key(1, partition), leader_epoch, sequence, changes }
}

/// The outcome of one write.
async fn write(store: &dyn MetadataStore, session: SessionId, write: CoordinatorWrite) -> CoordinatorOutcome {
    let outcomes = store.write_coordinators(session, &[write]).await.expect("answered");
    assert_eq!(outcomes.len(), 1);
    outcomes[0]
}

/// All rows of a partition of topic 1.
async fn rows(store: &dyn MetadataStore, partition: i32) -> Vec<CoordinatorRow> {
    store.coordinator_rows(key(1, partition), None, u32::MAX).await.expect("read")
}

/// The sequence of a partition of topic 1, as its leader asks for it.
async fn sequence_of(store: &dyn MetadataStore, session: SessionId, partition: i32, leader_epoch: i32) -> Option<i64> {
    let partition: PartitionKey = key(1, partition);
    store.coordinator_sequence(session, partition, leader_epoch).await.expect("read")
}
