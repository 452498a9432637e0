//! The log, its leaders, and what they tell.

use super::model::{Happened, Reads};
use super::state::{Feed, Led, Move, News, Question, Range, State, seen, wrong};

impl Reads {
    /// The leader commits a value.
    pub(super) fn append(&self, state: &mut State) -> Happened {
        let (holder, epoch, next) = (usize::from(state.holder), state.epoch, state.next);
        let led = state.leaders[holder].as_mut().filter(|led| led.epoch == epoch && next < self.bounds.values)?;
        led.committed = next + 1;
        state.next = next + 1;
        state.ranges.push(Range { base: next, next: next + 1, object: next });
        Some(())
    }

    /// A leader hears of its commit: the high watermark moves.
    pub(super) fn publish(&self, state: &mut State, agent: u8) -> Happened {
        let led = state.leaders[usize::from(agent)].as_mut()?;
        let base = led.high_watermark;
        if base >= led.committed {
            return None;
        }
        led.high_watermark += 1;
        if self.bounds.follows {
            led.recent.push(Range { base, next: base + 1, object: base });
            let surplus = led.recent.len().saturating_sub(self.bounds.recent);
            led.recent.drain(..surplus);
        }
        Some(())
    }

    /// An agent takes the partition over, at any time.
    pub(super) fn lead(&self, state: &mut State, agent: u8) -> Happened {
        if state.leaders[usize::from(agent)].is_some() || state.epoch >= self.bounds.epochs {
            return None;
        }
        (state.holder, state.epoch) = (agent, state.epoch + 1);
        state.leaders[usize::from(agent)] = Some(Led {
            epoch: state.epoch,
            committed: state.next,
            high_watermark: state.next,
            start: state.start,
            recent: Vec::new(),
            moving: None,
            is_unsure: false,
        });
        Some(())
    }

    /// An agent learns that it does not lead.
    pub(super) fn let_go(&self, state: &mut State, agent: u8) -> Happened {
        let epoch = state.leaders[usize::from(agent)].as_ref()?.epoch;
        if state.is_led(agent, epoch) {
            return None;
        }
        state.leaders[usize::from(agent)] = None;
        state.feeds[usize::from(agent)] = Feed::default();
        Some(())
    }

    /// The first two rows become one, in a new object. The last row stays.
    pub(super) fn rewrite(&self, state: &mut State) -> Happened {
        if state.rewritten >= self.bounds.rewrites || state.ranges.len() < 3 {
            return None;
        }
        let (first, second) = (state.ranges[0], state.ranges[1]);
        let object = self.bounds.values + state.rewritten;
        state.rewritten += 1;
        state.ranges.splice(..2, [Range { base: first.base, next: second.next, object }]);
        Some(())
    }

    /// An agent that believes to lead sends a log start.
    pub(super) fn send_move(&self, state: &mut State, agent: u8, to: u8) -> Happened {
        let led = state.leaders[usize::from(agent)].as_mut()?;
        if led.moving.is_some() || to <= led.start || to > led.high_watermark {
            return None;
        }
        led.moving = Some(Move { to, happened: None });
        if !self.rules.memory_follows {
            led.start = to;
        }
        Some(())
    }

    /// The database decides it.
    pub(super) fn decide_move(&self, state: &mut State, agent: u8) -> Happened {
        let led = state.leaders[usize::from(agent)].as_ref()?;
        let Move { to, .. } = led.moving.filter(|moving| moving.happened.is_none())?;
        let happens = state.is_led(agent, led.epoch) || !self.rules.moves_compared;
        if happens {
            state.start = state.start.max(to);
            let start = state.start;
            state.ranges.retain(|range| range.next > start);
        }
        state.leaders[usize::from(agent)].as_mut()?.moving = Some(Move { to, happened: Some(happens) });
        Some(())
    }

    /// Its sender hears of it.
    pub(super) fn hear_move(&self, state: &mut State, agent: u8) -> Happened {
        let led = state.leaders[usize::from(agent)].as_mut()?;
        let Move { to, happened } = led.moving?;
        if happened? {
            led.start = led.start.max(to);
        }
        led.moving = None;
        Some(())
    }

    /// Its sender does not; it may have happened.
    pub(super) fn lose_move(&self, state: &mut State, agent: u8) -> Happened {
        let led = state.leaders[usize::from(agent)].as_mut()?;
        led.is_unsure = true;
        led.moving.take().map(drop)
    }

