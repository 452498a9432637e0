//! What a group's state says about its offsets and its deletion.

use segment::TimestampMs;

use super::{ClassicGroup, Phase};
use crate::groups::api::{GroupError, OffsetCommit};
use crate::groups::effects::Now;
use crate::groups::embedded::CONSUMER;

/// From when the retention of a group's offsets counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetExpiry {
    /// They are in use, or may be.
    Never,
    /// From when the group became empty.
    SinceEmpty(TimestampMs),
    /// From each one's commit: of a group without members' protocol, and of topics that a stable group no longer reads.
    SinceCommit,
}

impl ClassicGroup {
    /// Whether somebody may commit; a commit of a member is a sign of life.
    pub(crate) fn check_commit(&mut self, now: Now, request: &OffsetCommit) -> Result<(), GroupError> {
        let generation = request.generation_id_or_member_epoch;
        let empty = matches!(self.phase, Phase::Empty);
        // From an administrator, or a consumer that was assigned its partitions by hand.
        if generation < 0 && empty {
            return Ok(());
        }
        let instance_id = request.group_instance_id.as_deref();
        if generation < 0 && request.member_id.is_empty() && instance_id.is_none() {
            return Err(GroupError::UnknownMemberId);
        }
        self.validate_member(&request.member_id, instance_id)?;
        if generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        match self.phase {
            Phase::Completing { .. } => Err(GroupError::RebalanceInProgress),
            Phase::Empty | Phase::Preparing { .. } | Phase::Stable { .. } => {
                self.extend_session(now, &request.member_id);
                Ok(())
            }
        }
    }

    /// Whether offsets may be deleted: of a group of consumers those that nobody reads, of others none while they are there.
    pub(crate) fn check_offset_delete(&self) -> Result<(), GroupError> {
        if self.protocol_type.as_deref() == Some(CONSUMER) { Ok(()) } else { self.check_delete() }
    }

    /// Whether the group may be deleted.
    pub(crate) fn check_delete(&self) -> Result<(), GroupError> {
        if matches!(self.phase, Phase::Empty) { Ok(()) } else { Err(GroupError::NonEmptyGroup) }
    }

    /// Whether members read the topic. Consumers of whom it is not known are taken to read everything.
    pub(crate) fn is_subscribed_to(&self, topic_name: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic_name),
            None => self.protocol_type.as_deref() == Some(CONSUMER),
        }
    }

    /// Which of its offsets may expire, and from when they age.
    pub(crate) fn offset_expiry(&self) -> OffsetExpiry {
        match (&self.protocol_type, self.phase) {
            (None, _) => OffsetExpiry::SinceCommit,
            (Some(_), Phase::Empty) => OffsetExpiry::SinceEmpty(self.since),
            (Some(kind), Phase::Stable { .. }) if kind == CONSUMER && self.subscribed_topics.is_some() => {
                OffsetExpiry::SinceCommit
            }
            (Some(_), _) => OffsetExpiry::Never,
        }
    }
}
