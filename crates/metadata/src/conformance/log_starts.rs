//! Cases about log starts that move.

use segment::{LeaderEpoch, Offset, OrganizationId, PartitionKey, SessionId};

use super::fixture::{acquire, commit, create, found, key, leased, object_key, open, range, topic_id, unreferenced};
use crate::{
    CleanedLog, LastSegment,
    LogChangeOutcome::{self, Done, NotLeader, Stale, TopicDeleted},
    LogStartMove, MetadataStore,
    RangeOutcome::Accepted,
    SnapshotAt, StoreError,
};

/// Done, with nothing left to do.
const WHOLE: LogChangeOutcome = Done { more: false };
/// Done, but for some rows.
const IN_PART: LogChangeOutcome = Done { more: true };

/// Partition 0 with four ranges of ten offsets, in segments of lanes 0 to 3; the third one came with a snapshot.
async fn logged(store: &dyn MetadataStore) -> SessionId {
    let session = leased(store, 2).await;
    for lane in 0..4 {
        let mut row = range(key(1, 0), 0, lane * 10, lane * 10 + 10);
        row.snapshot = (lane == 2).then(|| "as of 30".into());
        assert_eq!(commit(store, session, lane, vec![row]).await, [Accepted]);
    }
    session
}

fn to(log_start_offset: Offset) -> LogStartMove {
    LogStartMove { key: key(1, 0), leader_epoch: 0, log_start_offset, snapshot: None }
}

fn snapshot_at(as_of_offset: Offset) -> Option<SnapshotAt> {
    Some(SnapshotAt { as_of_offset, snapshot: format!("as of {as_of_offset}").into() })
}

async fn moved(store: &dyn MetadataStore, session: SessionId, moves: &[LogStartMove]) -> Vec<LogChangeOutcome> {
    store.move_log_starts(session, moves, 100).await.expect("moves are answered")
}

async fn bases(store: &dyn MetadataStore, key: PartitionKey) -> Vec<Offset> {
    store.ranges_from(key, 0, 100).await.expect("read").iter().map(|range| range.base_offset).collect()
}

async fn log_start(store: &dyn MetadataStore, session: SessionId) -> Offset {
    store.held_leases(session, &[key(1, 0)]).await.expect("read")[0].log_start_offset
}

/// The one that holds it stays.
pub async fn ranges_below_a_log_start_go(store: &dyn MetadataStore) {
    let session = logged(store).await;
    assert_eq!(moved(store, session, &[to(25)]).await, [WHOLE]);
    assert_eq!(log_start(store, session).await, 25);
    assert_eq!(bases(store, key(1, 0)).await, [20, 30]);
    assert_eq!(unreferenced(store, session).await, [found(session, 0), found(session, 1)]);
    assert_eq!(moved(store, session, &[to(30)]).await, [WHOLE]);
    assert_eq!(bases(store, key(1, 0)).await, [30]);
    let last = [LastSegment { session, lane_sequence: 3 }];
    assert_eq!(store.last_segments().await.expect("read"), last);
}

/// Nor is anything done again that was done.
pub async fn a_log_start_never_goes_back(store: &dyn MetadataStore) {
    let session = logged(store).await;
    for log_start_offset in [20, 20, 5, 0] {
        assert_eq!(moved(store, session, &[to(log_start_offset)]).await, [WHOLE]);
        assert_eq!(log_start(store, session).await, 20);
        assert_eq!(bases(store, key(1, 0)).await, [20, 30]);
    }
}

/// With all ranges; the next commit goes on there.
pub async fn a_log_start_moves_to_the_end_but_not_beyond(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let beyond = LogStartMove { snapshot: snapshot_at(40), ..to(41) };
    assert_eq!(moved(store, session, &[beyond]).await, [Stale]);
    assert_eq!((log_start(store, session).await, bases(store, key(1, 0)).await.len()), (0, 4));
    assert_eq!(store.producer_history(key(1, 0)).await.expect("read").snapshot, Some((30, "as of 30".into())));
    let end = LogStartMove { snapshot: snapshot_at(40), ..to(40) };
    assert_eq!(moved(store, session, &[end]).await, [WHOLE]);
    assert_eq!((log_start(store, session).await, bases(store, key(1, 0)).await.len()), (40, 0));
    assert_eq!(commit(store, session, 4, vec![range(key(1, 0), 0, 40, 41)]).await, [Accepted]);
    assert_eq!(bases(store, key(1, 0)).await, [40]);
}

