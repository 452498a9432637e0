//! What can happen.

use stateright::{Model, Property};

use super::properties;
use super::state::{Agent, Attempt, Change, Fate, Object, Request, State, Topic, Transaction, seen, wrong};

/// The rules; each can be left out.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Versions are in the order of commits: a change takes its version under a lock.
    pub versions_in_order: bool,
    /// A name has one topic that is not deleted.
    pub names_unique: bool,
    /// Rows belong to a topic's id, not to its name.
    pub rows_by_id: bool,
    /// A topic made again begins above the epochs of those before it.
    pub epochs_above_the_floor: bool,
    /// Commits and acquisitions compare the mark of a deletion.
    pub mark_compared: bool,
    /// A deletion takes the leases.
    pub leases_taken: bool,
    /// A topic is deleted by the id that had the name when that was asked for.
    pub deleted_by_id: bool,
    /// A topic that is removed from a catalogue leaves the name to another one that has it.
    pub name_left: bool,
    /// A segment is retired with its last row, also by a purge.
    pub purge_retires: bool,
    /// The topic's own row goes last.
    pub topic_goes_last: bool,
    /// Committed offsets belong to a topic's id.
    pub offsets_by_id: bool,
}

impl Rules {
    /// The protocol.
    pub const ALL: Self = Self {
        versions_in_order: true,
        names_unique: true,
        rows_by_id: true,
        epochs_above_the_floor: true,
        mark_compared: true,
        leases_taken: true,
        deleted_by_id: true,
        name_left: true,
        purge_retires: true,
        topic_goes_last: true,
        offsets_by_id: true,
    };
}

/// How far the exploration goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Topics in all; one is there from the start.
    pub topics: u8,
    /// Requests of administrators in all.
    pub requests: u8,
    /// Values in all.
    pub values: u8,
    /// Greatest leader epoch.
    pub epochs: u8,
    /// Whether a group commits offsets.
    pub offsets: bool,
    /// Whether topics of other names are made.
    pub others: bool,
}

