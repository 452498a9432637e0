//! What all coordinators of an agent hold and do: for metrics, and for the bound on their memory.
//!
//! A registry tells what each of its groups is after everything that the group does; what it told goes when it does. So the
//! sums are right at any time, and reading them costs nothing that grows with groups.

#[cfg(feature = "metrics")]
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::api::{GroupState, GroupType};

/// Types of groups, in the order of their counters.
#[cfg(feature = "metrics")]
const TYPES: [GroupType; 2] = [GroupType::Classic, GroupType::Consumer];
/// States that a group can be counted in, likewise.
const STATES: [GroupState; 6] = [
    GroupState::Empty,
    GroupState::PreparingRebalance,
    GroupState::CompletingRebalance,
    GroupState::Assigning,
    GroupState::Reconciling,
    GroupState::Stable,
];

/// What is counted of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) group_type: GroupType,
    pub(crate) state: GroupState,
    pub(crate) members: usize,
    /// About what it takes in memory.
    pub(crate) bytes: usize,
    /// Of those, its offsets.
    pub(crate) offset_bytes: usize,
    /// Its generation or its epoch: what rises with each rebalance.
    pub(crate) generation: i32,
}

/// Of each type of groups.
#[derive(Debug, Default)]
struct OfType {
    groups: [AtomicI64; STATES.len()],
    members: AtomicI64,
    rebalances: AtomicU64,
    expired_members: AtomicU64,
    conversions: AtomicU64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    of_types: [OfType; 2],
    bytes: AtomicI64,
    commits: AtomicU64,
    committed_offsets: AtomicU64,
    refused: AtomicU64,
}

impl Tally {
    fn of(&self, group_type: GroupType) -> &OfType {
        &self.of_types[usize::from(group_type == GroupType::Consumer)]
    }

    /// A group is something else than it was: `None` before it is known, and after it is forgotten.
    pub(crate) fn update(&self, before: Option<Figures>, after: Option<Figures>) {
        for (figures, sign) in [(before, -1), (after, 1)] {
            let Some(figures) = figures else { continue };
            let of_type = self.of(figures.group_type);
            if let Some(state) = STATES.iter().position(|state| *state == figures.state) {
                of_type.groups[state].fetch_add(sign, Ordering::Relaxed);
            }
            of_type.members.fetch_add(sign * signed(figures.members), Ordering::Relaxed);
            self.bytes.fetch_add(sign * signed(figures.bytes), Ordering::Relaxed);
        }
        let (Some(before), Some(after)) = (before, after) else { return };
        let had_members = before.members > 0;
        if before.group_type != after.group_type {
            self.of(after.group_type)
                .conversions
                .fetch_add(u64::from(had_members && after.members > 0), Ordering::Relaxed);
        } else if let Ok(rebalances @ 1..) = u64::try_from(after.generation.saturating_sub(before.generation)) {
            self.of(after.group_type).rebalances.fetch_add(rebalances, Ordering::Relaxed);
        }
    }

    /// Members were put out, as their time was over.
    pub(crate) fn expired(&self, group_type: GroupType, members: usize) {
        self.of(group_type).expired_members.fetch_add(members as u64, Ordering::Relaxed);
    }

    /// A group committed so many offsets.
    pub(crate) fn committed(&self, offsets: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.committed_offsets.fetch_add(offsets as u64, Ordering::Relaxed);
    }

