//! What a coordinator does, and what the database makes of it.

use super::model::{Groups, Happened};
use super::state::{Decision, Fate, Fetch, Loading, Outcome, Phase, Rows, Shard, State, Write, seen, wrong};

impl Groups {
    /// A coordinator reads on: the count, the group, the offset.
    pub(super) fn load(&self, state: &mut State, agent: u8) -> Happened {
        let shard = state.shards[usize::from(agent)].as_ref()?;
        let (epoch, Phase::Loading(mut loading)) = (shard.epoch, shard.phase) else { return None };
        let is_next_the_sequence = match self.rules.sequence_read_first {
            true => loading.sequence.is_none(),
            false => loading.offset.is_some(),
        };
        if is_next_the_sequence {
            if !state.is_held(agent, epoch) {
                // Nothing to serve any more.
                state.shards[usize::from(agent)] = None;
                state.hang_up(agent);
                return Some(());
            }
            loading.sequence = Some(state.sequence);
        } else if loading.group.is_none() {
            loading.group = Some(state.rows.group);
        } else {
            loading.offset = Some(state.rows.offset);
        }
        let shard = state.shards[usize::from(agent)].as_mut()?;
        shard.phase = Phase::Loading(loading);
        if let Loading { sequence: Some(sequence), group: Some(group), offset: Some(offset) } = loading {
            (shard.sequence, shard.rows, shard.phase) = (sequence, Rows { group, offset }, Phase::Serving);
        }
        Some(())
    }

    /// A member commits the next offset. It may have stopped to wait for the one before.
    pub(super) fn commit(&self, state: &mut State, agent: u8, commit: u8, generation: u8) -> Happened {
        let is_new = state.fates[usize::from(commit)] == Fate::Unsent;
        let is_next = commit == 0 || state.fates[usize::from(commit) - 1] != Fate::Unsent;
        // Generation 0 is a commit from outside, while there is no group.
        let is_member = generation == 0 || state.told[usize::from(generation)].is_some();
        let shard = serving(state, agent).filter(|_| is_new && is_next && is_member)?;
        if self.rules.generations_compared && shard.rows.group.0 != generation {
            return None;
        }
        shard.rows.offset = commit + 1;
        shard.unsent.push(Decision::Commit { commit, generation });
        state.fates[usize::from(commit)] = Fate::Open;
        if !self.rules.answers_wait {
            state.tell(Decision::Commit { commit, generation });
        }
        Some(())
    }

    /// A rebalance ends: a new generation has its member. Each coordinator chooses another one.
    pub(super) fn assign(&self, state: &mut State, agent: u8) -> Happened {
        let generations = self.bounds.generations;
        let shard = serving(state, agent).filter(|shard| shard.rows.group.0 < generations)?;
        let group = (shard.rows.group.0 + 1, agent);
        shard.rows.group = group;
        shard.unsent.push(Decision::Assign { group });
        if !self.rules.answers_wait {
            state.tell(Decision::Assign { group });
        }
        Some(())
    }

    /// A client asks which offset is committed.
    pub(super) fn ask_offset(&self, state: &mut State, agent: u8) -> Happened {
        let promised = state.promised;
        let epoch = serving(state, agent)?.epoch;
        if state.fetch.is_some() {
            return None;
        }
        state.fetch = Some(Fetch { agent, epoch, promised, confirmed: None, offset: None });
        Some(())
    }

    /// The lease is read for it.
    pub(super) fn confirm(&self, state: &mut State) -> Happened {
        let fetch = state.fetch.filter(|fetch| fetch.confirmed.is_none())?;
        let session = state.agents[usize::from(fetch.agent)];
        let is_held = state.is_active(session) && state.session == session;
        // Epoch 0 is nobody's: refused once the coordinator answers.
        let confirmed = Some(if is_held { state.epoch } else { 0 });
        state.fetch = Some(Fetch { confirmed, ..fetch });
        Some(())
    }

    /// The coordinator looks: its answer stands behind all that was changed until now.
    pub(super) fn fetch_offset(&self, state: &mut State) -> Happened {
        let agent = state.fetch.filter(|fetch| fetch.offset.is_none())?.agent;
        let epoch = state.fetch?.epoch;
        let shard = serving(state, agent).filter(|shard| shard.epoch == epoch)?;
        let decision = Decision::Fetch { offset: shard.rows.offset };
        let is_in = |line: &[Decision]| line.iter().any(|one| matches!(one, Decision::Fetch { .. }));
        if is_in(&shard.unsent) || is_in(&shard.sent) {
            return None; // it was asked already
        }
        if !shard.unsent.is_empty() && self.rules.reads_wait {
            shard.unsent.push(decision);
        } else if !shard.sent.is_empty() && self.rules.reads_wait {
            shard.sent.push(decision);
        } else {
            state.tell(decision);
        }
        Some(())
    }

    /// Answered by the coordinator, and confirmed: the client hears the offset.
    pub(super) fn answer(&self, state: &mut State) -> Happened {
        let fetch = state.fetch.take()?;
        let offset = fetch.offset?;
        let confirmed = if self.rules.fetches_confirmed { fetch.confirmed? } else { fetch.epoch };
        if confirmed != fetch.epoch {
            state.seen |= seen::FETCH_REFUSED;
            return Some(());
        }
        state.wrong |= if offset < fetch.promised { wrong::OLD_OFFSET } else { 0 };
        state.promised = state.promised.max(offset);
        state.seen |= if offset > 0 { seen::TOLD } else { 0 };
        Some(())
    }

