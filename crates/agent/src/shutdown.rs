//! When and how the process ends.
//!
//! The first SIGTERM or SIGINT starts the drain: listeners stop accepting, requests in flight are answered, the last
//! flush commits, the session closes, and the process exits 0, within a bound. A second signal ends it at once: what
//! was acked is durable at any moment, so a cut drain costs clients a retry and the next start a fence, never data.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code when a second signal cut the drain short.
pub(crate) const EXIT_CUT_SHORT: i32 = 130;

/// Of the whole bound, what is kept for the broker's last flush and for closing metadata after the front ends are done.
const DRAIN_SHARE: u32 = 5;

/// SIGTERM and SIGINT, caught from here on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to catch the signals; before, they end the process.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub(crate) fn catch() -> Result<Self> {
        let caught = |kind| signal(kind).context("signal handler");
        Ok(Self { terminate: caught(SignalKind::terminate())?, interrupt: caught(SignalKind::interrupt())? })
    }

    /// Waits for one of them and says which.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// From now on a signal ends the process at once.
    pub(crate) fn next_one_exits(mut self) {
        tokio::spawn(async move {
            let name = self.next().await;
            tracing::error!(signal = name, "second signal: leaving without finishing");
            std::process::exit(EXIT_CUT_SHORT);
        });
    }
}

/// Splits the bound on a shutdown: for the front ends to finish, then for the broker to drain.
pub(crate) fn phases(timeout: Duration) -> (Duration, Duration) {
    let drain = timeout / DRAIN_SHARE;
    (timeout.saturating_sub(drain), drain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_phases_fill_the_bound_and_no_more() {
        let bound = Duration::from_secs(25);
        let (front_ends, drain) = phases(bound);
        assert_eq!((front_ends, drain), (Duration::from_secs(20), Duration::from_secs(5)));
    }
}
