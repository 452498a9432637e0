//! A shard's line: what is to be written, and the answers that wait for it.
//!
//! State changes at once; an answer leaves when every change that was made before it is durable, its own and those of others
//! that it may have seen. So nobody is told what a crash could undo.

use std::collections::VecDeque;

use metadata::{COORDINATOR_CHANGES_MAX, CoordinatorChange};
use tokio::sync::oneshot;

use super::api::GroupError;
use super::effects::Reply;

/// Changes that may wait before a shard takes no more requests.
const CHANGES_MAX: usize = 2 * COORDINATOR_CHANGES_MAX;
/// Their bytes likewise: a group's row may have some MiB.
const BYTES_MAX: usize = 32 << 20;
/// Bytes of one write, but for a larger decision: a write holds segment commits up on SQLite.
pub(super) const WRITE_BYTES_MAX: usize = 8 << 20;
/// Answers that may wait likewise.
const ANSWERS_MAX: usize = 10_000;

/// Where an answer goes; nobody is there any more if its client hung up.
pub(crate) type ReplyTo = oneshot::Sender<Result<Reply, GroupError>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Of each decision that changed something and is not sent, the changes.
    unsent: VecDeque<Decision>,
    unsent_changes: usize,
    unsent_bytes: usize,
    /// Decisions that changed something: made, sent, and durable, since the shard began.
    made: u64,
    sent: u64,
    durable: u64,
    /// Answers, each with the number of decisions that it waits for.
    answers: VecDeque<(u64, ReplyTo, Reply)>,
}

#[derive(Debug)]
struct Decision {
    changes: Vec<CoordinatorChange>,
    bytes: usize,
}

impl Line {
    /// Puts a decision's changes in line.
    pub(crate) fn change(&mut self, mut changes: Vec<CoordinatorChange>) {
        while !changes.is_empty() {
            // More than one call takes is written in several, from the first change on.
            let rest = changes.split_off(changes.len().min(COORDINATOR_CHANGES_MAX));
            let changes = std::mem::replace(&mut changes, rest);
            let bytes = changes.iter().map(CoordinatorChange::bytes).sum();
            self.unsent_changes += changes.len();
            self.unsent_bytes += bytes;
            self.unsent.push_back(Decision { changes, bytes });
            self.made += 1;
        }
    }

    /// Puts an answer behind everything that was changed until now.
    pub(crate) fn answer(&mut self, to: ReplyTo, reply: Reply) {
        if self.made == self.durable {
            let _ = to.send(Ok(reply));
        } else {
            self.answers.push_back((self.made, to, reply));
        }
    }

    /// Takes whole decisions for the next write; `None` if nothing waits.
    pub(crate) fn take_changes(&mut self) -> Option<Vec<CoordinatorChange>> {
        let Decision { changes: mut taken, mut bytes } = self.unsent.pop_front()?;
        self.sent += 1;
        while let Some(next) = self.unsent.pop_front_if(|next| {
            taken.len() + next.changes.len() <= COORDINATOR_CHANGES_MAX && bytes + next.bytes <= WRITE_BYTES_MAX
        }) {
            taken.extend(next.changes);
            bytes += next.bytes;
            self.sent += 1;
        }
        self.unsent_changes -= taken.len();
        self.unsent_bytes -= bytes;
        Some(taken)
    }

    /// What was taken is durable.
    pub(crate) fn written(&mut self) {
        self.durable = self.sent;
        while let Some((_, to, reply)) = self.answers.pop_front_if(|(after, ..)| *after <= self.durable) {
            let _ = to.send(Ok(reply));
        }
    }

    /// Whether so much waits that requests have to.
    pub(crate) fn is_full(&self) -> bool {
        self.unsent_changes >= CHANGES_MAX || self.unsent_bytes >= BYTES_MAX || self.answers.len() >= ANSWERS_MAX
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
