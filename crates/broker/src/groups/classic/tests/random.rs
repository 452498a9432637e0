//! Random histories of clients that come, stall, die and start over, against what must always be true.
//!
//! Every client does what the protocol allows at a random pace, so it is late, repeats itself and asks with what is long
//! past. The answers are checked as they come; at the end nobody asks any more, and the group must come to rest.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;

const HISTORIES: u64 = 400;
const STEPS: usize = 150;
const CLIENTS: usize = 5;

#[derive(Default)]
struct Client {
    /// Names it if it is static.
    instance_id: Option<String>,
    member_id: String,
    /// What it was told last.
    joined: Option<Joined>,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
}

struct History {
    rig: Rig,
    random: StdRng,
    clients: Vec<Client>,
    /// Tickets whose answer was looked at.
    seen: BTreeSet<Ticket>,
    /// The protocol of every generation.
    protocols: BTreeMap<i32, Option<String>>,
    newest: i32,
}

impl History {
    fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let named = |number: usize| number.is_multiple_of(2).then(|| format!("instance{number}"));
        let clients = (0..CLIENTS).map(|number| Client { instance_id: named(number), ..Client::default() }).collect();
        let rig = Rig::with(GroupSettings { group_size_max: 4, ..GroupSettings::default() });
        Self { rig, random, clients, seen: BTreeSet::new(), protocols: BTreeMap::new(), newest: 0 }
    }

    fn step(&mut self) {
        let number = self.random.random_range(0..CLIENTS);
        match self.random.random_range(0..12) {
            0..=3 => self.join(number),
            4..=6 => self.sync(number),
            7 => self.heartbeat(number),
            8 if self.random.random_bool(0.3) => self.leave(number),
            9 if self.random.random_bool(0.3) => {
                // It starts over, and knows nothing.
                let instance_id = self.clients[number].instance_id.clone();
                self.clients[number] = Client { instance_id, ..Client::default() };
            }
            _ => {
                let milliseconds = *[1, 500, 3_000, 7_000, 20_000].choose(&mut self.random).expect("some");
                self.rig.pass(Duration::from_millis(milliseconds));
            }
        }
        self.look();
    }

    fn join(&mut self, number: usize) {
        let names: &[&str] = if self.random.random_bool(0.8) { &["range", "sticky"] } else { &["sticky"] };
        let topics: &[&str] = if self.random.random_bool(0.9) { &["t"] } else { &["t", "u"] };
        let client = &self.clients[number];
        let request = JoinGroup {
            member_id: client.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
            require_known_member_id: number != 1,
            supports_skipping_assignment: number != 2,
            rebalance_timeout: Duration::from_millis(self.random.random_range(0..20_000)),
            protocols: names.iter().map(|name| protocol(name, topics)).collect(),
            ..consumer(&format!("c{number}"))
        };
        let ticket = self.rig.join(request);
        self.clients[number].joining = Some(ticket);
    }

    fn sync(&mut self, number: usize) {
        let client = &self.clients[number];
        let Some(joined) = client.joined.clone() else { return };
        // What anybody is assigned names the generation, so that one of another is found out.
        let word = format!("generation {}", joined.generation_id);
        let assignments: Vec<(String, Bytes)> =
            joined.members.iter().map(|member| (member.member_id.clone(), word.clone().into())).collect();
        let request = SyncGroup {
            group_id: "group".into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: client.instance_id.clone(),
            protocol_type: joined.protocol_type.clone(),
            protocol_name: joined.protocol_name.clone(),
            assignments,
        };
        let ticket = self.rig.sync_as(request);
        self.clients[number].syncing = Some(ticket);
    }

    fn heartbeat(&mut self, number: usize) {
        let Some(joined) = self.clients[number].joined.clone() else { return };
        let alive = self.rig.heartbeat(&joined.member_id, joined.generation_id);
        assert!(alive.is_err() || joined.generation_id == self.newest, "alive in a generation that is over");
    }

    fn leave(&mut self, number: usize) {
        let client = &self.clients[number];
        let (member_id, instance_id) = (client.member_id.clone(), client.instance_id.clone());
        self.rig.leave(&[(&member_id, instance_id.as_deref())]);
    }

    /// Checks what was answered, and clients take note.
    fn look(&mut self) {
        let new = self.rig.answers.iter().filter(|(ticket, _)| !self.seen.contains(ticket));
        let new: Vec<(Ticket, Reply)> = new.map(|(ticket, reply)| (*ticket, reply.clone())).collect();
        for (ticket, reply) in new {
            self.seen.insert(ticket);
            match reply {
                Reply::Join(Ok(joined)) => self.take_join(ticket, joined),
                Reply::Join(Err(refused)) => self.take_refusal(ticket, &refused),
                Reply::Sync(Ok(synced)) => self.take_sync(ticket, &synced),
                Reply::Sync(Err(_)) => {}
                other => panic!("nobody asked for that: {other:?}"),
            }
        }
        self.check_state();
    }

    fn take_join(&mut self, ticket: Ticket, joined: Joined) {
        let (new, newest) = (joined.generation_id, self.newest);
        assert!(new >= newest, "an answer of generation {new} after {newest}");
        self.newest = new;
        let protocol = self.protocols.entry(new).or_insert_with(|| joined.protocol_name.clone());
        assert_eq!(*protocol, joined.protocol_name, "one protocol in a generation");
        if !joined.members.is_empty() {
            assert_eq!(joined.leader, joined.member_id, "members are shown to the leader only");
            assert!(joined.members.iter().any(|member| member.member_id == joined.member_id));
        }
        if let Some(client) = self.clients.iter_mut().find(|client| client.joining == Some(ticket)) {
            client.member_id = joined.member_id.clone();
            client.joined = Some(joined);
        }
    }

    fn take_refusal(&mut self, ticket: Ticket, refused: &JoinRefused) {
        let Some(client) = self.clients.iter_mut().find(|client| client.joining == Some(ticket)) else { return };
        match refused.error {
            GroupError::MemberIdRequired => client.member_id.clone_from(&refused.member_id),
            GroupError::UnknownMemberId | GroupError::FencedInstanceId => client.member_id.clear(),
            GroupError::RebalanceInProgress
            | GroupError::GroupMaxSizeReached
            | GroupError::InconsistentGroupProtocol
            | GroupError::UnknownServerError => {}
            other => panic!("unexpected: {other:?}"),
        }
    }

    fn take_sync(&mut self, ticket: Ticket, synced: &Synced) {
        let Some(client) = self.clients.iter().find(|client| client.syncing == Some(ticket)) else { return };
        let generation = client.joined.as_ref().map(|joined| joined.generation_id);
        let word = String::from_utf8(synced.assignment.to_vec()).expect("a test's words");
        let own = format!("generation {}", generation.unwrap_or_default());
        assert!(word.is_empty() || word == own, "{word:?} in generation {generation:?}");
    }

    fn check_state(&self) {
        let group = &self.rig.group;
        let waiting = group.members.values().any(|member| member.joining.is_some() || member.syncing.is_some());
        assert!(!waiting || group.phase.deadline().is_some(), "somebody waits without an end: {group:?}");
        for (member_id, member) in &group.members {
            assert!(member.expires.is_some() || member.is_waiting(), "{member_id} never ends: {group:?}");
            let first = group.wake.expect("a deadline");
            assert!(member.expires.is_none_or(|expires| first <= expires));
            let holder = member.group_instance_id.as_ref().and_then(|id| group.static_members.get(id));
            assert!(member.group_instance_id.is_none() || holder == Some(member_id));
        }
        let statics = group.members.values().filter(|member| member.group_instance_id.is_some()).count();
        assert_eq!(group.static_members.len(), statics);
        assert!(group.leader.is_none() == group.members.is_empty(), "{group:?}");
        assert!(group.leader.as_ref().is_none_or(|leader| group.members.contains_key(leader)));
        match group.phase {
            super::super::Phase::Empty => assert!(group.members.is_empty()),
            super::super::Phase::Stable { sync_deadline } => {
                let owing = group.members.values().any(|member| member.owes_sync);
                assert_eq!(sync_deadline.is_some(), owing);
                assert!(!waiting);
            }
            _ => {}
        }
    }

    /// Nobody asks any more.
    fn end(mut self) {
        self.rig.pass(secs(3600));
        self.look();
        assert_eq!(self.rig.group.state(), GroupState::Empty);
        assert_eq!(self.rig.group.next_deadline(), None);
        for number in 1..=self.rig.tickets {
            assert!(self.rig.answers.contains_key(&Ticket(number)), "request {number} was not answered");
        }
    }
}

