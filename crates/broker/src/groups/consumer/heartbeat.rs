//! What a heartbeat does: find the member, take over what it says, assign if something changed, reconcile, answer.
//!
//! Everything that can be refused is refused before anything changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metadata::CoordinatorChange;
use tokio::time::Instant;

use super::assignment::Assignment;
use super::assignor::Assignor;
use super::consumer_group::ConsumerGroup;
use super::deadlines::Wait;
use super::limits::{UNSETTLED_INTERVAL, UNSETTLED_INTERVAL_OF_EACH};
use super::member::{LEAVE_EPOCH, Member, MemberMetadata, MemberState, STATIC_LEAVE_EPOCH};
use super::subscription;
use crate::groups::api::{GroupError, GroupState};
use crate::groups::api_consumer::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, HeartbeatRefused};
use crate::groups::limits::{GROUP_BYTES_MAX, MEMBER_BYTES_MAX};
use crate::groups::topics_view::TopicsView;

/// Who sends a heartbeat, or joins.
pub(super) enum Sender {
    /// A member of the group.
    Member(Arc<str>),
    /// Somebody who joins.
    New(Arc<str>),
    /// A static member that comes back under another id.
    Returned { before: Arc<str>, after: Arc<str> },
}

pub(super) type Refusable<T> = Result<T, HeartbeatRefused>;

/// What somebody says of itself, in either protocol.
pub(super) struct Said<'a> {
    pub(super) metadata: MemberMetadata,
    /// Its epoch, if it says so: who speaks the classic protocol comes to join whatever its generation.
    pub(super) epoch: Option<i32>,
    /// What it has, if it says so.
    pub(super) owned: Option<&'a Assignment>,
}

impl ConsumerGroup {
    /// Answers a heartbeat, which was checked ([`ConsumerHeartbeat::check`]) and has a member id.
    ///
    /// # Errors
    /// As Kafka; then nothing has changed.
    pub(crate) fn heartbeat(
        &mut self,
        now: Instant,
        request: &ConsumerHeartbeat,
        topics: &TopicsView,
        changes: &mut Vec<CoordinatorChange>,
    ) -> Refusable<ConsumerHeartbeatAnswer> {
        let answer = if matches!(request.member_epoch, LEAVE_EPOCH | STATIC_LEAVE_EPOCH) {
            self.leave(now, request)
        } else {
            self.stay(now, request, topics)
        };
        self.write(changes);
        answer
    }

    fn stay(
        &mut self,
        now: Instant,
        request: &ConsumerHeartbeat,
        topics: &TopicsView,
    ) -> Refusable<ConsumerHeartbeatAnswer> {
        let sender = self.sender(request)?;
        let known = self.known(&sender);
        let assigned_before = known.map(|member| member.current.assigned.clone()).unwrap_or_default();
        let before = known.map(|member| member.metadata.clone()).unwrap_or_default();
        let metadata = before.updated(request);
        if metadata.subscribed_topic_regex != before.subscribed_topic_regex {
            check_regex(&metadata)?;
        }
        let said = Said { metadata, epoch: Some(request.member_epoch), owned: request.owned.as_ref() };
        let member_id = &self.take_over(now, sender, said, topics)?;
        if before.classic.is_some() {
            self.deadlines.set(member_id, Wait::Join, None);
            self.deadlines.set(member_id, Wait::Sync, None);
        }

        let current = &self.members.get(member_id).ok_or_else(|| self.unknown(member_id))?.current;
        let is_told = request.is_full() || current.assigned != assigned_before;
        Ok(ConsumerHeartbeatAnswer {
            member_id: member_id.to_string(),
            member_epoch: current.epoch,
            heartbeat_interval: self.heartbeat_interval(),
            assignment: is_told.then(|| current.assigned.clone()),
        })
    }

    pub(super) fn known(&self, sender: &Sender) -> Option<&Member> {
        match sender {
            Sender::New(_) => None,
            Sender::Member(id) | Sender::Returned { before: id, .. } => self.members.get(id),
        }
    }

