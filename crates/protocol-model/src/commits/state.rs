//! What there is: the database's rows, the bucket's objects, the agents' memories, and what producers were told.

/// A session that is nobody's.
pub(crate) const NONE: u8 = u8::MAX;

/// A partition's row: the compare-and-set of a commit is on these three.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Who may write it; [`NONE`] before the first lease.
    pub session: u8,
    /// Rises with each acquisition and hand-over.
    pub epoch: u8,
    /// Its committed values, with the attempt whose object holds each.
    pub log: Vec<(u8, u8)>,
}

/// One partition's part of a segment: one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// Which partition.
    pub partition: u8,
    /// The epoch under which the offset was given out.
    pub epoch: u8,
    /// The offset.
    pub offset: u8,
    /// The value.
    pub value: u8,
    /// The generation of the partition's line when it was gathered.
    pub generation: u8,
}

/// What has the place of a segment in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Nothing.
    Empty,
    /// It never commits.
    Tombstone,
    /// It committed.
    Segment,
}

/// Where a commit is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Not sent.
    None,
    /// Sent; the database may apply it at any time, or never.
    InFlight,
    /// Applied; per range whether it was accepted. The agent may never hear of it.
    Applied(Vec<bool>),
    /// The session was not active.
    Fenced,
}

/// One segment: uploaded once, committed at most once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Who uploaded it.
    pub session: u8,
    /// What is in it.
    pub ranges: Vec<Range>,
    /// Whether its object is in the bucket.
    pub object: bool,
    /// Its place in the database.
    pub slot: Slot,
    /// Its commit.
    pub commit: Reply,
}

/// A partition as the agent that leads it, or believes so, remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Led {
    /// The epoch it acquired.
    pub epoch: u8,
    /// The first offset not committed.
    pub high_watermark: u8,
    /// Values in line, from the high watermark on; the first `gathered` are in attempts.
    pub line: Vec<u8>,
    /// How many of the line are in attempts.
    pub gathered: u8,
    /// Rises when the line fails.
    pub generation: u8,
    /// Values it knows as committed (what producer state is rebuilt from).
    pub known: Vec<u8>,
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Agent {
    /// The session it believes to have.
    pub session: u8,
    /// Per partition.
    pub led: Vec<Option<Led>>,
    /// Attempts on their way, in order; the first one is being committed once it was sent.
    pub lane: Vec<u8>,
    /// The first attempt's commit lost its reply.
    pub resolving: bool,
}

/// What the producer of a value knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Not sent yet.
    Unsent,
    /// Sent; nothing heard, or nothing that says anything.
    Open,
    /// Acked at this offset.
    Acked(u8),
    /// Told that it was definitely not written.
    Failed,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Per partition.
    pub rows: Vec<Row>,
    /// Per session: its agent, and whether it is active.
    pub sessions: Vec<(u8, bool)>,
    /// All attempts so far.
    pub attempts: Vec<Attempt>,
    /// All agents.
    pub agents: Vec<Agent>,
    /// Per value; value `v` is for partition `v % partitions`.
    pub fates: Vec<Fate>,
    /// A leader said what only the current one may say, and it was not true.
    pub false_refusal: bool,
    /// What happened on the way here, for properties that must be reachable.
    pub seen: u8,
}

/// Bits of [`State::seen`].
pub(crate) mod seen {
    /// A duplicate was answered with its first offset.
    pub(crate) const DUPLICATE: u8 = 1;
    /// A lost reply turned out to be a commit.
    pub(crate) const RESOLVED_COMMITTED: u8 = 2;
    /// A lost reply turned out to be nothing, by a tombstone.
    pub(crate) const RESOLVED_FAILED: u8 = 4;
    /// A partition was handed over.
    pub(crate) const HANDED_OVER: u8 = 8;
    /// An object was deleted as garbage.
    pub(crate) const COLLECTED: u8 = 16;
    /// One range of a segment was accepted and another rejected.
    pub(crate) const PARTIAL: u8 = 32;
    /// An agent took over from another whose session was fenced.
    pub(crate) const TAKEN_OVER: u8 = 64;
}

impl State {
    /// Whether a session may write.
    #[must_use]
    pub fn is_active(&self, session: u8) -> bool {
        self.sessions.get(usize::from(session)).is_some_and(|(_, active)| *active)
    }
}
