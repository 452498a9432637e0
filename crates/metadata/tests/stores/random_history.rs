//! The same random history on the model, SQLite, PostgreSQL, and PostgreSQL through PgBouncer: every outcome is the same, clocks aside.

mod aims;
mod tally;

use std::{collections::BTreeMap, fmt::Write};

use metadata::{
    AlterTopicConfigsError, CleanedLog, CoordinatorChange, CoordinatorKey, CoordinatorWrite, FoundObject, LaneReport,
    LogStartMove, MemoryStore, MetadataStore, NewRange, RangesReplacement, SegmentRef, SegmentRewrite, SnapshotAt,
    SqliteOptions, SqliteStore,
    conformance::fixture::{key, new_topic, object_key, range, reference, registration, segment, topic_id},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use segment::{OrganizationId, REWRITE_SEQUENCE_BASE, SessionId};

use self::aims::{aim, aim_behind, aim_beside};
use self::tally::Tally;
use crate::postgres_server::{self, Way};

const HISTORIES: u64 = 40;
const STEPS: usize = 190;
/// Steps choose among this many of the latest topics.
const TOPICS: u32 = 4;

/// One step, drawn before it is applied, so that both stores get the same.
#[derive(Clone, Debug)]
enum Step {
    Open(u32),
    Renew { session: i64, lane: LaneReport },
    Close(i64),
    Create { topic: u32, name: u32, partitions: i32 },
    Delete(u32),
    Grow { topic: u32, total: i32 },
    Acquire { session: i64, topic: u32 },
    Commit { session: i64, lanes: Vec<(i64, Vec<RangeStep>)> },
    Resolve { session: i64, lane: i64 },
    Purge(u32),
    Suspect { session: i64, target: i64 },
    Fence { session: i64, target: i64, renewals: i64 },
    HandOver { session: i64, to: i64, topic: u32 },
    Claim { session: i64, uploader: i64, lane: i64 },
    Collect { session: i64, limit: u32 },
    MoveLogStarts { session: i64, moves: Vec<MoveStep>, rows_max: u32 },
    Replace { session: i64, number: i64, replacements: Vec<ReplaceStep> },
    ResolveRewrite { session: i64, number: i64 },
    Write { session: i64, writes: Vec<WriteStep> },
    Rows { topic: u32, partition: i32, after: Option<CoordinatorKey>, limit: u32 },
    Alter { topic: u32, expected: u8, configs: u8 },
    Changes { everything: bool },
    Read { topic: u32, partition: i32, from: i64 },
}

#[derive(Clone, Debug)]
struct RangeStep {
    topic: u32,
    partition: i32,
    epoch: i32,
    base: i64,
    records: i64,
    snapshot: bool,
}

#[derive(Clone, Debug)]
struct MoveStep {
    topic: u32,
    partition: i32,
    epoch: i32,
    log_start: i64,
    snapshot: Option<i64>,
}

#[derive(Clone, Debug)]
struct ReplaceStep {
    topic: u32,
    partition: i32,
    epoch: i32,
    replaced: Vec<i64>,
    /// Where the new ranges begin, and where the last one ends.
    ends: Vec<i64>,
    snapshot: Option<i64>,
}

#[derive(Clone, Debug)]
struct WriteStep {
    topic: u32,
    partition: i32,
    epoch: i32,
    sequence: i64,
    /// Owner, kind and item, and whether the row is kept.
    changes: Vec<(u8, i16, u8, bool)>,
}

/// `created` counts the topics so far: an id is used once, and steps go to the latest ones.
fn draw(rng: &mut SmallRng, created: &mut u32) -> Step {
    let (topic, session) = (rng.random_range(created.saturating_sub(TOPICS)..*created), rng.random_range(1..12));
    match rng.random_range(0..110) {
        0..4 => Step::Open(rng.random_range(0..3)),
        4..9 => {
            let lane = LaneReport { stuck: rng.random_bool(0.5), proofs: rng.random_range(0..9) };
            Step::Renew { session, lane }
        }
        9..11 => Step::Close(session),
        11..22 => {
            *created += 1;
            Step::Create { topic: *created - 1, name: rng.random_range(0..4), partitions: rng.random_range(1..4) }
        }
        22..25 => Step::Delete(topic),
        25..28 => Step::Grow { topic, total: rng.random_range(1..5) },
        28..42 => Step::Acquire { session, topic },
        42..47 => draw_moves(rng, session, topic),
        47..55 => draw_replacements(rng, session, topic),
        55..78 => {
            let mut lanes = Vec::new();
            for _ in 0..rng.random_range(1..4) {
                let mut ranges: Vec<RangeStep> = Vec::new();
                for partition in 0..rng.random_range(1..4) {
                    ranges.push(RangeStep {
                        topic,
                        partition,
                        epoch: rng.random_range(0..3),
                        base: rng.random_range(0..4),
                        records: rng.random_range(1..3),
                        snapshot: rng.random_bool(0.2),
                    });
                }
                lanes.push((rng.random_range(0..60), ranges));
            }
            Step::Commit { session, lanes }
        }
        78..84 => Step::Resolve { session, lane: rng.random_range(0..60) },
        84..86 => Step::Purge(rng.random_range(1..8)),
        86 => Step::Suspect { session, target: rng.random_range(1..12) },
        87 => Step::Fence { session, target: rng.random_range(1..12), renewals: rng.random_range(0..3) },
        88..90 => Step::HandOver { session, to: rng.random_range(1..12), topic },
        90 => Step::Claim { session, uploader: rng.random_range(1..14), lane: rng.random_range(0..600) },
        91 => Step::Collect { session, limit: rng.random_range(1..5) },
        92 => Step::ResolveRewrite { session, number: rng.random_range(0..40) },
        93 => Step::Changes { everything: rng.random_bool(0.1) },
        94 => Step::Alter { topic, expected: rng.random_range(0..3), configs: rng.random_range(0..3) },
        95..102 => draw_writes(rng, session, topic),
        102..104 => {
            let after =
                rng.random_bool(0.7).then(|| draw_row(rng)).map(|(owner, kind, item, _)| row(owner, kind, item));
            Step::Rows { topic, partition: rng.random_range(0..4), after, limit: rng.random_range(0..5) }
        }
        _ => Step::Read { topic, partition: rng.random_range(0..4), from: rng.random_range(0..8) },
    }
}

fn draw_moves(rng: &mut SmallRng, session: i64, topic: u32) -> Step {
    let mut step = |partition| MoveStep {
        topic,
        partition,
        epoch: rng.random_range(0..3),
        log_start: rng.random_range(0..8),
        snapshot: rng.random_bool(0.3).then(|| rng.random_range(0..8)),
    };
    let moves = (0..3).map(&mut step).collect();
    Step::MoveLogStarts { session, moves, rows_max: rng.random_range(0..5) }
}

fn draw_replacements(rng: &mut SmallRng, session: i64, topic: u32) -> Step {
    let mut step = |partition| {
        let first = rng.random_range(0..4);
        let replaced: Vec<i64> = (first..first + rng.random_range(0..3)).collect();
        let ends = vec![first, first + rng.random_range(1..4)];
        let snapshot = rng.random_bool(0.5).then(|| rng.random_range(0..8));
        ReplaceStep { topic, partition, epoch: rng.random_range(0..3), replaced, ends, snapshot }
    };
    let replacements = (0..3).map(&mut step).collect();
    Step::Replace { session, number: rng.random_range(0..40), replacements }
}

fn draw_writes(rng: &mut SmallRng, session: i64, topic: u32) -> Step {
    let mut step = |_| {
        let changes = (0..rng.random_range(0..6)).map(|_| draw_row(rng)).collect();
        let (partition, epoch) = (rng.random_range(0..3), rng.random_range(0..3));
        WriteStep { topic, partition, epoch, sequence: rng.random_range(0..3), changes }
    };
    Step::Write { session, writes: (0..3).map(&mut step).collect() }
}

fn draw_row(rng: &mut SmallRng) -> (u8, i16, u8, bool) {
    (rng.random_range(0..3), rng.random_range(-1..2), rng.random_range(0..3), rng.random_bool(0.6))
}

/// Names whose order is not that of any language.
fn row(owner: u8, kind: i16, item: u8) -> CoordinatorKey {
    let owner = ["", "b", "A\0ä"][usize::from(owner)].to_owned();
    CoordinatorKey { owner, kind, item: [&b""[..], b"\xff", b"\0\x80"][usize::from(item)].into() }
}

/// Applies a step and says everything it answered, without times. `version` is that of the last changes read.
async fn apply(store: &dyn MetadataStore, step: &Step, version: &mut i64) -> String {
    let mut said = String::new();
    let organization = OrganizationId::DEFAULT;
    let _ = match step.clone() {
        Step::Open(agent) => {
            let opened = store.open_session(&registration(&format!("agent-{agent}"))).await;
            write!(said, "{:?}", opened.map(|opened| (opened.session, opened.node_id, opened.fenced)))
        }
        Step::Renew { session, lane } => {
            write!(said, "{:?}", store.renew_session(SessionId(session), lane).await.map(|_| ()))
        }
        Step::Close(session) => write!(said, "{:?}", store.close_session(SessionId(session)).await),
        Step::Create { topic, name, partitions } => {
            let created = store.create_topic(new_topic(topic, &format!("name-{name}"), partitions)).await;
            match created {
                Ok(row) => write!(said, "{} {}", row.name, row.partition_count),
                Err(error) => write!(said, "{error}"),
            }
        }
        Step::Delete(topic) => write!(said, "{:?}", store.delete_topic(organization, topic_id(topic)).await),
        Step::Grow { topic, total } => {
            let grown = store.create_partitions(organization, topic_id(topic), total).await;
            write!(said, "{:?}", grown.map(|row| row.partition_count))
        }
        Step::Acquire { session, topic } => {
            let keys: Vec<_> = (0..4).map(|partition| key(topic, partition)).collect();
            let rows = store.acquire_leases(SessionId(session), &keys).await;
            let held = store.confirm_leases(SessionId(session), &keys).await;
            write!(said, "{rows:?} {held:?}")
        }
        Step::Commit { session, lanes } => {
            let segments: Vec<_> = lanes.iter().map(|(lane, ranges)| to_segment(session, *lane, ranges)).collect();
            write!(said, "{:?}", store.commit_segments(SessionId(session), &segments).await)
        }
        Step::Resolve { session, lane } => {
            let session = SessionId(session);
            write!(said, "{:?}", store.resolve_commit(session, &[reference(session, lane)]).await)
        }
        Step::Purge(rows) => write!(said, "{:?}", store.purge_deleted(rows).await),
        Step::Read { topic, partition, from } => return read(store, topic, partition, from).await,
        step => return coordinate(store, step, version).await,
    };
    said
}

/// What agents do to each other and to garbage.
async fn coordinate(store: &dyn MetadataStore, step: Step, version: &mut i64) -> String {
    let mut said = String::new();
    let _ = match step {
        Step::Suspect { session, target } => {
            write!(said, "{:?}", store.suspect_session(SessionId(session), SessionId(target)).await)
        }
        Step::Fence { session, target, renewals } => {
            write!(said, "{:?}", store.fence_session(SessionId(session), SessionId(target), renewals).await)
        }
        Step::HandOver { session, to, topic } => {
            let keys: Vec<_> = (0..4).map(|partition| key(topic, partition)).collect();
            let given = store.hand_over_leases(SessionId(session), SessionId(to), &keys).await;
            write!(said, "{given:?} {:?}", store.held_leases(SessionId(to), &keys).await)
        }
        Step::Claim { session, uploader, lane } => {
            let uploader = SessionId(uploader);
            let object_key = object_key(uploader, lane);
            let organization = OrganizationId::DEFAULT;
            let object = FoundObject { session: uploader, lane_sequence: lane, organization, object_key };
            write!(said, "{:?}", store.claim_objects(SessionId(session), &[object]).await)
        }
        Step::Collect { session, limit } => {
            // In the order of slots, and with what stands first in it: the order of times is each clock's own.
            let claimed = store.claim_unreferenced(SessionId(session), 0, u32::MAX).await.map(|mut found| {
                found.sort_by_key(|object| (object.session, object.lane_sequence));
                found
            });
            let forgotten = match &claimed {
                Ok(found) => {
                    let some = &found[..found.len().min(limit as usize)];
                    Some(store.forget_objects(SessionId(session), some).await)
                }
                Err(_) => None,
            };
            write!(said, "{claimed:?} {forgotten:?}")
        }
        Step::MoveLogStarts { session, moves, rows_max } => {
            let moves: Vec<_> = moves.iter().map(to_move).collect();
            let note = |one: &LogStartMove| CleanedLog {
                key: one.key,
                leader_epoch: one.leader_epoch,
                offset: one.log_start_offset,
            };
            let notes: Vec<_> = moves.iter().map(note).collect();
            let moved = store.move_log_starts(SessionId(session), &moves, rows_max).await;
            write!(said, "{moved:?} {:?}", store.note_cleaned(SessionId(session), &notes).await)
        }
        Step::Replace { session, number, replacements } => {
            let rewrite = to_rewrite(session, number, &replacements);
            write!(said, "{:?}", store.replace_ranges(SessionId(session), &rewrite).await)
        }
        Step::ResolveRewrite { session, number } => {
            let SegmentRewrite { lane_sequence, object_key, organization, .. } = to_rewrite(session, number, &[]);
            let segment = SegmentRef { lane_sequence, object_key, organization };
            write!(said, "{:?}", store.resolve_commit(SessionId(session), &[segment]).await)
        }
        Step::Changes { everything } => {
            let mut changes = store.changes_since(if everything { 0 } else { *version }).await.expect("read");
            *version = changes.version;
            changes.topics.iter_mut().for_each(|topic| topic.created_at = 0);
            changes.topics.sort_by_key(|topic| topic.topic_id);
            changes.version = 0; // compared by what it tells
            write!(said, "{changes:?}")
        }
        step => return write_rows(store, step).await,
    };
    said
}

/// What coordinators and administrators write.
async fn write_rows(store: &dyn MetadataStore, step: Step) -> String {
    let mut said = String::new();
    let _ = match step {
        Step::Write { session, writes } => {
            let session = SessionId(session);
            let sent: Vec<_> = writes.iter().map(to_write).collect();
            let outcomes = store.write_coordinators(session, &sent).await;
            let mut after = Vec::new();
            for write in &sent {
                after.push(store.coordinator_sequence(session, write.partition, write.leader_epoch).await);
                after
                    .push(store.coordinator_rows(write.partition, None, 100).await.map(|rows| Some(rows.len() as i64)));
            }
            write!(said, "{outcomes:?} {after:?}")
        }
        Step::Rows { topic, partition, after, limit } => {
            write!(said, "{:?}", store.coordinator_rows(key(topic, partition), after.as_ref(), limit).await)
        }
        Step::Alter { topic, expected, configs } => {
            let (organization, topic) = (OrganizationId::DEFAULT, topic_id(topic));
            let (expected, configs) = (to_configs(expected), to_configs(configs));
            let altered = store.alter_topic_configs(organization, topic, &expected, &configs);
            let altered = altered.await.map(|row| row.configs).map_err(|error| match error {
                AlterTopicConfigsError::Changed(row) => format!("now {:?}", row.configs),
                other => format!("{other:?}"),
            });
            write!(said, "{altered:?}")
        }
        _ => unreachable!("{step:?} is applied elsewhere"),
    };
    said
}

fn to_segment(session: i64, lane: i64, ranges: &[RangeStep]) -> metadata::SegmentCommit {
    let ranges = ranges.iter().map(|step| {
        let mut row = range(key(step.topic, step.partition), step.epoch, step.base, step.base + step.records);
        row.producers = vec![7; usize::try_from(lane % 3).unwrap_or(0)].into();
        row.snapshot = step.snapshot.then(|| format!("{session}/{lane}").into());
        row.max_timestamp = (lane * 7) % 5;
        row
    });
    segment(SessionId(session), lane, ranges.collect())
}

fn to_write(step: &WriteStep) -> CoordinatorWrite {
    let changes = step.changes.iter().zip(0..).map(|(&(owner, kind, item, is_kept), number)| CoordinatorChange {
        key: row(owner, kind, item),
        value: is_kept.then(|| format!("{}/{number}", step.sequence).into()),
    });
    CoordinatorWrite {
        partition: key(step.topic, step.partition),
        leader_epoch: step.epoch,
        sequence: step.sequence,
        changes: changes.collect(),
    }
}

/// 0 is what topics are created with.
fn to_configs(number: u8) -> BTreeMap<String, String> {
    let value = if number == 0 { 1_000 } else { i32::from(number) };
    BTreeMap::from([("retention.ms".to_owned(), value.to_string())])
}

fn to_snapshot(as_of_offset: Option<i64>) -> Option<SnapshotAt> {
    as_of_offset.map(|as_of_offset| SnapshotAt { as_of_offset, snapshot: format!("as of {as_of_offset}").into() })
}

fn to_move(step: &MoveStep) -> LogStartMove {
    LogStartMove {
        key: key(step.topic, step.partition),
        leader_epoch: step.epoch,
        log_start_offset: step.log_start,
        snapshot: to_snapshot(step.snapshot),
    }
}

fn to_rewrite(session: i64, number: i64, replacements: &[ReplaceStep]) -> SegmentRewrite {
    let lane_sequence = REWRITE_SEQUENCE_BASE + number;
    let range = |pair: &[i64]| NewRange {
        base_offset: pair[0],
        next_offset: pair[1],
        leader_epoch: 0,
        byte_start: number,
        byte_len: 7,
        checksum: 7,
        max_timestamp: number % 5,
    };
    let replacement = |step: &ReplaceStep| RangesReplacement {
        key: key(step.topic, step.partition),
        leader_epoch: step.epoch,
        replaced: step.replaced.clone(),
        ranges: step.ends.windows(2).map(range).collect(),
        snapshot: to_snapshot(step.snapshot),
    };
    SegmentRewrite {
        lane_sequence,
        object_key: object_key(SessionId(session), lane_sequence),
        organization: OrganizationId::DEFAULT,
        object_bytes: 7,
        replacements: replacements.iter().map(replacement).collect(),
    }
}

async fn read(store: &dyn MetadataStore, topic: u32, partition: i32, from: i64) -> String {
    let key = key(topic, partition);
    let mut leases = Vec::new();
    for agent in store.list_agents().await.expect("list") {
        leases.extend(store.held_leases(agent.session, &[key]).await.expect("read"));
    }
    let names: Vec<_> =
        store.list_topics().await.expect("list").into_iter().map(|row| (row.name, row.topic_id)).collect();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {leases:?} {names:?}",
        store.ranges_from(key, from, 3).await,
        store.range_at_timestamp(key, from, from).await,
        store.range_of_max_timestamp(key, from).await,
        store.producer_history(key).await,
        store.leader_epochs(key.organization, key.topic_id, partition).await,
        store.last_segments().await,
        store.list_agents().await,
    )
}

