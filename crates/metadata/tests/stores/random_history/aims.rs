//! Lets steps that were drawn by chance hit what is there, mostly: by chance alone they hardly ever would.

use metadata::{Coordinators, MemoryStore, Segments, Sessions, conformance::fixture::key};
use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};
use segment::{PartitionKey, REWRITE_SEQUENCE_BASE, SessionId};

use super::Step;

/// The session that holds a partition's lease, and its epoch.
async fn holder(model: &MemoryStore, key: PartitionKey) -> Option<(i64, i32)> {
    for agent in model.list_agents().await.expect("list") {
        if let Some(epoch) = model.confirm_leases(agent.session, &[key]).await.expect("read")[0] {
            return Some((agent.session.0, epoch));
        }
    }
    None
}

/// The number whose [`topic_id`] it is.
fn topic_number(key: PartitionKey) -> u32 {
    u32::try_from(key.topic_id.0.as_u128() & u128::from(u32::MAX)).expect("32 bits")
}

/// Lets most changes of logs and rows hit: by the leader, under its epoch, on rows that are there.
pub(super) async fn aim_behind(model: &MemoryStore, step: &mut Step, rng: &mut SmallRng) {
    match step {
        Step::MoveLogStarts { session, moves, .. } => {
            for step in moves {
                if rng.random_bool(0.1) {
                    continue;
                }
                let key = key(step.topic, step.partition);
                if let Some(holder) = holder(model, key).await {
                    (*session, step.epoch) = holder;
                }
                let end =
                    model.ranges_from(key, 0, u32::MAX).await.expect("read").last().map_or(0, |row| row.next_offset);
                step.log_start = rng.random_range(0..=end);
                step.snapshot = step.snapshot.map(|_| end);
            }
        }
        Step::Replace { session, replacements, .. } => {
            for step in replacements {
                if rng.random_bool(0.1) {
                    continue;
                }
                let key = key(step.topic, step.partition);
                if let Some(holder) = holder(model, key).await {
                    (*session, step.epoch) = holder;
                }
                let rows = model.ranges_from(key, 0, u32::MAX).await.expect("read");
                let first = rng.random_range(0..=rows.len().saturating_sub(2));
                let some: Vec<_> = rows.iter().skip(first).take(rng.random_range(1..4)).collect();
                let (Some(head), Some(last)) = (some.first(), some.last()) else { continue };
                step.replaced = some.iter().map(|row| row.base_offset).collect();
                step.ends = vec![head.base_offset, last.next_offset];
                step.snapshot = step.snapshot.map(|_| last.next_offset);
            }
        }
        Step::Write { session, writes } => {
            for step in writes {
                if rng.random_bool(0.1) {
                    continue;
                }
                let changes = model.changes_since(0).await.expect("read");
                let Some(lease) = changes.leases.choose(rng) else { continue };
                let Some(holder) = lease.session else { continue };
                (*session, step.epoch) = (holder.0, lease.leader_epoch);
                (step.topic, step.partition) = (topic_number(lease.key), lease.key.partition);
                let sequence = model.coordinator_sequence(holder, lease.key, step.epoch).await.expect("read");
                if rng.random_bool(0.8) {
                    step.sequence = sequence.unwrap_or(0);
                }
            }
        }
        _ => {}
    }
}

/// Lets most of what agents do to each other hit: between sessions that are active, at what there is. `rewritten` is the session and
/// number of the last rewrite that happened.
pub(super) async fn aim_beside(
    model: &MemoryStore,
    step: &mut Step,
    rng: &mut SmallRng,
    rewritten: Option<(i64, i64)>,
) {
    let agents = model.list_agents().await.expect("list");
    if rng.random_bool(0.3) {
        return;
    }
    match step {
        Step::HandOver { session, to, topic } => {
            if let Some((holder, _)) = holder(model, key(*topic, 0)).await {
                *session = holder;
            }
            if let Some(agent) = agents.choose(rng) {
                *to = agent.session.0;
            }
        }
        Step::Suspect { session, target } => {
            if let (Some(agent), Some(other)) = (agents.choose(rng), agents.choose(rng)) {
                (*session, *target) = (agent.session.0, other.session.0);
            }
        }
        // A few: those who are fenced do nothing more.
        Step::Fence { session, target, renewals } if rng.random_bool(0.3) => {
            if let (Some(agent), Some(other)) = (agents.choose(rng), agents.choose(rng)) {
                (*session, *target, *renewals) = (agent.session.0, other.session.0, other.renewals);
            }
        }
        Step::Renew { session, .. }
        | Step::Acquire { session, .. }
        | Step::Claim { session, .. }
        | Step::Collect { session, .. } => {
            if let Some(agent) = agents.choose(rng) {
                *session = agent.session.0;
            }
        }
        Step::Resolve { session, lane } => {
            let mut last = model.last_segments().await.expect("read");
            last.retain(|last| agents.iter().any(|agent| agent.session == last.session));
            if let Some(last) = last.choose(rng).filter(|last| last.lane_sequence < REWRITE_SEQUENCE_BASE) {
                (*session, *lane) = (last.session.0, last.lane_sequence);
            }
        }
        Step::ResolveRewrite { session, number } => {
            if let Some(rewritten) = rewritten {
                (*session, *number) = rewritten;
            }
        }
        Step::Rows { topic, partition, after, .. } => {
            for lease in model.changes_since(0).await.expect("read").leases {
                if !model.coordinator_rows(lease.key, after.as_ref(), 1).await.expect("read").is_empty() {
                    (*topic, *partition) = (topic_number(lease.key), lease.key.partition);
                }
            }
        }
        _ => {}
    }
}

/// Lets most commits hit: by the session that holds the lease, under its epoch, at its offset, into a free slot.
pub(super) async fn aim(model: &MemoryStore, step: &mut Step, rng: &mut SmallRng, number: usize) {
    let Step::Commit { session, lanes } = step else { return };
    let mut next = std::collections::BTreeMap::new();
    for (lane, ranges) in lanes {
        *lane = if rng.random_bool(0.9) { i64::try_from(number).unwrap_or(0) * 4 + *lane % 4 } else { *lane };
        for range in ranges.iter_mut().filter(|_| rng.random_bool(0.9)) {
            let key = key(range.topic, range.partition);
            if let Some(holder) = holder(model, key).await {
                (*session, range.epoch) = holder;
            }
            let leases = model.held_leases(SessionId(*session), &[key]).await.expect("read");
            range.base = *next.entry(key).or_insert(leases.first().map_or(0, |lease| lease.next_offset));
            next.insert(key, range.base + range.records);
        }
    }
}
