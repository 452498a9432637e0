//! What there is: rows and objects, and the rewrites on their way.

/// Partitions; each segment has a range of both.
pub(super) const PARTITIONS: u8 = 2;

/// One row: consecutive offsets of a partition in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// First offset.
    pub base: u8,
    /// First offset after it.
    pub next: u8,
    /// Where its bytes are.
    pub segment: u8,
    /// Whether it says what producers wrote; rows of a rewrite do not.
    pub entries: bool,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    /// Its rows, in order.
    pub ranges: Vec<Range>,
    /// First readable offset.
    pub start: u8,
    /// First offset that is not committed.
    pub next: u8,
    /// Producers below this offset are in a snapshot.
    pub snapshot: u8,
    /// Its topic is deleted; the rows are purged one by one.
    pub deleted: bool,
}

/// What has the place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing.
    Empty,
    /// It never commits.
    Tombstone,
    /// It has ranges.
    Committed,
    /// It has none any more, and never will.
    Retired,
}

/// An object, and its row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Who uploaded it.
    pub session: u8,
    /// Its row.
    pub kind: Kind,
    /// Whether it is in the bucket.
    pub object: bool,
    /// Per partition the offsets whose values it holds, a bit each.
    pub holds: [u8; PARTITIONS as usize],
}

/// Where the swap of a partition's rows is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Not sent.
    Planned,
    /// Sent; it may happen at any time.
    Sent,
    /// The database decided it.
    Decided,
    /// It did not happen, and never will.
    Dropped,
}

/// The rows of one partition that a rewrite stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// Which partition.
    pub partition: u8,
    /// As they were read.
    pub replaced: Vec<Range>,
    /// As of which offset producers are sent along; 0: not.
    pub snapshot: u8,
    /// Its transaction.
    pub fate: Fate,
}

/// One rewritten object on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rewrite {
    /// The object.
    pub segment: u8,
    /// The leader epoch under which it was planned.
    pub epoch: u8,
    /// One after the other.
    pub parts: Vec<Part>,
    /// The first part that its sender is not done with.
    pub at: u8,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Who leads both partitions.
    pub holder: u8,
    /// Under which epoch.
    pub epoch: u8,
    /// Per session, which is an agent here: whether it is active.
    pub active: Vec<bool>,
    /// Per agent the epoch under which it believes to lead; 0: it does not.
    pub believes: Vec<u8>,
    /// Per partition.
    pub logs: Vec<Log>,
    /// All segments so far.
    pub segments: Vec<Segment>,
    /// All rewrites so far.
    pub rewrites: Vec<Rewrite>,
    /// What happened just now.
    pub seen: u16,
}

/// Bits of [`State::seen`].
pub(crate) mod seen {
    pub(crate) const SWAPPED: u16 = 1;
    pub(crate) const REFUSED: u16 = 1 << 1;
    pub(crate) const LATE: u16 = 1 << 2;
    pub(crate) const RESOLVED_FAILED: u16 = 1 << 3;
    pub(crate) const RESOLVED_COMMITTED: u16 = 1 << 4;
    pub(crate) const COLLECTED: u16 = 1 << 5;
    pub(crate) const FORGOTTEN: u16 = 1 << 6;
    pub(crate) const PURGED: u16 = 1 << 7;
    pub(crate) const COMPACTED: u16 = 1 << 8;
    pub(crate) const MOVED: u16 = 1 << 9;
}

/// The bit of an offset.
pub(crate) fn bit(offset: u8) -> u8 {
    1 << offset
}

/// Offsets `base..next` as bits.
pub(crate) fn bits(base: u8, next: u8) -> u8 {
    (base..next).fold(0, |bits, offset| bits | bit(offset))
}

impl State {
    pub(crate) fn log(&self, partition: u8) -> &Log {
        &self.logs[usize::from(partition)]
    }

    pub(crate) fn segment(&self, segment: u8) -> &Segment {
        &self.segments[usize::from(segment)]
    }

    /// The values that a row's object has of it.
    pub(crate) fn readable_in(&self, partition: u8, range: &Range) -> u8 {
        let segment = self.segment(range.segment);
        let held = if segment.object { segment.holds[usize::from(partition)] } else { 0 };
        held & bits(range.base, range.next)
    }

    /// The values of a partition that can be read.
    pub(crate) fn readable(&self, partition: u8) -> u8 {
        let log = self.log(partition);
        log.ranges.iter().fold(0, |all, range| all | self.readable_in(partition, range)) & !bits(0, log.start)
    }

    /// Whether any row is in this segment.
    pub(crate) fn is_referenced(&self, segment: u8) -> bool {
        self.logs.iter().flat_map(|log| &log.ranges).any(|range| range.segment == segment)
    }
}
