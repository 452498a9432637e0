//! Members of a classic group: JoinGroup, SyncGroup, Heartbeat; the leader shares the partitions out.

use std::sync::Arc;
use std::time::Duration;

use broker::groups::api::{GroupError, Heartbeat, JoinGroup, Joined, LeaveGroup, LeavingMember, Protocol, SyncGroup};
use bytes::Bytes;
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};

use crate::history::{Moment, Process};
use crate::members::{Member, kept_keys};
use crate::world::{ORG, Phase, World};

pub(crate) const GROUP: &str = "classic";
const SESSION: Duration = Duration::from_secs(6);
const REBALANCE: Duration = Duration::from_secs(4);
const HEARTBEAT: Duration = Duration::from_millis(800);

/// Takes part until the run is over: it reads and commits, pauses for too long, leaves and comes back.
pub(crate) async fn take_part(world: Arc<World>, process: Process) {
    let mut member = Member::new(&world, process, GROUP);
    while world.phase() < Phase::Over {
        let began = world.now();
        member.positions.clear();
        let joined = member.join().await;
        let Some(assigned) = joined else {
            member.client.rest(200).await;
            continue;
        };
        member.took(&assigned, began).await;
        member.work().await;
    }
}

impl Member {
    /// Joins and syncs; what it is assigned.
    async fn join(&mut self) -> Option<Bytes> {
        let agent = self.coordinator().await?;
        let join = JoinGroup {
            group_id: GROUP.to_owned(),
            member_id: self.member_id.clone(),
            group_instance_id: None,
            client_id: self.client.process.to_string(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout: SESSION,
            rebalance_timeout: REBALANCE,
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol { name: "range".to_owned(), metadata: Bytes::new() }],
            require_known_member_id: true,
            supports_skipping_assignment: false,
            reason: None,
        };
        let join = timeout(REBALANCE * 3, agent.broker.join_group(ORG, join));
        let joined = match self.client.call(&agent, join).await {
            Some(Ok(Ok(joined))) => joined,
            Some(Ok(Err(refused))) => {
                match refused.error {
                    GroupError::MemberIdRequired => self.member_id = refused.member_id,
                    GroupError::UnknownMemberId => self.member_id.clear(),
                    error => self.heard(Some(error)),
                }
                return None;
            }
            _ => {
                self.heard(None);
                return None;
            }
        };
        (self.member_id, self.generation) = (joined.member_id.clone(), joined.generation_id);
        let sync = SyncGroup {
            group_id: GROUP.to_owned(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: None,
            protocol_type: None,
            protocol_name: None,
            assignments: shares(&joined),
        };
        match self.client.call(&agent, timeout(REBALANCE * 3, agent.broker.sync_group(ORG, sync))).await {
            Some(Ok(Ok(synced))) => Some(synced.assignment),
            other => {
                let error = other.and_then(Result::ok).and_then(Result::err);
                self.left_out(error);
                None
            }
        }
    }

    async fn took(&mut self, assigned: &Bytes, began: Moment) {
        let keys: Vec<_> =
            kept_keys().into_iter().filter(|key| assigned.contains(&u8::try_from(key.1).expect("few"))).collect();
        for key in &keys {
            self.positions.insert(*key, 0);
        }
        self.own(Some(self.generation), began);
        for _ in 0..20 {
            if keys.is_empty() || self.begin_at(&keys, -1).await {
                return;
            }
            self.client.rest(200).await;
        }
        // Where it should begin is not to be had: it joins again.
        self.positions.clear();
    }

    /// Reads, commits and sends heartbeats until it is to join again.
    async fn work(&mut self) {
        let mut last_heartbeat = Instant::now();
        let world = Arc::clone(&self.client.world);
        while world.phase() < Phase::Over {
            self.read_some().await;
            self.client.rest(300).await;
            if let Err(error) = self.commit().await
                && self.left_out(Some(error))
            {
                return;
            }
            if last_heartbeat.elapsed() >= HEARTBEAT {
                last_heartbeat = Instant::now();
                if self.is_out().await {
                    return;
                }
            }
            if world.phase() == Phase::Troubled && self.client.roll(0.01) {
                return self.go_away().await;
            }
        }
    }

    async fn is_out(&mut self) -> bool {
        let Some(agent) = self.coordinator().await else { return false };
        let heartbeat = Heartbeat {
            group_id: GROUP.to_owned(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
        };
        match self.client.ask(&agent, agent.broker.heartbeat(ORG, heartbeat)).await {
            Some(Ok(())) => false,
            other => self.left_out(other.and_then(Result::err)),
        }
    }

    /// Whether it is to join again.
    fn left_out(&mut self, error: Option<GroupError>) -> bool {
        match error {
            Some(GroupError::UnknownMemberId) => {
                self.member_id.clear();
                true
            }
            Some(GroupError::RebalanceInProgress | GroupError::IllegalGeneration) => true,
            error => {
                self.heard(error);
                false
            }
        }
    }

    /// Is silent for a while, or leaves, and comes back.
    async fn go_away(&mut self) {
        if self.client.roll(0.5)
            && let Some(agent) = self.coordinator().await
        {
            let reason = None;
            let leaving = LeavingMember { member_id: self.member_id.clone(), group_instance_id: None, reason };
            let leave = LeaveGroup { group_id: GROUP.to_owned(), members: vec![leaving] };
            let _ = self.client.ask(&agent, agent.broker.leave_group(ORG, leave)).await;
            self.member_id.clear();
        }
        sleep(Duration::from_millis(self.client.rng.random_range(500..10_000))).await;
    }
}

/// From the leader: who gets what, in turns. A partition is one byte.
fn shares(joined: &Joined) -> Vec<(String, Bytes)> {
    let count = joined.members.len();
    let share =
        |at: usize| kept_keys().into_iter().skip(at).step_by(count).map(|key| u8::try_from(key.1).expect("few"));
    let members = joined.members.iter().enumerate();
    members.map(|(at, member)| (member.member_id.clone(), share(at).collect::<Vec<u8>>().into())).collect()
}