/// Or the move is refused, and nothing of it happens.
pub async fn ranges_go_only_below_a_snapshot(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let refused = [
        to(40),
        LogStartMove { snapshot: snapshot_at(35), ..to(40) },
        LogStartMove { snapshot: snapshot_at(41), ..to(9) },
    ];
    for refused in refused {
        assert_eq!(moved(store, session, std::slice::from_ref(&refused)).await, [Stale], "{refused:?}");
        assert_eq!((log_start(store, session).await, bases(store, key(1, 0)).await.len()), (0, 4));
        let newest = store.producer_history(key(1, 0)).await.expect("read").snapshot;
        assert_eq!(newest, Some((30, "as of 30".into())));
    }
    assert_eq!(moved(store, session, &[to(39)]).await, [WHOLE], "the range that ends at 40 stays");
    assert_eq!(bases(store, key(1, 0)).await, [30]);
}

/// And an older one changes nothing.
pub async fn a_newer_snapshot_is_kept(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let older = LogStartMove { snapshot: snapshot_at(20), ..to(10) };
    assert_eq!(moved(store, session, &[older]).await, [WHOLE]);
    let history = store.producer_history(key(1, 0)).await.expect("read");
    assert_eq!((history.snapshot, history.ranges_since_snapshot), (Some((30, "as of 30".into())), 1));
    let newer = LogStartMove { snapshot: snapshot_at(40), ..to(10) };
    assert_eq!(moved(store, session, &[newer]).await, [WHOLE]);
    let history = store.producer_history(key(1, 0)).await.expect("read");
    assert_eq!((history.snapshot, history.ranges_since_snapshot), (Some((40, "as of 40".into())), 0));
}

/// Over all its moves, oldest ranges first.
pub async fn a_move_is_done_in_bounded_steps(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let mut other = range(key(1, 1), 0, 0, 10);
    other.snapshot = Some("as of 10".into());
    commit(store, session, 4, vec![other]).await;
    let moves = [to(30), LogStartMove { key: key(1, 1), ..to(10) }];
    let steps = [
        (0, [IN_PART, IN_PART], vec![0, 10, 20, 30], 1),
        (2, [IN_PART, IN_PART], vec![20, 30], 1),
        (1, [WHOLE, IN_PART], vec![30], 1),
        (7, [WHOLE, WHOLE], vec![30], 0),
    ];
    for (rows_max, outcomes, left, left_of_other) in steps {
        let moved = store.move_log_starts(session, &moves, rows_max).await.expect("moved");
        assert_eq!(moved, outcomes, "at most {rows_max}");
        assert_eq!(log_start(store, session).await, 30, "at once");
        assert_eq!(bases(store, key(1, 0)).await, left);
        assert_eq!(bases(store, key(1, 1)).await.len(), left_of_other);
    }
}

/// The entry that covers the log start begins there.
pub async fn the_epoch_history_is_trimmed(store: &dyn MetadataStore) {
    let session = leased(store, 1).await;
    let key = key(1, 0);
    for lane in 0..3 {
        let mut row = range(key, LeaderEpoch::try_from(lane).expect("small"), lane * 10, lane * 10 + 10);
        row.snapshot = Some("state".into());
        assert_eq!(commit(store, session, lane, vec![row]).await, [Accepted]);
        acquire(store, session, &[key]).await;
    }
    let cases = [
        (5, vec![(0, 5), (1, 10), (2, 20), (3, 30)]),
        (10, vec![(1, 10), (2, 20), (3, 30)]),
        (29, vec![(2, 29), (3, 30)]),
        (30, vec![(3, 30)]),
    ];
    for (log_start_offset, expected) in cases {
        let to = LogStartMove { key, leader_epoch: 3, log_start_offset, snapshot: None };
        assert_eq!(moved(store, session, &[to]).await, [WHOLE]);
        let epochs = store.leader_epochs(key.organization, key.topic_id, 0).await.expect("read");
        assert_eq!(epochs, expected, "from {log_start_offset}");
    }
}