    /// A request would have grown what is held above its bound.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// About what all groups take in memory.
    pub(crate) fn bytes(&self) -> usize {
        usize::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Lets a meter read all of it.
#[cfg(feature = "metrics")]
pub(crate) fn register(meter: &opentelemetry::metrics::Meter, tally: &Arc<Tally>) {
    use opentelemetry::KeyValue;
    let type_label = |group_type: GroupType| KeyValue::new("type", group_type.as_str());
    let groups = Arc::clone(tally);
    let _ = meter
        .i64_observable_gauge("streamhouse_groups")
        .with_description("Groups coordinated here")
        .with_callback(move |observer| {
            for (group_type, of_type) in TYPES.iter().zip(&groups.of_types) {
                for (state, count) in STATES.iter().zip(&of_type.groups) {
                    let labels = [type_label(*group_type), KeyValue::new("state", state.as_str())];
                    observer.observe(count.load(Ordering::Relaxed), &labels);
                }
            }
        })
        .build();
    let members = Arc::clone(tally);
    let _ = meter
        .i64_observable_gauge("streamhouse_group_members")
        .with_description("Members of groups coordinated here")
        .with_callback(move |observer| {
            for (group_type, of_type) in TYPES.iter().zip(&members.of_types) {
                observer.observe(of_type.members.load(Ordering::Relaxed), &[type_label(*group_type)]);
            }
        })
        .build();
    let bytes = Arc::clone(tally);
    let _ = meter
        .i64_observable_gauge("streamhouse_group_bytes")
        .with_description("Memory of groups coordinated here, about")
        .with_callback(move |observer| observer.observe(bytes.bytes.load(Ordering::Relaxed), &[]))
        .build();
    type Count<T> = fn(&T) -> &AtomicU64;
    let of_types: [(&str, &str, Count<OfType>); 3] = [
        ("streamhouse_group_rebalances_total", "Generations and epochs of groups", |of_type| &of_type.rebalances),
        ("streamhouse_group_members_expired_total", "Members put out by time", |of_type| &of_type.expired_members),
        ("streamhouse_group_conversions_total", "Groups that became of this type", |of_type| &of_type.conversions),
    ];
    for (name, description, count) in of_types {
        let tally = Arc::clone(tally);
        let callback = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            for (group_type, of_type) in TYPES.iter().zip(&tally.of_types) {
                observer.observe(count(of_type).load(Ordering::Relaxed), &[type_label(*group_type)]);
            }
        };
        let _ = meter.u64_observable_counter(name).with_description(description).with_callback(callback).build();
    }
    let sums: [(&str, &str, Count<Tally>); 3] = [
        ("streamhouse_group_commits_total", "Offset commits", |tally| &tally.commits),
        ("streamhouse_group_offsets_committed_total", "Offsets in those commits", |tally| &tally.committed_offsets),
        ("streamhouse_group_refused_total", "Requests refused at the bound of memory", |tally| &tally.refused),
    ];
    for (name, description, count) in sums {
        let tally = Arc::clone(tally);
        let callback = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
            observer.observe(count(&tally).load(Ordering::Relaxed), &[]);
        };
        let _ = meter.u64_observable_counter(name).with_description(description).with_callback(callback).build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_groups_tell_is_summed_up_and_goes_with_them() {
        let tally = Tally::default();
        let new = Figures {
            group_type: GroupType::Classic,
            state: GroupState::Stable,
            members: 2,
            bytes: 100,
            offset_bytes: 50,
            generation: 1,
        };
        let rebalanced = Figures { generation: 3, bytes: 40, ..new };
        let converted =
            Figures { group_type: GroupType::Consumer, state: GroupState::Reconciling, members: 3, ..rebalanced };
        tally.update(None, Some(new));
        assert_eq!((tally.bytes(), tally.of(GroupType::Classic).members.load(Ordering::Relaxed)), (100, 2));
        tally.update(Some(new), Some(rebalanced));
        tally.update(Some(rebalanced), Some(converted));
        assert_eq!(tally.bytes(), 40);
        let (classic, consumer) = (tally.of(GroupType::Classic), tally.of(GroupType::Consumer));
        assert_eq!(classic.rebalances.load(Ordering::Relaxed), 2);
        assert_eq!((classic.members.load(Ordering::Relaxed), consumer.members.load(Ordering::Relaxed)), (0, 3));
        assert_eq!(consumer.conversions.load(Ordering::Relaxed), 1);
        assert_eq!(consumer.groups[4].load(Ordering::Relaxed), 1, "Reconciling");
        tally.update(Some(converted), None);
        let groups = [classic, consumer].into_iter().flat_map(|of_type| &of_type.groups);
        assert!(groups.into_iter().all(|count| count.load(Ordering::Relaxed) == 0));
        assert_eq!((tally.bytes(), consumer.members.load(Ordering::Relaxed)), (0, 0));
    }
}
