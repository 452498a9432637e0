//! What can happen: every step of an agent, of the database, of the collector, and everything that goes wrong.

use stateright::{Model, Property};

use super::properties;
use super::state::{Agent, Attempt, Fate, Led, NONE, Range, Reply, Row, Slot, State, seen};

/// The rules of the protocol; each can be left out.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A commit compares the partition's `next_offset`.
    pub offset_compared: bool,
    /// A commit compares the partition's session and leader epoch.
    pub lease_compared: bool,
    /// A commit checks that its session is active, in its own transaction.
    pub session_checked: bool,
    /// A lost reply is settled by inserting a tombstone, not by looking.
    pub tombstones: bool,
    /// Nothing is acked before its commit is known.
    pub ack_after_commit: bool,
    /// An agent that was fenced while an outcome was open answers nobody.
    pub unknown_unanswered: bool,
    /// A range that was rejected is not acked with the rest of its segment.
    pub partial_rejection: bool,
    /// A line that fails takes everything behind it along, also what was gathered.
    pub generations: bool,
    /// A hand-over waits until nothing is in line.
    pub drained_hand_over: bool,
    /// What was committed before is read at an acquisition, so that duplicates are known.
    pub producers_rebuilt: bool,
    /// A refusal that rests on memory is confirmed by a read of the lease.
    pub refusals_confirmed: bool,
    /// Garbage is claimed by a tombstone before it is deleted.
    pub claimed_garbage: bool,
    /// A tombstone stays while the session that uploaded its object lives.
    pub tombstones_kept: bool,
}

impl Rules {
    /// The protocol.
    pub const ALL: Self = Self {
        offset_compared: true,
        lease_compared: true,
        session_checked: true,
        tombstones: true,
        ack_after_commit: true,
        unknown_unanswered: true,
        partial_rejection: true,
        generations: true,
        drained_hand_over: true,
        producers_rebuilt: true,
        refusals_confirmed: true,
        claimed_garbage: true,
        tombstones_kept: true,
    };
}

/// How far the exploration goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Agents.
    pub agents: u8,
    /// Partitions.
    pub partitions: u8,
    /// Sessions in all.
    pub sessions: u8,
    /// Segments in all.
    pub attempts: u8,
    /// Values in all.
    pub values: u8,
    /// Greatest leader epoch.
    pub epochs: u8,
    /// Whether producers send a value again until it is acked, and agents recognise it.
    pub idempotent: bool,
    /// Whether garbage is collected.
    pub garbage: bool,
    /// Whether partitions are handed over.
    pub hand_over: bool,
}

/// The protocol under these rules, within these bounds.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// What holds.
    pub rules: Rules,
    /// How far.
    pub bounds: Bounds,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is explained where it is applied")]
