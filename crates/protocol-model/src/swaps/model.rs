//! What can happen.

use stateright::{Model, Property};

use super::properties;
use super::state::{Fate, Kind, Log, PARTITIONS, Part, Range, Rewrite, Segment, State, bit, seen};

/// The rules; each can be left out.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A swap happens only if rows of the offsets that were read are there.
    pub rows_compared: bool,
    /// A leader plans when it is done with what it planned before.
    pub one_job_at_a_time: bool,
    /// A swap, or a log start, moves only under the lease and epoch of its sender.
    pub lease_compared: bool,
    /// And only if its session is active.
    pub session_checked: bool,
    /// The slot of a rewrite stays taken while its session lives, also when the object is gone.
    pub slots_kept: bool,
    /// A slot with a tombstone gets no rows.
    pub tombstones_respected: bool,
    /// A lost reply is settled by a tombstone.
    pub tombstones_set: bool,
    /// A retired segment gets no rows.
    pub retired_for_good: bool,
    /// A segment is retired by the transaction that takes its last row.
    pub retired_with_the_last: bool,
    /// And not before.
    pub retired_when_empty: bool,
    /// Rows are deleted when they end at the log start or below it.
    pub whole_rows: bool,
    /// Rows lose what they say of producers only below a snapshot.
    pub snapshot_covers: bool,
    /// What is dropped by a compaction has a successor that is committed.
    pub successor_committed: bool,
}

impl Rules {
    /// The protocol.
    pub const ALL: Self = Self {
        rows_compared: true,
        one_job_at_a_time: true,
        lease_compared: true,
        session_checked: true,
        slots_kept: true,
        tombstones_respected: true,
        tombstones_set: true,
        retired_for_good: true,
        retired_with_the_last: true,
        retired_when_empty: true,
        whole_rows: true,
        snapshot_covers: true,
        successor_committed: true,
    };
}

/// How far the exploration goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Flushes in all.
    pub flushes: u8,
    /// Rewritten objects in all.
    pub rewrites: u8,
    /// Greatest leader epoch.
    pub epochs: u8,
    /// Flushes that are there from the start.
    pub flushed: u8,
    /// Rewrites may drop what has a successor of its key.
    pub keys: Option<Keys>,
    /// Whether objects are deleted.
    pub garbage: bool,
    /// Whether log starts move.
    pub moves: bool,
    /// Whether the topic of the second partition is deleted.
    pub deletes: bool,
}

/// The keys of the values of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// By offset.
    pub of: [u8; 4],
    /// The offset whose value says that its key is deleted; a compaction drops it when nothing of the key is before it.
    pub marker: Option<u8>,
}

impl Keys {
    fn key(&self, offset: u8) -> u8 {
        self.of[usize::from(offset) % self.of.len()]
    }

    /// Whether a later value below `end` has the key of the one at `offset`.
    pub(crate) fn is_superseded(&self, offset: u8, end: u8) -> bool {
        (offset + 1..end).any(|later| self.key(later) == self.key(offset))
    }

    /// The values that a delete marker is for.
    pub(crate) fn deleted_by(&self, marker: u8) -> u8 {
        let before = (0..marker).filter(|offset| self.key(*offset) == self.key(marker));
        before.fold(0, |all, at| all | bit(at))
    }
}

/// The swaps under these rules, within these bounds.
#[derive(Clone, Copy, Debug)]
pub struct Swaps {
    /// What holds.
    pub rules: Rules,
    /// How far.
    pub bounds: Bounds,
}

/// Which rows a rewrite takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// All but the last, of each partition.
    All,
    /// The first one of the first partition, without a snapshot.
    First,
    /// The second one of the first partition.
    Second,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is explained where it is applied")]
pub enum Action {
    Flush,
    MoveStart { agent: u8, partition: u8, to: u8, with_snapshot: bool },
    Delete,
    Purge,
    Plan { agent: u8, choice: Choice, compacts: bool },
    Send { rewrite: u8 },
    Decide { rewrite: u8, part: u8 },
    Drop { rewrite: u8, part: u8 },
    Hear { rewrite: u8 },
    Resolve { rewrite: u8 },
    Fence { session: u8 },
    Lead { agent: u8 },
    Claim { segment: u8 },
    DeleteObject { segment: u8 },
    Forget { segment: u8 },
}