    /// What waits is written.
    pub(super) fn send(&self, state: &mut State, agent: u8) -> Happened {
        let number = u8::try_from(state.writes.len()).ok().filter(|number| *number < self.bounds.writes)?;
        let session = state.agents[usize::from(agent)];
        let shard = serving(state, agent).filter(|shard| shard.writing.is_none() && !shard.unsent.is_empty())?;
        let (epoch, sequence) = (shard.epoch, shard.sequence);
        let mut write = Write { session, epoch, sequence, group: None, offset: None, outcome: Outcome::Sent };
        for decision in &shard.unsent {
            match *decision {
                Decision::Commit { commit, generation } => write.offset = Some((commit + 1, generation)),
                Decision::Assign { group } => write.group = Some(group),
                Decision::Fetch { .. } => {}
            }
        }
        shard.sent = std::mem::take(&mut shard.unsent);
        shard.writing = Some(number);
        state.writes.push(write);
        Some(())
    }

    /// The database decides a write that was sent, however long ago.
    pub(super) fn apply(&self, state: &mut State, number: u8) -> Happened {
        let write = state.writes.get(usize::from(number)).filter(|write| write.outcome == Outcome::Sent)?.clone();
        let is_led = state.session == write.session && state.epoch == write.epoch;
        let may = (is_led || !self.rules.lease_compared)
            && (state.is_active(write.session) || !self.rules.session_checked)
            && (state.sequence == write.sequence || !self.rules.sequence_compared);
        if may {
            state.sequence += 1;
            state.rows.group = write.group.unwrap_or(state.rows.group);
            if let Some((offset, generation)) = write.offset {
                state.rows.offset = offset;
                let is_old = state.told.iter().skip(usize::from(generation) + 1).any(Option::is_some);
                state.wrong |= if is_old { wrong::OLD_GENERATION } else { 0 };
            }
            let is_awaited = state.shards.iter().flatten().any(|shard| shard.writing == Some(number));
            state.seen |= if is_awaited { 0 } else { seen::LATE_WRITE };
        } else {
            state.seen |= seen::REFUSED;
        }
        state.writes[usize::from(number)].outcome = if may { Outcome::Written } else { Outcome::Refused };
        Some(())
    }

    /// The coordinator hears of its write.
    pub(super) fn hear(&self, state: &mut State, agent: u8) -> Happened {
        let shard = state.shards[usize::from(agent)].as_ref()?;
        match state.writes[usize::from(shard.writing?)].outcome {
            Outcome::Sent => return None,
            Outcome::Written => self.is_durable(state, agent),
            Outcome::Refused => self.forget(state, agent),
        }
        Some(())
    }

    /// It does not hear of it.
    pub(super) fn lose(&self, state: &mut State, agent: u8) -> Happened {
        state.shards[usize::from(agent)].as_ref()?.writing?;
        match self.rules.loaded_when_lost {
            true => self.forget(state, agent),
            false => self.is_durable(state, agent),
        }
        Some(())
    }

    fn is_durable(&self, state: &mut State, agent: u8) {
        let Some(shard) = &mut state.shards[usize::from(agent)] else { return };
        if shard.epoch != state.epoch {
            state.seen |= seen::ZOMBIE_SERVED;
        }
        shard.writing = None;
        shard.sequence += 1;
        for decision in std::mem::take(&mut shard.sent) {
            state.tell(decision);
        }
    }

    /// Everything in line fails, and is read again.
    fn forget(&self, state: &mut State, agent: u8) {
        let Some(shard) = &mut state.shards[usize::from(agent)] else { return };
        let failed: Vec<Decision> = shard.sent.drain(..).chain(shard.unsent.drain(..)).collect();
        *shard = Shard::new(shard.epoch);
        for decision in failed {
            match decision {
                Decision::Commit { commit, .. } => {
                    let fate = &mut state.fates[usize::from(commit)];
                    *fate = if *fate == Fate::Acked { Fate::Acked } else { Fate::Failed };
                }
                Decision::Fetch { .. } | Decision::Assign { .. } => {}
            }
        }
        state.hang_up(agent);
        state.seen |= seen::RELOADED;
    }
}

/// The agent's coordinator, if it answers.
fn serving(state: &mut State, agent: u8) -> Option<&mut Shard> {
    state.shards[usize::from(agent)].as_mut().filter(|shard| shard.phase == Phase::Serving)
}

impl State {
    /// Somebody is answered.
    fn tell(&mut self, decision: Decision) {
        match decision {
            Decision::Commit { commit, .. } => {
                self.fates[usize::from(commit)] = Fate::Acked;
                self.promised = self.promised.max(commit + 1);
            }
            Decision::Assign { group: (generation, member) } => {
                let told = &mut self.told[usize::from(generation)];
                let is_other = told.is_some_and(|other| other != member);
                *told = Some(member);
                self.wrong |= if is_other { wrong::TWO_MEMBERS } else { 0 };
            }
            Decision::Fetch { offset } => {
                if let Some(fetch) = &mut self.fetch {
                    fetch.offset = Some(offset);
                }
            }
        }
    }
}
