//! What there is: the rows, the writes on their way, the coordinators' memories, and what clients were told.

/// What is kept of the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rows {
    /// The generation, and the member whose it is.
    pub group: (u8, u8),
    /// The committed offset; commit `c` is of offset `c + 1`.
    pub offset: u8,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It may still happen.
    Sent,
    /// All of it happened.
    Written,
    /// Nothing of it did, or will.
    Refused,
}

/// A write of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// Whose.
    pub session: u8,
    /// The epoch of its lease.
    pub epoch: u8,
    /// The count of writes that it builds on.
    pub sequence: u8,
    /// The new generation and member, if they change.
    pub group: Option<(u8, u8)>,
    /// The new offset and the generation of who committed it, if it changes.
    pub offset: Option<(u8, u8)>,
    /// What became of it.
    pub outcome: Outcome,
}

/// Something a coordinator decided, and whom it answers when it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// An offset is committed, by a member of this generation.
    Commit {
        /// Which commit.
        commit: u8,
        /// Of which generation its member is.
        generation: u8,
    },
    /// A new generation has its member.
    Assign {
        /// The generation and its member.
        group: (u8, u8),
    },
    /// A fetch is answered with this offset.
    Fetch {
        /// The offset.
        offset: u8,
    },
}

/// What a coordinator has read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Loading {
    /// The count of writes.
    pub sequence: Option<u8>,
    /// The first page of rows: the group.
    pub group: Option<(u8, u8)>,
    /// The second page: the offset.
    pub offset: Option<u8>,
}

/// Where a coordinator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It reads its rows.
    Loading(Loading),
    /// It answers.
    Serving,
}

/// A coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    /// The epoch it acquired.
    pub epoch: u8,
    /// Where it is.
    pub phase: Phase,
    /// The count of writes as it knows it.
    pub sequence: u8,
    /// What it remembers.
    pub rows: Rows,
    /// Decided, and not sent.
    pub unsent: Vec<Decision>,
    /// Decided, and in the write that is under way.
    pub sent: Vec<Decision>,
    /// That write.
    pub writing: Option<u8>,
}

/// What the client of a commit knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Not sent.
    Unsent,
    /// Sent. The client may have stopped waiting.
    Open,
    /// Durable.
    Acked,
    /// Told to try again; it may have happened.
    Failed,
}

/// A client asks which offset is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fetch {
    /// Whom.
    pub agent: u8,
    /// The epoch of the coordinator that was asked.
    pub epoch: u8,
    /// What was acked or told before.
    pub promised: u8,
    /// The epoch of the lease, read since.
    pub confirmed: Option<u8>,
    /// What the coordinator answered.
    pub offset: Option<u8>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// What is durable.
    pub rows: Rows,
    /// Writes so far.
    pub sequence: u8,
    /// Who holds the lease.
    pub session: u8,
    /// Under which epoch.
    pub epoch: u8,
    /// Per session: its agent, and whether it is active.
    pub sessions: Vec<(u8, bool)>,
    /// Per agent its session.
    pub agents: Vec<u8>,
    /// Per agent its coordinator, if one runs.
    pub shards: Vec<Option<Shard>>,
    /// All writes so far.
    pub writes: Vec<Write>,
    /// Per commit.
    pub fates: Vec<Fate>,
    /// A fetch that is not answered.
    pub fetch: Option<Fetch>,
    /// The greatest offset that was acked or told.
    pub promised: u8,
    /// Per generation the member that was told it is its own.
    pub told: Vec<Option<u8>>,
    /// What must never happen, and did.
    pub wrong: u8,
    /// What happened just now.
    pub seen: u8,
}

/// Bits of [`State::wrong`].
pub(crate) mod wrong {
    pub(crate) const OLD_OFFSET: u8 = 1;
    pub(crate) const TWO_MEMBERS: u8 = 2;
    pub(crate) const OLD_GENERATION: u8 = 4;
}

/// Bits of [`State::seen`].
pub(crate) mod seen {
    pub(crate) const ZOMBIE_SERVED: u8 = 1;
    pub(crate) const LATE_WRITE: u8 = 2;
    pub(crate) const RELOADED: u8 = 4;
    pub(crate) const TAKEN_OVER: u8 = 8;
    pub(crate) const FETCH_REFUSED: u8 = 16;
    pub(crate) const TOLD: u8 = 32;
    pub(crate) const REFUSED: u8 = 64;
}

impl State {
    pub(crate) fn is_active(&self, session: u8) -> bool {
        self.sessions[usize::from(session)].1
    }

    /// Whether the agent's session is active and holds the lease under this epoch.
    pub(crate) fn is_held(&self, agent: u8, epoch: u8) -> bool {
        let session = self.agents[usize::from(agent)];
        self.is_active(session) && self.session == session && self.epoch == epoch
    }

    /// A fetch that this agent did not answer fails.
    pub(crate) fn hang_up(&mut self, agent: u8) {
        self.fetch = self.fetch.filter(|fetch| fetch.agent != agent);
    }
}

impl Shard {
    pub(crate) fn new(epoch: u8) -> Self {
        Self {
            epoch,
            phase: Phase::Loading(Loading::default()),
            sequence: 0,
            rows: Rows::default(),
            unsent: Vec::new(),
            sent: Vec::new(),
            writing: None,
        }
    }
}
