//! Until when each member of a group has to be heard of, and until when it has to give up partitions.
//!
//! Not stored: after a fail-over everybody gets the whole time again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
struct Deadline {
    session: Instant,
    revocation: Option<Instant>,
}

impl Deadline {
    fn first(&self) -> Instant {
        self.revocation.map_or(self.session, |revocation| revocation.min(self.session))
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
        let revocation = self.remove(member_id).and_then(|before| before.revocation);
        self.put(member_id, Deadline { session, revocation });
    }

    /// The member has to give up partitions, or (`None`) none any more. It must have been heard of.
    pub(super) fn set_revocation(&mut self, member_id: &Arc<str>, revocation: Option<Instant>) {
        if let Some(before) = self.remove(member_id) {
            self.put(member_id, Deadline { revocation, ..before });
        }
    }

    /// The member is out.
    pub(super) fn forget(&mut self, member_id: &str) {
        self.remove(member_id);
    }

    /// The first of all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.in_order.first().map(|(deadline, _)| *deadline)
    }

    /// A member that is over its time, and whether it was not heard of (or else did not give up partitions).
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
