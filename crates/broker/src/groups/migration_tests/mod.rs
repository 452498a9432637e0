//! A group with the rows that were written of it, and members of both protocols.

mod history;
mod steps;

use std::collections::BTreeMap;

use metadata::{CoordinatorChange, CoordinatorKey, CoordinatorRow};
use segment::{OrganizationId, PartitionIndex, TopicId};
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::groups::api::{GroupType, Heartbeat, Joined, LeaveGroup, LeavingMember, OffsetCommit, SyncGroup};
use crate::groups::api_consumer::Assignment;
use crate::groups::effects::Now;
use crate::groups::embedded::{Assigned, CONSUMER, NamedPartitions};
use crate::groups::topics_view::TopicsView;
use crate::settings::GroupSettings;
use crate::topics::Topic;

pub(super) struct Rig {
    pub(super) group: Group,
    pub(super) now: Now,
    pub(super) settings: Arc<GroupSettings>,
    pub(super) topics: TopicsView,
    rows: BTreeMap<CoordinatorKey, Bytes>,
    answers: BTreeMap<Ticket, Reply>,
    tickets: u64,
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn topic_id() -> TopicId {
    TopicId(Uuid::from_u128(1))
}

/// Partitions of the topic `t`.
pub(super) fn partitions(all: impl IntoIterator<Item = PartitionIndex>) -> Assignment {
    all.into_iter().map(|partition| (topic_id(), partition)).collect()
}

fn named(owned: &Assignment) -> NamedPartitions {
    owned.topics().map(|(_, all)| ("t".to_owned(), all.iter().copied().collect())).collect()
}

/// A subscription to `t` in version 1.
pub(super) fn subscription(owned: &Assignment) -> Bytes {
    let owned = Assigned::write(&named(owned), 1);
    // Between version and partitions of an assignment a subscription has topics and user data.
    let partitions = &owned[2..owned.len() - 4];
    [b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff", partitions].concat().into()
}

/// JoinGroup of a client that gets an id first; `name` is its protocol.
pub(super) fn classic(member_id: &str, name: &str, owned: &Assignment) -> JoinGroup {
    JoinGroup {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        group_instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: secs(10),
        rebalance_timeout: secs(30),
        protocol_type: CONSUMER.to_owned(),
        protocols: vec![Protocol { name: name.to_owned(), metadata: subscription(owned) }],
        require_known_member_id: true,
        supports_skipping_assignment: true,
        reason: None,
    }
}

/// ConsumerGroupHeartbeat of a client that says all it knows.
pub(super) fn modern(member_id: &str, member_epoch: i32, owned: &Assignment) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        member_epoch,
        rebalance_timeout: Some(secs(30)),
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        subscribed_topic_names: Some(vec!["t".to_owned()]),
        owned: Some(if member_epoch == 0 { Assignment::default() } else { owned.clone() }),
        ..ConsumerHeartbeat::default()
    }
}

impl Rig {
    /// With so many partitions of `t`.
    pub(super) fn new(count: PartitionIndex, settings: GroupSettings) -> Self {
        let settings = Arc::new(settings);
        let now = Now { instant: Instant::now(), timestamp: 1_000_000 };
        let topic = Topic {
            organization: OrganizationId::DEFAULT,
            topic_id: topic_id(),
            name: "t".to_owned(),
            partition_count: count,
            agent_group: String::new(),
            replication_factor: 1,
            configs: BTreeMap::new(),
        };
        Self {
            group: Group::new("g".to_owned(), &settings, now),
            now,
            settings,
            topics: TopicsView::new(1, vec![Arc::new(topic)]),
            rows: BTreeMap::new(),
            answers: BTreeMap::new(),
            tickets: 0,
        }
    }

