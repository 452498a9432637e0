//! Until when each member of a group has to be heard of, and until when it has to do its part of a rebalance.
//!
//! Not stored: after a fail-over everybody gets the whole time again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

/// What a member may be awaited for, beside a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It has to give up partitions.
    Revocation,
    /// One that speaks the classic protocol was told to join again.
    Join,
    /// One that speaks the classic protocol joined, and has not asked yet what it is assigned.
    Sync,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    session: Instant,
    /// In the order of [`Wait`].
    waits: [Option<Instant>; 3],
}

impl Deadline {
    fn first(&self) -> Instant {
        self.waits.iter().flatten().copied().min().map_or(self.session, |wait| wait.min(self.session))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    of_members: BTreeMap<Arc<str>, Deadline>,
    in_order: BTreeSet<(Instant, Arc<str>)>,
}

impl Deadlines {
    /// The member was heard of.
    pub(super) fn set_session(&mut self, member_id: &Arc<str>, session: Instant) {
        let waits = self.remove(member_id).map_or([None; 3], |before| before.waits);
        self.put(member_id, Deadline { session, waits });
    }

    /// The member is awaited until then, or (`None`) no more. It must have been heard of.
    pub(super) fn set(&mut self, member_id: &Arc<str>, wait: Wait, until: Option<Instant>) {
        if let Some(mut deadline) = self.remove(member_id) {
            deadline.waits[wait as usize] = until;
            self.put(member_id, deadline);
        }
    }

    /// The member is awaited until then, if it is not already.
    pub(super) fn begin(&mut self, member_id: &Arc<str>, wait: Wait, until: Instant) {
        let begun = self.of_members.get(member_id).and_then(|deadline| deadline.waits[wait as usize]);
        self.set(member_id, wait, Some(begun.unwrap_or(until)));
    }

    /// The member is out.
    pub(super) fn forget(&mut self, member_id: &str) {
        self.remove(member_id);
    }

    /// The first of all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.in_order.first().map(|(deadline, _)| *deadline)
    }

    /// A member that is over its time, and whether it was not heard of (or else did not do its part).
    pub(super) fn due(&self, now: Instant) -> Option<(Arc<str>, bool)> {
        let (deadline, member_id) = self.in_order.first().filter(|(deadline, _)| *deadline <= now)?;
        let was_not_heard_of = self.of_members.get(member_id).is_some_and(|own| own.session <= *deadline);
        Some((Arc::clone(member_id), was_not_heard_of))
    }

    fn put(&mut self, member_id: &Arc<str>, deadline: Deadline) {
        self.in_order.insert((deadline.first(), Arc::clone(member_id)));
        self.of_members.insert(Arc::clone(member_id), deadline);
    }

    fn remove(&mut self, member_id: &str) -> Option<Deadline> {
        let (member_id, deadline) = self.of_members.remove_entry(member_id)?;
        self.in_order.remove(&(deadline.first(), member_id));
        Some(deadline)
    }
}
