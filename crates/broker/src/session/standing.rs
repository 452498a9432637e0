//! Whether this agent should lead anything while its lane stands still, as plain decisions that take `now`.
//!
//! ```text
//! working ── nothing committed for a third of the lease ──▶ stuck ── a peer can, this one cannot ──▶ giving up
//!    ▲                                                        │ it commits again: working              │
//!    └── probes succeed again ── out of placement ◀───────────┴──── everything is handed over ─────────┘
//! ```
//!
//! An agent that is stuck says so with a renewal. Each other one that sees it *then* writes a probe object and commits
//! nothing, by the ways its lane takes, and says with a renewal of its own that it could. In an outage of the store no
//! probe succeeds, so nobody gives up. When such an outage ends, some agents notice before others: so one that is stuck
//! also tries a probe of its own, begun after the peer's success was seen, and gives up only if that fails, or if its lane
//! stands for a whole lease although its own probes succeed. One that has no peer never gives up.

use std::collections::BTreeMap;
use std::time::Duration;

use metadata::{AgentRow, LaneReport};
use segment::SessionId;
use tokio::time::Instant;

/// Probes in a row that must succeed before an agent comes back.
const PROBES_TO_RETURN: u32 = 3;
/// One that gives up again within so many leases of its return stays away twice as long as before.
const RELAPSE_LEASES: u32 = 20;
/// Longest stay away, in leases.
const STAY_LEASES_MAX: u32 = 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Standing {
    own: SessionId,
    /// `AGENT_GROUP`: only agents of the same one could take over.
    group: String,
    lease_duration: Duration,
    phase: Phase,
    /// A probe is under way whose outcome this phase waits for.
    is_probing: bool,
    next_probe: Option<Instant>,
    proofs: i64,
    returned: Option<Instant>,
    stay: Duration,
}

#[derive(Debug)]
enum Phase {
    Working,
    Stuck {
        /// The peers' proofs as they were when the registry said that this agent is stuck.
        asked: Option<BTreeMap<SessionId, i64>>,
        /// A peer has shown since then that it can commit.
        proved: bool,
        /// When a probe of this agent succeeded first although its lane stands.
        able_since: Option<Instant>,
    },
    GivingUp,
    Out {
        since: Instant,
        /// Probes in a row that succeeded.
        good_probes: u32,
    },
}

/// What the decisions rest on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// All active sessions, from one read.
    pub(crate) agents: &'a [AgentRow],
    /// Since when the lane stands still.
    pub(crate) stands_since: Option<Instant>,
    /// Partitions are led here that another agent should take; only asked while giving up.
    pub(crate) has_to_give: bool,
}

/// What just became true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The lane stands: the registry is to say so.
    Stuck,
    /// It moved again.
    Recovered,
    /// This agent showed that it can commit: the registry is to say so.
    Proved,
    /// Others can, this one cannot: leave placement, fail what is in line, hand over.
    GaveUp,
    /// Everything that others can take is handed over.
    Left,
    /// Back into placement.
    Returned,
}

/// How long the lane may stand before its agent calls itself stuck. A slow upload is not an outage, however short the lease.
pub(crate) fn patience(lease_duration: Duration) -> Duration {
    (lease_duration / 3).max(Duration::from_secs(1))
}

/// Time between two probes, and the most that one may take: half of `patience`, so that a probe which ends after this agent
/// asked began when the lane already stood.
pub(crate) fn probe_interval(lease_duration: Duration) -> Duration {
    patience(lease_duration) / 2
}

impl Standing {
    pub(crate) fn new(own: SessionId, group: String, lease_duration: Duration) -> Self {
        Self {
            own,
            group,
            lease_duration,
            phase: Phase::Working,
            is_probing: false,
            next_probe: None,
            proofs: 0,
            returned: None,
            stay: lease_duration,
        }
    }

    /// What the next renewal should say.
    pub(crate) fn report(&self) -> LaneReport {
        LaneReport { stuck: matches!(self.phase, Phase::Stuck { .. }), proofs: self.proofs }
    }

