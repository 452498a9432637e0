//! The line of commits: what waited together while the one before was synced runs as one transaction, with one sync.
//!
//! Segment commits stand in it, and writes of coordinators, which join them. What is refused (a fenced session, before it
//! wrote anything) is so alone. If the whole fails, nothing happened, and each runs alone: what cannot be written keeps nobody
//! else from it. Only where the outcome of COMMIT is open, it is open for all.

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::direct::Direct;
use crate::StoreError;

/// A transaction that may run as a part of one.
pub(super) trait Commit: Send {
    /// Runs it, between BEGIN and COMMIT. `Err`: the whole is to be rolled back. It may run again after that.
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError>;
    /// Answers what it did, if that was committed.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// `body` writes nothing before it answers `Fenced`.
pub(super) fn commit<T: Send + 'static>(
    body: impl FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    reply: oneshot::Sender<Result<T, StoreError>>,
) -> Box<dyn Commit> {
    Box::new(Request { body, done: Err(StoreError::Fenced), reply })
}

struct Request<T, B> {
    body: B,
    done: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, B: FnMut(&Connection) -> Result<T, StoreError> + Send> Commit for Request<T, B> {
    fn run(&mut self, connection: &Connection) -> Result<(), StoreError> {
        self.done = match (self.body)(connection) {
            done @ (Ok(_) | Err(StoreError::Fenced)) => done,
            Err(error) => return Err(error),
        };
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        // The caller may be gone; whoever asks later is told what happened.
        let _ = self.reply.send(committed.and(self.done));
    }
}

/// Runs them, in one transaction if it can be.
pub(super) fn run_all(direct: &mut Direct, mut commits: Vec<Box<dyn Commit>>) {
    if commits.len() > 1 {
        let done = direct.transaction(|connection| commits.iter_mut().try_for_each(|commit| commit.run(connection)));
        match done {
            Ok(()) => return commits.into_iter().for_each(|commit| commit.answer(Ok(()))),
            Err(StoreError::Unknown(source)) => {
                let open = source.to_string();
                let unknown = || StoreError::Unknown(open.clone().into());
                return commits.into_iter().for_each(|commit| commit.answer(Err(unknown())));
            }
            Err(_) => {}
        }
    }
    for mut commit in commits {
        let done = direct.transaction(|connection| commit.run(connection));
        commit.answer(done);
    }
}

#[cfg(test)]
#[path = "joined_tests.rs"]
mod tests;
