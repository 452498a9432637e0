//! What there is: the topics' rows, the requests on their way, and what agents and clients remember.

/// A topic; its number is its id. All have the same name, but for some that have others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    /// It has a name of its own.
    pub is_other: bool,
    /// It is deleted: a mark.
    pub deleted: bool,
    /// Its own row is there.
    pub is_known: bool,
    /// Who leads its partition; `None`: nobody.
    pub leader: Option<u8>,
    /// Under which epoch.
    pub epoch: u8,
    /// The values in its log, in order.
    pub log: Vec<u8>,
    /// The rows of the log that were not purged; values are their own objects.
    pub rows: Vec<u8>,
}

/// What has the place of an object's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// Not there.
    None,
    /// It has a row.
    Committed,
    /// Its row is gone: it may be deleted.
    Retired,
    /// It is deleted.
    Deleted,
}

/// What a transaction changes of topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A topic is there.
    Created(u8),
    /// It is deleted.
    Deleted(u8),
}

/// A change under way: it has its version, and is not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// Its version.
    pub version: u8,
    /// What it will have done.
    pub change: Change,
}

/// What an administrator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// A topic of the name, or of another one.
    Create {
        /// Of another one.
        other: bool,
    },
    /// The end of this topic.
    Delete {
        /// Which one had the name.
        topic: u8,
        /// How many topics there were.
        asked_at: u8,
    },
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Agent {
    /// The version up to which it knows all changes.
    pub version: u8,
    /// Topics it knows, a bit each.
    pub topics: u8,
    /// The topic that has the name.
    pub named: Option<u8>,
    /// Topics it leads, or believes so: the epoch by topic.
    pub led: Vec<Option<u8>>,
}

/// A value on its way into a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Who commits it.
    pub agent: u8,
    /// To which topic.
    pub topic: u8,
    /// Under which epoch.
    pub epoch: u8,
    /// At which offset.
    pub offset: u8,
    /// Whether it was accepted, once that is decided.
    pub accepted: Option<bool>,
}

/// What the producer of a value knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Not sent.
    Unsent,
    /// Sent to this topic.
    Open(u8),
    /// Durable in this one.
    Acked(u8),
    /// Refused.
    Failed,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The version of the last change that has one.
    pub version: u8,
    /// Committed changes, by version.
    pub changes: Vec<(u8, Change)>,
    /// Changes that are not committed.
    pub open: Vec<Transaction>,
    /// All topics so far.
    pub topics: Vec<Topic>,
    /// The highest epoch that a deleted topic of the name had.
    pub floor: u8,
    /// The highest epoch that anybody was told of the name.
    pub told_epoch: u8,
    /// Requests of administrators on their way.
    pub requests: Vec<Request>,
    /// Requests so far.
    pub asked: u8,
    /// Both agents.
    pub agents: Vec<Agent>,
    /// Per value.
    pub attempts: Vec<Option<Attempt>>,
    /// Per value.
    pub fates: Vec<Fate>,
    /// Per value.
    pub objects: Vec<Object>,
    /// The committed offset of a group: for which topic, and how far.
    pub offset: Option<(u8, u8)>,
    /// What must never happen, and did.
    pub wrong: u8,
    /// What happened just now.
    pub seen: u8,
}

/// Bits of [`State::wrong`].
pub(crate) mod wrong {
    pub(crate) const EPOCH_WENT_BACK: u8 = 1;
    pub(crate) const WRITTEN_WHEN_DELETED: u8 = 2;
    pub(crate) const OTHER_TOPIC: u8 = 4;
    pub(crate) const YOUNGER_DELETED: u8 = 8;
    pub(crate) const BEYOND_END: u8 = 16;
}

/// Bits of [`State::seen`].
pub(crate) mod seen {
    pub(crate) const MADE_AGAIN: u8 = 1;
    pub(crate) const OLD_ID_REFUSED: u8 = 2;
    pub(crate) const COMMIT_REFUSED: u8 = 4;
    pub(crate) const COLLECTED: u8 = 8;
    pub(crate) const LATE_DELETION: u8 = 16;
}

impl State {
    /// The topic that has the name.
    pub(crate) fn live(&self) -> Option<u8> {
        (0..).zip(&self.topics).find(|(_, topic)| topic.is_live() && !topic.is_other).map(|(number, _)| number)
    }
}
