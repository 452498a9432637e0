//! From one generation to the next, and all that time alone brings about.

use tokio::time::Instant;
use tracing::debug;

use super::{ClassicGroup, InitialDelay, Phase};
use crate::groups::api::GroupError;
use crate::groups::effects::{Effects, Now, Reply};
use crate::groups::embedded::{self, CONSUMER};
use crate::groups::limits::REBALANCE_RETRY_MIN;

impl ClassicGroup {
    /// Somebody came, changed or went: a rebalance begins, or the one that is under way may be complete.
    pub(super) fn rebalance_or_complete(
        &mut self,
        now: Now,
        why: &'static str,
        reason: Option<&str>,
        effects: &mut Effects,
    ) {
        match self.phase {
            Phase::Preparing { initial: None, .. } if self.all_joined() => self.complete_join(now, effects),
            Phase::Preparing { .. } => {}
            Phase::Empty | Phase::Completing { .. } | Phase::Stable { .. } => {
                debug!(group = self.group_id, generation = self.generation, why, reason, "rebalance");
                self.prepare_rebalance(now, effects);
            }
        }
    }

    fn prepare_rebalance(&mut self, now: Now, effects: &mut Effects) {
        if matches!(self.phase, Phase::Completing { .. }) {
            self.abandon_sync(now, GroupError::RebalanceInProgress, effects);
        }
        for member in self.members.values_mut() {
            member.owes_sync = false;
        }
        if matches!(self.phase, Phase::Empty) {
            let delay = self.settings.initial_rebalance_delay;
            let remaining = self.rebalance_timeout().saturating_sub(delay);
            let initial = Some(InitialDelay { delay, remaining, extended: false });
            self.enter(now, Phase::Preparing { deadline: now.instant + delay, initial });
            return;
        }
        let deadline = now.instant + self.rebalance_timeout();
        self.enter(now, Phase::Preparing { deadline, initial: None });
        if self.all_joined() {
            self.complete_join(now, effects);
        }
    }

    /// Those that wait for an assignment get none.
    pub(super) fn abandon_sync(&mut self, now: Now, error: GroupError, effects: &mut Effects) {
        let mut answered = Vec::new();
        for (member_id, member) in &mut self.members {
            member.assignment.clear();
            if let Some(ticket) = member.syncing.take() {
                effects.reply(ticket, Reply::Sync(Err(error)));
                answered.push(member_id.clone());
            }
        }
        for member_id in answered {
            self.extend_session(now, &member_id);
        }
    }

