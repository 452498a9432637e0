//! What can happen.

use stateright::{Model, Property};

use super::properties;
use super::state::{Feed, Led, Range, Reader, State};

/// The rules; each can be left out.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// An object that is gone means that the plan is old.
    pub gone_is_planned_again: bool,
    /// A plan that begins beyond the offset is an error.
    pub plans_begin_at_the_offset: bool,
    /// A plan goes on where it ends, or not at all.
    pub plans_go_on_where_they_end: bool,
    /// A follower remembers rows only without a gap.
    pub told_rows_follow: bool,
    /// A follower passes over what is older than what it knows.
    pub older_news_ignored: bool,
    /// A follower never says that an offset is out of range.
    pub followers_never_judge: bool,
    /// A leader says so only if its lease is confirmed.
    pub out_of_range_confirmed: bool,
    /// A leader says where the log begins and ends only if its lease is confirmed by a read begun after the question.
    pub ends_confirmed: bool,
    /// A log start moves only under the lease of its sender.
    pub moves_compared: bool,
    /// In memory it moves when it has moved in the database.
    pub memory_follows: bool,
}

impl Rules {
    /// The protocol.
    pub const ALL: Self = Self {
        gone_is_planned_again: true,
        plans_begin_at_the_offset: true,
        plans_go_on_where_they_end: true,
        told_rows_follow: true,
        older_news_ignored: true,
        followers_never_judge: true,
        out_of_range_confirmed: true,
        ends_confirmed: true,
        moves_compared: true,
        memory_follows: true,
    };
}

/// How far the exploration goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Values in all; one is there from the start.
    pub values: u8,
    /// Greatest leader epoch.
    pub epochs: u8,
    /// Rewrites of two rows into one.
    pub rewrites: u8,
    /// Rows that a leader remembers for followers.
    pub recent: usize,
    /// Whether log starts move.
    pub moves: bool,
    /// Whether there is a follower.
    pub follows: bool,
    /// Whether somebody asks where the log begins and ends.
    pub asks: bool,
    /// Whether there is a consumer.
    pub reads: bool,
}

/// The reads under these rules, within these bounds.
#[derive(Clone, Copy, Debug)]
pub struct Reads {
    /// What holds.
    pub rules: Rules,
    /// How far.
    pub bounds: Bounds,
}

/// Whom the consumer asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An agent that believes to lead.
    Leader(u8),
    /// The one of its zone.
    Follower,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is explained where it is applied")]
pub enum Action {
    Append,
    Publish { agent: u8 },
    Lead { agent: u8 },
    LetGo { agent: u8 },
    Rewrite,
    SendMove { agent: u8, to: u8 },
    DecideMove { agent: u8 },
    HearMove { agent: u8 },
    LoseMove { agent: u8 },
    Look { agent: u8 },
    Tell { agent: u8 },
    Deliver { agent: u8 },
    Break { agent: u8 },
    Plan { source: Source },
    Read { source: Source, rows: u8, collected: bool },
    AskBeyond { source: Source },
    Ask { agent: u8 },
    Confirm,
    Answer,
}

impl Model for Reads {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let first = Range { base: 0, next: 1, object: 0 };
        let led = Led {
            epoch: 1,
            committed: 1,
            high_watermark: 1,
            start: 0,
            recent: vec![first],
            moving: None,
            is_unsure: false,
        };
        vec![State {
            ranges: vec![first],
            next: 1,
            start: 0,
            holder: 0,
            epoch: 1,
            rewritten: 0,
            leaders: vec![Some(led), None],
            feeds: vec![Feed::default(); 2],
            known: None,
            ranges_known: Vec::new(),
            reader: Reader::default(),
            question: None,
            told: (0, 0),
            wrong: 0,
            seen: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Bounds { follows, moves, asks, reads, .. } = self.bounds;
        actions.extend([Action::Append, Action::Rewrite]);
        for agent in 0..2 {
            actions.extend([Action::Publish { agent }, Action::Lead { agent }, Action::LetGo { agent }]);
            if moves {
                actions.extend((1..=state.next).map(|to| Action::SendMove { agent, to }));
                actions.extend([Action::DecideMove { agent }, Action::HearMove { agent }]);
                actions.extend([Action::LoseMove { agent }, Action::Look { agent }]);
            }
            if follows {
                actions.extend([Action::Tell { agent }, Action::Deliver { agent }, Action::Break { agent }]);
            }
            if asks {
                actions.push(Action::Ask { agent });
            }
        }
        if asks {
            actions.extend([Action::Confirm, Action::Answer]);
        }
        if reads {
            let sources = [Source::Leader(0), Source::Leader(1), Source::Follower];
            for source in sources.into_iter().take(if follows { 3 } else { 2 }) {
                actions.extend([Action::Plan { source }, Action::AskBeyond { source }]);
                for collected in [false, true] {
                    actions.extend([1, 2].map(|rows| Action::Read { source, rows, collected }));
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = State { seen: 0, ..last.clone() };
        let happened = match action {
            Action::Append => self.append(&mut state),
            Action::Publish { agent } => self.publish(&mut state, agent),
            Action::Lead { agent } => self.lead(&mut state, agent),
            Action::LetGo { agent } => self.let_go(&mut state, agent),
            Action::Rewrite => self.rewrite(&mut state),
            Action::SendMove { agent, to } => self.send_move(&mut state, agent, to),
            Action::DecideMove { agent } => self.decide_move(&mut state, agent),
            Action::HearMove { agent } => self.hear_move(&mut state, agent),
            Action::LoseMove { agent } => self.lose_move(&mut state, agent),
            Action::Look { agent } => self.look(&mut state, agent),
            Action::Tell { agent } => self.tell(&mut state, agent),
            Action::Deliver { agent } => self.deliver(&mut state, agent),
            Action::Break { agent } => self.break_stream(&mut state, agent),
            Action::Plan { source } => self.plan(&mut state, source),
            Action::Read { source, rows, collected } => self.read(&mut state, source, rows, collected),
            Action::AskBeyond { source } => self.ask_beyond(&mut state, source),
            Action::Ask { agent } => self.ask(&mut state, agent),
            Action::Confirm => self.confirm(&mut state),
            Action::Answer => self.answer(&mut state),
        };
        happened.filter(|()| state != *last).map(|()| state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// The step happened if this is `Some`.
pub(super) type Happened = Option<()>;