#[tokio::test]
async fn random_histories_have_the_same_outcomes_in_all_stores() {
    let mut tally = Tally::default();
    for seed in 0..HISTORIES {
        let (mut rng, mut created) = (SmallRng::seed_from_u64(seed), 1);
        let folder = tempfile::tempdir().expect("temporary folder");
        let options = SqliteOptions { new_cluster_id: uuid::Uuid::from_u128(7) };
        let sqlite = SqliteStore::open(&folder.path().join("metadata.db"), options).await.expect("opens");
        let postgres = postgres_server::store(Way::Direct).await;
        let pooled = postgres_server::store(Way::Pooled).await;
        let memory = MemoryStore::new(uuid::Uuid::from_u128(7), || 0);
        let (mut versions, mut rewritten) = ([0; 4], None);
        // A start in which something can happen, then chance.
        let start =
            [Step::Open(0), Step::Create { topic: 0, name: 0, partitions: 3 }, Step::Acquire { session: 1, topic: 0 }];
        for number in 0..STEPS {
            let mut step = start.get(number).cloned().unwrap_or_else(|| draw(&mut rng, &mut created));
            aim(&memory, &mut step, &mut rng, number).await;
            aim_behind(&memory, &mut step, &mut rng).await;
            aim_beside(&memory, &mut step, &mut rng, rewritten).await;
            let model = apply(&memory, &step, &mut versions[0]).await;
            if let Step::Replace { session, number, .. } = step
                && model.contains("Done")
            {
                rewritten = Some((session, number));
            }
            assert_eq!(
                model,
                apply(&sqlite, &step, &mut versions[1]).await,
                "SQLite, seed {seed}, step {number}: {step:?}"
            );
            assert_eq!(
                model,
                apply(&postgres, &step, &mut versions[2]).await,
                "PostgreSQL, seed {seed}, step {number}: {step:?}"
            );
            assert_eq!(
                model,
                apply(&pooled, &step, &mut versions[3]).await,
                "PgBouncer, seed {seed}, step {number}: {step:?}"
            );
            tally.count(&step, &model);
        }
        sqlite.close().await;
        postgres.close().await;
        pooled.close().await;
    }
    println!("{}", tally.assert_says_something());
}