    /// Why this agent is not ready, if it is not.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        match self.phase {
            Phase::Working => None,
            Phase::Stuck { .. } => Some("stuck: what waits in line is not committed"),
            Phase::GivingUp => Some("giving up: it cannot commit while others can, and hands its partitions over"),
            Phase::Out { .. } => Some("gave up: out of placement until its probes of the stores succeed"),
        }
    }

    /// Takes note of what is seen; at most one thing becomes true at a time.
    pub(crate) fn observe(&mut self, now: Instant, seen: Seen<'_>) -> Option<Turn> {
        let stands = seen.stands_since.is_some_and(|since| now - since >= patience(self.lease_duration));
        let others_could = seen.agents.iter().any(|agent| could_take_over(agent, self.own, &self.group));
        let own_row = seen.agents.iter().find(|agent| agent.session == self.own);
        match &mut self.phase {
            Phase::Working if stands => {
                self.enter(Phase::Stuck { asked: None, proved: false, able_since: None });
                Some(Turn::Stuck)
            }
            Phase::Stuck { .. } if !stands => {
                self.enter(Phase::Working);
                Some(Turn::Recovered)
            }
            Phase::Stuck { asked: asked @ None, .. } => {
                if own_row.is_some_and(|row| row.lane.stuck) {
                    *asked = Some(seen.agents.iter().map(|agent| (agent.session, agent.lane.proofs)).collect());
                }
                None
            }
            Phase::Stuck { able_since, .. } => {
                let stood_able = able_since.is_some_and(|since| now - since >= self.lease_duration);
                let proved = self.is_newly_proved(seen.agents);
                (proved && stood_able).then(|| self.give_up(now))
            }
            Phase::GivingUp => {
                let is_out = own_row.is_some_and(|row| !row.registration.accepts_leases);
                (is_out && !seen.has_to_give).then(|| {
                    self.enter(Phase::Out { since: now, good_probes: 0 });
                    Turn::Left
                })
            }
            Phase::Out { since, good_probes } => {
                let stayed = now - *since >= self.stay && *good_probes >= PROBES_TO_RETURN;
                // While nobody else takes leases, one success is enough.
                let returns = stayed || (!others_could && *good_probes > 0);
                returns.then(|| {
                    self.returned = Some(now);
                    self.enter(Phase::Working);
                    Turn::Returned
                })
            }
            Phase::Working => None,
        }
    }

    /// Whether a probe should begin now; if so, `probed` is to be told how it ended.
    pub(crate) fn begin_probe(&mut self, now: Instant, agents: &[AgentRow]) -> bool {
        let is_wanted = match self.phase {
            Phase::Working => agents.iter().any(|agent| agent.session != self.own && agent.lane.stuck),
            Phase::Stuck { proved, .. } => proved,
            Phase::GivingUp => false,
            Phase::Out { .. } => true,
        };
        let begins = is_wanted && self.next_probe.is_none_or(|next| now >= next);
        if begins {
            self.is_probing = true;
            self.next_probe = Some(now + probe_interval(self.lease_duration));
        }
        begins
    }

    /// A probe ended. One that began in another phase says nothing about this one.
    pub(crate) fn probed(&mut self, now: Instant, succeeded: bool) -> Option<Turn> {
        if !std::mem::take(&mut self.is_probing) {
            return None;
        }
        match &mut self.phase {
            Phase::Working if succeeded => {
                self.proofs += 1;
                Some(Turn::Proved)
            }
            Phase::Stuck { asked, proved, able_since } if succeeded => {
                // The store is back, or only the lane is stuck: asks anew, and looks again.
                (*asked, *proved) = (None, false);
                able_since.get_or_insert(now);
                None
            }
            Phase::Stuck { .. } => Some(self.give_up(now)),
            Phase::Out { good_probes, .. } => {
                *good_probes = if succeeded { *good_probes + 1 } else { 0 };
                None
            }
            Phase::Working | Phase::GivingUp => None,
        }
    }

    fn give_up(&mut self, now: Instant) -> Turn {
        let is_relapse = self.returned.is_some_and(|returned| now - returned < self.lease_duration * RELAPSE_LEASES);
        self.stay = if is_relapse { self.stay * 2 } else { self.lease_duration };
        self.stay = self.stay.min(self.lease_duration * STAY_LEASES_MAX);
        self.enter(Phase::GivingUp);
        Turn::GaveUp
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.is_probing = false;
        self.next_probe = None;
    }

    /// Notes, while stuck, whether a peer that could take over has shown that it can commit since this agent asked.
    fn is_newly_proved(&mut self, agents: &[AgentRow]) -> bool {
        let (own, group) = (self.own, self.group.as_str());
        let Phase::Stuck { asked: Some(asked), proved, .. } = &mut self.phase else { return false };
        // A session that was not there yet began with none.
        let is_new = |peer: &AgentRow| peer.lane.proofs > asked.get(&peer.session).copied().unwrap_or(0);
        *proved |= agents.iter().any(|agent| could_take_over(agent, own, group) && is_new(agent));
        *proved
    }
}

fn could_take_over(agent: &AgentRow, own: SessionId, group: &str) -> bool {
    let registration = &agent.registration;
    agent.session != own && registration.group == group && registration.accepts_leases && !agent.lane.stuck
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