    /// Retention reads the rows: the log begins where they do.
    pub(super) fn look(&self, state: &mut State, agent: u8) -> Happened {
        let led = state.leaders[usize::from(agent)].as_mut()?;
        let first = state.ranges.iter().find(|range| range.next > led.start);
        led.start = led.start.max(first.map_or(led.high_watermark, |range| range.base));
        led.is_unsure &= led.start < state.start;
        Some(())
    }

    /// A leader tells its follower what is new.
    pub(super) fn tell(&self, state: &mut State, agent: u8) -> Happened {
        let led = state.leaders[usize::from(agent)].as_ref()?;
        let feed = &mut state.feeds[usize::from(agent)];
        let now = (led.start, led.high_watermark);
        if feed.mail.is_some() || feed.told == Some(now) {
            return None;
        }
        let from = feed.told.map_or(0, |(_, end)| end);
        let ranges = led.recent.iter().copied().filter(|range| range.base >= from).collect();
        let (start, high_watermark) = now;
        *feed = Feed { told: Some(now), mail: Some(News { epoch: led.epoch, start, high_watermark, ranges }) };
        Some(())
    }

    /// The follower takes it over.
    pub(super) fn deliver(&self, state: &mut State, agent: u8) -> Happened {
        let News { epoch, start, high_watermark, ranges } = state.feeds[usize::from(agent)].mail.take()?;
        let is_older = |known: &(u8, u8, u8)| epoch < known.0 || high_watermark < known.2;
        if state.known.as_ref().is_some_and(is_older) {
            state.seen |= seen::OLD_NEWS;
            if self.rules.older_news_ignored {
                return Some(());
            }
            state.wrong |= wrong::FOLLOWER_WENT_BACK;
        }
        let known = &mut state.ranges_known;
        for range in ranges {
            if known.last().is_some_and(|last| last.next != range.base) {
                state.seen |= seen::GAP;
                if self.rules.told_rows_follow {
                    known.clear();
                }
            }
            known.push(range);
        }
        if known.last().is_some_and(|last| last.next != high_watermark) {
            state.seen |= seen::GAP;
            if self.rules.told_rows_follow {
                known.clear();
            }
        }
        let surplus = known.len().saturating_sub(2);
        known.drain(..surplus);
        state.known = Some((epoch, start, high_watermark));
        Some(())
    }

    /// The stream breaks, and begins anew.
    pub(super) fn break_stream(&self, state: &mut State, agent: u8) -> Happened {
        state.feeds[usize::from(agent)] = Feed::default();
        Some(())
    }

    /// Somebody asks an agent where the log begins and ends.
    pub(super) fn ask(&self, state: &mut State, agent: u8) -> Happened {
        state.leaders[usize::from(agent)].as_ref()?;
        if state.question.is_some() {
            return None;
        }
        state.question = Some(Question { agent, told: state.told, start: state.start, confirmed: None });
        Some(())
    }

    /// It reads whether it holds the lease.
    pub(super) fn confirm(&self, state: &mut State) -> Happened {
        let question = state.question.filter(|question| question.confirmed.is_none())?;
        let is_held = state.holder == question.agent;
        state.seen |= if is_held { 0 } else { seen::REFUSED };
        let confirmed = is_held.then_some(state.epoch);
        state.question = confirmed.map(|_| Question { confirmed, ..question });
        Some(())
    }

    /// It answers, or refuses.
    pub(super) fn answer(&self, state: &mut State) -> Happened {
        let question = state.question.take()?;
        let led = state.leaders[usize::from(question.agent)].as_ref()?;
        if self.rules.ends_confirmed && question.confirmed != Some(led.epoch) {
            return question.confirmed.map(|_| ());
        }
        let (start, end) = (led.start, led.high_watermark);
        state.wrong |= if end < question.told.1 { wrong::END_WENT_BACK } else { 0 };
        // A move whose reply is lost happened, or not: until it looks, the leader does not know.
        if led.moving.is_none() && !led.is_unsure {
            state.wrong |= if start < question.told.0 { wrong::START_WENT_BACK } else { 0 };
            state.wrong |= if start < question.start { wrong::START_UNKNOWN } else { 0 };
        }
        state.told = (state.told.0.max(start), state.told.1.max(end));
        state.seen |= seen::ANSWERED;
        Some(())
    }
}
