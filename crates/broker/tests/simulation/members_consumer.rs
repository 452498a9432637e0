//! Members of a KIP-848 group: heartbeats are all they send, and the coordinator assigns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use broker::groups::api::GroupError;
use broker::groups::api_consumer::{Assignment, ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use rand::Rng;
use tokio::time::{Instant, sleep};

use crate::history::{Key, Moment, Process};
use crate::members::Member;
use crate::world::{KEPT, ORG, Phase, World};

pub(crate) const GROUP: &str = "consumer";
const REBALANCE: Duration = Duration::from_secs(5);
const HEARTBEAT_MAX: Duration = Duration::from_secs(1);
const LEAVE: i32 = -1;

/// Takes part until the run is over: it reads and commits, is silent, leaves and comes back.
pub(crate) async fn take_part(world: Arc<World>, process: Process) {
    let mut member = Member::new(&world, process, GROUP);
    member.member_id = format!("member-{process}");
    member.generation = 0;
    let mut next_heartbeat = Instant::now();
    while world.phase() < Phase::Over {
        if Instant::now() >= next_heartbeat {
            let interval = member.beat().await;
            next_heartbeat = Instant::now() + interval.min(HEARTBEAT_MAX);
        }
        member.read_some().await;
        member.client.rest(300).await;
        if let Err(GroupError::UnknownMemberId | GroupError::FencedMemberEpoch) = member.commit().await {
            member.start_again();
        }
        if world.phase() == Phase::Troubled && member.client.roll(0.01) {
            member.be_away().await;
        }
    }
}

impl Member {
    fn start_again(&mut self) {
        self.positions.clear();
        self.generation = 0;
    }

    /// One heartbeat, and what its answer says; when the next is due.
    async fn beat(&mut self) -> Duration {
        const SOON: Duration = Duration::from_millis(200);
        let Some(agent) = self.coordinator().await else { return SOON };
        let world = Arc::clone(&self.client.world);
        let began = world.now();
        let topic_id = world.topic_id(KEPT.0);
        let owned: Assignment = self.positions.keys().map(|key| (topic_id, key.1)).collect();
        let heartbeat = self.heartbeat(self.generation, Some(owned));
        match self.client.ask(&agent, agent.broker.consumer_group_heartbeat(ORG, true, heartbeat)).await {
            Some(Ok(answer)) => self.follow(answer, began).await,
            Some(Err(refused)) => {
                match refused.error {
                    GroupError::UnknownMemberId | GroupError::FencedMemberEpoch | GroupError::GroupIdNotFound => {
                        self.start_again();
                        self.own(None, began);
                    }
                    error => self.heard(Some(error)),
                }
                SOON
            }
            None => {
                self.heard(None);
                SOON
            }
        }
    }

    /// Gives up what it is not to have any more, which the next heartbeat says, and begins with what is new.
    async fn follow(&mut self, answer: ConsumerHeartbeatAnswer, began: Moment) -> Duration {
        let Some(assignment) = answer.assignment else {
            self.generation = answer.member_epoch;
            self.own(None, began);
            return answer.heartbeat_interval;
        };
        let assigned: BTreeSet<Key> = assignment.iter().map(|(_, partition)| (KEPT.0, partition)).collect();
        if self.positions.keys().any(|key| !assigned.contains(key)) {
            let _ = self.commit().await; // in the epoch in which it had them
            self.positions.retain(|key, _| assigned.contains(key));
        }
        self.generation = answer.member_epoch;
        let new: Vec<Key> = assigned.into_iter().filter(|key| !self.positions.contains_key(key)).collect();
        let is_told = new.is_empty() || self.begin_at(&new, self.generation).await;
        if !is_told {
            // It does not begin anywhere: what it was given it asks for again, as one that joins.
            let _ = self.leave().await;
            self.start_again();
        }
        self.own(None, began);
        answer.heartbeat_interval.min(if new.is_empty() { HEARTBEAT_MAX } else { Duration::from_millis(300) })
    }

    fn heartbeat(&self, member_epoch: i32, owned: Option<Assignment>) -> ConsumerHeartbeat {
        ConsumerHeartbeat {
            group_id: GROUP.to_owned(),
            member_id: self.member_id.clone(),
            member_epoch,
            rebalance_timeout: Some(REBALANCE),
            client_id: self.client.process.to_string(),
            client_host: "/127.0.0.1".to_owned(),
            subscribed_topic_names: Some(vec![KEPT.1.to_owned()]),
            owned,
            ..ConsumerHeartbeat::default()
        }
    }

    async fn leave(&mut self) -> Option<()> {
        let agent = self.coordinator().await?;
        let leave = self.heartbeat(LEAVE, None);
        let left = self.client.ask(&agent, agent.broker.consumer_group_heartbeat(ORG, true, leave)).await?;
        left.ok().map(drop)
    }

    /// Is silent for a while, or leaves, and comes back.
    async fn be_away(&mut self) {
        if self.client.roll(0.5) {
            let began = self.client.world.now();
            self.start_again();
            self.own(None, began);
            let _ = self.leave().await;
        }
        sleep(Duration::from_millis(self.client.rng.random_range(500..12_000))).await;
    }
}