#[test]
fn every_request_is_answered_and_every_group_comes_to_rest() {
    let mut completed = 0;
    for seed in 0..HISTORIES {
        let mut history = History::new(seed);
        for _ in 0..STEPS {
            history.step();
        }
        completed += history.newest;
        history.end();
    }
    assert!(completed > 1_000, "histories in which little happens prove little: {completed}");
}

/// A group and the one loaded from its row are asked the same from a moment on at which nothing else is kept in memory.
#[test]
fn a_loaded_group_does_what_the_group_would_have_done() {
    let mut compared = 0;
    for seed in 0..HISTORIES {
        let mut history = History::new(seed);
        for _ in 0..STEPS {
            history.step();
            let group = &history.rig.group;
            let quiet = matches!(group.phase, super::super::Phase::Stable { sync_deadline: None });
            if quiet && group.pending.is_empty() && !group.members.is_empty() {
                compare(&mut history, seed);
                compared += 1;
                break;
            }
        }
    }
    assert!(compared > 100, "few groups became stable: {compared}");
}

fn compare(history: &mut History, seed: u64) {
    let told = history.clients.iter().filter_map(|client| client.joined.as_ref());
    let members: Vec<(String, i32)> = told.map(|joined| (joined.member_id.clone(), joined.generation_id)).collect();
    let member_ids: Vec<String> = history.rig.group.members.keys().cloned().collect();
    let generation = history.rig.group.generation;
    for member_id in member_ids {
        history.rig.heartbeat(&member_id, generation).expect("a member of a stable group");
    }
    let row = history.rig.rows.last().cloned().flatten().expect("a stable group has a row");
    let mut other = Rig::with(GroupSettings { group_size_max: 4, ..GroupSettings::default() });
    other.now = history.rig.now;
    other.tickets = history.rig.tickets;
    other.group =
        ClassicGroup::load("group".into(), history.rig.group.settings.clone(), other.now, &row).expect("good");
    history.rig.answers.clear();
    history.rig.rows.clear();

    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..30 {
        let kind = random.random_range(0..5);
        let number = random.random_range(0..CLIENTS);
        let member = members.choose(&mut random).cloned();
        for rig in [&mut history.rig, &mut other] {
            let (member_id, generation) = member.clone().unwrap_or_default();
            match kind {
                0 => rig.pass(secs(4)),
                1 => drop(rig.join(JoinGroup { member_id, ..consumer("c") })),
                2 => drop(rig.join(static_consumer(&format!("instance{number}")))),
                3 => drop(rig.heartbeat(&member_id, generation)),
                _ => drop(rig.leave(&[(&member_id, None)])),
            }
        }
        assert_eq!(history.rig.answers, other.answers);
        assert_eq!(history.rig.rows, other.rows);
        assert_eq!(history.rig.group.describe(), other.group.describe());
    }
}