    fn act<T>(&mut self, decide: impl FnOnce(&mut Group, &Context<'_>, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let context = Context { now: self.now, settings: &self.settings, topics: &self.topics };
        let result = decide(&mut self.group, &context, &mut effects);
        for (ticket, reply) in effects.replies {
            assert!(self.answers.insert(ticket, reply).is_none(), "{ticket:?} was answered twice");
        }
        for CoordinatorChange { key, value } in effects.changes {
            match value {
                Some(value) => drop(self.rows.insert(key, value)),
                None => drop(self.rows.remove(&key)),
            }
        }
        result
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    pub(super) fn join(&mut self, request: JoinGroup) -> Ticket {
        let ticket = self.ticket();
        let fresh = Uuid::from_u128(u128::from(ticket.0));
        self.act(|group, context, effects| group.join(context, request, fresh, ticket, effects));
        ticket
    }

    /// A member that speaks the classic protocol joins with the id that it is given.
    pub(super) fn join_new(&mut self, name: &str) -> (String, Ticket) {
        let nothing = Assignment::default();
        let asked = self.join(classic("", name, &nothing));
        let Some(Reply::Join(Err(JoinRefused { error: GroupError::MemberIdRequired, member_id }))) = self.answer(asked)
        else {
            panic!("a new member gets an id first");
        };
        let ticket = self.join(classic(&member_id, name, &nothing));
        (member_id, ticket)
    }

    pub(super) fn sync(&mut self, joined: &Joined, assignments: Vec<(String, Bytes)>) -> Ticket {
        self.sync_as(joined, None, assignments)
    }

    pub(super) fn sync_as(
        &mut self,
        joined: &Joined,
        group_instance_id: Option<String>,
        assignments: Vec<(String, Bytes)>,
    ) -> Ticket {
        let ticket = self.ticket();
        let request = SyncGroup {
            group_id: "g".to_owned(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id,
            protocol_type: joined.protocol_type.clone(),
            protocol_name: joined.protocol_name.clone(),
            assignments,
        };
        self.act(|group, context, effects| group.sync(context, request, ticket, effects));
        ticket
    }

    pub(super) fn heartbeat(&mut self, member_id: &str, generation_id: i32) -> Result<(), GroupError> {
        let (group_id, member_id) = ("g".to_owned(), member_id.to_owned());
        let request = Heartbeat { group_id, generation_id, member_id, group_instance_id: None };
        self.act(|group, context, _| group.heartbeat(context.now, &request))
    }

    pub(super) fn leave(&mut self, member_id: &str, instance_id: Option<&str>) -> Option<GroupError> {
        let (member_id, group_instance_id) = (member_id.to_owned(), instance_id.map(str::to_owned));
        let members = vec![LeavingMember { member_id, group_instance_id, reason: None }];
        let request = LeaveGroup { group_id: "g".to_owned(), members };
        let left = self.act(|group, context, effects| group.leave(context, request, effects));
        left.expect("of a group that is there").remove(0).error
    }

    pub(super) fn beat(&mut self, request: &ConsumerHeartbeat) -> Result<ConsumerHeartbeatAnswer, HeartbeatRefused> {
        let settings = self.settings.consumer;
        self.act(|group, context, effects| group.consumer_heartbeat(context, settings, request, effects))
    }

    pub(super) fn commit(&mut self, member_id: &str, generation: i32) -> Result<(), GroupError> {
        let commit = OffsetCommit {
            group_id: "g".to_owned(),
            generation_id_or_member_epoch: generation,
            member_id: member_id.to_owned(),
            group_instance_id: None,
            retention: None,
            knows_new_errors: false,
            partitions: Vec::new(),
        };
        self.act(|group, context, effects| group.commit(context.now, commit, true, effects)).map(drop)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.instant + time;
        loop {
            let next = self.group.next_deadline().filter(|next| *next <= end).unwrap_or(end);
            self.now.instant = next.max(self.now.instant);
            self.act(|group, context, effects| group.tick(context, effects));
            if next == end {
                return;
            }
        }
    }

    /// Another coordinator takes over; who waits is told so.
    pub(super) fn restore(&mut self) {
        self.group = Group::new("g".to_owned(), &self.settings, self.now);
        for (key, value) in &self.rows {
            let row = CoordinatorRow { key: key.clone(), value: value.clone() };
            self.group.load(&self.settings, self.now, &row).expect("a row that was written");
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket) -> Option<Reply> {
        self.answers.remove(&ticket)
    }

    pub(super) fn joined(&mut self, ticket: Ticket) -> Joined {
        match self.answer(ticket) {
            Some(Reply::Join(Ok(joined))) => joined,
            other => panic!("did not join: {other:?}"),
        }
    }

    /// What a SyncGroup says.
    pub(super) fn assigned(&mut self, joined: &Joined) -> Result<Assignment, GroupError> {
        let ticket = self.sync(joined, Vec::new());
        self.synced(ticket)
    }

    pub(super) fn synced(&mut self, ticket: Ticket) -> Result<Assignment, GroupError> {
        match self.answer(ticket) {
            Some(Reply::Sync(synced)) => synced.map(|synced| read(&synced.assignment)),
            other => panic!("not an answer to SyncGroup: {other:?}"),
        }
    }

    pub(super) fn kind(&self) -> (GroupType, GroupState) {
        let listed = self.group.listed();
        (listed.group_type, listed.state)
    }

    /// A stable classic group of these members; the first is the leader and assigns as it is said.
    pub(super) fn stable(&mut self, name: &str, assignments: &[Assignment]) -> Vec<Joined> {
        let tickets: Vec<Ticket> = assignments.iter().map(|_| self.join_new(name).1).collect();
        self.pass(secs(9));
        let joined: Vec<Joined> = tickets.into_iter().map(|ticket| self.joined(ticket)).collect();
        let all = joined.iter().zip(assignments).map(|(joined, own)| (joined.member_id.clone(), written(own)));
        let all: Vec<(String, Bytes)> = all.collect();
        let mut leader_first: Vec<&Joined> = joined.iter().collect();
        leader_first.sort_by_key(|joined| joined.leader != joined.member_id);
        for member in leader_first {
            let ticket = self.sync(member, all.clone());
            self.synced(ticket).expect("an assignment");
        }
        assert_eq!(self.kind(), (GroupType::Classic, GroupState::Stable));
        joined
    }
}

pub(super) fn written(assignment: &Assignment) -> Bytes {
    Assigned::write(&named(assignment), 1)
}

pub(super) fn read(bytes: &[u8]) -> Assignment {
    let assigned = Assigned::parse(bytes).expect("an assignment");
    partitions(assigned.partitions.into_iter().flat_map(|(_, partitions)| partitions))
}