/// The second one's topic may be deleted.
const DELETABLE: u8 = 1;

impl Model for Swaps {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let log = Log { ranges: Vec::new(), start: 0, next: 0, snapshot: 0, deleted: false };
        let mut state = State {
            holder: 0,
            epoch: 1,
            active: vec![true, true],
            believes: vec![1, 0],
            logs: vec![log; usize::from(PARTITIONS)],
            segments: Vec::new(),
            rewrites: Vec::new(),
            seen: 0,
        };
        for _ in 0..self.bounds.flushed {
            self.flush(&mut state);
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Flush);
        for agent in 0..2 {
            actions.push(Action::Lead { agent });
            actions.push(Action::Fence { session: agent });
            let plan = |choice, compacts| Action::Plan { agent, choice, compacts };
            actions.push(plan(Choice::First, false));
            match self.bounds.keys {
                None => actions.push(plan(Choice::All, false)),
                Some(_) => actions.extend([plan(Choice::First, true), plan(Choice::Second, true)]),
            }
            if self.bounds.moves {
                for to in 1..=state.log(0).next {
                    let with = |with_snapshot| Action::MoveStart { agent, partition: 0, to, with_snapshot };
                    actions.extend([true, false].map(with));
                }
            }
        }
        if self.bounds.deletes {
            actions.extend([Action::Delete, Action::Purge]);
        }
        for (rewrite, found) in (0..).zip(&state.rewrites) {
            actions.extend([Action::Send { rewrite }, Action::Hear { rewrite }, Action::Resolve { rewrite }]);
            for (part, _) in (0..).zip(&found.parts) {
                actions.extend([Action::Decide { rewrite, part }, Action::Drop { rewrite, part }]);
            }
        }
        if self.bounds.garbage {
            actions.extend((0..).zip(&state.segments).map(|(segment, _)| Action::DeleteObject { segment }));
            // The slots of flushes are not used again.
            for segment in state.rewrites.iter().map(|rewrite| rewrite.segment) {
                actions.extend([Action::Claim { segment }, Action::Forget { segment }]);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = State { seen: 0, ..last.clone() };
        let happened = match action {
            Action::Flush => self.flush(&mut state),
            Action::MoveStart { agent, partition, to, with_snapshot } => {
                self.move_start(&mut state, agent, partition, to, with_snapshot)
            }
            Action::Delete => self.delete(&mut state),
            Action::Purge => self.purge(&mut state),
            Action::Plan { agent, choice, compacts } => self.plan(&mut state, agent, choice, compacts),
            Action::Send { rewrite } => self.send(&mut state, rewrite),
            Action::Decide { rewrite, part } => self.decide(&mut state, rewrite, part),
            Action::Drop { rewrite, part } => drop_part(&mut state, rewrite, part),
            Action::Hear { rewrite } => hear(&mut state, rewrite),
            Action::Resolve { rewrite } => self.resolve(&mut state, rewrite),
            Action::Fence { session } => self.fence(&mut state, session),
            Action::Lead { agent } => self.lead(&mut state, agent),
            Action::Claim { segment } => self.claim(&mut state, segment),
            Action::DeleteObject { segment } => delete_object(&mut state, segment),
            Action::Forget { segment } => self.forget(&mut state, segment),
        };
        happened.filter(|()| state != *last).map(|()| state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// The step happened if this is `Some`.
type Happened = Option<()>;

impl Swaps {
    /// The leader commits a segment with a value of each partition.
    fn flush(&self, state: &mut State) -> Happened {
        let number = u8::try_from(state.segments.len()).ok()?;
        let flushes = number - u8::try_from(state.rewrites.len()).ok()?;
        let session = state.holder;
        if flushes >= self.bounds.flushes || !state.active[usize::from(session)] {
            return None;
        }
        let mut holds = [0; PARTITIONS as usize];
        for (log, holds) in state.logs.iter_mut().zip(&mut holds).filter(|(log, _)| !log.deleted) {
            log.ranges.push(Range { base: log.next, next: log.next + 1, segment: number, entries: true });
            *holds = bit(log.next);
            log.next += 1;
        }
        state.segments.push(Segment { session, kind: Kind::Committed, object: true, holds });
        Some(())
    }

    /// An agent that believes to lead moves a log start, which deletes rows.
    fn move_start(&self, state: &mut State, agent: u8, partition: u8, to: u8, with_snapshot: bool) -> Happened {
        let believes = state.believes[usize::from(agent)];
        let is_leader = state.holder == agent && state.epoch == believes;
        let may = believes > 0 && state.active[usize::from(agent)] && (is_leader || !self.rules.lease_compared);
        if !may || to <= state.log(partition).start {
            return None;
        }
        let log = &mut state.logs[usize::from(partition)];
        let goes = |range: &Range| if self.rules.whole_rows { range.next <= to } else { range.base < to };
        let gone: Vec<Range> = log.ranges.iter().copied().filter(goes).collect();
        let snapshot = if with_snapshot { log.snapshot.max(log.next) } else { log.snapshot };
        if self.rules.snapshot_covers && gone.last().is_some_and(|last| last.next > snapshot) {
            return None;
        }
        log.ranges.retain(|range| !goes(range));
        (log.start, log.snapshot) = (to, snapshot);
        self.retire(state, &gone);
        state.seen |= seen::MOVED;
        Some(())
    }

    /// The second partition's topic is deleted: a mark.
    fn delete(&self, state: &mut State) -> Happened {
        state.logs[usize::from(DELETABLE)].deleted = true;
        Some(())
    }

    /// A row of a deleted topic goes.
    fn purge(&self, state: &mut State) -> Happened {
        let log = &mut state.logs[usize::from(DELETABLE)];
        if !log.deleted || log.ranges.is_empty() {
            return None;
        }
        let gone = log.ranges.remove(0);
        self.retire(state, &[gone]);
        state.seen |= seen::PURGED;
        Some(())
    }

    /// Retires segments that lost their last row, in the transaction that took it.
    fn retire(&self, state: &mut State, gone: &[Range]) {
        for range in gone {
            let is_last = !state.is_referenced(range.segment) || !self.rules.retired_when_empty;
            let segment = &mut state.segments[usize::from(range.segment)];
            if is_last && segment.kind == Kind::Committed && self.rules.retired_with_the_last {
                segment.kind = Kind::Retired;
            }
        }
    }

    /// An agent that believes to lead reads rows and their objects, and uploads a new one.
    fn plan(&self, state: &mut State, agent: u8, choice: Choice, compacts: bool) -> Happened {
        let epoch = state.believes[usize::from(agent)];
        let is_busy = |rewrite: &Rewrite| {
            rewrite.epoch == epoch && usize::from(rewrite.at) < rewrite.parts.len() && self.rules.one_job_at_a_time
        };
        let has_room = state.rewrites.len() < usize::from(self.bounds.rewrites);
        if epoch == 0 || !has_room || state.rewrites.iter().any(is_busy) {
            return None;
        }
        let (mut parts, mut holds) = (Vec::new(), [0; PARTITIONS as usize]);
        for (partition, log) in (0..PARTITIONS).zip(&state.logs).filter(|(_, log)| !log.deleted) {
            let replaced = choice.of(partition, &log.ranges);
            // What is gone is read anew later.
            let is_there = replaced.iter().all(|range| state.segment(range.segment).object);
            is_there.then_some(())?;
            let bytes = replaced.iter().fold(0, |all, range| all | state.readable_in(partition, range));
            let dropped = if compacts { self.dropped(state, partition) } else { 0 };
            holds[usize::from(partition)] = bytes & !dropped;
            state.seen |= if bytes & dropped == 0 { 0 } else { seen::COMPACTED };
            if !replaced.is_empty() {
                let snapshot = if choice == Choice::First && !compacts { 0 } else { state.log(partition).next };
                parts.push(Part { partition, replaced, snapshot, fate: Fate::Planned });
            }
        }
        let segment = u8::try_from(state.segments.len()).ok().filter(|_| !parts.is_empty())?;
        state.segments.push(Segment { session: agent, kind: Kind::Empty, object: true, holds });
        state.rewrites.push(Rewrite { segment, epoch, parts, at: 0 });
        Some(())
    }

    /// What a compaction of the partition drops now.
    fn dropped(&self, state: &State, partition: u8) -> u8 {
        let (Some(keys), log) = (self.bounds.keys, state.log(partition)) else { return 0 };
        let end = if self.rules.successor_committed { log.next } else { log.next + 1 };
        let superseded = (0..log.next).filter(|offset| keys.is_superseded(*offset, end));
        let dropped = superseded.fold(0, |all, at| all | bit(at));
        let is_idle = |marker: &u8| state.readable(partition) & keys.deleted_by(*marker) == 0;
        dropped | keys.marker.filter(is_idle).map_or(0, bit)
    }

    /// The sender of a rewrite begins the transaction of its next part.
    fn send(&self, state: &mut State, rewrite: u8) -> Happened {
        let found = &mut state.rewrites[usize::from(rewrite)];
        let part = found.parts.get_mut(usize::from(found.at)).filter(|part| part.fate == Fate::Planned)?;
        part.fate = Fate::Sent;
        Some(())
    }

    /// The database decides a swap that was sent.
    fn decide(&self, state: &mut State, rewrite: u8, part: u8) -> Happened {
        let found = &state.rewrites[usize::from(rewrite)];
        let (segment, epoch, is_late) = (found.segment, found.epoch, found.at > part);
        let part = found.parts.get(usize::from(part)).filter(|part| part.fate == Fate::Sent)?.clone();
        let session = state.segment(segment).session;
        let is_active = state.active[usize::from(session)] || !self.rules.session_checked;
        let slot = &mut state.segments[usize::from(segment)];
        let is_free = match slot.kind {
            Kind::Empty | Kind::Committed => true,
            Kind::Tombstone => !self.rules.tombstones_respected,
            Kind::Retired => !self.rules.retired_for_good,
        };
        if is_active && is_free {
            slot.kind = Kind::Committed;
            let is_leader = state.holder == session && state.epoch == epoch;
            let is_swapped = (is_leader || !self.rules.lease_compared) && self.swap(state, segment, &part);
            state.seen |= if is_swapped { seen::SWAPPED } else { seen::REFUSED };
            state.seen |= if is_swapped && is_late { seen::LATE } else { 0 };
            let nothing = Range { base: 0, next: 0, segment, entries: false };
            self.retire(state, &[nothing]);
        }
        let parts = &mut state.rewrites[usize::from(rewrite)].parts;
        parts.iter_mut().filter(|sent| sent.partition == part.partition).for_each(|sent| sent.fate = Fate::Decided);
        Some(())
    }

    /// Rows for rows, if the partition allows it.
    fn swap(&self, state: &mut State, segment: u8, part: &Part) -> bool {
        let log = &mut state.logs[usize::from(part.partition)];
        let (Some(first), Some(last)) = (part.replaced.first(), part.replaced.last()) else { return false };
        let found: Vec<Range> = log.ranges.iter().copied().filter(|row| is_among(&part.replaced, *row)).collect();
        // By their offsets: in which objects they are is not compared.
        let extent = |row: &Range| (row.base, row.next);
        let is_same = found.iter().map(extent).eq(part.replaced.iter().map(extent)) && last.next < log.next;
        let snapshot = log.snapshot.max(part.snapshot);
        let is_refused = !is_same && self.rules.rows_compared || last.next > snapshot && self.rules.snapshot_covers;
        if log.deleted || is_refused {
            return false;
        }
        log.ranges.retain(|row| !is_among(&part.replaced, *row));
        log.ranges.push(Range { base: first.base, next: last.next, segment, entries: false });
        log.ranges.sort_by_key(|row| row.base);
        log.snapshot = snapshot;
        self.retire(state, &found);
        true
    }

    /// The sender lost a reply, and settles what became of its part.
    fn resolve(&self, state: &mut State, rewrite: u8) -> Happened {
        let found = &state.rewrites[usize::from(rewrite)];
        found.parts.get(usize::from(found.at)).filter(|part| part.fate != Fate::Planned)?;
        let segment = found.segment;
        let session = state.segment(segment).session;
        let is_new = state.segment(segment).kind == Kind::Empty;
        if !state.active[usize::from(session)] {
            return None; // the agent starts over
        }
        state.seen |= if is_new { seen::RESOLVED_FAILED } else { seen::RESOLVED_COMMITTED };
        if is_new && self.rules.tombstones_set {
            state.segments[usize::from(segment)].kind = Kind::Tombstone;
        }
        state.rewrites[usize::from(rewrite)].at += 1;
        Some(())
    }

    /// A session ends, rightly or not. One agent is enough to go on.
    fn fence(&self, state: &mut State, session: u8) -> Happened {
        let is_other_there = state.active[usize::from(1 - session)];
        state.active[usize::from(session)] &= !is_other_there;
        Some(())
    }

    /// An agent takes the partitions over, or is handed them.
    fn lead(&self, state: &mut State, agent: u8) -> Happened {
        if state.holder == agent || !state.active[usize::from(agent)] || state.epoch >= self.bounds.epochs {
            return None;
        }
        (state.holder, state.epoch) = (agent, state.epoch + 1);
        state.believes[usize::from(agent)] = state.epoch;
        Some(())
    }

    /// The collector claims an object without a row.
    fn claim(&self, state: &mut State, segment: u8) -> Happened {
        let found = &mut state.segments[usize::from(segment)];
        if found.kind != Kind::Empty || !found.object {
            return None;
        }
        found.kind = Kind::Tombstone;
        Some(())
    }

    /// The row of an object that is gone goes; while its uploader lives, a tombstone stays.
    fn forget(&self, state: &mut State, segment: u8) -> Happened {
        let found = state.segment(segment);
        let lives = state.active[usize::from(found.session)];
        let kind = match found.kind {
            Kind::Retired if lives && self.rules.slots_kept => Kind::Tombstone,
            Kind::Tombstone if lives => return None,
            Kind::Retired | Kind::Tombstone => Kind::Empty,
            Kind::Empty | Kind::Committed => return None,
        };
        if found.object {
            return None;
        }
        state.segments[usize::from(segment)].kind = kind;
        state.seen |= seen::FORGOTTEN;
        Some(())
    }
}

impl Choice {
    fn of(self, partition: u8, rows: &[Range]) -> Vec<Range> {
        let all_but_last = &rows[..rows.len().saturating_sub(1)];
        let chosen = match self {
            Self::All => all_but_last,
            Self::First => all_but_last.get(..1).filter(|_| partition == 0).unwrap_or_default(),
            Self::Second => all_but_last.get(1..2).filter(|_| partition == 0).unwrap_or_default(),
        };
        chosen.to_vec()
    }
}

fn is_among(replaced: &[Range], row: Range) -> bool {
    replaced.iter().any(|one| one.base == row.base)
}

/// A swap that was sent does not happen after all.
fn drop_part(state: &mut State, rewrite: u8, part: u8) -> Happened {
    let parts = &mut state.rewrites[usize::from(rewrite)].parts;
    parts.get_mut(usize::from(part)).filter(|part| part.fate == Fate::Sent)?.fate = Fate::Dropped;
    Some(())
}

/// The sender hears of its part, and goes on with the next.
fn hear(state: &mut State, rewrite: u8) -> Happened {
    let found = &mut state.rewrites[usize::from(rewrite)];
    let part = found.parts.get(usize::from(found.at))?;
    if !matches!(part.fate, Fate::Decided | Fate::Dropped) {
        return None;
    }
    found.at += 1;
    Some(())
}

/// The collector deletes an object that has a tombstone, or was retired.
fn delete_object(state: &mut State, segment: u8) -> Happened {
    let found = &mut state.segments[usize::from(segment)];
    if !matches!(found.kind, Kind::Tombstone | Kind::Retired) {
        return None;
    }
    found.object = false;
    state.seen |= seen::COLLECTED;
    Some(())
}
