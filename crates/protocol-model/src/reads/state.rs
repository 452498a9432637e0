//! What there is: the rows, the leaders' memories, what the follower was told, and where the consumer is.

/// One row: consecutive offsets in one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// First offset.
    pub base: u8,
    /// First offset after it.
    pub next: u8,
    /// The object. A flush of offset `o` is object `o`.
    pub object: u8,
}

/// A log start on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    /// Where to.
    pub to: u8,
    /// Whether it happened, if that is decided.
    pub happened: Option<bool>,
}

/// The partition as an agent that leads it, or believes so, remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Led {
    /// The epoch it acquired.
    pub epoch: u8,
    /// What it committed, as the database has it.
    pub committed: u8,
    /// First offset that is not published.
    pub high_watermark: u8,
    /// First readable offset.
    pub start: u8,
    /// The newest rows that were published, for followers.
    pub recent: Vec<Range>,
    /// A log start that was sent.
    pub moving: Option<Move>,
    /// One was sent whose outcome it does not know.
    pub is_unsure: bool,
}

/// What a leader tells its follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct News {
    /// The leader's epoch.
    pub epoch: u8,
    /// First readable offset.
    pub start: u8,
    /// First offset that is not published.
    pub high_watermark: u8,
    /// Newest rows; not always all that are new.
    pub ranges: Vec<Range>,
}

/// A leader's stream to the follower.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Feed {
    /// Log start and high watermark that were told last, if any were.
    pub told: Option<(u8, u8)>,
    /// Told, and not arrived.
    pub mail: Option<News>,
}

/// The consumer, and the plan that the agent it reads from has for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reader {
    /// The next offset to read.
    pub position: u8,
    /// Whose plan it is.
    pub source: u8,
    /// Rows to read.
    pub plan: Vec<Range>,
}

/// Where does the log begin, and where does it end?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Who was asked.
    pub agent: u8,
    /// The farthest beginning and end that were told before.
    pub told: (u8, u8),
    /// Where the log began then.
    pub start: u8,
    /// The epoch under which the lease was confirmed since.
    pub confirmed: Option<u8>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The committed rows.
    pub ranges: Vec<Range>,
    /// First offset that is not committed.
    pub next: u8,
    /// First readable offset.
    pub start: u8,
    /// Who leads.
    pub holder: u8,
    /// Under which epoch.
    pub epoch: u8,
    /// Objects made by rewrites so far.
    pub rewritten: u8,
    /// Per agent.
    pub leaders: Vec<Option<Led>>,
    /// Per agent.
    pub feeds: Vec<Feed>,
    /// What the follower knows; the rows are apart.
    pub known: Option<(u8, u8, u8)>,
    /// The rows it remembers.
    pub ranges_known: Vec<Range>,
    /// The consumer.
    pub reader: Reader,
    /// A question that is not answered.
    pub question: Option<Question>,
    /// The farthest beginning and end that were told.
    pub told: (u8, u8),
    /// What must never happen, and did.
    pub wrong: u8,
    /// What happened just now.
    pub seen: u16,
}

/// Bits of [`State::wrong`].
pub(crate) mod wrong {
    pub(crate) const SKIPPED: u8 = 1;
    pub(crate) const REPEATED: u8 = 2;
    pub(crate) const OUT_OF_RANGE: u8 = 4;
    pub(crate) const END_WENT_BACK: u8 = 8;
    pub(crate) const START_WENT_BACK: u8 = 16;
    pub(crate) const FOLLOWER_WENT_BACK: u8 = 32;
    pub(crate) const START_UNKNOWN: u8 = 64;
}

/// Bits of [`State::seen`].
pub(crate) mod seen {
    pub(crate) const READ_OF_LEADER: u16 = 1;
    pub(crate) const READ_OF_FOLLOWER: u16 = 1 << 1;
    pub(crate) const READ_OF_ZOMBIE: u16 = 1 << 2;
    pub(crate) const PLANNED_AGAIN: u16 = 1 << 3;
    pub(crate) const FOUND_NOTHING: u16 = 1 << 4;
    pub(crate) const OUT_OF_RANGE: u16 = 1 << 5;
    pub(crate) const GAP: u16 = 1 << 6;
    pub(crate) const OLD_NEWS: u16 = 1 << 7;
    pub(crate) const ANSWERED: u16 = 1 << 8;
    pub(crate) const REFUSED: u16 = 1 << 9;
}

impl State {
    /// Whether a row is in this object; else it may be deleted.
    pub(crate) fn is_referenced(&self, object: u8) -> bool {
        self.ranges.iter().any(|range| range.object == object)
    }

    /// Whether this epoch of this agent is the one in force.
    pub(crate) fn is_led(&self, agent: u8, epoch: u8) -> bool {
        self.holder == agent && self.epoch == epoch
    }

    /// The rows from the one that holds an offset on.
    pub(crate) fn ranges_from(&self, offset: u8) -> Vec<Range> {
        self.ranges.iter().copied().filter(|range| range.next > offset).collect()
    }
}
