//! What can happen.

use stateright::{Model, Property};

use super::properties;
use super::state::{Fate, Rows, Shard, State, seen};

/// The rules; each can be left out.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A write compares the lease and its epoch.
    pub lease_compared: bool,
    /// A write checks that its session is active.
    pub session_checked: bool,
    /// A write compares the count of writes that it builds on.
    pub sequence_compared: bool,
    /// The count is read before the rows.
    pub sequence_read_first: bool,
    /// Nothing is answered before the rows are read.
    pub loaded_before_serving: bool,
    /// What was changed is answered when it is durable.
    pub answers_wait: bool,
    /// What was only read waits too, for what it saw.
    pub reads_wait: bool,
    /// Whoever does not know what became of its write reads everything again.
    pub loaded_when_lost: bool,
    /// A fetch is answered only if the lease is confirmed by a read begun after it.
    pub fetches_confirmed: bool,
    /// A commit must be of the group's generation.
    pub generations_compared: bool,
}

impl Rules {
    /// The protocol.
    pub const ALL: Self = Self {
        lease_compared: true,
        session_checked: true,
        sequence_compared: true,
        sequence_read_first: true,
        loaded_before_serving: true,
        answers_wait: true,
        reads_wait: true,
        loaded_when_lost: true,
        fetches_confirmed: true,
        generations_compared: true,
    };
}

/// How far the exploration goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Sessions in all; two are there from the start.
    pub sessions: u8,
    /// Greatest leader epoch.
    pub epochs: u8,
    /// Writes in all.
    pub writes: u8,
    /// Commits in all.
    pub commits: u8,
    /// Generations in all.
    pub generations: u8,
    /// Whether somebody asks which offset is committed.
    pub fetches: bool,
}

/// The coordinators under these rules, within these bounds.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    /// What holds.
    pub rules: Rules,
    /// How far.
    pub bounds: Bounds,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is explained where it is applied")]
pub enum Action {
    Fence { session: u8 },
    Restart { agent: u8 },
    Lead { agent: u8 },
    HandOver,
    Load { agent: u8 },
    Commit { agent: u8, commit: u8, generation: u8 },
    Assign { agent: u8 },
    AskOffset { agent: u8 },
    Confirm,
    FetchOffset,
    Answer,
    Send { agent: u8 },
    Apply { write: u8 },
    Hear { agent: u8 },
    Lose { agent: u8 },
}

impl Model for Groups {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            rows: Rows::default(),
            sequence: 0,
            session: 0,
            epoch: 1,
            sessions: vec![(0, true), (1, true)],
            agents: vec![0, 1],
            shards: vec![Some(self.begun(1)), None],
            writes: Vec::new(),
            fates: vec![Fate::Unsent; usize::from(self.bounds.commits)],
            fetch: None,
            promised: 0,
            told: vec![None; usize::from(self.bounds.generations) + 1],
            wrong: 0,
            seen: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (session, _) in (0..).zip(&state.sessions) {
            actions.push(Action::Fence { session });
        }
        for agent in 0..2 {
            actions.extend([Action::Restart { agent }, Action::Lead { agent }, Action::Load { agent }]);
            for generation in 0..=self.bounds.generations {
                let commits = 0..self.bounds.commits;
                actions.extend(commits.map(|commit| Action::Commit { agent, commit, generation }));
            }
            actions.extend([Action::Assign { agent }, Action::Send { agent }]);
            actions.extend([Action::Hear { agent }, Action::Lose { agent }]);
            if self.bounds.fetches {
                actions.push(Action::AskOffset { agent });
            }
        }
        actions.extend([Action::HandOver, Action::Confirm, Action::FetchOffset, Action::Answer]);
        actions.extend((0..).zip(&state.writes).map(|(write, _)| Action::Apply { write }));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = State { seen: 0, ..last.clone() };
        let happened = match action {
            Action::Fence { session } => self.fence(&mut state, session),
            Action::Restart { agent } => self.restart(&mut state, agent),
            Action::Lead { agent } => self.lead(&mut state, agent),
            Action::HandOver => self.hand_over(&mut state),
            Action::Load { agent } => self.load(&mut state, agent),
            Action::Commit { agent, commit, generation } => self.commit(&mut state, agent, commit, generation),
            Action::Assign { agent } => self.assign(&mut state, agent),
            Action::AskOffset { agent } => self.ask_offset(&mut state, agent),
            Action::Confirm => self.confirm(&mut state),
            Action::FetchOffset => self.fetch_offset(&mut state),
            Action::Answer => self.answer(&mut state),
            Action::Send { agent } => self.send(&mut state, agent),
            Action::Apply { write } => self.apply(&mut state, write),
            Action::Hear { agent } => self.hear(&mut state, agent),
            Action::Lose { agent } => self.lose(&mut state, agent),
        };
        happened.filter(|()| state != *last).map(|()| state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// The step happened if this is `Some`.
pub(super) type Happened = Option<()>;

impl Groups {
    /// A coordinator that begins.
    fn begun(&self, epoch: u8) -> Shard {
        let mut shard = Shard::new(epoch);
        if !self.rules.loaded_before_serving {
            shard.phase = super::state::Phase::Serving;
        }
        shard
    }

    /// A peer takes a session for dead, rightly or not.
    fn fence(&self, state: &mut State, session: u8) -> Happened {
        state.sessions[usize::from(session)].1 = false;
        Some(())
    }

    /// An agent starts over under a new session.
    fn restart(&self, state: &mut State, agent: u8) -> Happened {
        let session = u8::try_from(state.sessions.len()).ok().filter(|next| *next < self.bounds.sessions)?;
        state.sessions[usize::from(state.agents[usize::from(agent)])].1 = false;
        state.sessions.push((agent, true));
        state.agents[usize::from(agent)] = session;
        state.shards[usize::from(agent)] = None;
        state.hang_up(agent);
        Some(())
    }

    /// An agent takes the partition over from a session that is over, or takes it up again: a coordinator begins.
    fn lead(&self, state: &mut State, agent: u8) -> Happened {
        let session = state.agents[usize::from(agent)];
        if !state.is_active(session) || (state.session != session && state.is_active(state.session)) {
            return None;
        }
        let is_given = state.session == session;
        let begun = state.shards[usize::from(agent)].as_ref().map(|shard| shard.epoch);
        if is_given && begun == Some(state.epoch) {
            return None;
        }
        if !is_given {
            if state.epoch >= self.bounds.epochs {
                return None;
            }
            (state.session, state.epoch) = (session, state.epoch + 1);
            state.seen |= seen::TAKEN_OVER;
        }
        let shard = self.begun(state.epoch);
        state.shards[usize::from(agent)] = Some(shard);
        state.hang_up(agent);
        Some(())
    }

    /// The lease is handed to the other agent; who had it does not notice yet.
    fn hand_over(&self, state: &mut State) -> Happened {
        let (from, is_active) = state.sessions[usize::from(state.session)];
        let to = state.agents[usize::from(1 - from)];
        if !is_active || !state.is_active(to) || state.epoch >= self.bounds.epochs {
            return None;
        }
        (state.session, state.epoch) = (to, state.epoch + 1);
        Some(())
    }
}