pub enum Action {
    Send { agent: u8, value: u8 },
    Upload { agent: u8 },
    Commit { agent: u8 },
    Apply { attempt: u8 },
    Hear { agent: u8 },
    GiveUp { agent: u8 },
    Resolve { agent: u8 },
    Fence { session: u8 },
    Restart { agent: u8 },
    Acquire { agent: u8, partition: u8 },
    HandOver { from: u8, to: u8, partition: u8 },
    TakeAway { partition: u8 },
    Claim { attempt: u8 },
    Delete { attempt: u8 },
    Forget { attempt: u8 },
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let agent = |number: u8| Agent {
            session: number,
            led: vec![None; usize::from(self.bounds.partitions)],
            lane: Vec::new(),
            resolving: false,
        };
        vec![State {
            rows: vec![Row { session: NONE, epoch: 0, log: Vec::new() }; usize::from(self.bounds.partitions)],
            sessions: (0..self.bounds.agents).map(|agent| (agent, true)).collect(),
            attempts: Vec::new(),
            agents: (0..self.bounds.agents).map(agent).collect(),
            fates: vec![Fate::Unsent; usize::from(self.bounds.values)],
            false_refusal: false,
            seen: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for agent in 0..self.bounds.agents {
            actions.extend((0..self.bounds.values).map(|value| Action::Send { agent, value }));
            actions.push(Action::Upload { agent });
            actions.push(Action::Commit { agent });
            actions.push(Action::Hear { agent });
            actions.push(Action::GiveUp { agent });
            actions.push(Action::Resolve { agent });
            actions.push(Action::Restart { agent });
            for partition in 0..self.bounds.partitions {
                actions.push(Action::Acquire { agent, partition });
                if self.bounds.hand_over {
                    let others = (0..self.bounds.agents).filter(|to| *to != agent);
                    actions.extend(others.map(|to| Action::HandOver { from: agent, to, partition }));
                }
            }
        }
        if self.bounds.partitions > 1 {
            actions.extend((0..self.bounds.partitions).map(|partition| Action::TakeAway { partition }));
        }
        let sessions = 0..u8::try_from(state.sessions.len()).unwrap_or(NONE);
        actions.extend(sessions.map(|session| Action::Fence { session }));
        for attempt in 0..u8::try_from(state.attempts.len()).unwrap_or(NONE) {
            actions.push(Action::Apply { attempt });
            if self.bounds.garbage {
                actions.push(Action::Claim { attempt });
                actions.push(Action::Delete { attempt });
                actions.push(Action::Forget { attempt });
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let happened = match action {
            Action::Send { agent, value } => self.send(&mut state, agent, value),
            Action::Upload { agent } => self.upload(&mut state, agent),
            Action::Commit { agent } => self.commit(&mut state, agent),
            Action::Apply { attempt } => self.apply(&mut state, attempt),
            Action::Hear { agent } => self.hear(&mut state, agent),
            Action::GiveUp { agent } => give_up(&mut state, agent),
            Action::Resolve { agent } => self.resolve(&mut state, agent),
            Action::Fence { session } => fence(&mut state, session),
            Action::Restart { agent } => self.restart(&mut state, agent),
            Action::Acquire { agent, partition } => self.acquire(&mut state, agent, partition),
            Action::HandOver { from, to, partition } => self.give(&mut state, from, to, partition),
            Action::TakeAway { partition } => self.take_away(&mut state, partition),
            Action::Claim { attempt } => claim(&mut state, attempt),
            Action::Delete { attempt } => self.delete(&mut state, attempt),
            Action::Forget { attempt } => self.forget(&mut state, attempt),
        };
        happened.filter(|()| state != *last).map(|()| state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// The step happened if this is `Some`.
type Happened = Option<()>;

impl Protocol {
    /// A producer sends a value to an agent that believes to lead its partition: in line, or recognised, or refused.
    fn send(&self, state: &mut State, agent: u8, value: u8) -> Happened {
        let partition = value % self.bounds.partitions;
        let may_send = match state.fates[usize::from(value)] {
            Fate::Unsent => true,
            Fate::Open | Fate::Failed => self.bounds.idempotent,
            Fate::Acked(_) => false,
        };
        // Each producer has one partition; an idempotent one sends the next value once the one before is acked.
        let before = value.checked_sub(self.bounds.partitions);
        let in_turn = before.is_none_or(|before| match state.fates[usize::from(before)] {
            Fate::Acked(_) => true,
            Fate::Unsent => false,
            Fate::Open | Fate::Failed => !self.bounds.idempotent,
        });
        let lease = state.rows[usize::from(partition)].clone();
        let session = state.agents[usize::from(agent)].session;
        let is_leader = state.is_active(session) && lease.session == session;
        let led =
            state.agents[usize::from(agent)].led[usize::from(partition)].as_mut().filter(|_| may_send && in_turn)?;
        if self.bounds.idempotent {
            if let Some(offset) = led.known.iter().position(|known| *known == value) {
                state.fates[usize::from(value)] = Fate::Acked(u8::try_from(offset).ok()?);
                state.seen |= seen::DUPLICATE;
                return Some(());
            }
            if led.line.contains(&value) {
                state.fates[usize::from(value)] = Fate::Open; // shares the fate of the first
                return Some(());
            }
            let follows = before.is_none_or(|before| led.known.contains(&before) || led.line.contains(&before));
            if !follows {
                // "Out of order": a producer takes it for fatal, so it must be true.
                let confirmed = is_leader && lease.epoch == led.epoch;
                state.false_refusal |= !self.rules.refusals_confirmed || confirmed;
                return Some(());
            }
        }
        led.line.push(value);
        state.fates[usize::from(value)] = Fate::Open;
        Some(())
    }

    /// An agent gathers one value of each partition with something in line, and uploads the object.
    fn upload(&self, state: &mut State, agent: u8) -> Happened {
        let has_room = state.attempts.len() < usize::from(self.bounds.attempts);
        let number = u8::try_from(state.attempts.len()).ok()?;
        let agent = state.agents.get_mut(usize::from(agent)).filter(|agent| has_room && agent.lane.len() < 2)?;
        let mut ranges = Vec::new();
        for (partition, led) in (0..).zip(&mut agent.led) {
            let Some(led) = led else { continue };
            let Some(value) = led.line.get(usize::from(led.gathered)).copied() else { continue };
            let offset = led.high_watermark + led.gathered;
            ranges.push(Range { partition, epoch: led.epoch, offset, value, generation: led.generation });
            led.gathered += 1;
        }
        if ranges.is_empty() {
            return None;
        }
        agent.lane.push(number);
        let session = agent.session;
        state.attempts.push(Attempt { session, ranges, object: true, slot: Slot::Empty, commit: Reply::None });
        Some(())
    }

    /// An agent sends the commit of the first attempt of its lane. What failed since it was gathered is left out.
    fn commit(&self, state: &mut State, agent: u8) -> Happened {
        let agent_state = &state.agents[usize::from(agent)];
        let number = *agent_state.lane.first()?;
        if state.attempts[usize::from(number)].commit != Reply::None || agent_state.resolving {
            return None;
        }
        if self.rules.generations {
            let led = agent_state.led.clone();
            let current = |range: &Range| {
                let led = led[usize::from(range.partition)].as_ref();
                led.is_some_and(|led| led.generation == range.generation && led.epoch == range.epoch)
            };
            state.attempts[usize::from(number)].ranges.retain(current);
        }
        if state.attempts[usize::from(number)].ranges.is_empty() {
            state.agents[usize::from(agent)].lane.remove(0);
            return Some(());
        }
        state.attempts[usize::from(number)].commit = Reply::InFlight;
        if !self.rules.ack_after_commit {
            let ranges = state.attempts[usize::from(number)].ranges.clone();
            for range in ranges {
                state.fates[usize::from(range.value)] = Fate::Acked(range.offset);
            }
        }
        Some(())
    }

    /// The database applies a commit that was sent, however long ago.
    fn apply(&self, state: &mut State, number: u8) -> Happened {
        let attempt = state.attempts.get(usize::from(number)).filter(|attempt| attempt.commit == Reply::InFlight)?;
        let session = attempt.session;
        let reply = if self.rules.session_checked && !state.is_active(session) {
            Reply::Fenced
        } else if attempt.slot != Slot::Empty {
            Reply::Applied(vec![false; attempt.ranges.len()])
        } else {
            let mut accepted = Vec::new();
            for range in attempt.ranges.clone() {
                let row = &mut state.rows[usize::from(range.partition)];
                let lease = row.session == session && row.epoch == range.epoch;
                let offset = row.log.len() == usize::from(range.offset);
                let ok = (lease || !self.rules.lease_compared) && (offset || !self.rules.offset_compared);
                if ok {
                    row.log.push((range.value, number));
                }
                accepted.push(ok);
            }
            if accepted.contains(&true) && accepted.contains(&false) {
                state.seen |= seen::PARTIAL;
            }
            Reply::Applied(accepted)
        };
        let attempt = &mut state.attempts[usize::from(number)];
        if matches!(reply, Reply::Applied(_)) && attempt.slot == Slot::Empty {
            attempt.slot = Slot::Segment;
        }
        attempt.commit = reply;
        Some(())
    }

    /// The reply of a commit arrives.
    fn hear(&self, state: &mut State, agent: u8) -> Happened {
        let number = *state.agents[usize::from(agent)].lane.first()?;
        if state.agents[usize::from(agent)].resolving {
            return None;
        }
        match state.attempts[usize::from(number)].commit.clone() {
            Reply::None | Reply::InFlight => None,
            Reply::Applied(accepted) => {
                self.settle(state, agent, number, &accepted, true);
                Some(())
            }
            // Nothing of it happened, and nothing of what is in line ever will.
            Reply::Fenced => {
                let led = std::mem::take(&mut state.agents[usize::from(agent)].led);
                for led in led.iter().flatten() {
                    fail_all(&mut state.fates, &led.line);
                }
                state.agents[usize::from(agent)].led = vec![None; led.len()];
                state.agents[usize::from(agent)].lane.clear();
                Some(())
            }
        }
    }

    /// The outcome of the lane's first attempt is known, per range. `in_doubt`: the database rejected what was not accepted, so
    /// what is remembered of those partitions is no longer the truth, and they are let go.
    fn settle(&self, state: &mut State, agent: u8, number: u8, accepted: &[bool], in_doubt: bool) {
        let attempt = state.attempts[usize::from(number)].clone();
        let agent = &mut state.agents[usize::from(agent)];
        agent.lane.remove(0);
        agent.resolving = false;
        let any = accepted.contains(&true);
        for (range, accepted) in attempt.ranges.iter().zip(accepted) {
            let place = &mut agent.led[usize::from(range.partition)];
            let Some(led) = place.as_mut() else { continue };
            if self.rules.generations && led.generation != range.generation {
                continue;
            }
            if *accepted || (any && !self.rules.partial_rejection) {
                led.known.push(range.value);
                led.high_watermark = led.high_watermark.max(range.offset + 1);
                led.line.retain(|value| *value != range.value);
                led.gathered = led.gathered.saturating_sub(1);
                state.fates[usize::from(range.value)] = Fate::Acked(range.offset);
            } else if self.rules.generations {
                fail_all(&mut state.fates, &led.line);
                led.line.clear();
                led.gathered = 0;
                led.generation += 1;
                if in_doubt {
                    *place = None;
                }
            } else {
                // Without generations only the value itself fails, and what is behind it stays as it was numbered.
                fail_all(&mut state.fates, &[range.value]);
                led.line.retain(|value| *value != range.value);
                led.gathered = led.gathered.saturating_sub(1);
            }
        }
    }

    /// An agent settles a lost reply, in a transaction of its own that checks its session.
    fn resolve(&self, state: &mut State, agent: u8) -> Happened {
        let who = &state.agents[usize::from(agent)];
        let number = *who.lane.first().filter(|_| who.resolving)?;
        let session = who.session;
        if !state.is_active(session) {
            let led = std::mem::take(&mut state.agents[usize::from(agent)].led);
            if !self.rules.unknown_unanswered {
                for led in led.iter().flatten() {
                    fail_all(&mut state.fates, &led.line);
                }
            }
            // The process starts over: nobody is answered.
            state.agents[usize::from(agent)].led = vec![None; led.len()];
            state.agents[usize::from(agent)].lane.clear();
            state.agents[usize::from(agent)].resolving = false;
            return Some(());
        }
        let attempt = &mut state.attempts[usize::from(number)];
        let ranges = attempt.ranges.len();
        let accepted = match attempt.slot {
            Slot::Segment => {
                let rows = &state.rows;
                let has = |range: &Range| rows[usize::from(range.partition)].log.contains(&(range.value, number));
                state.seen |= seen::RESOLVED_COMMITTED;
                attempt.ranges.iter().map(has).collect()
            }
            Slot::Empty | Slot::Tombstone => {
                if self.rules.tombstones {
                    attempt.slot = Slot::Tombstone;
                }
                state.seen |= seen::RESOLVED_FAILED;
                vec![false; ranges]
            }
        };
        self.settle(state, agent, number, &accepted, false);
        Some(())
    }

    /// An agent starts over with a new session; its memory is gone, and its former session is fenced.
    fn restart(&self, state: &mut State, agent: u8) -> Happened {
        let session = u8::try_from(state.sessions.len()).ok().filter(|next| *next < self.bounds.sessions)?;
        for (owner, active) in &mut state.sessions {
            *active &= *owner != agent;
        }
        state.sessions.push((agent, true));
        let led = vec![None; usize::from(self.bounds.partitions)];
        state.agents[usize::from(agent)] = Agent { session, led, lane: Vec::new(), resolving: false };
        Some(())
    }

    /// An agent acquires a partition that nobody active holds, or takes up what was handed over to it.
    fn acquire(&self, state: &mut State, agent: u8, partition: u8) -> Happened {
        let session = state.agents[usize::from(agent)].session;
        let row = &state.rows[usize::from(partition)];
        let leads = state.agents[usize::from(agent)].led[usize::from(partition)].is_some();
        if leads || !state.is_active(session) {
            return None;
        }
        if row.session != session {
            if state.is_active(row.session) || row.epoch >= self.bounds.epochs {
                return None;
            }
            state.seen |= if row.session == NONE { 0 } else { seen::TAKEN_OVER };
            let row = &mut state.rows[usize::from(partition)];
            row.session = session;
            row.epoch += 1;
        }
        let row = &state.rows[usize::from(partition)];
        let known =
            if self.rules.producers_rebuilt { row.log.iter().map(|(value, _)| *value).collect() } else { Vec::new() };
        state.agents[usize::from(agent)].led[usize::from(partition)] = Some(Led {
            epoch: row.epoch,
            high_watermark: u8::try_from(row.log.len()).ok()?,
            line: Vec::new(),
            gathered: 0,
            generation: 0,
            known,
        });
        Some(())
    }

    /// An agent hands a partition over to another: drained, then one transaction. Who waits is told of the new leader.
    fn give(&self, state: &mut State, from: u8, to: u8, partition: u8) -> Happened {
        let (session, successor) = (state.agents[usize::from(from)].session, state.agents[usize::from(to)].session);
        let led = state.agents[usize::from(from)].led[usize::from(partition)].clone()?;
        let row = &state.rows[usize::from(partition)];
        let may = row.session == session && row.epoch < self.bounds.epochs;
        if !may || !state.is_active(session) || !state.is_active(successor) {
            return None;
        }
        if self.rules.drained_hand_over && !led.line.is_empty() {
            return None;
        }
        let row = &mut state.rows[usize::from(partition)];
        row.session = successor;
        row.epoch += 1;
        fail_all(&mut state.fates, &led.line);
        state.agents[usize::from(from)].led[usize::from(partition)] = None;
        state.seen |= seen::HANDED_OVER;
        Some(())
    }

    /// An administrator takes a partition's lease away, as a topic's deletion does, while its holder lives.
    fn take_away(&self, state: &mut State, partition: u8) -> Happened {
        let row = &mut state.rows[usize::from(partition)];
        if row.session == NONE || row.epoch >= self.bounds.epochs {
            return None;
        }
        row.session = NONE;
        row.epoch += 1;
        Some(())
    }

    /// The collector deletes an object.
    fn delete(&self, state: &mut State, attempt: u8) -> Happened {
        let attempt = &mut state.attempts[usize::from(attempt)];
        let claimed = attempt.slot == Slot::Tombstone;
        // Without a claim: "it was listed, and no row refers to it".
        if !(claimed || (!self.rules.claimed_garbage && attempt.slot == Slot::Empty)) {
            return None;
        }
        attempt.object = false;
        state.seen |= seen::COLLECTED;
        Some(())
    }

    /// The collector removes the tombstone of an object that is gone.
    fn forget(&self, state: &mut State, attempt: u8) -> Happened {
        let uploader = state.attempts[usize::from(attempt)].session;
        let lives = state.is_active(uploader);
        let attempt = &mut state.attempts[usize::from(attempt)];
        if attempt.slot != Slot::Tombstone || attempt.object || (lives && self.rules.tombstones_kept) {
            return None;
        }
        attempt.slot = Slot::Empty;
        Some(())
    }
}

/// The agent stops waiting for a reply. The commit itself may still be applied.
fn give_up(state: &mut State, agent: u8) -> Happened {
    let who = &mut state.agents[usize::from(agent)];
    let number = *who.lane.first()?;
    if state.attempts[usize::from(number)].commit == Reply::None {
        return None;
    }
    who.resolving = true;
    Some(())
}

/// A peer takes a session for dead, rightly or not.
fn fence(state: &mut State, session: u8) -> Happened {
    state.sessions[usize::from(session)].1 = false;
    Some(())
}

/// The collector puts a tombstone where nothing is.
fn claim(state: &mut State, attempt: u8) -> Happened {
    let attempt =
        state.attempts.get_mut(usize::from(attempt)).filter(|attempt| attempt.slot == Slot::Empty && attempt.object)?;
    attempt.slot = Slot::Tombstone;
    Some(())
}

fn fail_all(fates: &mut [Fate], values: &[u8]) {
    for value in values {
        if fates[usize::from(*value)] == Fate::Open {
            fates[usize::from(*value)] = Fate::Failed;
        }
    }
}
