//! A group without a shard: requests go straight in, time passes by hand, answers are collected.

mod failover;
mod joining;
mod leaving;
mod random;
mod static_members;
mod syncing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::ClassicGroup;
use crate::groups::api::*;
use crate::groups::effects::{Effects, Now, Reply, Ticket};
use crate::settings::GroupSettings;

/// A group, the time, and what it answered and wrote.
pub(super) struct Rig {
    pub(super) group: ClassicGroup,
    pub(super) now: Now,
    tickets: u64,
    pub(super) answers: BTreeMap<Ticket, Reply>,
    /// Every value of its row, in order.
    pub(super) rows: Vec<Option<Bytes>>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(GroupSettings::default())
    }

    pub(super) fn with(settings: GroupSettings) -> Self {
        let now = Now { instant: Instant::now(), timestamp: 1_000_000 };
        Self {
            group: ClassicGroup::new("group".into(), Arc::new(settings), now),
            now,
            tickets: 0,
            answers: BTreeMap::new(),
            rows: Vec::new(),
        }
    }

    /// One decision, then all that is due.
    pub(super) fn act<T>(&mut self, decide: impl FnOnce(&mut ClassicGroup, Now, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let result = decide(&mut self.group, self.now, &mut effects);
        for round in 0.. {
            assert!(round < 20, "time stands still: {:?}", self.group);
            if self.group.next_deadline().is_none_or(|deadline| deadline > self.now.instant) {
                break;
            }
            self.group.tick(self.now, &mut effects);
        }
        for (ticket, reply) in effects.replies {
            assert!(self.answers.insert(ticket, reply).is_none(), "{ticket:?} was answered twice");
        }
        self.rows.extend(effects.changes.into_iter().map(|change| change.value));
        result
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Time passes, in steps from deadline to deadline.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now.instant + duration;
        loop {
            let next = self.group.next_deadline().filter(|next| *next <= end).unwrap_or(end);
            self.now.timestamp += i64::try_from((next - self.now.instant).as_millis()).expect("short");
            self.now.instant = next;
            self.act(|_, _, _| ());
            if next == end {
                return;
            }
        }
    }

    pub(super) fn join(&mut self, request: JoinGroup) -> Ticket {
        let ticket = self.ticket();
        let fresh = Uuid::from_u128(u128::from(ticket.0));
        self.act(|group, now, effects| group.join(now, request, fresh, ticket, effects));
        ticket
    }

    pub(super) fn sync(&mut self, joined: &Joined, assignments: &[(&str, &str)]) -> Ticket {
        self.sync_as(SyncGroup {
            group_id: "group".into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: None,
            protocol_type: joined.protocol_type.clone(),
            protocol_name: joined.protocol_name.clone(),
            assignments: assignments
                .iter()
                .map(|(member_id, assignment)| ((*member_id).to_owned(), Bytes::copy_from_slice(assignment.as_bytes())))
                .collect(),
        })
    }

    pub(super) fn sync_as(&mut self, request: SyncGroup) -> Ticket {
        let ticket = self.ticket();
        self.act(|group, now, effects| group.sync(now, request, ticket, effects));
        ticket
    }

    pub(super) fn heartbeat(&mut self, member_id: &str, generation_id: i32) -> Result<(), GroupError> {
        let member_id = member_id.to_owned();
        let request = Heartbeat { group_id: "group".into(), generation_id, member_id, group_instance_id: None };
        self.act(|group, now, _| group.heartbeat(now, &request))
    }

    pub(super) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<Option<GroupError>> {
        let leaving = |(member_id, instance_id): &(&str, Option<&str>)| LeavingMember {
            member_id: (*member_id).to_owned(),
            group_instance_id: instance_id.map(str::to_owned),
            reason: None,
        };
        let request = LeaveGroup { group_id: "group".into(), members: members.iter().map(leaving).collect() };
        let left = self.act(|group, now, effects| group.leave(now, request, effects));
        left.expect("the group is there").into_iter().map(|member| member.error).collect()
    }

    pub(super) fn commit(&mut self, member_id: &str, generation: i32) -> Result<(), GroupError> {
        let request = OffsetCommit {
            group_id: "group".into(),
            generation_id_or_member_epoch: generation,
            member_id: member_id.to_owned(),
            group_instance_id: None,
            retention: None,
            knows_new_errors: true,
            partitions: Vec::new(),
        };
        self.act(|group, now, _| group.check_commit(now, &request))
    }

    pub(super) fn waits(&self, ticket: Ticket) -> bool {
        !self.answers.contains_key(&ticket)
    }

    pub(super) fn joined(&self, ticket: Ticket) -> Joined {
        match self.answers.get(&ticket) {
            Some(Reply::Join(Ok(joined))) => joined.clone(),
            other => panic!("did not join: {other:?}"),
        }
    }

    pub(super) fn refused(&self, ticket: Ticket) -> JoinRefused {
        match self.answers.get(&ticket) {
            Some(Reply::Join(Err(refused))) => refused.clone(),
            other => panic!("was not refused: {other:?}"),
        }
    }

    pub(super) fn synced(&self, ticket: Ticket) -> Result<String, GroupError> {
        match self.answers.get(&ticket) {
            Some(Reply::Sync(Ok(synced))) => Ok(String::from_utf8(synced.assignment.to_vec()).expect("a test's words")),
            Some(Reply::Sync(Err(error))) => Err(*error),
            other => panic!("not an answer to SyncGroup: {other:?}"),
        }
    }

    /// A stable group of members with these client ids; the first is the leader.
    pub(super) fn stable(requests: Vec<JoinGroup>) -> (Self, Vec<Joined>) {
        let mut rig = Self::new();
        let tickets: Vec<Ticket> = requests.into_iter().map(|request| rig.join(request)).collect();
        rig.pass(secs(9));
        let mut joined: Vec<Joined> = tickets.into_iter().map(|ticket| rig.joined(ticket)).collect();
        joined.sort_by_key(|joined| joined.members.is_empty());
        let assignments: Vec<(&str, &str)> =
            joined.iter().map(|joined| (joined.member_id.as_str(), joined.member_id.as_str())).collect();
        let tickets: Vec<Ticket> = joined.iter().map(|joined| rig.sync(joined, &assignments)).collect();
        for (ticket, joined) in tickets.into_iter().zip(&joined) {
            assert_eq!(rig.synced(ticket).as_ref(), Ok(&joined.member_id));
        }
        assert_eq!(rig.group.state(), GroupState::Stable);
        (rig, joined)
    }
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A new consumer of old clients, who need no id to join; it reads the topic `t`.
pub(super) fn consumer(client_id: &str) -> JoinGroup {
    JoinGroup {
        group_id: "group".into(),
        member_id: String::new(),
        group_instance_id: None,
        client_id: client_id.into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: secs(10),
        rebalance_timeout: secs(60),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", &["t"])],
        require_known_member_id: false,
        supports_skipping_assignment: true,
        reason: None,
    }
}

pub(super) fn static_consumer(instance_id: &str) -> JoinGroup {
    JoinGroup { group_instance_id: Some(instance_id.into()), require_known_member_id: true, ..consumer("client") }
}

/// The same member again, now that it has an id.
pub(super) fn again(request: JoinGroup, joined: &Joined) -> JoinGroup {
    JoinGroup { member_id: joined.member_id.clone(), ..request }
}

/// With a subscription of version 1 to these topics.
pub(super) fn protocol(name: &str, topics: &[&str]) -> Protocol {
    let mut metadata = vec![0, 1];
    metadata.extend(u32::try_from(topics.len()).expect("few").to_be_bytes());
    for topic in topics {
        metadata.extend(u16::try_from(topic.len()).expect("short").to_be_bytes());
        metadata.extend(topic.as_bytes());
    }
    metadata.extend([0xff; 4]);
    metadata.extend([0; 4]);
    Protocol { name: name.into(), metadata: metadata.into() }
}