/// Who may not, where nothing is, what is stale.
pub async fn each_move_is_checked_alone(store: &dyn MetadataStore) {
    let session = logged(store).await;
    create(store, 2, "deleted", 1).await;
    create(store, 3, "of another", 1).await;
    acquire(store, session, &[key(2, 0)]).await;
    let other = open(store, "agent-2").await;
    acquire(store, other, &[key(3, 0)]).await;
    store.delete_topic(OrganizationId::DEFAULT, topic_id(2)).await.expect("deleted");
    let moves = [
        LogStartMove { key: key(9, 9), ..to(0) },
        LogStartMove { key: key(2, 0), ..to(0) },
        LogStartMove { key: key(3, 0), ..to(0) },
        LogStartMove { key: key(1, 1), leader_epoch: 1, ..to(0) },
        to(10),
    ];
    let outcomes = [TopicDeleted, TopicDeleted, NotLeader, NotLeader, WHOLE];
    assert_eq!(moved(store, session, &moves).await, outcomes);
    assert_eq!(moved(store, other, &[to(20)]).await, [NotLeader]);
    assert_eq!(moved(store, session, &[LogStartMove { key: key(1, 1), ..to(1) }]).await, [Stale]);
    assert_eq!(bases(store, key(1, 0)).await, [10, 20, 30]);
    assert!(moved(store, session, &[]).await.is_empty());
}

/// Nothing happens.
pub async fn a_fenced_session_moves_no_log_start(store: &dyn MetadataStore) {
    let session = logged(store).await;
    store.close_session(session).await.expect("closed");
    let refused = store.move_log_starts(session, &[to(10)], 100).await;
    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    assert_eq!(bases(store, key(1, 0)).await.len(), 4);
}

/// One of another partition keeps it.
pub async fn a_segment_is_retired_with_its_last_range(store: &dyn MetadataStore) {
    let session = leased(store, 2).await;
    let both = [0, 1].map(|partition| {
        let mut row = range(key(1, partition), 0, 0, 10);
        row.snapshot = Some("as of 10".into());
        row
    });
    commit(store, session, 0, both.to_vec()).await;
    assert_eq!(moved(store, session, &[to(10)]).await, [WHOLE]);
    assert!(unreferenced(store, session).await.is_empty());
    assert_eq!(moved(store, session, &[LogStartMove { key: key(1, 1), ..to(10) }]).await, [WHOLE]);
    assert_eq!(unreferenced(store, session).await, [found(session, 0)]);
}

/// What the next range names as its predecessor; its own ranges may be gone.
pub async fn the_last_object_is_known_until_it_is_forgotten(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let end = LogStartMove { snapshot: snapshot_at(40), ..to(40) };
    assert_eq!(moved(store, session, &[end]).await, [WHOLE]);
    let lease = store.held_leases(session, &[key(1, 0)]).await.expect("read").remove(0);
    assert_eq!(lease.last_object, object_key(session, 3));
    let all = unreferenced(store, session).await;
    assert_eq!(store.forget_objects(session, &all).await.expect("forgotten"), 4);
    let lease = store.held_leases(session, &[key(1, 0)]).await.expect("read").remove(0);
    assert_eq!((lease.last_object.as_str(), lease.next_offset), ("", 40));
}

/// By whoever led it then, and only forward.
pub async fn the_next_leader_is_told_how_far_a_log_was_compacted(store: &dyn MetadataStore) {
    let session = logged(store).await;
    let other = open(store, "agent-2").await;
    let note = |offset| CleanedLog { key: key(1, 0), leader_epoch: 0, offset };
    let cleaned = async |session| {
        let held = store.held_leases(session, &[key(1, 0)]).await.expect("read");
        held.first().map(|row| row.cleaned_offset)
    };
    assert_eq!(cleaned(session).await, Some(0));
    for (by, log) in [
        (session, note(41)),
        (other, note(10)),
        (session, CleanedLog { leader_epoch: 1, ..note(10) }),
        (session, CleanedLog { key: key(7, 0), ..note(0) }),
    ] {
        store.note_cleaned(by, &[log]).await.expect("answered");
        assert_eq!(cleaned(session).await, Some(0), "{log:?}");
    }
    for (offset, expected) in [(25, 25), (20, 25), (40, 40)] {
        let empty = CleanedLog { key: key(1, 1), ..note(0) };
        store.note_cleaned(session, &[empty, note(offset)]).await.expect("noted");
        assert_eq!(cleaned(session).await, Some(expected));
    }
    store.hand_over_leases(session, other, &[key(1, 0)]).await.expect("given");
    store.note_cleaned(session, &[note(40)]).await.expect("answered");
    assert_eq!(cleaned(other).await, Some(40));
    store.close_session(session).await.expect("closed");
    assert!(matches!(store.note_cleaned(session, &[note(40)]).await, Err(StoreError::Fenced)));
}
