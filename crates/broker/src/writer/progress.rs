//! Whether the lane stands still: since when its committer has had something to commit, and committed nothing.
//!
//! A try that failed counts only as long as it is soon followed by another: one failed upload, with nothing sent after it,
//! says little an hour later. Measured by the runtime's clock, which stands while the machine is suspended.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Shared by the committer, which says how it goes, and by those who ask.
#[derive(Debug)]
pub(crate) struct LaneProgress {
    /// A pause between two tries that is longer than this begins anew.
    pause_max: Duration,
    tries: Mutex<Tries>,
}

#[derive(Debug, Default)]
struct Tries {
    /// The committer has something in hand.
    is_trying: bool,
    /// The first of the tries since the last commit.
    since: Option<Instant>,
    /// When a try began or ended last.
    last: Option<Instant>,
}

impl LaneProgress {
    pub(crate) fn new(pause_max: Duration) -> Self {
        Self { pause_max, tries: Mutex::default() }
    }

    /// The committer has something in hand from now on.
    pub(crate) fn begins(&self, now: Instant) {
        let mut tries = self.tries.lock();
        let since = tries.standing(now, self.pause_max).unwrap_or(now);
        *tries = Tries { is_trying: true, since: Some(since), last: Some(now) };
    }

    /// What it had in hand is decided; `committed`: some of it is committed.
    pub(crate) fn ends(&self, now: Instant, committed: bool) {
        let mut tries = self.tries.lock();
        let since = tries.since.filter(|_| !committed);
        *tries = Tries { is_trying: false, since, last: Some(now) };
    }

    /// Since when nothing was committed although it was tried; `None` if it goes well, or nothing is tried.
    pub(crate) fn stands_since(&self, now: Instant) -> Option<Instant> {
        self.tries.lock().standing(now, self.pause_max)
    }
}

impl Tries {
    fn standing(&self, now: Instant, pause_max: Duration) -> Option<Instant> {
        let goes_on = self.is_trying || self.last.is_some_and(|last| now.duration_since(last) <= pause_max);
        self.since.filter(|_| goes_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64, start: Instant) -> Instant {
        start + Duration::from_secs(number)
    }

    #[test]
    fn a_try_without_an_end_stands_from_its_beginning() {
        let (start, progress) = (Instant::now(), LaneProgress::new(Duration::from_secs(5)));
        assert_eq!(progress.stands_since(start), None);
        progress.begins(second(1, start));
        assert_eq!(progress.stands_since(second(900, start)), Some(second(1, start)));
        progress.ends(second(901, start), true);
        assert_eq!(progress.stands_since(second(901, start)), None);
    }

    #[test]
    fn tries_that_fail_one_after_the_other_stand_from_the_first() {
        let (start, progress) = (Instant::now(), LaneProgress::new(Duration::from_secs(5)));
        for number in 0..20 {
            progress.begins(second(number, start));
            progress.ends(second(number, start), false);
        }
        assert_eq!(progress.stands_since(second(20, start)), Some(start));
        progress.begins(second(20, start));
        progress.ends(second(21, start), true);
        progress.begins(second(22, start));
        assert_eq!(progress.stands_since(second(23, start)), Some(second(22, start)));
    }

    #[test]
    fn a_failure_that_nothing_followed_is_forgotten() {
        let (start, progress) = (Instant::now(), LaneProgress::new(Duration::from_secs(5)));
        progress.begins(start);
        progress.ends(second(1, start), false);
        assert_eq!(progress.stands_since(second(6, start)), Some(start));
        assert_eq!(progress.stands_since(second(7, start)), None);
        progress.begins(second(3_600, start));
        assert_eq!(progress.stands_since(second(3_601, start)), Some(second(3_600, start)));
    }
}
