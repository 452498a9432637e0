//! Guessing who is dead, by the observer's own clock: a session whose renewal counter stood still for `LEASE_DURATION`.
//!
//! Only time between two reads that succeeded soon after each other counts, and three reads at least: an outage of the
//! database, or a machine that was suspended, makes nobody look dead. A wrong guess costs a re-registration, never data.

use std::collections::HashMap;
use std::time::Duration;

use metadata::AgentRow;
use segment::SessionId;

/// Most that one pause between two reads counts for.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Reads that must have seen the same counter.
const READS_MIN: u32 = 3;

/// What was seen of the other sessions.
#[derive(Debug)]
pub(crate) struct Deaths {
    lease_duration: Duration,
    last_read: Option<Duration>,
    seen: HashMap<SessionId, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    renewals: i64,
    stood_still: Duration,
    reads: u32,
}

impl Deaths {
    pub(crate) fn new(lease_duration: Duration) -> Self {
        Self { lease_duration, last_read: None, seen: HashMap::new() }
    }

    /// Takes note of a read at `now` (time since any fixed moment that also passes while the machine is suspended). Returns
    /// the sessions that look dead, with the counters they stand at.
    pub(crate) fn observe(&mut self, now: Duration, own: SessionId, agents: &[AgentRow]) -> Vec<(SessionId, i64)> {
        let passed = self.last_read.map_or(Duration::ZERO, |last| now.saturating_sub(last)).min(PAUSE_MAX);
        self.last_read = Some(now);
        let others = agents.iter().filter(|agent| agent.session != own);
        let seen: HashMap<_, _> = others
            .map(|agent| {
                let seen = match self.seen.get(&agent.session) {
                    Some(seen) if seen.renewals == agent.renewals => {
                        Seen { stood_still: seen.stood_still + passed, reads: seen.reads + 1, ..*seen }
                    }
                    _ => Seen { renewals: agent.renewals, stood_still: Duration::ZERO, reads: 1 },
                };
                (agent.session, seen)
            })
            .collect();
        self.seen = seen;
        let dead = |seen: &Seen| seen.stood_still >= self.lease_duration && seen.reads > READS_MIN;
        let mut dead: Vec<_> =
            self.seen.iter().filter(|(_, seen)| dead(seen)).map(|(session, seen)| (*session, seen.renewals)).collect();
        dead.sort_unstable();
        dead
    }
}

#[cfg(test)]
#[path = "deaths_tests.rs"]
mod tests;
