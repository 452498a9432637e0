//! The consumer, and the agents that read for it.

use super::model::{Happened, Reads, Source};
use super::state::{Range, State, seen, wrong};

/// What an agent knows of the log's extent: start, and end.
type Extent = (u8, u8);

impl Reads {
    /// An agent makes a plan for the consumer, or adds to the one it has.
    pub(super) fn plan(&self, state: &mut State, source: Source) -> Happened {
        let (start, end) = extent(state, source)?;
        let position = state.reader.position;
        if position < start || position >= end {
            return None;
        }
        if state.reader.source != number(source) {
            (state.reader.source, state.reader.plan) = (number(source), Vec::new());
        }
        let told = match source {
            Source::Follower => told_from(&state.ranges_known, position),
            Source::Leader(_) => Vec::new(),
        };
        if !told.is_empty() {
            state.reader.plan = told;
            return Some(());
        }
        let known_end = state.reader.plan.last().map_or(position, |range| range.next);
        if known_end >= end && !state.reader.plan.is_empty() {
            return None;
        }
        let rows = state.ranges_from(known_end);
        let is_next = state.reader.plan.is_empty() || rows.first().is_some_and(|first| first.base == known_end);
        if is_next || !self.rules.plans_go_on_where_they_end {
            state.reader.plan.extend(rows);
        }
        Some(())
    }

    /// An agent reads some rows of its plan, as far as it knows the log to go. What no row refers to may be `collected`.
    pub(super) fn read(&self, state: &mut State, source: Source, rows: u8, collected: bool) -> Happened {
        let (start, end) = extent(state, source)?;
        let wanted = state.reader.position;
        let is_planned = state.reader.source == number(source) && !state.reader.plan.is_empty();
        if !is_planned || wanted < start || wanted >= end {
            return None;
        }
        if state.reader.plan[0].base > wanted {
            state.seen |= seen::FOUND_NOTHING;
            if self.rules.plans_begin_at_the_offset {
                state.reader.plan.clear();
                return Some(());
            }
        }
        let plan: Vec<Range> = state.reader.plan.iter().copied().take(usize::from(rows)).collect();
        let mut position = wanted;
        for range in plan.into_iter().filter(|range| range.base < end) {
            if collected && !state.is_referenced(range.object) {
                state.seen |= seen::PLANNED_AGAIN;
                if self.rules.gone_is_planned_again {
                    if position == wanted {
                        state.reader.plan.clear();
                    }
                    break;
                }
                state.wrong |= wrong::SKIPPED;
                continue;
            }
            // Records below the wanted offset, or beyond the end, are left out.
            let (first, last) = (range.base.max(wanted), range.next.min(end));
            if first < last {
                state.wrong |= if first > position { wrong::SKIPPED } else { 0 };
                state.wrong |= if first < position { wrong::REPEATED } else { 0 };
                position = position.max(last);
            }
        }
        state.reader.position = position;
        state.reader.plan.retain(|range| range.next > position);
        if position > wanted {
            state.seen |= match source {
                Source::Follower => seen::READ_OF_FOLLOWER,
                Source::Leader(agent) if state.holder != agent => seen::READ_OF_ZOMBIE,
                Source::Leader(_) => seen::READ_OF_LEADER,
            };
        }
        Some(())
    }

    /// The consumer asks for an offset that the agent takes to be outside of the log.
    pub(super) fn ask_beyond(&self, state: &mut State, source: Source) -> Happened {
        let (start, end) = extent(state, source)?;
        let position = state.reader.position;
        if (start..=end).contains(&position) {
            return None;
        }
        let says_so = match source {
            Source::Follower => !self.rules.followers_never_judge,
            Source::Leader(agent) => {
                let epoch = state.leaders[usize::from(agent)].as_ref()?.epoch;
                state.is_led(agent, epoch) || !self.rules.out_of_range_confirmed
            }
        };
        if !says_so {
            state.seen |= seen::REFUSED;
            return Some(());
        }
        if (state.start..=state.next).contains(&position) {
            state.wrong |= wrong::OUT_OF_RANGE;
        }
        state.seen |= seen::OUT_OF_RANGE;
        // It begins where it was told that the log does.
        state.reader.position = start;
        state.reader.plan.clear();
        Some(())
    }
}

fn number(source: Source) -> u8 {
    match source {
        Source::Leader(agent) => agent,
        Source::Follower => 2,
    }
}

/// How far the log goes, as far as an agent knows.
fn extent(state: &State, source: Source) -> Option<Extent> {
    match source {
        Source::Leader(agent) => state.leaders[usize::from(agent)].as_ref().map(|led| (led.start, led.high_watermark)),
        Source::Follower => state.known.map(|(_, start, high_watermark)| (start, high_watermark)),
    }
}

/// The remembered rows from the one that holds the offset on, if it is among them.
fn told_from(ranges: &[Range], offset: u8) -> Vec<Range> {
    let first = ranges.partition_point(|range| range.next <= offset);
    match ranges.get(first) {
        Some(range) if range.base <= offset => ranges[first..].to_vec(),
        _ => Vec::new(),
    }
}