    /// Takes over what somebody says of itself, assigns if that changes something, and brings the member nearer to its
    /// target; its id.
    pub(super) fn take_over(
        &mut self,
        now: Instant,
        sender: Sender,
        said: Said<'_>,
        topics: &TopicsView,
    ) -> Refusable<Arc<str>> {
        let Said { metadata, epoch, owned } = said;
        let nothing = MemberMetadata::default();
        let before = self.known(&sender).map_or(&nothing, |member| &member.metadata);
        let subscription_changed = !metadata.has_subscription_of(before);
        self.check_room(before, &metadata)?;
        let member_id = match sender {
            Sender::Member(id) | Sender::New(id) => id,
            Sender::Returned { before, after } => {
                self.replace_member(now, &before, &after);
                after
            }
        };
        let session = now + metadata.session_timeout(&self.settings);
        self.set_metadata(&member_id, metadata);
        self.deadlines.set_session(&member_id, session);
        self.refresh(subscription_changed, topics);
        self.assign(topics);
        let epoch = epoch.or_else(|| self.members.get(&member_id).map(|member| member.current.epoch));
        self.reconcile(now, &member_id, epoch.unwrap_or_default(), owned);
        Ok(member_id)
    }

    /// While a group is on its way to an assignment its members come back sooner: who is to get a partition gets it once its
    /// former owner has said that it let go, which takes a heartbeat of each. Of large groups less often.
    fn heartbeat_interval(&self) -> Duration {
        let settled = self.settings.heartbeat_interval;
        if self.state() == GroupState::Stable {
            return settled;
        }
        let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        settled.min(UNSETTLED_INTERVAL.max(UNSETTLED_INTERVAL_OF_EACH.saturating_mul(members)))
    }

    /// Our own bounds; Kafka's is the size of a record.
    fn check_room(&self, before: &MemberMetadata, after: &MemberMetadata) -> Refusable<()> {
        let bytes = after.bytes();
        if bytes > MEMBER_BYTES_MAX || self.metadata_bytes - before.bytes() + bytes > GROUP_BYTES_MAX {
            let message = "The group has no room for so much metadata of members.";
            return Err(HeartbeatRefused::new(GroupError::GroupMaxSizeReached, message));
        }
        Ok(())
    }

    fn leave(&mut self, now: Instant, request: &ConsumerHeartbeat) -> Refusable<ConsumerHeartbeatAnswer> {
        let member_id = match request.instance_id.as_deref() {
            None => self.member_key(&request.member_id).ok_or_else(|| self.unknown(&request.member_id))?,
            Some(instance_id) => self.static_member(instance_id, &request.member_id)?,
        };
        match self.members.get(&member_id) {
            Some(member) if request.member_epoch == STATIC_LEAVE_EPOCH && request.instance_id.is_some() => {
                // What it did not give up yet it gave up by leaving; the rest waits for it.
                let mut current = member.current.clone();
                current.epoch = STATIC_LEAVE_EPOCH;
                current.pending_revocation = Assignment::default();
                if current.state == MemberState::UnrevokedPartitions {
                    current.state = MemberState::Stable;
                }
                self.set_current(now, &member_id, current);
            }
            _ => self.remove_members(&[Arc::clone(&member_id)]),
        }
        Ok(ConsumerHeartbeatAnswer {
            member_id: member_id.to_string(),
            member_epoch: request.member_epoch,
            heartbeat_interval: Duration::ZERO,
            assignment: None,
        })
    }

    /// Whether there is room for another member.
    pub(super) fn check_size(&self) -> Refusable<()> {
        let max = self.settings.max_size;
        if self.members.len() < max {
            return Ok(());
        }
        let message = format!("The consumer group has reached its maximum capacity of {max} members.");
        Err(HeartbeatRefused::new(GroupError::GroupMaxSizeReached, message))
    }

    fn sender(&self, request: &ConsumerHeartbeat) -> Refusable<Sender> {
        let known = self.members.get_key_value(request.member_id.as_str());
        if known.is_none() {
            self.check_size()?;
        }
        let joins = request.member_epoch == 0;
        let new = || Sender::New(Arc::from(request.member_id.as_str()));
        match (request.instance_id.as_deref(), known) {
            (Some(instance_id), _) if joins => match self.static_members.get(instance_id) {
                None => Ok(known.map_or_else(new, |(id, _)| Sender::Member(Arc::clone(id)))),
                Some(holder) => self.returned(instance_id, holder, request),
            },
            (Some(instance_id), _) => {
                let member_id = self.static_member(instance_id, &request.member_id)?;
                self.members.get(&member_id).map_or(Ok(()), |member| member.check_heartbeat(request))?;
                Ok(Sender::Member(member_id))
            }
            (None, Some((member_id, member))) => {
                member.check_heartbeat(request)?;
                Ok(Sender::Member(Arc::clone(member_id)))
            }
            (None, None) if joins => Ok(new()),
            (None, None) => Err(self.unknown(&request.member_id)),
        }
    }