    pub(super) fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// Nobody is waited for any more: the next generation is those that joined, and static members, who may be away.
    pub(super) fn complete_join(&mut self, now: Now, effects: &mut Effects) {
        let away = |(member_id, member): (&String, &super::Member)| {
            (member.joining.is_none() && !member.is_static()).then(|| member_id.clone())
        };
        let gone: Vec<String> = self.members.iter().filter_map(away).collect();
        for member_id in gone {
            self.remove(&member_id, effects);
        }
        if !self.members.is_empty() && !self.elect_leader() {
            // Static members that are all away: their sessions end, or they come back.
            let deadline = now.instant + self.rebalance_timeout().max(REBALANCE_RETRY_MIN);
            return self.enter(now, Phase::Preparing { deadline, initial: None });
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol_name = self.select_protocol();
        self.note_subscribed_topics();
        if self.members.is_empty() {
            self.enter(now, Phase::Empty);
            return self.store(effects);
        }
        debug!(group = self.group_id, generation = self.generation, members = self.members.len(), "joined");
        self.enter(now, Phase::Completing { deadline: now.instant + self.rebalance_timeout() });
        let member_ids: Vec<String> = self.members.keys().cloned().collect();
        for member_id in member_ids {
            let joined = self.joined(member_id.clone(), self.is_leader(&member_id));
            self.extend_session(now, &member_id);
            let Some(member) = self.members.get_mut(&member_id) else { continue };
            member.is_new = false;
            member.owes_sync = true;
            if let Some(ticket) = member.joining.take() {
                effects.reply(ticket, Reply::Join(Ok(joined)));
            }
        }
    }

    /// The leader, if it joined, else one that did. False if nobody did.
    fn elect_leader(&mut self) -> bool {
        let joined = |member_id: &&String| self.members.get(*member_id).is_some_and(|member| member.joining.is_some());
        let elected = self.leader.as_ref().filter(joined).or_else(|| self.members.keys().find(joined)).cloned();
        let any = elected.is_some();
        self.leader = elected.or_else(|| self.leader.take());
        any
    }

    pub(super) fn note_subscribed_topics(&mut self) {
        self.subscribed_topics = match (&self.protocol_type, &self.protocol_name) {
            (Some(kind), _) if kind == CONSUMER && self.members.is_empty() => Some(Default::default()),
            (Some(kind), Some(name)) if kind == CONSUMER => {
                let topics = self.members.values().map(|member| embedded::topics(&member.metadata(name)));
                topics.collect::<Option<Vec<_>>>().map(|topics| topics.into_iter().flatten().collect())
            }
            _ => None,
        };
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Now, effects: &mut Effects) {
        if self.wake.is_none_or(|wake| now.instant < wake) {
            return;
        }
        self.expire_pending(now, effects);
        self.expire_sessions(now, effects);
        if self.phase.deadline().is_some_and(|deadline| deadline <= now.instant) {
            self.pass_deadline(now, effects);
        }
        let sessions = self.members.values().filter_map(|member| member.expires);
        self.wake = self.pending.values().copied().chain(sessions).chain(self.phase.deadline()).min();
    }

    fn pass_deadline(&mut self, now: Now, effects: &mut Effects) {
        match self.phase {
            Phase::Empty => {}
            Phase::Preparing { initial: Some(initial), .. } if initial.extended && !initial.remaining.is_zero() => {
                let delay = self.settings.initial_rebalance_delay.min(initial.remaining);
                let remaining = initial.remaining.saturating_sub(initial.delay);
                let initial = Some(InitialDelay { delay, remaining, extended: false });
                self.phase = Phase::Preparing { deadline: now.instant + delay, initial };
            }
            Phase::Preparing { .. } => self.complete_join(now, effects),
            Phase::Completing { .. } | Phase::Stable { .. } => {
                let owing = self.members.iter().filter(|(_, member)| member.owes_sync);
                let owing: Vec<String> = owing.map(|(member_id, _)| member_id.clone()).collect();
                for member_id in owing {
                    self.remove(&member_id, effects);
                }
                self.rebalance_or_complete(now, "members did not ask for their assignment", None, effects);
            }
        }
    }

    fn expire_pending(&mut self, now: Now, effects: &mut Effects) {
        let before = self.pending.len();
        self.pending.retain(|_, expires| *expires > now.instant);
        if self.pending.len() < before {
            self.complete_if_all_joined(now, effects);
        }
    }

    fn expire_sessions(&mut self, now: Now, effects: &mut Effects) {
        let is_due = |expires: Option<Instant>| expires.is_some_and(|expires| expires <= now.instant);
        let due = self.members.iter().filter(|(_, member)| is_due(member.expires));
        let due: Vec<String> = due.map(|(member_id, _)| member_id.clone()).collect();
        for member_id in due {
            // What happens to one may give another time.
            match self.members.get_mut(&member_id) {
                Some(member) if is_due(member.expires) && member.is_waiting() => member.expires = None,
                Some(member) if is_due(member.expires) => {
                    self.remove(&member_id, effects);
                    self.after_expiry(now, effects);
                }
                _ => {}
            }
        }
    }

    fn after_expiry(&mut self, now: Now, effects: &mut Effects) {
        match self.phase {
            Phase::Preparing { .. } => self.complete_if_all_joined(now, effects),
            _ => self.rebalance_or_complete(now, "a session ended", None, effects),
        }
    }

    /// As Kafka: where somebody is waited for no more, even the first rebalance need not wait longer.
    fn complete_if_all_joined(&mut self, now: Now, effects: &mut Effects) {
        if matches!(self.phase, Phase::Preparing { .. }) && self.all_joined() {
            self.complete_join(now, effects);
        }
    }
}
