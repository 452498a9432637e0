//! Confirms that this agent still holds leases: one read, begun after they asked, serves all who wait.
//!
//! What only the current coordinator may say (which offsets a group has) needs it: an agent that was suspended while its
//! partitions went to others would tell consumers to start where they were long ago.

use std::collections::BTreeMap;
use std::sync::Arc;

use metadata::MetadataStore;
use segment::{LeaderEpoch, PartitionKey};
use tokio::sync::{mpsc, oneshot};

use crate::session::SessionStatus;

/// Questions that may wait; who comes later waits to ask.
const QUEUE_MAX: usize = 1_024;

struct Question {
    key: PartitionKey,
    answer: oneshot::Sender<Option<LeaderEpoch>>,
}

/// The way to ask. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Confirmation(mpsc::Sender<Question>);

impl Confirmation {
    /// One, and what is to be run as a task.
    pub(crate) fn new(metadata: Arc<dyn MetadataStore>, status: Arc<SessionStatus>) -> (Self, ConfirmationTask) {
        let (sender, questions) = mpsc::channel(QUEUE_MAX);
        (Self(sender), ConfirmationTask { metadata, status, questions })
    }

    /// The epoch under which this session holds the partition, by a read begun after this call; `None` if it does not, or
    /// metadata does not answer.
    pub(crate) async fn epoch(&self, key: PartitionKey) -> Option<LeaderEpoch> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Question { key, answer }).await.ok()?;
        answered.await.ok().flatten()
    }
}

/// See the module.
pub(crate) struct ConfirmationTask {
    metadata: Arc<dyn MetadataStore>,
    status: Arc<SessionStatus>,
    questions: mpsc::Receiver<Question>,
}

impl ConfirmationTask {
    /// Runs until nobody can ask any more.
    pub(crate) async fn run(mut self) {
        let mut asked = Vec::new();
        while self.questions.recv_many(&mut asked, QUEUE_MAX).await > 0 {
            let epochs = self.confirm(&asked).await;
            for Question { key, answer } in asked.drain(..) {
                let _ = answer.send(epochs.get(&key).copied().flatten());
            }
        }
    }

    async fn confirm(&self, asked: &[Question]) -> BTreeMap<PartitionKey, Option<LeaderEpoch>> {
        let distinct: BTreeMap<PartitionKey, ()> = asked.iter().map(|question| (question.key, ())).collect();
        let keys: Vec<PartitionKey> = distinct.into_keys().collect();
        match self.metadata.confirm_leases(self.status.session(), &keys).await {
            Ok(epochs) => keys.into_iter().zip(epochs).collect(),
            Err(error) => {
                self.status.failed("confirmation of coordinators", &error);
                BTreeMap::new()
            }
        }
    }
}