/// The topics under these rules, within these bounds.
#[derive(Clone, Copy, Debug)]
pub struct Topics {
    /// What holds.
    pub rules: Rules,
    /// How far.
    pub bounds: Bounds,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is explained where it is applied")]
pub enum Action {
    AskToCreate { other: bool },
    AskToDelete { agent: u8 },
    Begin { request: u8 },
    Commit { transaction: u8 },
    Learn { agent: u8 },
    Lead { agent: u8, topic: u8 },
    SendByName { agent: u8, value: u8 },
    SendById { agent: u8, value: u8, topic: u8 },
    Apply { value: u8 },
    Hear { value: u8 },
    Purge,
    Collect { value: u8 },
    CommitOffset { agent: u8 },
    FetchOffset { agent: u8 },
}

impl Model for Topics {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let agent =
            || Agent { version: 1, topics: 1, named: Some(0), led: vec![None; usize::from(self.bounds.topics)] };
        let values = usize::from(self.bounds.values);
        vec![State {
            version: 1,
            changes: vec![(1, Change::Created(0))],
            open: Vec::new(),
            topics: vec![Topic::new(0)],
            floor: 0,
            told_epoch: 0,
            requests: Vec::new(),
            asked: 0,
            agents: vec![agent(), agent()],
            attempts: vec![None; values],
            fates: vec![Fate::Unsent; values],
            objects: vec![Object::None; values],
            offset: None,
            wrong: 0,
            seen: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::AskToCreate { other: false }, Action::Purge]);
        if self.bounds.others {
            actions.push(Action::AskToCreate { other: true });
        }
        for agent in 0..2 {
            actions.extend([Action::AskToDelete { agent }, Action::Learn { agent }]);
            actions.extend((0..self.bounds.topics).map(|topic| Action::Lead { agent, topic }));
            for value in 0..self.bounds.values {
                actions.push(Action::SendByName { agent, value });
                actions.extend((0..self.bounds.topics).map(|topic| Action::SendById { agent, value, topic }));
            }
            if self.bounds.offsets {
                actions.extend([Action::CommitOffset { agent }, Action::FetchOffset { agent }]);
            }
        }
        for value in 0..self.bounds.values {
            actions.extend([Action::Apply { value }, Action::Hear { value }, Action::Collect { value }]);
        }
        actions.extend((0..).zip(&state.requests).map(|(request, _)| Action::Begin { request }));
        actions.extend((0..).zip(&state.open).map(|(transaction, _)| Action::Commit { transaction }));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = State { seen: 0, ..last.clone() };
        let happened = match action {
            Action::AskToCreate { other } => self.request(&mut state, Request::Create { other }),
            Action::AskToDelete { agent } => {
                let (topic, asked_at) = (state.agents[usize::from(agent)].named, state.count());
                topic.and_then(|topic| self.request(&mut state, Request::Delete { topic, asked_at }))
            }
            Action::Begin { request } => self.begin(&mut state, request),
            Action::Commit { transaction } => self.commit(&mut state, transaction),
            Action::Learn { agent } => self.learn(&mut state, agent),
            Action::Lead { agent, topic } => self.lead(&mut state, agent, topic),
            Action::SendByName { agent, value } => {
                let topic = state.agents[usize::from(agent)].named;
                topic.and_then(|topic| self.send(&mut state, agent, value, topic))
            }
            Action::SendById { agent, value, topic } => self.send(&mut state, agent, value, topic),
            Action::Apply { value } => self.apply(&mut state, value),
            Action::Hear { value } => self.hear(&mut state, value),
            Action::Purge => self.purge(&mut state),
            Action::Collect { value } => self.collect(&mut state, value),
            Action::CommitOffset { agent } => self.commit_offset(&mut state, agent),
            Action::FetchOffset { agent } => self.fetch_offset(&mut state, agent),
        };
        happened.filter(|()| state != *last).map(|()| state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// The step happened if this is `Some`.
type Happened = Option<()>;

impl Topics {
    /// An administrator asks for something. It may happen much later, or never.
    fn request(&self, state: &mut State, request: Request) -> Happened {
        if state.asked >= self.bounds.requests {
            return None;
        }
        state.asked += 1;
        state.requests.push(request);
        Some(())
    }

    /// A transaction begins, and takes its version: nobody else does until it commits.
    fn begin(&self, state: &mut State, request: u8) -> Happened {
        if self.rules.versions_in_order && !state.open.is_empty() {
            return None;
        }
        let change = match state.requests.remove(usize::from(request)) {
            Request::Create { other } => {
                let is_taken = !other && (state.live().is_some() || state.is_being_made());
                let has_room = state.count() < self.bounds.topics;
                if !has_room || (is_taken && self.rules.names_unique) {
                    return Some(()); // refused
                }
                state.topics.push(Topic { is_known: false, is_other: other, ..Topic::new(0) });
                Change::Created(state.count() - 1)
            }
            Request::Delete { topic, asked_at } => {
                let topic = if self.rules.deleted_by_id { Some(topic) } else { state.live() };
                let found = topic.filter(|topic| state.topic(*topic).is_some_and(|found| found.is_live()));
                let Some(topic) = found else {
                    state.seen |= seen::LATE_DELETION;
                    return Some(()); // unknown
                };
                state.wrong |= if topic >= asked_at { wrong::YOUNGER_DELETED } else { 0 };
                Change::Deleted(topic)
            }
        };
        state.version += 1;
        state.open.push(Transaction { version: state.version, change });
        Some(())
    }

    /// A transaction commits.
    fn commit(&self, state: &mut State, transaction: u8) -> Happened {
        let Transaction { version, change } = state.open.remove(usize::from(transaction));
        match change {
            Change::Created(number) => {
                let floor = if self.rules.epochs_above_the_floor { state.floor } else { 0 };
                state.seen |= seen::MADE_AGAIN;
                let topic = state.topics.get_mut(usize::from(number))?;
                *topic = Topic { is_other: topic.is_other, ..Topic::new(if topic.is_other { 0 } else { floor }) };
            }
            Change::Deleted(number) => {
                let topic = state.topics.get_mut(usize::from(number))?;
                topic.deleted = true;
                if self.rules.leases_taken {
                    topic.leader = None;
                }
                state.floor = state.floor.max(topic.epoch);
            }
        }
        state.changes.push((version, change));
        Some(())
    }

    /// An agent asks what changed since the version it knows.
    fn learn(&self, state: &mut State, agent: u8) -> Happened {
        let agent = &mut state.agents[usize::from(agent)];
        let mut news: Vec<_> = state.changes.iter().filter(|(version, _)| *version > agent.version).collect();
        news.sort_unstable_by_key(|(version, _)| *version);
        // What was created and deleted since is only told to be deleted; topics come first.
        let created = news.iter().filter_map(|(_, change)| match change {
            Change::Created(topic) => Some(*topic).filter(|topic| state.topics[usize::from(*topic)].is_live()),
            Change::Deleted(_) => None,
        });
        for topic in created {
            agent.topics |= 1 << topic;
            if !state.topics[usize::from(topic)].is_other {
                agent.named = Some(topic);
            }
        }
        for (_, change) in &news {
            let Change::Deleted(topic) = change else { continue };
            agent.topics &= !(1 << topic);
            agent.led[usize::from(*topic)] = None;
            if agent.named == Some(*topic) || !self.rules.name_left {
                agent.named = None;
            }
        }
        agent.version = news.last().map_or(agent.version, |(version, _)| *version);
        Some(())
    }

    /// An agent that knows a topic acquires its partition.
    fn lead(&self, state: &mut State, agent: u8, topic: u8) -> Happened {
        let is_known = state.agents[usize::from(agent)].topics & (1 << topic) != 0;
        let found = state.topics.get_mut(usize::from(topic)).filter(|found| is_known && found.is_known)?;
        let is_deleted = found.deleted && self.rules.mark_compared;
        if is_deleted || found.leader == Some(agent) || found.epoch >= self.bounds.epochs {
            return None;
        }
        (found.leader, found.epoch) = (Some(agent), found.epoch + 1);
        let (epoch, is_deleted, is_other) = (found.epoch, found.deleted, found.is_other);
        state.agents[usize::from(agent)].led[usize::from(topic)] = Some(epoch);
        if !is_deleted && !is_other {
            state.wrong |= if epoch <= state.told_epoch { wrong::EPOCH_WENT_BACK } else { 0 };
            state.told_epoch = state.told_epoch.max(epoch);
        }
        Some(())
    }

    /// A value is sent to an agent that believes to lead the topic; its commit is on its way.
    fn send(&self, state: &mut State, agent: u8, value: u8, topic: u8) -> Happened {
        let is_next = value == 0 || state.fates[usize::from(value) - 1] != Fate::Unsent;
        if state.fates[usize::from(value)] != Fate::Unsent || !is_next {
            return None;
        }
        let who = &state.agents[usize::from(agent)];
        if who.topics & (1 << topic) == 0 {
            let was_there = usize::from(topic) < state.topics.len();
            state.seen |= if was_there { seen::OLD_ID_REFUSED } else { 0 };
            return was_there.then_some(());
        }
        let epoch = (*who.led.get(usize::from(topic))?)?;
        let offset = u8::try_from(state.topic(topic)?.log.len()).ok()?;
        state.attempts[usize::from(value)] = Some(Attempt { agent, topic, epoch, offset, accepted: None });
        state.fates[usize::from(value)] = Fate::Open(topic);
        Some(())
    }

    /// The database decides a commit, however long ago it was sent.
    fn apply(&self, state: &mut State, value: u8) -> Happened {
        let attempt = state.attempts[usize::from(value)].filter(|attempt| attempt.accepted.is_none())?;
        let Attempt { agent, topic, epoch, offset, .. } = attempt;
        let row = if self.rules.rows_by_id { Some(topic) } else { state.live() };
        let is_deleted = |found: &Topic| found.deleted && self.rules.mark_compared;
        let matches = |found: &&mut Topic| {
            found.is_known
                && !is_deleted(found)
                && (found.leader, found.epoch) == (Some(agent), epoch)
                && found.log.len() == usize::from(offset)
        };
        let found = row.and_then(|row| state.topics.get_mut(usize::from(row))).filter(matches);
        let accepted = found.is_some();
        if let Some(found) = found {
            found.log.push(value);
            found.rows.push(value);
            state.wrong |= if found.deleted { wrong::WRITTEN_WHEN_DELETED } else { 0 };
        }
        state.wrong |= if accepted && row != Some(topic) { wrong::OTHER_TOPIC } else { 0 };
        state.seen |= if accepted { 0 } else { seen::COMMIT_REFUSED };
        state.objects[usize::from(value)] = if accepted { Object::Committed } else { Object::Retired };
        state.attempts[usize::from(value)] = Some(Attempt { accepted: Some(accepted), ..attempt });
        Some(())
    }

    /// The producer hears of its value.
    fn hear(&self, state: &mut State, value: u8) -> Happened {
        let Attempt { topic, accepted, .. } = state.attempts[usize::from(value)]?;
        state.fates[usize::from(value)] = if accepted? { Fate::Acked(topic) } else { Fate::Failed };
        Some(())
    }

    /// A row of a deleted topic goes; its own is the last one.
    fn purge(&self, state: &mut State) -> Happened {
        let topic = state.topics.iter_mut().find(|topic| topic.deleted && topic.is_known)?;
        if topic.rows.is_empty() || !self.rules.topic_goes_last {
            topic.is_known = false;
            return Some(());
        }
        let value = topic.rows.remove(0);
        if self.rules.purge_retires {
            state.objects[usize::from(value)] = Object::Retired;
        }
        Some(())
    }

    /// An object without rows is deleted.
    fn collect(&self, state: &mut State, value: u8) -> Happened {
        let object = &mut state.objects[usize::from(value)];
        if *object != Object::Retired {
            return None;
        }
        *object = Object::Deleted;
        state.seen |= seen::COLLECTED;
        Some(())
    }

    /// A consumer commits that it read everything of the topic that has the name.
    fn commit_offset(&self, state: &mut State, agent: u8) -> Happened {
        let topic = state.agents[usize::from(agent)].named?;
        let end = u8::try_from(state.topic(topic)?.log.len()).ok()?;
        state.offset = Some((topic, end));
        Some(())
    }

    /// A consumer begins where its group left the topic of the name.
    fn fetch_offset(&self, state: &mut State, agent: u8) -> Happened {
        let topic = state.agents[usize::from(agent)].named?;
        let (of, offset) = state.offset?;
        let end = state.topic(topic)?.log.len();
        if (of == topic || !self.rules.offsets_by_id) && usize::from(offset) > end {
            state.wrong |= wrong::BEYOND_END;
        }
        Some(())
    }
}

impl Topic {
    fn new(epoch: u8) -> Self {
        Self { is_other: false, deleted: false, is_known: true, leader: None, epoch, log: Vec::new(), rows: Vec::new() }
    }

    pub(super) fn is_live(&self) -> bool {
        self.is_known && !self.deleted
    }
}

impl State {
    /// Whether a topic of the name is being created.
    fn is_being_made(&self) -> bool {
        let mut open = self.open.iter().map(|open| open.change);
        open.any(|change| match change {
            Change::Created(topic) => !self.topics[usize::from(topic)].is_other,
            Change::Deleted(_) => false,
        })
    }

    fn count(&self) -> u8 {
        u8::try_from(self.topics.len()).unwrap_or(u8::MAX)
    }

    fn topic(&self, topic: u8) -> Option<&Topic> {
        self.topics.get(usize::from(topic))
    }
}
