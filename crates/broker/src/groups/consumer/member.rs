//! A member of a consumer group, and the one step that brings what it has nearer to what it should have.
//!
//! A member keeps its epoch until it has given up all that is to be taken from it; then it moves to the epoch of the target
//! and gets what nobody else has any more. So no partition is ever given before its former owner said that it
//! let go (or was fenced).

use std::collections::BTreeSet;
use std::time::Duration;

use segment::{PartitionIndex, TopicId};

use super::assignment::Assignment;
use super::assignor::Assignor;
use super::limits::ConsumerSettings;
use crate::groups::api::Protocol;
use crate::groups::classic::protocols_bytes;

/// The epoch of a static member that left and will be back.
pub(crate) const STATIC_LEAVE_EPOCH: i32 = -2;
/// The epoch of a member that leaves for good.
pub(crate) const LEAVE_EPOCH: i32 = -1;

/// What a member said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberMetadata {
    pub(crate) instance_id: Option<String>,
    pub(crate) rack_id: Option<String>,
    pub(crate) client_id: String,
    /// As Kafka prints it: `/127.0.0.1`.
    pub(crate) client_host: String,
    /// How long it may take to give up partitions.
    pub(crate) rebalance_timeout: Duration,
    pub(crate) subscribed_topic_names: BTreeSet<String>,
    /// Empty = none.
    pub(crate) subscribed_topic_regex: String,
    pub(crate) server_assignor: Option<Assignor>,
    /// Of a member that speaks the classic protocol.
    pub(crate) classic: Option<ClassicMetadata>,
}

/// What a member that speaks the classic protocol said when it joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassicMetadata {
    pub(crate) session_timeout: Duration,
    /// In the order of its preference; at least one. Their metadata is its subscription, the same in all.
    pub(crate) protocols: Vec<Protocol>,
}

impl MemberMetadata {
    /// What it takes to keep it, about.
    pub(super) fn bytes(&self) -> usize {
        let ids = [self.instance_id.as_ref(), self.rack_id.as_ref(), Some(&self.client_id), Some(&self.client_host)];
        let names = self.subscribed_topic_names.iter().map(|name| name.len() + size_of::<String>());
        ids.into_iter().flatten().map(String::len).sum::<usize>()
            + self.subscribed_topic_regex.len()
            + names.sum::<usize>()
            + self.classic.as_ref().map_or(0, |classic| protocols_bytes(&classic.protocols))
    }

    /// How long it may be without a sign of life.
    pub(super) fn session_timeout(&self, settings: &ConsumerSettings) -> Duration {
        self.classic.as_ref().map_or(settings.session_timeout, |classic| classic.session_timeout)
    }

    /// Its regular expression, if it has one.
    pub(super) fn regex(&self) -> Option<&str> {
        Some(self.subscribed_topic_regex.as_str()).filter(|regex| !regex.is_empty())
    }

    pub(super) fn has_subscription_of(&self, other: &Self) -> bool {
        self.subscribed_topic_regex == other.subscribed_topic_regex
            && self.subscribed_topic_names == other.subscribed_topic_names
    }
}

/// Where a member stands on its way to the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// Has all that the target of its epoch gives it.
    #[default]
    Stable,
    /// Has to give up partitions first.
    UnrevokedPartitions,
    /// Waits for partitions that others have not given up.
    UnreleasedPartitions,
}

/// What a member has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CurrentAssignment {
    /// 0 before its first assignment, [`STATIC_LEAVE_EPOCH`] while away.
    pub(crate) epoch: i32,
    /// The last one that the member is known to know: a member whose answers were lost still comes with it.
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    /// What it was told to have.
    pub(crate) assigned: Assignment,
    /// What it may still have, though it was told to give it up.
    pub(crate) pending_revocation: Assignment,
}

impl CurrentAssignment {
    pub(super) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// Everything that nobody else may have.
    pub(super) fn held(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> + '_ {
        self.assigned.iter().chain(self.pending_revocation.iter())
    }

    /// Whether nobody else may have any of these.
    pub(super) fn holds(&self, partitions: &Assignment) -> bool {
        let (_, others) = partitions.split(&self.assigned);
        others.is_subset(&self.pending_revocation)
    }

    /// The next step towards the target. `received`: the epoch that the member came with. `owned`: what the member says it
    /// has, if it said so. `is_free`: no other member holds it.
    pub(super) fn reconcile(
        &self,
        received: i32,
        target_epoch: i32,
        target: &Assignment,
        owned: Option<&Assignment>,
        is_free: impl Fn(TopicId, PartitionIndex) -> bool,
    ) -> Self {
        let may_own_any_of = |revoked: &Assignment| owned.is_none_or(|owned| owned.intersects(revoked));
        match self.state {
            MemberState::Stable if self.epoch == target_epoch => return self.clone(),
            MemberState::UnrevokedPartitions if may_own_any_of(&self.pending_revocation) => return self.clone(),
            MemberState::Stable | MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {}
        }
        let (mut assigned, revoked) = self.assigned.split(target);
        if !revoked.is_empty() && may_own_any_of(&revoked) {
            let state = MemberState::UnrevokedPartitions;
            return Self { state, assigned, pending_revocation: revoked, ..*self };
        }
        let (_, missing) = target.split(&assigned);
        let (free, unreleased): (Assignment, Assignment) =
            missing.iter().partition(|(topic, partition)| is_free(*topic, *partition));
        assigned.extend(free.iter());
        let state = if unreleased.is_empty() { MemberState::Stable } else { MemberState::UnreleasedPartitions };
        let previous_epoch =
            if received == self.epoch && received != target_epoch { received } else { self.previous_epoch };
        Self { epoch: target_epoch, previous_epoch, state, assigned, pending_revocation: Assignment::default() }
    }
}

/// A member of a consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) metadata: MemberMetadata,
    pub(crate) current: CurrentAssignment,
}