    /// A static member joins whose instance id is somebody's: only one that left (-2), or speaks the classic protocol, can be
    /// replaced. The same member whose first answer was lost is let in; Kafka refuses it, and Java clients end then.
    fn returned(&self, instance_id: &str, holder: &Arc<str>, request: &ConsumerHeartbeat) -> Refusable<Sender> {
        let Some(member) = self.members.get(holder) else { return Err(self.unknown(holder)) };
        if **holder == *request.member_id && member.check_heartbeat(request).is_ok() {
            return Ok(Sender::Member(Arc::clone(holder)));
        }
        if member.current.epoch != STATIC_LEAVE_EPOCH && member.metadata.classic.is_none() {
            let message = format!(
                "Static member {} with instance id {instance_id} cannot join the group because the instance id is owned \
                 by {holder} member.",
                request.member_id
            );
            return Err(HeartbeatRefused::new(GroupError::UnreleasedInstanceId, message));
        }
        Ok(Sender::Returned { before: Arc::clone(holder), after: Arc::from(request.member_id.as_str()) })
    }

    /// The member of that instance id, which must be the one that asks.
    fn static_member(&self, instance_id: &str, member_id: &str) -> Refusable<Arc<str>> {
        let Some(holder) = self.static_members.get(instance_id) else {
            let message = format!("Instance id {instance_id} is unknown.");
            return Err(HeartbeatRefused::new(GroupError::UnknownMemberId, message));
        };
        if **holder != *member_id {
            let message =
                format!("Static member {member_id} with instance id {instance_id} was fenced by member {holder}.");
            return Err(HeartbeatRefused::new(GroupError::FencedInstanceId, message));
        }
        Ok(Arc::clone(holder))
    }

    fn unknown(&self, member_id: &str) -> HeartbeatRefused {
        let message = format!("Member {member_id} is not a member of group {}.", self.group_id);
        HeartbeatRefused::new(GroupError::UnknownMemberId, message)
    }
}

impl Member {
    /// Whether the epoch is the member's: the one before is its own too, if it has nothing that it should not have, because
    /// the answer that told it the new one may have been lost.
    fn check_heartbeat(&self, request: &ConsumerHeartbeat) -> Refusable<()> {
        let (received, known) = (request.member_epoch, self.current.epoch);
        let has_only_its_own = || request.owned.as_ref().is_some_and(|owned| self.current.holds(owned));
        if received == known || received < known && received == self.current.previous_epoch && has_only_its_own() {
            return Ok(());
        }
        let compared = if received > known { "greater" } else { "smaller" };
        let message = format!(
            "The consumer group member has a {compared} member epoch ({received}) than the one known by the group \
             coordinator ({known}). The member must abandon all its partitions and rejoin."
        );
        Err(HeartbeatRefused::new(GroupError::FencedMemberEpoch, message))
    }
}

impl MemberMetadata {
    /// With what the request says.
    fn updated(&self, request: &ConsumerHeartbeat) -> Self {
        let names = request.subscribed_topic_names.as_ref().map(|names| names.iter().cloned().collect::<BTreeSet<_>>());
        Self {
            instance_id: request.instance_id.clone().or_else(|| self.instance_id.clone()),
            rack_id: request.rack_id.clone().or_else(|| self.rack_id.clone()),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            rebalance_timeout: request.rebalance_timeout.unwrap_or(self.rebalance_timeout),
            subscribed_topic_names: names.unwrap_or_else(|| self.subscribed_topic_names.clone()),
            subscribed_topic_regex: request
                .subscribed_topic_regex
                .clone()
                .unwrap_or_else(|| self.subscribed_topic_regex.clone()),
            server_assignor: request.server_assignor.as_deref().and_then(Assignor::of_name).or(self.server_assignor),
            classic: None,
        }
    }
}

fn check_regex(metadata: &MemberMetadata) -> Refusable<()> {
    let Some(pattern) = metadata.regex() else { return Ok(()) };
    subscription::compile(pattern).map(drop).map_err(|why| {
        let message = format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {why}.");
        HeartbeatRefused::new(GroupError::InvalidRegularExpression, message)
    })
}
