//! What members of groups have in common: they find their coordinator, read what they own, and commit how far they came.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::groups::api::{GroupError, OffsetCommit, OffsetFetch, OffsetToCommit};
use rand::Rng;
use tokio::time::timeout;

use crate::client::Client;
use crate::consumers::Read;
use crate::history::{Key, Op, Outcome, Process};
use crate::world::{Agent, KEPT, ORG, World};

/// A member of a group that reads [`KEPT`].
pub(crate) struct Member {
    pub(crate) client: Client,
    pub(crate) group: &'static str,
    pub(crate) member_id: String,
    /// Generation, or member epoch.
    pub(crate) generation: i32,
    pub(crate) positions: BTreeMap<Key, i64>,
    coordinator: Option<Arc<Agent>>,
}

impl Member {
    pub(crate) fn new(world: &Arc<World>, process: Process, group: &'static str) -> Self {
        Self {
            client: Client::new(world, process),
            group,
            member_id: String::new(),
            generation: -1,
            positions: BTreeMap::new(),
            coordinator: None,
        }
    }

    /// Whom it takes for its coordinator; `None`: it does not know.
    pub(crate) async fn coordinator(&mut self) -> Option<Arc<Agent>> {
        if let Some(known) = self.coordinator.as_ref().filter(|known| !known.gone.is_cancelled()) {
            return Some(Arc::clone(known));
        }
        let asked = self.client.world.any_agent(&mut self.client.rng);
        let found = self.client.ask(&asked, asked.broker.find_coordinator(ORG, self.group)).await?.ok();
        self.coordinator = found.and_then(|found| self.client.world.of_session(found.session));
        if self.coordinator.is_none() {
            self.client.rest(100).await;
        }
        self.coordinator.clone()
    }

    pub(crate) fn forget_coordinator(&mut self) {
        self.coordinator = None;
    }

    /// Another coordinator is to be found, if this says so.
    pub(crate) fn heard(&mut self, error: Option<GroupError>) {
        let is_elsewhere =
            matches!(error, None | Some(GroupError::NotCoordinator | GroupError::CoordinatorNotAvailable));
        if is_elsewhere {
            self.forget_coordinator();
        }
    }

    pub(crate) fn own(&self, generation: Option<i32>, began: crate::history::Moment) {
        let keys = self.positions.keys().copied().collect();
        let op = Op::Own { group: self.group, generation, keys };
        self.client.world.record(self.client.process, began, op);
    }

    /// Where the group is in these partitions: a member that was given them begins there. False: it was not told.
    pub(crate) async fn begin_at(&mut self, keys: &[Key], member_epoch: i32) -> bool {
        let Some(agent) = self.coordinator().await else { return false };
        let world = Arc::clone(&self.client.world);
        let began = world.now();
        let partitions = keys.iter().map(|key| (world.topic_id(key.0), key.1)).collect();
        let fetch = OffsetFetch {
            group_id: self.group.to_owned(),
            member_id: (member_epoch >= 0).then(|| self.member_id.clone()),
            member_epoch,
            partitions: Some(partitions),
            require_stable: true,
        };
        let fetched = match self.client.ask(&agent, agent.broker.fetch_offsets(ORG, fetch)).await {
            Some(Ok(fetched)) => fetched,
            other => {
                self.heard(other.and_then(Result::err));
                return false;
            }
        };
        for (key, found) in keys.iter().zip(&fetched) {
            world.record(
                self.client.process,
                began,
                Op::Committed { group: self.group, key: *key, offset: found.offset },
            );
            let position = found.offset.max(0);
            self.positions.insert(*key, position);
            world.record(self.client.process, began, Op::Assign { key: *key, offset: position });
        }
        fetched.len() == keys.len()
    }

    /// Reads on in everything it owns.
    pub(crate) async fn read_some(&mut self) {
        let keys: Vec<Key> = self.positions.keys().copied().collect();
        for key in keys {
            let agent = self.client.leader(key);
            let mut position = self.positions[&key];
            if let Read::Refused = self.client.read(&agent, key, &mut position, None, Duration::ZERO).await {
                self.client.forget_leader(key);
            }
            self.positions.insert(key, position);
        }
    }

    /// Commits how far it came; why not, if it was told. Sometimes it does not wait for the answer.
    pub(crate) async fn commit(&mut self) -> Result<(), GroupError> {
        if self.positions.is_empty() {
            return Ok(());
        }
        let Some(agent) = self.coordinator().await else { return Ok(()) };
        let world = Arc::clone(&self.client.world);
        let began = world.now();
        let offsets: Vec<(Key, i64)> = self.positions.iter().map(|(key, offset)| (*key, *offset)).collect();
        let to_commit = |(key, offset): &(Key, i64)| OffsetToCommit {
            topic_id: world.topic_id(key.0),
            partition: key.1,
            offset: *offset,
            leader_epoch: -1,
            metadata: String::new(),
        };
        let commit = OffsetCommit {
            group_id: self.group.to_owned(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
            retention: None,
            knows_new_errors: true,
            partitions: offsets.iter().map(to_commit).collect(),
        };
        let patience =
            Duration::from_millis(if self.client.roll(0.05) { self.client.rng.random_range(0..10) } else { 4_000 });
        let commit = timeout(patience, agent.broker.commit_offsets(ORG, commit));
        let answer = self.client.call(&agent, commit).await.and_then(Result::ok);
        let refused = answer.as_ref().and_then(|answer| answer.as_ref().err().copied());
        for (at, (key, offset)) in offsets.into_iter().enumerate() {
            let error = match &answer {
                Some(Ok(outcomes)) => Some(outcomes[at].error),
                _ => refused.map(Some),
            };
            let outcome = match error {
                Some(None) => Outcome::Ok,
                // A write whose reply was lost ends in the same code as one that was refused.
                None | Some(Some(GroupError::NotCoordinator | GroupError::RequestTimedOut)) => Outcome::Info,
                Some(Some(_)) => Outcome::Fail,
            };
            world.record(self.client.process, began, Op::Commit { group: self.group, key, offset, outcome });
        }
        match refused {
            Some(error) => {
                self.heard(Some(error));
                Err(error)
            }
            None => {
                if answer.is_none() {
                    self.forget_coordinator();
                }
                Ok(())
            }
        }
    }
}

/// The partitions of [`KEPT`].
pub(crate) fn kept_keys() -> Vec<Key> {
    (0..KEPT.2).map(|partition| (KEPT.0, partition)).collect()
}
